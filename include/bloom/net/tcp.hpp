#pragma once

#include <memory>
#include <string>

#include <bloom/base/result.hpp>
#include <bloom/net/address.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/rt/ops.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::net {

/// A listening TCP socket of the current shard, with SO_REUSEPORT (each shard has its own on the
/// same port), SO_REUSEADDR and NODELAY. `co_await close()` ends it. Thread: the shard's.
///
/// An acceptor and its connections, the same on the ring and in simulation:
///
///     rt::Task<void> serve(net::Stream stream, rt::StopToken stop) {
///         for (;;) {
///             Result<rt::Chunk> in = co_await stream.recv(stop);
///             if (!in || in->empty()) break;                       // error, stop, or the peer's
///             end Result<> sent = co_await stream.send_all(in->bytes(), stop); if (!sent) break;
///         }
///         co_await stream.close();
///     }
///
///     rt::Task<void> accept_loop(net::Listener& listener, rt::StopToken stop) {
///         rt::Scope connections(stop);
///         for (;;) {
///             Result<net::Stream> stream = co_await listener.accept(connections.token());
///             if (stream) {
///                 connections.spawn(serve(std::move(*stream), connections.token()));
///             } else if (stream.error().code() == Code::limit_reached) {
///                 if (!co_await rt::sleep_for(net::kAcceptRetry, stop)) break;
///             } else {
///                 break;
///             }
///         }
///         co_await listener.close();
///         co_await connections.join();
///     }
///
///     rt::Task<void> shard_main(rt::Shard& shard) {
///         auto listener = net::Listener::listen(*net::Address::parse("127.0.0.1:8080"));
///         ...
///     }
///
///     auto shards = rt::start_shards({.n_shards = 2});     // or: rt::SimWorld world(seed, faults,
///     2);
///     (*shards)->run(&shard_main);                         //     world.run(&shard_main);
class Listener {
public:
    static Result<Listener> listen(const Address& at, const rt::ListenOptions& options = {});

    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) = delete;
    ~Listener();

    /// With the port the kernel chose.
    const Address& local() const noexcept { return local_; }

    class [[nodiscard]] AcceptAwaiter {
    public:
        explicit AcceptAwaiter(rt::AcceptSource::Awaiter&& inner) noexcept
            : inner_(std::move(inner)) {}

        bool await_ready() noexcept { return inner_.await_ready(); }

        void await_suspend(std::coroutine_handle<> self) noexcept { inner_.await_suspend(self); }

        Result<Stream> await_resume() {
            Result<rt::Handle> socket = inner_.await_resume();
            if (!socket) return std::move(socket).error();
            return Stream(*socket);
        }

    private:
        rt::AcceptSource::Awaiter inner_;
    };

    /// The next connection. Errors: limit_reached when descriptors or memory ran out (sleep
    /// kAcceptRetry, then again); the token's when stopped.
    AcceptAwaiter accept(rt::StopToken stop = {}) noexcept {
        return AcceptAwaiter(core_->source.accept(stop));
    }

    /// Stops listening; what was accepted and not taken is closed.
    rt::Task<void> close();

private:
    struct Core {
        Core(rt::Driver& d, rt::Handle h) noexcept : driver(d), socket(h), source(d, h) {}

        rt::Driver& driver;
        rt::Handle socket;
        rt::AcceptSource source;
    };

    Listener(std::unique_ptr<Core> core, const Address& local) noexcept;

    std::unique_ptr<Core> core_;
    Address local_;
};

/// Pause after accept() ran out of descriptors.
inline constexpr rt::Duration kAcceptRetry = std::chrono::milliseconds(20);

/// Connects. Errors: closed or io_error with errno (refused, unreachable), timeout, the token's.
rt::Task<Result<Stream>> connect(Address peer, rt::StopToken stop = {});

/// A host name or literal address to addresses, in the order to try them. Errors: not_found.
rt::Task<Result<std::vector<Address>>> resolve(std::string host, std::uint16_t port);

/// resolve(), then connect() to each address until one answers; the last error otherwise.
rt::Task<Result<Stream>> connect_host(std::string host, std::uint16_t port,
                                      rt::StopToken stop = {});

} // namespace bloom::net
