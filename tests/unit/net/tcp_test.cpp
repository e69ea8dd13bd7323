#include <array>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/net/tcp.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/when.hpp>

#include "support/co_test.hpp"

namespace bloom::net {
namespace {

using rt::Chunk;
using rt::StopToken;
using rt::Task;

Task<void> echo(Stream stream, StopToken stop) {
    for (;;) {
        Result<Chunk> in = co_await stream.recv(stop);
        if (!in || in->empty()) break;
        const Result<> sent = co_await stream.send_all(in->bytes(), stop);
        if (!sent) break;
    }
    co_await stream.close();
}

Task<void> accept_loop(Listener& listener, StopToken stop) {
    rt::Scope connections(stop);
    for (;;) {
        Result<Stream> stream = co_await listener.accept(connections.token());
        if (!stream) break;
        connections.spawn(echo(std::move(*stream), connections.token()));
    }
    co_await listener.close();
    co_await connections.join();
}

/// `bytes` bytes that differ by position and seed.
std::string pattern(std::size_t bytes, unsigned seed) {
    std::string text(bytes, '\0');
    Rng rng(seed);
    for (char& c : text)
        c = static_cast<char>(rng.next());
    return text;
}

Task<Result<std::string>> recv_exactly(Stream& stream, std::size_t bytes, StopToken stop = {}) {
    std::string got;
    while (got.size() < bytes) {
        BLOOM_CO_TRY(const Chunk chunk, co_await stream.recv(stop));
        if (chunk.empty()) co_return Error{Code::truncated, "ended early"};
        got += as_text(chunk.bytes());
    }
    co_return got;
}

Task<void> send_and_finish(Stream& stream, const std::string& text) {
    const Result<> sent = co_await stream.send_all(as_bytes(text));
    EXPECT_TRUE(sent.has_value());
    const Result<> ended = co_await stream.shutdown_send();
    EXPECT_TRUE(ended.has_value());
}

Task<void> exchange(Address server, std::size_t bytes, unsigned seed, int& n_good) {
    Result<Stream> stream = co_await connect(server);
    CO_ASSERT_OK(stream);
    const std::string text = pattern(bytes, seed);
    // Both directions at once: an echo of more than the socket buffers would stall otherwise.
    auto [none, got] =
        co_await rt::when_all(send_and_finish(*stream, text), recv_exactly(*stream, bytes));
    Result<Chunk> end = co_await stream->recv();
    EXPECT_TRUE(end && end->empty());
    co_await stream->close();
    CO_ASSERT_OK(got);
    if (*got == text) ++n_good;
}

BLOOM_CO_TEST_BOTH(Tcp, echoes_many_sizes_at_once) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    const Address at = listener->local();
    EXPECT_NE(at.port(), 0);
    rt::Scope server;
    server.spawn(accept_loop(*listener, server.token()));
    int n_good = 0;
    rt::Scope clients;
    for (unsigned i = 0; i < 20; ++i)
        clients.spawn(exchange(at, 1 + i * i * 1000, i, n_good));
    co_await clients.join();
    server.request_stop(rt::StopReason::shutdown);
    co_await server.join();
    EXPECT_EQ(n_good, 20);
}

BLOOM_CO_TEST_BOTH(Tcp, sends_parts_in_order) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    Result<Stream> server = co_await listener->accept();
    CO_ASSERT_OK(server);
    std::string a = "one ", b, c = "two ", d = pattern(50'000, 3);
    std::array<iovec, 4> parts{iovec{a.data(), a.size()}, iovec{b.data(), b.size()},
                               iovec{c.data(), c.size()}, iovec{d.data(), d.size()}};
    auto send_parts = [](Stream& s, std::span<iovec> p) -> Task<Result<>> {
        co_return co_await s.send_all(p);
    };
    auto [sent, got] = co_await rt::when_all(send_parts(*client, parts),
                                             recv_exactly(*server, a.size() + c.size() + d.size()));
    CO_ASSERT_OK(sent);
    CO_ASSERT_OK(got);
    EXPECT_EQ(*got, a + c + d);
    EXPECT_EQ(server->local().port(), listener->local().port());
    EXPECT_EQ(server->peer(), client->local());
    co_await client->close();
    co_await server->close();
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tcp, a_stopped_recv_loses_nothing) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    Result<Stream> server = co_await listener->accept();
    CO_ASSERT_OK(server);
    {
        rt::StopSource stop;
        stop.stop_after(std::chrono::milliseconds(5));
        Result<Chunk> in = co_await server->recv(stop.token());
        CO_ASSERT_FALSE(in.has_value());
        EXPECT_EQ(in.error().code(), Code::timeout);
    }
    CO_ASSERT_OK(co_await client->send_all(as_bytes("hello")));
    auto got = co_await recv_exactly(*server, 5);
    CO_ASSERT_OK(got);
    EXPECT_EQ(*got, "hello");
    co_await client->close();
    co_await server->close();
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tcp, notices_a_leaving_client_while_nobody_receives) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    Result<Stream> server = co_await listener->accept();
    CO_ASSERT_OK(server);
    CO_ASSERT_OK(co_await client->send_all(as_bytes("request")));
    CO_ASSERT_OK(co_await recv_exactly(*server, 7));
    rt::StopSource gone;
    server->notify_gone(&gone, true);
    co_await client->close();
    const Result<> slept = co_await rt::sleep_for(std::chrono::hours(1), gone.token());
    EXPECT_FALSE(slept.has_value());
    EXPECT_EQ(gone.reason(), rt::StopReason::client_gone);
    co_await server->close();
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tcp, a_slow_reader_blocks_the_sender_until_stopped) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    Result<Stream> server = co_await listener->accept();
    CO_ASSERT_OK(server);
    const std::string much = pattern(16 << 20, 1); // more than any socket buffer
    rt::StopSource stop;
    stop.stop_after(std::chrono::milliseconds(20));
    const Result<> sent = co_await server->send_all(as_bytes(much), stop.token());
    CO_ASSERT_FALSE(sent.has_value());
    EXPECT_EQ(sent.error().code(), Code::timeout);
    co_await client->close();
    co_await server->close();
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tcp, refused_connections_say_where) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    const Address at = listener->local();
    co_await listener->close();
    Result<Stream> stream = co_await connect(at);
    CO_ASSERT_FALSE(stream.has_value());
    EXPECT_EQ(stream.error().code(), Code::closed);
    EXPECT_NE(stream.error().message().find(at.to_string()), std::string_view::npos);
}

