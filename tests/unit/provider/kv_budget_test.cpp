#include <gtest/gtest.h>

#include "provider/kv_budget.hpp"

namespace bloom::provider {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

engine::MemoryNeed need_of(std::int64_t packed, std::int64_t least_kv) {
    engine::MemoryNeed need;
    need.packed_bytes = packed;
    need.least_kv_bytes = least_kv;
    return need;
}

TEST(KvBudget, IsAQuarterOfTheMemoryBesideASmallModel) {
    EXPECT_EQ(kv_budget_beside(need_of(2 * kGiB, kMiB), 32 * kGiB, 256 * kMiB), 8 * kGiB);
    EXPECT_EQ(kv_budget_beside(need_of(2 * kGiB, kMiB), 1024 * kGiB, 0), 64 * kGiB);
}

// Weights of 27 GiB and a quarter of 32 would be more than there is.
TEST(KvBudget, IsWhatTheWeightsLeave) {
    const std::int64_t budget = kv_budget_beside(need_of(27 * kGiB, kMiB), 32 * kGiB, 256 * kMiB);
    EXPECT_EQ(budget, 5 * kGiB - engine::kMemoryHeadroomBytes - 256 * kMiB);
}

TEST(KvBudget, IsNeverLessThanASequenceNeeds) {
    EXPECT_EQ(kv_budget_beside(need_of(31 * kGiB, kMiB), 32 * kGiB, kGiB), 64 * kMiB);
    EXPECT_EQ(kv_budget_beside(need_of(31 * kGiB, 300 * kMiB), 32 * kGiB, kGiB), 600 * kMiB);
    EXPECT_EQ(kv_budget_beside(need_of(27 * kGiB, kMiB), 0, 0), 64 * kMiB) << "memory unknown";
}

} // namespace
} // namespace bloom::provider
