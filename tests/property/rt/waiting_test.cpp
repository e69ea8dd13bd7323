// Random programs over the waiting primitives, in seeded order, with stops at random times. What
// must hold whatever happens: every wait ends, nothing is lost or doubled, permits come back,
// losers end after the winner.

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/rt/channel.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

constexpr std::uint64_t kSeeds = 1500;

Duration random_delay(Rng& rng) {
    return std::chrono::microseconds(rng.below(20'000));
}

struct Tally {
    std::uint64_t n_sent = 0;
    std::uint64_t sum_sent = 0;
    std::uint64_t n_received = 0;
    std::uint64_t sum_received = 0;
    std::uint64_t n_stopped = 0;
};

Task<void> produce(Channel<std::uint64_t>& channel, std::uint64_t seed, Tally& tally,
                   StopToken stop) {
    Rng rng(seed);
    for (int i = 0; i < 40; ++i) {
        StopSource patience(stop);
        if (rng.below(3) == 0) patience.stop_after(random_delay(rng));
        const std::uint64_t value = rng.below(1'000'000) + 1;
        const Result<> sent = co_await channel.send(value, patience.token());
        if (sent) {
            ++tally.n_sent;
            tally.sum_sent += value;
        } else {
            EXPECT_NE(sent.error().code(), Code::closed) << "closed only after the producers";
            ++tally.n_stopped;
        }
        if (rng.below(4) == 0) static_cast<void>(co_await sleep_for(random_delay(rng), stop));
    }
}

Task<void> consume(Channel<std::uint64_t>& channel, std::uint64_t seed, Tally& tally) {
    Rng rng(seed);
    for (;;) {
        StopSource patience;
        if (rng.below(3) == 0) patience.stop_after(random_delay(rng));
        Result<std::optional<std::uint64_t>> got = co_await channel.recv(patience.token());
        if (!got) {
            ++tally.n_stopped;
            continue;
        }
        if (!got->has_value()) co_return;
        ++tally.n_received;
        tally.sum_received += **got;
        if (rng.below(4) == 0) static_cast<void>(co_await sleep_for(random_delay(rng)));
    }
}

Task<void> close_after(Scope& producers, Channel<std::uint64_t>& channel) {
    co_await producers.join();
    channel.close();
}

Task<void> channel_program(std::uint64_t seed) {
    Rng rng(seed);
    Channel<std::uint64_t> channel(1 + rng.below(4));
    Tally tally;
    Scope producers;
    Scope consumers;
    const std::uint64_t n_producers = 1 + rng.below(4);
    const std::uint64_t n_consumers = 1 + rng.below(4);
    for (std::uint64_t i = 0; i < n_producers; ++i) {
        producers.spawn(produce(channel, rng.next(), tally, producers.token()));
    }
    for (std::uint64_t i = 0; i < n_consumers; ++i)
        consumers.spawn(consume(channel, rng.next(), tally));
    if (rng.below(2) == 0) {
        static_cast<void>(co_await sleep_for(random_delay(rng)));
        producers.request_stop(StopReason::shutdown);
    }
    co_await close_after(producers, channel);
    co_await consumers.join();
    EXPECT_EQ(tally.n_received, tally.n_sent);
    EXPECT_EQ(tally.sum_received, tally.sum_sent);
    EXPECT_EQ(channel.size(), 0U);
}

void for_seeds(Task<void> (*program)(std::uint64_t)) {
    for (std::uint64_t i = 0; i < kSeeds; ++i) {
        const std::uint64_t seed = test::base_seed() * 1000 + i;
        SimWorld world(seed);
        const Result<> ended =
            world.run([program, seed](Shard&) -> Task<void> { co_await program(seed); });
        ASSERT_TRUE(ended.has_value());
        ASSERT_FALSE(testing::Test::HasFailure())
            << "DARKBLOOM_SEED=" << seed / 1000 << ", program " << seed;
    }
}

TEST(Channel, loses_and_doubles_nothing) {
    for_seeds(&channel_program);
}

Task<void> borrow(Semaphore& semaphore, std::uint64_t seed, std::size_t& inside, std::size_t limit,
                  StopToken stop) {
    Rng rng(seed);
    for (int i = 0; i < 20; ++i) {
        StopSource patience(stop);
        if (rng.below(2) == 0) patience.stop_after(random_delay(rng));
        Result<Semaphore::Permit> permit = co_await semaphore.acquire(patience.token());
        if (!permit) continue;
        EXPECT_LE(++inside, limit);
        static_cast<void>(co_await sleep_for(random_delay(rng), stop));
        --inside;
    }
}

Task<void> semaphore_program(std::uint64_t seed) {
    Rng rng(seed);
    const std::size_t limit = 1 + rng.below(3);
    Semaphore semaphore(limit);
    std::size_t inside = 0;
    Scope scope;
    for (int i = 0; i < 6; ++i)
        scope.spawn(borrow(semaphore, rng.next(), inside, limit, scope.token()));
    if (rng.below(3) == 0) {
        static_cast<void>(co_await sleep_for(random_delay(rng)));
        scope.request_stop(StopReason::overload);
    }
    co_await scope.join();
    EXPECT_EQ(semaphore.n_free(), limit);
}

TEST(Semaphore, gets_every_permit_back) {
    for_seeds(&semaphore_program);
}

/// A branch that sleeps, in steps, and takes a little longer when it is stopped.
Task<int> branch(std::uint64_t seed, StopToken stop, int& n_running, int& order) {
    Rng rng(seed);
    ++n_running;
    const std::uint64_t n_steps = rng.below(5);
    for (std::uint64_t i = 0; i < n_steps && !stop.stop_requested(); ++i) {
        static_cast<void>(co_await sleep_for(random_delay(rng), stop));
    }
    if (rng.below(2) == 0) co_await yield();
    --n_running;
    co_return order++;
}

Task<void> any_program(std::uint64_t seed) {
    Rng rng(seed);
    for (int round = 0; round < 10; ++round) {
        StopSource outer;
        if (rng.below(3) == 0) outer.stop_after(random_delay(rng));
        StopSource race(outer.token());
        int n_running = 0;
        int order = 0;
        auto any = co_await when_any(race, branch(rng.next(), race.token(), n_running, order),
                                     branch(rng.next(), race.token(), n_running, order),
                                     branch(rng.next(), race.token(), n_running, order));
        EXPECT_EQ(n_running, 0) << "when_any returns after every branch has ended";
        const std::array<int, 3> ended{std::get<0>(any.values), std::get<1>(any.values),
                                       std::get<2>(any.values)};
        EXPECT_EQ(ended[any.first], 0) << "the one named first did end first";
        EXPECT_TRUE(race.stop_requested());
    }
}

TEST(WhenAny, ends_with_everyone_and_names_the_first) {
    for_seeds(&any_program);
}

/// A tree of scopes with a stop somewhere in it.
Task<void> tree(int depth, std::uint64_t seed, StopToken stop, int& n_alive) {
    Rng rng(seed);
    ++n_alive;
    Scope children(stop);
    if (depth > 0) {
        const std::uint64_t n = rng.below(4);
        for (std::uint64_t i = 0; i < n; ++i) {
            children.spawn(tree(depth - 1, rng.next(), children.token(), n_alive));
        }
    }
    static_cast<void>(co_await sleep_for(random_delay(rng), stop));
    if (rng.below(3) == 0) children.request_stop(StopReason::requested);
    co_await children.join();
    --n_alive;
}

Task<void> scope_program(std::uint64_t seed) {
    Rng rng(seed);
    int n_alive = 0;
    Scope scope;
    scope.spawn(tree(5, rng.next(), scope.token(), n_alive));
    static_cast<void>(co_await sleep_for(random_delay(rng)));
    scope.request_stop(StopReason::shutdown);
    co_await scope.join();
    EXPECT_EQ(n_alive, 0);
}

TEST(Scope, a_stopped_tree_ends_whole) {
    for_seeds(&scope_program);
}

} // namespace
} // namespace bloom::rt
