#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Found {
    std::int32_t id;
    float value;
};

/// Everything above -infinity, in the order of the ranks.
std::vector<Found> ranked(const Guarded<float>& x) {
    std::vector<Found> all;
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (x[i] > -kInf) all.push_back({static_cast<std::int32_t>(i), x[i]});
    }
    std::sort(all.begin(), all.end(), [](const Found& a, const Found& b) {
        return a.value != b.value ? a.value > b.value : a.id < b.id;
    });
    return all;
}

class Sampling : public TableTest {
protected:
    void check_top_k(const Guarded<float>& x, std::int64_t k) {
        const std::vector<Found> all = ranked(x);
        const auto room = static_cast<std::size_t>(k);
        Guarded<std::int32_t> ids(room, -7);
        Guarded<float> values(room, -7.0F);
        const auto n = static_cast<std::int64_t>(x.size());
        const std::int64_t got = table().top_k(x.data(), n, k, ids.data(), values.data());
        ASSERT_EQ(got, std::min(k, static_cast<std::int64_t>(all.size()))) << "n " << n;
        for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
            ASSERT_EQ(ids[i], all[i].id) << "n " << n << " k " << k << " rank " << i;
            ASSERT_EQ(values[i], all[i].value);
        }
    }

    void check_select(const Guarded<float>& x, float threshold, std::int64_t capacity) {
        std::vector<Found> want;
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (x[i] >= threshold) want.push_back({static_cast<std::int32_t>(i), x[i]});
        }
        const auto room = static_cast<std::size_t>(capacity);
        Guarded<std::int32_t> ids(room, -7);
        Guarded<float> values(room, -7.0F);
        const std::int64_t got =
            table().select_at_least(x.data(), static_cast<std::int64_t>(x.size()), threshold,
                                    capacity, ids.data(), values.data());
        ASSERT_EQ(got, static_cast<std::int64_t>(want.size()));
        for (std::size_t i = 0; i < room; ++i) {
            ASSERT_EQ(ids[i], i < want.size() ? want[i].id : -7) << i;
            ASSERT_EQ(values[i], i < want.size() ? want[i].value : -7.0F) << i;
        }
    }
};

/// Random rows of every kind: smooth or coarse with many ties, sorted either way, odd values mixed
/// in.
Guarded<float> random_row(std::size_t n, Rng& rng) {
    Guarded<float> x = random_floats(n, rng);
    const bool coarse = rng.below(2) == 0;
    const std::uint64_t odd = rng.below(4);
    for (std::size_t i = 0; i < n; ++i) {
        if (coarse) x[i] = std::floor(x[i] * 2.0F);
        if (odd == 0 || rng.below(8) != 0) continue;
        const float values[] = {std::nanf(""), -kInf, odd > 1 ? kInf : 0.0F, -0.0F};
        x[i] = values[rng.below(4)];
    }
    const std::uint64_t order = rng.below(4);
    const auto by_value = [](float a, float b) { return a < b; };
    if (odd == 0 && order == 0) std::sort(x.data(), x.data() + n, by_value);
    if (odd == 0 && order == 1) {
        std::sort(x.data(), x.data() + n, by_value);
        std::reverse(x.data(), x.data() + n);
    }
    return x;
}

TEST_P(Sampling, RandomRows) {
    const char* cases_env = std::getenv("DARKBLOOM_KERNEL_CASES");
    const char* seed_env = std::getenv("DARKBLOOM_SEED");
    const int cases = cases_env != nullptr ? std::atoi(cases_env) : 400;
    const std::uint64_t seed = seed_env != nullptr ? std::strtoull(seed_env, nullptr, 10) : 81;
    Rng rng(seed);
    for (int i = 0; i < cases && !HasFatalFailure(); ++i) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " case " << i);
        const auto n = static_cast<std::size_t>(1 + rng.below(i % 8 == 0 ? 3000 : 70));
        const Guarded<float> x = random_row(n, rng);
        check_top_k(x, static_cast<std::int64_t>(rng.below(n + 5)));
        check_top_k(x, 1);
        const float threshold = rng.below(5) == 0 ? -3e38F : x[rng.below(n)];
        check_select(x, threshold, static_cast<std::int64_t>(rng.below(n + 3)));
    }
}

