#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr std::int64_t kLengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 200};

/// Distance in units of the last place of the f32 nearest to `want`, at least the smallest
/// subnormal.
double ulps(float got, double want) {
    const float near = static_cast<float>(want);
    const float size = std::fabs(near);
    const double unit = static_cast<double>(
        std::max(std::nextafterf(size, std::numeric_limits<float>::infinity()) - size, 0x1p-149F));
    return std::fabs(static_cast<double>(got) - want) / unit;
}

class Elementwise : public TableTest {};

TEST_P(Elementwise, RmsNorm) {
    Rng rng(51);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        const Guarded<float> x = random_floats(size, rng);
        const Guarded<float> w = random_floats(size, rng);
        Guarded<float> out(size);
        std::vector<double> want(size);
        table().rms_norm(x.data(), w.data(), 1e-5F, n, out.data());
        reference::rms_norm(x.data(), w.data(), 1e-5F, n, want.data());
        for (std::size_t i = 0; i < size; ++i) {
            // Half of the sum's relative error (at most n units), then four more roundings.
            const double bound = (static_cast<double>(n) / 2 + 5) * kUnit * std::fabs(want[i]);
            ASSERT_LE(std::fabs(static_cast<double>(out[i]) - want[i]), bound) << n << " " << i;
        }
    }
}

TEST_P(Elementwise, RmsNormOfZerosAndInPlace) {
    Guarded<float> x(19, 0.0F);
    const Guarded<float> w(19, 3.0F);
    table().rms_norm(x.data(), w.data(), 1e-6F, 19, x.data());
    for (std::size_t i = 0; i < 19; ++i)
        EXPECT_EQ(x[i], 0.0F);
    Guarded<float> y(19, -2.0F);
    table().rms_norm(y.data(), w.data(), 0.0F, 19, y.data());
    for (std::size_t i = 0; i < 19; ++i)
        EXPECT_EQ(y[i], -3.0F);
}

TEST_P(Elementwise, RmsNormWithoutWeights) {
    Rng rng(57);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        const Guarded<float> x = random_floats(size, rng);
        const Guarded<float> ones(size, 1.0F);
        Guarded<float> out(size);
        Guarded<float> want(size);
        table().rms_norm(x.data(), nullptr, 1e-6F, n, out.data());
        table().rms_norm(x.data(), ones.data(), 1e-6F, n, want.data());
        for (std::size_t i = 0; i < size; ++i)
            ASSERT_EQ(out[i], want[i]) << n << " " << i;
    }
}

TEST_P(Elementwise, Rope) {
    Rng rng(52);
    for (const std::int64_t pairs : kLengths) {
        const auto n = static_cast<std::size_t>(pairs);
        Guarded<float> head = random_floats(2 * n, rng);
        Guarded<float> cosines(n);
        Guarded<float> sines(n);
        for (std::size_t i = 0; i < n; ++i) {
            cosines[i] = std::cos(static_cast<float>(i));
            sines[i] = std::sin(static_cast<float>(i));
        }
        std::vector<float> before(head.data(), head.data() + 2 * n);
        table().rope(head.data(), cosines.data(), sines.data(), pairs);
        for (std::size_t i = 0; i < n; ++i) {
            const double a = static_cast<double>(before[i]);
            const double b = static_cast<double>(before[n + i]);
            const double c = static_cast<double>(cosines[i]);
            const double s = static_cast<double>(sines[i]);
            const double bound = 2 * kUnit * (std::fabs(a) + std::fabs(b));
            ASSERT_NEAR(static_cast<double>(head[i]), a * c - b * s, bound);
            ASSERT_NEAR(static_cast<double>(head[n + i]), b * c + a * s, bound);
        }
    }
}

TEST_P(Elementwise, RopeLeavesTheRestAlone) {
    Guarded<float> head(12, 1.0F);
    const Guarded<float> zero(4, 0.0F);
    table().rope(head.data(), zero.data(), zero.data(), 4);
    for (std::size_t i = 0; i < 12; ++i)
        EXPECT_EQ(head[i], i < 8 ? 0.0F : 1.0F);
}

