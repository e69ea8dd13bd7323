#include <string>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/engine/gguf_model.hpp>

#include "engine/config/families.hpp"
#include "engine/gguf_keys.hpp"

namespace bloom::engine {

Result<std::int64_t> ArchKeys::per_layer(std::string_view name, std::int64_t n_layers,
                                         std::int64_t max) const {
    const std::string full = key(name);
    const GgufValue* value = metadata_.find(full);
    const GgufArray* array = value == nullptr ? nullptr : std::get_if<GgufArray>(&value->value);
    if (array == nullptr) return integer(name, 1, max);
    if (array->size() != static_cast<std::uint64_t>(n_layers)) {
        return Error{Code::corrupt, fmt::format("metadata key {} has {} entries for {} layers",
                                                bloom::quoted(full), array->size(), n_layers)};
    }
    BLOOM_TRY(const std::int64_t first, array->integer_at(0));
    for (std::uint64_t i = 1; i < array->size(); ++i) {
        BLOOM_TRY(const std::int64_t other, array->integer_at(i));
        if (other != first) {
            return Error{Code::unsupported,
                         fmt::format("metadata key {} differs between layers ({} and {})",
                                     bloom::quoted(full), first, other)};
        }
    }
    if (first < 1 || first > max) {
        return Error{Code::too_large, fmt::format("metadata key {} is {}, outside 1 to {}",
                                                  bloom::quoted(full), first, max)};
    }
    return first;
}

Result<std::vector<std::int64_t>> ArchKeys::each_layer(std::string_view name, std::int64_t n_layers,
                                                       std::int64_t min, std::int64_t max) const {
    const std::string full = key(name);
    const GgufValue* value = metadata_.find(full);
    const GgufArray* array = value == nullptr ? nullptr : std::get_if<GgufArray>(&value->value);
    std::vector<std::int64_t> out;
    if (array == nullptr) {
        BLOOM_TRY(const std::int64_t all, integer(name, min, max));
        out.assign(static_cast<std::size_t>(n_layers), all);
        return out;
    }
    if (array->size() != static_cast<std::uint64_t>(n_layers)) {
        return Error{Code::corrupt, fmt::format("metadata key {} has {} entries for {} layers",
                                                bloom::quoted(full), array->size(), n_layers)};
    }
    for (std::uint64_t i = 0; i < array->size(); ++i) {
        if (const auto flag = array->boolean_at(i)) {
            out.push_back(*flag ? 1 : 0);
            continue;
        }
        BLOOM_TRY(out.emplace_back(), array->integer_at(i));
        if (out.back() >= min && out.back() <= max) continue;
        return Error{Code::too_large,
                     fmt::format("entry {} of metadata key {} is {}, outside {} to {}", i,
                                 bloom::quoted(full), out.back(), min, max)};
    }
    return out;
}

namespace {

Result<Arch> parse_arch(std::string_view name) {
    if (name == "llama") return Arch::llama;
    if (name == "qwen2") return Arch::qwen2;
    if (name == "qwen3") return Arch::qwen3;
    if (name == "qwen3moe") return Arch::qwen3_moe;
    if (name == "qwen35") return Arch::qwen35;
    if (name == "qwen35moe") return Arch::qwen35_moe;
    if (name == "gemma4") return Arch::gemma4;
    if (name == "afmoe") return Arch::afmoe;
    if (name == "minimax-m2") return Arch::minimax_m2;
    return Error{Code::unsupported,
                 fmt::format("model architecture {} is not supported; llama, qwen2, qwen3, "
                             "qwen3moe, qwen35, qwen35moe, gemma4, afmoe and minimax-m2 are",
                             bloom::quoted(name))};
}

Result<> read_shape(const ArchKeys& keys, ModelConfig& c) {
    BLOOM_TRY(c.n_layers, keys.integer("block_count", 1, kMaxLayers));
    BLOOM_TRY(c.d_model, keys.integer("embedding_length", 1, kMaxModelWidth));
    BLOOM_TRY(c.ctx_len, keys.integer("context_length", 1, kMaxCtxLen));
    if (c.arch != Arch::qwen3_moe || keys.has("feed_forward_length")) {
        BLOOM_TRY(c.ffn_dim, keys.per_layer("feed_forward_length", c.n_layers, kMaxFfnWidth));
    }
    BLOOM_TRY(c.n_heads, keys.per_layer("attention.head_count", c.n_layers, kMaxHeads));
    c.n_kv_heads = c.n_heads;
    if (keys.has("attention.head_count_kv")) {
        BLOOM_TRY(c.n_kv_heads, keys.per_layer("attention.head_count_kv", c.n_layers, kMaxHeads));
    }
    if (keys.has("attention.key_length")) {
        BLOOM_TRY(c.head_dim, keys.integer("attention.key_length", 2, kMaxHeadDim));
    } else if (c.d_model % c.n_heads == 0) {
        c.head_dim = c.d_model / c.n_heads;
    } else {
        return Error{Code::corrupt,
                     fmt::format("{} is missing and {} heads do not divide a width of {}",
                                 keys.key("attention.key_length"), c.n_heads, c.d_model)};
    }
    BLOOM_TRY(const std::int64_t v_dim,
              keys.integer_or("attention.value_length", c.head_dim, 1, kMaxHeadDim));
    if (v_dim != c.head_dim) {
        return Error{Code::unsupported,
                     fmt::format("values of {} dimensions beside keys of {} are not supported",
                                 v_dim, c.head_dim)};
    }
    return {};
}

/// Experts by the keys of their number and size; layers without them by their tensors.
Result<> read_experts(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    ExpertConfig& e = c.experts;
    if (c.arch != Arch::qwen3_moe) {
        BLOOM_TRY(const std::int64_t n, keys.integer_or("expert_count", 0, 0, kMaxExperts));
        if (n == 0) return {};
        return Error{Code::unsupported,
                     fmt::format("{} is {}; {} with experts is not supported",
                                 keys.key("expert_count"), n, to_string(c.arch))};
    }
    BLOOM_TRY(e.n_experts, keys.integer("expert_count", 1, kMaxExperts));
    BLOOM_TRY(e.top_k, keys.integer("expert_used_count", 1, kMaxExperts));
    BLOOM_TRY(e.ffn_dim, keys.integer("expert_feed_forward_length", 1, kMaxFfnWidth));
    BLOOM_TRY(e.normalise, keys.boolean_or("expert_weights_norm", true));
    BLOOM_TRY(e.scale, keys.real_or("expert_weights_scale", 1.0));
    constexpr std::int64_t kSoftmax = 1;
    BLOOM_TRY(const std::int64_t gate, keys.integer_or("expert_gating_func", kSoftmax, 0, 255));
    if (gate != kSoftmax) {
        return Error{Code::unsupported,
                     fmt::format("{} is {}; {} (softmax) is supported",
                                 keys.key("expert_gating_func"), gate, kSoftmax)};
    }
    BLOOM_TRY(const std::int64_t shared, keys.integer_or("expert_shared_count", 0, 0, kMaxExperts));
    if (shared != 0) {
        return Error{Code::unsupported, fmt::format("{} is {}; shared experts are not supported",
                                                    keys.key("expert_shared_count"), shared)};
    }
    const auto has = [&](std::int64_t layer, std::string_view tensor) {
        return file.find_tensor(fmt::format("blk.{}.{}.weight", layer, tensor)) != nullptr;
    };
    for (std::int64_t i = 0; i < c.n_layers; ++i)
        e.dense_layers.push_back(has(i, "ffn_gate") && !has(i, "ffn_gate_inp") ? 1 : 0);
    if (!c.has_dense_layers()) e.dense_layers.clear();
    return {};
}

Result<> read_windows(const ArchKeys& keys, ModelConfig& c) {
    if (keys.has("attention.sliding_window_pattern")) {
        return Error{Code::unsupported, fmt::format("{} is not supported for this architecture",
                                                    keys.key("attention.sliding_window_pattern"))};
    }
    BLOOM_TRY(const std::int64_t window,
              keys.integer_or("attention.sliding_window", 0, 0, kMaxCtxLen));
    if (window > 0 && window < c.ctx_len)
        c.layer_windows.assign(static_cast<std::size_t>(c.n_layers), window);
    return {};
}

void read_tensor_switches(const GgufFile& file, ModelConfig& c) {
    c.tied_output = file.find_tensor("output.weight") == nullptr;
    c.qkv_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
    c.attn_out_bias = file.find_tensor("blk.0.attn_output.bias") != nullptr;
    c.mlp_bias = file.find_tensor("blk.0.ffn_gate.bias") != nullptr;
    c.qk_norm = c.arch == Arch::qwen3 || c.arch == Arch::qwen3_moe;
}

Result<> read_all_rotated(const ArchKeys& keys, ModelConfig& c) {
    BLOOM_TRY(const std::int64_t rotated,
              keys.integer_or("rope.dimension_count", c.head_dim, 1, kMaxHeadDim));
    if (rotated == c.head_dim) return {};
    return Error{
        Code::unsupported,
        fmt::format("rotating {} of {} head dimensions is not supported", rotated, c.head_dim)};
}

/// Llama, Qwen2 and Qwen3, with and without experts.
Result<> read_llama(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    BLOOM_OK(read_shape(keys, c));
    BLOOM_OK(read_experts(keys, file, c));
    BLOOM_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon"));
    BLOOM_OK(read_all_rotated(keys, c));
    BLOOM_OK(config::read_gguf_rope(keys, file, c));
    BLOOM_OK(read_windows(keys, c));
    read_tensor_switches(file, c);
    return {};
}

Result<> read_family(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    switch (c.arch) {
    case Arch::llama:
    case Arch::qwen2:
    case Arch::qwen3:
    case Arch::qwen3_moe:
        return read_llama(keys, file, c);
    case Arch::qwen35:
    case Arch::qwen35_moe:
        return config::read_gguf_qwen35(keys, file, c);
    case Arch::gemma4:
        return config::read_gguf_gemma4(keys, file, c);
    case Arch::afmoe:
        return config::read_gguf_afmoe(keys, file, c);
    case Arch::minimax_m2:
        return config::read_gguf_minimax_m2(keys, file, c);
    }
    return Error{Code::unsupported,
                 fmt::format("model architecture {} is not supported", to_string(c.arch))};
}

} // namespace

Result<ModelConfig> read_gguf_config(const GgufFile& file) {
    ModelConfig c;
    BLOOM_TRY(const std::string_view arch, file.metadata().text("general.architecture"));
    BLOOM_TRY(c.arch, parse_arch(arch));
    const ArchKeys keys(file.metadata(), arch);
    BLOOM_OK(read_family(keys, file, c));

    const TensorInfo* embedding = file.find_tensor("token_embd.weight");
    if (embedding == nullptr)
        return Error{Code::corrupt, "tensor \"token_embd.weight\" is missing"};
    if (embedding->n_dims != 2) {
        return Error{Code::corrupt, fmt::format("tensor \"token_embd.weight\" has the shape {}",
                                                shape_text(embedding->shape()))};
    }
    c.vocab_rows = embedding->dims[0];
    BLOOM_OK(validate(c));
    return c;
}

} // namespace bloom::engine
