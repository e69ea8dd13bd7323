#include <vector>

#include <gtest/gtest.h>

#include "engine/prompt_lookup.hpp"

namespace bloom::engine {
namespace {

std::vector<std::int32_t> guess(PromptLookup& lookup, const std::vector<std::int32_t>& tokens,
                                std::int32_t n = kMaxDraft, double least = 0.01) {
    const auto found = lookup.guess(tokens, n, least);
    return {found.begin(), found.end()};
}

TEST(PromptLookup, ContinuesWhatStoodBefore) {
    PromptLookup lookup;
    const std::vector<std::int32_t> tokens{1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3};
    EXPECT_EQ(guess(lookup, tokens, 4), (std::vector<std::int32_t>{4, 5, 6, 7}));
}

TEST(PromptLookup, NeedsTwoTokens) {
    PromptLookup lookup;
    EXPECT_TRUE(guess(lookup, {1}).empty());
    EXPECT_TRUE(guess(lookup, {1, 2}).empty());
    EXPECT_TRUE(guess(lookup, {1, 2, 3, 2}).empty()) << "one token is no match";
}

TEST(PromptLookup, TheLongestMatchWins) {
    PromptLookup lookup;
    // 7 8 stands twice: after 5 6, as now, and later after something else.
    const std::vector<std::int32_t> tokens{5, 6, 7, 8, 100, 101, 9, 7, 8, 200, 5, 6, 7, 8};
    EXPECT_EQ(guess(lookup, tokens, 2), (std::vector<std::int32_t>{100, 101}));
}

TEST(PromptLookup, GoesOnWhereTextRepeatsItself) {
    PromptLookup lookup;
    EXPECT_EQ(guess(lookup, {1, 2, 1, 2, 1, 2}, 5), (std::vector<std::int32_t>{1, 2, 1, 2, 1}));
    EXPECT_EQ(guess(lookup, {1, 2, 1, 2, 1, 2, 7, 7, 7}, 3), (std::vector<std::int32_t>{7, 7, 7}));
}

TEST(PromptLookup, GrowsWithItsSequence) {
    PromptLookup lookup;
    std::vector<std::int32_t> tokens;
    for (std::int32_t i = 0; i < 5000; ++i) {
        tokens.push_back(i % 1000);
        const auto found = guess(lookup, tokens, 1);
        if (i < 1001) {
            EXPECT_TRUE(found.empty()) << i;
        } else {
            EXPECT_EQ(found, (std::vector<std::int32_t>{(i + 1) % 1000})) << i;
        }
    }
}

TEST(PromptLookup, GuessesLessWhereGuessesFail) {
    PromptLookup lookup;
    const std::vector<std::int32_t> tokens{1, 2, 1, 2};
    for (int i = 0; i < 30; ++i)
        lookup.learn(4, 0);
    EXPECT_TRUE(guess(lookup, tokens, kMaxDraft, 0.15).empty());
    for (int i = 0; i < 200; ++i) // forgotten in the end
        static_cast<void>(guess(lookup, tokens, kMaxDraft, 0.15));
    EXPECT_FALSE(guess(lookup, tokens, kMaxDraft, 0.15).empty());
    for (int i = 0; i < 30; ++i)
        lookup.learn(7, 7);
    EXPECT_EQ(guess(lookup, tokens, kMaxDraft, 0.15).size(), std::size_t{kMaxDraft});
    lookup.learn(0, 0);
    EXPECT_GT(lookup.chance(), 0.9);
}

} // namespace
} // namespace bloom::engine