TEST_P(Elementwise, SiluMul) {
    Rng rng(53);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> gate = random_floats(size, rng);
        for (std::size_t i = 0; i < size; ++i)
            gate[i] *= i % 3 == 0 ? 20.0F : 2.0F;
        const Guarded<float> up = random_floats(size, rng);
        Guarded<float> out(size);
        table().silu_mul(gate.data(), up.data(), n, out.data());
        for (std::size_t i = 0; i < size; ++i) {
            const double want =
                reference::silu(static_cast<double>(gate[i])) * static_cast<double>(up[i]);
            ASSERT_LE(std::fabs(static_cast<double>(out[i]) - want),
                      8 * kUnit * std::fabs(want) + 1e-44)
                << gate[i];
        }
    }
}

TEST_P(Elementwise, SiluMulAtTheEnds) {
    const float gate[] = {-1000.0F, 1000.0F, -0.0F, 0.0F, -104.5F, 3e38F, -3e38F, NAN};
    const float up[] = {2.0F, 2.0F, 2.0F, 2.0F, 2.0F, 1.0F, 1.0F, 1.0F};
    float out[8];
    table().silu_mul(gate, up, 8, out);
    EXPECT_EQ(out[0], 0.0F);
    EXPECT_EQ(out[1], 2000.0F);
    EXPECT_EQ(out[2], 0.0F);
    EXPECT_EQ(out[3], 0.0F);
    EXPECT_EQ(out[4], 0.0F);
    EXPECT_EQ(out[5], 3e38F);
    EXPECT_EQ(out[6], 0.0F);
    EXPECT_TRUE(std::isnan(out[7]));
}

TEST_P(Elementwise, SigmoidMul) {
    Rng rng(58);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> gate = random_floats(size, rng);
        for (std::size_t i = 0; i < size; ++i)
            gate[i] *= i % 3 == 0 ? 20.0F : 2.0F;
        const Guarded<float> up = random_floats(size, rng);
        Guarded<float> out(size);
        table().sigmoid_mul(gate.data(), up.data(), n, out.data());
        for (std::size_t i = 0; i < size; ++i) {
            const double want =
                static_cast<double>(up[i]) / (1.0 + std::exp(-static_cast<double>(gate[i])));
            ASSERT_LE(std::fabs(static_cast<double>(out[i]) - want),
                      6 * kUnit * std::fabs(want) + 1e-44)
                << gate[i];
        }
    }
}

TEST_P(Elementwise, SigmoidMulAtTheEnds) {
    const float gate[] = {-1000.0F, 1000.0F, -0.0F, 0.0F, 3e38F, -3e38F, NAN};
    const float up[] = {2.0F, 2.0F, 2.0F, 2.0F, 1.0F, 1.0F, 1.0F};
    float out[7];
    table().sigmoid_mul(gate, up, 7, out);
    const float want[] = {0.0F, 2.0F, 1.0F, 1.0F, 1.0F, 0.0F};
    for (std::size_t i = 0; i < std::size(want); ++i)
        EXPECT_EQ(out[i], want[i]) << gate[i];
    EXPECT_TRUE(std::isnan(out[6]));
}

TEST_P(Elementwise, Softcap) {
    Rng rng(59);
    for (const float cap : {30.0F, 1.0F, 0.3F}) {
        for (const std::int64_t n : kLengths) {
            const auto size = static_cast<std::size_t>(n);
            Guarded<float> x = random_floats(size, rng);
            for (std::size_t i = 0; i < size; ++i)
                x[i] *= i % 2 == 0 ? 40.0F : 1.0F;
            const std::vector<float> before(x.data(), x.data() + size);
            table().softcap(x.data(), cap, n);
            for (std::size_t i = 0; i < size; ++i) {
                const auto c = static_cast<double>(cap);
                const double want = c * std::tanh(static_cast<double>(before[i]) / c);
                ASSERT_LE(std::fabs(static_cast<double>(x[i]) - want), 8 * kUnit * c) << before[i];
            }
        }
    }
}

