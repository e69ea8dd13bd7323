#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/gguf_writer.hpp"
#include "support/safetensors_writer.hpp"

/// Very small models with the real set of tensors, for tests of loading and of the engine's
/// plumbing. Values are deterministic and mean nothing.
namespace bloom::test {

struct TinyFileShape {
    std::int64_t n_layers = 2;
    std::int64_t d_model = 64;
    std::int64_t n_heads = 4;
    std::int64_t n_kv_heads = 2;
    std::int64_t head_dim = 16;
    std::int64_t ffn_dim = 64;
    std::int64_t vocab = 40;
    bool tied = false;
    bool qkv_bias = false;
    bool qk_norm = false;
    std::int64_t n_experts = 0; ///< 0: none
    std::int64_t top_k = 2;
    std::int64_t expert_ffn = 64;
    std::vector<std::int64_t> dense_layers = {}; ///< layers without experts where others have them

    bool has_experts(std::int64_t layer) const {
        return n_experts > 0 && std::ranges::find(dense_layers, layer) == dense_layers.end();
    }
};

/// n values in [-0.1, 0.1], another sequence for each tensor name.
inline std::vector<float> tiny_values(const std::string& name, std::int64_t n,
                                      float offset = 0.0F) {
    std::uint32_t state = 2166136261U;
    for (const char c : name)
        state = (state ^ static_cast<unsigned char>(c)) * 16777619U;
    std::vector<float> out(static_cast<std::size_t>(n));
    for (float& value : out) {
        state = state * 1664525U + 1013904223U;
        value =
            offset + (static_cast<float>(state >> 8) / static_cast<float>(1U << 24) - 0.5F) * 0.2F;
    }
    return out;
}

/// Q8_0 blocks: scale 2^-7 (half 0x2000), codes from a counter.
inline std::vector<std::uint8_t> tiny_q8_0(std::int64_t rows, std::int64_t k) {
    std::vector<std::uint8_t> out;
    for (std::int64_t block = 0; block < rows * k / 32; ++block) {
        out.push_back(0x00);
        out.push_back(0x20);
        for (int i = 0; i < 32; ++i)
            out.push_back(static_cast<std::uint8_t>((block * 7 + i * 5) % 251));
    }
    return out;
}

inline void put_tiny_vocab(GgufWriter& w, std::int64_t vocab) {
    std::vector<std::string> tokens;
    std::vector<std::int32_t> types;
    for (std::int64_t i = 0; i < vocab; ++i) {
        tokens.push_back(i == 0 ? "<|end|>"
                                : std::string(1, static_cast<char>('!' + (i - 1) % 90)) +
                                      (i > 90 ? "x" : ""));
        types.push_back(i == 0 ? 3 : 1);
    }
    w.put_string("tokenizer.ggml.model", "gpt2");
    w.put_string("tokenizer.ggml.pre", "gpt-2");
    w.put_strings("tokenizer.ggml.tokens", tokens);
    w.put_array("tokenizer.ggml.token_type", GgufWriter::kI32, types);
    w.put_strings("tokenizer.ggml.merges", {});
    w.put_u32("tokenizer.ggml.eos_token_id", 0);
    w.put_string("tokenizer.chat_template", "{{ messages[0].content }}");
}

/// A complete GGUF model of architecture `arch` ("llama", "qwen2", "qwen3"; "qwen3moe" with experts
/// in the shape): matrices in Q8_0, vectors and routers in F32. Change it and build().
inline GgufWriter tiny_gguf(const std::string& arch, const TinyFileShape& s) {
    const auto u64 = [](std::int64_t v) { return static_cast<std::uint64_t>(v); };
    const auto u32 = [](std::int64_t v) { return static_cast<std::uint32_t>(v); };
    GgufWriter w;
    w.put_string("general.architecture", arch);
    w.put_string("general.name", "tiny " + arch);
    w.put_u32(arch + ".block_count", u32(s.n_layers));
    w.put_u32(arch + ".context_length", 256);
    w.put_u32(arch + ".embedding_length", u32(s.d_model));
    w.put_u32(arch + ".feed_forward_length", u32(s.ffn_dim));
    w.put_u32(arch + ".attention.head_count", u32(s.n_heads));
    w.put_u32(arch + ".attention.head_count_kv", u32(s.n_kv_heads));
    w.put_u32(arch + ".attention.key_length", u32(s.head_dim));
    w.put_u32(arch + ".attention.value_length", u32(s.head_dim));
    w.put_f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
    w.put_f32(arch + ".rope.freq_base", 10000.0F);
    if (s.n_experts > 0) {
        w.put_u32(arch + ".expert_count", u32(s.n_experts));
        w.put_u32(arch + ".expert_used_count", u32(s.top_k));
        w.put_u32(arch + ".expert_feed_forward_length", u32(s.expert_ffn));
    }
    put_tiny_vocab(w, s.vocab);
    const auto vector = [&](const std::string& name, std::int64_t n, float offset) {
        w.add_f32(name, {u64(n)}, tiny_values(name, n, offset));
    };
    const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t k) {
        w.add(name, {u64(k), u64(rows)}, GgufWriter::kTensorQ8_0, tiny_q8_0(rows, k));
    };
    const auto stack = [&](const std::string& name, std::int64_t rows, std::int64_t k) {
        w.add(name, {u64(k), u64(rows), u64(s.n_experts)}, GgufWriter::kTensorQ8_0,
              tiny_q8_0(s.n_experts * rows, k));
    };
    const std::int64_t q = s.n_heads * s.head_dim;
    const std::int64_t kv = s.n_kv_heads * s.head_dim;
    matrix("token_embd.weight", s.vocab, s.d_model);
    vector("output_norm.weight", s.d_model, 1.0F);
    if (!s.tied) matrix("output.weight", s.vocab, s.d_model);
    for (std::int64_t layer = 0; layer < s.n_layers; ++layer) {
        const std::string blk = "blk." + std::to_string(layer) + ".";
        vector(blk + "attn_norm.weight", s.d_model, 1.0F);
        matrix(blk + "attn_q.weight", q, s.d_model);
        matrix(blk + "attn_k.weight", kv, s.d_model);
        matrix(blk + "attn_v.weight", kv, s.d_model);
        matrix(blk + "attn_output.weight", s.d_model, q);
        if (s.qkv_bias) {
            vector(blk + "attn_q.bias", q, 0.0F);
            vector(blk + "attn_k.bias", kv, 0.0F);
            vector(blk + "attn_v.bias", kv, 0.0F);
        }
        if (s.qk_norm) {
            vector(blk + "attn_q_norm.weight", s.head_dim, 1.0F);
            vector(blk + "attn_k_norm.weight", s.head_dim, 1.0F);
        }
        vector(blk + "ffn_norm.weight", s.d_model, 1.0F);
        if (s.has_experts(layer)) {
            const std::string router = blk + "ffn_gate_inp.weight";
            w.add_f32(router, {u64(s.d_model), u64(s.n_experts)},
                      tiny_values(router, s.d_model * s.n_experts));
            stack(blk + "ffn_gate_exps.weight", s.expert_ffn, s.d_model);
            stack(blk + "ffn_up_exps.weight", s.expert_ffn, s.d_model);
            stack(blk + "ffn_down_exps.weight", s.d_model, s.expert_ffn);
            continue;
        }
        matrix(blk + "ffn_gate.weight", s.ffn_dim, s.d_model);
        matrix(blk + "ffn_up.weight", s.ffn_dim, s.d_model);
        matrix(blk + "ffn_down.weight", s.d_model, s.ffn_dim);
    }
    return w;
}

