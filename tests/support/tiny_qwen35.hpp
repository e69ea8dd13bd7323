#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/tiny_models.hpp"

/// Very small Qwen3.5 models with the real set of tensors: one layer of linear attention, one of
/// full attention, a draft head. Values mean nothing.
namespace bloom::test {

struct TinyQwen35 {
    bool experts = false;
    bool draft = true;
    bool raw = true; ///< directories: as the original release, otherwise as MLX, both unquantised

    static constexpr std::int64_t kLayers = 2, kWidth = 64, kHeads = 2, kKvHeads = 1, kHeadDim = 16,
                                  kKeyHeads = 1, kValueHeads = 2, kKeyDim = 16, kValueDim = 16,
                                  kTaps = 4, kFfn = 64, kRows = 40, kExperts = 3, kExpertFfn = 32,
                                  kSharedFfn = 96;
    static constexpr std::int64_t kInner = kValueHeads * kValueDim;
    static constexpr std::int64_t kChannels = 2 * kKeyHeads * kKeyDim + kInner;

    std::string arch() const { return experts ? "qwen35moe" : "qwen35"; }

    std::int64_t n_blocks() const { return kLayers + (draft ? 1 : 0); }

    bool is_linear(std::int64_t block) const { return block == 0; }
};

inline GgufWriter tiny_qwen35_gguf(const TinyQwen35& s) {
    using S = TinyQwen35;
    const std::string a = s.arch();
    const auto put = [&](GgufWriter& w, const std::string& key, std::int64_t value) {
        w.put_u32(a + "." + key, static_cast<std::uint32_t>(value));
    };
    GgufWriter w;
    w.put_string("general.architecture", a);
    w.put_string("general.name", "tiny " + a);
    put(w, "block_count", s.n_blocks());
    if (s.draft) put(w, "nextn_predict_layers", 1);
    put(w, "context_length", 256);
    put(w, "embedding_length", S::kWidth);
    if (!s.experts) put(w, "feed_forward_length", S::kFfn);
    put(w, "attention.head_count", S::kHeads);
    put(w, "attention.head_count_kv", S::kKvHeads);
    put(w, "attention.key_length", S::kHeadDim);
    put(w, "attention.value_length", S::kHeadDim);
    w.put_f32(a + ".attention.layer_norm_rms_epsilon", 1e-6F);
    put(w, "rope.dimension_count", S::kHeadDim / 4);
    w.put_f32(a + ".rope.freq_base", 1e7F);
    put(w, "ssm.conv_kernel", S::kTaps);
    put(w, "ssm.state_size", S::kKeyDim);
    put(w, "ssm.group_count", S::kKeyHeads);
    put(w, "ssm.time_step_rank", S::kValueHeads);
    put(w, "ssm.inner_size", S::kInner);
    put(w, "full_attention_interval", 2);
    if (s.experts) {
        put(w, "expert_count", S::kExperts);
        put(w, "expert_used_count", 2);
        put(w, "expert_feed_forward_length", S::kExpertFfn);
        put(w, "expert_shared_feed_forward_length", S::kSharedFfn);
    }
    put_tiny_vocab(w, S::kRows);
    const auto u64 = [](std::int64_t v) { return static_cast<std::uint64_t>(v); };
    const auto vector = [&](const std::string& name, std::int64_t n, float offset) {
        w.add_f32(name, {u64(n)}, tiny_values(name, n, offset));
    };
    const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t k) {
        w.add(name, {u64(k), u64(rows)}, GgufWriter::kTensorQ8_0, tiny_q8_0(rows, k));
    };
    const auto stack = [&](const std::string& name, std::int64_t rows, std::int64_t k) {
        w.add(name, {u64(k), u64(rows), u64(S::kExperts)}, GgufWriter::kTensorQ8_0,
              tiny_q8_0(S::kExperts * rows, k));
    };
    matrix("token_embd.weight", S::kRows, S::kWidth);
    vector("output_norm.weight", S::kWidth, 1.0F);
    matrix("output.weight", S::kRows, S::kWidth);
    for (std::int64_t i = 0; i < s.n_blocks(); ++i) {
        const std::string blk = "blk." + std::to_string(i) + ".";
        vector(blk + "attn_norm.weight", S::kWidth, 1.0F);
        vector(blk + "post_attention_norm.weight", S::kWidth, 1.0F);
        if (s.is_linear(i)) {
            matrix(blk + "attn_qkv.weight", S::kChannels, S::kWidth);
            matrix(blk + "attn_gate.weight", S::kInner, S::kWidth);
            matrix(blk + "ssm_beta.weight", S::kValueHeads, S::kWidth);
            matrix(blk + "ssm_alpha.weight", S::kValueHeads, S::kWidth);
            const std::string conv = blk + "ssm_conv1d.weight";
            w.add_f32(conv, {u64(S::kTaps), u64(S::kChannels)},
                      tiny_values(conv, S::kTaps * S::kChannels));
            vector(blk + "ssm_a", S::kValueHeads, -0.5F);
            vector(blk + "ssm_dt.bias", S::kValueHeads, 0.0F);
            vector(blk + "ssm_norm.weight", S::kValueDim, 1.0F);
            matrix(blk + "ssm_out.weight", S::kWidth, S::kInner);
        } else {
            matrix(blk + "attn_q.weight", 2 * S::kHeads * S::kHeadDim, S::kWidth);
            matrix(blk + "attn_k.weight", S::kKvHeads * S::kHeadDim, S::kWidth);
            matrix(blk + "attn_v.weight", S::kKvHeads * S::kHeadDim, S::kWidth);
            matrix(blk + "attn_output.weight", S::kWidth, S::kHeads * S::kHeadDim);
            vector(blk + "attn_q_norm.weight", S::kHeadDim, 1.0F);
            vector(blk + "attn_k_norm.weight", S::kHeadDim, 1.0F);
        }
        if (s.experts) {
            const std::string router = blk + "ffn_gate_inp.weight";
            w.add_f32(router, {u64(S::kWidth), u64(S::kExperts)},
                      tiny_values(router, S::kWidth * S::kExperts));
            stack(blk + "ffn_gate_exps.weight", S::kExpertFfn, S::kWidth);
            stack(blk + "ffn_up_exps.weight", S::kExpertFfn, S::kWidth);
            stack(blk + "ffn_down_exps.weight", S::kWidth, S::kExpertFfn);
            vector(blk + "ffn_gate_inp_shexp.weight", S::kWidth, 0.0F);
            matrix(blk + "ffn_gate_shexp.weight", S::kSharedFfn, S::kWidth);
            matrix(blk + "ffn_up_shexp.weight", S::kSharedFfn, S::kWidth);
            matrix(blk + "ffn_down_shexp.weight", S::kWidth, S::kSharedFfn);
        } else {
            matrix(blk + "ffn_gate.weight", S::kFfn, S::kWidth);
            matrix(blk + "ffn_up.weight", S::kFfn, S::kWidth);
            matrix(blk + "ffn_down.weight", S::kWidth, S::kFfn);
        }
        if (i < S::kLayers) continue;
        matrix(blk + "nextn.eh_proj.weight", S::kWidth, 2 * S::kWidth);
        vector(blk + "nextn.enorm.weight", S::kWidth, 1.0F);
        vector(blk + "nextn.hnorm.weight", S::kWidth, 1.0F);
        vector(blk + "nextn.shared_head_norm.weight", S::kWidth, 1.0F);
    }
    return w;
}

