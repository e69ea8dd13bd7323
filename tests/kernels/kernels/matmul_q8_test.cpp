#include <cmath>
#include <cstdlib>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr WeightFormat kQuantised[] = {WeightFormat::q8_0, WeightFormat::affine8_f16,
                                       WeightFormat::affine8_bf16, WeightFormat::affine8_f32};

class MatmulQ8 : public TableTest {
protected:
    /// Against exact integer sums and f64, u = 2^-24. A group's integer sum is exact and below
    /// 2^24. It is rounded when the token's scale multiplies it and, without fused multiply-add,
    /// when the weight's scale does; the stored sum for the bias was rounded once, its product with
    /// the bias again. From there each term passes at most two additions per group. So every term
    /// is off by at most a factor (1 + u)^(2 groups + 2).
    void check(const TestMatrix& m, const float* x, std::int64_t n) {
        const std::int64_t k = m.src.k;
        const std::int64_t rows = m.src.rows;
        const Packed packed(table(), m.src);
        Activations acts(table(), m.src.format, x, n, k);
        Guarded<float> y(static_cast<std::size_t>(n * rows), -7.0F);
        table().matmul_q8(packed.matrix(), acts.view(), n, 0, rows, y.data(), rows);
        const auto groups = static_cast<double>(k / group_size(m.src.format));
        for (std::int64_t t = 0; t < n; ++t) {
            for (std::int64_t r = 0; r < rows; ++r) {
                double size = 0.0;
                const double want = reference::dot_q8(m.src, r, acts.view(), t, &size);
                const double got = static_cast<double>(y[static_cast<std::size_t>(t * rows + r)]);
                const double units = std::expm1((2 * groups + 2) * std::log1p(kUnit));
                ASSERT_LE(std::fabs(got - want), units * size + 1e-42)
                    << "format " << int(m.src.format) << " rows " << rows << " k " << k << " n "
                    << n << " at row " << r << " token " << t << ": " << got << " for " << want;
            }
        }
    }
};

TEST_P(MatmulQ8, TileEdges) {
    Rng rng(11);
    const int panel = table().panel_rows;
    for (const WeightFormat format : kQuantised) {
        for (const int groups : {1, 2, 3, 11}) {
            const std::int64_t k = std::int64_t{groups} * group_size(format);
            const Guarded<float> x = random_floats(static_cast<std::size_t>(13 * k), rng);
            for (const int rows : {1, 7, panel - 1, panel, panel + 1}) {
                const TestMatrix m = make_matrix(format, rows, k, rng);
                for (const int n : {1, 2, 13})
                    check(m, x.data(), n);
            }
        }
    }
}

TEST_P(MatmulQ8, EveryTokenCount) {
    Rng rng(12);
    for (const WeightFormat format : kQuantised) {
        const std::int64_t k = 2 * group_size(format);
        const TestMatrix m = make_matrix(format, 2 * table().panel_rows + 3, k, rng);
        const Guarded<float> x = random_floats(static_cast<std::size_t>(13 * k), rng);
        for (int n = 1; n <= 13; ++n)
            check(m, x.data(), n);
    }
}

TEST_P(MatmulQ8, ManyGroups) {
    Rng rng(13);
    for (const WeightFormat format : kQuantised) {
        const std::int64_t k = 33 * group_size(format);
        const TestMatrix m = make_matrix(format, table().panel_rows + 5, k, rng);
        const Guarded<float> x = random_floats(static_cast<std::size_t>(7 * k), rng);
        check(m, x.data(), 7);
    }
}

// Panels are cut into chunks of 512 columns where several tiles share them.
TEST_P(MatmulQ8, ChunkEdges) {
    Rng rng(22);
    for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_bf16}) {
        for (const int k : {448, 512, 576, 1024, 1088, 2112}) {
            const TestMatrix m = make_matrix(format, 3, k, rng);
            const Guarded<float> x = random_floats(static_cast<std::size_t>(40 * k), rng);
            for (const int n : {9, 40})
                check(m, x.data(), n);
        }
    }
}

// More tokens, and longer rows, than a block of activations takes.
TEST_P(MatmulQ8, ManyTokens) {
    Rng rng(23);
    const TestMatrix m = make_matrix(WeightFormat::affine8_bf16, table().panel_rows + 1, 64, rng);
    const Guarded<float> x = random_floats(600 * 64, rng);
    for (const int n : {131, 132, 133, 265, 600})
        check(m, x.data(), n);
}

