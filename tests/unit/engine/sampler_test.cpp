#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/engine/sampler.hpp>

namespace bloom::engine {
namespace {

/// The rules of Sampler written down once more, in f64, without any care for speed. Returns the
/// tokens that may be drawn with their probabilities, in the order in which the draw passes them.
std::vector<std::pair<std::int32_t, double>> distribution(std::vector<float> logits,
                                                          const gen::Sampling& o,
                                                          const std::vector<std::int32_t>& prompt,
                                                          const std::vector<std::int32_t>& output) {
    for (const auto& b : o.logit_bias) {
        const auto t = static_cast<std::size_t>(b.token);
        if (b.token >= 0 && t < logits.size()) logits[t] += b.bias;
    }
    std::map<std::int32_t, int> seen;
    for (const auto t : prompt)
        seen[t] += 0;
    for (const auto t : output)
        seen[t] += 1;
    for (const auto& [t, n] : seen) {
        float& l = logits[static_cast<std::size_t>(t)];
        l = l > 0 ? l / o.repetition_penalty : l * o.repetition_penalty;
        if (n > 0) l -= o.frequency_penalty * static_cast<float>(n) + o.presence_penalty;
    }
    std::vector<std::pair<std::int32_t, double>> all;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const double z = static_cast<double>(logits[i]) / static_cast<double>(o.temperature);
        if (!std::isnan(z) && z > -std::numeric_limits<double>::infinity()) {
            all.emplace_back(static_cast<std::int32_t>(i), z);
        }
    }
    if (o.top_k > 0 || o.top_p < 1) {
        std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
            return a.second != b.second ? a.second > b.second : a.first < b.first;
        });
    }
    const auto k = static_cast<std::size_t>(o.top_k);
    if (o.top_k > 0 && all.size() > k) all.resize(k);
    double max = -1e300;
    for (const auto& [t, z] : all)
        max = std::max(max, z);
    double total = 0;
    for (auto& [t, z] : all)
        total += z = std::exp(z - max);
    if (o.top_p < 1) {
        double sum = 0;
        std::size_t n = 0;
        while (n < all.size() && sum < static_cast<double>(o.top_p) * total)
            sum += all[n++].second;
        all.resize(std::max<std::size_t>(n, 1));
    }
    total = 0;
    for (auto& [t, w] : all) {
        if (w < static_cast<double>(o.min_p)) w = 0;
        total += w;
    }
    for (auto& [t, w] : all)
        w /= total;
    return all;
}

std::vector<float> random_logits(Rng& rng, std::size_t n) {
    std::vector<float> out;
    for (std::size_t i = 0; i < n; ++i) {
        // Coarse values: ties are common.
        out.push_back(static_cast<float>(rng.below(40)) * 0.25F - 5.0F);
    }
    return out;
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
    gen::Sampling o;
    o.temperature = 0;
    const Sampler s(o, 1, 0);
    EXPECT_TRUE(s.is_plain_greedy());
    SamplerScratch scratch;
    const std::vector<float> logits{1, 3, -2, 3, 2};
    EXPECT_EQ(s.sample(logits, 5, scratch), 1);
    EXPECT_EQ(s.sample(logits, 1, scratch), 0);
}

TEST(Sampler, PaddingIdsAndNanNeverWin) {
    gen::Sampling o;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float inf = std::numeric_limits<float>::infinity();
    SamplerScratch scratch;
    for (const float temperature : {0.0F, 1.0F}) {
        o.temperature = temperature;
        Sampler s(o, 9, 0);
        for (int i = 0; i < 200; ++i) {
            const std::int32_t t =
                s.sample(std::vector<float>{nan, 0, 0, -inf, 90, 90}, 4, scratch);
            EXPECT_TRUE(t == 1 || t == 2) << t;
            s.accept(t);
        }
        EXPECT_EQ(s.sample(std::vector<float>{nan, nan}, 2, scratch), 0);
        EXPECT_EQ(s.sample(std::vector<float>{0, inf, inf}, 3, scratch), 1);
    }
}

