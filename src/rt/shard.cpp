#include <exception>
#include <new>
#include <string>

#include <bloom/base/check.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::rt {
namespace {

thread_local Shard* current_shard = nullptr;

struct PostedFunction final : PostItem {
    explicit PostedFunction(std::move_only_function<void()> function)
        : PostItem(&call), f(std::move(function)) {}

    static void call(PostItem& item) noexcept {
        std::unique_ptr<PostedFunction> self(static_cast<PostedFunction*>(&item));
        self->f();
    }

    std::move_only_function<void()> f;
};

} // namespace

Shard::Shard(std::unique_ptr<Driver> driver, ShardOptions options)
    : options_(options), driver_(std::move(driver)), now_ns_(driver_->now_ns()), timers_(now_ns_) {}

Shard::~Shard() {
    BLOOM_CHECK(ready_.empty());
    // What was posted too late is not run: its world is gone. Items belong to their posters,
    // functions to us.
    for (PostItem* item = mailbox_.take(); item != nullptr;) {
        PostItem* next = item->next;
        if (item->run == &PostedFunction::call) delete static_cast<PostedFunction*>(item);
        item = next;
    }
}

Shard& Shard::current() noexcept {
    BLOOM_CHECK(current_shard != nullptr);
    return *current_shard;
}

Shard* Shard::current_or_null() noexcept {
    return current_shard;
}

Shard::Current::Current(Shard& shard) noexcept
    : before_(std::exchange(current_shard, &shard)),
      before_queue_(ReadyQueue::exchange_current(&shard.ready_)) {}

Shard::Current::~Current() {
    current_shard = before_;
    ReadyQueue::exchange_current(before_queue_);
}

void Shard::post(PostItem& item) noexcept {
    // The item may be gone as soon as it is pushed; the shard is not.
    if (mailbox_.push(item)) driver_->wake();
}

void Shard::post_fn(std::move_only_function<void()> f) {
    post(*new PostedFunction(std::move(f)));
}

Task<void> Shard::run_main(Task<void> main) {
    co_await std::move(main);
    root_.request_stop(StopReason::shutdown);
    co_await root_.join();
    finished_ = true;
}

void Shard::start(Task<void> main) {
    main_.spawn(run_main(std::move(main)));
}

void Shard::run_ready() {
    const std::uint64_t limit = options_.stall_ns;
    std::uint64_t n = 0;
    std::uint64_t before = limit == 0 ? 0 : driver_->now_ns();
    while (n < kReadyBudget && !ready_.empty()) {
        ready_.pop().resume();
        ++n;
        if (limit == 0) continue;
        const std::uint64_t after = driver_->now_ns();
        const std::uint64_t took = after - before;
        before = after;
        if (took <= limit) [[likely]]
            continue;
        stats_.n_stalls.fetch_add(1, std::memory_order_relaxed);
        if (took > stats_.stall_ns_max.load(std::memory_order_relaxed)) {
            stats_.stall_ns_max.store(took, std::memory_order_relaxed);
        }
    }
    stats_.n_resumed.store(stats_.n_resumed.load(std::memory_order_relaxed) + n,
                           std::memory_order_relaxed);
}

bool Shard::turn() {
    now_ns_ = driver_->now_ns();
    std::uint64_t n_posted = 0;
    for (PostItem* item = mailbox_.take(); item != nullptr; ++n_posted) {
        PostItem* next = item->next;
        item->run(*item);
        item = next;
    }
    timers_.advance(now_ns_);
    run_ready();
    stats_.n_posted.store(stats_.n_posted.load(std::memory_order_relaxed) + n_posted,
                          std::memory_order_relaxed);
    stats_.n_turns.store(stats_.n_turns.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
    return has_ready();
}

void Shard::serve_until_end(ShardGroup* group) {
    bool counted = false;
    for (;;) {
        const bool more = turn();
        if (finished_ && !counted) {
            counted = true;
            if (group == nullptr) return;
            if (group->n_running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                for (Shard* shard : group->shards) {
                    if (shard != this) shard->driver_->wake();
                }
            }
        }
        if (counted && group->n_running.load(std::memory_order_acquire) == 0 && !more) return;
        driver_->wait(more ? 0 : timers_.next_ns());
    }
}

Result<> Shard::run(Task<void> main, ShardGroup* group) {
    BLOOM_OK(driver_->attach());
    const Current guard(*this);
    start(std::move(main));
    serve_until_end(group);
    // Whatever is in flight belongs to a frame that has ended without waiting for it.
    BLOOM_CHECK(driver_->n_in_flight() == 0);
    return {};
}

void SleepAwaiter::await_suspend(std::coroutine_handle<> self) noexcept {
    ready_.handle = self;
    Shard::current().timers().add(*this, at_ns_);
    stop_.link(*this);
}

Result<> SleepAwaiter::await_resume() {
    if (fired_) return {};
    return stop_.error();
}

void SleepAwaiter::fired(Timer& timer) noexcept {
    auto& self = static_cast<SleepAwaiter&>(timer);
    self.fired_ = true;
    self.unlink();
    ReadyQueue::current().push(self.ready_);
}

void SleepAwaiter::stopped(StopNode& node) noexcept {
    auto& self = static_cast<SleepAwaiter&>(node);
    Shard::current().timers().cancel(self);
    ReadyQueue::current().push(self.ready_);
}

namespace detail {

Error error_of_exception() noexcept {
    try {
        throw;
    } catch (const std::bad_alloc&) {
        return Error(Code::out_of_memory);
    } catch (const std::exception& e) {
        return Error(Code::internal, std::string("exception: ") + e.what());
    } catch (...) {
        return Error(Code::internal, "exception of unknown type");
    }
}

} // namespace detail
} // namespace bloom::rt
