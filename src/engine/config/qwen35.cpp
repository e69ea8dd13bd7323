#include "engine/config/families.hpp"

namespace bloom::engine::config {

using hf::corrupt;
using hf::Fields;
using hf::unsupported;

namespace {

void set_family(ModelConfig& c) {
    c.qk_norm = true;
    c.attn_gate = true;
    c.experts.normalise = true; // whatever a file says
    c.experts.shared_gate = c.arch == Arch::qwen35_moe;
}

/// Every `interval`-th layer is one of full attention.
void set_interval(std::int64_t interval, ModelConfig& c) {
    for (std::int64_t i = 0; i < c.n_layers; ++i)
        c.linear.layers.push_back((i + 1) % interval == 0 ? 0 : 1);
}

// --- Hugging Face
// ---------------------------------------------------------------------------------

Result<> read_hf_sizes(const Fields& f, ModelConfig& c) {
    BLOOM_OK(read_hf_decoder_sizes(f, c));
    BLOOM_TRY(c.norm_eps, f.real_or("rms_norm_eps", 1e-6));
    LinearConfig& l = c.linear;
    BLOOM_TRY(l.n_k_heads, f.integer("linear_num_key_heads"));
    BLOOM_TRY(l.n_v_heads, f.integer("linear_num_value_heads"));
    BLOOM_TRY(l.k_dim, f.integer("linear_key_head_dim"));
    BLOOM_TRY(l.v_dim, f.integer("linear_value_head_dim"));
    BLOOM_TRY(l.conv_taps, f.integer("linear_conv_kernel_dim"));
    if (c.arch == Arch::qwen35) {
        BLOOM_TRY(c.ffn_dim, f.integer("intermediate_size"));
        return {};
    }
    BLOOM_TRY(c.experts.n_experts, f.integer("num_experts"));
    BLOOM_TRY(c.experts.top_k, f.integer("num_experts_per_tok"));
    BLOOM_TRY(c.experts.ffn_dim, f.integer("moe_intermediate_size"));
    BLOOM_TRY(c.experts.shared_ffn_dim, f.integer("shared_expert_intermediate_size"));
    return {};
}

Result<> check_hf_switches(const Fields& f) {
    BLOOM_TRY(const std::string act, f.text_or("hidden_act", "silu"));
    if (act != "silu" && act != "swish")
        return unsupported("hidden_act {} is not supported; silu is", bloom::quoted(act));
    BLOOM_TRY(const bool bias, f.boolean_or("attention_bias", false));
    if (bias) return unsupported("attention_bias is not supported for Qwen3.5");
    BLOOM_TRY(const bool gate, f.boolean_or("attn_output_gate", true));
    if (!gate) return unsupported("attn_output_gate = false is not supported");
    BLOOM_TRY(const std::int64_t step, f.integer_or("decoder_sparse_step", 1));
    if (step != 1) return unsupported("decoder_sparse_step {} is not supported; 1 is", step);
    if (const auto dense = f.find("mlp_only_layers")) {
        const auto list = dense->as_array();
        if (!list || !list->empty())
            return unsupported("mlp_only_layers is not supported for Qwen3.5");
    }
    return {};
}

Result<> read_hf_layers(const Fields& f, ModelConfig& c) {
    if (c.n_layers < 1 || c.n_layers > kMaxLayers) return {}; // validate names it
    BLOOM_TRY(const std::vector<std::string> types, f.layer_types(c.n_layers));
    for (const std::string& type : types) {
        if (type != "full_attention" && type != "linear_attention") {
            return unsupported(
                "layer type {} is not supported; full_attention and linear_attention are",
                bloom::quoted(type));
        }
        c.linear.layers.push_back(type == "linear_attention" ? 1 : 0);
    }
    if (!types.empty()) return {};
    BLOOM_TRY(const std::int64_t interval, f.integer("full_attention_interval"));
    if (interval < 1) return corrupt("{}: full_attention_interval is {}", f.where(), interval);
    set_interval(interval, c);
    return {};
}

/// Rotation of a share of each head. The positions of text are alike in all of mRoPE's sections, so
/// these do not matter.
Result<> read_hf_rotation(const Fields& f, ModelConfig& c) {
    BLOOM_TRY(auto from, f.object("rope_parameters"));
    if (!from) {
        BLOOM_TRY(from, f.object("rope_scaling"));
    }
    BLOOM_TRY(c.rope_theta, f.real_or("rope_theta", 1e7));
    BLOOM_TRY(double share, f.real_or("partial_rotary_factor", 0.25));
    if (from) {
        BLOOM_TRY(c.rope_theta, from->real_or("rope_theta", c.rope_theta));
        BLOOM_TRY(share, from->real_or("partial_rotary_factor", share));
        BLOOM_TRY(const std::string old_type, from->text_or("type", "default"));
        BLOOM_TRY(const std::string type, from->text_or("rope_type", old_type));
        if (type != "default" && type != "mrope") BLOOM_OK(read_hf_rope_scaling(*from, c));
    }
    BLOOM_TRY(c.rotary_dim, hf_rotated_part(share, c.head_dim, f.where()));
    return {};
}

Result<> read_hf_draft(const Fields& f, const HfParts& parts, ModelConfig& c) {
    // Conversions announce a head that they have left out.
    BLOOM_TRY(const std::int64_t n, f.integer_or("mtp_num_hidden_layers", 1));
    BLOOM_TRY(const bool dedicated, f.boolean_or("mtp_use_dedicated_embeddings", false));
    c.n_draft_layers = parts.draft_head && n == 1 && !dedicated ? 1 : 0;
    return {};
}

} // namespace

Result<> read_hf_qwen35(const Fields& top, const HfParts& parts, ModelConfig& c) {
    BLOOM_TRY(const auto nested, top.object("text_config"));
    const Fields& f = nested ? *nested : top;
    set_family(c);
    BLOOM_OK(read_hf_sizes(f, c));
    BLOOM_OK(check_hf_switches(f));
    BLOOM_OK(read_hf_layers(f, c));
    if (c.head_dim >= 2 && c.head_dim <= kMaxHeadDim) BLOOM_OK(read_hf_rotation(f, c));
    BLOOM_TRY(const bool tied, top.boolean_or("tie_word_embeddings", !parts.output_head));
    BLOOM_TRY(c.tied_output, f.boolean_or("tie_word_embeddings", tied));
    return read_hf_draft(f, parts, c);
}

// --- GGUF
// -----------------------------------------------------------------------------------------

namespace {

/// Heads of keys and values: a number, or one for each block with 0 for linear layers.
Result<> read_kv_heads(const ArchKeys& keys, std::int64_t n_blocks, ModelConfig& c) {
    BLOOM_TRY(const auto heads, keys.each_layer("attention.head_count_kv", n_blocks, 0, kMaxHeads));
    for (const std::int64_t n : heads) {
        if (n == 0 || n == c.n_kv_heads) continue;
        if (c.n_kv_heads != 0) {
            return unsupported("{} differs between layers ({} and {})",
                               keys.key("attention.head_count_kv"), c.n_kv_heads, n);
        }
        c.n_kv_heads = n;
    }
    return {};
}

Result<> read_gguf_sizes(const ArchKeys& keys, ModelConfig& c) {
    BLOOM_TRY(const std::int64_t n_blocks, keys.integer("block_count", 1, kMaxLayers));
    BLOOM_TRY(const std::int64_t n_draft,
              keys.integer_or("nextn_predict_layers", 0, 0, n_blocks - 1));
    c.n_layers = n_blocks - n_draft;
    c.n_draft_layers = n_draft;
    BLOOM_TRY(c.d_model, keys.integer("embedding_length", 1, kMaxModelWidth));
    BLOOM_TRY(c.ctx_len, keys.integer("context_length", 1, kMaxCtxLen));
    BLOOM_TRY(c.n_heads, keys.per_layer("attention.head_count", n_blocks, kMaxHeads));
    BLOOM_OK(read_kv_heads(keys, n_blocks, c));
    BLOOM_TRY(c.head_dim, keys.integer("attention.key_length", 2, kMaxHeadDim));
    BLOOM_TRY(const std::int64_t v_dim,
              keys.integer_or("attention.value_length", c.head_dim, 1, kMaxHeadDim));
    if (v_dim != c.head_dim) {
        return unsupported("values of {} dimensions beside keys of {} are not supported", v_dim,
                           c.head_dim);
    }
    BLOOM_TRY(c.rotary_dim, keys.integer("rope.dimension_count", 1, kMaxHeadDim));
    BLOOM_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon"));
    if (c.arch == Arch::qwen35) {
        BLOOM_TRY(c.ffn_dim, keys.per_layer("feed_forward_length", n_blocks, kMaxFfnWidth));
        return {};
    }
    ExpertConfig& e = c.experts;
    BLOOM_TRY(e.n_experts, keys.integer("expert_count", 1, kMaxExperts));
    BLOOM_TRY(e.top_k, keys.integer("expert_used_count", 1, kMaxExperts));
    BLOOM_TRY(e.ffn_dim, keys.integer("expert_feed_forward_length", 1, kMaxFfnWidth));
    BLOOM_TRY(e.shared_ffn_dim, keys.integer("expert_shared_feed_forward_length", 1, kMaxFfnWidth));
    constexpr std::int64_t kSoftmax = 1;
    BLOOM_TRY(const std::int64_t gate, keys.integer_or("expert_gating_func", kSoftmax, 0, 255));
    if (gate == kSoftmax) return {};
    return unsupported("{} is {}; {} (softmax) is supported", keys.key("expert_gating_func"), gate,
                       kSoftmax);
}

Result<> read_gguf_linear(const ArchKeys& keys, ModelConfig& c) {
    LinearConfig& l = c.linear;
    l.tiled = true; // converters move the value heads
    BLOOM_TRY(l.conv_taps, keys.integer("ssm.conv_kernel", 1, kMaxHeadDim));
    BLOOM_TRY(l.k_dim, keys.integer("ssm.state_size", 1, kMaxHeadDim));
    BLOOM_TRY(l.n_k_heads, keys.integer("ssm.group_count", 1, kMaxHeads));
    BLOOM_TRY(l.n_v_heads, keys.integer("ssm.time_step_rank", 1, kMaxHeads));
    BLOOM_TRY(const std::int64_t inner, keys.integer("ssm.inner_size", 1, kMaxFfnWidth));
    if (inner % l.n_v_heads != 0) {
        return corrupt("{} is {}, which {} value heads do not divide", keys.key("ssm.inner_size"),
                       inner, l.n_v_heads);
    }
    l.v_dim = inner / l.n_v_heads;
    constexpr const char* kList = "attention.recurrent_layers";
    if (keys.has(kList)) {
        const std::int64_t n_blocks = c.n_layers + c.n_draft_layers;
        BLOOM_TRY(const auto layers, keys.each_layer(kList, n_blocks, 0, 1));
        for (std::int64_t i = 0; i < c.n_layers; ++i) // draft blocks are of full attention
            l.layers.push_back(layers[static_cast<std::size_t>(i)] != 0 ? 1 : 0);
        return {};
    }
    BLOOM_TRY(const std::int64_t interval, keys.integer("full_attention_interval", 1, kMaxLayers));
    set_interval(interval, c);
    return {};
}

} // namespace

Result<> read_gguf_qwen35(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    set_family(c);
    c.rope_theta = 1e7;
    BLOOM_OK(read_gguf_sizes(keys, c));
    BLOOM_OK(read_gguf_linear(keys, c));
    BLOOM_OK(read_gguf_rope(keys, file, c));
    c.tied_output = file.find_tensor("output.weight") == nullptr;
    // Blocks that are announced may have been left out; more than one is nothing that is known.
    const std::string head = fmt::format("blk.{}.nextn.eh_proj.weight", c.n_layers);
    if (c.n_draft_layers != 1 || file.find_tensor(head) == nullptr) c.n_draft_layers = 0;
    return {};
}

} // namespace bloom::engine::config
