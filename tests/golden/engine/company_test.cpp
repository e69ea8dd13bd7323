// 24 sequences of mixed lengths on the built-in model: whatever else runs, is cached, guessed,
// swapped out or recomputed, each gives token for token what it gives alone.
#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/compute/team.hpp>
#include <bloom/engine/batcher.hpp>
#include <bloom/engine/engine.hpp>

#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

constexpr int kSequences = 24;

struct Nano {
    explicit Nano(EngineOptions options) {
        auto file = ModelFile::open(std::string(BLOOM_SOURCE_DIR) + "/assets/nano.gguf");
        EXPECT_TRUE(file.has_value());
        options.team = &team;
        engine = std::move(Engine::create(std::move(*file), options).value());
    }

    compute::SerialTeam team{2};
    std::unique_ptr<Engine> engine;
};

/// Questions, some with a text that the answer may repeat; greedy and drawn, with and without
/// penalties; half of them share a long beginning.
std::vector<gen::Generation> requests() {
    std::vector<gen::Generation> out;
    Rng rng(5);
    const std::string list = "one two three four five six seven eight nine ten. ";
    for (int i = 0; i < kSequences; ++i) {
        std::string text = i % 2 == 0 ? "Darkbloom is a node that serves language models. " : "";
        for (std::uint64_t n = rng.below(5); n > 0; --n)
            text += list;
        text += i % 3 == 0 ? "What is Darkbloom?" : i % 3 == 1 ? "Count to ten." : list + list;
        gen::Generation g;
        if (i % 4 == 3) {
            g.prompts.push_back(list + list + text);
        } else {
            gen::Message message;
            message.content.push_back({gen::Part::Kind::text, text});
            g.messages.push_back(std::move(message));
        }
        g.sampling.temperature = i % 2 == 0 ? 0.0F : 0.7F;
        g.sampling.seed = 1000 + static_cast<std::uint64_t>(i);
        if (i % 5 == 1) g.sampling.top_p = 0.9F;
        if (i % 7 == 2) g.sampling.frequency_penalty = 0.4F;
        if (i % 6 == 4) g.sampling.repetition_penalty = 1.1F;
        g.limits.max_tokens = 8 + static_cast<std::int32_t>(rng.below(56));
        g.limits.ignore_eos = true;
        g.fair_key = std::to_string(i % 3);
        g.cache_scope = "tests";
        g.render.reasoning = gen::ReasoningMode::raw;
        out.push_back(std::move(g));
    }
    return out;
}

const std::vector<test::Answer>& alone() {
    static const std::vector<test::Answer> answers = [] {
        Nano nano({.kv_budget_bytes = std::int64_t{64} << 20,
                   .speculate = false,
                   .cache_prefixes = false});
        std::vector<test::Answer> out;
        const auto all = requests();
        for (std::size_t i = 0; i < all.size(); ++i) {
            test::Collector collector;
            EXPECT_TRUE(nano.engine->submit(
                RequestId{i}, std::make_shared<const gen::Generation>(all[i]), 1 << 30));
            while (nano.engine->n_requests() > 0)
                nano.engine->step(collector, 0);
            out.push_back(collector[i]);
        }
        return out;
    }();
    return answers;
}

struct Way {
    const char* name;
    EngineOptions options;
    int pages;    ///< 0: plenty
    int readers;  ///< every so many-th reader stops for a while; 0: none
    bool accepts; ///< guesses come true on the way
    bool swaps;
};

class Company : public testing::TestWithParam<Way> {};

