#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/engine/arch.hpp>
#include <bloom/engine/rope.hpp>

/// Llama 2/3, Qwen2/2.5 and Qwen3 without experts: one graph, switches from the configuration.
namespace bloom::engine {
namespace {

using compute::RopeId;
using compute::TensorId;
using compute::WeightId;

struct Layer {
    WeightId attn_norm, wq, wk, wv, wo;
    WeightId bq, bk, bv, bo; ///< or none
    WeightId q_norm, k_norm; ///< or none
    WeightId ffn_norm, w_gate, w_up, w_down;
    WeightId b_gate, b_up, b_down; ///< or none
    std::int32_t group;            ///< of the state
    std::int32_t index_in_group;
};

struct Dense {
    ModelConfig config;
    StateSpec state;
    WeightId tok_embd, output_norm, output;
    RopeId rope;
    std::vector<Layer> layers;
    std::int64_t bytes_per_token = 0;
    std::int64_t macs_per_token = 0;
};

/// Writes the operations of one plan; tensors are reused from layer to layer.
class PlanWriter {
public:
    PlanWriter(const Dense& model, const compute::PlanKey& key)
        : m_(model), c_(model.config), plan_(key), h_(plan_.tensor(c_.d_model)),
          a_(plan_.tensor(c_.d_model)), q_(plan_.tensor(c_.q_dim())), k_(plan_.tensor(c_.kv_dim())),
          v_(plan_.tensor(c_.kv_dim())), o_(plan_.tensor(c_.q_dim())), d_(plan_.tensor(c_.d_model)),
          gate_(plan_.tensor(c_.ffn_dim)), up_(plan_.tensor(c_.ffn_dim)),
          eps_(static_cast<float>(c_.norm_eps)), head_dim_(static_cast<std::int32_t>(c_.head_dim)) {
    }

    compute::Plan write() && {
        plan_.add(compute::EmbedOp{m_.tok_embd, h_});
        for (const Layer& layer : m_.layers) {
            attention(layer);
            feed_forward(layer);
        }
        head();
        return std::move(plan_);
    }

private:
    void norm(TensorId in, WeightId weight, std::int64_t width, TensorId out) {
        plan_.add(compute::RmsNormOp{in, weight, eps_, width, out});
    }

    void attention(const Layer& l) {
        norm(h_, l.attn_norm, c_.d_model, a_);            // [n, D]
        plan_.add(compute::MatmulOp{a_, l.wq, l.bq, q_}); // [n, H * d]
        plan_.add(compute::MatmulOp{a_, l.wk, l.bk, k_}); // [n, G * d]
        plan_.add(compute::MatmulOp{a_, l.wv, l.bv, v_}); // [n, G * d]
        if (l.q_norm != WeightId::none) norm(q_, l.q_norm, c_.head_dim, q_);
        if (l.k_norm != WeightId::none) norm(k_, l.k_norm, c_.head_dim, k_);
        const auto n_heads = static_cast<std::int32_t>(c_.n_heads);
        const auto n_kv_heads = static_cast<std::int32_t>(c_.n_kv_heads);
        plan_.add(compute::RopeOp{q_, m_.rope, n_heads, head_dim_});
        plan_.add(compute::RopeOp{k_, m_.rope, n_kv_heads, head_dim_});
        const auto pool = static_cast<compute::KvPoolId>(l.group);
        plan_.add(compute::KvStoreOp{k_, v_, pool, l.index_in_group});
        const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c_.head_dim)));
        plan_.add(
            compute::AttentionOp{q_, pool, l.index_in_group, n_heads, scale, o_}); // [n, H * d]
        plan_.add(compute::MatmulOp{o_, l.wo, l.bo, d_});                          // [n, D]
        plan_.add(compute::AddOp{h_, d_});
    }

    void feed_forward(const Layer& l) {
        norm(h_, l.ffn_norm, c_.d_model, a_);
        plan_.add(compute::MatmulOp{a_, l.w_gate, l.b_gate, gate_}); // [n, F]
        plan_.add(compute::MatmulOp{a_, l.w_up, l.b_up, up_});       // [n, F]
        plan_.add(compute::SiluMulOp{gate_, up_, gate_});
        plan_.add(compute::MatmulOp{gate_, l.w_down, l.b_down, d_});
        plan_.add(compute::AddOp{h_, d_});
    }

    void head() {
        constexpr auto kLogits = compute::RowKind::logits;
        const TensorId last = plan_.tensor(c_.d_model, kLogits);
        const TensorId normed = plan_.tensor(c_.d_model, kLogits);
        const TensorId logits = plan_.tensor(c_.vocab_rows, kLogits);
        plan_.add(compute::GatherRowsOp{h_, last});
        norm(last, m_.output_norm, c_.d_model, normed);
        plan_.add(compute::MatmulOp{normed, m_.output, WeightId::none, logits}); // [rows, V]
        plan_.add(compute::LogitsOp{logits});
    }

    const Dense& m_;
    const ModelConfig& c_;
    compute::Plan plan_;
    TensorId h_; ///< residual stream [n, D]
    TensorId a_; ///< its norm
    TensorId q_, k_, v_, o_;
    TensorId d_; ///< what a block adds to the stream
    TensorId gate_, up_;
    float eps_;
    std::int32_t head_dim_;
};