/// config.json; `extra` goes into text_config, behind a comma.
inline std::string tiny_qwen35_config(const TinyQwen35& s, const std::string& extra = "") {
    using S = TinyQwen35;
    const auto pair = [](const char* key, std::int64_t value) {
        return ",\"" + std::string(key) + "\":" + std::to_string(value);
    };
    std::string text =
        "\"model_type\":\"qwen3_5" + std::string(s.experts ? "_moe" : "") +
        "_text\",\"hidden_act\":\"silu\",\"attn_output_gate\":true" +
        pair("num_hidden_layers", S::kLayers) + pair("hidden_size", S::kWidth) +
        pair("num_attention_heads", S::kHeads) + pair("num_key_value_heads", S::kKvHeads) +
        pair("head_dim", S::kHeadDim) + pair("vocab_size", S::kRows) +
        pair("max_position_embeddings", 256) + pair("linear_num_key_heads", S::kKeyHeads) +
        pair("linear_num_value_heads", S::kValueHeads) + pair("linear_key_head_dim", S::kKeyDim) +
        pair("linear_value_head_dim", S::kValueDim) + pair("linear_conv_kernel_dim", S::kTaps) +
        pair("full_attention_interval", 2) + pair("mtp_num_hidden_layers", 1);
    if (s.experts) {
        text += pair("num_experts", S::kExperts) + pair("num_experts_per_tok", 2) +
                pair("moe_intermediate_size", S::kExpertFfn) +
                pair("shared_expert_intermediate_size", S::kSharedFfn);
    } else {
        text += pair("intermediate_size", S::kFfn);
    }
    return "{\"model_type\":\"qwen3_5" + std::string(s.experts ? "_moe" : "") +
           "\",\"tie_word_embeddings\":false,\"text_config\":{" + text +
           ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":10000000,"
           "\"partial_rotary_factor\":0.25,\"mrope_section\":[1,1,0]}" +
           extra + "}}";
}

