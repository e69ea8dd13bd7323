#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>

#include "compute/cpu/moe.hpp"

namespace bloom::compute::cpu {
namespace {

struct Sorted {
    std::vector<std::int32_t> begin;
    std::vector<std::int32_t> active;
    std::vector<std::int32_t> token;
    std::vector<std::int32_t> place;
    ExpertOrder order;

    Sorted(const std::vector<std::int32_t>& ids, std::int64_t stride, std::int64_t n,
           std::int32_t top_k, std::int64_t n_experts)
        : begin(static_cast<std::size_t>(n_experts + 1)),
          active(static_cast<std::size_t>(n_experts)), token(static_cast<std::size_t>(n * top_k)),
          place(token.size()) {
        order = {begin.data(), active.data(), token.data(), place.data(), 0};
        sort_by_expert(ids.data(), stride, n, top_k, n_experts, order);
    }
};

std::vector<std::int32_t> random_ids(std::int64_t n, std::int32_t top_k, std::int64_t stride,
                                     std::int64_t n_experts, Rng& rng) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(n * stride), -1);
    std::vector<std::int32_t> all(static_cast<std::size_t>(n_experts));
    for (std::size_t e = 0; e < all.size(); ++e)
        all[e] = static_cast<std::int32_t>(e);
    for (std::int64_t t = 0; t < n; ++t) {
        for (std::size_t j = 0; j < static_cast<std::size_t>(top_k); ++j) {
            std::swap(all[j], all[j + rng.below(all.size() - j)]);
            ids[static_cast<std::size_t>(t * stride) + j] = all[j];
        }
    }
    return ids;
}

TEST(ExpertOrder, HasEveryPairOnceByExpertThenToken) {
    Rng rng(1);
    for (const std::int64_t n_experts : {1, 2, 7, 64, 128}) {
        for (const std::int64_t n : {1, 3, 40}) {
            const auto top_k = static_cast<std::int32_t>(std::min<std::int64_t>(n_experts, 8));
            const std::int64_t stride = top_k + 3;
            const auto ids = random_ids(n, top_k, stride, n_experts, rng);
            const Sorted s(ids, stride, n, top_k, n_experts);
            ASSERT_EQ(s.begin.front(), 0);
            ASSERT_EQ(s.begin.back(), n * top_k);
            for (std::int32_t e = 0; e < n_experts; ++e) {
                for (std::int32_t i = s.begin[static_cast<std::size_t>(e)] + 1;
                     i < s.begin[static_cast<std::size_t>(e) + 1]; ++i) {
                    ASSERT_LT(s.token[static_cast<std::size_t>(i) - 1],
                              s.token[static_cast<std::size_t>(i)]);
                }
            }
            for (std::int64_t t = 0; t < n; ++t) {
                for (std::int32_t j = 0; j < top_k; ++j) {
                    const auto e =
                        static_cast<std::size_t>(ids[static_cast<std::size_t>(t * stride + j)]);
                    const std::int32_t at = s.place[static_cast<std::size_t>(t * top_k + j)];
                    ASSERT_GE(at, s.begin[e]);
                    ASSERT_LT(at, s.begin[e + 1]);
                    ASSERT_EQ(s.token[static_cast<std::size_t>(at)], t);
                }
            }
        }
    }
}

TEST(ExpertOrder, NamesOnlyExpertsThatSomebodyChose) {
    const Sorted s({5, 2, 5, 0, 2, 5}, 2, 3, 2, 8);
    EXPECT_EQ(s.order.n_active, 3);
    EXPECT_EQ(std::vector<std::int32_t>(s.active.begin(), s.active.begin() + 3),
              (std::vector<std::int32_t>{0, 2, 5}));
    EXPECT_EQ(s.token, (std::vector<std::int32_t>{1, 0, 2, 0, 1, 2}));
    EXPECT_EQ(s.place, (std::vector<std::int32_t>{3, 1, 4, 0, 2, 5}));
}

