#include <cmath>

#include "engine/arch/common.hpp"

/// MiniMax M2: full attention whose queries and keys are normed over all heads together and rotated
/// in part, and experts in every layer, chosen by sigmoids and a bias.
namespace bloom::engine {
namespace {

using namespace arch;

struct Layer {
    WeightId attn_norm;
    AttentionWeights attention;
    KvPlace kv;
    RopeId rope;
    WeightId ffn_norm;
    ExpertWeights experts;
};

compute::Plan write_plan(const Base& model, std::span<const Layer> layers,
                         const compute::PlanKey& key) {
    const ModelConfig& c = model.config;
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
    PlanWriter plan(model, key);
    AttentionBlock attention(plan, c.n_heads, c.n_kv_heads, c.head_dim);
    ExpertsBlock experts(plan, c.experts,
                         {compute::RouteScore::sigmoid, compute::GateActivation::silu});
    plan.embed();
    for (const Layer& l : layers) {
        plan.norm_stream(l.attn_norm);
        attention.project(plan.input(), l.attention);
        plan.norm_heads(attention.q(), l.attention.q_norm, c.q_dim());
        plan.norm_heads(attention.k(), l.attention.k_norm, c.kv_dim());
        attention.rotate(l.rope);
        attention.attend(l.kv, scale);
        attention.output(l.attention, plan.branch());
        plan.add_branch();
        plan.norm_stream(l.ffn_norm);
        experts.write(plan.input(), plan.input(), l.experts, plan.branch());
        plan.add_branch();
    }
    return std::move(plan).finish();
}

} // namespace

Result<std::unique_ptr<const Graph>>
load_minimax_m2(const ModelFile& file, compute::Backend& backend, const ArchOptions& options) {
    Uploader up(file, backend);
    BLOOM_TRY(Base base, load_base(up));
    BLOOM_TRY(const RopeId rope, load_rope(up));
    const auto load = [&](std::int64_t i) -> Result<Layer> {
        Layer l{};
        BLOOM_TRY(l.attn_norm, up.vector(Role::attn_norm, i));
        BLOOM_TRY(l.attention, load_attention(up, i));
        l.kv = base.place(kv_group(base.config, i, options.kv_type));
        l.rope = rope;
        BLOOM_TRY(l.ffn_norm, up.vector(Role::ffn_norm, i));
        BLOOM_TRY(l.experts, load_experts(up, i));
        return l;
    };
    return load_graph_of<Layer>(up, options, base, load, &write_plan);
}

} // namespace bloom::engine
