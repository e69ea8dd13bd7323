#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/rt/channel.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/sync_wait.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

Task<void> send_numbers(Channel<int>& channel, int from, int to) {
    for (int i = from; i < to; ++i) {
        const Result<> sent = co_await channel.send(i);
        EXPECT_TRUE(sent.has_value());
    }
    channel.close();
}

Task<std::vector<int>> recv_all(Channel<int>& channel) {
    std::vector<int> got;
    for (;;) {
        Result<std::optional<int>> next = co_await channel.recv();
        EXPECT_TRUE(next.has_value());
        if (!next || !next->has_value()) break;
        got.push_back(**next);
        EXPECT_LE(channel.size(), channel.capacity());
    }
    co_return got;
}

Task<void> pass(std::size_t capacity) {
    Channel<int> channel(capacity);
    auto [none, got] = co_await when_all(send_numbers(channel, 0, 100), recv_all(channel));
    EXPECT_EQ(got.size(), 100U);
    for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_EQ(got[i], static_cast<int>(i));
}

TEST(Channel, keeps_order_and_bound) {
    for (const std::size_t capacity : {1UL, 2UL, 7UL, 200UL})
        sync_wait(pass(capacity));
}

Task<void> without_waiting() {
    Channel<std::unique_ptr<int>> channel(2);
    auto value = std::make_unique<int>(3);
    EXPECT_TRUE(channel.try_send(std::make_unique<int>(1)));
    EXPECT_TRUE(channel.try_send(std::make_unique<int>(2)));
    EXPECT_FALSE(channel.try_send(std::move(value)));
    EXPECT_NE(value, nullptr) << "a refused value stays with the caller";
    EXPECT_EQ(**channel.try_recv(), 1);
    channel.close();
    EXPECT_FALSE(channel.try_send(std::move(value)));
    EXPECT_EQ(**channel.try_recv(), 2);
    EXPECT_FALSE(channel.try_recv().has_value());
    const Result<> sent = co_await channel.send(std::move(value));
    CO_ASSERT_FALSE(sent.has_value());
    EXPECT_EQ(sent.error().code(), Code::closed);
}

TEST(Channel, tries_without_waiting) {
    sync_wait(without_waiting());
}

Task<Result<>> send_one(Channel<int>& channel, int value, StopToken stop) {
    co_return co_await channel.send(value, stop);
}

Task<void> close_it(Channel<int>& channel) {
    co_await yield();
    channel.close();
}

Task<void> closing() {
    Channel<int> channel(1);
    EXPECT_TRUE(channel.try_send(1));
    auto [a, b, none] =
        co_await when_all(send_one(channel, 2, {}), send_one(channel, 3, {}), close_it(channel));
    CO_ASSERT_FALSE(a.has_value());
    CO_ASSERT_FALSE(b.has_value());
    EXPECT_EQ(a.error().code(), Code::closed);
    EXPECT_EQ(*channel.try_recv(), 1);
    auto end = co_await channel.recv();
    EXPECT_TRUE(end && !end->has_value());
}

TEST(Channel, close_wakes_senders_and_keeps_what_is_inside) {
    sync_wait(closing());
}

Task<void> stop_it(StopSource& stop) {
    co_await yield();
    stop.request_stop(StopReason::shutdown);
}

Task<void> stopped_send() {
    Channel<int> channel(1);
    EXPECT_TRUE(channel.try_send(1));
    StopSource stop;
    auto [sent, none] = co_await when_all(send_one(channel, 2, stop.token()), stop_it(stop));
    CO_ASSERT_FALSE(sent.has_value());
    EXPECT_EQ(sent.error().code(), Code::cancelled);
    EXPECT_EQ(*channel.try_recv(), 1);
    EXPECT_FALSE(channel.try_recv().has_value()) << "a stopped value was not sent";
    auto none_left = co_await channel.recv(stop.token());
    EXPECT_FALSE(none_left.has_value());
}

TEST(Channel, a_stop_takes_the_sender_out) {
    sync_wait(stopped_send());
}

Task<void> critical(Semaphore& mutex, int& inside, int& n) {
    Result<Semaphore::Permit> permit = co_await mutex.acquire();
    EXPECT_TRUE(permit.has_value());
    EXPECT_EQ(++inside, 1);
    co_await yield();
    --inside;
    ++n;
}

Task<void> exclusion() {
    Semaphore mutex(1);
    int inside = 0;
    int n = 0;
    Scope scope;
    for (int i = 0; i < 20; ++i)
        scope.spawn(critical(mutex, inside, n));
    co_await scope.join();
    EXPECT_EQ(n, 20);
    EXPECT_EQ(mutex.n_free(), 1U);
}

TEST(Semaphore, excludes) {
    sync_wait(exclusion());
}

Task<Result<>> acquire_stopped(Semaphore& semaphore, StopToken stop) {
    BLOOM_CO_TRY(const auto permit, co_await semaphore.acquire(stop));
    co_return Result<>();
}

Task<void> semaphore_stop() {
    Semaphore semaphore(2);
    auto a = semaphore.try_acquire();
    auto b = semaphore.try_acquire();
    EXPECT_FALSE(semaphore.try_acquire());
    StopSource stop;
    auto [got, none] = co_await when_all(acquire_stopped(semaphore, stop.token()), stop_it(stop));
    EXPECT_FALSE(got.has_value());
    a.reset();
    EXPECT_EQ(semaphore.n_free(), 1U) << "a waiter that left takes no permit with it";
}

TEST(Semaphore, a_stop_takes_the_waiter_out) {
    sync_wait(semaphore_stop());
}

Task<void> wait_for(Event& event, int& n) {
    EXPECT_TRUE((co_await event.wait()).has_value());
    ++n;
}

Task<void> event_wakes_all() {
    Event event;
    int n = 0;
    Scope scope;
    for (int i = 0; i < 5; ++i)
        scope.spawn(wait_for(event, n));
    co_await yield();
    EXPECT_EQ(n, 0);
    event.set();
    co_await scope.join();
    EXPECT_EQ(n, 5);
    StopSource stopped;
    stopped.request_stop();
    EXPECT_TRUE((co_await event.wait(stopped.token())).has_value()) << "set wins over stopped";
    event.reset();
    EXPECT_FALSE((co_await event.wait(stopped.token())).has_value());
}

TEST(Event, wakes_everyone) {
    sync_wait(event_wakes_all());
}

} // namespace
} // namespace bloom::rt
