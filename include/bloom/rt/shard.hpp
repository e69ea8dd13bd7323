#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/rt/driver.hpp>
#include <bloom/rt/mailbox.hpp>
#include <bloom/rt/ready.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>
#include <bloom/rt/timer.hpp>

namespace bloom::rt {

struct ShardOptions {
    std::size_t idx = 0;
    /// One resumption longer than this counts as a stall; 0 switches the measuring off.
    std::uint64_t stall_ns = 100'000;
};

/// Counters of a shard, written by its thread, readable from any (relaxed).
struct ShardStats {
    std::atomic<std::uint64_t> n_turns{0};
    std::atomic<std::uint64_t> n_resumed{0};
    std::atomic<std::uint64_t> n_posted{0};
    std::atomic<std::uint64_t> n_stalls{0};
    std::atomic<std::uint64_t> stall_ns_max{0};
};

/// Shards that run beside each other: one whose main has ended goes on serving posts until all
/// have.
struct ShardGroup {
    std::atomic<std::size_t> n_running{0};
    std::vector<class Shard*> shards;
};

/// One thread's loop: driver, timers, ready coroutines, mailbox. Everything made on a shard stays
/// there; the only calls allowed from other threads are post() and post_fn().
class Shard {
public:
    Shard(std::unique_ptr<Driver> driver, ShardOptions options);
    Shard(const Shard&) = delete;
    Shard& operator=(const Shard&) = delete;
    ~Shard();

    /// The shard this thread is running. Aborts outside of one.
    static Shard& current() noexcept;
    static Shard* current_or_null() noexcept;

    /// Resumptions between two looks at the driver.
    static constexpr std::size_t kReadyBudget = 512;

    // --- any thread
    // ---------------------------------------------------------------------------------
    /// Runs `item.run` on the shard's thread, in the order of one poster. Costs one eventfd write
    /// when the mailbox was empty. The shard must still be running.
    void post(PostItem& item) noexcept;
    /// The same with a function (one allocation).
    void post_fn(std::move_only_function<void()> f);

    const ShardStats& stats() const noexcept { return stats_; }

    std::size_t idx() const noexcept { return options_.idx; }

    // --- shard thread
    // -------------------------------------------------------------------------------
    Driver& driver() noexcept { return *driver_; }

    TimerWheel& timers() noexcept { return timers_; }

    ReadyQueue& ready() noexcept { return ready_; }

    /// Tasks that live as long as the shard; stopped (reason shutdown) and joined when run() ends.
    Scope& root() noexcept { return root_; }

    /// Monotonic time as of this turn of the loop: cheap, and the same for everything in one turn.
    std::uint64_t now_ns() const noexcept { return now_ns_; }

    std::int64_t unix_ms() noexcept { return driver_->unix_ms(); }

    /// Runs `main`, then stops and joins root(), and returns when every shard of the group got that
    /// far. Makes the calling thread the shard's. Errors: the driver's attach().
    Result<> run(Task<void> main, ShardGroup* group = nullptr);

    // --- for drivers that call the shard (simulation)
    // -----------------------------------------------
    void start(Task<void> main);
    /// One pass over mailbox, timers and ready coroutines. True when there is more to do at once.
    bool turn();

    bool finished() const noexcept { return finished_; }

    /// When turn() has to be called again for a timer.
    std::uint64_t next_timer_ns() const noexcept { return timers_.next_ns(); }

    bool has_ready() const noexcept { return !ready_.empty() || !mailbox_.empty(); }

    /// Makes this shard current for the calling thread, for as long as the guard lives.
    class Current {
    public:
        explicit Current(Shard& shard) noexcept;
        ~Current();
        Current(const Current&) = delete;
        Current& operator=(const Current&) = delete;

    private:
        Shard* before_;
        ReadyQueue* before_queue_;
    };

private:
    Task<void> run_main(Task<void> main);
    void run_ready();
    void serve_until_end(ShardGroup* group);

    // immutable
    ShardOptions options_;
    std::unique_ptr<Driver> driver_;

    // shard thread
    std::uint64_t now_ns_;
    ReadyQueue ready_;
    TimerWheel timers_;
    Scope root_;
    Scope main_;
    bool finished_ = false;

    // other threads
    Mailbox mailbox_;
    ShardStats stats_;
};

/// Waits for a time of the shard's clock. `co_await sleep_until(...)` returns the token's error
/// when stopped.
class [[nodiscard]] SleepAwaiter : private Timer, private StopNode {
public:
    SleepAwaiter(std::uint64_t at_ns, StopToken stop) noexcept
        : Timer(&fired), StopNode(&stopped), stop_(stop), at_ns_(at_ns) {}

    SleepAwaiter(SleepAwaiter&& other) noexcept : SleepAwaiter(other.at_ns_, other.stop_) {}

    bool await_ready() const noexcept { return stop_.stop_requested(); }

