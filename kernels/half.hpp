#pragma once

#include <cstdint>
#include <cstring>

/// Scalar conversions between f32 and the two 16-bit floating types. Internal linkage throughout,
/// so that a file compiled for a newer instruction set leaves nothing for the linker to merge.
namespace bloom::kernels {

[[gnu::always_inline, maybe_unused]] static inline std::uint32_t float_bits(float x) noexcept {
    std::uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    return u;
}

[[gnu::always_inline, maybe_unused]] static inline float bits_float(std::uint32_t u) noexcept {
    float x;
    std::memcpy(&x, &u, sizeof x);
    return x;
}

/// IEEE binary16 to binary32: exact, subnormals kept, signalling NaNs become quiet.
[[gnu::always_inline, maybe_unused]] static inline float f16_to_f32(std::uint16_t h) noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000U) << 16;
    const std::uint32_t exponent = (h >> 10) & 0x1fU;
    const std::uint32_t mantissa = h & 0x3ffU;
    if (exponent == 0) { // mantissa * 2^-24 is a normal f32
        return bits_float(sign | float_bits(static_cast<float>(mantissa) * 0x1p-24F));
    }
    if (exponent == 31) {
        const std::uint32_t quiet = mantissa != 0 ? 0x400000U : 0U;
        return bits_float(sign | 0x7f800000U | quiet | (mantissa << 13));
    }
    return bits_float(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

/// Rounds to nearest even; beyond the range gives infinity, NaN stays NaN.
[[gnu::always_inline, maybe_unused]] static inline std::uint16_t f32_to_f16(float x) noexcept {
    const std::uint32_t bits = float_bits(x);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t u = bits & 0x7fffffffU;
    std::uint32_t h;
    if (u > 0x7f800000U) {
        h = 0x7e00U | ((u >> 13) & 0x3ffU);
    } else if (u >= 0x477ff000U) { // 65520 and above round to infinity
        h = 0x7c00U;
    } else if (u < 0x38800000U) { // below 2^-14: one ulp of 0.5 is one subnormal step
        h = float_bits(bits_float(u) + 0.5F) - 0x3f000000U;
    } else {
        h = (u - 0x38000000U + 0xfffU + ((u >> 13) & 1U)) >> 13;
    }
    return static_cast<std::uint16_t>(sign | h);
}

[[gnu::always_inline, maybe_unused]] static inline float bf16_to_f32(std::uint16_t h) noexcept {
    return bits_float(static_cast<std::uint32_t>(h) << 16);
}

/// Rounds to nearest even; NaN stays NaN.
[[gnu::always_inline, maybe_unused]] static inline std::uint16_t f32_to_bf16(float x) noexcept {
    const std::uint32_t u = float_bits(x);
    if ((u & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((u >> 16) | 0x40U);
    return static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
}

[[gnu::always_inline, maybe_unused]] static inline std::uint16_t
load_u16(const std::uint8_t* p) noexcept {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

} // namespace bloom::kernels
