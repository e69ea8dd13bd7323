#include <cmath>

#include "kernels/half.hpp"

#include "engine/config/families.hpp"

namespace bloom::engine::config {

using hf::corrupt;
using hf::Fields;
using hf::unsupported;

// The scale of embeddings is the root of the width as the reference has it, in bf16, for both
// containers.
void assume_gemma4(ModelConfig& c) {
    c.qk_norm = true;
    c.attn_post_norm = true;
    const auto root = static_cast<float>(std::sqrt(static_cast<double>(c.d_model)));
    c.embed_scale = static_cast<double>(kernels::bf16_to_f32(kernels::f32_to_bf16(root)));
}

namespace {

Error per_layer_embeddings(std::string_view key, std::int64_t width) {
    return unsupported("{} is {}; Gemma 4 with embeddings of its own in every layer (E2B, E4B) is "
                       "not supported",
                       key, width);
}

// --- Hugging Face
// ---------------------------------------------------------------------------------

Result<> read_hf_sizes(const Fields& f, ModelConfig& c) {
    BLOOM_OK(read_hf_decoder_sizes(f, c));
    BLOOM_TRY(c.global_head_dim, f.integer("global_head_dim"));
    BLOOM_TRY(c.global_k_is_v, f.boolean_or("attention_k_eq_v", false));
    c.global_kv_heads = c.n_kv_heads;
    if (c.global_k_is_v) {
        BLOOM_TRY(c.global_kv_heads, f.integer_or("num_global_key_value_heads", c.n_kv_heads));
    }
    BLOOM_TRY(c.ffn_dim, f.integer("intermediate_size"));
    BLOOM_TRY(c.norm_eps, f.real("rms_norm_eps"));
    BLOOM_TRY(c.logit_softcap, f.real_or("final_logit_softcapping", 0.0));
    BLOOM_TRY(const bool has_experts, f.boolean_or("enable_moe_block", false));
    if (!has_experts) return {};
    BLOOM_TRY(c.experts.n_experts, f.integer("num_experts"));
    BLOOM_TRY(c.experts.top_k, f.integer("top_k_experts"));
    BLOOM_TRY(c.experts.ffn_dim, f.integer("moe_intermediate_size"));
    return {};
}

Result<> check_hf_switches(const Fields& f) {
    BLOOM_TRY(const std::int64_t own, f.integer("hidden_size_per_layer_input"));
    if (own != 0) return per_layer_embeddings("hidden_size_per_layer_input", own);
    BLOOM_TRY(const std::int64_t shared, f.integer_or("num_kv_shared_layers", 0));
    if (shared != 0) return unsupported("num_kv_shared_layers {} is not supported; 0 is", shared);
    BLOOM_TRY(const bool wide, f.boolean_or("use_double_wide_mlp", false));
    if (wide) return unsupported("use_double_wide_mlp is not supported");
    BLOOM_TRY(const bool bias, f.boolean_or("attention_bias", false));
    if (bias) return unsupported("attention_bias is not supported for Gemma 4");
    BLOOM_TRY(const double cap, f.real_or("attn_logit_softcapping", 0.0));
    if (cap != 0.0) return unsupported("attn_logit_softcapping {} is not supported", cap);
    BLOOM_TRY(const std::string act, f.text_or("hidden_activation", "gelu_pytorch_tanh"));
    if (act != "gelu_pytorch_tanh") {
        return unsupported("hidden_activation {} is not supported; gelu_pytorch_tanh is",
                           bloom::quoted(act));
    }
    // Encoders are made from this family too; false is what it was before it could be a word.
    const auto both_ways = f.find("use_bidirectional_attention");
    if (!both_ways) return {};
    const auto word = both_ways->as_string();
    if (word && *word == "vision") return {}; // among the tokens of an image
    const auto flag = both_ways->as_bool();
    if (flag && !*flag) return {};
    return unsupported("use_bidirectional_attention {} is not supported; \"vision\" is",
                       word ? bloom::quoted(*word) : std::string("of another kind"));
}

/// Every sixth layer is full where the file lists none; the last one is, whatever it lists.
Result<> read_hf_windows(const Fields& f, ModelConfig& c) {
    if (c.n_layers < 1 || c.n_layers > kMaxLayers) return {}; // validate names it
    constexpr std::int64_t kFullEvery = 6;
    BLOOM_TRY(const std::int64_t window, f.integer("sliding_window"));
    if (window < 1) return corrupt("{}: sliding_window is {}", f.where(), window);
    BLOOM_TRY(const std::vector<std::string> types, f.layer_types(c.n_layers));
    for (std::int64_t i = 0; i < c.n_layers; ++i) {
        bool full = (i + 1) % kFullEvery == 0;
        if (!types.empty()) {
            const std::string& type = types[static_cast<std::size_t>(i)];
            full = type == "full_attention";
            if (!full && type != "sliding_attention") {
                return unsupported(
                    "layer type {} is not supported; full_attention and sliding_attention are",
                    bloom::quoted(type));
            }
        }
        c.layer_windows.push_back(full || i + 1 == c.n_layers ? 0 : window);
    }
    return {};
}

Result<Fields> rope_of(const Fields& all, std::string_view layers) {
    BLOOM_TRY(const auto rope, all.object(layers));
    if (!rope) return corrupt("rope_parameters: {} is missing", bloom::quoted(layers));
    BLOOM_TRY(const double factor, rope->real_or("factor", 1.0));
    if (factor != 1.0) return unsupported("a rope factor of {} is not supported; 1 is", factor);
    return *rope;
}

/// One rotation for each kind of layer. "proportional" turns a share of the pairs, counted over the
/// whole head.
Result<> read_hf_rotation(const Fields& f, ModelConfig& c) {
    BLOOM_TRY(const auto all, f.object("rope_parameters"));
    if (!all) return corrupt("{}: {} is missing", f.where(), bloom::quoted("rope_parameters"));
    BLOOM_TRY(const Fields sliding, rope_of(*all, "sliding_attention"));
    BLOOM_TRY(c.rope_theta, sliding.real("rope_theta"));
    BLOOM_TRY(const std::string type, sliding.text_or("rope_type", "default"));
    if (type != "default") {
        return unsupported("rope type {} of sliding_attention is not supported; default is",
                           bloom::quoted(type));
    }
    BLOOM_TRY(const Fields full, rope_of(*all, "full_attention"));
    BLOOM_TRY(c.global_rope_theta, full.real("rope_theta"));
    BLOOM_TRY(const std::string full_type, full.text_or("rope_type", "default"));
    if (full_type == "default") return {};
    if (full_type != "proportional") {
        return unsupported("rope type {} of full_attention is not supported; proportional and "
                           "default are",
                           bloom::quoted(full_type));
    }
    BLOOM_TRY(c.global_rotary_factor, full.real("partial_rotary_factor"));
    return {};
}

} // namespace

Result<> read_hf_gemma4(const Fields& top, const HfParts& parts, ModelConfig& c) {
    BLOOM_TRY(const auto nested, top.object("text_config"));
    const Fields& f = nested ? *nested : top;
    BLOOM_OK(check_hf_switches(f));
    BLOOM_OK(read_hf_sizes(f, c));
    BLOOM_OK(read_hf_windows(f, c));
    BLOOM_OK(read_hf_rotation(f, c));
    BLOOM_TRY(const bool tied, top.boolean_or("tie_word_embeddings", !parts.output_head));
    BLOOM_TRY(c.tied_output, f.boolean_or("tie_word_embeddings", tied));
    assume_gemma4(c);
    return {};
}

// --- GGUF
// -----------------------------------------------------------------------------------------

namespace {

Result<> read_gguf_windows(const ArchKeys& keys, ModelConfig& c) {
    BLOOM_TRY(const std::int64_t window, keys.integer("attention.sliding_window", 1, kMaxCtxLen));
    BLOOM_TRY(const auto sliding,
              keys.each_layer("attention.sliding_window_pattern", c.n_layers, 0, 1));
    for (const std::int64_t is_sliding : sliding)
        c.layer_windows.push_back(is_sliding != 0 ? window : 0);
    return {};
}

/// Heads of keys and values: one number for each kind of layer.
Result<> read_gguf_kv_heads(const ArchKeys& keys, ModelConfig& c) {
    BLOOM_TRY(const auto heads,
              keys.each_layer("attention.head_count_kv", c.n_layers, 1, kMaxHeads));
    for (std::int64_t i = 0; i < c.n_layers; ++i) {
        const std::int64_t n = heads[static_cast<std::size_t>(i)];
        std::int64_t& of_kind = c.window(i) == 0 ? c.global_kv_heads : c.n_kv_heads;
        if (of_kind != 0 && of_kind != n) {
            return unsupported("{} differs between layers of one kind ({} and {})",
                               keys.key("attention.head_count_kv"), of_kind, n);
        }
        of_kind = n;
    }
    // A kind that no layer is of.
    if (c.n_kv_heads == 0) c.n_kv_heads = c.global_kv_heads;
    if (c.global_kv_heads == 0) c.global_kv_heads = c.n_kv_heads;
    return {};
}

/// A head dimension and the keys that must agree with it; `suffix` is that of the kind of layer.
Result<std::int64_t> read_gguf_head_dim(const ArchKeys& keys, std::string_view suffix) {
    const auto named = [&](std::string_view name) { return fmt::format("{}{}", name, suffix); };
    const std::string length = named("attention.key_length");
    BLOOM_TRY(const std::int64_t dim, keys.integer(length, 2, kMaxHeadDim));
    for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
        BLOOM_TRY(const std::int64_t other, keys.integer_or(named(name), dim, 1, kMaxHeadDim));
        if (other == dim) continue;
        return unsupported("{} is {} and {} is {}; equal ones are supported", keys.key(length), dim,
                           keys.key(named(name)), other);
    }
    return dim;
}

Result<> read_gguf_experts(const ArchKeys& keys, ModelConfig& c) {
    ExpertConfig& e = c.experts;
    BLOOM_TRY(e.n_experts, keys.integer_or("expert_count", 0, 0, kMaxExperts));
    if (e.n_experts == 0) return {};
    BLOOM_TRY(e.top_k, keys.integer("expert_used_count", 1, kMaxExperts));
    BLOOM_TRY(e.ffn_dim, keys.integer("expert_feed_forward_length", 1, kMaxFfnWidth));
    constexpr std::int64_t kSoftmax = 1;
    BLOOM_TRY(const std::int64_t gate, keys.integer_or("expert_gating_func", kSoftmax, 0, 255));
    if (gate == kSoftmax) return {};
    return unsupported("{} is {}; {} (softmax) is supported", keys.key("expert_gating_func"), gate,
                       kSoftmax);
}

/// Full layers have values of their own, or none of them has.
Result<> read_gguf_values(const GgufFile& file, ModelConfig& c) {
    bool any = false;
    for (std::int64_t i = 0; i < c.n_layers; ++i) {
        if (c.window(i) != 0) continue;
        const bool own = file.find_tensor(fmt::format("blk.{}.attn_v.weight", i)) != nullptr;
        if (any && own == c.global_k_is_v) {
            return corrupt("tensor {} is {} unlike those of the other full layers",
                           bloom::quoted(fmt::format("blk.{}.attn_v.weight", i)),
                           own ? "there" : "missing");
        }
        c.global_k_is_v = !own;
        any = true;
    }
    return {};
}

} // namespace