TEST_P(Elementwise, SoftcapAtTheEnds) {
    const float inf = std::numeric_limits<float>::infinity();
    float x[] = {3e38F, -3e38F, inf, -inf, 0.0F, NAN};
    table().softcap(x, 30.0F, 6);
    const float want[] = {30.0F, -30.0F, 30.0F, -30.0F, 0.0F};
    for (std::size_t i = 0; i < std::size(want); ++i)
        EXPECT_EQ(x[i], want[i]) << i;
    EXPECT_TRUE(std::isnan(x[5]));
}

TEST_P(Elementwise, AddScaledAndScale) {
    Rng rng(60);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> y = random_floats(size, rng);
        const Guarded<float> x = random_floats(size, rng);
        const std::vector<float> before(y.data(), y.data() + size);
        table().add_scaled(y.data(), x.data(), -0.7F, n);
        for (std::size_t i = 0; i < size; ++i)
            ASSERT_NEAR(y[i], std::fma(-0.7F, x[i], before[i]),
                        2 * kUnit * static_cast<double>(std::fabs(x[i]) + std::fabs(before[i])))
                << n << " " << i;
        Guarded<float> z(size);
        std::memcpy(z.data(), before.data(), size * sizeof(float));
        table().scale(z.data(), 1.7F, n);
        for (std::size_t i = 0; i < size; ++i)
            ASSERT_EQ(z[i], before[i] * 1.7F) << n << " " << i;
    }
}

TEST_P(Elementwise, Add) {
    Rng rng(54);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> y = random_floats(size, rng);
        const Guarded<float> x = random_floats(size, rng);
        std::vector<float> want(size);
        for (std::size_t i = 0; i < size; ++i)
            want[i] = y[i] + x[i];
        table().add(y.data(), x.data(), n);
        for (std::size_t i = 0; i < size; ++i)
            ASSERT_EQ(y[i], want[i]);
    }
}

TEST_P(Elementwise, StoreKv) {
    Rng rng(55);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> x = random_floats(size, rng);
        x[0] = 70000.0F;     // beyond f16
        x[size - 1] = 1e-7F; // subnormal in f16
        x[size / 2] = -0.0F;
        Guarded<float> whole(size);
        table().store_kv(KvType::f32, x.data(), n, whole.data());
        EXPECT_EQ(std::memcmp(whole.data(), x.data(), size * 4), 0);
        Guarded<std::uint16_t> half(size);
        table().store_kv(KvType::f16, x.data(), n, half.data());
        for (std::size_t i = 0; i < size; ++i)
            ASSERT_EQ(half[i], f32_to_f16(x[i])) << n << " " << i;
    }
}

TEST_P(Elementwise, ArgmaxFindsTheLowestOfTheLargest) {
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        for (std::size_t at = 0; at < size; ++at) {
            Guarded<float> x(size, -1.0F);
            x[at] = 5.0F;
            ASSERT_EQ(table().argmax(x.data(), n), static_cast<std::int64_t>(at));
            x[size - 1] = 5.0F;
            ASSERT_EQ(table().argmax(x.data(), n), static_cast<std::int64_t>(at));
            x[at] = NAN;
            ASSERT_EQ(table().argmax(x.data(), n), at == size - 1 ? 0 : n - 1);
        }
    }
}

