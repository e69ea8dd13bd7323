#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/rt/timer.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

struct Alarm final : Timer {
    explicit Alarm(std::vector<int>& log, int n)
        : Timer([](Timer& t) noexcept {
              auto& self = static_cast<Alarm&>(t);
              self.fired->push_back(self.id);
          }),
          fired(&log), id(n) {}

    std::vector<int>* fired;
    int id;
};

TEST(TimerWheel, fires_in_order_and_never_early) {
    std::vector<int> fired;
    TimerWheel wheel(10 * kMs);
    Alarm a(fired, 1), b(fired, 2), c(fired, 3);
    wheel.add(a, 5'000 * kMs);
    wheel.add(b, 12 * kMs + 1); // rounded up to 13 ms
    wheel.add(c, 70 * kMs);
    EXPECT_EQ(wheel.next_ns(), 13 * kMs);
    wheel.advance(13 * kMs - 1);
    EXPECT_TRUE(fired.empty());
    wheel.advance(13 * kMs);
    EXPECT_EQ(fired, (std::vector{2}));
    wheel.advance(100'000 * kMs);
    EXPECT_EQ(fired, (std::vector{2, 3, 1}));
    EXPECT_EQ(wheel.next_ns(), TimerWheel::kNever);
}

TEST(TimerWheel, the_past_fires_at_once_and_cancel_forgets) {
    std::vector<int> fired;
    TimerWheel wheel(1'000 * kMs);
    Alarm past(fired, 1), now(fired, 2), later(fired, 3);
    wheel.add(past, 0);
    wheel.add(now, 1'000 * kMs);
    wheel.add(later, 1'001 * kMs);
    EXPECT_EQ(wheel.next_ns(), 0U);
    wheel.cancel(later);
    wheel.cancel(later);
    wheel.advance(1'000 * kMs);
    std::sort(fired.begin(), fired.end());
    EXPECT_EQ(fired, (std::vector{1, 2}));
    wheel.advance(2'000 * kMs);
    EXPECT_EQ(fired.size(), 2U);
    EXPECT_EQ(wheel.n_armed(), 0U);
}

TEST(TimerWheel, callbacks_may_cancel_and_rearm) {
    TimerWheel wheel(0);

    struct Pair final : Timer {
        Pair(TimerWheel& w)
            : Timer([](Timer& t) noexcept {
                  auto& self = static_cast<Pair&>(t);
                  ++self.n;
                  self.wheel.cancel(*self.other);
                  if (self.n < 3) self.wheel.add(self, 0); // due at once: at the next advance
              }),
              wheel(w) {}

        TimerWheel& wheel;
        Pair* other = nullptr;
        int n = 0;
    };

    Pair a(wheel), b(wheel);
    a.other = &b;
    b.other = &a;
    wheel.add(a, 5 * kMs);
    wheel.add(b, 5 * kMs);
    wheel.advance(5 * kMs);
    EXPECT_EQ(a.n + b.n, 1) << "the one that fires cancels the other, although both are due";
    wheel.advance(5 * kMs);
    wheel.advance(5 * kMs);
    EXPECT_EQ(a.n + b.n, 3);
    EXPECT_EQ(wheel.n_armed(), 0U);
}

TEST(TimerWheel, far_and_endless_times_are_kept) {
    std::vector<int> fired;
    TimerWheel wheel(0);
    Alarm far(fired, 1), endless(fired, 2);
    wheel.add(far, 400ULL * 24 * 3600 * 1000 * kMs);
    wheel.add(endless, TimerWheel::kNever);
    wheel.advance(399ULL * 24 * 3600 * 1000 * kMs);
    EXPECT_TRUE(fired.empty());
    wheel.advance(400ULL * 24 * 3600 * 1000 * kMs);
    EXPECT_EQ(fired, (std::vector{1}));
    wheel.cancel(endless);
}

/// Against a plain list: random adds, cancels, re-arms and jumps of the clock.
TEST(TimerWheel, agrees_with_a_list) {
    const std::uint64_t seed = test::base_seed();
    SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed));
    for (std::uint64_t round = 0; round < 30; ++round) {
        Rng rng(seed * 1000 + round);
        std::uint64_t now = rng.below(1'000'000) * kMs + rng.below(kMs);
        TimerWheel wheel(now);
        std::vector<int> fired;
        std::vector<std::unique_ptr<Alarm>> alarms;
        std::vector<std::uint64_t> due(64, TimerWheel::kNever); // by id; kNever: not armed
        for (int i = 0; i < 64; ++i)
            alarms.push_back(std::make_unique<Alarm>(fired, i));
        for (int step = 0; step < 600; ++step) {
            const auto id = rng.below(64);
            const std::uint64_t kind = rng.below(4);
            if (kind <= 1) {
                // Spread over all levels: up to 2^36 ns and beyond, often near a block's edge.
                due[id] = now + (rng.next() >> (28 + rng.below(36)));
                wheel.add(*alarms[id], due[id]);
            } else if (kind == 2) {
                wheel.cancel(*alarms[id]);
                due[id] = TimerWheel::kNever;
            } else {
                const std::uint64_t next = wheel.next_ns();
                now = rng.below(2) == 0 && next != TimerWheel::kNever
                          ? std::max(now, next)
                          : now + (rng.next() >> (28 + rng.below(30)));
                fired.clear();
                wheel.advance(now);
                std::vector<int> expected;
                for (std::size_t i = 0; i < 64; ++i) {
                    const std::uint64_t tick = due[i] / kMs + (due[i] % kMs != 0);
                    if (due[i] == TimerWheel::kNever || tick > now / kMs) continue;
                    expected.push_back(static_cast<int>(i));
                    due[i] = TimerWheel::kNever;
                }
                std::sort(fired.begin(), fired.end());
                ASSERT_EQ(fired, expected) << "round " << round << " step " << step;
            }
        }
        for (auto& alarm : alarms)
            wheel.cancel(*alarm);
    }
}

} // namespace
} // namespace bloom::rt