TEST_P(MatmulQ8, BlocksOfTokensAndColumns) {
    Rng rng(25);
    for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_f16}) {
        const std::int64_t k = 11008 + group_size(format);
        const std::int64_t n = 70;
        const std::int64_t rows = table().panel_rows + 3;
        const TestMatrix m = make_matrix(format, rows, k, rng);
        Guarded<float> x(static_cast<std::size_t>(n * k));
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = static_cast<float>(rng.uniform()) - 0.5F;
        const Packed packed(table(), m.src);
        Activations acts(table(), format, x.data(), n, k);
        Guarded<float> y(static_cast<std::size_t>(n * rows), -1.0F);
        table().matmul_q8(packed.matrix(), acts.view(), n, 0, rows, y.data(), rows);
        Guarded<float> alone(static_cast<std::size_t>(rows));
        for (std::int64_t t = 0; t < n; t += 3) {
            table().matmul_q8(packed.matrix(), acts.from(t), 1, 0, rows, alone.data(), rows);
            ASSERT_EQ(std::memcmp(alone.data(), y.data() + t * rows, alone.size() * 4), 0) << t;
        }
    }
}

// Where 16-bit sums would saturate or wrap: all codes and activations at their extremes.
TEST_P(MatmulQ8, ExtremeCodes) {
    Rng rng(14);
    for (const WeightFormat format : kQuantised) {
        const bool symmetric = format == WeightFormat::q8_0;
        const std::int64_t k = 2 * group_size(format);
        for (const int code :
             {symmetric ? -128 : 0, symmetric ? -127 : 255, symmetric ? 127 : 128}) {
            for (const float sign : {1.0F, -1.0F}) {
                TestMatrix m = make_matrix(format, 5, k, rng);
                for (std::int64_t i = 0; i < 5 * k; ++i)
                    m.set_code(i, code);
                for (std::int64_t g = 0; g < 5 * 2; ++g)
                    m.set_scale(g, 0.5F, 0.25F);
                const Guarded<float> x(static_cast<std::size_t>(2 * k), 127.0F * sign);
                check(m, x.data(), 2);
                // Powers of two and small integers: the result is exact.
                const Packed packed(table(), m.src);
                Activations acts(table(), format, x.data(), 2, k);
                Guarded<float> y(10);
                table().matmul_q8(packed.matrix(), acts.view(), 2, 0, 5, y.data(), 5);
                const float weight = 0.5F * static_cast<float>(code) + (symmetric ? 0.0F : 0.25F);
                const float want = sign * 127.0F * static_cast<float>(k) * weight;
                for (int i = 0; i < 10; ++i)
                    EXPECT_EQ(y[static_cast<std::size_t>(i)], want);
            }
        }
    }
}

TEST_P(MatmulQ8, ScalesNegativeZeroSubnormalAndWide) {
    Rng rng(15);
    for (const WeightFormat format : kQuantised) {
        const bool narrow = format == WeightFormat::q8_0 || format == WeightFormat::affine8_f16;
        const float scales[] = {-0.01F,
                                0.0F,
                                0x1p-24F,
                                -0x1.8p-22F,
                                narrow ? 100.0F : 0x1p60F,
                                narrow ? 6e-8F : 0x1p-60F};
        const int groups = 3;
        const std::int64_t k = std::int64_t{groups} * group_size(format);
        TestMatrix m = make_matrix(format, 6, k, rng);
        for (std::int64_t row = 0; row < 6; ++row) {
            for (int g = 0; g < groups; ++g) {
                const float s = scales[row];
                m.set_scale(row * groups + g, s, g == 1 ? -s * 100.0F : 0.0F);
            }
        }
        const Guarded<float> x = random_floats(static_cast<std::size_t>(3 * k), rng);
        check(m, x.data(), 3);
        // A subnormal scale must not count as zero.
        const Packed packed(table(), m.src);
        Activations acts(table(), format, x.data(), 1, k);
        Guarded<float> y(6);
        table().matmul_q8(packed.matrix(), acts.view(), 1, 0, 6, y.data(), 6);
        EXPECT_EQ(y[1], 0.0F);
        EXPECT_NE(y[2], 0.0F);
        EXPECT_NE(y[3], 0.0F);
    }
}