TEST_P(Elementwise, ArgmaxOfOddValues) {
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<std::pair<std::vector<float>, std::int64_t>> cases = {
        {{NAN, NAN, NAN}, 0},
        {std::vector<float>(40, NAN), 0},
        {{NAN, -inf, -inf}, 1},
        {{-inf, -inf}, 0},
        {{1.0F, inf, inf, NAN}, 1},
        {{-0.0F, 0.0F}, 0},
        {{NAN, -3.0F, -2.0F, NAN, -2.0F}, 2},
    };
    for (const auto& [x, want] : cases) {
        EXPECT_EQ(table().argmax(x.data(), static_cast<std::int64_t>(x.size())), want);
    }
    std::vector<float> longer(50, -inf);
    longer[3] = NAN;
    longer[33] = -1e30F;
    EXPECT_EQ(table().argmax(longer.data(), 50), 33);
}

TEST_P(Elementwise, SoftmaxStats) {
    Rng rng(56);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> x = random_floats(size, rng);
        for (std::size_t i = 0; i < size; ++i)
            x[i] *= 10.0F;
        float max = 0.0F;
        double sum = 0.0;
        table().softmax_stats(x.data(), n, &max, &sum);
        float top = x[0];
        for (std::size_t i = 0; i < size; ++i)
            top = std::max(top, x[i]);
        double want = 0.0;
        double bound = 0.0;
        for (std::size_t i = 0; i < size; ++i) {
            const double d = static_cast<double>(x[i]) - static_cast<double>(top);
            want += std::exp(d);
            bound += std::exp(d) * (4 + std::fabs(d)) * kUnit; // the difference is rounded too
        }
        ASSERT_EQ(max, top);
        ASSERT_NEAR(sum, want, bound) << n;
    }
}

TEST_P(Elementwise, SoftmaxStatsOfOddValues) {
    const float inf = std::numeric_limits<float>::infinity();
    const auto stats = [&](std::vector<float> x) {
        std::pair<float, double> out;
        table().softmax_stats(x.data(), static_cast<std::int64_t>(x.size()), &out.first,
                              &out.second);
        return out;
    };
    EXPECT_EQ(stats({1.0F, NAN, 1.0F}), (std::pair{1.0F, 2.0}));
    EXPECT_EQ(stats({NAN, NAN}), (std::pair{-inf, 0.0}));
    EXPECT_EQ(stats({-inf, 0.0F, -inf}), (std::pair{0.0F, 1.0}));
    EXPECT_EQ(stats({-inf, -inf}), (std::pair{-inf, 2.0}));
    EXPECT_EQ(stats({inf, 3.0F, inf}), (std::pair{inf, 2.0}));
    EXPECT_EQ(stats(std::vector<float>(37, 2.5F)), (std::pair{2.5F, 37.0}));
}

/// e^x by way of softmax_stats over {0, x}, x <= 0: the sum is 1 + e^x in f64.
double table_exp(const KernelTable& table, float x) {
    const float values[] = {0.0F, x};
    float max = 0.0F;
    double sum = 0.0;
    table.softmax_stats(values, 2, &max, &sum);
    return sum - 1.0;
}

TEST_P(Elementwise, ExpIsWithinTwoUlps) {
    // Above 2^-29 the f64 sum keeps every bit of the f32 summand.
    for (float x = -20.0F; x < 0.0F; x += 0.00071F) {
        const double want = std::exp(static_cast<double>(x));
        ASSERT_LE(ulps(static_cast<float>(table_exp(table(), x)), want), 2.0) << x;
    }
}

TEST_P(Elementwise, ExpOfLargeMagnitudesThroughSilu) {
    // For g = -x far below zero 1 + e^x is e^x, so silu(g) = g / e^x: down to subnormal quotients.
    for (float x = 20.0F; x < 88.7F; x += 0.037F) {
        const float gate = -x;
        const float up = 1.0F;
        float out = 0.0F;
        table().silu_mul(&gate, &up, 1, &out);
        const double want = -static_cast<double>(x) / (1.0 + std::exp(static_cast<double>(x)));
        ASSERT_LE(ulps(out, want), 3.5) << x;
    }
}

BLOOM_FOR_EACH_TABLE(Elementwise);

} // namespace
} // namespace bloom::kernels::test
