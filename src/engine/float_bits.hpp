#pragma once

#include <bit>
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

/// bfloat16 is the upper half of binary32.
inline float bf16_to_float(std::uint16_t value) noexcept {
    return std::bit_cast<float>(std::uint32_t{value} << 16);
}

} // namespace bloom::engine
