#include <cmath>

#include "engine/config/families.hpp"

namespace bloom::engine::config {

using hf::corrupt;
using hf::Fields;
using hf::unsupported;

void assume_afmoe(ModelConfig& c) {
    c.qk_norm = true;
    c.attn_gate = true;
    c.attn_post_norm = true;
    c.experts.selection_bias = true;
    // The layers that see everything are those without positions.
    c.unrotated_layers.clear();
    for (const std::int64_t window : c.layer_windows)
        c.unrotated_layers.push_back(window == 0 ? 1 : 0);
}

namespace {

void add_layer(bool full, std::int64_t window, ModelConfig& c) {
    c.layer_windows.push_back(full ? 0 : window);
}

Result<> set_dense(std::string_view key, std::int64_t n_dense, ModelConfig& c) {
    if (n_dense < 0 || n_dense > c.n_layers)
        return corrupt("{} is {} of {} layers", key, n_dense, c.n_layers);
    if (n_dense == 0) return {};
    c.experts.dense_layers.assign(static_cast<std::size_t>(c.n_layers), 0);
    for (std::int64_t i = 0; i < n_dense; ++i)
        c.experts.dense_layers[static_cast<std::size_t>(i)] = 1;
    return {};
}

/// Shared experts are one of all their widths together.
Result<> set_shared(std::string_view key, std::int64_t n_shared, ModelConfig& c) {
    if (n_shared < 0 || n_shared > kMaxExperts)
        return corrupt("{} is {}; 0 to {} is possible", key, n_shared, kMaxExperts);
    if (c.experts.ffn_dim < 1 || c.experts.ffn_dim > kMaxFfnWidth) return {}; // validate names it
    c.experts.shared_ffn_dim = n_shared * c.experts.ffn_dim;
    return {};
}

void scale_embedding(ModelConfig& c) {
    c.embed_scale = std::sqrt(static_cast<double>(c.d_model));
}

// --- Hugging Face
// ---------------------------------------------------------------------------------

Result<> read_hf_sizes(const Fields& f, ModelConfig& c) {
    BLOOM_OK(read_hf_decoder_sizes(f, c));
    BLOOM_TRY(c.ffn_dim, f.integer("intermediate_size"));
    BLOOM_TRY(c.norm_eps, f.real("rms_norm_eps"));
    return {};
}

Result<> read_hf_experts(const Fields& f, ModelConfig& c) {
    ExpertConfig& e = c.experts;
    BLOOM_TRY(e.n_experts, f.integer("num_experts"));
    BLOOM_TRY(e.top_k, f.integer("num_experts_per_tok"));
    BLOOM_TRY(e.ffn_dim, f.integer("moe_intermediate_size"));
    BLOOM_TRY(const std::int64_t n_shared, f.integer("num_shared_experts"));
    BLOOM_OK(set_shared("num_shared_experts", n_shared, c));
    BLOOM_TRY(const std::int64_t n_dense, f.integer("num_dense_layers"));
    if (c.n_layers >= 1 && c.n_layers <= kMaxLayers) // else validate names it
        BLOOM_OK(set_dense("num_dense_layers", n_dense, c));
    BLOOM_TRY(const std::string score, f.text_or("score_func", "sigmoid"));
    if (score != "sigmoid" && score != "softmax") {
        return unsupported("score_func {} is not supported; sigmoid and softmax are",
                           bloom::quoted(score));
    }
    e.sigmoid = score == "sigmoid";
    BLOOM_TRY(e.normalise, f.boolean_or("route_norm", true));
    BLOOM_TRY(e.scale, f.real_or("route_scale", 1.0));
    for (const char* key : {"n_group", "topk_group"}) {
        BLOOM_TRY(const std::int64_t groups, f.integer_or(key, 1));
        if (groups != 1)
            return unsupported("{} {} is not supported; experts of one group are", key, groups);
    }
    return {};
}

Result<> check_hf_switches(const Fields& f) {
    BLOOM_TRY(const std::string act, f.text_or("hidden_act", "silu"));
    if (act != "silu" && act != "swish")
        return unsupported("hidden_act {} is not supported; silu is", bloom::quoted(act));
    BLOOM_TRY(const bool bias, f.boolean_or("attention_bias", false));
    if (bias) return unsupported("attention_bias is not supported for AFMoE");
    return {};
}

/// A list of the layers, or how often a full one comes. Names of tensors do not tell, so one of
/// them has to be there.
Result<> read_hf_layers(const Fields& f, ModelConfig& c) {
    if (c.n_layers < 1 || c.n_layers > kMaxLayers) return {}; // validate names it
    BLOOM_TRY(const std::int64_t window, f.integer("sliding_window"));
    if (window < 1) return corrupt("{}: sliding_window is {}", f.where(), window);
    BLOOM_TRY(const std::vector<std::string> types, f.layer_types(c.n_layers));
    for (const std::string& type : types) {
        if (type != "full_attention" && type != "sliding_attention") {
            return unsupported(
                "layer type {} is not supported; full_attention and sliding_attention are",
                bloom::quoted(type));
        }
        add_layer(type == "full_attention", window, c);
    }
    if (!types.empty()) return {};
    if (!f.find("global_attn_every_n_layers")) {
        return corrupt("{}: layer_types and global_attn_every_n_layers are missing, one of them is "
                       "needed",
                       f.where());
    }
    BLOOM_TRY(const std::int64_t every, f.integer("global_attn_every_n_layers"));
    if (every < 1) return corrupt("{}: global_attn_every_n_layers is {}", f.where(), every);
    for (std::int64_t i = 0; i < c.n_layers; ++i)
        add_layer((i + 1) % every == 0, window, c);
    return {};
}

} // namespace

Result<> read_hf_afmoe(const Fields& f, const HfParts& parts, ModelConfig& c) {
    BLOOM_OK(check_hf_switches(f));
    BLOOM_OK(read_hf_sizes(f, c));
    BLOOM_OK(read_hf_experts(f, c));
    BLOOM_OK(read_hf_layers(f, c));
    assume_afmoe(c);
    BLOOM_OK(read_hf_rope(f, c));
    BLOOM_TRY(const bool scaled, f.boolean_or("mup_enabled", false));
    if (scaled) scale_embedding(c);
    BLOOM_TRY(c.tied_output, f.boolean_or("tie_word_embeddings", !parts.output_head));
    return {};
}

// --- GGUF
// -----------------------------------------------------------------------------------------

namespace {

Result<> read_gguf_experts(const ArchKeys& keys, ModelConfig& c) {
    ExpertConfig& e = c.experts;
    BLOOM_TRY(e.n_experts, keys.integer("expert_count", 1, kMaxExperts));
    BLOOM_TRY(e.top_k, keys.integer("expert_used_count", 1, kMaxExperts));
    BLOOM_TRY(e.ffn_dim, keys.integer("expert_feed_forward_length", 1, kMaxFfnWidth));
    BLOOM_TRY(const std::int64_t n_shared,
              keys.integer_or("expert_shared_count", 0, 0, kMaxExperts));
    BLOOM_OK(set_shared(keys.key("expert_shared_count"), n_shared, c));
    BLOOM_TRY(const std::int64_t n_dense,
              keys.integer_or("leading_dense_block_count", 0, 0, kMaxLayers));
    BLOOM_OK(set_dense(keys.key("leading_dense_block_count"), n_dense, c));
    BLOOM_TRY(e.normalise, keys.boolean_or("expert_weights_norm", true));
    BLOOM_TRY(e.scale, keys.real_or("expert_weights_scale", 1.0));
    for (const char* key : {"expert_group_count", "expert_group_used_count"}) {
        BLOOM_TRY(const std::int64_t groups, keys.integer_or(key, 1, 0, kMaxExperts));
        if (groups > 1)
            return unsupported("{} is {}; experts of one group are supported", keys.key(key),
                               groups);
    }
    // Sigmoids where the file does not say.
    constexpr std::int64_t kSoftmax = 1;
    constexpr std::int64_t kSigmoid = 2;
    BLOOM_TRY(const std::int64_t score, keys.integer_or("expert_gating_func", kSigmoid, 0, 255));
    if (score > kSigmoid) {
        return unsupported("{} is {}; {} (softmax) and {} (sigmoid) are supported",
                           keys.key("expert_gating_func"), score, kSoftmax, kSigmoid);
    }
    e.sigmoid = score != kSoftmax;
    return {};
}

/// Which layers slide: one flag for each, or every n-th one is full, every fourth by default.
Result<> read_gguf_layers(const ArchKeys& keys, ModelConfig& c) {
    constexpr const char* kPattern = "attention.sliding_window_pattern";
    BLOOM_TRY(const std::int64_t window, keys.integer("attention.sliding_window", 1, kMaxCtxLen));
    std::int64_t full_every = 4;
    if (keys.has(kPattern)) {
        if (const auto every = keys.integer(kPattern, 1, kMaxLayers)) {
            full_every = *every;
        } else {
            BLOOM_TRY(const auto sliding, keys.each_layer(kPattern, c.n_layers, 0, 1));
            for (const std::int64_t is_sliding : sliding)
                add_layer(is_sliding == 0, window, c);
            return {};
        }
    }
    for (std::int64_t i = 0; i < c.n_layers; ++i)
        add_layer((i + 1) % full_every == 0, window, c);
    return {};
}

} // namespace

Result<> read_gguf_afmoe(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    BLOOM_TRY(c.n_layers, keys.integer("block_count", 1, kMaxLayers));
    BLOOM_TRY(c.d_model, keys.integer("embedding_length", 1, kMaxModelWidth));
    BLOOM_TRY(c.ctx_len, keys.integer("context_length", 1, kMaxCtxLen));
    BLOOM_TRY(c.ffn_dim, keys.per_layer("feed_forward_length", c.n_layers, kMaxFfnWidth));
    BLOOM_TRY(c.n_heads, keys.per_layer("attention.head_count", c.n_layers, kMaxHeads));
    BLOOM_TRY(c.n_kv_heads, keys.per_layer("attention.head_count_kv", c.n_layers, kMaxHeads));
    BLOOM_TRY(c.head_dim, keys.integer("attention.key_length", 2, kMaxHeadDim));
    for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
        BLOOM_TRY(const std::int64_t other, keys.integer_or(name, c.head_dim, 1, kMaxHeadDim));
        if (other == c.head_dim) continue;
        return unsupported("{} is {} beside keys of {}; equal ones are supported", keys.key(name),
                           other, c.head_dim);
    }
    BLOOM_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon"));
    BLOOM_OK(read_gguf_experts(keys, c));
    BLOOM_OK(read_gguf_layers(keys, c));
    assume_afmoe(c);
    BLOOM_OK(read_gguf_rope(keys, file, c));
    BLOOM_TRY(c.rope_theta, keys.real_or("rope.freq_base_swa", c.rope_theta));
    scale_embedding(c); // no key tells: always
    c.tied_output = file.find_tensor("output.weight") == nullptr;
    return {};
}

} // namespace bloom::engine::config
