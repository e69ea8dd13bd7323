#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class Route : public TableTest {
protected:
    struct Choice {
        std::vector<std::int32_t> ids;
        std::vector<float> weights;
    };

    Choice choose(const std::vector<float>& logits, const std::vector<float>& bias,
                  const RouteRule& rule) const {
        Guarded<float> l(logits.size());
        std::copy(logits.begin(), logits.end(), l.data());
        Guarded<float> b(bias.size());
        std::copy(bias.begin(), bias.end(), b.data());
        Guarded<std::int32_t> ids(static_cast<std::size_t>(rule.top_k), -1);
        Guarded<float> weights(static_cast<std::size_t>(rule.top_k), -1.0F);
        table().route(l.data(), bias.empty() ? nullptr : b.data(),
                      static_cast<std::int64_t>(logits.size()), rule, ids.data(), weights.data());
        return {{ids.data(), ids.data() + rule.top_k},
                {weights.data(), weights.data() + rule.top_k}};
    }
};

TEST_P(Route, AgreesWithTheReference) {
    Rng rng(81);
    for (const std::size_t n : {1UZ, 2UZ, 5UZ, 8UZ, 15UZ, 16UZ, 17UZ, 60UZ, 128UZ, 256UZ, 512UZ}) {
        for (int round = 0; round < 16; ++round) {
            const bool sigmoid = round % 2 == 1;
            const bool biased = round % 4 >= 2;
            const auto top_k =
                static_cast<std::int32_t>(std::min<std::size_t>(n, 1U + rng.below(32)));
            const RouteRule rule{sigmoid, round % 8 >= 4, round < 8 ? 1.0F : 2.826F, top_k};
            std::vector<float> logits(n);
            std::vector<float> bias(biased ? n : 0);
            for (float& v : logits)
                v = normal(rng) * 3.0F;
            for (float& v : bias)
                v = normal(rng) * 0.1F;
            const Choice got = choose(logits, bias, rule);

            std::vector<double> s(n);
            reference::route_scores(logits.data(), static_cast<std::int64_t>(n), sigmoid, s.data());
            const auto key = [&](std::int32_t e) {
                const auto i = static_cast<std::size_t>(e);
                return s[i] + (biased ? static_cast<double>(bias[i]) : 0.0);
            };
            // A score is exact to 2 (exp, rounded difference up to 30) + 2 * n / 2 (sum) units, a
            // key to one more; keys further apart than twice that must come in the right order.
            const double unit = (40.0 + static_cast<double>(n)) * kUnit;
            std::vector<std::int32_t> order(n);
            std::iota(order.begin(), order.end(), 0);
            std::sort(order.begin(), order.end(),
                      [&](std::int32_t a, std::int32_t b) { return key(a) > key(b); });
            std::vector<double> want(static_cast<std::size_t>(top_k));
            reference::route_weights(s.data(), rule, got.ids.data(), want.data());
            EXPECT_EQ(std::set<std::int32_t>(got.ids.begin(), got.ids.end()).size(), want.size());
            for (std::size_t j = 0; j < want.size(); ++j) {
                ASSERT_GE(got.ids[j], 0);
                ASSERT_LT(got.ids[j], static_cast<std::int32_t>(n));
                ASSERT_NEAR(key(got.ids[j]), key(order[j]),
                            2.0 * unit * (std::fabs(key(order[j])) + 1.0))
                    << n << " " << j;
                ASSERT_NEAR(static_cast<double>(got.weights[j]), want[j],
                            (unit * 2.0 + 40.0 * kUnit) * want[j]);
            }
        }
    }
}

TEST_P(Route, EqualKeysGoToTheLowerIndex) {
    for (const std::size_t n : {4UZ, 37UZ, 128UZ}) {
        const Choice all = choose(std::vector<float>(n, 0.5F), {}, {false, true, 1.0F, 4});
        EXPECT_EQ(all.ids, (std::vector<std::int32_t>{0, 1, 2, 3}));
        for (const float w : all.weights)
            EXPECT_NEAR(w, 0.25F, 1e-6F);
    }
    std::vector<float> logits(40, -1.0F);
    logits[39] = logits[17] = logits[18] = 2.0F;
    logits[33] = 3.0F;
    const Choice some = choose(logits, {}, {true, false, 1.0F, 5});
    EXPECT_EQ(some.ids, (std::vector<std::int32_t>{33, 17, 18, 39, 0}));
}

TEST_P(Route, TheBiasChoosesAndDoesNotWeigh) {
    const std::vector<float> logits = {0.0F, 1.0F, 2.0F, 3.0F};
    const std::vector<float> bias = {10.0F, 0.0F, 5.0F, -10.0F};
    const Choice got = choose(logits, bias, {true, false, 2.0F, 2});
    EXPECT_EQ(got.ids, (std::vector<std::int32_t>{0, 2}));
    EXPECT_NEAR(got.weights[0], 2.0F * 0.5F, 1e-6F);
    EXPECT_NEAR(got.weights[1], 2.0F / (1.0F + std::exp(-2.0F)), 1e-6F);
}

TEST_P(Route, TakesEveryExpertOnceWhenAsked) {
    Rng rng(82);
    std::vector<float> logits(32);
    for (float& v : logits)
        v = normal(rng);
    const Choice got = choose(logits, {}, {false, true, 1.0F, 32});
    for (std::size_t j = 1; j < 32; ++j) {
        ASSERT_GE(logits[static_cast<std::size_t>(got.ids[j - 1])],
                  logits[static_cast<std::size_t>(got.ids[j])]);
    }
    EXPECT_NEAR(std::accumulate(got.weights.begin(), got.weights.end(), 0.0F), 1.0F, 1e-5F);
}

