#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/rt/channel.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

BLOOM_CO_TEST_BOTH(Shard, sleeps_at_least_as_long_as_asked) {
    const std::uint64_t start = shard.driver().now_ns();
    CO_ASSERT_OK(co_await sleep_for(std::chrono::milliseconds(3)));
    EXPECT_GE(shard.driver().now_ns() - start, 3'000'000U);
    CO_ASSERT_OK(co_await sleep_for(std::chrono::seconds(-1)));
    CO_ASSERT_OK(co_await sleep_until(0));
}

Task<void> note(std::vector<int>& order, int ms) {
    EXPECT_TRUE((co_await sleep_for(std::chrono::milliseconds(ms))).has_value());
    order.push_back(ms);
}

BLOOM_CO_TEST_BOTH(Shard, sleepers_wake_in_order) {
    std::vector<int> order;
    co_await when_all(note(order, 20), note(order, 4), note(order, 12));
    EXPECT_EQ(order, (std::vector{4, 12, 20}));
}

BLOOM_CO_TEST_BOTH(Shard, blocking_work_comes_home) {
    const std::thread::id here = std::this_thread::get_id();
    auto sum = co_await run_blocking([] { return 20 + 22; });
    CO_ASSERT_OK(sum);
    EXPECT_EQ(*sum, 42);
    EXPECT_EQ(std::this_thread::get_id(), here);
    auto nothing = co_await run_blocking([] {});
    CO_ASSERT_OK(nothing);
    auto failed =
        co_await run_blocking([]() -> Result<int> { return Error{Code::corrupt, "bad"}; });
    CO_ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().code(), Code::corrupt);
    auto thrown = co_await run_blocking([]() -> int { throw std::runtime_error("library"); });
    CO_ASSERT_FALSE(thrown.has_value());
    EXPECT_EQ(thrown.error().code(), Code::internal);
    EXPECT_NE(thrown.error().message().find("library"), std::string_view::npos);
}

TEST(Shard, a_full_blocking_pool_says_busy) {
    // Runs where the pool is real: one thread, a queue of two, and a job that holds the thread.
    ShardSetOptions options;
    options.n_blocking_threads = 1;
    options.max_blocking_queued = 2;
    auto shards = start_shards(options);
    if (!shards) GTEST_SKIP() << shards.error().message();
    const Result<> ended = (*shards)->run([](Shard&) -> Task<void> {
        std::atomic<bool> open{false};
        std::atomic<bool> holding{false};
        Scope scope;
        int n_busy = 0;
        int n_done = 0;
        auto hold = [](std::atomic<bool>& gate, std::atomic<bool>& held, int& done) -> Task<void> {
            auto result = co_await run_blocking([&] {
                held.store(true);
                held.notify_all();
                gate.wait(false);
            });
            if (result) ++done;
        };
        auto queue = [](int& busy, int& done) -> Task<void> {
            auto result = co_await run_blocking([] {});
            if (result) {
                ++done;
            } else if (result.error().code() == Code::busy) {
                ++busy;
            }
        };
        scope.spawn(hold(open, holding, n_done));
        co_await yield();
        holding.wait(false);
        for (int i = 0; i < 5; ++i)
            scope.spawn(queue(n_busy, n_done));
        for (int i = 0; i < 3; ++i)
            co_await yield();
        EXPECT_EQ(n_busy, 3);
        open.store(true);
        open.notify_all();
        co_await scope.join();
        EXPECT_EQ(n_done, 3);
    });
    EXPECT_TRUE(ended.has_value());
}

struct CountedPost final : PostItem {
    CountedPost()
        : PostItem([](PostItem& item) noexcept { ++*static_cast<CountedPost&>(item).n; }) {}

    std::size_t* n = nullptr;
};

BLOOM_RING_TEST(Shard, takes_posts_from_many_threads) {
    constexpr std::size_t kThreads = 4;
    constexpr std::size_t kPosts = 2000;
    std::size_t n = 0; // touched by posted items only, so on this thread
    Event done;
    std::vector<std::vector<CountedPost>> items(kThreads);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
        items[t] = std::vector<CountedPost>(kPosts);
        for (CountedPost& item : items[t])
            item.n = &n;
    }
    std::size_t n_ended = 0;
    for (std::size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (CountedPost& item : items[t])
                shard.post(item);
            shard.post_fn([&] {
                if (++n_ended == kThreads) done.set();
            });
        });
    }
    CO_ASSERT_OK(co_await done.wait());
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(n, kThreads * kPosts);
}

/// Runs `body` on shard 0 of two, simulated or real.
void run_two(Task<void> (*body)(ShardSet&), bool simulated) {
    std::unique_ptr<ShardSet> set;
    if (simulated) {
        set = std::make_unique<SimWorld>(test::base_seed(), SimFaults{}, 2);
    } else {
        ShardSetOptions options;
        options.n_shards = 2;
        auto shards = start_shards(options);
        if (!shards) GTEST_SKIP() << shards.error().message();
        set = std::move(*shards);
    }
    const Result<> ended = set->run([&set, body](Shard& shard) -> Task<void> {
        if (shard.idx() == 0) co_await body(*set);
    });
    EXPECT_TRUE(ended.has_value()) << ended.error().message();
}

Task<void> visit(ShardSet& set) {
    Shard& other = set.at(1);
    for (std::size_t i = 0; i < 100; ++i) {
        auto idx = co_await on_shard(other, [i] { return Shard::current().idx() * 1000 + i; });
        CO_ASSERT_OK(idx);
        CO_ASSERT_EQ(*idx, 1000U + i);
        CO_ASSERT_EQ(Shard::current().idx(), 0U);
    }
    auto failed = co_await on_shard(other, []() -> Result<> { return Error{Code::busy}; });
    EXPECT_FALSE(failed.has_value());
}

TEST(ShardSet, calls_between_shards_sim) {
    run_two(&visit, true);
}

TEST(ShardSet, calls_between_shards_ring) {
    run_two(&visit, false);
}

BLOOM_CO_TEST_BOTH(Shard, root_tasks_are_stopped_and_joined_at_the_end) {
    // The child outlives this body; run() asks it to stop and waits.
    auto child = [](StopToken stop) -> Task<void> {
        const Result<> slept = co_await sleep_for(std::chrono::hours(10), stop);
        EXPECT_FALSE(slept.has_value());
        EXPECT_EQ(stop.reason(), StopReason::shutdown);
        co_await yield();
    };
    shard.root().spawn(child(shard.root().token()));
    co_return;
}

BLOOM_RING_TEST(Shard, counts_stalls) {
    const std::uint64_t until = shard.driver().now_ns() + 2'000'000;
    while (shard.driver().now_ns() < until) {
    }
    co_await yield();
    co_await yield();
    EXPECT_GE(shard.stats().n_stalls.load(), 1U);
    EXPECT_GE(shard.stats().stall_ns_max.load(), 1'900'000U);
}

BLOOM_CO_TEST_BOTH(Shard, has_clock_and_entropy) {
    std::array<std::uint8_t, 64> a{}, b{};
    shard.driver().fill_random(a);
    shard.driver().fill_random(b);
    EXPECT_NE(a, b);
    EXPECT_GT(shard.unix_ms(), 1'700'000'000'000);
    co_return;
}

} // namespace
} // namespace bloom::rt
