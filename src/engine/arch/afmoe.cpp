#include <cmath>
#include <optional>

#include "engine/arch/common.hpp"

/// AFMoE (Trinity): gated attention, with positions where there is a window and without them where
/// there is none; norms before and behind every part; plain networks in the first layers, then
/// experts beside one that every token uses.
namespace bloom::engine {
namespace {

using namespace arch;

struct Layer {
    WeightId attn_norm;
    AttentionWeights attention;
    KvPlace kv;
    RopeId rope; ///< none: without positions
    WeightId attn_post_norm;
    WeightId ffn_norm;
    std::optional<ExpertWeights> experts;
    FfnWeights ffn; ///< beside experts the shared one
    WeightId ffn_post_norm;
};

class Blocks {
public:
    Blocks(PlanWriter& plan, const ModelConfig& c)
        : plan_(plan), attention_(plan, c.n_heads, c.n_kv_heads, c.head_dim, true),
          scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)))),
          has_shared_(c.experts.shared_ffn_dim > 0), experts_(plan, c.experts, rule(c.experts)),
          routed_(plan.tensor(c.d_model)) {
        if (c.has_dense_layers()) dense_.emplace(plan, c.ffn_dim);
        if (has_shared_) shared_.emplace(plan, c.experts.shared_ffn_dim);
    }

    void write(const Layer& l) {
        plan_.norm_stream(l.attn_norm);
        attention_.project(plan_.input(), l.attention);
        attention_.norm_heads(l.attention);
        if (l.rope != RopeId::none) attention_.rotate(l.rope);
        attention_.attend(l.kv, scale_);
        attention_.output(l.attention, plan_.branch());
        plan_.norm_branch(l.attn_post_norm);
        plan_.add_branch();
        plan_.norm_stream(l.ffn_norm);
        write_ffn(l);
        plan_.norm_branch(l.ffn_post_norm);
        plan_.add_branch();
    }

private:
    static ExpertsBlock::Rule rule(const ExpertConfig& config) {
        return {config.sigmoid ? compute::RouteScore::sigmoid : compute::RouteScore::softmax,
                compute::GateActivation::silu};
    }

    void write_ffn(const Layer& l) {
        if (!l.experts) {
            dense_->write(plan_.input(), l.ffn, plan_.branch());
        } else if (!has_shared_) {
            experts_.write(plan_.input(), plan_.input(), *l.experts, plan_.branch());
        } else {
            shared_->write(plan_.input(), l.ffn, plan_.branch());
            experts_.write(plan_.input(), plan_.input(), *l.experts, routed_);
            plan_.add(compute::AddOp{plan_.branch(), routed_});
        }
    }

    PlanWriter& plan_;
    AttentionBlock attention_;
    float scale_;
    bool has_shared_;
    ExpertsBlock experts_;
    TensorId routed_;
    std::optional<FfnBlock> dense_;
    std::optional<FfnBlock> shared_;
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

Result<std::unique_ptr<const Graph>> load_afmoe(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options) {
    Uploader up(file, backend);
    BLOOM_TRY(Base base, load_base(up));
    BLOOM_TRY(const RopeId rope, load_rope(up));
    const auto load = [&](std::int64_t i) -> Result<Layer> {
        Layer l{};
        BLOOM_TRY(l.attn_norm, up.vector(Role::attn_norm, i));
        BLOOM_TRY(l.attention, load_attention(up, i));
        l.rope = base.config.is_rotated(i) ? rope : RopeId::none;
        l.kv = base.place(kv_group(base.config, i, options.kv_type));
        BLOOM_TRY(l.attn_post_norm, up.vector(Role::attn_post_norm, i));
        BLOOM_TRY(l.ffn_norm, up.vector(Role::ffn_norm, i));
        if (!base.config.has_experts(i)) {
            BLOOM_TRY(l.ffn, load_ffn(up, i));
        } else {
            BLOOM_TRY(l.experts, load_experts(up, i));
            if (base.config.experts.shared_ffn_dim > 0) {
                BLOOM_TRY(l.ffn, load_shared_ffn(up, i));
            }
        }
        BLOOM_TRY(l.ffn_post_norm, up.vector(Role::ffn_post_norm, i));
        return l;
    };
    return load_graph_of<Layer>(up, options, base, load, &write_plan);
}

} // namespace bloom::engine
