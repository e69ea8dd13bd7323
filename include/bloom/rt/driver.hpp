#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/check.hpp>
#include <bloom/base/result.hpp>
#include <bloom/rt/chunk.hpp>

namespace bloom::rt {

/// What a driver calls an open thing: a descriptor on the ring, a number of its own in simulation.
enum class Handle : std::int32_t { none = -1 };

/// An IPv4 or IPv6 socket address as the kernel takes it. net/address.hpp parses and prints it.
struct SockAddr {
    SockAddr() noexcept : raw{} {}

    union {
        sockaddr base;
        sockaddr_in v4;
        sockaddr_in6 v6;
    } raw;

    bool is_v6() const noexcept { return raw.base.sa_family == AF_INET6; }

    std::uint16_t port() const noexcept {
        return ntohs(is_v6() ? raw.v6.sin6_port : raw.v4.sin_port);
    }

    void set_port(std::uint16_t port) noexcept {
        (is_v6() ? raw.v6.sin6_port : raw.v4.sin_port) = htons(port);
    }

    socklen_t size() const noexcept { return is_v6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }
};

enum class OpCode : std::uint8_t {
    accept_multi, ///< result: the new connection's Handle; repeats
    recv_multi,   ///< result: bytes, 0 at the end; `chunk` holds them; repeats
    recv,         ///< data, size; result: bytes, 0 at the end
    send,         ///< data, size; result: bytes, may be fewer
    sendmsg,      ///< data is a msghdr; result: bytes, may be fewer
    connect,      ///< data is a SockAddr
    shutdown,     ///< flags is SHUT_RD, SHUT_WR or SHUT_RDWR
    close,
    open,  ///< data is a path, flags as open(2), offset the mode; result: a Handle
    read,  ///< data, size, offset; result: bytes, 0 at the end
    write, ///< data, size, offset; result: bytes, may be fewer
    fsync, ///< flags 1: data only
    poll,  ///< flags is a poll(2) mask; result: the mask that is ready
};

/// What the driver reports about an operation.
struct Completion {
    std::int32_t result = 0; ///< as the system call: >= 0, or a negative errno
    bool more = false;       ///< another completion of the same operation will follow
    Chunk* chunk = nullptr;  ///< recv_multi: take it by moving
};

/// One operation under way. Embedded in the awaitable that waits for it; the driver keeps a
/// pointer. Lifetime: from submit() to the completion without `more` it may neither move nor go,
/// nor may the memory it points at; cancel() asks for an early end and changes nothing about that
/// rule. The destructor checks.
struct Op {
    using Complete = void (*)(Op&, const Completion&) noexcept;

    Op() = default;

    Op(OpCode c, Handle h, Complete f) noexcept : complete(f), handle(h), code(c) {}

    Op(const Op& other) noexcept
        : complete(other.complete), data(other.data), size(other.size), offset(other.offset),
          handle(other.handle), flags(other.flags), code(other.code) {
        BLOOM_CHECK(!other.in_flight);
    }

    Op& operator=(const Op&) = delete;

    ~Op() { BLOOM_CHECK(!in_flight); }

    Complete complete = nullptr;
    void* data = nullptr;
    std::size_t size = 0;
    std::uint64_t offset = 0;
    Handle handle = Handle::none;
    std::uint32_t flags = 0;
    OpCode code = OpCode::recv;
    bool in_flight = false; ///< kept by the driver

    // The driver's own: list membership and whatever it needs to find the operation again.
    std::uint8_t driver_state = 0;
    Op* driver_prev = nullptr;
    Op* driver_next = nullptr;
    std::uint64_t driver_word = 0;
};

/// Something posted to a shard from any thread. Intrusive: owned by the poster, which keeps it
/// alive until run() was called on the shard's thread; run() may destroy it.
struct PostItem {
    using Run = void (*)(PostItem&) noexcept;

    explicit PostItem(Run r) noexcept : run(r) {}

    PostItem* next = nullptr;
    Run run;
};

/// Work that blocks, for the pool's threads. `work` runs there, then `home` is posted to `shard`.
struct BlockingJob {
    using Work = void (*)(BlockingJob&) noexcept;

    BlockingJob(Work w, PostItem::Run done) noexcept : work(w), home(done) {}

    Work work;
    class Shard* shard = nullptr;
    PostItem home;
    BlockingJob* next = nullptr;
};

struct ListenOptions {
    int backlog = 1024;
    bool reuse_port = true; ///< several shards listen on one port
};

/// The completion seam: everything that comes from outside a shard, once for real (UringDriver) and
/// once simulated (SimDriver), so that the same code above runs on both. One driver per shard.
/// Thread: the shard's, except wake().
class Driver {
public:
    Driver() = default;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;
    virtual ~Driver() = default;

    // --- clock and chance
    // ---------------------------------------------------------------------------
    /// Monotonic nanoseconds.
    virtual std::uint64_t now_ns() noexcept = 0;
    /// Wall clock, milliseconds since 1970 UTC.
    virtual std::int64_t unix_ms() noexcept = 0;
    /// Unpredictable bytes; seeded ones in simulation.
    virtual void fill_random(MutableByteSpan out) noexcept = 0;

    // --- operations
    // ---------------------------------------------------------------------------------
    /// Starts an operation. Completions arrive from wait(), never from inside submit().
    virtual void submit(Op& op) noexcept = 0;
    /// Asks an operation in flight to end early; its last completion still arrives, with -ECANCELED
    /// or with whatever happened first.
    virtual void cancel(Op& op) noexcept = 0;

    // --- sockets, set up without waiting
    // ------------------------------------------------------------
    virtual Result<Handle> listen(const SockAddr& at, const ListenOptions& options) = 0;
    /// A socket for connect().
    virtual Result<Handle> open_socket(const SockAddr& peer) = 0;
    virtual Result<SockAddr> local_address(Handle handle) = 0;
    virtual Result<SockAddr> peer_address(Handle handle) = 0;
    /// Closes at once; nothing may be in flight on it. For error paths and destructors; otherwise
    /// OpCode::close.
    virtual void close_now(Handle handle) noexcept = 0;
    /// A readable handle that yields signalfd_siginfo records for the signals (signo, ...).
    virtual Result<Handle> open_signals(const std::vector<int>& signals) = 0;
    /// Names to addresses (port 0). Blocks: call it inside run_blocking.
    virtual Result<std::vector<SockAddr>> resolve(const std::string& host) = 0;

    // --- the loop
    // -----------------------------------------------------------------------------------
    /// Makes the calling thread the driver's own. Once, before anything is submitted.
    virtual Result<> attach() = 0;
    /// Hands over what was submitted, waits for completions until `until_ns` (0: do not wait;
    /// TimerWheel::kNever: no limit) or wake(), and runs them.
    virtual void wait(std::uint64_t until_ns) noexcept = 0;
    /// Ends a wait() early, or the next one. Thread: any.
    virtual void wake() noexcept = 0;
    /// Operations in flight.
    virtual std::size_t n_in_flight() const noexcept = 0;

    // --- work elsewhere
    // -----------------------------------------------------------------------------
    /// Queues a job. Errors: busy when the pool's queue is full.
    virtual Result<> start_blocking(BlockingJob& job) = 0;

    virtual bool simulated() const noexcept { return false; }

    /// Plain-memory chunks of this shard.
    HeapChunks& heap_chunks() noexcept { return heap_chunks_; }

private:
    HeapChunks heap_chunks_;
};

} // namespace bloom::rt
