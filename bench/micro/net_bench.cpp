// Server CPU per tiny request on loopback, closed loop over a number of connections: a bare epoll
// loop as the roof, then the same answer through Shard, Listener and Stream. Counts the server
// thread's own CPU time (user and system), so that the client beside it does not matter. Figures of
// one run only are comparable.
//
//     bloom_bench_net [requests per point]

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <netinet/tcp.h>
#include <string_view>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/base/fd.hpp>
#include <bloom/base/log.hpp>
#include <bloom/net/tcp.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/uring_driver.hpp>

namespace bloom {
namespace {

constexpr std::string_view kRequest =
    "GET /health HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: bench\r\n"
    "Accept: */*\r\nConnection: keep-alive\r\n\r\n";
constexpr std::string_view kResponse = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                       "Content-Length: 15\r\n\r\n{\"status\":\"ok\"}";

double thread_cpu_us() {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    const auto us = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

/// Sends a request on each connection, and another for each answer, until `n_requests` were
/// answered.
void run_client(std::uint16_t port, std::size_t n_connections, std::size_t n_requests) {
    const Fd poll(::epoll_create1(EPOLL_CLOEXEC));
    std::vector<Fd> sockets;
    const net::Address server = net::Address::loopback(port);
    for (std::size_t i = 0; i < n_connections; ++i) {
        Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        BLOOM_CHECK(::connect(fd.get(), &server.raw().raw.base, server.raw().size()) == 0);
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd.get();
        ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd.get(), &event);
        BLOOM_CHECK(::send(fd.get(), kRequest.data(), kRequest.size(), 0) > 0);
        sockets.push_back(std::move(fd));
    }
    std::size_t n = 0;
    std::array<epoll_event, 256> events{};
    std::array<char, 4096> buffer{};
    while (n < n_requests) {
        const int ready =
            ::epoll_wait(poll.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < ready; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            BLOOM_CHECK(::recv(fd, buffer.data(), buffer.size(), 0) ==
                        static_cast<ssize_t>(kResponse.size()));
            ++n;
            BLOOM_CHECK(::send(fd, kRequest.data(), kRequest.size(), 0) > 0);
        }
    }
}

/// The roof: one thread, epoll, recv, send, nothing else. Returns CPU microseconds per request.
double bare_epoll(std::size_t n_connections, std::size_t n_requests) {
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    net::Address at = net::Address::loopback(0);
    BLOOM_CHECK(::bind(listener.get(), &at.raw().raw.base, at.raw().size()) == 0);
    BLOOM_CHECK(::listen(listener.get(), 1024) == 0);
    rt::SockAddr bound;
    socklen_t size = sizeof bound.raw;
    ::getsockname(listener.get(), &bound.raw.base, &size);
    std::thread client(&run_client, bound.port(), n_connections, n_requests);
    const Fd poll(::epoll_create1(EPOLL_CLOEXEC));
    std::vector<Fd> sockets;
    for (std::size_t i = 0; i < n_connections; ++i) {
        Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd.get();
        ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd.get(), &event);
        sockets.push_back(std::move(fd));
    }
    const double start = thread_cpu_us();
    std::size_t n = 0;
    std::size_t n_open = n_connections;
    std::array<epoll_event, 256> events{};
    std::array<char, 4096> buffer{};
    while (n_open > 0) {
        const int ready =
            ::epoll_wait(poll.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < ready; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (::recv(fd, buffer.data(), buffer.size(), 0) <= 0) {
                ::epoll_ctl(poll.get(), EPOLL_CTL_DEL, fd, nullptr);
                --n_open;
                continue;
            }
            ++n;
            if (::send(fd, kResponse.data(), kResponse.size(), MSG_NOSIGNAL) < 0) continue;
        }
    }
    const double used = thread_cpu_us() - start;
    client.join();
    return used / static_cast<double>(n);
}

rt::Task<void> answer(net::Stream stream, std::size_t& n) {
    for (;;) {
        Result<rt::Chunk> in = co_await stream.recv();
        if (!in || in->empty()) break;
        in->reset();
        ++n;
        const Result<> sent = co_await stream.send_all(as_bytes(kResponse));
        if (!sent) break;
    }
    co_await stream.close();
}

double on_shard(std::size_t n_connections, std::size_t n_requests) {
    auto shards = rt::start_shards({});
    if (!shards) {
        std::fprintf(stderr, "%s\n", std::string(shards.error().message()).c_str());
        std::exit(3);
    }
    double per_request = 0;
    const Result<> ended = (*shards)->run([&](rt::Shard&) -> rt::Task<void> {
        auto listener = net::Listener::listen(net::Address::loopback(0));
        BLOOM_CHECK(listener.has_value());
        std::thread client(&run_client, listener->local().port(), n_connections, n_requests);
        std::size_t n = 0;
        rt::Scope connections;
        for (std::size_t i = 0; i < n_connections; ++i) {
            Result<net::Stream> stream = co_await listener->accept();
            BLOOM_CHECK(stream.has_value());
            connections.spawn(answer(std::move(*stream), n));
        }
        const double start = thread_cpu_us();
        const std::size_t n_before = n;
        co_await connections.join();
        per_request = (thread_cpu_us() - start) / static_cast<double>(n - n_before);
        co_await listener->close();
        client.join();
    });
    BLOOM_CHECK(ended.has_value());
    return per_request;
}

} // namespace
} // namespace bloom

int main(int argc, char** argv) {
    const std::size_t n_requests = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 200'000;
    bloom::log::init(bloom::log::Level::warn, false);
    std::printf("%12s %18s %14s\n", "connections", "bare epoll us", "shard us");
    for (const std::size_t n : {std::size_t{1}, std::size_t{16}, std::size_t{128}}) {
        const double roof = bloom::bare_epoll(n, n_requests);
        const double ours = bloom::on_shard(n, n_requests);
        std::printf("%12zu %18.2f %14.2f\n", n, roof, ours);
    }
    return 0;
}
