// The two fast ways to merge against the obvious one, on random tables and random words.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>

#include "text/bpe.hpp"

namespace bloom::text {
namespace {

void merge_naively(const MergeTable& table, std::vector<std::int32_t>& symbols) {
    for (;;) {
        std::size_t best = 0;
        MergeTable::Entry chosen;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            const auto entry = table.find(symbols[i], symbols[i + 1]);
            if (entry.rank < chosen.rank) {
                chosen = entry;
                best = i;
            }
        }
        if (chosen.rank == MergeTable::kNoRank) return;
        symbols[best] = chosen.merged;
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

/// Merges over `n_letters` letters; new symbols feed later merges, as in a trained vocabulary.
MergeTable random_table(Rng& rng, std::int32_t n_letters, std::size_t n_merges, bool equal_ranks) {
    MergeTable table;
    table.reserve(n_merges);
    std::int32_t next = n_letters;
    for (std::size_t i = 0; i < n_merges; ++i) {
        const auto left = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(next)));
        const auto right = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(next)));
        const auto rank = static_cast<std::uint32_t>(equal_ranks ? rng.below(4) : i);
        table.insert(left, right, {rank, next++});
    }
    return table;
}

TEST(BpeProperty, FastEqualsNaive) {
    Rng rng(11);
    MergeScratch scratch;
    std::size_t n_merged = 0;
    for (int round = 0; round < 4000; ++round) {
        const auto letters = static_cast<std::int32_t>(1 + rng.below(4));
        const MergeTable table = random_table(rng, letters, 1 + rng.below(30), rng.below(2) == 0);
        const std::size_t n = rng.below(3) == 0 ? rng.below(120) : rng.below(kShortWord + 1);
        std::vector<std::int32_t> word(n);
        for (auto& s : word) {
            s = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(letters)));
        }
        auto expected = word;
        merge_naively(table, expected);
        n_merged += word.size() - expected.size();
        auto by_heap = word;
        merge_long(table, by_heap, scratch);
        ASSERT_EQ(by_heap, expected);
        if (n <= kShortWord) {
            auto by_scan = word;
            merge_short(table, by_scan, scratch);
            ASSERT_EQ(by_scan, expected);
        }
        merge_word(table, word, scratch);
        ASSERT_EQ(word, expected);
    }
    EXPECT_GT(n_merged, 20000u); // the tables do merge
}

TEST(BpeProperty, TableKeepsTheLowerRank) {
    MergeTable table;
    EXPECT_EQ(table.find(1, 2).rank, MergeTable::kNoRank);
    table.reserve(2);
    table.insert(1, 2, {5, 9});
    table.insert(1, 2, {7, 8});
    EXPECT_EQ(table.find(1, 2).merged, 9);
    table.insert(1, 2, {3, 7});
    EXPECT_EQ(table.find(1, 2).merged, 7);
    EXPECT_EQ(table.find(2, 1).rank, MergeTable::kNoRank);
}

} // namespace
} // namespace bloom::text
