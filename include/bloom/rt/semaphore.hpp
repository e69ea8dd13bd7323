#pragma once

#include <coroutine>
#include <cstddef>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/base/result.hpp>
#include <bloom/rt/channel.hpp>

namespace bloom::rt {

/// A counter of permits, first come first served; with one permit, a mutex for coroutines of one
/// shard. Thread: the shard's.
class Semaphore {
public:
    explicit Semaphore(std::size_t permits) noexcept : free_(permits) {}

    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;

    /// One permit, given back on destruction.
    class [[nodiscard]] Permit {
    public:
        Permit() noexcept = default;

        explicit Permit(Semaphore& from) noexcept : from_(&from) {}

        Permit(Permit&& other) noexcept : from_(std::exchange(other.from_, nullptr)) {}

        Permit& operator=(Permit&& other) noexcept {
            if (this != &other) {
                reset();
                from_ = std::exchange(other.from_, nullptr);
            }
            return *this;
        }

        ~Permit() { reset(); }

        void reset() noexcept {
            if (from_ != nullptr) std::exchange(from_, nullptr)->give_back();
        }

        explicit operator bool() const noexcept { return from_ != nullptr; }

    private:
        Semaphore* from_ = nullptr;
    };

    class [[nodiscard]] Awaiter : private detail::Waiter {
    public:
        Awaiter(Semaphore& semaphore, StopToken token) noexcept : semaphore_(semaphore) {
            stop = token;
        }

        bool await_ready() noexcept {
            if (stop.stop_requested()) {
                was_stopped = true;
                return true;
            }
            return semaphore_.take_free();
        }

        void await_suspend(std::coroutine_handle<> handle) noexcept {
            semaphore_.waiters_.enqueue(*this, handle);
        }

        /// Errors: the token's when stopped.
        Result<Permit> await_resume() {
            this->unlink();
            if (was_stopped) return stop.error();
            return Permit(semaphore_);
        }

    private:
        Semaphore& semaphore_;
    };

    Awaiter acquire(StopToken stop = {}) noexcept { return {*this, stop}; }

    /// Without waiting; an empty permit when there is none.
    Permit try_acquire() noexcept { return take_free() ? Permit(*this) : Permit(); }

    std::size_t n_free() const noexcept { return free_; }

private:
    bool take_free() noexcept {
        if (free_ == 0 || waiters_.head != nullptr) return false;
        --free_;
        return true;
    }

    void give_back() noexcept {
        if (waiters_.head != nullptr) {
            waiters_.wake_first(); // the permit goes straight to the next in line
        } else {
            ++free_;
        }
    }

    std::size_t free_;
    detail::WaiterList waiters_;
};

/// A flag coroutines can wait for; stays set until reset. Thread: the shard's.
class Event {
public:
    Event() noexcept = default;
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    class [[nodiscard]] Awaiter : private detail::Waiter {
    public:
        Awaiter(Event& event, StopToken token) noexcept : event_(event) { stop = token; }

        bool await_ready() noexcept {
            if (event_.set_) return true;
            was_stopped = stop.stop_requested();
            return was_stopped;
        }

        void await_suspend(std::coroutine_handle<> handle) noexcept {
            event_.waiters_.enqueue(*this, handle);
        }

        /// Errors: the token's when stopped.
        Result<> await_resume() {
            this->unlink();
            if (was_stopped) return stop.error();
            return {};
        }

    private:
        Event& event_;
    };

    Awaiter wait(StopToken stop = {}) noexcept { return {*this, stop}; }

    /// Wakes everyone who waits.
    void set() noexcept {
        set_ = true;
        while (waiters_.head != nullptr)
            waiters_.wake_first();
    }

    void reset() noexcept { set_ = false; }

    bool is_set() const noexcept { return set_; }

private:
    bool set_ = false;
    detail::WaiterList waiters_;
};

} // namespace bloom::rt