Result<> read_gguf_gemma4(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    BLOOM_TRY(const std::int64_t own,
              keys.integer_or("embedding_length_per_layer_input", 0, 0, kMaxModelWidth));
    if (own != 0) return per_layer_embeddings(keys.key("embedding_length_per_layer_input"), own);
    BLOOM_TRY(const std::int64_t shared,
              keys.integer_or("attention.shared_kv_layers", 0, 0, kMaxLayers));
    if (shared != 0) {
        return unsupported("{} is {}; 0 is supported", keys.key("attention.shared_kv_layers"),
                           shared);
    }
    BLOOM_TRY(c.n_layers, keys.integer("block_count", 1, kMaxLayers));
    BLOOM_TRY(c.d_model, keys.integer("embedding_length", 1, kMaxModelWidth));
    BLOOM_TRY(c.ctx_len, keys.integer("context_length", 1, kMaxCtxLen));
    BLOOM_TRY(c.ffn_dim, keys.per_layer("feed_forward_length", c.n_layers, kMaxFfnWidth));
    BLOOM_TRY(c.n_heads, keys.per_layer("attention.head_count", c.n_layers, kMaxHeads));
    BLOOM_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon"));
    BLOOM_TRY(c.logit_softcap, keys.real_or("final_logit_softcapping", 0.0));
    BLOOM_TRY(c.global_head_dim, read_gguf_head_dim(keys, ""));
    BLOOM_TRY(c.head_dim, read_gguf_head_dim(keys, "_swa"));
    BLOOM_OK(read_gguf_windows(keys, c));
    BLOOM_OK(read_gguf_kv_heads(keys, c));
    BLOOM_OK(read_gguf_experts(keys, c));
    BLOOM_OK(read_gguf_values(file, c));
    BLOOM_TRY(c.global_rope_theta, keys.real("rope.freq_base"));
    BLOOM_TRY(c.rope_theta, keys.real("rope.freq_base_swa"));
    // Which pairs turn stands in a tensor: divisors of the full layers' frequencies.
    c.rope_scaling.kind = RopeScalingKind::factors;
    c.tied_output = file.find_tensor("output.weight") == nullptr;
    assume_gemma4(c);
    return {};
}

} // namespace bloom::engine::config