TEST_P(MatmulQ8, ResultsDoNotDependOnTheBatch) {
    Rng rng(16);
    for (const WeightFormat format : kQuantised) {
        const std::int64_t k = 33 * group_size(format); // several chunks
        const std::int64_t rows = 2 * table().panel_rows + 1;
        const std::int64_t n = 40;
        const TestMatrix m = make_matrix(format, rows, k, rng);
        const Packed packed(table(), m.src);
        const Guarded<float> x = random_floats(static_cast<std::size_t>(n * k), rng);
        Activations acts(table(), format, x.data(), n, k);
        Guarded<float> alone(static_cast<std::size_t>(n * rows));
        for (std::int64_t t = 0; t < n; ++t) {
            table().matmul_q8(packed.matrix(), acts.from(t), 1, 0, rows, alone.data() + t * rows,
                              rows);
        }
        for (std::int64_t batch = 2; batch <= n; ++batch) {
            for (const std::int64_t first : {std::int64_t{0}, (n - batch) / 2, n - batch}) {
                Guarded<float> y(static_cast<std::size_t>(batch * rows));
                table().matmul_q8(packed.matrix(), acts.from(first), batch, 0, rows, y.data(),
                                  rows);
                ASSERT_EQ(std::memcmp(y.data(), alone.data() + first * rows, y.size() * 4), 0)
                    << "tokens " << first << " to " << first + batch;
            }
        }
    }
}

TEST_P(MatmulQ8, ResultsDoNotDependOnTheRowSplit) {
    Rng rng(17);
    for (const WeightFormat format : kQuantised) {
        const std::int64_t k = 3 * group_size(format);
        const std::int64_t rows = 4 * table().panel_rows - 3;
        for (const std::int64_t n : {1, 7}) {
            const TestMatrix m = make_matrix(format, rows, k, rng);
            const Packed packed(table(), m.src);
            const Guarded<float> x = random_floats(static_cast<std::size_t>(n * k), rng);
            Activations acts(table(), format, x.data(), n, k);
            Guarded<float> whole(static_cast<std::size_t>(n * rows), -1.0F);
            Guarded<float> split(static_cast<std::size_t>(n * rows), -2.0F);
            table().matmul_q8(packed.matrix(), acts.view(), n, 0, rows, whole.data(), rows);
            const std::int64_t cuts[] = {0, 3, std::int64_t{table().panel_rows},
                                         2 * table().panel_rows + 1, rows};
            for (std::size_t i = 0; i + 1 < std::size(cuts); ++i) {
                table().matmul_q8(packed.matrix(), acts.view(), n, cuts[i], cuts[i + 1],
                                  split.data(), rows);
            }
            EXPECT_EQ(std::memcmp(whole.data(), split.data(), whole.size() * 4), 0);
        }
    }
}

// Tokens taken from anywhere, repeated or out of order, give the bits of a gathered copy.
TEST_P(MatmulQ8, TokensByRowIndex) {
    Rng rng(24);
    for (const WeightFormat format : kQuantised) {
        const std::int64_t k = 19 * group_size(format); // several chunks
        const std::int64_t rows = table().panel_rows + 3;
        const TestMatrix m = make_matrix(format, rows, k, rng);
        const Packed packed(table(), m.src);
        const Guarded<float> x = random_floats(static_cast<std::size_t>(9 * k), rng);
        Activations acts(table(), format, x.data(), 9, k);
        Guarded<float> each(static_cast<std::size_t>(9 * rows));
        table().matmul_q8(packed.matrix(), acts.view(), 9, 0, rows, each.data(), rows);
        for (const std::int64_t n : {1, 3, 8, 9, 20, 41, 300}) {
            Guarded<std::int32_t> index(static_cast<std::size_t>(n));
            for (std::size_t i = 0; i < index.size(); ++i)
                index[i] = static_cast<std::int32_t>(rng.below(9));
            QuantisedActivations picked = acts.view();
            picked.rows = index.data();
            Guarded<float> y(static_cast<std::size_t>(n * rows), -1.0F);
            table().matmul_q8(packed.matrix(), picked, n, 0, rows, y.data(), rows);
            for (std::int64_t t = 0; t < n; ++t) {
                ASSERT_EQ(std::memcmp(y.data() + t * rows,
                                      each.data() + index[static_cast<std::size_t>(t)] * rows,
                                      static_cast<std::size_t>(rows) * 4),
                          0)
                    << "n " << n << " token " << t;
            }
        }
    }
}

