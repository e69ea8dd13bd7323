#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

#include "kernel_fixture.hpp"

namespace bloom::kernels {
namespace {

/// binary16 by its definition.
double f16_value(std::uint16_t h) {
    const double sign = (h & 0x8000) != 0 ? -1.0 : 1.0;
    const int exponent = (h >> 10) & 0x1f;
    const int mantissa = h & 0x3ff;
    if (exponent == 0) return sign * std::ldexp(mantissa, -24);
    if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
    return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(Half, EveryF16Decodes) {
    for (unsigned h = 0; h < 0x10000; ++h) {
        const float got = f16_to_f32(static_cast<std::uint16_t>(h));
        const double want = f16_value(static_cast<std::uint16_t>(h));
        if (std::isnan(want)) {
            ASSERT_TRUE(std::isnan(got)) << h;
        } else {
            ASSERT_EQ(static_cast<double>(got), want) << h;
            ASSERT_EQ(std::signbit(got), (h & 0x8000) != 0) << h;
        }
    }
}

TEST(Half, EveryF16RoundTrips) {
    for (unsigned h = 0; h < 0x10000; ++h) {
        const float x = f16_to_f32(static_cast<std::uint16_t>(h));
        if (std::isnan(x)) {
            ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(x))));
        } else {
            ASSERT_EQ(f32_to_f16(x), h);
        }
    }
}

TEST(Half, RoundsToNearestEven) {
    // Between every two neighbours: below the middle down, above it up, in it to the even one. The
    // value after the largest finite one counts as 65536.
    for (unsigned h = 0; h < 0x7c00; ++h) {
        const double low = f16_value(static_cast<std::uint16_t>(h));
        const double high = h == 0x7bff ? 65536.0 : f16_value(static_cast<std::uint16_t>(h + 1));
        const float middle = static_cast<float>((low + high) / 2);
        const unsigned even = (h & 1) == 0 ? h : h + 1;
        ASSERT_EQ(f32_to_f16(middle), even) << h;
        ASSERT_EQ(f32_to_f16(-middle), even | 0x8000U) << h;
        ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 0.0F)), h) << h;
        ASSERT_EQ(f32_to_f16(std::nextafterf(middle, INFINITY)), h + 1) << h;
    }
    EXPECT_EQ(f32_to_f16(1e30F), 0x7c00);
    EXPECT_EQ(f32_to_f16(-INFINITY), 0xfc00);
    EXPECT_EQ(f32_to_f16(1e-30F), 0);
}

TEST(Half, Bf16) {
    for (unsigned h = 0; h < 0x7f80; ++h) {
        const float low = bf16_to_f32(static_cast<std::uint16_t>(h));
        ASSERT_EQ(float_bits(low), h << 16);
        ASSERT_EQ(f32_to_bf16(low), h);
        const std::uint32_t middle = (h << 16) | 0x8000U;
        ASSERT_EQ(f32_to_bf16(bits_float(middle)), (h & 1) == 0 ? h : h + 1);
        ASSERT_EQ(f32_to_bf16(bits_float(middle - 1)), h);
        ASSERT_EQ(f32_to_bf16(bits_float(middle + 1)), h + 1);
    }
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bits_float(0x7f800001)))));
    EXPECT_EQ(f32_to_bf16(INFINITY), 0x7f80);
}

} // namespace
} // namespace bloom::kernels
