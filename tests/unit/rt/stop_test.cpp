#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/rt/shard.hpp>
#include <bloom/rt/stop.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

TEST(StopToken, a_default_token_never_stops) {
    const StopToken token;
    EXPECT_FALSE(token.stop_requested());
    EXPECT_FALSE(token.stop_possible());
    bool called = false;
    const StopCallback callback(token, [&] { called = true; });
    EXPECT_FALSE(called);
}

TEST(StopSource, the_first_reason_stands) {
    StopSource source;
    EXPECT_TRUE(source.request_stop(StopReason::client_gone));
    EXPECT_FALSE(source.request_stop(StopReason::shutdown));
    EXPECT_EQ(source.token().reason(), StopReason::client_gone);
    EXPECT_EQ(source.token().error().code(), Code::cancelled);
    EXPECT_EQ(source.token().error().message(), "client gone");
}

TEST(StopSource, tells_listeners_once_and_late_ones_at_once) {
    StopSource source;
    int n = 0;
    auto count = [&] { ++n; };
    const StopCallback early(source.token(), count);
    {
        const StopCallback gone(source.token(), count); // unregisters with its scope
    }
    source.request_stop();
    EXPECT_EQ(n, 1);
    const StopCallback late(source.token(), count);
    EXPECT_EQ(n, 2);
}

TEST(StopSource, listeners_may_leave_while_others_are_told) {
    StopSource source;
    int n = 0;
    auto count = [&] { ++n; };
    std::optional<StopCallback<decltype(count)>> victim;
    victim.emplace(source.token(), count);
    // Registered later, told earlier.
    const StopCallback killer(source.token(), [&] { victim.reset(); });
    source.request_stop();
    EXPECT_EQ(n, 0);
}

TEST(StopSource, children_stop_with_their_parent_not_the_other_way) {
    StopSource parent;
    StopSource child(parent.token());
    StopSource grandchild(child.token());
    StopSource sibling(parent.token());
    sibling.request_stop(StopReason::overload);
    EXPECT_FALSE(parent.stop_requested());
    parent.request_stop(StopReason::shutdown);
    EXPECT_EQ(grandchild.reason(), StopReason::shutdown);
    EXPECT_EQ(sibling.reason(), StopReason::overload);
    const StopSource born_stopped(parent.token());
    EXPECT_EQ(born_stopped.reason(), StopReason::shutdown);
}

BLOOM_CO_TEST(StopSource, stops_at_its_deadline) {
    StopSource source;
    const std::uint64_t start = shard.driver().now_ns();
    source.stop_after(std::chrono::seconds(3));
    const Result<> slept = co_await sleep_for(std::chrono::hours(1), source.token());
    CO_ASSERT_FALSE(slept.has_value());
    EXPECT_EQ(slept.error().code(), Code::timeout);
    EXPECT_EQ(source.reason(), StopReason::deadline);
    const std::uint64_t took = shard.driver().now_ns() - start;
    EXPECT_GE(took, 3'000'000'000U);
    EXPECT_LE(took, 3'002'000'000U);
}

BLOOM_CO_TEST(StopSource, a_deadline_can_move_and_go) {
    StopSource source;
    source.stop_after(std::chrono::seconds(1));
    source.stop_after(std::chrono::seconds(5));
    CO_ASSERT_OK(co_await sleep_for(std::chrono::seconds(2), source.token()));
    source.clear_deadline();
    CO_ASSERT_OK(co_await sleep_for(std::chrono::seconds(60), source.token()));
    EXPECT_FALSE(source.stop_requested());
    source.stop_after(std::chrono::seconds(1)); // still armed when the source goes: no harm
}

} // namespace
} // namespace bloom::rt
