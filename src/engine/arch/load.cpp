#include <cmath>

#include <bloom/base/check.hpp>
#include <bloom/engine/rope.hpp>

#include "engine/arch/common.hpp"

namespace bloom::engine {

compute::Plan Graph::draft_plan(const compute::PlanKey& key) const {
    BLOOM_CHECK(has_draft_head());
    return compute::Plan(key);
}

double WeightTraffic::bytes_per_step(std::int64_t rows) const noexcept {
    const auto shared = static_cast<double>(shared_bytes);
    if (n_experts == 0 || rows <= 0) return shared;
    const double left_out = 1.0 - static_cast<double>(top_k) / static_cast<double>(n_experts);
    const double share = 1.0 - std::pow(left_out, static_cast<double>(rows));
    return shared + static_cast<double>(expert_bytes) * share;
}

namespace arch {

void Uploader::count(const WeightView& view) {
    traffic_.shared_bytes += static_cast<std::int64_t>(view.bytes());
    if (view.layer >= 0) macs_per_token_ += view.n_elements();
}

Result<WeightId> Uploader::matrix(Role role, std::int64_t layer) {
    const WeightView& view = file_.weights().at(role, layer);
    BLOOM_TRY(const WeightId id, backend_.upload_matrix(file_.matrix(view, scratch_)));
    if (role != Role::tok_embd) count(view);
    return id;
}

Result<WeightId> Uploader::exact_matrix(Role role, std::int64_t layer) {
    const WeightView& view = file_.weights().at(role, layer);
    const kernels::SourceMatrix from = file_.matrix(view, scratch_);
    values_.resize(static_cast<std::size_t>(from.rows * from.k));
    const auto k = static_cast<std::size_t>(from.k);
    for (std::int64_t r = 0; r < from.rows; ++r)
        dequantise_row(from, r, std::span(values_).subspan(static_cast<std::size_t>(r) * k, k));
    const kernels::SourceMatrix exact{kernels::WeightFormat::f32,
                                      from.rows,
                                      from.k,
                                      reinterpret_cast<const std::uint8_t*>(values_.data()),
                                      nullptr,
                                      nullptr};
    BLOOM_TRY(const WeightId id, backend_.upload_matrix(exact));
    count(view);
    return id;
}

Result<WeightId> Uploader::experts(Role role, std::int64_t layer) {
    const ExpertConfig& config = file_.config().experts;
    const WeightView& view = file_.weights().at(role, layer);
    BLOOM_TRY(const WeightId id, backend_.upload_experts(file_.experts(view, scratch_)));
    traffic_.expert_bytes += static_cast<std::int64_t>(view.bytes());
    traffic_.n_experts = config.n_experts;
    traffic_.top_k = config.top_k;
    macs_per_token_ += config.top_k * view.matrix.rows * view.matrix.k;
    return id;
}

Result<WeightId> Uploader::scaled_vector(Role role, std::int64_t layer, float factor) {
    const WeightView& view = file_.weights().at(role, layer);
    values_.resize(static_cast<std::size_t>(view.matrix.k));
    file_.vector(view, values_);
    for (float& v : values_)
        v *= factor;
    return backend_.upload_vector(values_);
}

Result<float> Uploader::scalar(Role role, std::int64_t layer) {
    const WeightView& view = file_.weights().at(role, layer);
    BLOOM_CHECK(view.matrix.k == 1);
    float value = 0.0F;
    file_.vector(view, {&value, 1});
    return value;
}

Result<WeightId> Uploader::vector(Role role, std::int64_t layer) {
    const WeightView* const view = file_.weights().find(role, layer);
    if (view == nullptr) return WeightId::none;
    values_.resize(static_cast<std::size_t>(view->matrix.k));
    file_.vector(*view, values_);
    return backend_.upload_vector(values_);
}

KvPlace Base::place(const compute::KvGroupSpec& spec) {
    auto at = std::ranges::find_if(state.groups, [&](compute::KvGroupSpec group) {
        group.n_layers = spec.n_layers;
        return group == spec;
    });
    if (at == state.groups.end()) {
        at = state.groups.insert(at, spec);
        at->n_layers = 0;
    }
    return {static_cast<compute::KvPoolId>(at - state.groups.begin()), at->n_layers++};
}

Result<Base> load_base(Uploader& up) {
    const ModelFile& file = up.file();
    Base base;
    base.config = file.config();
    BLOOM_OK(file.begin_layer(-1));
    BLOOM_TRY(base.tok_embd, up.matrix(Role::tok_embd));
    BLOOM_TRY(base.output_norm, up.vector(Role::output_norm));
    base.output = base.tok_embd;
    if (base.config.tied_output) {
        up.count(file.weights().at(Role::tok_embd));
    } else {
        BLOOM_TRY(base.output, up.matrix(Role::output));
    }
    file.end_layer(-1);
    return base;
}

Result<RopeId> load_rope(Uploader& up) {
    std::vector<float> factors;
    if (const WeightView* const view = up.file().weights().find(Role::rope_factors)) {
        factors.resize(static_cast<std::size_t>(view->matrix.k));
        up.file().vector(*view, factors);
    }
    BLOOM_TRY(compute::RopeSpec spec, make_rope(up.file().config(), factors));
    return up.backend().add_rope(std::move(spec));
}

compute::KvGroupSpec kv_group(const ModelConfig& config, std::int64_t layer, kernels::KvType type) {
    const auto head_dim = static_cast<std::int32_t>(config.head_dim_of(layer));
    return {0,        static_cast<std::int32_t>(config.kv_heads_of(layer)), head_dim,
            head_dim, static_cast<std::int32_t>(config.window(layer)),      type};
}

Result<AttentionWeights> load_attention(Uploader& up, std::int64_t layer) {
    AttentionWeights w{};
    BLOOM_TRY(w.wq, up.matrix(Role::wq, layer));
    BLOOM_TRY(w.wk, up.matrix(Role::wk, layer));
    w.wv = WeightId::none;
    if (up.file().weights().find(Role::wv, layer) != nullptr) {
        BLOOM_TRY(w.wv, up.matrix(Role::wv, layer));
    }
    BLOOM_TRY(w.wo, up.matrix(Role::wo, layer));
    BLOOM_TRY(w.bq, up.vector(Role::bq, layer));
    BLOOM_TRY(w.bk, up.vector(Role::bk, layer));
    BLOOM_TRY(w.bv, up.vector(Role::bv, layer));
    BLOOM_TRY(w.bo, up.vector(Role::bo, layer));
    BLOOM_TRY(w.q_norm, up.vector(Role::q_norm, layer));
    BLOOM_TRY(w.k_norm, up.vector(Role::k_norm, layer));
    w.gate = WeightId::none;
    if (up.file().config().attn_gate) {
        BLOOM_TRY(w.gate, up.matrix(Role::attn_gate, layer));
    }
    return w;
}

Result<FfnWeights> load_ffn(Uploader& up, std::int64_t layer) {
    FfnWeights w{};
    BLOOM_TRY(w.gate, up.matrix(Role::w_gate, layer));
    BLOOM_TRY(w.up, up.matrix(Role::w_up, layer));
    BLOOM_TRY(w.down, up.matrix(Role::w_down, layer));
    BLOOM_TRY(w.b_gate, up.vector(Role::b_gate, layer));
    BLOOM_TRY(w.b_up, up.vector(Role::b_up, layer));
    BLOOM_TRY(w.b_down, up.vector(Role::b_down, layer));
    return w;
}

Result<FfnWeights> load_shared_ffn(Uploader& up, std::int64_t layer) {
    constexpr auto kNone = WeightId::none;
    FfnWeights w{kNone, kNone, kNone, kNone, kNone, kNone};
    BLOOM_TRY(w.gate, up.matrix(Role::w_gate_shexp, layer));
    BLOOM_TRY(w.up, up.matrix(Role::w_up_shexp, layer));
    BLOOM_TRY(w.down, up.matrix(Role::w_down_shexp, layer));
    return w;
}

Result<ExpertWeights> load_experts(Uploader& up, std::int64_t layer) {
    ExpertWeights w{};
    BLOOM_TRY(w.selection_bias, up.vector(Role::selection_bias, layer));
    BLOOM_TRY(w.expert_scale, up.vector(Role::expert_scale, layer));
    BLOOM_TRY(w.router, up.exact_matrix(Role::w_router, layer));
    BLOOM_TRY(w.gate, up.experts(Role::w_gate_exps, layer));
    BLOOM_TRY(w.up, up.experts(Role::w_up_exps, layer));
    BLOOM_TRY(w.down, up.experts(Role::w_down_exps, layer));
    return w;
}

} // namespace arch
} // namespace bloom::engine
