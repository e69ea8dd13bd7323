#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::rt {

template <class Signature>
class AsyncFunction;

/// A stored callable that returns a Task: what std::function is for plain functions (whose insides
/// are neither coroutines nor marked as forwarding one, which clang refuses for tasks). Move-only.
/// Lifetime: it owns the callable, so a coroutine lambda with captures is sound here exactly as
/// long as the
///           AsyncFunction lives until its tasks have ended. A function pointer always is.
template <class T, class... Args>
class AsyncFunction<Task<T>(Args...)> {
public:
    AsyncFunction() noexcept = default;

    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, AsyncFunction> &&
                 std::same_as<std::invoke_result_t<std::decay_t<F>&, Args...>, Task<T>>)
    AsyncFunction(F&& f) // NOLINT(google-explicit-constructor): as std::function
        : target_(std::make_unique<Held<std::decay_t<F>>>(std::forward<F>(f))) {}

    explicit operator bool() const noexcept { return target_ != nullptr; }

    BLOOM_CORO_WRAPPER Task<T> operator()(Args... args) const {
        BLOOM_CHECK(target_ != nullptr);
        return target_->call(std::forward<Args>(args)...);
    }

private:
    struct Target {
        virtual ~Target() = default;
        BLOOM_CORO_WRAPPER virtual Task<T> call(Args... args) = 0;
    };

    template <class F>
    struct Held final : Target {
        template <class G>
        explicit Held(G&& g) : f(std::forward<G>(g)) {}

        BLOOM_CORO_WRAPPER Task<T> call(Args... args) override {
            return f(std::forward<Args>(args)...);
        }

        F f;
    };

    std::unique_ptr<Target> target_;
};

} // namespace bloom::rt
