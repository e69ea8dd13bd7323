#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

namespace bloom::engine {

/// Model families with a graph. llama, qwen2 and qwen3 differ only in the switches of ModelConfig.
enum class Arch : std::uint8_t {
    llama,
    qwen2,
    qwen3,
    qwen3_moe,
    qwen35,
    qwen35_moe,
    gemma4,
    afmoe,
    minimax_m2
};

std::string_view to_string(Arch arch) noexcept;

/// How rotary frequencies inv_freq_j = theta^(-2j/d) are changed for long contexts; d is what of a
/// head is rotated.
enum class RopeScalingKind : std::uint8_t {
    none,
    linear,  ///< positions divided by `factor`
    llama3,  ///< by wavelength: factor, low/high_freq_factor, original_ctx_len
    factors, ///< inv_freq_j divided by entry j of the tensor Role::rope_factors [d/2]
    yarn,    ///< ramp between inv_freq and inv_freq/factor: beta_fast, beta_slow, original_ctx_len
};

std::string_view to_string(RopeScalingKind kind) noexcept;

struct RopeScaling {
    RopeScalingKind kind = RopeScalingKind::none;
    double factor = 1.0;
    double low_freq_factor = 1.0;      ///< llama3
    double high_freq_factor = 4.0;     ///< llama3
    std::int64_t original_ctx_len = 0; ///< llama3 and yarn: tokens the model was trained on
    double beta_fast = 32.0;           ///< yarn
    double beta_slow = 1.0;            ///< yarn
    double attention_factor = 1.0; ///< yarn: q and k are both multiplied by it; 1 for the others
};

// Semantic limits: checked before anything is allocated from them.
inline constexpr std::int64_t kMaxLayers = 1024;
inline constexpr std::int64_t kMaxModelWidth = 65'536;
inline constexpr std::int64_t kMaxFfnWidth = 1 << 20;
inline constexpr std::int64_t kMaxHeads = 1024;
inline constexpr std::int64_t kMaxHeadDim = 1024;
inline constexpr std::int64_t kMaxVocabRows = 4'194'304;
inline constexpr std::int64_t kMaxCtxLen = 1 << 24;
inline constexpr std::int64_t kMaxExperts = 4096;
inline constexpr std::int64_t kMaxLinearHeadDim = 256;
inline constexpr std::int64_t kMaxConvTaps = 8;
inline constexpr std::int64_t kMaxTopK = 64; ///< experts of one token; the catalog has 8

/// Feed-forward networks of which every token uses a few.
struct ExpertConfig {
    std::int64_t n_experts = 0;      ///< 0: the model has none
    std::int64_t top_k = 0;          ///< chosen for each token
    std::int64_t ffn_dim = 0;        ///< width of one expert
    bool normalise = true;           ///< the chosen ones' weights are divided by their sum
    double scale = 1.0;              ///< and then multiplied by this
    bool sigmoid = false;            ///< scores are sigmoids of the router's logits, not a softmax
    bool selection_bias = false;     ///< Role::selection_bias is added to scores for choosing only
    std::int64_t shared_ffn_dim = 0; ///< width of the expert that every token uses; 0: none
    bool shared_gate = false;        ///< it is multiplied by the sigmoid of Role::w_shared_gate
    /// Layers that have a plain feed-forward network of ModelConfig::ffn_dim instead. Empty when
    /// none has; otherwise n_layers entries, 1 for such a layer.
    std::vector<std::uint8_t> dense_layers;
};

/// Layers of linear attention by the gated delta rule, see compute::DeltaRuleOp.
struct LinearConfig {
    std::int64_t n_k_heads = 0;
    std::int64_t n_v_heads = 0; ///< a multiple of n_k_heads
    std::int64_t k_dim = 0;
    std::int64_t v_dim = 0;
    std::int64_t conv_taps = 0;
    bool tiled = false; ///< value head h belongs to key head h mod n_k_heads, not h / (ratio)
    /// 1 for such a layer; n_layers entries, empty when the model has none.
    std::vector<std::uint8_t> layers;

    std::int64_t channels() const noexcept { return 2 * n_k_heads * k_dim + n_v_heads * v_dim; }