/// config.json of the tiny model; `extra` is put in front of the last brace, with its comma.
inline std::string tiny_config_json(const std::string& model_type, const TinyFileShape& s,
                                    const std::string& extra = "") {
    const auto text = [](std::int64_t v) { return std::to_string(v); };
    std::string experts;
    if (s.n_experts > 0) {
        experts = ",\"num_experts\":" + text(s.n_experts) +
                  ",\"num_experts_per_tok\":" + text(s.top_k) +
                  ",\"moe_intermediate_size\":" + text(s.expert_ffn) + ",\"mlp_only_layers\":[";
        for (std::size_t i = 0; i < s.dense_layers.size(); ++i)
            experts += (i == 0 ? "" : ",") + text(s.dense_layers[i]);
        experts += "]";
    }
    return "{\"model_type\":\"" + model_type + "\",\"num_hidden_layers\":" + text(s.n_layers) +
           ",\"hidden_size\":" + text(s.d_model) + ",\"num_attention_heads\":" + text(s.n_heads) +
           ",\"num_key_value_heads\":" + text(s.n_kv_heads) + ",\"head_dim\":" + text(s.head_dim) +
           ",\"intermediate_size\":" + text(s.ffn_dim) + ",\"vocab_size\":" + text(s.vocab) +
           ",\"max_position_embeddings\":256,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0" +
           experts + extra + "}";
}

/// The settings that MLX writes, for `extra` of tiny_config_json.
inline const char* const kMlxQuantization = ",\"quantization\":{\"group_size\":64,\"bits\":8}";

