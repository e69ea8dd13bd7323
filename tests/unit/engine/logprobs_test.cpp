#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>
#include <bloom/text/tokenizer.hpp>

#include "support/engine_fixture.hpp"

/// Log probabilities of the engine against the reference model in double precision.
namespace bloom::engine {
namespace {

using test::Answer;
using test::letters;
using test::TinyEngine;
using test::TinyShape;

/// The log softmax of a row after bias, by falling probability and then by id.
std::vector<std::pair<double, std::int32_t>> reference(std::vector<double> row,
                                                       const gen::Sampling& o) {
    row.resize(test::kTinyTokens);
    for (const gen::LogitBias& b : o.logit_bias)
        row[static_cast<std::size_t>(b.token)] += static_cast<double>(b.bias);
    const double largest = *std::ranges::max_element(row);
    double sum = 0;
    for (const double l : row)
        sum += std::exp(l - largest);
    std::vector<std::pair<double, std::int32_t>> out;
    for (std::size_t i = 0; i < row.size(); ++i)
        out.emplace_back(row[i] - largest - std::log(sum), static_cast<std::int32_t>(i));
    std::ranges::sort(out, [](const auto& a, const auto& b) {
        return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    return out;
}

void expect_reference(TinyEngine& engine, const gen::Generation& g, const Answer& a, int choice) {
    auto ids = *engine->tokenize(g.prompts.at(0));
    const auto& told = a.logprobs.at(choice);
    std::string text;
    for (const gen::TokenLogprob& l : told) {
        const auto want = reference(engine.model.forward(ids).back(), g.sampling);
        const auto of = [&](std::int32_t id) {
            return std::ranges::find_if(want, [&](const auto& w) { return w.second == id; })->first;
        };
        EXPECT_NEAR(static_cast<double>(l.logprob), of(l.token), 2e-4);
        ASSERT_EQ(l.top.size(), static_cast<std::size_t>(g.sampling.top_logprobs));
        for (std::size_t i = 0; i < l.top.size(); ++i) {
            EXPECT_NEAR(static_cast<double>(l.top[i].logprob), want[i].first, 2e-4);
            EXPECT_NEAR(of(l.top[i].token), want[i].first, 2e-4);
            EXPECT_EQ(l.top[i].bytes, engine->tokenizer().bytes_of(l.top[i].token));
            EXPECT_TRUE(l.top[i].top.empty());
        }
        EXPECT_EQ(l.bytes, engine->tokenizer().bytes_of(l.token));
        text += l.bytes;
        ids.push_back(l.token);
    }
    EXPECT_EQ(text, a.text.at(choice));
}

TEST(Logprobs, AreTheModelsDistributionWhateverTheTemperature) {
    TinyEngine engine({.arch = "qwen3", .output_scale = 2}, {.precise = true});
    for (const float temperature : {0.0F, 0.5F, 1.5F}) {
        gen::Generation g = letters("Hello, tiny model", 12, temperature, 3);
        g.sampling.top_p = 0.8F;
        g.sampling.logprobs = true;
        g.sampling.top_logprobs = 5;
        const Answer a = engine.ask(g);
        ASSERT_EQ(a.logprobs.at(0).size(), 12u);
        expect_reference(engine, g, a, 0);
        gen::Generation quiet = g;
        quiet.sampling.logprobs = false;
        const Answer b = engine.ask(quiet);
        EXPECT_EQ(b.text, a.text) << "telling changes nothing";
        EXPECT_TRUE(b.logprobs.at(0).empty());
    }
}

TEST(Logprobs, OfChoicesAndBatches) {
    TinyEngine engine({.output_scale = 2}, {.precise = true}, 2);
    gen::Generation g = letters("several", 8, 1.0F, 9);
    g.n_choices = 3;
    g.sampling.logprobs = true;
    const Answer a = engine.ask(g);
    for (int c = 0; c < 3; ++c) {
        ASSERT_EQ(a.logprobs.at(c).size(), 8u);
        expect_reference(engine, g, a, c);
    }
}

TEST(Logprobs, OfGuessedTokensAreTheSame) {
    const TinyShape shape{.output_scale = 4};
    gen::Generation g = letters("abcabcabcabcabcabc", 300);
    g.sampling.logprobs = true;
    g.sampling.top_logprobs = 2;
    TinyEngine plain(shape, {.precise = true, .speculate = false});
    TinyEngine guessing(shape, {.precise = true});
    const Answer want = plain.ask(g);
    const Answer got = guessing.ask(g);
    EXPECT_GT(guessing->capacity().n_accepted, 0) << "nothing was guessed";
    EXPECT_EQ(got.text, want.text);
    ASSERT_EQ(got.logprobs.at(0).size(), 300u);
    for (std::size_t i = 0; i < 300; ++i) {
        const gen::TokenLogprob& a = want.logprobs.at(0)[i];
        const gen::TokenLogprob& b = got.logprobs.at(0)[i];
        EXPECT_EQ(a.token, b.token);
        EXPECT_NEAR(a.logprob, b.logprob, 1e-4F);
        ASSERT_EQ(b.top.size(), 2u);
        EXPECT_EQ(b.top[0].token, b.token) << "greedy";
    }
}

TEST(Logprobs, TheEndOfTheTurnHasNone) {
    TinyEngine engine({});
    gen::Generation g = letters("x", 10);
    g.sampling.logit_bias = {{test::kTinyEos, 100}};
    g.sampling.logprobs = true;
    const Answer a = engine.ask(g);
    EXPECT_EQ(a.finish.at(0), gen::Finish::stop);
    EXPECT_TRUE(a.logprobs.empty());
}

} // namespace
} // namespace bloom::engine