TEST_P(Route, OddLogits) {
    const auto ids = [&](std::vector<float> logits, bool sigmoid) {
        return choose(logits, {}, {sigmoid, true, 1.0F, 3});
    };
    // No number at all: still three different experts, and weights that say so.
    const Choice nan = ids(std::vector<float>(20, NAN), false);
    EXPECT_EQ(nan.ids, (std::vector<std::int32_t>{0, 1, 2}));
    for (const float w : nan.weights)
        EXPECT_TRUE(std::isnan(w));
    const Choice one = ids({1.0F, NAN, 3.0F, 2.0F}, true);
    EXPECT_EQ(one.ids, (std::vector<std::int32_t>{2, 3, 0}));
    EXPECT_FALSE(std::isnan(one.weights[0]));
    for (const float w : ids({1.0F, NAN, 3.0F, 2.0F}, false).weights)
        EXPECT_TRUE(std::isnan(w));
    const Choice inf = ids({0.0F, kInf, -kInf, 7.0F}, false);
    EXPECT_EQ(inf.ids[0], 1);
    EXPECT_EQ(inf.weights, (std::vector<float>{1.0F, 0.0F, 0.0F}));
    const Choice low = ids({-kInf, -kInf, -kInf, -kInf}, false);
    EXPECT_EQ(low.ids, (std::vector<std::int32_t>{0, 1, 2}));
    const Choice zero = ids({-200.0F, -300.0F, -kInf, -400.0F}, true);
    EXPECT_EQ(zero.weights, (std::vector<float>{0.0F, 0.0F, 0.0F}));
    const std::vector<float> bias = {-kInf, -kInf, -kInf, -kInf};
    const Choice barred = choose({1.0F, 2.0F, 3.0F, 4.0F}, bias, {true, false, 1.0F, 4});
    EXPECT_EQ(barred.ids, (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST_P(Route, GeluTanhMul) {
    Rng rng(83);
    for (const std::size_t n : {1UZ, 3UZ, 4UZ, 7UZ, 8UZ, 16UZ, 17UZ, 33UZ, 500UZ}) {
        Guarded<float> gate = random_floats(n, rng);
        for (std::size_t i = 0; i < n; ++i)
            gate[i] *= i % 3 == 0 ? 4.0F : i % 3 == 1 ? 1.0F : 0.01F;
        const Guarded<float> up = random_floats(n, rng);
        Guarded<float> out(n);
        table().gelu_tanh_mul(gate.data(), up.data(), static_cast<std::int64_t>(n), out.data());
        for (std::size_t i = 0; i < n; ++i) {
            const double x = static_cast<double>(gate[i]);
            const double want = reference::gelu_tanh(x) * static_cast<double>(up[i]);
            const double two_u = 1.5957691 * std::fabs(x + 0.044715 * x * x * x);
            // 1 + tanh(u) in f64 cancels far below zero: 2^-53 of x there.
            const double bound = (10.0 + 8.0 * two_u) * kUnit * std::fabs(want) +
                                 1e-15 * std::fabs(x * static_cast<double>(up[i]));
            ASSERT_LE(std::fabs(static_cast<double>(out[i]) - want), bound) << gate[i];
        }
    }
}

TEST_P(Route, GeluTanhMulAtTheEnds) {
    const float gate[] = {-1000.0F, 1000.0F, -0.0F, 0.0F, -12.0F, 3e38F, -3e38F, NAN, kInf};
    const float up[] = {2.0F, 2.0F, 2.0F, 2.0F, 2.0F, 1.0F, 1.0F, 1.0F, 1.0F};
    float out[9];
    table().gelu_tanh_mul(gate, up, 9, out);
    EXPECT_EQ(out[0], 0.0F);
    EXPECT_EQ(out[1], 2000.0F);
    EXPECT_EQ(out[2], 0.0F);
    EXPECT_EQ(out[3], 0.0F);
    EXPECT_EQ(out[4], 0.0F);
    EXPECT_EQ(out[5], 3e38F);
    EXPECT_EQ(out[6], 0.0F);
    EXPECT_TRUE(std::isnan(out[7]));
    EXPECT_EQ(out[8], kInf);
}

TEST_P(Route, AddScaled) {
    Rng rng(84);
    for (const std::size_t n : {1UZ, 4UZ, 9UZ, 16UZ, 33UZ, 64UZ, 70UZ}) {
        const Guarded<float> x = random_floats(n, rng);
        const Guarded<float> before = random_floats(n, rng);
        const float a = normal(rng);
        Guarded<float> y(n);
        std::memcpy(y.data(), before.data(), n * sizeof(float));
        table().add_scaled(y.data(), x.data(), a, static_cast<std::int64_t>(n));
        for (std::size_t i = 0; i < n; ++i) {
            const double term = static_cast<double>(x[i]) * static_cast<double>(a);
            const double want = static_cast<double>(before[i]) + term;
            ASSERT_NEAR(static_cast<double>(y[i]), want,
                        2 * kUnit * (std::fabs(static_cast<double>(before[i])) + std::fabs(term)));
        }
    }
}

BLOOM_FOR_EACH_TABLE(Route);

} // namespace
} // namespace bloom::kernels::test