BLOOM_CO_TEST_BOTH(Tcp, dropping_an_unused_stream_closes_it) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    {
        Result<Stream> server = co_await listener->accept();
        CO_ASSERT_OK(server);
    }
    Result<Chunk> end = co_await client->recv();
    EXPECT_TRUE(end && end->empty());
    co_await client->close();
    co_await listener->close();
}

BLOOM_CO_TEST_BOTH(Tcp, an_idle_acceptor_stops) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    rt::StopSource stop;
    stop.stop_after(std::chrono::milliseconds(2));
    Result<Stream> none = co_await listener->accept(stop.token());
    CO_ASSERT_FALSE(none.has_value());
    EXPECT_EQ(none.error().code(), Code::timeout);
    co_await listener->close();
}

BLOOM_RING_TEST(Tcp, accepting_survives_running_out_of_descriptors) {
    auto listener = Listener::listen(Address::loopback(0));
    CO_ASSERT_OK(listener);
    Result<Stream> client = co_await connect(listener->local());
    CO_ASSERT_OK(client);
    rlimit before{};
    CO_ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = ::dup(0); // the lowest free descriptor is the first one that no longer fits
    ::close(next);
    const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
    CO_ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    Result<Stream> refused = co_await listener->accept();
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    CO_ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Code::limit_reached);
    // The connection that could not be accepted is still in the backlog.
    Result<Stream> server = co_await listener->accept();
    CO_ASSERT_OK(server);
    co_await server->close();
    co_await client->close();
    co_await listener->close();
}

BLOOM_RING_TEST(Tcp, a_taken_port_says_which) {
    rt::ListenOptions alone;
    alone.reuse_port = false;
    auto first = Listener::listen(Address::loopback(0), alone);
    CO_ASSERT_OK(first);
    auto second = Listener::listen(first->local(), alone);
    CO_ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code(), Code::already_exists);
    EXPECT_NE(second.error().message().find(first->local().to_string()), std::string_view::npos);
    co_await first->close();
}

} // namespace
} // namespace bloom::net