TEST(Sampler, MatchesTheRulesInDoublePrecision) {
    Rng rng(20250);
    SamplerScratch scratch;
    for (int round = 0; round < 3000; ++round) {
        const std::size_t n = 2 + rng.below(round % 10 == 0 ? 1500 : 60);
        const auto logits = random_logits(rng, n);
        gen::Sampling o;
        o.temperature = 0.25F + static_cast<float>(rng.below(8)) * 0.25F;
        if (rng.below(2) == 0) o.top_k = 1 + static_cast<int>(rng.below(n + 3));
        if (rng.below(2) == 0) o.top_p = 0.05F + static_cast<float>(rng.below(19)) * 0.05F;
        if (rng.below(3) == 0) o.min_p = static_cast<float>(rng.below(10)) * 0.1F;
        if (rng.below(3) == 0) o.presence_penalty = static_cast<float>(rng.below(9)) * 0.5F - 2;
        if (rng.below(3) == 0) o.frequency_penalty = static_cast<float>(rng.below(9)) * 0.5F - 2;
        if (rng.below(3) == 0) o.repetition_penalty = 1.5F;
        for (std::uint64_t b = rng.below(4); b > 0; --b) {
            o.logit_bias.push_back({static_cast<std::int32_t>(rng.below(n + 2)),
                                    static_cast<float>(rng.below(200)) - 100.0F});
        }
        std::vector<std::int32_t> prompt, output;
        for (std::uint64_t i = rng.below(20); i > 0; --i)
            prompt.push_back(static_cast<std::int32_t>(rng.below(n)));
        const std::uint64_t seed = rng.next();
        Sampler s(o, seed, 3);
        s.observe_prompt(prompt);
        for (std::uint64_t i = rng.below(20); i > 0; --i) {
            output.push_back(static_cast<std::int32_t>(rng.below(n)));
            s.accept(output.back());
        }
        const auto allowed = distribution(logits, o, prompt, output);
        const double u = draw_uniform(seed, 3, output.size());
        double sum = 0;
        std::int32_t want = -1;
        double margin = 1;
        for (const auto& [t, p] : allowed) {
            if (p == 0) continue;
            margin = std::min(margin, std::abs(sum - u));
            sum += p;
            if (want < 0 && sum > u) want = t;
        }
        margin = std::min(margin, std::abs(sum - u));
        if (margin < 1e-9) continue; // the last bit decides, and may
        ASSERT_EQ(s.sample(logits, static_cast<std::int32_t>(n), scratch), want) << round;
    }
}

TEST(Sampler, FrequenciesFollowTheProbabilities) {
    gen::Sampling o;
    o.temperature = 0.8F;
    o.top_p = 0.95F;
    Rng rng(7);
    const auto logits = random_logits(rng, 24);
    const auto expected = distribution(logits, o, {}, {});
    std::map<std::int32_t, int> counts;
    Sampler s(o, 123456, 0);
    SamplerScratch scratch;
    constexpr int kDraws = 40'000;
    for (int i = 0; i < kDraws; ++i) {
        const std::int32_t t = s.sample(logits, 24, scratch);
        ++counts[t];
        s.accept(t);
    }
    double chi2 = 0;
    int cells = 0;
    for (const auto& [t, p] : expected) {
        if (p * kDraws < 5) continue;
        const double d = counts[t] - p * kDraws;
        chi2 += d * d / (p * kDraws);
        ++cells;
    }
    ASSERT_GT(cells, 4);
    // Mean cells - 1, standard deviation sqrt(2 (cells - 1)); five of them never happen by chance.
    EXPECT_LT(chi2, cells - 1 + 5 * std::sqrt(2.0 * (cells - 1)));
}

TEST(Sampler, DrawsDependOnSeedChoiceAndNumberOnly) {
    EXPECT_EQ(draw_uniform(1, 2, 3), draw_uniform(1, 2, 3));
    EXPECT_NE(draw_uniform(1, 2, 3), draw_uniform(2, 2, 3));
    EXPECT_NE(draw_uniform(1, 2, 3), draw_uniform(1, 3, 3));
    EXPECT_NE(draw_uniform(1, 2, 3), draw_uniform(1, 2, 4));
    double sum = 0;
    for (std::uint64_t i = 0; i < 10'000; ++i) {
        const double u = draw_uniform(77, 0, i);
        ASSERT_GE(u, 0.0);
        ASSERT_LT(u, 1.0);
        sum += u;
    }
    EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

TEST(TokenCounts, CountsThroughGrowth) {
    TokenCounts counts;
    counts.reserve(3);
    for (int round = 0; round < 3; ++round) {
        for (std::int32_t t = 0; t < 1000; ++t)
            counts.add_output(t * 37);
    }
    counts.add_prompt(5);
    int n = 0;
    for (const auto& e : counts.entries()) {
        if (e.token < 0) continue;
        ++n;
        EXPECT_EQ(e.in_output, e.token == 5 ? 0u : 3u);
    }
    EXPECT_EQ(n, 1001);
}

} // namespace
} // namespace bloom::engine