class DenseGraph final : public Graph {
public:
    explicit DenseGraph(Dense model) : model_(std::move(model)) {}

    const StateSpec& state() const noexcept override { return model_.state; }

    std::int64_t vocab_rows() const noexcept override { return model_.config.vocab_rows; }

    compute::Plan plan(const compute::PlanKey& key) const override {
        return PlanWriter(model_, key).write();
    }

    std::int64_t bytes_per_token() const noexcept override { return model_.bytes_per_token; }

    std::int64_t macs_per_token() const noexcept override { return model_.macs_per_token; }

private:
    Dense model_;
};

/// Brings weights to the backend one by one.
class Uploader {
public:
    Uploader(const ModelFile& file, compute::Backend& backend, Dense& model)
        : weights_(file.weights()), backend_(backend), model_(model) {}

    Result<WeightId> matrix(Role role, std::int64_t layer = -1) {
        const WeightView& view = weights_.at(role, layer);
        BLOOM_TRY(const WeightId id, backend_.upload_matrix(in_model_order(view, scratch_)));
        if (role != Role::tok_embd) {
            model_.bytes_per_token += static_cast<std::int64_t>(view.bytes());
            if (layer >= 0) model_.macs_per_token += view.matrix.rows * view.matrix.k;
        }
        return id;
    }

    /// A vector, or none where the model has none.
    Result<WeightId> vector(Role role, std::int64_t layer = -1) {
        const WeightView* const view = weights_.find(role, layer);
        if (view == nullptr) return WeightId::none;
        values_.resize(static_cast<std::size_t>(view->matrix.k));
        expand_vector(*view, values_);
        return backend_.upload_vector(values_);
    }

