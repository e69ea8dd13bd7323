#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <sys/uio.h>
#include <utility>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/rt/chunk.hpp>
#include <bloom/rt/driver.hpp>
#include <bloom/rt/ready.hpp>
#include <bloom/rt/stop.hpp>

namespace bloom::rt {

/// The Error of a failed operation: the token's when it was stopped; Code::closed when the peer is
/// gone (ECONNRESET, EPIPE, ...), Code::timeout, not_found, ... where errno says so, else
/// Code::io_error.
Error io_error(int sys_errno, std::string_view what, const StopToken& stop);

/// Base of the operations that end once. Awaiting submits; a stop cancels and still waits for the
/// final completion. No allocation: the completion record is the awaitable. Movable until awaited.
class IoAwaiter : protected Op, protected StopNode {
public:
    IoAwaiter(IoAwaiter&& other) noexcept
        : Op(other), StopNode(&stopped), driver_(other.driver_), stop_(other.stop_) {}

    bool await_ready() noexcept {
        if (!stop_.stop_requested()) return false;
        result_ = -ECANCELED;
        return true;
    }

    void await_suspend(std::coroutine_handle<> self) noexcept {
        ready_.handle = self;
        driver_->submit(*this);
        stop_.link(*this);
    }

protected:
    IoAwaiter(OpCode op_code, Handle on, StopToken stop, Complete done = &completed) noexcept;

    static void completed(Op& op, const Completion& completion) noexcept {
        static_cast<IoAwaiter&>(op).finish(completion.result);
    }

    void finish(std::int32_t result) noexcept {
        result_ = result;
        unlink();
        ReadyQueue::current().push(ready_);
    }

    Error failure(std::string_view what) const { return io_error(-result_, what, stop_); }

    Driver* driver_;
    StopToken stop_;
    std::int32_t result_ = 0;

private:
    static void stopped(StopNode& node) noexcept {
        auto& self = static_cast<IoAwaiter&>(node);
        self.driver_->cancel(self);
    }

    ReadyItem ready_;
};

/// Bytes transferred; 0 at the end of stream or file.
class [[nodiscard]] TransferAwaiter final : public IoAwaiter {
public:
    TransferAwaiter(OpCode op_code, Handle on, MutableByteSpan buffer, std::uint64_t at,
                    StopToken stop) noexcept
        : IoAwaiter(op_code, on, stop) {
        data = buffer.data();
        size = buffer.size();
        offset = at;
    }

    Result<std::size_t> await_resume() const {
        if (result_ < 0) return failure(code == OpCode::recv ? "recv" : "read");
        return static_cast<std::size_t>(result_);
    }
};

/// Success or an error: connect, shutdown, close, fsync.
class [[nodiscard]] StatusAwaiter final : public IoAwaiter {
public:
    StatusAwaiter(OpCode op_code, Handle on, std::uint32_t op_flags, StopToken stop) noexcept
        : IoAwaiter(op_code, on, stop) {
        flags = op_flags;
    }

    StatusAwaiter& with_address(const SockAddr& address) noexcept {
        data = const_cast<SockAddr*>(&address);
        return *this;
    }

    Result<> await_resume() const;
};

/// Sends or writes all of a buffer, as often as it takes.
class [[nodiscard]] WriteAllAwaiter final : public IoAwaiter {
public:
    WriteAllAwaiter(OpCode op_code, Handle on, ByteSpan bytes, std::uint64_t at,
                    StopToken stop) noexcept
        : IoAwaiter(op_code, on, stop, &completed_part) {
        data = const_cast<std::uint8_t*>(bytes.data());
        size = bytes.size();
        offset = at;
    }

    bool await_ready() noexcept { return size == 0 || IoAwaiter::await_ready(); }

    Result<> await_resume() const {
        if (result_ < 0) return failure(code == OpCode::send ? "send" : "write");
        return {};
    }

private:
    static void completed_part(Op& op, const Completion& completion) noexcept;
};

/// Sends all of several buffers in order (the iovec array is used up).
class [[nodiscard]] SendVecAwaiter final : public IoAwaiter {
public:
    SendVecAwaiter(Handle on, std::span<iovec> parts, StopToken stop) noexcept
        : IoAwaiter(OpCode::sendmsg, on, stop, &completed_part), message_{} {
        message_.msg_iov = parts.data();
        message_.msg_iovlen = parts.size();
        skip(0);
    }

    SendVecAwaiter(SendVecAwaiter&& other) noexcept
        : IoAwaiter(std::move(other)), message_(other.message_) {}

    bool await_ready() noexcept { return message_.msg_iovlen == 0 || IoAwaiter::await_ready(); }

    void await_suspend(std::coroutine_handle<> self) noexcept {
        data = &message_;
        IoAwaiter::await_suspend(self);
    }

    Result<> await_resume() const {
        if (result_ < 0) return failure("send");
        return {};
    }

private:
    static void completed_part(Op& op, const Completion& completion) noexcept;
    /// Drops `n` sent bytes and empty parts from the front.
    void skip(std::size_t n) noexcept;

