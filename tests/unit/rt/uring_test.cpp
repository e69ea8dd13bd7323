#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/rt/ops.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/uring_driver.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

/// Two connected sockets of the current shard.
std::array<Handle, 2> socket_pair() {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    return {static_cast<Handle>(pair[0]), static_cast<Handle>(pair[1])};
}

Task<void> send_text(Handle socket, std::string text) {
    const Result<> sent = co_await send_all(socket, as_bytes(text));
    EXPECT_TRUE(sent.has_value());
    const Result<> ended = co_await shutdown(socket, SHUT_WR);
    EXPECT_TRUE(ended.has_value());
}

Task<std::string> recv_text(RecvSource& source) {
    std::string got;
    for (;;) {
        Result<Chunk> chunk = co_await source.recv();
        EXPECT_TRUE(chunk.has_value());
        if (!chunk || chunk->empty()) break;
        got += as_text(chunk->bytes());
    }
    co_return got;
}

std::string numbers(std::size_t n) {
    std::string text;
    for (std::size_t i = 0; i < n; ++i)
        text += std::to_string(i) + " ";
    return text;
}

Task<void> pass_through(Shard& shard) {
    const auto [a, b] = socket_pair();
    RecvSource source(shard.driver(), b);
    const std::string text = numbers(15'000);
    auto [none, got] = co_await when_all(send_text(a, text), recv_text(source));
    EXPECT_EQ(got, text);
    co_await source.stop();
    CO_ASSERT_OK(co_await close(a));
    CO_ASSERT_OK(co_await close(b));
}

TEST(Uring, every_level_carries_data) {
    for (const UringLevel level :
         {UringLevel::defer_taskrun, UringLevel::coop_taskrun, UringLevel::plain}) {
        for (const bool multishot : {true, false}) {
            UringOptions options;
            options.level = level;
            options.multishot_recv = multishot;
            const auto features = probe_uring(options);
            if (!features) GTEST_SKIP() << features.error().message();
            EXPECT_GE(features->level, level);
            EXPECT_FALSE(features->multishot_recv && !multishot);
            EXPECT_FALSE(describe(*features).empty());
            test::run_on_ring(&pass_through, options);
        }
    }
}

TEST(Uring, tiny_queues_and_few_buffers_only_slow_things_down) {
    UringOptions options;
    options.sq_entries = 2;
    options.cq_entries = 4;
    options.n_buffers = 2;
    options.buffer_bytes = 64;
    test::run_on_ring(
        [](Shard& shard) -> Task<void> {
            Scope scope;
            for (int i = 0; i < 20; ++i)
                scope.spawn(pass_through(shard));
            co_await scope.join();
        },
        options);
}

/// A reader that keeps every chunk takes all buffers; the others still receive, by copies.
TEST(Uring, hoarded_chunks_do_not_starve_others) {
    UringOptions options;
    options.n_buffers = 8;
    options.buffer_bytes = 512;
    test::run_on_ring(
        [](Shard& shard) -> Task<void> {
            const auto [a, b] = socket_pair();
            RecvSource source(shard.driver(), b);
            std::vector<Chunk> hoard;
            const std::string text(512, 'x');
            for (int i = 0; i < 40; ++i) {
                CO_ASSERT_OK(co_await send_all(a, as_bytes(text)));
                std::size_t n = 0;
                while (n < text.size()) {
                    Result<Chunk> chunk = co_await source.recv();
                    CO_ASSERT_OK(chunk);
                    n += chunk->size();
                    hoard.push_back(std::move(*chunk));
                }
            }
            co_await pass_through(shard);
            for (const Chunk& chunk : hoard)
                EXPECT_EQ(as_text(chunk.bytes()).find_first_not_of('x'), std::string_view::npos);
            hoard.clear();
            co_await source.stop();
            CO_ASSERT_OK(co_await close(a));
            CO_ASSERT_OK(co_await close(b));
        },
        options);
}

BLOOM_RING_TEST(Uring, a_reader_that_lags_pauses_the_sender) {
    const auto [a, b] = socket_pair();
    RecvSource source(shard.driver(), b);
    StopSource gone;
    source.notify_gone(&gone, false);      // arms it, nobody receives
    const std::string much(32 << 20, 'y'); // more than queue and socket buffers hold
    StopSource stop;
    stop.stop_after(std::chrono::milliseconds(30));
    const Result<> sent = co_await send_all(a, as_bytes(much), stop.token());
    CO_ASSERT_FALSE(sent.has_value());
    EXPECT_EQ(sent.error().code(), Code::timeout);
    // And it goes on once somebody receives: what had been taken from the sender arrives.
    std::size_t n = 0;
    while (n < 200'000) {
        Result<Chunk> chunk = co_await source.recv();
        CO_ASSERT_OK(chunk);
        CO_ASSERT_FALSE(chunk->empty());
        n += chunk->size();
    }
    source.notify_gone(nullptr, false);
    co_await source.stop();
    CO_ASSERT_OK(co_await close(a));
    CO_ASSERT_OK(co_await close(b));
}

BLOOM_RING_TEST(Uring, cancelling_what_waits_leaves_nothing_behind) {
    const auto [a, b] = socket_pair();
    std::array<std::uint8_t, 16> buffer{};
    auto receive = [](Handle socket, MutableByteSpan into, StopToken stop) -> Task<Code> {
        const auto n = co_await recv_some(socket, into, stop);
        co_return n ? Code::internal : n.error().code();
    };
    for (int i = 0; i < 50; ++i) {
        StopSource stop;
        auto stop_now = [](StopSource& s, int yields) -> Task<void> {
            for (int k = 0; k < yields; ++k)
                co_await yield();
            s.request_stop(StopReason::overload);
        };
        auto [code, none] =
            co_await when_all(receive(b, buffer, stop.token()), stop_now(stop, i % 5));
        EXPECT_EQ(code, Code::cancelled);
        EXPECT_EQ(shard.driver().n_in_flight(), 0U);
    }
    CO_ASSERT_OK(co_await close(a));
    CO_ASSERT_OK(co_await close(b));
}

TEST(Uring, failures_name_cause_and_fix) {
    const struct {
        int sys_errno;
        std::optional<int> disabled;
        const char* expected;
    } cases[] = {
        {ENOSYS, std::nullopt, "5.19"},
        {EPERM, 2, "sysctl kernel.io_uring_disabled=0"},
        {EPERM, 0, "seccomp"},
        {EPERM, std::nullopt, "seccomp"},
        {ENOMEM, std::nullopt, "ulimit -l"},
        {EMFILE, std::nullopt, "ulimit -n"},
        {EIO, std::nullopt, "io_uring_setup"},
    };

    for (const auto& c : cases) {
        const Error error = explain_uring_failure(c.sys_errno, c.disabled);
        EXPECT_EQ(error.code(), Code::machine_lacks);
        EXPECT_EQ(error.sys_errno(), c.sys_errno);
        EXPECT_NE(error.message().find(c.expected), std::string_view::npos) << error.message();
    }
}

TEST(Uring, no_shards_is_refused) {
    ShardSetOptions options;
    options.n_shards = 0;
    const auto shards = start_shards(options);
    ASSERT_FALSE(shards.has_value());
    EXPECT_EQ(shards.error().code(), Code::invalid_argument);
}

} // namespace
} // namespace bloom::rt
