#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/ready.hpp>

// clang warns about tasks that outlive what they refer to. A function that returns a Task without
// being a coroutine (it forwards to one) says so with BLOOM_CORO_WRAPPER.
#if defined(__clang__) && __has_cpp_attribute(clang::coro_return_type)
#define BLOOM_CORO_TASK [[nodiscard, clang::coro_return_type, clang::coro_lifetimebound]]
#define BLOOM_CORO_WRAPPER [[clang::coro_wrapper]]
#else
#define BLOOM_CORO_TASK [[nodiscard]]
#define BLOOM_CORO_WRAPPER
#endif

namespace bloom::rt {

template <class T>
class Task;

namespace detail {

/// What runs when a task has finished: returns the coroutine to go on with. May destroy the task's
/// frame.
using DoneHook = std::coroutine_handle<> (*)(void* context, std::coroutine_handle<> self) noexcept;

class PromiseBase {
public:
    std::suspend_always initial_suspend() const noexcept { return {}; }

    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }

        template <class P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) const noexcept {
            PromiseBase& promise = self.promise();
            if (promise.hook != nullptr) return promise.hook(promise.hook_context, self);
            return promise.continuation;
        }

        void await_resume() const noexcept {}
    };

    FinalAwaiter final_suspend() const noexcept { return {}; }

    void unhandled_exception() noexcept { exception = std::current_exception(); }

    /// For owners that are told of the end (scope, when_all) instead of being continued.
    void on_done(DoneHook done, void* context) noexcept {
        hook = done;
        hook_context = context;
    }

    std::coroutine_handle<> continuation = std::noop_coroutine();
    DoneHook hook = nullptr;
    void* hook_context = nullptr;
    std::exception_ptr exception;
    ReadyItem ready;
    bool started = false;
};

template <class T>
class Promise final : public PromiseBase {
public:
    static_assert(!std::is_reference_v<T>, "a task returns values or pointers");
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__, "frames are not over-aligned");

    Task<T> get_return_object() noexcept;

    template <class U = T>
        requires std::is_constructible_v<T, U&&>
    void return_value(U&& value) {
        value_.emplace(std::forward<U>(value));
    }

    T take() {
        if (exception) [[unlikely]]
            std::rethrow_exception(std::move(exception));
        BLOOM_CHECK(value_.has_value());
        return std::move(*value_);
    }

private:
    std::optional<T> value_;
};

template <>
class Promise<void> final : public PromiseBase {
public:
    Task<void> get_return_object() noexcept;

    void return_void() const noexcept {}

    void take() {
        if (exception) [[unlikely]]
            std::rethrow_exception(std::move(exception));
    }
};

} // namespace detail

/// A lazy coroutine: runs when awaited, once, on the thread that awaits; hands its value (or a
/// library's exception) to the one who awaits. Move-only. Transfer is symmetric, so chains of ready
/// tasks use no stack. Lifetime: reference parameters must outlive the co_await; what is spawned
/// takes values. A task that was
///           never awaited may be dropped; dropping one that has started and not finished aborts.
/// Cost:     one allocation, the frame.
template <class T = void>
class BLOOM_CORO_TASK Task {
public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;
    using value_type = T;

    Task() noexcept = default;

    explicit Task(Handle handle) noexcept : handle_(handle) {}

    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}

    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }

    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;

    ~Task() { destroy(); }

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    class Awaiter {
    public:
        explicit Awaiter(Task&& task) noexcept : task_(std::move(task)) {}

        bool await_ready() const noexcept { return false; }

        Handle await_suspend(std::coroutine_handle<> parent) noexcept {
            task_.handle_.promise().continuation = parent;
            task_.handle_.promise().started = true;
            return task_.handle_;
        }

        T await_resume() { return task_.handle_.promise().take(); }

    private:
        Task task_;
    };

    Awaiter operator co_await() && noexcept {
        BLOOM_CHECK(handle_);
        return Awaiter(std::move(*this));
    }

    /// For owners (scope, when_*, sync_wait): the handle, still suspended at its start, and the
    /// duty to destroy it once done.
    Handle release() && noexcept { return std::exchange(handle_, {}); }

    /// For owners that keep the task: its handle, possibly null.
    Handle handle() const noexcept { return handle_; }

private:
    void destroy() noexcept {
        if (!handle_) return;
        // Nobody may be resumed into a frame that is gone: wait for what was started.
        BLOOM_CHECK(!handle_.promise().started || handle_.done());
        std::exchange(handle_, {}).destroy();
    }

    Handle handle_;
};

namespace detail {

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
    auto handle = std::coroutine_handle<Promise>::from_promise(*this);
    ready.handle = handle;
    return Task<T>(handle);
}

inline Task<void> Promise<void>::get_return_object() noexcept {
    auto handle = std::coroutine_handle<Promise>::from_promise(*this);
    ready.handle = handle;
    return Task<void>(handle);
}

} // namespace detail

/// Lets everything else that is ready run first. `co_await yield();`
class YieldAwaiter {
public:
    bool await_ready() const noexcept { return false; }

    void await_suspend(std::coroutine_handle<> self) noexcept {
        item_.handle = self;
        ReadyQueue::current().push(item_);
    }

    void await_resume() const noexcept {}

private:
    ReadyItem item_;
};

[[nodiscard]] inline YieldAwaiter yield() noexcept {
    return {};
}

} // namespace bloom::rt
