#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace bloom::engine {

/// IEEE binary16 to binary32, subnormals kept.
inline float half_to_float(std::uint16_t half) noexcept {
    const std::uint32_t sign = std::uint32_t{half & 0x8000U} << 16;
    const std::uint32_t exponent = half >> 10 & 0x1fU;
    const std::uint32_t mantissa = half & 0x3ffU;
    if (exponent == 0) { // zero or subnormal: mantissa * 2^-24 is exact in f32
        const float value = static_cast<float>(mantissa) * 0x1p-24F;
        return sign != 0 ? -value : value;
    }
    const std::uint32_t bits =
        exponent == 31 ? 0x7f800000U | mantissa << 13 : (exponent + 112) << 23 | mantissa << 13;
    return std::bit_cast<float>(sign | bits);
}

/// The nearest binary16, halves to even; too large becomes infinity. Not for NaN.
inline std::uint16_t float_to_half(float value) noexcept {
    const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000U : 0U);
    const float size = std::fabs(value);
    if (size == 0.0F) return sign;
    if (size >= 65'520.0F) return static_cast<std::uint16_t>(sign | 0x7c00U);
    int exponent = 0;
    static_cast<void>(std::frexp(size, &exponent)); // size < 2^exponent
    const int unit = std::max(exponent - 11, -24);  // of the last of 11 bits, or of subnormals
    const auto bits = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, -unit)));
    // A carry out of the mantissa lands in the exponent, where it belongs.
    const std::uint32_t high = unit == -24 ? 0U : static_cast<std::uint32_t>(unit + 24) << 10;
    return static_cast<std::uint16_t>(sign | (high + bits));
}

/// The nearest bfloat16, halves to even. Not for NaN.
inline std::uint16_t float_to_bf16(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

/// bfloat16 is the upper half of binary32.
inline float bf16_to_float(std::uint16_t value) noexcept {
    return std::bit_cast<float>(std::uint32_t{value} << 16);
}

} // namespace bloom::engine