inline SafetensorsWriter tiny_qwen35_safetensors(const TinyQwen35& s) {
    using S = TinyQwen35;
    using Shape = std::vector<std::int64_t>;
    SafetensorsWriter w;
    const auto add = [&](const std::string& name, const Shape& shape, float offset) {
        std::int64_t n = 1;
        for (const std::int64_t dim : shape)
            n *= dim;
        w.add(name, "F32", shape, SafetensorsWriter::bytes(tiny_values(name, n, offset)));
    };
    const std::string model = s.raw ? "model.language_model." : "language_model.model.";
    const float norm = s.raw ? 0.0F : 1.0F;
    add(model + "embed_tokens.weight", {S::kRows, S::kWidth}, 0);
    add((s.raw ? "model.visual." : "vision_tower.") + std::string("blocks.0.norm1.weight"), {16},
        0);
    add(model + "norm.weight", {S::kWidth}, norm);
    add(s.raw ? "lm_head.weight" : "language_model.lm_head.weight", {S::kRows, S::kWidth}, 0);
    for (std::int64_t i = 0; i < s.n_blocks(); ++i) {
        const bool draft = i >= S::kLayers;
        const std::string layer =
            draft ? "mtp.layers.0." : model + "layers." + std::to_string(i) + ".";
        const float offset = draft ? 0.0F : norm; // draft layers are always the original's
        add(layer + "input_layernorm.weight", {S::kWidth}, offset);
        add(layer + "post_attention_layernorm.weight", {S::kWidth}, offset);
        if (s.is_linear(i)) {
            const std::string l = layer + "linear_attn.";
            add(l + "in_proj_qkv.weight", {S::kChannels, S::kWidth}, 0);
            add(l + "in_proj_z.weight", {S::kInner, S::kWidth}, 0);
            add(l + "in_proj_b.weight", {S::kValueHeads, S::kWidth}, 0);
            add(l + "in_proj_a.weight", {S::kValueHeads, S::kWidth}, 0);
            add(l + "conv1d.weight",
                s.raw ? Shape{S::kChannels, 1, S::kTaps} : Shape{S::kChannels, S::kTaps, 1}, 0);
            add(l + "A_log", {S::kValueHeads}, 0);
            add(l + "dt_bias", {S::kValueHeads}, 0);
            add(l + "norm.weight", {S::kValueDim}, 1);
            add(l + "out_proj.weight", {S::kWidth, S::kInner}, 0);
        } else {
            const std::string l = layer + "self_attn.";
            add(l + "q_proj.weight", {2 * S::kHeads * S::kHeadDim, S::kWidth}, 0);
            add(l + "k_proj.weight", {S::kKvHeads * S::kHeadDim, S::kWidth}, 0);
            add(l + "v_proj.weight", {S::kKvHeads * S::kHeadDim, S::kWidth}, 0);
            add(l + "o_proj.weight", {S::kWidth, S::kHeads * S::kHeadDim}, 0);
            add(l + "q_norm.weight", {S::kHeadDim}, offset);
            add(l + "k_norm.weight", {S::kHeadDim}, offset);
        }
        const std::string l = layer + "mlp.";
        if (s.experts) {
            add(l + "gate.weight", {S::kExperts, S::kWidth}, 0);
            if (s.raw) {
                add(l + "experts.gate_up_proj", {S::kExperts, 2 * S::kExpertFfn, S::kWidth}, 0);
                add(l + "experts.down_proj", {S::kExperts, S::kWidth, S::kExpertFfn}, 0);
            } else {
                add(l + "switch_mlp.gate_proj.weight", {S::kExperts, S::kExpertFfn, S::kWidth}, 0);
                add(l + "switch_mlp.up_proj.weight", {S::kExperts, S::kExpertFfn, S::kWidth}, 0);
                add(l + "switch_mlp.down_proj.weight", {S::kExperts, S::kWidth, S::kExpertFfn}, 0);
            }
            add(l + "shared_expert.gate_proj.weight", {S::kSharedFfn, S::kWidth}, 0);
            add(l + "shared_expert.up_proj.weight", {S::kSharedFfn, S::kWidth}, 0);
            add(l + "shared_expert.down_proj.weight", {S::kWidth, S::kSharedFfn}, 0);
            add(l + "shared_expert_gate.weight", {1, S::kWidth}, 0);
        } else {
            add(l + "gate_proj.weight", {S::kFfn, S::kWidth}, 0);
            add(l + "up_proj.weight", {S::kFfn, S::kWidth}, 0);
            add(l + "down_proj.weight", {S::kWidth, S::kFfn}, 0);
        }
    }
    if (!s.draft) return w;
    add("mtp.fc.weight", {S::kWidth, 2 * S::kWidth}, 0);
    add("mtp.pre_fc_norm_embedding.weight", {S::kWidth}, 0);
    add("mtp.pre_fc_norm_hidden.weight", {S::kWidth}, 0);
    add("mtp.norm.weight", {S::kWidth}, 0);
    return w;
}

} // namespace bloom::test
