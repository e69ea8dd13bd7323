#pragma once

#include <span>
#include <string_view>

namespace bloom::fit {

/// What the published estimator assumes of a quantization (fit API section 3.2).
struct Quantization {
    std::string_view name;
    double memory_bytes = 0; ///< per parameter, in the published memory formula
    double speed_bytes = 0;  ///< per parameter, in the published speed formula
    double speed_factor = 1; ///< where no bandwidth is known
    double quality = 0;      ///< points that it costs
};

/// The row of that name, or what the published estimator takes for names it does not list.
Quantization quantization(std::string_view name) noexcept;

/// GGUF quantizations from the best to the smallest.
std::span<const std::string_view> gguf_hierarchy() noexcept;
std::span<const std::string_view> mlx_hierarchy() noexcept;
std::span<const std::string_view> onnx_hierarchy() noexcept;

} // namespace bloom::fit
