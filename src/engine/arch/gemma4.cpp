#include <cmath>
#include <optional>

#include <bloom/engine/rope.hpp>

#include "engine/arch/common.hpp"

/// Gemma 4: layers with a window and layers without, each kind with heads, keys and rotation of its
/// own; norms before and behind every part; a plain network beside the experts, whose router sees
/// the residual stream itself; and a factor of the whole stream behind each layer.
namespace bloom::engine {
namespace {

using namespace arch;

/// Experts and the norms that only layers with them have.
struct RoutedFfn {
    WeightId router_norm; ///< its scale, divided by the root of the width
    WeightId in_norm;
    ExpertWeights experts;
    WeightId dense_post_norm, post_norm;
};

struct Layer {
    bool is_global;
    WeightId attn_norm;
    AttentionWeights attention; ///< wv none: values are keys
    KvPlace kv;
    RopeId rope;
    WeightId attn_post_norm;
    WeightId ffn_norm;
    FfnWeights ffn;
    std::optional<RoutedFfn> routed;
    WeightId ffn_post_norm;
    float scale; ///< of the stream, behind the layer
};

// --- loading
// --------------------------------------------------------------------------------------

Result<RopeId> load_global_rope(Uploader& up) {
    std::vector<float> factors;
    if (const WeightView* const view = up.file().weights().find(Role::rope_factors)) {
        factors.resize(static_cast<std::size_t>(view->matrix.k));
        up.file().vector(*view, factors);
    }
    BLOOM_TRY(compute::RopeSpec spec, make_global_rope(up.file().config(), factors));
    return up.backend().add_rope(std::move(spec));
}

Result<RopeId> load_sliding_rope(Uploader& up) {
    ModelConfig config = up.file().config();
    config.rope_scaling = {}; // divisors are for the other kind of layer
    BLOOM_TRY(compute::RopeSpec spec, make_rope(config, {}));
    return up.backend().add_rope(std::move(spec));
}

Result<RoutedFfn> load_routed(Uploader& up, std::int64_t layer) {
    const auto width = static_cast<double>(up.file().config().d_model);
    const auto share = static_cast<float>(1.0 / std::sqrt(width));
    RoutedFfn w{};
    BLOOM_TRY(w.router_norm, up.scaled_vector(Role::router_scale, layer, share));
    BLOOM_TRY(w.in_norm, up.vector(Role::experts_norm, layer));
    BLOOM_TRY(w.experts, load_experts(up, layer));
    BLOOM_TRY(w.dense_post_norm, up.vector(Role::dense_post_norm, layer));
    BLOOM_TRY(w.post_norm, up.vector(Role::experts_post_norm, layer));
    return w;
}

Result<Layer> load_layer(Uploader& up, std::int64_t i) {
    const ModelConfig& c = up.file().config();
    Layer l{};
    l.is_global = c.is_global(i);
    BLOOM_TRY(l.attn_norm, up.vector(Role::attn_norm, i));
    BLOOM_TRY(l.attention, load_attention(up, i));
    BLOOM_TRY(l.attn_post_norm, up.vector(Role::attn_post_norm, i));
    BLOOM_TRY(l.ffn_norm, up.vector(Role::ffn_norm, i));
    BLOOM_TRY(l.ffn, load_ffn(up, i));
    if (c.has_experts(i)) {
        BLOOM_TRY(l.routed, load_routed(up, i));
    }
    BLOOM_TRY(l.ffn_post_norm, up.vector(Role::ffn_post_norm, i));
    BLOOM_TRY(l.scale, up.scalar(Role::layer_scale, i));
    return l;
}

// --- writing
// --------------------------------------------------------------------------------------

class Blocks {
public:
    Blocks(PlanWriter& plan, const ModelConfig& c)
        : plan_(plan), config_(c), sliding_(plan, c.n_heads, c.n_kv_heads, c.head_dim),
          global_(plan, c.n_heads, c.global_kv_heads, c.global_head_dim),
          ffn_(plan, c.ffn_dim, compute::GateActivation::gelu_tanh) {
        if (c.experts.n_experts == 0) return;
        experts_.emplace(
            plan, c.experts,
            ExpertsBlock::Rule{compute::RouteScore::softmax, compute::GateActivation::gelu_tanh});
        router_in_ = plan.tensor(c.d_model);
        experts_in_ = plan.tensor(c.d_model);
        dense_ = plan.tensor(c.d_model);
    }

