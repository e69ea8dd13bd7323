#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace bloom::fit {

/// What the published estimator assumes of a quantization (fit API section 3.2) and what its files
/// really take (section 6.3).
struct Quantization {
    std::string_view name;
    double memory_bytes = 0;    ///< per parameter, in the published memory formula
    double speed_bytes = 0;     ///< per parameter, in the published speed formula
    double speed_factor = 1;    ///< where no bandwidth is known
    double quality = 0;         ///< points that it costs
    double bits_per_weight = 0; ///< of real files
};

/// The row of that name, or what the published estimator takes for names it does not list.
Quantization quantization(std::string_view name) noexcept;

/// GGUF quantizations from the best to the smallest.
std::span<const std::string_view> gguf_hierarchy() noexcept;
std::span<const std::string_view> mlx_hierarchy() noexcept;
std::span<const std::string_view> onnx_hierarchy() noexcept;

/// Bits of its class, 8 for Q8_0 and mlx-8bit, 4 for Q4_K_M; 16 and 32 for floats.
std::int32_t class_bits(std::string_view name) noexcept;

} // namespace bloom::fit
