#include <bloom/fit/quantization.hpp>

namespace bloom::fit {
namespace {

// Columns and figures: fit API section 3.2.
constexpr Quantization kTable[] = {
    {"F32", 4.0, 0.5, 1.0, -5},
    {"F16", 2.0, 2.0, 0.6, 0},
    {"BF16", 2.0, 2.0, 0.6, 0},
    {"Q8_0", 1.05, 1.0, 0.8, 0},
    {"Q6_K", 0.80, 0.75, 0.95, -1},
    {"Q5_K_M", 0.68, 0.625, 1.0, -2},
    {"Q4_K_M", 0.58, 0.5, 1.15, -5},
    {"Q4_0", 0.58, 0.5, 1.15, -5},
    {"Q3_K_M", 0.48, 0.375, 1.25, -8},
    {"Q2_K", 0.37, 0.25, 1.35, -12},
    {"mlx-8bit", 1.0, 1.0, 0.85, 0},
    {"mlx-4bit", 0.55, 0.5, 1.15, -4},
    {"AWQ-4bit", 0.5, 0.5, 1.2, -3},
    {"GPTQ-Int4", 0.5, 0.5, 1.2, -3},
    {"AWQ-8bit", 1.0, 1.0, 0.85, 0},
    {"GPTQ-Int8", 1.0, 1.0, 0.85, 0},
    {"AutoRound-4bit", 0.58, 0.5, 1.2, -3},
    {"AutoRound-8bit", 0.58, 1.0, 0.85, 0},
};

constexpr Quantization kUnlisted{"", 0.58, 0.5, 1.0, -5};

constexpr std::string_view kGguf[] = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"};
constexpr std::string_view kMlx[] = {"mlx-8bit", "mlx-4bit"};
constexpr std::string_view kOnnx[] = {"Q8_0", "Q4_0"};

/// UD-Q4_K_XL and its like count as the common quantization of their bits.
std::string_view common_name(std::string_view name) noexcept {
    constexpr std::string_view kDynamic = "UD-Q";
    if (!name.starts_with(kDynamic) || name.size() <= kDynamic.size()) return name;
    switch (name[kDynamic.size()]) {
    case '2':
        return "Q2_K";
    case '3':
        return "Q3_K_M";
    case '4':
        return "Q4_K_M";
    case '5':
        return "Q5_K_M";
    case '6':
        return "Q6_K";
    case '8':
        return "Q8_0";
    default:
        return name;
    }
}

} // namespace

Quantization quantization(std::string_view name) noexcept {
    const std::string_view common = common_name(name);
    for (const Quantization& row : kTable) {
        if (row.name != common) continue;
        Quantization found = row;
        found.name = name;
        return found;
    }
    Quantization unlisted = kUnlisted;
    unlisted.name = name;
    return unlisted;
}

std::span<const std::string_view> gguf_hierarchy() noexcept {
    return kGguf;
}

std::span<const std::string_view> mlx_hierarchy() noexcept {
    return kMlx;
}

std::span<const std::string_view> onnx_hierarchy() noexcept {
    return kOnnx;
}

} // namespace bloom::fit
