#pragma once

#include <coroutine>
#include <cstddef>

#include <bloom/base/check.hpp>
#include <bloom/rt/ready.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::rt {

/// Owns tasks that run beside each other. Ask them to stop with request_stop(), wait with join();
/// destroying a scope that has children aborts. Children start at the next pass of the loop, not
/// inside spawn(). A child that ends with an exception aborts the process: a root task catches what
/// it can handle. Thread: the shard's.
///
///     Scope connections(stop);
///     connections.spawn(serve(std::move(stream), connections.token()));    // values, not
///     references connections.request_stop(StopReason::shutdown); co_await connections.join();
class Scope {
public:
    explicit Scope(StopToken parent = {}) noexcept : stop_(parent) {}

    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    ~Scope() {
        BLOOM_CHECK(n_children_ == 0);
        BLOOM_CHECK(waiter_ == nullptr);
    }

    void spawn(Task<void> task) noexcept {
        BLOOM_CHECK(task);
        auto handle = std::move(task).release();
        auto& promise = handle.promise();
        promise.started = true;
        promise.on_done(&child_done, this);
        ++n_children_;
        ReadyQueue::current().push(promise.ready);
    }

    StopToken token() noexcept { return stop_.token(); }

    bool request_stop(StopReason reason = StopReason::requested) noexcept {
        return stop_.request_stop(reason);
    }

    std::size_t n_children() const noexcept { return n_children_; }

    class JoinAwaiter {
    public:
        explicit JoinAwaiter(Scope& scope) noexcept : scope_(scope) {}

        bool await_ready() const noexcept { return scope_.n_children_ == 0; }

        void await_suspend(std::coroutine_handle<> self) noexcept {
            BLOOM_CHECK(scope_.waiter_ == nullptr);
            item_.handle = self;
            scope_.waiter_ = &item_;
        }

        void await_resume() const noexcept {}

    private:
        Scope& scope_;
        ReadyItem item_;
    };

    /// Waits until there is no child. One waiter at a time; children may spawn siblings meanwhile.
    [[nodiscard]] JoinAwaiter join() noexcept { return JoinAwaiter(*this); }

private:
    static std::coroutine_handle<> child_done(void* context, std::coroutine_handle<> self) noexcept;

    StopSource stop_;
    std::size_t n_children_ = 0;
    ReadyItem* waiter_ = nullptr;
};

} // namespace bloom::rt
