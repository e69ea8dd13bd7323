#include <gtest/gtest.h>

#include "engine/budget.hpp"

namespace bloom::engine {
namespace {

constexpr kernels::KvType kF16 = kernels::KvType::f16;

std::int64_t bytes_of(const StateSpec& spec, const std::vector<std::int64_t>& pages) {
    std::int64_t n = 0;
    for (std::size_t g = 0; g < pages.size(); ++g)
        n += pages[g] * compute::page_bytes(spec.groups[g]);
    return n;
}

TEST(Budget, GroupsWithoutWindowsHoldTheSameTokens) {
    const StateSpec spec{{{4, 2, 64, 64, 0, kF16}, {1, 1, 256, 128, 0, kF16}}, {}};
    EngineOptions options;
    options.kv_budget_bytes = 10 << 20;
    const auto pages = divide_budget(spec, options);
    ASSERT_TRUE(pages);
    EXPECT_EQ((*pages)[0], (*pages)[1]);
    EXPECT_LE(bytes_of(spec, *pages), options.kv_budget_bytes);
    EXPECT_GT(bytes_of(spec, *pages), options.kv_budget_bytes * 9 / 10);
}

TEST(Budget, WindowsGetWhatAllSequencesCanFillAtMost) {
    const StateSpec spec{{{1, 1, 64, 64, 0, kF16}, {5, 2, 64, 64, 32, kF16}}, {}};
    EngineOptions options;
    options.max_seqs = 8;
    options.prefill_tokens = 128;
    options.kv_budget_bytes = 256 << 20;
    const auto pages = divide_budget(spec, options);
    ASSERT_TRUE(pages);
    EXPECT_EQ((*pages)[1], 8 * ((32 + 128 + 128) / 16 + 2));
    EXPECT_GT((*pages)[0] * 16, 50'000);
}

TEST(Budget, WindowsOfDifferentPagesHoldTheSameSequences) {
    const StateSpec spec{
        {{1, 1, 64, 64, 0, kF16}, {5, 2, 64, 64, 32, kF16}, {3, 4, 128, 128, 480, kF16}}, {}};
    EngineOptions options;
    options.max_seqs = 64;
    options.prefill_tokens = 128;
    options.kv_budget_bytes = 48 << 20;
    const auto pages = divide_budget(spec, options);
    ASSERT_TRUE(pages);
    const double small = static_cast<double>((*pages)[1]) / ((32 + 256) / 16 + 2);
    const double large = static_cast<double>((*pages)[2]) / ((480 + 256) / 16 + 2);
    EXPECT_NEAR(small, large, 0.1);
    EXPECT_GE(small, 1);
    EXPECT_LE(bytes_of(spec, *pages), options.kv_budget_bytes);
}

TEST(Budget, OneWindowIsWorthMoreThanHalf) {
    const StateSpec spec{{{1, 1, 64, 64, 0, kF16}, {25, 8, 64, 64, 1024, kF16}}, {}};
    EngineOptions options;
    options.prefill_tokens = 512;
    const std::int64_t window = ((1024 + 512 + 128) / 16 + 2) * compute::page_bytes(spec.groups[1]);
    const std::int64_t full = 8 * compute::page_bytes(spec.groups[0]);
    options.kv_budget_bytes = window + full;
    const auto pages = divide_budget(spec, options);
    ASSERT_TRUE(pages);
    EXPECT_EQ((*pages)[0], 8);
    options.kv_budget_bytes -= 1;
    const auto none = divide_budget(spec, options);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), Code::invalid_argument);
    EXPECT_NE(none.error().message().find(std::to_string(window + full)), std::string_view::npos);
}

TEST(Budget, StatesLeavePagesHalfOfIt) {
    StateSpec spec{{{1, 1, 64, 64, 0, kF16}}, compute::RecurrentSpec{4, 2, 4, 64, 64, 4}};
    const std::int64_t one = compute::state_bytes(*spec.recurrent);
    EngineOptions options;
    options.max_seqs = 64;
    options.kv_budget_bytes = 80 * one;
    SlotCounts slots = divide_states(spec, options);
    EXPECT_EQ(slots.n_sequences, 20);
    EXPECT_EQ(options.max_seqs, 20);
    EXPECT_EQ(slots.n_snapshots, 20);
    EXPECT_EQ(options.kv_budget_bytes, 40 * one);

    options = {.max_seqs = 64, .kv_budget_bytes = 2 * one, .state_cache_bytes = 5 * one + 1};
    slots = divide_states(spec, options);
    EXPECT_EQ(slots.n_sequences, kMaxChoices);
    EXPECT_EQ(slots.n_snapshots, 5);
    EXPECT_EQ(options.kv_budget_bytes, one);

    options = {.kv_budget_bytes = 80 * one, .cache_prefixes = false};
    EXPECT_EQ(divide_states(spec, options).n_snapshots, 0);

    spec.recurrent.reset();
    options = {.max_seqs = 64, .kv_budget_bytes = 80 * one};
    slots = divide_states(spec, options);
    EXPECT_EQ(slots.n_sequences, 0);
    EXPECT_EQ(options.max_seqs, 64);
    EXPECT_EQ(options.kv_budget_bytes, 80 * one);
}

} // namespace
} // namespace bloom::engine