// Activations that were brought into their order before, in pieces, give the same bits.
TEST_P(MatmulQ8, ActivationsInOrder) {
    Rng rng(25);
    for (const WeightFormat format : kQuantised) {
        const std::int64_t group = group_size(format);
        const std::int64_t rows = table().panel_rows + 3;
        for (const std::int64_t k : {group, 19 * group, 160 * group}) {
            const TestMatrix m = make_matrix(format, rows, k, rng);
            const Packed packed(table(), m.src);
            for (const std::int64_t n : {1, 7, 9, 41, 140}) {
                const Guarded<float> x = random_floats(static_cast<std::size_t>(n * k), rng);
                Activations acts(table(), format, x.data(), n, k);
                Guarded<float> want(static_cast<std::size_t>(n * rows));
                table().matmul_q8(packed.matrix(), acts.view(), n, 0, rows, want.data(), rows);
                const std::size_t bytes = table().ordered_bytes(format, n, k);
                ASSERT_EQ(bytes, static_cast<std::size_t>(n) * table().ordered_bytes(format, 1, k));
                Guarded<std::uint8_t> in_order(bytes, 0xee);
                const std::int64_t token_cuts[] = {0, n / 3, n};
                const std::int64_t column_cuts[] = {0, k / group / 2 * group, k};
                for (int i = 0; i < 2; ++i) {
                    for (int j = 0; j < 2; ++j) {
                        QuantisedActivations piece = acts.view();
                        piece.q += column_cuts[j];
                        piece.scale += column_cuts[j] / group;
                        piece.init += column_cuts[j] / group;
                        piece.sum += column_cuts[j] / group;
                        table().order_activations(format, piece, n, k, token_cuts[i],
                                                  token_cuts[i + 1], column_cuts[j],
                                                  column_cuts[j + 1], in_order.data());
                    }
                }
                QuantisedActivations ordered{};
                ordered.in_order = in_order.data();
                Guarded<float> y(static_cast<std::size_t>(n * rows), -1.0F);
                table().matmul_q8(packed.matrix(), ordered, n, 0, rows, y.data(), rows);
                ASSERT_EQ(std::memcmp(y.data(), want.data(), want.size() * 4), 0)
                    << "format " << int(format) << " k " << k << " n " << n;
            }
        }
    }
}

TEST_P(MatmulQ8, WritesOnlyItsRows) {
    Rng rng(18);
    const std::int64_t rows = 2 * table().panel_rows;
    const TestMatrix m = make_matrix(WeightFormat::q8_0, rows, 64, rng);
    const Packed packed(table(), m.src);
    const Guarded<float> x = random_floats(2 * 64, rng);
    Activations acts(table(), WeightFormat::q8_0, x.data(), 2, 64);
    const std::int64_t stride = rows + 9;
    Guarded<float> y(static_cast<std::size_t>(2 * stride), 42.0F);
    const std::int64_t lo = table().panel_rows / 2;
    const std::int64_t hi = table().panel_rows + 1;
    table().matmul_q8(packed.matrix(), acts.view(), 2, lo, hi, y.data(), stride);
    for (std::int64_t i = 0; i < 2 * stride; ++i) {
        const bool inside = i % stride >= lo && i % stride < hi;
        EXPECT_EQ(y[static_cast<std::size_t>(i)] != 42.0F, inside) << i;
    }
}

TEST_P(MatmulQ8, NoTokensOrNoRows) {
    Rng rng(19);
    const TestMatrix m = make_matrix(WeightFormat::q8_0, 3, 32, rng);
    const Packed packed(table(), m.src);
    table().matmul_q8(packed.matrix(), QuantisedActivations{}, 0, 0, 3, nullptr, 3);
    table().matmul_q8(packed.matrix(), QuantisedActivations{}, 1, 2, 2, nullptr, 3);
    table().matmul_f32(packed.matrix(), nullptr, 32, 0, 0, 3, nullptr, 3);
}

TEST_P(MatmulQ8, NonFiniteActivationsSpoilOnlyTheirToken) {
    Rng rng(20);
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        const TestMatrix m = make_matrix(WeightFormat::affine8_bf16, 4, 128, rng);
        const Packed packed(table(), m.src);
        Guarded<float> x = random_floats(3 * 128, rng);
        x[128 + 70] = bad;
        Activations acts(table(), m.src.format, x.data(), 3, 128);
        Guarded<float> y(12);
        table().matmul_q8(packed.matrix(), acts.view(), 3, 0, 4, y.data(), 4);
        for (std::size_t i = 0; i < 12; ++i)
            EXPECT_EQ(std::isnan(y[i]), i / 4 == 1) << i;
    }
}

