#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/base/fd.hpp>
#include <bloom/rt/timer.hpp>
#include <bloom/rt/uring_driver.hpp>

#include "rt/buf_ring.hpp"
#include "rt/op_list.hpp"
#include "rt/sockets.hpp"
#include "rt/uring_setup.hpp"

namespace bloom::rt {
namespace {

// user_data of completions that belong to no Op (those are pointers).
constexpr std::uint64_t kIgnore = 0;
constexpr std::uint64_t kEvent = 1;

// Where an operation is; kept in Op::driver_state.
enum State : std::uint8_t {
    idle,
    in_kernel,
    waiting_sqe,    // the submission queue was full
    waiting_buffer, // no receive buffer was free
    aborted,        // cancelled before the kernel knew it; completes at the next wait()
};

// Bits of Op::driver_word.
constexpr std::uint64_t kCancelAsked = 1; // cancel() was called
constexpr std::uint64_t kAsMultishot = 2; // a receive the kernel was asked to repeat

std::uint64_t clock_ns(clockid_t clock) noexcept {
    timespec t{};
    ::clock_gettime(clock, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(t.tv_nsec);
}

/// The kernel takes 32-bit lengths; callers repeat for the rest.
unsigned clamp_len(std::size_t size) noexcept {
    return static_cast<unsigned>(std::min<std::size_t>(size, std::size_t{1} << 30));
}

class UringDriver final : public Driver {
public:
    UringDriver(const UringOptions& options, BlockingPool& pool)
        : multishot_recv_(options.multishot_recv), pool_(pool) {}

    ~UringDriver() override {
        BLOOM_CHECK(n_in_flight_ == 0);
        ring_.close(); // before the buffers it may still write to
    }

    Result<> setup(const UringOptions& options) {
        BLOOM_TRY(const UringLevel level, ring_.open(options));
        static_cast<void>(level);
        BLOOM_OK(buffers_.setup(ring_.raw, options.n_buffers, options.buffer_bytes));
        buffers_.on_return(&buffer_returned, this);
        low_buffers_ = options.n_buffers / 4;
        event_ = Fd(::eventfd(0, EFD_CLOEXEC));
        if (!event_) return Error::from_errno(errno, "eventfd");
        return {};
    }

    Result<> attach() override { return ring_.enable(); }

    std::uint64_t now_ns() noexcept override { return clock_ns(CLOCK_MONOTONIC); }

    std::int64_t unix_ms() noexcept override {
        return static_cast<std::int64_t>(clock_ns(CLOCK_REALTIME) / 1'000'000);
    }

    void fill_random(MutableByteSpan out) noexcept override {
        while (!out.empty()) {
            const ssize_t n = ::getrandom(out.data(), out.size(), 0);
            BLOOM_CHECK(n > 0 || errno == EINTR);
            if (n > 0) out = out.subspan(static_cast<std::size_t>(n));
        }
    }

    void submit(Op& op) noexcept override {
        BLOOM_CHECK(!op.in_flight);
        op.in_flight = true;
        op.driver_word = 0;
        ++n_in_flight_;
        start(op);
    }

    void cancel(Op& op) noexcept override {
        BLOOM_CHECK(op.in_flight);
        if ((op.driver_word & kCancelAsked) != 0) return;
        op.driver_word |= kCancelAsked;
        switch (op.driver_state) {
        case in_kernel:
            cancel_in_kernel(reinterpret_cast<std::uintptr_t>(&op));
            break;
        case waiting_sqe:
            waiting_sqe_.remove(op);
            abort_later(op);
            break;
        case waiting_buffer:
            waiting_buffer_.remove(op);
            abort_later(op);
            break;
        default: // aborted already
            break;
        }
    }

    Result<Handle> listen(const SockAddr& at, const ListenOptions& options) override {
        BLOOM_TRY(Fd fd, listen_tcp(at, options));
        return static_cast<Handle>(fd.release());
    }

    Result<Handle> open_socket(const SockAddr& peer) override {
        BLOOM_TRY(Fd fd, open_tcp(peer));
        return static_cast<Handle>(fd.release());
    }

    Result<SockAddr> local_address(Handle handle) override {
        return socket_address(static_cast<int>(handle), false);
    }

    Result<SockAddr> peer_address(Handle handle) override {
        return socket_address(static_cast<int>(handle), true);
    }

    void close_now(Handle handle) noexcept override { ::close(static_cast<int>(handle)); }

    Result<Handle> open_signals(const std::vector<int>& signals) override {
        BLOOM_TRY(Fd fd, open_signalfd(signals));
        return static_cast<Handle>(fd.release());
    }

    Result<std::vector<SockAddr>> resolve(const std::string& host) override {
        return resolve_host(host);
    }

    void wait(std::uint64_t until_ns) noexcept override;

    void wake() noexcept override {
        const std::uint64_t one = 1;
        // Can only fail when the counter is full, and then the shard wakes anyway.
        [[maybe_unused]] const ssize_t n = ::write(event_.get(), &one, sizeof one);
    }

    std::size_t n_in_flight() const noexcept override { return n_in_flight_; }

    Result<> start_blocking(BlockingJob& job) override { return pool_.start(job); }

private:
    io_uring_sqe* sqe_or_null() noexcept {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_.raw);
        if (sqe == nullptr) {
            io_uring_submit(&ring_.raw);
            sqe = io_uring_get_sqe(&ring_.raw);
        }
        return sqe;
    }

    void start(Op& op) noexcept {
        io_uring_sqe* sqe = sqe_or_null();
        if (sqe == nullptr) {
            op.driver_state = waiting_sqe;
            waiting_sqe_.push(op);
            return;
        }
        if (op.code == OpCode::recv_multi && multishot_recv_) {
            op.driver_word |= kAsMultishot;
        } else {
            op.driver_word &= ~kAsMultishot;
        }
        prepare(*sqe, op);
        sqe->user_data = reinterpret_cast<std::uintptr_t>(&op);
        op.driver_state = in_kernel;
    }

    void prepare(io_uring_sqe& sqe, const Op& op) const noexcept;
    void prepare_recv(io_uring_sqe& sqe, int fd) const noexcept;

    void cancel_in_kernel(std::uint64_t user_data) noexcept {
        io_uring_sqe* sqe = sqe_or_null();
        if (sqe == nullptr) {
            waiting_cancels_.push_back(user_data);
            return;
        }
        io_uring_prep_cancel64(sqe, user_data, 0);
        sqe->user_data = kIgnore;
    }

    void abort_later(Op& op) noexcept {
        op.driver_state = aborted;
        aborted_.push(op);
    }

    static void buffer_returned(void* context) noexcept {
        auto& self = *static_cast<UringDriver*>(context);
        if (Op* op = self.waiting_buffer_.pop()) self.start(*op);
    }

    void arm_event() noexcept;
    bool flush_waiting() noexcept;
    void enter(std::uint64_t until_ns) noexcept;
    void reap() noexcept;
    void complete(const io_uring_cqe& cqe) noexcept;
    void finish(Op& op, std::int32_t result, bool more, Chunk* chunk) noexcept;
    bool repeat_instead(Op& op, std::int32_t result) noexcept;
    Chunk chunk_of(const io_uring_cqe& cqe) noexcept;

    BufRing buffers_;
    Ring ring_;
    Fd event_;
    std::uint64_t event_value_ = 0;
    bool event_armed_ = false;
    bool multishot_recv_;
    std::size_t low_buffers_ = 0;
    std::size_t n_in_flight_ = 0;
    OpList waiting_sqe_;
    OpList waiting_buffer_;
    OpList aborted_;
    std::vector<std::uint64_t> waiting_cancels_;
    BlockingPool& pool_;
};

void UringDriver::prepare_recv(io_uring_sqe& sqe, int fd) const noexcept {
    if (multishot_recv_) {
        io_uring_prep_recv_multishot(&sqe, fd, nullptr, 0, 0);
    } else {
        io_uring_prep_recv(&sqe, fd, nullptr, 0, 0); // length 0: the whole provided buffer
    }
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = BufRing::kGroup;
}

void UringDriver::prepare(io_uring_sqe& sqe, const Op& op) const noexcept {
    const int fd = static_cast<int>(op.handle);
    // WAITALL: the kernel itself goes on after a short send.
    constexpr int kSendFlags = MSG_NOSIGNAL | MSG_WAITALL;
    switch (op.code) {
    case OpCode::accept_multi:
        io_uring_prep_multishot_accept(&sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
        break;
    case OpCode::recv_multi:
        prepare_recv(sqe, fd);
        break;
    case OpCode::recv:
        io_uring_prep_recv(&sqe, fd, op.data, clamp_len(op.size), 0);
        break;
    case OpCode::send:
        io_uring_prep_send(&sqe, fd, op.data, clamp_len(op.size), kSendFlags);
        break;
    case OpCode::sendmsg:
        io_uring_prep_sendmsg(&sqe, fd, static_cast<const msghdr*>(op.data), kSendFlags);
        break;
    case OpCode::connect: {
        const auto* peer = static_cast<const SockAddr*>(op.data);
        io_uring_prep_connect(&sqe, fd, &peer->raw.base, peer->size());
        break;
    }
    case OpCode::shutdown:
        io_uring_prep_shutdown(&sqe, fd, static_cast<int>(op.flags));
        break;
    case OpCode::close:
        io_uring_prep_close(&sqe, fd);
        break;
    case OpCode::open:
        io_uring_prep_openat(&sqe, AT_FDCWD, static_cast<const char*>(op.data),
                             static_cast<int>(op.flags | O_CLOEXEC),
                             static_cast<mode_t>(op.offset));
        break;
    case OpCode::read:
        io_uring_prep_read(&sqe, fd, op.data, clamp_len(op.size), op.offset);
        break;
    case OpCode::write:
        io_uring_prep_write(&sqe, fd, op.data, clamp_len(op.size), op.offset);
        break;
    case OpCode::fsync:
        io_uring_prep_fsync(&sqe, fd, op.flags != 0 ? IORING_FSYNC_DATASYNC : 0U);
        break;
    case OpCode::poll:
        io_uring_prep_poll_add(&sqe, fd, op.flags);
        break;
    }
}

void UringDriver::arm_event() noexcept {
    if (event_armed_) return;
    io_uring_sqe* sqe = sqe_or_null();
    if (sqe == nullptr) return; // the queue is full, so the coming enter returns soon
    io_uring_prep_read(sqe, event_.get(), &event_value_, sizeof event_value_, 0);
    sqe->user_data = kEvent;
    event_armed_ = true;
}

/// Passes on what had found the submission queue full, and completes what was cancelled before it
/// got there. True when something was completed: then there is no reason to sleep.
bool UringDriver::flush_waiting() noexcept {
    while (!waiting_cancels_.empty()) {
        const std::uint64_t user_data = waiting_cancels_.back();
        waiting_cancels_.pop_back();
        const std::size_t before = waiting_cancels_.size();
        cancel_in_kernel(user_data);
        if (waiting_cancels_.size() > before) break;
    }
    while (Op* op = waiting_sqe_.pop()) {
        start(*op);
        if (op->driver_state == waiting_sqe) break;
    }
    bool completed = false;
    OpList now;
    now.swap(aborted_);
    while (Op* op = now.pop()) {
        finish(*op, -ECANCELED, false, nullptr);
        completed = true;
    }
    return completed;
}

void UringDriver::wait(std::uint64_t until_ns) noexcept {
    if (flush_waiting()) until_ns = 0;
    arm_event();
    enter(until_ns);
    reap();
}

void UringDriver::enter(std::uint64_t until_ns) noexcept {
    int rc = 0;
    if (until_ns == TimerWheel::kNever) {
        rc = io_uring_submit_and_wait(&ring_.raw, 1);
    } else {
        const std::uint64_t now = until_ns == 0 ? 0 : now_ns();
        if (until_ns <= now) {
            rc = io_uring_submit_and_get_events(&ring_.raw);
        } else {
            const std::uint64_t left = until_ns - now;
            __kernel_timespec limit{};
            limit.tv_sec = static_cast<long long>(left / 1'000'000'000U);
            limit.tv_nsec = static_cast<long long>(left % 1'000'000'000U);
            io_uring_cqe* first = nullptr;
            rc = io_uring_submit_and_wait_timeout(&ring_.raw, &first, 1, &limit, nullptr);
        }
    }
    // ETIME: the time is up. EINTR: a signal. EBUSY, EAGAIN, ENOMEM: completions have to be taken
    // first; what was not submitted stays in the queue and goes with the next enter.
    BLOOM_CHECK(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN ||
                rc == -ENOMEM);
}

void UringDriver::reap() noexcept {
    constexpr unsigned kBatch = 128;
    constexpr unsigned kMaxBatches = 32; // then timers and coroutines get their turn
    std::array<io_uring_cqe*, kBatch> cqes;
    for (unsigned i = 0; i < kMaxBatches; ++i) {
        const unsigned n = io_uring_peek_batch_cqe(&ring_.raw, cqes.data(), kBatch);
        for (unsigned k = 0; k < n; ++k)
            complete(*cqes[k]);
        io_uring_cq_advance(&ring_.raw, n);
        if (n < kBatch) return;
    }
}

Chunk UringDriver::chunk_of(const io_uring_cqe& cqe) noexcept {
    if ((cqe.flags & IORING_CQE_F_BUFFER) == 0) return {};
    const auto idx = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    Chunk lent = buffers_.take(idx, cqe.res > 0 ? static_cast<std::uint32_t>(cqe.res) : 0);
    if (lent.empty()) return {}; // gives it back
    if (buffers_.n_free() >= low_buffers_ || lent.size() > HeapChunks::kChunkBytes) return lent;
    // Readers hold most of the buffers: copying keeps the rest of the connections receiving.
    Chunk copy = heap_chunks().allocate();
    std::memcpy(copy.node()->data, lent.bytes().data(), lent.size());
    copy.node()->size = static_cast<std::uint32_t>(lent.size());
    return copy;
}

/// Receives that ended for reasons of the ring, not of the connection, are started again unseen.
bool UringDriver::repeat_instead(Op& op, std::int32_t result) noexcept {
    if (op.code != OpCode::recv_multi || (op.driver_word & kCancelAsked) != 0) return false;
    if (result == -EINVAL && (op.driver_word & kAsMultishot) != 0) {
        multishot_recv_ = false; // a kernel before 6.0: one at a time from now on
        start(op);
        return true;
    }
    if (result != -ENOBUFS) return false;
    if (buffers_.n_free() > 0) {
        start(op);
    } else {
        op.driver_state = waiting_buffer;
        waiting_buffer_.push(op);
    }
    return true;
}

void UringDriver::finish(Op& op, std::int32_t result, bool more, Chunk* chunk) noexcept {
    if (!more) {
        op.in_flight = false;
        op.driver_state = idle;
        --n_in_flight_;
    }
    op.complete(op, Completion{result, more, chunk});
}

void UringDriver::complete(const io_uring_cqe& cqe) noexcept {
    if (cqe.user_data == kIgnore) return;
    if (cqe.user_data == kEvent) {
        event_armed_ = false;
        return;
    }
    Op& op = *reinterpret_cast<Op*>(static_cast<std::uintptr_t>(cqe.user_data));
    const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
    std::int32_t result = cqe.res;
    Chunk chunk = chunk_of(cqe);
    if (!more && result < 0) {
        if (repeat_instead(op, result)) return;
        if (op.code == OpCode::recv_multi && result == -ENOBUFS) result = -ECANCELED;
    }
    finish(op, result, more, chunk.empty() ? nullptr : &chunk);
}

} // namespace

Result<std::unique_ptr<Driver>> make_uring_driver(const UringOptions& options, BlockingPool& pool) {
    auto driver = std::make_unique<UringDriver>(options, pool);
    BLOOM_OK(driver->setup(options));
    return driver;
}

} // namespace bloom::rt
