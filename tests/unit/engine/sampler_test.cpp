#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernel_table.hpp"
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
        if (margin < 1e-6) continue; // the rounding of the weights decides, and may
        ASSERT_EQ(s.sample(logits, static_cast<std::int32_t>(n), scratch), want) << round;
    }
}

/// A mask is the same as a row in which nothing else can be drawn.
TEST(Sampler, AMaskLeavesOnlyWhatItAllows) {
    const float inf = std::numeric_limits<float>::infinity();
    Rng rng(77);
    SamplerScratch scratch;
    for (int round = 0; round < 3000; ++round) {
        const std::size_t n = 1 + rng.below(round % 10 == 0 ? 1500 : 200);
        const auto logits = random_logits(rng, n);
        gen::Sampling o;
        const float temperatures[] = {0, 0.7F, 1.0F};
        o.temperature = temperatures[rng.below(3)];
        if (rng.below(3) == 0) o.top_k = 1 + static_cast<int>(rng.below(20));
        if (rng.below(3) == 0) o.top_p = 0.7F;
        if (rng.below(3) == 0) o.min_p = 0.1F;
        if (rng.below(3) == 0) o.logit_bias.push_back({static_cast<std::int32_t>(rng.below(n)), 5});
        if (rng.below(3) == 0) o.frequency_penalty = 0.5F;
        const std::uint64_t density = rng.below(4); // of 8 tokens, how many are allowed
        std::vector<std::uint64_t> mask((n + 63) / 64 + rng.below(2));
        const std::size_t certain = rng.below(n);
        for (std::size_t i = 0; i < 64 * mask.size(); ++i) {
            const bool allowed = i == certain || rng.below(8) < (density == 3 ? 8 : density);
            mask[i / 64] |= std::uint64_t{allowed ? 1U : 0U} << (i % 64);
        }
        auto left = logits;
        for (std::size_t i = 0; i < n; ++i)
            left[i] = ((mask[i / 64] >> (i % 64)) & 1) != 0 ? left[i] : -inf;
        Sampler s(o, rng.next(), 0);
        s.accept(static_cast<std::int32_t>(rng.below(n)));
        const auto size = static_cast<std::int32_t>(n);
        ASSERT_EQ(s.sample(logits, size, scratch, {mask}), s.sample(left, size, scratch)) << round;
    }
}

TEST(Sampler, AMaskDecidesWhereLogitsSayNothing) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float inf = std::numeric_limits<float>::infinity();
    SamplerScratch scratch;
    gen::Sampling o;
    for (const float temperature : {0.0F, 1.0F}) {
        o.temperature = temperature;
        const Sampler s(o, 1, 0);
        const std::vector<std::uint64_t> mask{0b01100};
        EXPECT_EQ(s.sample(std::vector<float>{1, 2, nan, -inf, 3}, 5, scratch, {mask}), 2);
        EXPECT_EQ(s.sample(std::vector<float>{1, 2, nan, -7, inf}, 5, scratch, {mask}), 3);
        EXPECT_EQ(s.sample(std::vector<float>{1, 2, 3}, 2, scratch, {mask}), -1) << "none is valid";
        const std::vector<std::uint64_t> nothing{0};
        EXPECT_EQ(s.sample(std::vector<float>{1}, 1, scratch, {nothing}), -1);
    }
}

TEST(Sampler, WhatStandsForTheEndIsAsLikelyAsTheEnd) {
    gen::Sampling o;
    o.temperature = 0;
    const Sampler s(o, 1, 0);
    SamplerScratch scratch;
    const std::vector<std::uint64_t> mask{0b00110}; // 1 and 2; the ends 3 and 4 are not allowed
    const std::vector<std::int32_t> ends{3, 4, 70};
    const Allowed allowed{mask, 1, ends};
    EXPECT_EQ(s.sample(std::vector<float>{9, 0, 2, 1, 3}, 5, scratch, allowed), 1);
    EXPECT_EQ(s.sample(std::vector<float>{9, 0, 4, 1, 3}, 5, scratch, allowed), 2);
    EXPECT_EQ(s.sample(std::vector<float>{9, 0, 2, 1, 3}, 5, scratch, {mask}), 2);
    EXPECT_EQ(s.sample(std::vector<float>{9, 0, 2}, 3, scratch, {mask, 50, ends}), 2);
}

