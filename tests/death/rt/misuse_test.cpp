#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include <bloom/rt/ops.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/sim_driver.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/sync_wait.hpp>
#include <bloom/rt/timer.hpp>
#include <bloom/rt/uring_driver.hpp>

namespace bloom::rt {
namespace {

class Misuse : public testing::Test {
protected:
    // Rings and threads of other tests must not be forked.
    void SetUp() override { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

void run_calm(Task<void> (*body)(Shard&)) {
    SimWorld world(1, SimFaults::calm());
    static_cast<void>(world.run(body));
}

Task<void> never(Shard&) {
    static_cast<void>(co_await sleep_for(std::chrono::hours(1)));
}

TEST_F(Misuse, a_scope_that_goes_with_children) {
    EXPECT_DEATH(run_calm([](Shard& shard) -> Task<void> {
                     Scope scope;
                     scope.spawn(never(shard));
                     co_return;
                 }),
                 "n_children_ == 0");
}

TEST_F(Misuse, a_stop_source_that_goes_with_listeners) {
    EXPECT_DEATH(
        {
            auto source = std::make_unique<StopSource>();
            auto f = [] {};
            const StopCallback callback(source->token(), f);
            source.reset();
        },
        "listeners_ == nullptr");
}

TEST_F(Misuse, a_timer_that_goes_armed) {
    EXPECT_DEATH(
        {
            TimerWheel wheel(0);
            Timer timer([](Timer&) noexcept {});
            wheel.add(timer, 1'000'000'000);
        },
        "armed");
}

TEST_F(Misuse, waiting_for_what_nobody_wakes) {
    auto stuck = [](Scope& scope) -> Task<void> {
        auto forever = []() -> Task<void> {
            struct Never {
                bool await_ready() const noexcept { return false; }

                void await_suspend(std::coroutine_handle<>) const noexcept {}

                void await_resume() const noexcept {}
            };
            co_await Never{};
        };
        scope.spawn(forever());
        co_await scope.join();
    };
    EXPECT_DEATH(
        {
            Scope scope;
            sync_wait(stuck(scope));
        },
        "queue.empty");
}

TEST_F(Misuse, a_simulation_that_cannot_go_on_names_its_seed) {
    EXPECT_DEATH(
        {
            SimWorld world(4711, SimFaults::calm());
            static_cast<void>(world.run([](Shard&) -> Task<void> {
                Event event; // never set
                static_cast<void>(co_await event.wait());
            }));
        },
        "nothing can happen any more.*seed 4711");
}

TEST_F(Misuse, a_simulation_past_its_time_limit) {
    EXPECT_DEATH(
        {
            SimWorld world(4711, SimFaults::calm());
            world.set_time_limit(10'000'000'000);
            static_cast<void>(world.run(&never));
        },
        "time limit has passed.*seed 4711");
}

TEST_F(Misuse, a_source_that_goes_armed) {
    EXPECT_DEATH(run_calm([](Shard& shard) -> Task<void> {
                     SockAddr at;
                     at.raw.v4.sin_family = AF_INET;
                     auto listener = shard.driver().listen(at, {});
                     AcceptSource source(shard.driver(), *listener);
                     StopSource stop;
                     stop.stop_after(std::chrono::seconds(1));
                     static_cast<void>(co_await source.accept(stop.token()));
                 }),
                 "in_flight");
}

TEST_F(Misuse, closing_under_a_reader_in_simulation) {
    EXPECT_DEATH(run_calm([](Shard& shard) -> Task<void> {
                     SockAddr at;
                     at.raw.v4.sin_family = AF_INET;
                     auto listener = shard.driver().listen(at, {});
                     AcceptSource source(shard.driver(), *listener);
                     StopSource stop;
                     stop.stop_after(std::chrono::seconds(1));
                     static_cast<void>(co_await source.accept(stop.token()));
                     static_cast<void>(co_await close(*listener)); // the source is still armed
                 }),
                 "acceptor == nullptr");
}

TEST_F(Misuse, a_spawned_task_that_throws) {
    EXPECT_DEATH(run_calm([](Shard&) -> Task<void> {
                     Scope scope;
                     auto thrower = []() -> Task<void> {
                         throw 1;
                         co_return;
                     };
                     scope.spawn(thrower());
                     co_await scope.join();
                 }),
                 "exception");
}

TEST_F(Misuse, a_shard_call_from_a_blocking_job) {
    EXPECT_DEATH(run_calm([](Shard&) -> Task<void> {
                     static_cast<void>(
                         co_await run_blocking([] { return Shard::current().idx(); }));
                 }),
                 "current_shard != nullptr");
}

} // namespace
} // namespace bloom::rt
