#include "engine/config/families.hpp"

namespace bloom::engine::config {

using hf::corrupt;
using hf::Fields;
using hf::unsupported;

void assume_minimax_m2(ModelConfig& c) {
    c.qk_norm_whole = true;
    c.experts.sigmoid = true;
    c.experts.normalise = true; // whatever a file says
}

namespace {

// --- Hugging Face
// ---------------------------------------------------------------------------------

Result<> read_hf_sizes(const Fields& f, ModelConfig& c) {
    BLOOM_OK(read_hf_decoder_sizes(f, c));
    BLOOM_TRY(c.norm_eps, f.real("rms_norm_eps"));
    BLOOM_TRY(c.experts.n_experts, f.integer("num_local_experts"));
    BLOOM_TRY(c.experts.top_k, f.integer("num_experts_per_tok"));
    BLOOM_TRY(c.experts.ffn_dim, f.integer("intermediate_size"));
    return {};
}

Result<> read_hf_switches(const Fields& f, ModelConfig& c) {
    BLOOM_TRY(const std::string act, f.text_or("hidden_act", "silu"));
    if (act != "silu" && act != "swish")
        return unsupported("hidden_act {} is not supported; silu is", bloom::quoted(act));
    BLOOM_TRY(const bool bias, f.boolean_or("attention_bias", false));
    if (bias) return unsupported("attention_bias is not supported for MiniMax M2");
    BLOOM_TRY(const std::int64_t shared, f.integer_or("shared_intermediate_size", 0));
    if (shared != 0)
        return unsupported("shared_intermediate_size {} is not supported; 0 is", shared);
    BLOOM_TRY(const std::string score, f.text_or("scoring_func", "sigmoid"));
    if (score != "sigmoid")
        return unsupported("scoring_func {} is not supported; sigmoid is", bloom::quoted(score));
    BLOOM_TRY(c.experts.selection_bias, f.boolean_or("use_routing_bias", true));
    BLOOM_TRY(c.qk_norm, f.boolean_or("use_qk_norm", true));
    BLOOM_TRY(const std::string kind, f.text_or("qk_norm_type", "per_layer"));
    if (c.qk_norm && kind != "per_layer")
        return unsupported("qk_norm_type {} is not supported; per_layer is", bloom::quoted(kind));
    const auto layers = f.find("attn_type_list");
    if (!layers) return {};
    const auto list = layers->as_array();
    if (!list) return corrupt("{}: attn_type_list: {}", f.where(), list.error().message());
    for (const json::Value value : *list) {
        const auto type = value.as_int64();
        if (!type) return corrupt("{}: attn_type_list: {}", f.where(), type.error().message());
        if (*type != 1) {
            return unsupported("attn_type_list has layers of type {}; 1 (full attention) is "
                               "supported",
                               *type);
        }
    }
    return {};
}

/// The rotated part of a head: a number, or a share in newer files.
Result<> read_hf_rotation(const Fields& f, ModelConfig& c) {
    c.rope_theta = 5e6; // that family's default
    BLOOM_OK(read_hf_rope(f, c));
    if (f.find("rotary_dim")) {
        BLOOM_TRY(c.rotary_dim, f.integer("rotary_dim"));
        if (c.rotary_dim < 1) return corrupt("{}: rotary_dim is {}", f.where(), c.rotary_dim);
        return {};
    }
    BLOOM_TRY(const auto parameters, f.object("rope_parameters"));
    const bool inside = parameters && parameters->find("partial_rotary_factor");
    const Fields& from = inside ? *parameters : f;
    if (!from.find("partial_rotary_factor")) {
        return corrupt(
            "{}: rotary_dim and partial_rotary_factor are missing, one of them is needed",
            f.where());
    }
    BLOOM_TRY(const double share, from.real("partial_rotary_factor"));
    BLOOM_TRY(c.rotary_dim, hf_rotated_part(share, c.head_dim, from.where()));
    return {};
}

} // namespace

Result<> read_hf_minimax_m2(const Fields& f, const HfParts& parts, ModelConfig& c) {
    assume_minimax_m2(c);
    BLOOM_OK(read_hf_sizes(f, c));
    BLOOM_OK(read_hf_switches(f, c));
    BLOOM_OK(read_hf_rotation(f, c));
    BLOOM_TRY(c.tied_output, f.boolean_or("tie_word_embeddings", !parts.output_head));
    return {};
}

// --- GGUF
// -----------------------------------------------------------------------------------------

Result<> read_gguf_minimax_m2(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    assume_minimax_m2(c);
    BLOOM_TRY(c.n_layers, keys.integer("block_count", 1, kMaxLayers));
    BLOOM_TRY(c.d_model, keys.integer("embedding_length", 1, kMaxModelWidth));
    BLOOM_TRY(c.ctx_len, keys.integer("context_length", 1, kMaxCtxLen));
    BLOOM_TRY(c.n_heads, keys.per_layer("attention.head_count", c.n_layers, kMaxHeads));
    BLOOM_TRY(c.n_kv_heads, keys.per_layer("attention.head_count_kv", c.n_layers, kMaxHeads));
    BLOOM_TRY(c.head_dim, keys.integer("attention.key_length", 2, kMaxHeadDim));
    BLOOM_TRY(const std::int64_t v_dim,
              keys.integer_or("attention.value_length", c.head_dim, 1, kMaxHeadDim));
    if (v_dim != c.head_dim) {
        return unsupported("{} is {} beside keys of {}; equal ones are supported",
                           keys.key("attention.value_length"), v_dim, c.head_dim);
    }
    BLOOM_TRY(c.rotary_dim, keys.integer("rope.dimension_count", 1, kMaxHeadDim));
    BLOOM_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon"));
    ExpertConfig& e = c.experts;
    BLOOM_TRY(e.n_experts, keys.integer("expert_count", 1, kMaxExperts));
    BLOOM_TRY(e.top_k, keys.integer("expert_used_count", 1, kMaxExperts));
    BLOOM_TRY(const std::int64_t ffn, keys.integer_or("feed_forward_length", 0, 0, kMaxFfnWidth));
    BLOOM_TRY(e.ffn_dim, keys.integer_or("expert_feed_forward_length", ffn, 1, kMaxFfnWidth));
    constexpr std::int64_t kSigmoid = 2;
    BLOOM_TRY(const std::int64_t score, keys.integer_or("expert_gating_func", kSigmoid, 0, 255));
    if (score != kSigmoid) {
        return unsupported("{} is {}; {} (sigmoid) is supported", keys.key("expert_gating_func"),
                           score, kSigmoid);
    }
    BLOOM_OK(read_gguf_rope(keys, file, c));
    const auto has = [&](std::string_view name) { return file.find_tensor(name) != nullptr; };
    e.selection_bias = has("blk.0.exp_probs_b.bias");
    c.qk_norm = has("blk.0.attn_q_norm.weight");
    c.tied_output = !has("output.weight");
    return {};
}

} // namespace bloom::engine::config