TEST(Sampler, TellsLogprobsOfWhatTheMaskLeft) {
    gen::Sampling o;
    o.temperature = 0.1F;
    o.logprobs = true;
    o.top_logprobs = 4;
    o.logit_bias = {{0, 1}};
    const Sampler s(o, 1, 0);
    SamplerScratch scratch;
    DrawnLogprobs told;
    const std::vector<std::uint64_t> mask{0b1101};
    const auto t = s.sample(std::vector<float>{1, 9, 2, 1, 9}, 5, scratch, {mask}, &told);
    const double sum = std::exp(2.0) + std::exp(2.0) + std::exp(1.0);
    EXPECT_NEAR(told.logprob, (t == 3 ? 1.0 : 2.0) - std::log(sum), 1e-6);
    ASSERT_EQ(told.n_top, 3) << "no more is possible";
    EXPECT_EQ(told.ids[0], 0);
    EXPECT_EQ(told.ids[1], 2);
    EXPECT_EQ(told.ids[2], 3);
    EXPECT_NEAR(told.logprobs[2], 1.0 - std::log(sum), 1e-6);
    // What JSON cannot say is not told.
    const float inf = std::numeric_limits<float>::infinity();
    s.sample(std::vector<float>{-inf, -inf, -inf}, 3, scratch, {}, &told);
    EXPECT_EQ(told.logprob, kLeastLogprob);
}

/// Rows as large as real vocabularies, of every shape that takes another way: steep and flat, with
/// ties, all equal, sorted, with values that are no numbers.
std::vector<float> large_row(Rng& rng, std::size_t n) {
    std::vector<float> out(n);
    const std::uint64_t shape = rng.below(6);
    const double spread = shape == 0 ? 0.3 : shape == 1 ? 1.5 : 3.0;
    for (std::size_t i = 0; i < n; ++i) {
        double sum = -6.0;
        for (int j = 0; j < 12; ++j)
            sum += rng.uniform();
        out[i] = static_cast<float>(shape == 2 ? std::floor(4 * sum) / 4 : spread * sum);
    }
    if (shape == 3) std::fill(out.begin(), out.end(), 1.5F);
    if (shape == 4) std::sort(out.begin(), out.end());
    for (int i = 0; shape == 5 && i < 30; ++i)
        out[rng.below(n)] = static_cast<float>(8 + 10 * rng.uniform());
    for (std::uint64_t i = rng.below(2) * 50; i > 0; --i) {
        out[rng.below(n)] = i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                                       : -std::numeric_limits<float>::infinity();
    }
    return out;
}