    Result<Layer> layer(std::int64_t i) {
        Layer l{};
        BLOOM_TRY(l.attn_norm, vector(Role::attn_norm, i));
        BLOOM_TRY(l.wq, matrix(Role::wq, i));
        BLOOM_TRY(l.wk, matrix(Role::wk, i));
        BLOOM_TRY(l.wv, matrix(Role::wv, i));
        BLOOM_TRY(l.wo, matrix(Role::wo, i));
        BLOOM_TRY(l.bq, vector(Role::bq, i));
        BLOOM_TRY(l.bk, vector(Role::bk, i));
        BLOOM_TRY(l.bv, vector(Role::bv, i));
        BLOOM_TRY(l.bo, vector(Role::bo, i));
        BLOOM_TRY(l.q_norm, vector(Role::q_norm, i));
        BLOOM_TRY(l.k_norm, vector(Role::k_norm, i));
        BLOOM_TRY(l.ffn_norm, vector(Role::ffn_norm, i));
        BLOOM_TRY(l.w_gate, matrix(Role::w_gate, i));
        BLOOM_TRY(l.w_up, matrix(Role::w_up, i));
        BLOOM_TRY(l.w_down, matrix(Role::w_down, i));
        BLOOM_TRY(l.b_gate, vector(Role::b_gate, i));
        BLOOM_TRY(l.b_up, vector(Role::b_up, i));
        BLOOM_TRY(l.b_down, vector(Role::b_down, i));
        return l;
    }

private:
    const Weights& weights_;
    compute::Backend& backend_;
    Dense& model_;
    std::vector<std::uint8_t> scratch_;
    std::vector<float> values_;
};

/// The group of layers that see `window` tokens; made when it is the first.
std::int32_t group_for(Dense& model, std::int64_t window, kernels::KvType type) {
    auto& groups = model.state.groups;
    const auto same = [&](const compute::KvGroupSpec& g) { return g.window == window; };
    const auto at = std::ranges::find_if(groups, same);
    if (at != groups.end()) return static_cast<std::int32_t>(at - groups.begin());
    const ModelConfig& c = model.config;
    const auto head_dim = static_cast<std::int32_t>(c.head_dim);
    groups.push_back({0, static_cast<std::int32_t>(c.n_kv_heads), head_dim, head_dim,
                      static_cast<std::int32_t>(window), type});
    return static_cast<std::int32_t>(groups.size() - 1);
}

Result<RopeId> upload_rope(const ModelFile& file, compute::Backend& backend) {
    std::vector<float> factors;
    if (const WeightView* const view = file.weights().find(Role::rope_factors)) {
        factors.resize(static_cast<std::size_t>(view->matrix.k));
        expand_vector(*view, factors);
    }
    BLOOM_TRY(compute::RopeSpec spec, make_rope(file.config(), factors));
    return backend.add_rope(std::move(spec));
}

} // namespace

Result<std::unique_ptr<const Graph>> load_dense(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options) {
    Dense model;
    model.config = file.config();
    Uploader up(file, backend, model);
    BLOOM_OK(file.begin_layer(-1));
    BLOOM_TRY(model.tok_embd, up.matrix(Role::tok_embd));
    BLOOM_TRY(model.output_norm, up.vector(Role::output_norm));
    model.output = model.tok_embd;
    if (model.config.tied_output) {
        model.bytes_per_token +=
            static_cast<std::int64_t>(file.weights().at(Role::tok_embd).bytes());
    } else {
        BLOOM_TRY(model.output, up.matrix(Role::output));
    }
    BLOOM_TRY(model.rope, upload_rope(file, backend));
    file.end_layer(-1);
    const std::int64_t all = model.config.n_layers;
    const std::int64_t n =
        options.n_layers > 0 ? std::min<std::int64_t>(options.n_layers, all) : all;
    for (std::int64_t i = 0; i < n; ++i) {
        BLOOM_OK(file.begin_layer(i));
        BLOOM_TRY(Layer layer, up.layer(i));
        file.end_layer(i);
        layer.group = group_for(model, model.config.window(i), options.kv_type);
        layer.index_in_group = model.state.groups[static_cast<std::size_t>(layer.group)].n_layers++;
        model.layers.push_back(layer);
    }
    return std::make_unique<const DenseGraph>(std::move(model));
}

Result<std::unique_ptr<const Graph>> load_graph(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options) {
    switch (file.config().arch) {
    case Arch::llama:
    case Arch::qwen2:
    case Arch::qwen3:
        return load_dense(file, backend, options);
    }
    return Error{Code::unsupported,
                 fmt::format("no graph for architecture {}", to_string(file.config().arch))};
}

} // namespace bloom::engine