    void await_suspend(std::coroutine_handle<> self) noexcept;
    Result<> await_resume();

private:
    static void fired(Timer& timer) noexcept;
    static void stopped(StopNode& node) noexcept;

    StopToken stop_;
    std::uint64_t at_ns_;
    ReadyItem ready_;
    bool fired_ = false;
};

inline SleepAwaiter sleep_until(std::uint64_t at_ns, StopToken stop = {}) noexcept {
    return {at_ns, stop};
}

inline SleepAwaiter sleep_for(Duration duration, StopToken stop = {}) noexcept {
    const auto ns = duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) : 0;
    return {Shard::current().now_ns() + ns, stop};
}

namespace detail {

template <class R>
struct FlatResult {
    using type = Result<R>;
};

template <class R>
struct FlatResult<Result<R>> {
    using type = Result<R>;
};

/// Error of a function that threw on a pool's thread.
Error error_of_exception() noexcept;

/// Calls f and turns what it returns or throws into a Result.
template <class F, class Out = typename FlatResult<std::invoke_result_t<F&>>::type>
Out call_as_result(F& f) noexcept {
    try {
        if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
            f();
            return {};
        } else {
            return f();
        }
    } catch (...) {
        return error_of_exception();
    }
}

template <class F>
class [[nodiscard]] BlockingAwaiter : private BlockingJob {
public:
    using Value = typename FlatResult<std::invoke_result_t<F&>>::type;

    explicit BlockingAwaiter(F f) : BlockingJob(&work_here, &come_home), f_(std::move(f)) {}

    BlockingAwaiter(BlockingAwaiter&& other) noexcept : BlockingAwaiter(std::move(other.f_)) {}

    bool await_ready() const noexcept { return false; }

    bool await_suspend(std::coroutine_handle<> self) {
        ready_.handle = self;
        shard = &Shard::current();
        Result<> started = shard->driver().start_blocking(*this);
        if (started) return true;
        value_ = Value(std::unexpect, std::move(started).error());
        return false;
    }

    Value await_resume() { return std::move(*value_); }

private:
    static void work_here(BlockingJob& job) noexcept {
        auto& self = static_cast<BlockingAwaiter&>(job);
        self.value_.emplace(call_as_result(self.f_));
    }

    static void come_home(PostItem& item) noexcept {
        // The item is a member of the job, which is a base of this awaiter.
        auto* job = reinterpret_cast<BlockingJob*>(reinterpret_cast<char*>(&item) -
                                                   offsetof(BlockingJob, home));
        ReadyQueue::current().push(static_cast<BlockingAwaiter*>(job)->ready_);
    }

    F f_;
    std::optional<Value> value_;
    ReadyItem ready_;
};

template <class F>
class [[nodiscard]] OnShardAwaiter : private PostItem {
public:
    using Value = typename FlatResult<std::invoke_result_t<F&>>::type;

    OnShardAwaiter(Shard& target, F f) : PostItem(&arrived), target_(target), f_(std::move(f)) {}

    OnShardAwaiter(OnShardAwaiter&& other) noexcept
        : OnShardAwaiter(other.target_, std::move(other.f_)) {}

    bool await_ready() const noexcept { return false; }

    void await_suspend(std::coroutine_handle<> self) noexcept {
        ready_.handle = self;
        home_ = &Shard::current();
        target_.post(*this);
    }

    Value await_resume() { return std::move(*value_); }

private:
    static void arrived(PostItem& item) noexcept {
        auto& self = static_cast<OnShardAwaiter&>(item);
        self.value_.emplace(call_as_result(self.f_));
        self.run = &back;
        self.home_->post(self);
    }

    static void back(PostItem& item) noexcept {
        ReadyQueue::current().push(static_cast<OnShardAwaiter&>(item).ready_);
    }

    Shard& target_;
    Shard* home_ = nullptr;
    F f_;
    std::optional<Value> value_;
    ReadyItem ready_;
};

} // namespace detail

/// Runs a plain function on the blocking pool and comes back with its value as a Result (a function
/// that returns Result<T> gives Result<T>). The function takes what it needs by value and may not
/// touch the shard. Cannot be cancelled once queued. Errors: busy when the pool's queue is full;
/// internal or out_of_memory when the function throws; otherwise its own.
///
///     BLOOM_CO_TRY(auto rows, co_await rt::run_blocking([db, query] { return db->select(query);
///     }));
template <class F>
detail::BlockingAwaiter<F> run_blocking(F f) {
    return detail::BlockingAwaiter<F>(std::move(f));
}

/// Runs a plain function on another shard's thread and comes back with its value as a Result.
/// Errors: internal or out_of_memory when the function throws; otherwise its own.
template <class F>
detail::OnShardAwaiter<F> on_shard(Shard& target, F f) {
    return {target, std::move(f)};
}

} // namespace bloom::rt