/// Every table draws what the rules say, except where the rounding of its weights decides.
TEST(Sampler, LargeRowsMatchTheRules) {
    const char* const seed_env = std::getenv("DARKBLOOM_SEED");
    const std::uint64_t rng_seed =
        seed_env != nullptr ? std::strtoull(seed_env, nullptr, 10) : 20251;
    SCOPED_TRACE(testing::Message() << "DARKBLOOM_SEED " << rng_seed);
    Rng rng(rng_seed);
    std::vector<SamplerScratch> scratches;
    const std::uint32_t have = kernels::detect_cpu_features();
    for (const auto* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~have) == 0) scratches.emplace_back(**t);
    }
    int decided = 0;
    for (int round = 0; round < 60; ++round) {
        const std::size_t n = 3000 + rng.below(round % 8 == 0 ? 60'000 : 9000);
        const auto logits = large_row(rng, n);
        gen::Sampling o;
        const float temperatures[] = {0.1F, 0.7F, 1.0F, 2.0F};
        o.temperature = temperatures[rng.below(4)];
        if (rng.below(3) == 0)
            o.top_k = 1 + static_cast<int>(rng.below(rng.below(2) == 0 ? n + 9 : 60));
        if (rng.below(2) == 0) o.top_p = 0.05F + static_cast<float>(rng.below(19)) * 0.05F;
        if (rng.below(3) == 0) o.min_p = 0.01F + static_cast<float>(rng.below(10)) * 0.1F;
        if (rng.below(4) == 0) o.repetition_penalty = 1.3F;
        const std::vector<std::int32_t> prompt{1, 5, 2999};
        const auto allowed = distribution(logits, o, prompt, {});
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
            const double u = draw_uniform(seed, 0, 0);
            double sum = 0;
            std::int32_t want = -1;
            double margin = 1;
            for (const auto& [t, p] : allowed) {
                if (p == 0) continue;
                margin = std::min(margin, std::abs(sum - u));
                sum += p;
                if (want < 0 && sum > u) want = t;
            }
            if (std::min(margin, std::abs(sum - u)) < 1e-6) continue;
            ++decided;
            Sampler s(o, seed, 0);
            s.observe_prompt(prompt);
            for (SamplerScratch& scratch : scratches) {
                ASSERT_EQ(s.sample(logits, static_cast<std::int32_t>(n), scratch), want)
                    << scratch.table->isa << " round " << round << " seed " << seed << ": "
                    << o.temperature << " " << o.top_k << " " << o.top_p << " " << o.min_p;
            }
        }
    }
    EXPECT_GT(decided, 100);
}

TEST(Sampler, ExtremeTemperaturesAndLogits) {
    SamplerScratch scratch;
    const float huge = 3e38F;
    const std::vector<float> logits{-huge, 1.0F, huge, -1.0F};
    for (const float temperature : {1e-45F, 1e-30F, 1.0F, 1e30F}) {
        for (const int way : {0, 1, 2, 3}) {
            gen::Sampling o;
            o.temperature = temperature;
            if (way == 1) o.top_p = 0.5F;
            if (way == 2) o.top_k = 2;
            if (way == 3) o.min_p = 0.5F;
            const Sampler s(o, 3, 0);
            EXPECT_EQ(s.sample(logits, 4, scratch), 2) << temperature << " " << way;
            EXPECT_LT(s.sample(std::vector<float>{-huge, -huge, 0.0F}, 2, scratch), 2);
        }
    }
    gen::Sampling flat; // so hot that everything weighs the same, and nothing is lost by rounding
    flat.temperature = 3e38F;
    std::map<std::int32_t, int> counts;
    for (std::uint64_t seed = 0; seed < 400; ++seed)
        ++counts[Sampler(flat, seed, 0).sample(std::vector<float>{-9, 0, 9, 4}, 4, scratch)];
    for (std::int32_t t = 0; t < 4; ++t)
        EXPECT_GT(counts[t], 60) << t;
}

TEST(Sampler, TakesNoMemoryOnceWarm) {
    Rng rng(5);
    const auto logits = large_row(rng, 20'000);
    SamplerScratch scratch;
    std::vector<gen::Sampling> all(5);
    all[1].top_p = 0.9F;
    all[2].top_k = 40;
    all[3].top_k = 5000;
    all[4].repetition_penalty = 1.2F;
    all[4].min_p = 0.02F;
    std::vector<const void*> before;
    for (int round = 0; round < 3; ++round) {
        for (const gen::Sampling& o : all) {
            Sampler s(o, 1, 0);
            for (int i = 0; i < 3; ++i)
                s.accept(s.sample(logits, 20'000, scratch));
        }
        const std::vector<const void*> now{scratch.logits.data(), scratch.ids.data(),
                                           scratch.values.data(), scratch.weights.data(),
                                           scratch.sums.data(),   scratch.candidates.data(),
                                           scratch.ends.data()};
        if (round > 0) EXPECT_EQ(now, before);
        before = now;
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
