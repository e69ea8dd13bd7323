#include <cstring>

#include <gtest/gtest.h>

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::q8_0,         WeightFormat::affine8_f16,
                                     WeightFormat::affine8_bf16, WeightFormat::affine8_f32,
                                     WeightFormat::f16,          WeightFormat::bf16,
                                     WeightFormat::f32};

/// Matrix products add along k one term at a time, so neither the width of the vectors nor the way
/// codes are multiplied shows in them: all tables with fused multiply-add agree to the last bit.
class SameBits : public TableTest {
protected:
    /// The first of them that runs here.
    static const KernelTable& first() { return *runnable_tables().front(); }

    bool comparable() const { return std::strcmp(table().isa, "scalar") != 0; }
};

TEST_P(SameBits, MatrixProducts) {
    if (!comparable()) return; // its sums are rounded twice
    Rng rng(71);
    const std::int64_t rows = 37;
    const std::int64_t k = 640; // more than one chunk
    const std::int64_t n = 9;
    const Guarded<float> x = random_floats(static_cast<std::size_t>(n * k), rng);
    for (const WeightFormat format : kFormats) {
        const TestMatrix m = make_matrix(format, rows, k, rng);
        Guarded<float> want(static_cast<std::size_t>(n * rows), -1.0F);
        Guarded<float> got(static_cast<std::size_t>(n * rows), -2.0F);
        const auto both = [&](const KernelTable& t, Guarded<float>& y, bool quantised) {
            const Packed packed(t, m.src);
            if (quantised) {
                Activations acts(t, format, x.data(), n, k);
                t.matmul_q8(packed.matrix(), acts.view(), n, 0, rows, y.data(), rows);
            } else {
                t.matmul_f32(packed.matrix(), x.data(), k, n, 0, rows, y.data(), rows);
            }
        };
        for (const bool quantised : {false, true}) {
            if (quantised && !is_quantised(format)) continue;
            both(first(), want, quantised);
            both(table(), got, quantised);
            EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * sizeof(float)), 0)
                << table().isa << " against " << first().isa << ", format " << int(format);
        }
    }
}

TEST_P(SameBits, QuantisedActivations) {
    Rng rng(72);
    const std::int64_t k = 512;
    Guarded<float> x = random_floats(static_cast<std::size_t>(3 * k), rng);
    for (std::size_t i = 0; i < x.size(); i += 7)
        x[i] *= 0x1p-40F;
    for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_bf16}) {
        const auto groups = static_cast<std::size_t>(3 * k / group_size(format));
        Activations want(first(), format, x.data(), 3, k);
        Activations got(table(), format, x.data(), 3, k);
        EXPECT_EQ(std::memcmp(want.view().q, got.view().q, x.size()), 0);
        EXPECT_EQ(std::memcmp(want.view().scale, got.view().scale, 4 * groups), 0);
        EXPECT_EQ(std::memcmp(want.view().init, got.view().init, 4 * groups), 0);
        EXPECT_EQ(std::memcmp(want.view().sum, got.view().sum, 4 * groups), 0);
    }
}

BLOOM_FOR_EACH_TABLE(SameBits);

} // namespace
} // namespace bloom::kernels::test
