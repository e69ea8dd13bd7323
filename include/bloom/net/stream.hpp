#pragma once

#include <coroutine>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/net/address.hpp>
#include <bloom/rt/chunk.hpp>
#include <bloom/rt/ops.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::net {

/// A layer between the socket and its user, such as TLS.
class StreamLayer {
public:
    virtual ~StreamLayer() = default;
    virtual rt::Task<Result<rt::Chunk>> recv(rt::StopToken stop) = 0;
    virtual rt::Task<Result<>> send_all(std::span<const iovec> parts, rt::StopToken stop) = 0;
    /// Says goodbye in the layer's own terms (close_notify), before the socket's sending side is
    /// shut.
    virtual rt::Task<Result<>> finish(rt::StopToken stop) = 0;
    /// The agreed application protocol, empty without one.
    virtual std::string_view alpn() const noexcept = 0;
};

/// A connected byte stream, TCP or TLS alike. One coroutine may receive while another sends; not
/// two of one kind. Move-only; `co_await close()` ends it. Dropping one on which something is in
/// flight aborts. Thread: the shard that made it. Cost: one allocation per connection; none per
/// operation on plain TCP.
class Stream {
public:
    Stream() noexcept = default;
    /// Takes over a connected socket of the current shard's driver.
    explicit Stream(rt::Handle socket);
    Stream(Stream&&) noexcept = default;
    Stream& operator=(Stream&& other) noexcept;
    ~Stream();

    explicit operator bool() const noexcept { return core_ != nullptr; }

    class [[nodiscard]] RecvAwaiter;
    class [[nodiscard]] SendAwaiter;

    /// The next bytes as they arrive; an empty chunk at the peer's orderly end. Errors: closed
    /// (reset), truncated (TLS ended without close_notify), protocol_error (TLS), the token's;
    /// after a stop nothing is lost and recv() may be called again.
    RecvAwaiter recv(rt::StopToken stop = {});
    /// Gives bytes back that were received and not used; the next recv() returns them. One chunk at
    /// most.
    void unread(rt::Chunk chunk) noexcept;
    /// Sends everything, or fails. After an error or a stop part may have been sent: only close()
    /// is left. The memory must stay until the co_await returns. Errors: closed, timeout, the
    /// token's.
    SendAwaiter send_all(ByteSpan bytes, rt::StopToken stop = {});
    /// Several parts in order, in one system call where possible. Uses up the array (not the
    /// bytes).
    SendAwaiter send_all(std::span<iovec> parts, rt::StopToken stop = {});
    /// Ends the sending side (TLS close_notify, then FIN); receiving goes on.
    rt::Task<Result<>> shutdown_send(rt::StopToken stop = {});
    /// Cancels and awaits what is armed, then closes. Nobody may be waiting in recv() or
    /// send_all().
    rt::Task<void> close();

    /// Asks `source` to stop with reason client_gone when the peer resets the connection or, if
    /// `on_end`, ends its side, even while nobody receives. Null switches it off; do so before the
    /// source goes.
    void notify_gone(rt::StopSource* source, bool on_end) noexcept;

    Address peer() const;
    Address local() const;
    bool is_tls() const noexcept;
    std::string_view alpn() const noexcept;

    // --- for layers
    // ---------------------------------------------------------------------------------
    rt::RecvSource& raw_source() noexcept;
    rt::Handle raw_handle() const noexcept;
    void set_layer(std::unique_ptr<StreamLayer> layer) noexcept;

private:
    struct Core {
        Core(rt::Driver& d, rt::Handle h) noexcept : driver(d), socket(h), source(d, h) {}

        rt::Driver& driver;
        rt::Handle socket;
        rt::RecvSource source;
        std::unique_ptr<StreamLayer> layer;
        rt::Chunk unread;
    };

    std::unique_ptr<Core> core_;
};

class Stream::RecvAwaiter {
public:
    explicit RecvAwaiter(rt::RecvSource::Awaiter&& plain) noexcept : way_(std::move(plain)) {}

    explicit RecvAwaiter(rt::Task<Result<rt::Chunk>>::Awaiter&& layered) noexcept
        : way_(std::move(layered)) {}

    explicit RecvAwaiter(rt::Chunk&& ready) noexcept : way_(std::move(ready)) {}

    bool await_ready() noexcept {
        if (auto* plain = std::get_if<rt::RecvSource::Awaiter>(&way_)) return plain->await_ready();
        return std::holds_alternative<rt::Chunk>(way_);
    }

    std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) noexcept {
        if (auto* plain = std::get_if<rt::RecvSource::Awaiter>(&way_)) {
            plain->await_suspend(self);
            return std::noop_coroutine();
        }
        return std::get<1>(way_).await_suspend(self);
    }

    Result<rt::Chunk> await_resume() {
        if (auto* plain = std::get_if<rt::RecvSource::Awaiter>(&way_)) return plain->await_resume();
        if (auto* ready = std::get_if<rt::Chunk>(&way_)) return std::move(*ready);
        return std::get<1>(way_).await_resume();
    }

private:
    std::variant<rt::RecvSource::Awaiter, rt::Task<Result<rt::Chunk>>::Awaiter, rt::Chunk> way_;
};

class Stream::SendAwaiter {
public:
    explicit SendAwaiter(rt::WriteAllAwaiter&& one) noexcept : way_(std::move(one)) {}

    explicit SendAwaiter(rt::SendVecAwaiter&& many) noexcept : way_(std::move(many)) {}

    explicit SendAwaiter(rt::Task<Result<>>::Awaiter&& layered) noexcept
        : way_(std::move(layered)) {}

    bool await_ready() noexcept {
        if (auto* one = std::get_if<0>(&way_)) return one->await_ready();
        if (auto* many = std::get_if<1>(&way_)) return many->await_ready();
        return false;
    }

    std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) noexcept {
        if (auto* one = std::get_if<0>(&way_)) {
            one->await_suspend(self);
            return std::noop_coroutine();
        }
        if (auto* many = std::get_if<1>(&way_)) {
            many->await_suspend(self);
            return std::noop_coroutine();
        }
        return std::get<2>(way_).await_suspend(self);
    }

    Result<> await_resume() {
        if (auto* one = std::get_if<0>(&way_)) return one->await_resume();
        if (auto* many = std::get_if<1>(&way_)) return many->await_resume();
        return std::get<2>(way_).await_resume();
    }

private:
    std::variant<rt::WriteAllAwaiter, rt::SendVecAwaiter, rt::Task<Result<>>::Awaiter> way_;
};

} // namespace bloom::net
