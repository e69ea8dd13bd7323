#pragma once

#include <coroutine>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::rt {

namespace detail {

/// What a task's value becomes in a tuple.
template <class T>
using NonVoid = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/// Counts tasks that run beside each other and continues the parent after the last.
class Join {
public:
    void begin(std::size_t n, StopSource* race) noexcept {
        left_ = n + 1; // one more for the parent, which is still starting them
        race_ = race;
    }

    template <class T>
    void start(Task<T>& child) noexcept {
        auto handle = child.handle();
        BLOOM_CHECK(handle && !handle.promise().started);
        handle.promise().started = true;
        handle.promise().on_done(&child_done, this);
        handle.resume();
    }

    /// After all were started: what goes on now, the parent if all are done already.
    std::coroutine_handle<> all_started(std::coroutine_handle<> parent) noexcept {
        parent_ = parent;
        return --left_ == 0 ? parent : std::noop_coroutine();
    }

    std::coroutine_handle<> winner() const noexcept { return winner_; }

private:
    static std::coroutine_handle<> child_done(void* context,
                                              std::coroutine_handle<> child) noexcept {
        auto& self = *static_cast<Join*>(context);
        if (!self.winner_) {
            self.winner_ = child;
            if (self.race_ != nullptr) self.race_->request_stop(StopReason::lost_race);
        }
        return --self.left_ == 0 ? self.parent_ : std::noop_coroutine();
    }

    std::size_t left_ = 0;
    std::coroutine_handle<> parent_ = std::noop_coroutine();
    std::coroutine_handle<> winner_;
    StopSource* race_ = nullptr;
};

template <class T>
NonVoid<T> take_value(Task<T>& task) {
    if constexpr (std::is_void_v<T>) {
        task.handle().promise().take();
        return {};
    } else {
        return task.handle().promise().take();
    }
}

} // namespace detail

/// The outcome of when_any: which task ended first, and what each of them returned.
template <class... Ts>
struct AnyResult {
    std::size_t first = 0;
    std::tuple<detail::NonVoid<Ts>...> values;
};

template <bool kRace, class... Ts>
class [[nodiscard]] WhenAwaiter {
public:
    WhenAwaiter(StopSource* race, Task<Ts>&&... tasks) : tasks_(std::move(tasks)...), race_(race) {}

    bool await_ready() const noexcept { return false; }

    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
        join_.begin(sizeof...(Ts), race_);
        std::apply([this](auto&... task) { (join_.start(task), ...); }, tasks_);
        return join_.all_started(parent);
    }

    auto await_resume() {
        // Braces fix the order of evaluation; a child's exception leaves here, after all have
        // ended.
        std::tuple<detail::NonVoid<Ts>...> values = std::apply(
            [](auto&... task) {
                return std::tuple<detail::NonVoid<Ts>...>{detail::take_value(task)...};
            },
            tasks_);
        if constexpr (kRace) {
            AnyResult<Ts...> result{0, std::move(values)};
            std::size_t idx = 0;
            std::apply(
                [&](auto&... task) {
                    ((task.handle().address() == join_.winner().address() ? void(result.first = idx)
                                                                          : void(),
                      ++idx),
                     ...);
                },
                tasks_);
            return result;
        } else {
            return values;
        }
    }

private:
    std::tuple<Task<Ts>...> tasks_;
    detail::Join join_;
    StopSource* race_;
};

/// Runs the tasks beside each other; the tuple of their values (std::monostate for void) after the
/// last.
template <class... Ts>
    requires(sizeof...(Ts) > 0)
WhenAwaiter<false, Ts...> when_all(Task<Ts>... tasks) {
    return {nullptr, std::move(tasks)...};
}

/// Runs the tasks beside each other; when the first ends, asks the others to stop through `race`
/// (reason lost_race) and waits for them. The tasks must have been made with `race.token()`.
///
///     StopSource race(stop);
///     auto any = co_await when_any(race, next_event(events, race.token()), ping(5s,
///     race.token())); if (any.first == 0) ...std::get<0>(any.values)
template <class... Ts>
    requires(sizeof...(Ts) > 0)
WhenAwaiter<true, Ts...> when_any(StopSource& race, Task<Ts>... tasks) {
    return {&race, std::move(tasks)...};
}

template <class T>
class [[nodiscard]] WhenAllVector {
public:
    explicit WhenAllVector(std::vector<Task<T>> tasks) : tasks_(std::move(tasks)) {}

    bool await_ready() const noexcept { return tasks_.empty(); }

    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
        join_.begin(tasks_.size(), nullptr);
        for (Task<T>& task : tasks_)
            join_.start(task);
        return join_.all_started(parent);
    }

    std::vector<detail::NonVoid<T>> await_resume() {
        std::vector<detail::NonVoid<T>> values;
        values.reserve(tasks_.size());
        for (Task<T>& task : tasks_)
            values.push_back(detail::take_value(task));
        return values;
    }

private:
    std::vector<Task<T>> tasks_;
    detail::Join join_;
};

/// The same for any number of tasks of one type, in their order.
template <class T>
WhenAllVector<T> when_all(std::vector<Task<T>> tasks) {
    return WhenAllVector<T>(std::move(tasks));
}

namespace detail {

template <class A>
decltype(auto) awaiter_of(A&& awaitable) {
    if constexpr (requires { std::forward<A>(awaitable).operator co_await(); }) {
        return std::forward<A>(awaitable).operator co_await();
    } else {
        return std::forward<A>(awaitable);
    }
}

} // namespace detail

/// Makes a Task of any awaitable (an operation, a sleep), for when_all, when_any and spawn.
template <class A>
auto as_task(A awaitable) -> Task<
    std::remove_cvref_t<decltype(detail::awaiter_of(std::move(awaitable)).await_resume())>> {
    co_return co_await std::move(awaitable);
}

} // namespace bloom::rt
