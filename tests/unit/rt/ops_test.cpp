#include <array>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include <bloom/base/fd.hpp>
#include <bloom/rt/ops.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/signals.hpp>

#include "support/co_test.hpp"

namespace bloom::rt {
namespace {

std::string fresh_path() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bloom-ops-XXXXXX").string();
    const Fd fd(::mkstemp(pattern.data()));
    ::unlink(pattern.c_str());
    return pattern;
}

BLOOM_CO_TEST_BOTH(Files, write_sync_read) {
    const std::string path = fresh_path();
    auto file = co_await open_file(path, O_RDWR | O_CREAT | O_EXCL);
    CO_ASSERT_OK(file);
    std::string text(100'000, 'a');
    text += "end";
    CO_ASSERT_OK(co_await write_all_at(*file, as_bytes(text), 5));
    CO_ASSERT_OK(co_await fsync(*file, true));
    std::string got;
    std::array<std::uint8_t, 30'000> buffer{};
    for (;;) {
        auto n = co_await read_at(*file, buffer, got.size());
        CO_ASSERT_OK(n);
        if (*n == 0) break;
        got += as_text(ByteSpan(buffer).first(*n));
    }
    EXPECT_EQ(got, std::string(5, '\0') + text);
    CO_ASSERT_OK(co_await close(*file));
    auto again = co_await open_file(path, O_RDWR | O_CREAT | O_EXCL);
    CO_ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().code(), Code::already_exists);
    ::unlink(path.c_str());
}

BLOOM_CO_TEST_BOTH(Files, a_missing_one_is_named) {
    const std::string path = "/nonexistent/bloom";
    auto file = co_await open_file(path, O_RDONLY);
    CO_ASSERT_FALSE(file.has_value());
    EXPECT_EQ(file.error().code(), Code::not_found);
    EXPECT_NE(file.error().message().find(path), std::string_view::npos);
}

TEST(SimFiles, a_power_failure_loses_what_was_not_synced) {
    SimWorld world(test::base_seed(), SimFaults::calm());
    const Result<> ended = world.run([&world](Shard&) -> Task<void> {
        const std::string kept = "kept";
        const std::string lost = "lost";
        auto a = co_await open_file(kept, O_RDWR | O_CREAT);
        auto b = co_await open_file(lost, O_RDWR | O_CREAT);
        CO_ASSERT_TRUE(a && b);
        CO_ASSERT_OK(co_await write_all_at(*a, as_bytes("one"), 0));
        CO_ASSERT_OK(co_await fsync(*a));
        CO_ASSERT_OK(co_await write_all_at(*a, as_bytes("two"), 0));
        CO_ASSERT_OK(co_await write_all_at(*b, as_bytes("two"), 0));
        CO_ASSERT_OK(co_await close(*a));
        CO_ASSERT_OK(co_await close(*b));
        world.lose_unsynced_files();
        EXPECT_FALSE((co_await open_file(lost, O_RDONLY)).has_value());
        a = co_await open_file(kept, O_RDONLY);
        CO_ASSERT_OK(a);
        std::array<std::uint8_t, 8> buffer{};
        auto n = co_await read_at(*a, buffer, 0);
        CO_ASSERT_OK(n);
        EXPECT_EQ(as_text(ByteSpan(buffer).first(*n)), "one");
        CO_ASSERT_OK(co_await close(*a));
    });
    EXPECT_TRUE(ended.has_value());
}

TEST(SimWorld, tells_what_was_left_open) {
    SimWorld world(test::base_seed(), SimFaults::calm());
    const Result<> ended = world.run([](Shard&) -> Task<void> {
        const std::string path = "file";
        EXPECT_TRUE((co_await open_file(path, O_RDWR | O_CREAT)).has_value());
    });
    ASSERT_FALSE(ended.has_value());
    EXPECT_NE(ended.error().message().find("1 files"), std::string_view::npos);
}

BLOOM_RING_TEST(Poll, waits_for_readiness_of_a_foreign_descriptor) {
    std::array<int, 2> pipe{};
    CO_ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const Fd reader(pipe[0]);
    const Fd writer(pipe[1]);
    auto writable = co_await poll_fd(writer.get(), POLLOUT);
    CO_ASSERT_OK(writable);
    EXPECT_NE(*writable & POLLOUT, 0);
    StopSource stop;
    stop.stop_after(std::chrono::milliseconds(2));
    auto never = co_await poll_fd(reader.get(), POLLIN, stop.token());
    CO_ASSERT_FALSE(never.has_value());
    EXPECT_EQ(never.error().code(), Code::timeout);
    EXPECT_EQ(::write(writer.get(), "x", 1), 1);
    auto readable = co_await poll_fd(reader.get(), POLLIN);
    CO_ASSERT_OK(readable);
    EXPECT_NE(*readable & POLLIN, 0);
}

BLOOM_RING_TEST(Signals, come_as_values) {
    CO_ASSERT_OK(prepare_signals());
    auto signals = SignalSource::open({SIGTERM, SIGHUP});
    CO_ASSERT_OK(signals);
    ::raise(SIGHUP);
    auto first = co_await signals->next({});
    CO_ASSERT_OK(first);
    EXPECT_EQ(*first, SIGHUP);
    StopSource stop;
    stop.stop_after(std::chrono::milliseconds(2));
    auto none = co_await signals->next(stop.token());
    EXPECT_FALSE(none.has_value());
    ::raise(SIGTERM);
    auto second = co_await signals->next({});
    CO_ASSERT_OK(second);
    EXPECT_EQ(*second, SIGTERM);
    co_await signals->close();
    ::raise(SIGPIPE); // ignored, or this test would be over
}

TEST(Signals, come_as_values_in_simulation) {
    SimWorld world(test::base_seed());
    const Result<> ended = world.run([&world](Shard& shard) -> Task<void> {
        auto signals = SignalSource::open({SIGTERM});
        CO_ASSERT_OK(signals);
        auto raise_later = [](SimWorld& w) -> Task<void> {
            EXPECT_TRUE((co_await sleep_for(std::chrono::seconds(5))).has_value());
            w.raise_signal(SIGHUP); // not asked for
            w.raise_signal(SIGTERM);
        };
        shard.root().spawn(raise_later(world));
        auto signo = co_await signals->next({});
        CO_ASSERT_OK(signo);
        EXPECT_EQ(*signo, SIGTERM);
        co_await signals->close();
    });
    EXPECT_TRUE(ended.has_value());
}

} // namespace
} // namespace bloom::rt
