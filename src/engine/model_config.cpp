#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <bloom/engine/model_config.hpp>

namespace bloom::engine {
namespace {

Result<> in_range(std::string_view what, std::int64_t value, std::int64_t min, std::int64_t max) {
    if (value >= min && value <= max) return {};
    return Error{Code::corrupt,
                 fmt::format("{} is {}; {} to {} is possible", what, value, min, max)};
}

Result<> in_real_range(std::string_view what, double value, double min, double max) {
    if (value >= min && value <= max) return {}; // false for NaN
    return Error{Code::corrupt,
                 fmt::format("{} is {}; {} to {} is possible", what, value, min, max)};
}

Result<> validate_rope(const ModelConfig& c) {
    constexpr double kMaxFactor = 65'536;
    const RopeScaling& s = c.rope_scaling;
    BLOOM_OK(in_real_range("the rope base", c.rope_theta, 2.0, 1e12));
    BLOOM_OK(in_real_range("the rope scaling factor", s.factor, 1.0, kMaxFactor));
    BLOOM_OK(in_real_range("the rope attention factor", s.attention_factor, 1e-3, 1e3));
    if (s.kind == RopeScalingKind::llama3 || s.kind == RopeScalingKind::yarn) {
        BLOOM_OK(in_range("the original context length of rope scaling", s.original_ctx_len, 1,
                          kMaxCtxLen));
    }
    if (s.kind == RopeScalingKind::llama3) {
        BLOOM_OK(in_real_range("low_freq_factor", s.low_freq_factor, 1e-3, kMaxFactor));
        BLOOM_OK(in_real_range("high_freq_factor", s.high_freq_factor, 1e-3, kMaxFactor));
        if (s.high_freq_factor <= s.low_freq_factor) {
            return Error{Code::corrupt,
                         fmt::format("high_freq_factor {} is not above low_freq_factor {}",
                                     s.high_freq_factor, s.low_freq_factor)};
        }
    }
    if (s.kind == RopeScalingKind::yarn) {
        BLOOM_OK(in_real_range("beta_slow", s.beta_slow, 1e-3, kMaxFactor));
        BLOOM_OK(in_real_range("beta_fast", s.beta_fast, s.beta_slow, kMaxFactor));
    }
    return {};
}

Result<> validate_experts(const ModelConfig& c) {
    const ExpertConfig& e = c.experts;
    const bool may = c.arch != Arch::llama && c.arch != Arch::qwen2 && c.arch != Arch::qwen3 &&
                     c.arch != Arch::qwen35;
    if (!may) {
        if (e.n_experts == 0) return {};
        return Error{Code::unsupported, fmt::format("{} experts; the architecture {} has none",
                                                    e.n_experts, to_string(c.arch))};
    }
    if (c.arch == Arch::gemma4 && e.n_experts == 0) return {}; // the larger dense size
    BLOOM_OK(in_range("the number of experts", e.n_experts, 1, kMaxExperts));
    BLOOM_OK(
        in_range("the number of experts of a token", e.top_k, 1, std::min(e.n_experts, kMaxTopK)));
    BLOOM_OK(in_range("the width of an expert", e.ffn_dim, 1, kMaxFfnWidth));
    BLOOM_OK(in_range("the width of the shared expert", e.shared_ffn_dim, 0, kMaxFfnWidth));
    BLOOM_OK(in_real_range("the scale of the experts' weights", e.scale, 1e-6, 1e6));
    if (!e.dense_layers.empty() && e.dense_layers.size() != static_cast<std::size_t>(c.n_layers)) {
        return Error{Code::corrupt, fmt::format("{} kinds of feed-forward networks for {} layers",
                                                e.dense_layers.size(), c.n_layers)};
    }
    return {};
}

/// Layers of linear attention, and that there are others beside them, whose positions count tokens.
Result<> validate_linear(const ModelConfig& c) {
    const LinearConfig& l = c.linear;
    const bool may = c.arch == Arch::qwen35 || c.arch == Arch::qwen35_moe;
    if (!may) {
        if (l.layers.empty()) return {};
        return Error{Code::unsupported,
                     fmt::format("layers of linear attention; the architecture {} has none",
                                 to_string(c.arch))};
    }
    if (l.layers.size() != static_cast<std::size_t>(c.n_layers)) {
        return Error{Code::corrupt, fmt::format("{} kinds of attention for {} layers",
                                                l.layers.size(), c.n_layers)};
    }
    if (std::ranges::count(l.layers, 0) == 0 || std::ranges::count(l.layers, 1) == 0) {
        return Error{Code::unsupported,
                     "all layers are of one kind; layers of linear and of full attention are "
                     "expected"};
    }
    BLOOM_OK(in_range("the number of linear key heads", l.n_k_heads, 1, kMaxHeads));
    BLOOM_OK(in_range("the number of linear value heads", l.n_v_heads, 1, kMaxHeads));
    BLOOM_OK(in_range("the linear key dimension", l.k_dim, 1, kMaxLinearHeadDim));
    BLOOM_OK(in_range("the linear value dimension", l.v_dim, 1, kMaxLinearHeadDim));
    BLOOM_OK(in_range("the length of the convolution", l.conv_taps, 2, kMaxConvTaps));
    if (l.n_v_heads % l.n_k_heads == 0) return {};
    return Error{Code::corrupt,
                 fmt::format("{} linear value heads cannot share {} key heads evenly", l.n_v_heads,
                             l.n_k_heads)};
}

Result<> validate_rotary_dim(const ModelConfig& c) {
    if (c.rotary_dim == 0) return {};
    BLOOM_OK(in_range("the rotated part of a head", c.rotary_dim, 2, c.head_dim));
    if (c.rotary_dim % 2 == 0) return {};
    return Error{Code::corrupt,
                 fmt::format("{} rotated dimensions of a head are not pairs", c.rotary_dim)};
}

/// What only Gemma has: layers of two shapes, and a plain network in every one.
Result<> validate_gemma(const ModelConfig& c) {
    if (c.arch != Arch::gemma4) return {};
    BLOOM_OK(in_range("the feed-forward width", c.ffn_dim, 1, kMaxFfnWidth));
    BLOOM_OK(in_range("the head dimension of full layers", c.global_head_dim, 2, kMaxHeadDim));
    BLOOM_OK(
        in_range("the number of key-value heads of full layers", c.global_kv_heads, 1, kMaxHeads));
    BLOOM_OK(in_real_range("the rope base of full layers", c.global_rope_theta, 2.0, 1e12));
    BLOOM_OK(in_real_range("the rotated share of full layers", c.global_rotary_factor, 0.0, 1.0));
    BLOOM_OK(in_real_range("the cap of the logits", c.logit_softcap, 0.0, 1e6));
    if (c.global_head_dim % 2 != 0) {
        return Error{Code::corrupt,
                     fmt::format("the head dimension {} of full layers is odd", c.global_head_dim)};
    }
    if (c.n_heads % c.global_kv_heads == 0) return {};
    return Error{Code::corrupt,
                 fmt::format("{} attention heads cannot share {} key-value heads evenly", c.n_heads,
                             c.global_kv_heads)};
}

} // namespace

bool ModelConfig::has_dense_layers() const noexcept {
    return experts.n_experts == 0 || std::ranges::count(experts.dense_layers, 1) != 0;
}

std::string_view to_string(Arch arch) noexcept {
    switch (arch) {
    case Arch::llama:
        return "llama";
    case Arch::qwen2:
        return "qwen2";
    case Arch::qwen3:
        return "qwen3";
    case Arch::qwen3_moe:
        return "qwen3moe";
    case Arch::qwen35:
        return "qwen35";
    case Arch::qwen35_moe:
        return "qwen35moe";
    case Arch::gemma4:
        return "gemma4";
    case Arch::afmoe:
        return "afmoe";
    case Arch::minimax_m2:
        return "minimax-m2";
    }
    return "?";
}

std::string_view to_string(RopeScalingKind kind) noexcept {
    switch (kind) {
    case RopeScalingKind::none:
        return "none";
    case RopeScalingKind::linear:
        return "linear";
    case RopeScalingKind::llama3:
        return "llama3";
    case RopeScalingKind::factors:
        return "factors";
    case RopeScalingKind::yarn:
        return "yarn";
    }
    return "?";
}

Result<> validate(const ModelConfig& c) {
    BLOOM_OK(in_range("the number of layers", c.n_layers, 1, kMaxLayers));
    BLOOM_OK(in_range("the model width", c.d_model, 1, kMaxModelWidth));
    BLOOM_OK(in_range("the number of attention heads", c.n_heads, 1, kMaxHeads));
    BLOOM_OK(in_range("the number of key-value heads", c.n_kv_heads, 1, kMaxHeads));
    BLOOM_OK(in_range("the head dimension", c.head_dim, 2, kMaxHeadDim));
    BLOOM_OK(validate_experts(c));
    if (c.has_dense_layers())
        BLOOM_OK(in_range("the feed-forward width", c.ffn_dim, 1, kMaxFfnWidth));
    BLOOM_OK(in_range("the number of vocabulary rows", c.vocab_rows, 1, kMaxVocabRows));
    BLOOM_OK(in_range("the context length", c.ctx_len, 1, kMaxCtxLen));
    BLOOM_OK(in_real_range("the norm epsilon", c.norm_eps, 1e-12, 1.0));
    if (c.n_heads % c.n_kv_heads != 0) {
        return Error{Code::corrupt,
                     fmt::format("{} attention heads cannot share {} key-value heads evenly",
                                 c.n_heads, c.n_kv_heads)};
    }
    if (c.head_dim % 2 != 0) {
        return Error{
            Code::corrupt,
            fmt::format("the head dimension {} is odd; rotary pairs need an even one", c.head_dim)};
    }
    BLOOM_OK(validate_rope(c));
    BLOOM_OK(validate_rotary_dim(c));
    BLOOM_OK(validate_linear(c));
    BLOOM_OK(validate_gemma(c));
    BLOOM_OK(in_range("the number of draft layers", c.n_draft_layers, 0, 1));
    if (c.layer_windows.empty()) return {};
    if (c.layer_windows.size() != static_cast<std::size_t>(c.n_layers)) {
        return Error{Code::corrupt, fmt::format("{} attention windows for {} layers",
                                                c.layer_windows.size(), c.n_layers)};
    }
    for (const std::int64_t window : c.layer_windows) {
        BLOOM_OK(in_range("an attention window", window, 0, kMaxCtxLen));
    }
    return {};
}

} // namespace bloom::engine