// Random shapes and values; DARKBLOOM_KERNEL_CASES and DARKBLOOM_SEED widen the search.
TEST_P(MatmulQ8, RandomShapes) {
    const char* cases_env = std::getenv("DARKBLOOM_KERNEL_CASES");
    const char* seed_env = std::getenv("DARKBLOOM_SEED");
    const int cases = cases_env != nullptr ? std::atoi(cases_env) : 200;
    const std::uint64_t seed = seed_env != nullptr ? std::strtoull(seed_env, nullptr, 10) : 21;
    Rng rng(seed);
    for (int i = 0; i < cases && !HasFatalFailure(); ++i) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " case " << i);
        const WeightFormat format = kQuantised[rng.below(4)];
        const auto k = static_cast<std::int64_t>((1 + rng.below(6)) *
                                                 static_cast<std::uint64_t>(group_size(format)));
        const auto rows = static_cast<std::int64_t>(1 + rng.below(40));
        const auto n = static_cast<std::int64_t>(1 + rng.below(9));
        const TestMatrix m = make_matrix(format, rows, k, rng);
        Guarded<float> x = random_floats(static_cast<std::size_t>(n * k), rng);
        const float stretch = std::ldexp(1.0F, static_cast<int>(rng.below(60)) - 30);
        for (std::size_t j = 0; j < x.size(); ++j)
            x[j] *= rng.below(8) == 0 ? 0.0F : stretch;
        check(m, x.data(), n);
    }
}

BLOOM_FOR_EACH_TABLE(MatmulQ8);

class Quantise : public TableTest {};

TEST_P(Quantise, SameBitsAsTheReference) {
    Rng rng(31);
    for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_bf16}) {
        const int group = group_size(format);
        const std::int64_t k = 12 * group;
        Guarded<float> x = random_floats(static_cast<std::size_t>(k), rng);
        const auto fill = [&](int g, float v) {
            for (int i = 0; i < group; ++i)
                x[static_cast<std::size_t>(g * group + i)] = v;
        };
        fill(0, 0.0F);
        fill(1, -0.0F);
        fill(2, 1e-40F); // subnormal: counts as zero
        fill(3, 0x1p-118F);
        fill(4, 3e38F);
        fill(5, -1.0F);
        x[static_cast<std::size_t>(6 * group + 3)] = NAN;
        x[static_cast<std::size_t>(7 * group + group - 1)] = -INFINITY;
        for (int i = 0; i < group; ++i) { // ties: x * 127 / 127 = i + 0.5
            x[static_cast<std::size_t>(8 * group + i)] =
                i == 0 ? 127.0F : static_cast<float>(i % 100) + 0.5F;
        }
        Activations acts(table(), format, x.data(), 1, k);
        const QuantisedActivations v = acts.view();
        std::vector<std::int8_t> q(static_cast<std::size_t>(k));
        std::vector<float> scale(12);
        reference::quantise(x.data(), k, group, q.data(), scale.data());
        for (std::int64_t g = 0; g < 12; ++g) {
            std::int32_t sum = 0;
            for (std::int64_t i = g * group; i < (g + 1) * group; ++i) {
                ASSERT_EQ(v.q[i], q[static_cast<std::size_t>(i)]) << i;
                ASSERT_GE(v.q[i], -127);
                sum += v.q[i];
            }
            const float s = scale[static_cast<std::size_t>(g)];
            if (std::isnan(s)) {
                ASSERT_TRUE(std::isnan(v.scale[g]) && std::isnan(v.sum[g])) << g;
            } else {
                ASSERT_EQ(v.scale[g], s) << g;
                ASSERT_EQ(v.sum[g], s * static_cast<float>(sum));
            }
            ASSERT_EQ(v.init[g], -128 * sum);
        }
    }
}

TEST_P(Quantise, RespectsStrides) {
    Rng rng(32);
    const std::int64_t x_stride = 75;
    const Guarded<float> x = random_floats(static_cast<std::size_t>(2 * x_stride + 32), rng);
    Guarded<std::int8_t> q(2 * 64 + 32, 99);
    Guarded<float> scale(2 * 3 + 1, -5.0F);
    Guarded<std::int32_t> init(2 * 3 + 1, 77);
    Guarded<float> sum(2 * 3 + 1, -5.0F);
    table().quantise(WeightFormat::q8_0, x.data(), x_stride, 3, 32,
                     {q.data(), scale.data(), init.data(), sum.data(), 64, 3});
    std::int8_t want[32];
    float want_scale = 0.0F;
    for (std::size_t t = 0; t < 3; ++t) {
        reference::quantise(x.data() + static_cast<std::int64_t>(t) * x_stride, 32, 32, want,
                            &want_scale);
        EXPECT_EQ(std::memcmp(want, &q[64 * t], 32), 0);
        EXPECT_EQ(scale[3 * t], want_scale);
    }
    EXPECT_EQ(q[32], 99); // between rows: untouched
    EXPECT_EQ(scale[1], -5.0F);
    EXPECT_EQ(init[2], 77);
}

BLOOM_FOR_EACH_TABLE(Quantise);

} // namespace
} // namespace bloom::kernels::test
