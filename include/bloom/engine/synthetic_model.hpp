#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/model_config.hpp>

namespace bloom::engine {

/// A model's dimensions without its weights: what ModelFile::synthetic makes random ones for.
struct SyntheticShape {
    std::string name;
    /// What it stands for when that model's own architecture is another one, and what is missing;
    /// empty when the shape is the model's own.
    std::string approximates;
    ModelConfig config;
};

/// Largest file of a shape.
inline constexpr std::size_t kMaxShapeBytes = 64 * 1024;

/// Reads `key = value` lines; # begins a comment. Keys: arch (llama, qwen2, qwen3, qwen3moe,
/// qwen35, qwen35moe), layers, d_model, heads, kv_heads, head_dim, vocab, context; ffn_dim;
/// experts, top_k, expert_ffn_dim, shared_ffn_dim, dense_layers (the first so many have none);
/// window and full_every (of so many layers the last sees everything; 0: none does);
/// linear_key_heads, linear_value_heads, linear_key_dim, linear_value_dim, conv_taps (layers but
/// every full_every-th are linear where the architecture has such); draft_layers; rope_theta,
/// rotary_dim, norm_eps, tied (yes or no), approximates. Errors: invalid_argument naming the line,
/// and those of validate().
Result<SyntheticShape> parse_shape(std::string_view text, std::string_view name);

/// The shapes of bench/shapes, which are compiled in, by name.
std::vector<std::string_view> shape_names();

/// One of those, or a file. Errors: not_found naming what there is, those of parse_shape.
Result<SyntheticShape> find_shape(std::string_view name_or_path);

} // namespace bloom::engine