TEST_P(Company, ChangesNoToken) {
    const Way& way = GetParam();
    EngineOptions options = way.options;
    options.kv_budget_bytes = std::int64_t{64} << 20;
    if (way.pages > 0) {
        const Nano probe({.kv_budget_bytes = std::int64_t{8} << 20});
        const std::int64_t page = probe.engine->info().kv_bytes_per_token * kernels::kPageTokens;
        options.kv_budget_bytes = way.pages * page;
        if (way.swaps) options.swap_bytes = way.pages * page;
    }
    Nano nano(options);
    const auto all = requests();
    test::Collector out;
    Rng rng(3);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const bool slow = way.readers > 0 && i % static_cast<std::size_t>(way.readers) == 0;
        ASSERT_TRUE(nano.engine->submit(
            RequestId{i}, std::make_shared<const gen::Generation>(all[i]), slow ? 20 : 1 << 30));
        if (i % 5 == 4) nano.engine->step(out, 0);
    }
    for (int n = 0; nano.engine->n_requests() > 0; ++n) {
        ASSERT_LT(n, 5000);
        const bool more = nano.engine->step(out, 0);
        nano.engine->step_took(1000 + static_cast<std::int64_t>(rng.below(100)));
        if (!more || n % 16 == 0) {
            for (std::size_t i = 0; way.readers > 0 && i < all.size();
                 i += static_cast<std::size_t>(way.readers))
                nano.engine->add_credit(RequestId{i}, 15);
        }
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(out[i].failure, gen::Failure::none) << out[i].failure_text;
        EXPECT_EQ(out[i].text, alone()[i].text) << i;
        EXPECT_EQ(out[i].reasoning, alone()[i].reasoning) << i;
        EXPECT_EQ(out[i].usage.completion_tokens, alone()[i].usage.completion_tokens) << i;
    }
    const EngineCapacity end = nano.engine->capacity();
    EXPECT_EQ(end.n_accepted > 0, way.accepts) << end.n_drafted;
    EXPECT_EQ(end.n_swapped > 0, way.swaps) << end.n_preempted;
    nano.engine->drop_prefix_cache();
    EXPECT_EQ(nano.engine->pages_in_use(), 0);
}

/// Logits of position 64 where it is the first of 1 to 8 rows of its step: what verification
/// relies on is that they are the same bits.
void expect_rows_alike(Engine& engine) {
    std::vector<std::int32_t> ids;
    for (std::int32_t i = 0; i < 64 + kMaxDraft + 1; ++i)
        ids.push_back((i * 37 + i * i) % engine.info().n_tokens);
    std::vector<float> one;
    for (std::size_t n = 65; n <= ids.size(); ++n) {
        ASSERT_TRUE(engine.logits(
            std::span(ids).first(n), [&](std::int64_t position, std::span<const float> got) {
                if (position != 64) return;
                if (n == 65) one.assign(got.begin(), got.end());
                EXPECT_TRUE(std::ranges::equal(got, one)) << n - 64 << " rows";
            }));
    }
    EXPECT_FALSE(one.empty());
}

TEST(Verification, LogitsDoNotDependOnTheRowsBeside) {
    Nano nano({.kv_budget_bytes = std::int64_t{64} << 20});
    expect_rows_alike(*nano.engine);
    for (const char* arch : {"llama", "qwen2", "qwen3"}) {
        for (const int window : {0, 40}) {
            SCOPED_TRACE(arch);
            test::TinyEngine tiny({.arch = arch, .q8 = true, .window = window}, {}, 2);
            expect_rows_alike(*tiny);
            test::TinyEngine precise({.arch = arch, .window = window}, {.precise = true});
            expect_rows_alike(*precise);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Company,
    testing::Values(
        Way{"plain",
            {.max_seqs = 24, .speculate = false, .cache_prefixes = false},
            0,
            0,
            false,
            false},
        Way{"cache", {.max_seqs = 24, .speculate = false}, 0, 0, false, false},
        Way{"guesses", {.max_seqs = 8, .cache_prefixes = false}, 0, 0, true, false},
        Way{"guesses_and_cache", {.max_seqs = 8, .inter_token_ms = 2}, 0, 0, true, false},
        Way{"few_pages", {.max_seqs = 24, .speculate = false}, 40, 3, false, false},
        Way{"swapping", {.max_seqs = 24, .speculate = false}, 40, 3, false, true},
        Way{"swapping_without_cache",
            {.max_seqs = 24, .speculate = false, .cache_prefixes = false},
            40,
            3,
            false,
            true},
        Way{"everything", {.max_seqs = 24, .inter_token_ms = 2}, 40, 3, true, true}),
    [](const auto& info) { return info.param.name; });

} // namespace
} // namespace bloom::engine