TEST(CutTasks, CoversTheRowsOfActiveExpertsOnce) {
    Rng rng(2);
    for (const int workers : {1, 2, 5, 64}) {
        for (const std::int64_t n : {1, 9, 200}) {
            for (const std::int64_t rows : {32, 64, 96, 704, 1536}) {
                const Sorted s(random_ids(n, 4, 4, 60, rng), 4, n, 4, 60);
                std::vector<ExpertTask> tasks(static_cast<std::size_t>(tasks_max(60, workers)) + 1,
                                              {-1, -1, -1});
                const std::int32_t n_tasks =
                    cut_tasks(s.order, rows, 2 * 2176, workers, tasks.data());
                ASSERT_LE(n_tasks, tasks_max(60, workers));
                std::size_t i = 0;
                for (std::int32_t a = 0; a < s.order.n_active; ++a) {
                    std::int64_t at = 0;
                    while (at < rows) {
                        ASSERT_EQ(tasks[i].expert, s.active[static_cast<std::size_t>(a)]);
                        ASSERT_EQ(tasks[i].begin, at);
                        ASSERT_GT(tasks[i].end, at);
                        at = tasks[i++].end;
                        ASSERT_TRUE(at % kExpertRowUnit == 0 || at == rows);
                    }
                    ASSERT_EQ(at, rows);
                }
                EXPECT_EQ(i, static_cast<std::size_t>(n_tasks));
            }
        }
    }
}

TEST(CutTasks, GivesEveryWorkerSomethingAndNothingTiny) {
    // One expert has all tokens: it alone must keep eight workers busy.
    const Sorted one(std::vector<std::int32_t>(300, 3), 1, 300, 1, 16);
    std::vector<ExpertTask> tasks(static_cast<std::size_t>(tasks_max(16, 8)));
    EXPECT_GE(cut_tasks(one.order, 1024, 2 * 2176, 8, tasks.data()), 16);
    // One token: 64 workers, but a task keeps 256 KiB where it can.
    const Sorted few({0, 1}, 2, 1, 2, 16);
    tasks.resize(static_cast<std::size_t>(tasks_max(16, 64)));
    const std::int32_t n = cut_tasks(few.order, 768, 2 * 2176, 64, tasks.data());
    for (std::int32_t i = 0; i < n; ++i) {
        const ExpertTask& t = tasks[static_cast<std::size_t>(i)];
        EXPECT_GE((t.end - t.begin + kExpertRowUnit) * 2 * 2176, 256 << 10);
    }
}

TEST(ExpertBlocks, FitTheirScratch) {
    for (const std::int64_t n_tokens : {1, 8, 64, 512, 4096, 20000}) {
        for (const std::int64_t rows : {32, 64, 2048, 2816, 3072}) {
            for (const int workers : {1, 2, 7, 64}) {
                const std::int64_t blocks = down_blocks(rows, n_tokens, workers);
                const std::int64_t units = (rows + kExpertRowUnit - 1) / kExpertRowUnit;
                ASSERT_GE(blocks, 1);
                ASSERT_LE(blocks, units);
                const std::int64_t largest = (units + blocks - 1) / blocks * kExpertRowUnit;
                ASSERT_LE(n_tokens * block_stride(std::min(largest, rows)),
                          down_floats_max(rows, n_tokens, workers));
                EXPECT_LE(down_floats_max(rows, n_tokens, workers),
                          down_floats_max(rows, n_tokens + 1, workers));
            }
        }
        const std::int64_t rows = gate_block_rows(n_tokens);
        EXPECT_EQ(rows % kExpertRowUnit, 0);
        EXPECT_GE(rows, kExpertRowUnit);
        EXPECT_LE(2 * n_tokens * block_stride(rows), gate_floats_max(n_tokens));
        // Scratch is sized for the most tokens and used by fewer.
        EXPECT_LE(gate_floats_max(n_tokens), gate_floats_max(n_tokens + 1));
    }
}

} // namespace
} // namespace bloom::compute::cpu