TEST_P(Sampling, RowsWithoutNumbers) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{5}, std::size_t{64}}) {
        for (const float nothing : {std::nanf(""), -kInf}) {
            const Guarded<float> x(n, nothing);
            check_top_k(x, 3);
            check_select(x, -3e38F, 2);
        }
    }
    EXPECT_EQ(table().top_k(nullptr, 0, 4, nullptr, nullptr), 0);
    EXPECT_EQ(table().select_at_least(nullptr, 0, 0.0F, 4, nullptr, nullptr), 0);
    const Guarded<float> x(9, 1.0F);
    EXPECT_EQ(table().top_k(x.data(), 9, 0, nullptr, nullptr), 0);
    EXPECT_EQ(table().select_at_least(x.data(), 9, 1.0F, 0, nullptr, nullptr), 9);
}

TEST_P(Sampling, WeightsAreExponentials) {
    Rng rng(83);
    for (const std::size_t n : {std::size_t{1}, std::size_t{3}, std::size_t{16}, std::size_t{17},
                                std::size_t{31}, std::size_t{200}}) {
        Guarded<float> x = random_floats(n, rng);
        float max = x[0];
        for (std::size_t i = 0; i < n; ++i) {
            x[i] *= 10.0F;
            max = std::max(max, x[i]);
        }
        for (const float scale : {1.0F, 1.0F / 0.7F, 0.5F, 40.0F}) {
            Guarded<float> w(n, -7.0F);
            table().softmax_weights(x.data(), static_cast<std::int64_t>(n), max, scale, w.data());
            for (std::size_t i = 0; i < n; ++i) {
                const double z = (static_cast<double>(x[i]) - static_cast<double>(max)) *
                                 static_cast<double>(scale);
                // The difference and the product are rounded, the exponential is within 2 ulps.
                const double bound = std::exp(z) * (4 + 2 * std::fabs(z)) * kUnit + 0x1p-149;
                ASSERT_NEAR(static_cast<double>(w[i]), std::exp(z), bound) << x[i] << " " << scale;
            }
        }
    }
}

TEST_P(Sampling, WeightsOfOddValues) {
    const float tiny = std::numeric_limits<float>::denorm_min();
    Guarded<float> x(21, 2.5F);
    x[1] = std::nanf("");
    x[2] = -kInf;
    x[3] = -3e38F;
    x[19] = std::nanf("");
    x[20] = -kInf;
    for (const float scale : {1.0F, tiny, 3e38F}) {
        Guarded<float> w(21, -7.0F);
        table().softmax_weights(x.data(), 21, 2.5F, scale, w.data());
        for (const std::size_t i : {1U, 2U, 19U, 20U})
            EXPECT_EQ(w[i], 0.0F) << i;
        for (const std::size_t i : {0U, 4U, 18U})
            EXPECT_EQ(w[i], 1.0F) << i;
        EXPECT_NEAR(w[3], scale == tiny ? 1.0F : 0.0F, 1e-6F);
    }
}

// An element's weight must not depend on where it stands: sums and weights are taken apart.
TEST_P(Sampling, WeightsDependOnTheValueAlone) {
    Rng rng(84);
    const Guarded<float> x = random_floats(70, rng);
    Guarded<float> whole(70);
    table().softmax_weights(x.data(), 70, 7.0F, 1.3F, whole.data());
    for (std::size_t i = 0; i < 70; ++i) {
        float one = -1.0F;
        table().softmax_weights(&x[i], 1, 7.0F, 1.3F, &one);
        ASSERT_EQ(one, whole[i]) << i;
    }
}

TEST_P(Sampling, SumsAreThoseOfTheWeights) {
    Rng rng(85);
    for (const std::size_t n : {std::size_t{1}, std::size_t{1023}, std::size_t{1024},
                                std::size_t{1025}, std::size_t{3000}}) {
        Guarded<float> x = random_floats(n, rng);
        x[n / 2] = std::nanf("");
        const std::size_t blocks = (n + kSoftmaxBlock - 1) / kSoftmaxBlock;
        Guarded<double> sums(blocks, -7.0);
        Guarded<float> w(n);
        const auto size = static_cast<std::int64_t>(n);
        table().softmax_sums(x.data(), size, 6.0F, 1.5F, sums.data());
        table().softmax_weights(x.data(), size, 6.0F, 1.5F, w.data());
        for (std::size_t b = 0; b < blocks; ++b) {
            double want = 0.0;
            for (std::size_t i = b * kSoftmaxBlock; i < std::min(n, (b + 1) * kSoftmaxBlock); ++i)
                want += static_cast<double>(w[i]);
            ASSERT_NEAR(sums[b], want, want * 1e-13) << n << " block " << b;
        }
    }
}

BLOOM_FOR_EACH_TABLE(Sampling);

} // namespace
} // namespace bloom::kernels::test
