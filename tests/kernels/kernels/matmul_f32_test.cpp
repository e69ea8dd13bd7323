#include <cmath>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr WeightFormat kAny[] = {
    WeightFormat::q8_0,        WeightFormat::affine8_f16, WeightFormat::affine8_bf16,
    WeightFormat::affine8_f32, WeightFormat::f16,         WeightFormat::bf16,
    WeightFormat::f32,
};

class MatmulF32 : public TableTest {
protected:
    /// Roundings along the longest path: two per product and sum inside a block of 64, one per
    /// block sum, two for the weight itself.
    void check(const TestMatrix& m, const float* x, std::int64_t n) {
        const std::int64_t k = m.src.k;
        const std::int64_t rows = m.src.rows;
        const Packed packed(table(), m.src);
        Guarded<float> y(static_cast<std::size_t>(n * rows), -7.0F);
        table().matmul_f32(packed.matrix(), x, k, n, 0, rows, y.data(), rows);
        const double terms = static_cast<double>(std::min<std::int64_t>(k, 64)) + 1;
        const double blocks = static_cast<double>(k) / 32 + 1;
        for (std::int64_t t = 0; t < n; ++t) {
            for (std::int64_t r = 0; r < rows; ++r) {
                double size = 0.0;
                const double want = reference::dot(m.src, r, x + t * k, &size);
                const double got = static_cast<double>(y[static_cast<std::size_t>(t * rows + r)]);
                ASSERT_LE(std::fabs(got - want), (terms + blocks + 2) * kUnit * size + 1e-42)
                    << "format " << int(m.src.format) << " rows " << rows << " k " << k << " n "
                    << n << " at row " << r << " token " << t;
            }
        }
    }
};

TEST_P(MatmulF32, TileEdges) {
    Rng rng(41);
    const int panel = table().panel_rows;
    for (const WeightFormat format : kAny) {
        const int group = group_size(format);
        for (const std::int64_t k : {std::int64_t{1}, std::int64_t{3}, std::int64_t{64},
                                     std::int64_t{65}, std::int64_t{131}}) {
            const std::int64_t columns = is_quantised(format) ? (k % 4 + 1) * group : k;
            const Guarded<float> x = random_floats(static_cast<std::size_t>(6 * columns), rng);
            for (const int rows : {1, panel - 1, panel, panel + 1}) {
                const TestMatrix m = make_matrix(format, rows, columns, rng);
                for (const int n : {1, 2, 3, 4, 6})
                    check(m, x.data(), n);
            }
        }
    }
}

TEST_P(MatmulF32, LongRowsStayAccurate) {
    Rng rng(42);
    for (const WeightFormat format : kAny) {
        const std::int64_t k = 4096;
        const TestMatrix m = make_matrix(format, 3, k, rng);
        const Guarded<float> x = random_floats(static_cast<std::size_t>(k), rng);
        const Packed packed(table(), m.src);
        Guarded<float> y(3);
        table().matmul_f32(packed.matrix(), x.data(), k, 1, 0, 3, y.data(), 3);
        for (std::int64_t r = 0; r < 3; ++r) {
            double size = 0.0;
            const double want = reference::dot(m.src, r, x.data(), &size);
            // Typical, not worst case: rounding errors of both signs cancel.
            EXPECT_LE(std::fabs(static_cast<double>(y[static_cast<std::size_t>(r)]) - want),
                      4 * kUnit * size);
        }
    }
}

TEST_P(MatmulF32, SubnormalHalvesCount) {
    // One column of the smallest f16, another of its negative triple.
    Rng rng(43);
    TestMatrix m = make_matrix(WeightFormat::f16, 2, 2, rng);
    const std::uint16_t values[] = {0x0001, 0x8003, 0x03ff, 0x0000};
    std::memcpy(m.codes.data(), values, sizeof values);
    const Packed packed(table(), m.src);
    const float x[] = {1.0F, 1.0F};
    Guarded<float> y(2);
    table().matmul_f32(packed.matrix(), x, 2, 1, 0, 2, y.data(), 2);
    EXPECT_EQ(y[0], -0x1p-23F);
    EXPECT_EQ(y[1], 1023 * 0x1p-24F);
}

TEST_P(MatmulF32, ResultsDependOnNeitherBatchNorSplit) {
    Rng rng(44);
    for (const WeightFormat format : kAny) {
        const std::int64_t k = 192;
        const std::int64_t rows = 2 * table().panel_rows + 5;
        const std::int64_t n = 7;
        const TestMatrix m = make_matrix(format, rows, k, rng);
        const Packed packed(table(), m.src);
        const Guarded<float> x = random_floats(static_cast<std::size_t>(n * k), rng);
        Guarded<float> batch(static_cast<std::size_t>(n * rows), -1.0F);
        Guarded<float> alone(static_cast<std::size_t>(n * rows), -2.0F);
        table().matmul_f32(packed.matrix(), x.data(), k, n, 0, rows, batch.data(), rows);
        for (std::int64_t t = 0; t < n; ++t) {
            const std::int64_t cut = table().panel_rows + t;
            float* y = alone.data() + t * rows;
            table().matmul_f32(packed.matrix(), x.data() + t * k, k, 1, 0, cut, y, rows);
            table().matmul_f32(packed.matrix(), x.data() + t * k, k, 1, cut, rows, y, rows);
        }
        EXPECT_EQ(std::memcmp(batch.data(), alone.data(), batch.size() * 4), 0) << int(format);
    }
}

BLOOM_FOR_EACH_TABLE(MatmulF32);

} // namespace
} // namespace bloom::kernels::test