    void write(const Layer& l) {
        plan_.norm_stream(l.attn_norm);
        attend(l);
        plan_.norm_branch(l.attn_post_norm);
        plan_.add_branch();
        if (l.routed) {
            write_routed(l, *l.routed);
        } else {
            plan_.norm_stream(l.ffn_norm);
            ffn_.write(plan_.input(), l.ffn, plan_.branch());
        }
        plan_.norm_branch(l.ffn_post_norm);
        plan_.add_branch();
        plan_.add(compute::ScaleOp{plan_.stream(), l.scale});
    }

private:
    void attend(const Layer& l) {
        AttentionBlock& heads = l.is_global ? global_ : sliding_;
        const std::int64_t dim = l.is_global ? config_.global_head_dim : config_.head_dim;
        heads.project(plan_.input(), l.attention);
        // Before the keys get their norm: they may be the values.
        const bool own_values = l.attention.wv != WeightId::none;
        plan_.norm(own_values ? heads.v() : heads.k(), WeightId::none, dim, heads.v());
        heads.norm_heads(l.attention);
        heads.rotate(l.rope);
        heads.attend(l.kv, 1.0F); // the norms of queries and keys have learnt the scale
        heads.output(l.attention, plan_.branch());
    }

    /// Everything that reads the stream comes first, so that it is one pass over a row.
    void write_routed(const Layer& l, const RoutedFfn& routed) {
        const std::int64_t width = config_.d_model;
        plan_.norm(plan_.stream(), routed.router_norm, width, router_in_);
        plan_.norm(plan_.stream(), routed.in_norm, width, experts_in_);
        plan_.norm_stream(l.ffn_norm);
        ffn_.write(plan_.input(), l.ffn, dense_);
        experts_->write(router_in_, experts_in_, routed.experts, plan_.branch());
        plan_.norm(dense_, routed.dense_post_norm, width, dense_);
        plan_.norm_branch(routed.post_norm);
        plan_.add(compute::AddOp{plan_.branch(), dense_});
    }

    PlanWriter& plan_;
    const ModelConfig& config_;
    AttentionBlock sliding_;
    AttentionBlock global_;
    FfnBlock ffn_;
    std::optional<ExpertsBlock> experts_;
    TensorId router_in_ = TensorId::none;
    TensorId experts_in_ = TensorId::none;
    TensorId dense_ = TensorId::none;
};

compute::Plan write_plan(const Base& model, std::span<const Layer> layers,
                         const compute::PlanKey& key) {
    PlanWriter plan(model, key);
    Blocks blocks(plan, model.config);
    plan.embed();
    for (const Layer& l : layers)
        blocks.write(l);
    return std::move(plan).finish();
}

} // namespace

Result<std::unique_ptr<const Graph>> load_gemma4(const ModelFile& file, compute::Backend& backend,
                                                 const ArchOptions& options) {
    Uploader up(file, backend);
    BLOOM_TRY(Base base, load_base(up));
    BLOOM_TRY(const RopeId sliding, load_sliding_rope(up));
    BLOOM_TRY(const RopeId global, load_global_rope(up));
    const auto load = [&](std::int64_t i) -> Result<Layer> {
        BLOOM_TRY(Layer l, load_layer(up, i));
        l.kv = base.place(kv_group(base.config, i, options.kv_type));
        l.rope = l.is_global ? global : sliding;
        return l;
    };
    return load_graph_of<Layer>(up, options, base, load, &write_plan);
}

} // namespace bloom::engine