    msghdr message_;
};

class [[nodiscard]] OpenAwaiter final : public IoAwaiter {
public:
    OpenAwaiter(const char* path, int open_flags, unsigned mode, StopToken stop) noexcept
        : IoAwaiter(OpCode::open, Handle::none, stop) {
        data = const_cast<char*>(path);
        flags = static_cast<std::uint32_t>(open_flags);
        offset = mode;
    }

    Result<Handle> await_resume() const;
};

class [[nodiscard]] PollAwaiter final : public IoAwaiter {
public:
    PollAwaiter(Handle on, short mask, StopToken stop) noexcept
        : IoAwaiter(OpCode::poll, on, stop) {
        flags = static_cast<std::uint16_t>(mask);
    }

    Result<short> await_resume() const {
        if (result_ < 0) return failure("poll");
        return static_cast<short>(result_);
    }
};

// --- sockets
// ------------------------------------------------------------------------------------------------
inline TransferAwaiter recv_some(Handle socket, MutableByteSpan into,
                                 StopToken stop = {}) noexcept {
    return {OpCode::recv, socket, into, 0, stop};
}

inline WriteAllAwaiter send_all(Handle socket, ByteSpan bytes, StopToken stop = {}) noexcept {
    return {OpCode::send, socket, bytes, 0, stop};
}

inline SendVecAwaiter send_all(Handle socket, std::span<iovec> parts,
                               StopToken stop = {}) noexcept {
    return {socket, parts, stop};
}

/// `peer` must outlive the co_await.
inline StatusAwaiter connect(Handle socket, const SockAddr& peer, StopToken stop = {}) noexcept {
    return std::move(StatusAwaiter(OpCode::connect, socket, 0, stop).with_address(peer));
}

inline StatusAwaiter shutdown(Handle socket, int how) noexcept {
    return {OpCode::shutdown, socket, static_cast<std::uint32_t>(how), {}};
}

/// Nothing may be in flight on it.
inline StatusAwaiter close(Handle handle) noexcept {
    return {OpCode::close, handle, 0, {}};
}

/// Readiness of a descriptor that somebody else reads and writes (libpq): POLLIN, POLLOUT.
inline PollAwaiter poll_fd(int fd, short mask, StopToken stop = {}) noexcept {
    return {static_cast<Handle>(fd), mask, stop};
}

// --- files
// --------------------------------------------------------------------------------------------------
/// `path` must outlive the co_await. Flags and mode as open(2); O_CLOEXEC is added.
inline OpenAwaiter open_file(const std::string& path, int flags, unsigned mode = 0600,
                             StopToken stop = {}) noexcept {
    return {path.c_str(), flags, mode, stop};
}

inline TransferAwaiter read_at(Handle file, MutableByteSpan into, std::uint64_t offset,
                               StopToken stop = {}) noexcept {
    return {OpCode::read, file, into, offset, stop};
}

inline WriteAllAwaiter write_all_at(Handle file, ByteSpan bytes, std::uint64_t offset,
                                    StopToken stop = {}) noexcept {
    return {OpCode::write, file, bytes, offset, stop};
}

inline StatusAwaiter fsync(Handle file, bool data_only = false) noexcept {
    return {OpCode::fsync, file, data_only ? 1U : 0U, {}};
}

// --- what repeats
// -------------------------------------------------------------------------------------------
/// Base of operations that stay armed in the kernel and complete many times.
class RepeatingOp : protected Op {
public:
    RepeatingOp(const RepeatingOp&) = delete;
    RepeatingOp& operator=(const RepeatingOp&) = delete;

    ~RepeatingOp() { BLOOM_CHECK(waiter_ == nullptr); }

    class [[nodiscard]] StopAwaiter {
    public:
        explicit StopAwaiter(RepeatingOp& op) noexcept : op_(op) {}

        bool await_ready() const noexcept { return !op_.in_flight; }

        void await_suspend(std::coroutine_handle<> self) noexcept {
            BLOOM_CHECK(op_.stopper_ == nullptr);
            item_.handle = self;
            op_.stopper_ = &item_;
            op_.driver_->cancel(op_);
        }

        void await_resume() const noexcept {}

    private:
        RepeatingOp& op_;
        ReadyItem item_;
    };

    /// Whether it is in flight: then it cannot go without stop().
    bool armed() const noexcept { return in_flight; }

    /// Ends it for good: cancels and waits for the final completion. Nobody may be waiting for a
    /// result.
    StopAwaiter stop() noexcept {
        BLOOM_CHECK(waiter_ == nullptr);
        closing_ = true;
        return StopAwaiter(*this);
    }

protected:
    /// One coroutine waiting for the next result, or stopped.
    class Waiter : protected StopNode {
    public:
        Waiter(RepeatingOp& op, StopToken stop) noexcept
            : StopNode(&stopped), op_(op), stop_(stop) {}

        Waiter(Waiter&& other) noexcept : Waiter(other.op_, other.stop_) {}

        void await_suspend(std::coroutine_handle<> self) noexcept {
            BLOOM_CHECK(op_.waiter_ == nullptr); // one reader at a time
            ready_.handle = self;
            op_.waiter_ = this;
            stop_.link(*this);
            op_.arm();
        }