/// The tensors of a Hugging Face model: matrices as MLX affine triples with bf16 scales
/// (`quantised`) or in F16, vectors in F32. Experts are stacked where they are quantised, as MLX
/// has them, and modules of their own otherwise.
inline SafetensorsWriter tiny_safetensors(const TinyFileShape& s, bool quantised) {
    SafetensorsWriter w;
    const auto vector = [&](const std::string& name, std::int64_t n, float offset) {
        w.add(name, "F32", {n}, SafetensorsWriter::bytes(tiny_values(name, n, offset)));
    };
    using Shape = std::vector<std::int64_t>;
    // stack: the leading axis of experts, or nothing.
    const auto tensors = [&](const std::string& module, const Shape& stack, std::int64_t rows,
                             std::int64_t k) {
        std::int64_t n = rows * k;
        for (const std::int64_t dim : stack)
            n *= dim;
        const auto shape = [&](std::int64_t columns) {
            Shape out = stack;
            out.insert(out.end(), {rows, columns});
            return out;
        };
        if (!quantised) {
            std::vector<std::uint16_t> halves(static_cast<std::size_t>(n));
            for (std::size_t i = 0; i < halves.size(); ++i)
                halves[i] = static_cast<std::uint16_t>(0x2000 + i % 1024);
            w.add(module + ".weight", "F16", shape(k), SafetensorsWriter::bytes(halves));
            return;
        }
        std::vector<std::uint8_t> codes(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < codes.size(); ++i)
            codes[i] = static_cast<std::uint8_t>(i * 37 % 256);
        const std::vector<std::uint16_t> scales(static_cast<std::size_t>(n / 64), 0x3a80); // 2^-10
        const std::vector<std::uint16_t> biases(static_cast<std::size_t>(n / 64), 0xbe00); // -2^-3
        w.add(module + ".weight", "U32", shape(k / 4), SafetensorsWriter::bytes(codes));
        w.add(module + ".scales", "BF16", shape(k / 64), SafetensorsWriter::bytes(scales));
        w.add(module + ".biases", "BF16", shape(k / 64), SafetensorsWriter::bytes(biases));
    };
    const auto matrix = [&](const std::string& module, std::int64_t rows, std::int64_t k) {
        tensors(module, {}, rows, k);
    };
    const auto experts = [&](const std::string& base, const std::string& name, std::int64_t rows,
                             std::int64_t k) {
        if (quantised) return tensors(base + "switch_mlp." + name, {s.n_experts}, rows, k);
        for (std::int64_t e = 0; e < s.n_experts; ++e)
            tensors(base + "experts." + std::to_string(e) + "." + name, {}, rows, k);
    };
    const std::int64_t q = s.n_heads * s.head_dim;
    const std::int64_t kv = s.n_kv_heads * s.head_dim;
    matrix("model.embed_tokens", s.vocab, s.d_model);
    vector("model.norm.weight", s.d_model, 1.0F);
    if (!s.tied) matrix("lm_head", s.vocab, s.d_model);
    for (std::int64_t layer = 0; layer < s.n_layers; ++layer) {
        const std::string base = "model.layers." + std::to_string(layer) + ".";
        vector(base + "input_layernorm.weight", s.d_model, 1.0F);
        matrix(base + "self_attn.q_proj", q, s.d_model);
        matrix(base + "self_attn.k_proj", kv, s.d_model);
        matrix(base + "self_attn.v_proj", kv, s.d_model);
        matrix(base + "self_attn.o_proj", s.d_model, q);
        if (s.qkv_bias) {
            vector(base + "self_attn.q_proj.bias", q, 0.0F);
            vector(base + "self_attn.k_proj.bias", kv, 0.0F);
            vector(base + "self_attn.v_proj.bias", kv, 0.0F);
        }
        if (s.qk_norm) {
            vector(base + "self_attn.q_norm.weight", s.head_dim, 1.0F);
            vector(base + "self_attn.k_norm.weight", s.head_dim, 1.0F);
        }
        vector(base + "post_attention_layernorm.weight", s.d_model, 1.0F);
        if (s.has_experts(layer)) {
            matrix(base + "mlp.gate", s.n_experts, s.d_model);
            experts(base + "mlp.", "gate_proj", s.expert_ffn, s.d_model);
            experts(base + "mlp.", "up_proj", s.expert_ffn, s.d_model);
            experts(base + "mlp.", "down_proj", s.d_model, s.expert_ffn);
            continue;
        }
        matrix(base + "mlp.gate_proj", s.ffn_dim, s.d_model);
        matrix(base + "mlp.up_proj", s.ffn_dim, s.d_model);
        matrix(base + "mlp.down_proj", s.d_model, s.ffn_dim);
    }
    return w;
}

} // namespace bloom::test
