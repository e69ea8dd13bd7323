#include "engine/arch/common.hpp"

/// Llama 2/3, Qwen2/2.5 and Qwen3 without experts: one graph, switches from the configuration.
namespace bloom::engine {
namespace {

using namespace arch;

struct Layer {
    WeightId attn_norm;
    AttentionWeights attention;
    KvPlace kv;
    RopeId rope;
    WeightId ffn_norm;
    FfnWeights ffn;
};

compute::Plan write_plan(const Base& model, std::span<const Layer> layers,
                         const compute::PlanKey& key) {
    const ModelConfig& c = model.config;
    PlanWriter plan(model, key);
    AttentionBlock attention(plan, c.n_heads, c.n_kv_heads, c.head_dim);
    FfnBlock ffn(plan, c.ffn_dim);
    plan.embed();
    for (const Layer& l : layers) {
        plan.norm_stream(l.attn_norm);
        attention.write(plan.input(), l.attention, l.rope, l.kv, plan.branch());
        plan.add_branch();
        plan.norm_stream(l.ffn_norm);
        ffn.write(plan.input(), l.ffn, plan.branch());
        plan.add_branch();
    }
    return std::move(plan).finish();
}

} // namespace

Result<std::unique_ptr<const Graph>> load_dense(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options) {
    Uploader up(file, backend);
    BLOOM_TRY(Base base, load_base(up));
    BLOOM_TRY(const RopeId rope, load_rope(up));
    const auto load_layer = [&](std::int64_t i) -> Result<Layer> {
        Layer l{};
        BLOOM_TRY(l.attn_norm, up.vector(Role::attn_norm, i));
        BLOOM_TRY(l.attention, load_attention(up, i));
        BLOOM_TRY(l.ffn_norm, up.vector(Role::ffn_norm, i));
        BLOOM_TRY(l.ffn, load_ffn(up, i));
        l.kv = base.place(kv_group(base.config, i, options.kv_type));
        l.rope = rope;
        return l;
    };
    return load_graph_of<Layer>(up, options, base, load_layer, &write_plan);
}

} // namespace bloom::engine