    protected:
        friend class RepeatingOp;

        static void stopped(StopNode& node) noexcept {
            auto& self = static_cast<Waiter&>(node);
            self.op_.waiter_ = nullptr;
            self.was_stopped_ = true;
            ReadyQueue::current().push(self.ready_);
        }

        RepeatingOp& op_;
        StopToken stop_;
        ReadyItem ready_;
        bool was_stopped_ = false;
    };

    RepeatingOp(Driver& driver, OpCode op_code, Handle on, Complete done) noexcept
        : Op(op_code, on, done), driver_(&driver) {}

    void arm() noexcept {
        if (in_flight || closing_) return;
        pausing_ = false;
        driver_->submit(*this);
    }

    void pause() noexcept {
        if (!in_flight || pausing_) return;
        pausing_ = true;
        driver_->cancel(*this);
    }

    void wake_waiter() noexcept {
        if (waiter_ == nullptr) return;
        waiter_->unlink();
        ReadyQueue::current().push(waiter_->ready_);
        waiter_ = nullptr;
    }

    void wake_stopper() noexcept {
        if (stopper_ != nullptr) ReadyQueue::current().push(*std::exchange(stopper_, nullptr));
    }

    Driver* driver_;
    Waiter* waiter_ = nullptr;
    ReadyItem* stopper_ = nullptr;
    bool closing_ = false;
    bool pausing_ = false;
};

/// Everything a socket receives, by one multishot operation that stays armed, into the driver's
/// buffers. When the reader falls kMaxQueuedChunks behind, receiving pauses and the peer is slowed
/// by TCP. Lifetime: `co_await stop()` before it goes. One reader at a time. Thread: the shard's.
class RecvSource final : public RepeatingOp {
public:
    static constexpr std::size_t kMaxQueuedChunks = 8;

    RecvSource(Driver& driver, Handle socket) noexcept
        : RepeatingOp(driver, OpCode::recv_multi, socket, &completed) {}

    ~RecvSource() = default;

    class [[nodiscard]] Awaiter final : private Waiter {
    public:
        Awaiter(RecvSource& source, StopToken stop) noexcept : Waiter(source, stop) {}

        bool await_ready() noexcept {
            was_stopped_ = stop_.stop_requested();
            return was_stopped_ || source().has_result();
        }

        using Waiter::await_suspend;

        /// The next bytes; an empty chunk at the end of the stream (again and again). Errors:
        /// closed when the peer reset the connection; the token's when stopped: nothing is lost
        /// then.
        Result<Chunk> await_resume() {
            if (was_stopped_) return stop_.error();
            return source().take();
        }

    private:
        RecvSource& source() const noexcept { return static_cast<RecvSource&>(op_); }
    };

    Awaiter recv(StopToken stop = {}) noexcept { return {*this, stop}; }

    /// Asks `source` to stop (reason client_gone) when the peer resets, or ends its side if
    /// `on_end`, even while nobody reads. Null switches it off.
    void notify_gone(StopSource* source, bool on_end) noexcept;

    /// The peer has ended its side, or the connection failed.
    bool ended() const noexcept { return ended_; }

private:
    static void completed(Op& op, const Completion& completion) noexcept;
    Result<Chunk> take();

    bool has_result() const noexcept { return !queue_.empty() || ended_; }

    ChunkQueue queue_;
    StopSource* gone_ = nullptr;
    bool gone_on_end_ = false;
    bool ended_ = false;
    int errno_ = 0;
};

/// Connections a listening socket accepts, by one multishot operation.
/// Lifetime: `co_await stop()` before it goes; closes what nobody took. One acceptor at a time.
class AcceptSource final : public RepeatingOp {
public:
    static constexpr std::size_t kMaxQueued = 64;

    AcceptSource(Driver& driver, Handle listener) noexcept
        : RepeatingOp(driver, OpCode::accept_multi, listener, &completed) {}

    ~AcceptSource();

    class [[nodiscard]] Awaiter final : private Waiter {
    public:
        Awaiter(AcceptSource& source, StopToken stop) noexcept : Waiter(source, stop) {}

        bool await_ready() noexcept {
            was_stopped_ = stop_.stop_requested();
            return was_stopped_ || source().has_result();
        }

        using Waiter::await_suspend;

        /// A new connection. Errors: limit_reached when descriptors or memory ran out (wait a
        /// little and accept again); the token's when stopped.
        Result<Handle> await_resume() {
            if (was_stopped_) return stop_.error();
            return source().take();
        }

    private:
        AcceptSource& source() const noexcept { return static_cast<AcceptSource&>(op_); }
    };

    Awaiter accept(StopToken stop = {}) noexcept { return {*this, stop}; }

private:
    static void completed(Op& op, const Completion& completion) noexcept;
    Result<Handle> take();

    bool has_result() const noexcept { return !queue_.empty() || errno_ != 0; }

    std::deque<Handle> queue_;
    int errno_ = 0;
};

} // namespace bloom::rt
