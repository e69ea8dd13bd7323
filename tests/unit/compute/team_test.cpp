#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/team.hpp>

namespace bloom::compute {
namespace {

TEST(SplitRange, CoversEverythingOnceInUnits) {
    for (const std::int64_t n : {0, 1, 7, 32, 33, 100, 4096}) {
        for (const std::int64_t unit : {1, 8, 32}) {
            for (const int workers : {1, 2, 3, 7}) {
                std::int64_t at = 0;
                for (int w = 0; w < workers; ++w) {
                    const Range r = split_range(n, unit, w, workers);
                    if (r.begin >= r.end) continue;
                    EXPECT_EQ(r.begin, at);
                    EXPECT_EQ(r.begin % unit, 0);
                    at = r.end;
                }
                EXPECT_EQ(at, n) << n << " " << unit << " " << workers;
            }
        }
    }
}

TEST(SerialTeam, CallsEveryWorkerInOrder) {
    SerialTeam team(3);
    std::vector<int> calls;
    team.run([&](int w) { calls.push_back(w); });
    EXPECT_EQ(calls, (std::vector<int>{0, 1, 2}));
}

TEST(SpinTeam, RunsEveryWorkerOncePerCall) {
    SpinTeam team(4);
    ASSERT_EQ(team.size(), 4);
    std::vector<int> calls(4, 0); // plain ints: run() must order them
    for (int i = 0; i < 2000; ++i) {
        if (i % 100 == 0) team.begin_step();
        team.run([&](int w) { ++calls[static_cast<std::size_t>(w)]; });
        if (i % 100 == 99) team.end_step();
    }
    EXPECT_EQ(calls, (std::vector<int>{2000, 2000, 2000, 2000}));
}

TEST(SpinTeam, PhasesFollowEachOtherWithWhatWasWritten) {
    constexpr int kPhases = 64;
    for (const int size : {1, 2, 3, 5, 8, 9, 19}) { // groups of 8: one, several, a last one short
        SpinTeam team(size);
        for (int round = 0; round < (size < 8 ? 50 : 1); ++round) {
            std::vector<std::int64_t> values(static_cast<std::size_t>(size), 1);
            std::vector<std::int64_t> next(values.size(), 0);
            team.run_phases(kPhases, [&](std::int32_t p, int w) {
                const auto& from = p % 2 == 0 ? values : next;
                auto& to = p % 2 == 0 ? next : values;
                std::int64_t sum = 0;
                for (const std::int64_t v : from)
                    sum += v;
                to[static_cast<std::size_t>(w)] = (sum + p) % 1'000'003;
            });
            std::int64_t expected = 1; // all workers hold the same value after a phase
            for (int p = 0; p < kPhases; ++p)
                expected = (expected * size + p) % 1'000'003;
            for (const std::int64_t v : values)
                ASSERT_EQ(v, expected) << size;
        }
    }
}

TEST(SerialTeam, RunsAllWorkersOfAPhaseBeforeTheNext) {
    SerialTeam team(2);
    std::vector<std::pair<int, int>> calls;
    team.run_phases(2, [&](std::int32_t p, int w) { calls.emplace_back(p, w); });
    EXPECT_EQ(calls, (std::vector<std::pair<int, int>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}}));
}

TEST(SpinTeam, ResultsOfOneRunAreVisibleInTheNext) {
    SpinTeam team(3);
    std::vector<std::int64_t> values(300, 1);
    team.begin_step();
    for (int i = 0; i < 200; ++i) {
        std::vector<std::int64_t> next(values.size());
        team.run([&](int w) {
            const Range r = split_range(300, 1, w, 3);
            for (std::int64_t k = r.begin; k < r.end; ++k) {
                const auto at = static_cast<std::size_t>(k);
                next[at] = values[299 - at] + i; // reads what another worker wrote last time
            }
        });
        values.swap(next);
    }
    team.end_step();
    EXPECT_TRUE(std::ranges::all_of(values, [](std::int64_t v) { return v == 1 + 199 * 200 / 2; }));
}

TEST(SpinTeam, WakesAfterParking) {
    // Each new team starts with workers that go to sleep; whether they sleep already when the run
    // comes is up to the scheduler, and both must work.
    for (int round = 0; round < 50; ++round) {
        SpinTeam team(2);
        std::atomic<int> n{0};
        for (int i = 0; i < 4; ++i) {
            team.run([&](int) { n.fetch_add(1); });
            if (round % 5 == 0) {
                for (int spin = 0; spin < 200'000; ++spin)
                    n.fetch_add(0);
            }
        }
        EXPECT_EQ(n.load(), 8);
    }
}

TEST(SpinTeam, SingleWorkerNeedsNoThread) {
    SpinTeam team(1);
    int calls = 0;
    team.run([&](int w) { calls += w + 1; });
    EXPECT_EQ(calls, 1);
}

TEST(SpinTeam, PinsTheCallerWhereItsFirstWorkerBelongs) {
    const int cpu = allowed_cpus().back();
    std::vector<int> seen;
    std::thread([&] { // a thread of its own: what this one starts later shall not inherit the CPU
        const std::vector<int> cpus{cpu};
        SpinTeam team(1, cpus);
        team.pin_caller();
        seen = allowed_cpus();
    })
        .join();
    EXPECT_EQ(seen, std::vector<int>{cpu});
    const std::vector<int> before = allowed_cpus();
    SpinTeam anywhere(1);
    anywhere.pin_caller();
    EXPECT_EQ(allowed_cpus(), before);
}

TEST(AllowedCpus, NamesAtLeastOne) {
    const std::vector<int> cpus = allowed_cpus();
    ASSERT_FALSE(cpus.empty());
    EXPECT_TRUE(std::ranges::is_sorted(cpus));
    EXPECT_FALSE(pin_current_thread(-1));
}

} // namespace
} // namespace bloom::compute
