#include <atomic>
#include <memory>

#include <gtest/gtest.h>

#include <bloom/rt/compute_pool.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/shard_set.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

/// Counts up to what was asked for and tells the shard after each unit, as an engine tells of
/// tokens.
class Counter final : public StepJob {
public:
    explicit Counter(Shard& home) : home_(home) {}

    void ask(int n) { wanted_.fetch_add(n); }

    bool step() override {
        EXPECT_EQ(Shard::current_or_null(), nullptr) << "steps run outside of shards";
        const int done = done_.load();
        if (done >= wanted_.load()) return false;
        done_.store(done + 1);
        home_.post_fn([this] {
            ++n_seen;
            if (n_seen == target) reached.set();
        });
        return true;
    }

    // shard thread
    int n_seen = 0;
    int target = 0;
    Event reached;

private:
    Shard& home_;
    std::atomic<int> wanted_{0};
    std::atomic<int> done_{0};
};

Task<void> drive(ShardSet& set) {
    Counter job(Shard::current());
    auto handle = set.compute().start(job, "counter");
    CO_ASSERT_OK(handle);
    for (int round = 1; round <= 20; ++round) {
        job.reached.reset();
        job.target = round * 10;
        job.ask(10);
        (*handle)->wake();
        CO_ASSERT_OK(co_await job.reached.wait());
        EXPECT_EQ(job.n_seen, round * 10);
    }
    co_await (*handle)->stop();
    job.ask(10);
    (*handle)->wake(); // without effect
    co_await yield();
    EXPECT_EQ(job.n_seen, 200);
    (*handle).reset();
}

void run_job(ShardSet& set, Task<void> (*body)(ShardSet&)) {
    const Result<> ended = set.run([&set, body](Shard&) -> Task<void> { co_await body(set); });
    EXPECT_TRUE(ended.has_value());
}

TEST(ComputePool, steps_until_done_and_wakes_again_sim) {
    SimWorld world(test::base_seed());
    run_job(world, &drive);
}

TEST(ComputePool, steps_until_done_and_wakes_again_thread) {
    auto shards = start_shards({});
    if (!shards) GTEST_SKIP() << shards.error().message();
    run_job(**shards, &drive);
}

class Endless final : public StepJob {
public:
    bool step() override {
        n.fetch_add(1);
        return true;
    }

    std::atomic<int> n{0};
};

TEST(ThreadComputePool, dropping_the_handle_ends_the_thread) {
    Endless job;
    ThreadComputePool pool;
    auto handle = pool.start(job, "a name longer than fifteen bytes");
    ASSERT_TRUE(handle.has_value());
    (*handle)->wake();
    while (job.n.load() == 0)
        std::this_thread::yield();
    handle->reset();
    const int n = job.n.load();
    std::this_thread::yield();
    EXPECT_EQ(job.n.load(), n);
}

TEST(ThreadComputePool, sleeps_until_the_first_wake) {
    Endless job;
    ThreadComputePool pool;
    auto handle = pool.start(job, "idle");
    ASSERT_TRUE(handle.has_value());
    handle->reset();
    EXPECT_LE(job.n.load(), 1) << "ending a sleeping job takes no work";
}

} // namespace
} // namespace bloom::rt
