// Random shapes through every table: products of 8-bit weights against exact sums, and the same
// product cut another way, bit by bit. DARKBLOOM_PROPERTY_CASES and DARKBLOOM_SEED widen the
// search.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels/kernel_fixture.hpp"
#include "kernels/reference/reference.hpp"

namespace bloom::kernels::test {
namespace {

constexpr int kCases = 1000;
/// A case's elements of weights and of activations, and its products: about a millisecond each.
constexpr std::int64_t kElementsMax = 16 * 1024;
constexpr std::int64_t kProductsMax = 1024 * 1024;
/// Results of a case that are compared with the reference.
constexpr int kSamples = 24;

constexpr WeightFormat kQuantised[] = {WeightFormat::q8_0, WeightFormat::affine8_f16,
                                       WeightFormat::affine8_bf16, WeightFormat::affine8_f32};

struct Case {
    WeightFormat format;
    std::int64_t rows;
    std::int64_t k;
    std::int64_t n;
};

/// Small numbers more often than large ones, and the neighbourhood of powers of two.
std::int64_t skewed(Rng& rng, std::int64_t max) {
    const std::int64_t top = std::int64_t{1} << rng.below(10);
    const auto v = static_cast<std::int64_t>(1 + rng.below(static_cast<std::uint64_t>(top)));
    return std::clamp<std::int64_t>(v, 1, std::max<std::int64_t>(max, 1));
}

Case random_case(Rng& rng) {
    Case c{};
    c.format = kQuantised[rng.below(4)];
    c.k = skewed(rng, 256) * group_size(c.format);
    c.rows = skewed(rng, kElementsMax / c.k);
    c.n = skewed(rng, std::min(kElementsMax / c.k, kProductsMax / (c.k * c.rows)));
    return c;
}

/// Rounding errors of one result over G groups, u = 2^-24. The integer sum of a group is exact and
/// below 2^24, so exact as f32. It is rounded when the token's scale multiplies it and, without
/// fused multiply-add, when the weight's scale does; the stored sum for the bias was rounded once,
/// its product with the bias again. From there each term passes at most 2 G additions, one for each
/// scaled sum and each bias. So every term is off by at most a factor (1 + u)^(2 G + 2), and the
/// result by ((1 + u)^(2 G + 2) - 1) times the sum of the terms' sizes, which `size` is not below.
/// The activations' scale is an exact number here: dot_q8 starts from the quantised values.
double bound(const Case& c, double size) {
    const auto groups = static_cast<double>(c.k / group_size(c.format));
    return std::expm1((2 * groups + 2) * std::log1p(kUnit)) * size + 0x1p-140;
}

class MatmulProperty : public testing::Test {
protected:
    /// The whole product, and samples of it against the reference.
    Guarded<float> product(const KernelTable& table, const Case& c, const TestMatrix& m,
                           const Packed& packed, Activations& acts, Rng& rng) {
        Guarded<float> y(static_cast<std::size_t>(c.n * c.rows), -7.0F);
        table.matmul_q8(packed.matrix(), acts.view(), c.n, 0, c.rows, y.data(), c.rows);
        for (int i = 0; i < kSamples; ++i) {
            const auto any = [&](std::int64_t end) {
                return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(end)));
            };
            const std::int64_t r = i == 0 ? c.rows - 1 : any(c.rows);
            const std::int64_t t = i == 0 ? c.n - 1 : any(c.n);
            double size = 0.0;
            const double want = reference::dot_q8(m.src, r, acts.view(), t, &size);
            const double got = static_cast<double>(y[static_cast<std::size_t>(t * c.rows + r)]);
            EXPECT_LE(std::fabs(got - want), bound(c, size)) << "row " << r << " token " << t;
        }
        return y;
    }

    /// Some of the rows for some of the tokens, in any order: the same bits.
    void recut(const KernelTable& table, const Case& c, const Packed& packed, Activations& acts,
               const Guarded<float>& whole, Rng& rng) {
        const auto below = [&](std::int64_t end) {
            return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(end)));
        };
        const std::int64_t n = 1 + below(std::min<std::int64_t>(2 * c.n, 40));
        const std::int64_t lo = below(c.rows);
        const std::int64_t hi = lo + 1 + below(c.rows - lo);
        Guarded<std::int32_t> tokens(static_cast<std::size_t>(n));
        for (std::int32_t& t : std::span(tokens.data(), tokens.size()))
            t = static_cast<std::int32_t>(below(c.n));
        QuantisedActivations x = acts.view();
        x.rows = tokens.data();
        const std::int64_t stride = c.rows + below(5);
        Guarded<float> y(static_cast<std::size_t>((n - 1) * stride + c.rows), 42.0F);
        table.matmul_q8(packed.matrix(), x, n, lo, hi, y.data(), stride);
        for (std::int64_t t = 0; t < n; ++t) {
            const float* const got = y.data() + t * stride;
            const float* const want = whole.data() + tokens[static_cast<std::size_t>(t)] * c.rows;
            EXPECT_EQ(std::memcmp(got + lo, want + lo, static_cast<std::size_t>(hi - lo) * 4), 0)
                << "rows " << lo << " to " << hi << ", " << n << " tokens, token " << t;
            for (std::int64_t r = 0; r < c.rows; ++r) {
                if (r < lo || r >= hi) {
                    EXPECT_EQ(got[r], 42.0F) << "row " << r;
                }
            }
        }
    }
};

TEST_F(MatmulProperty, RandomShapes) {
    const char* const cases_env = std::getenv("DARKBLOOM_PROPERTY_CASES");
    const char* const seed_env = std::getenv("DARKBLOOM_SEED");
    const int cases = cases_env != nullptr ? std::atoi(cases_env) : kCases;
    const std::uint64_t seed = seed_env != nullptr ? std::strtoull(seed_env, nullptr, 10) : 71;
    const std::vector<const KernelTable*> tables = runnable_tables();
    for (int i = 0; i < cases && !HasFailure(); ++i) {
        Rng rng(seed + static_cast<std::uint64_t>(i));
        const Case c = random_case(rng);
        SCOPED_TRACE(testing::Message()
                     << "DARKBLOOM_SEED=" << seed + static_cast<std::uint64_t>(i) << " format "
                     << int(c.format) << " rows " << c.rows << " k " << c.k << " n " << c.n);
        const TestMatrix m = make_matrix(c.format, c.rows, c.k, rng);
        Guarded<float> x(static_cast<std::size_t>(c.n * c.k));
        const float stretch = std::ldexp(1.0F, static_cast<int>(rng.below(40)) - 20);
        for (std::size_t j = 0; j < x.size(); ++j)
            x[j] = rng.below(8) == 0 ? 0.0F : stretch * (static_cast<float>(rng.uniform()) - 0.5F);
        for (const KernelTable* const table : tables) {
            SCOPED_TRACE(table->isa);
            const Packed packed(*table, m.src);
            Activations acts(*table, c.format, x.data(), c.n, c.k);
            const Guarded<float> y = product(*table, c, m, packed, acts, rng);
            recut(*table, c, packed, acts, y, rng);
        }
    }
}

} // namespace
} // namespace bloom::kernels::test
