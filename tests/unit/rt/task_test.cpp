#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/result.hpp>
#include <bloom/rt/async_function.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/sync_wait.hpp>
#include <bloom/rt/task.hpp>
#include <bloom/rt/when.hpp>

namespace bloom::rt {
namespace {

Task<int> number(int n) {
    co_return n;
}

Task<int> sum_of_ready(int n) {
    int sum = 0;
    for (int i = 0; i < n; ++i)
        sum += co_await number(1);
    co_return sum;
}

TEST(Task, is_lazy) {
    bool ran = false;
    auto body = [](bool& flag) -> Task<void> {
        flag = true;
        co_return;
    };
    {
        Task<void> task = body(ran);
        EXPECT_FALSE(ran);
    }
    EXPECT_FALSE(ran) << "dropping an unstarted task must not run it";
    sync_wait(body(ran));
    EXPECT_TRUE(ran);
}

TEST(Task, awaits_a_million_ready_tasks_without_stack) {
    EXPECT_EQ(sync_wait(sum_of_ready(1'000'000)), 1'000'000);
}

Task<int> nest(int depth) {
    if (depth == 0) co_return 0;
    co_return 1 + co_await nest(depth - 1);
}

TEST(Task, nests_deep) {
    EXPECT_EQ(sync_wait(nest(20'000)), 20'000);
}

Task<std::unique_ptr<int>> boxed(int n) {
    co_return std::make_unique<int>(n);
}

TEST(Task, moves_values_out) {
    EXPECT_EQ(*sync_wait(boxed(7)), 7);
}

Task<int> throws() {
    throw std::runtime_error("library");
    co_return 0;
}

Task<std::string> catches() {
    try {
        co_await throws();
    } catch (const std::runtime_error& e) {
        co_return e.what();
    }
    co_return "nothing";
}

TEST(Task, carries_exceptions_to_the_awaiter) {
    EXPECT_EQ(sync_wait(catches()), "library");
}

Task<Result<int>> fails() {
    co_return Error{Code::busy, "no"};
}

Task<Result<int>> forwards() {
    BLOOM_CO_TRY(const int n, co_await fails());
    co_return n + 1;
}

TEST(Task, results_propagate) {
    auto result = sync_wait(forwards());
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), Code::busy);
}

Task<int> after_yields(int n, int value, std::vector<int>& order) {
    for (int i = 0; i < n; ++i)
        co_await yield();
    order.push_back(value);
    co_return value;
}

Task<void> run_all(std::vector<int>& order) {
    auto [a, b, c] = co_await when_all(after_yields(3, 1, order), after_yields(0, 2, order),
                                       after_yields(1, 3, order));
    EXPECT_EQ(a + 10 * b + 100 * c, 321);
}

TEST(WhenAll, keeps_positions_whatever_the_order) {
    std::vector<int> order;
    sync_wait(run_all(order));
    EXPECT_EQ(order, (std::vector{2, 3, 1}));
}

Task<std::size_t> run_vector(std::size_t n) {
    std::vector<int> order;
    std::vector<Task<int>> tasks;
    for (std::size_t i = 0; i < n; ++i) {
        tasks.push_back(after_yields(static_cast<int>(n - i), static_cast<int>(i), order));
    }
    const std::vector<int> values = co_await when_all(std::move(tasks));
    for (std::size_t i = 0; i < n; ++i)
        EXPECT_EQ(values[i], static_cast<int>(i));
    co_return order.size();
}

TEST(WhenAll, takes_vectors) {
    EXPECT_EQ(sync_wait(run_vector(17)), 17U);
    EXPECT_EQ(sync_wait(run_vector(0)), 0U);
}

Task<std::string> all_with_exception() {
    std::vector<int> order;
    try {
        co_await when_all(throws(), after_yields(5, 1, order));
    } catch (const std::runtime_error& e) {
        co_return std::string(e.what()) + " after " + std::to_string(order.size());
    }
    co_return "nothing";
}

TEST(WhenAll, rethrows_after_all_have_ended) {
    EXPECT_EQ(sync_wait(all_with_exception()), "library after 1");
}

Task<StopReason> until_stopped(StopToken stop) {
    while (!stop.stop_requested())
        co_await yield();
    co_await yield(); // takes its time: the race must wait
    co_return stop.reason();
}

Task<void> race() {
    std::vector<int> order;
    StopSource stop;
    auto any = co_await when_any(stop, until_stopped(stop.token()), after_yields(2, 42, order));
    EXPECT_EQ(any.first, 1U);
    EXPECT_EQ(std::get<1>(any.values), 42);
    EXPECT_EQ(std::get<0>(any.values), StopReason::lost_race);
}

TEST(WhenAny, stops_losers_and_waits_for_them) {
    sync_wait(race());
}

Task<void> counted(int& n, int yields) {
    for (int i = 0; i < yields; ++i)
        co_await yield();
    ++n;
}

Task<void> scoped() {
    int n = 0;
    Scope scope;
    for (int i = 0; i < 10; ++i)
        scope.spawn(counted(n, i));
    EXPECT_EQ(n, 0) << "children start later";
    EXPECT_EQ(scope.n_children(), 10U);
    co_await scope.join();
    EXPECT_EQ(n, 10);
    co_await scope.join(); // again, and empty
}

TEST(Scope, joins_its_children) {
    sync_wait(scoped());
}

Task<void> stopped_scope() {
    StopSource parent;
    Scope scope(parent.token());
    StopReason seen = StopReason::none;
    auto child = [](StopReason& out, StopToken stop) -> Task<void> {
        out = co_await until_stopped(stop);
    };
    scope.spawn(child(seen, scope.token()));
    co_await yield();
    parent.request_stop(StopReason::client_gone);
    co_await scope.join();
    EXPECT_EQ(seen, StopReason::client_gone);
}

TEST(Scope, stops_with_its_parent) {
    sync_wait(stopped_scope());
}

TEST(AsyncFunction, holds_pointers_and_lambdas) {
    const AsyncFunction<Task<int>(int)> pointer = &number;
    EXPECT_EQ(sync_wait(pointer(3)), 3);
    auto base = std::make_unique<int>(40);
    const AsyncFunction<Task<int>(int)> lambda = [base = std::move(base)](int n) -> Task<int> {
        co_return *base + n;
    };
    EXPECT_EQ(sync_wait(lambda(2)), 42);
    EXPECT_FALSE((AsyncFunction<Task<int>(int)>()));
}

Task<int> as_task_of_yield() {
    co_await when_all(as_task(yield()), as_task(yield()));
    co_return 1;
}

TEST(AsTask, wraps_awaitables) {
    EXPECT_EQ(sync_wait(as_task_of_yield()), 1);
}

} // namespace
} // namespace bloom::rt