    std::int64_t v_width() const noexcept { return n_v_heads * v_dim; }
};

/// Everything a graph needs to know about a model, from either container. Plain values.
struct ModelConfig {
    Arch arch = Arch::llama;
    std::int64_t n_layers = 0;
    std::int64_t d_model = 0;
    std::int64_t n_heads = 0;
    std::int64_t n_kv_heads = 0; ///< divides n_heads
    std::int64_t head_dim = 0;   ///< even; n_heads * head_dim need not be d_model
    std::int64_t ffn_dim = 0;    ///< 0 where every layer has experts
    ExpertConfig experts;
    /// Rows of the embedding and of the head: logits per position. Not fewer than the tokenizer's
    /// tokens; the surplus rows are padding that must be masked before sampling.
    std::int64_t vocab_rows = 0;
    std::int64_t ctx_len = 0;
    double norm_eps = 1e-5;
    double rope_theta = 10'000.0;
    RopeScaling rope_scaling;
    bool qkv_bias = false;      ///< bq, bk, bv
    bool attn_out_bias = false; ///< bo
    bool mlp_bias = false;      ///< b_gate, b_up, b_down
    bool qk_norm = false;       ///< q_norm, k_norm [head_dim], per head, before RoPE
    bool tied_output = false;   ///< the head is the embedding; Role::output is absent
    LinearConfig linear;
    std::int64_t rotary_dim = 0;     ///< dimensions of a head that are rotated; 0: all
    bool qk_norm_whole = false;      ///< with qk_norm: over all heads together, [Q] and [K]
    bool attn_gate = false;          ///< Role::attn_gate: output times its sigmoid
    bool attn_post_norm = false;     ///< Role::attn_post_norm and Role::ffn_post_norm
    double embed_scale = 1.0;        ///< of embedded tokens
    double logit_softcap = 0;        ///< logits become cap * tanh(logits / cap); 0: not
    std::int64_t n_draft_layers = 0; ///< heads that guess the token after next, see Role::mtp_fc
    /// 1 for layers without rotation; n_layers entries or empty.
    std::vector<std::uint8_t> unrotated_layers;
    /// Gemma: layers without a window have heads of another shape, values that are their
    /// unnormalised keys, and a rotation of their own. 0: all layers are alike.
    std::int64_t global_head_dim = 0;
    std::int64_t global_kv_heads = 0;
    double global_rope_theta = 0;
    double global_rotary_factor = 1.0; ///< share of pairs that turn; the others keep frequency 0
    bool global_k_is_v = false;
    /// Attention window of each layer in tokens, 0 for full attention: layer l sees positions r
    /// with p - window < r <= p. Empty when every layer is full; otherwise n_layers entries.
    std::vector<std::int64_t> layer_windows;

    std::int64_t q_dim() const noexcept { return n_heads * head_dim; }

    std::int64_t kv_dim() const noexcept { return n_kv_heads * head_dim; }

    bool has_experts(std::int64_t layer) const noexcept {
        return experts.n_experts > 0 &&
               (experts.dense_layers.empty() || layer < 0 || layer >= n_layers ||
                experts.dense_layers[static_cast<std::size_t>(layer)] == 0);
    }

    /// Whether some layer has a plain feed-forward network.
    bool has_dense_layers() const noexcept;

    bool is_linear(std::int64_t layer) const noexcept {
        return layer >= 0 && layer < n_layers && !linear.layers.empty() &&
               linear.layers[static_cast<std::size_t>(layer)] != 0;
    }

    /// Whether the layer is one of those with the global_ shapes.
    bool is_global(std::int64_t layer) const noexcept {
        return global_head_dim > 0 && window(layer) == 0;
    }

    std::int64_t head_dim_of(std::int64_t layer) const noexcept {
        return is_global(layer) ? global_head_dim : head_dim;
    }

    std::int64_t kv_heads_of(std::int64_t layer) const noexcept {
        return is_global(layer) ? global_kv_heads : n_kv_heads;
    }

    bool is_rotated(std::int64_t layer) const noexcept {
        return unrotated_layers.empty() || unrotated_layers[static_cast<std::size_t>(layer)] == 0;
    }

    std::int64_t window(std::int64_t layer) const noexcept {
        return layer_windows.empty() || layer < 0 || layer >= n_layers
                   ? 0
                   : layer_windows[static_cast<std::size_t>(layer)];
    }
};

/// Whether every value is one that a graph can be built from.
/// Errors: corrupt or unsupported; the message names the value and its limit.
Result<> validate(const ModelConfig& config);

} // namespace bloom::engine
