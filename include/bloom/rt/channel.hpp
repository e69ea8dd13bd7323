#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/base/result.hpp>
#include <bloom/rt/ready.hpp>
#include <bloom/rt/stop.hpp>

namespace bloom::rt {

namespace detail {

/// One coroutine waiting in a list of a channel or semaphore, until its turn or until stopped.
class Waiter : public StopNode {
public:
    Waiter() noexcept : StopNode(&stopped) {}

    // Awaitables move only before they wait.
    Waiter(Waiter&& other) noexcept : StopNode(&stopped), stop(other.stop) {
        BLOOM_CHECK(!other.queued);
    }

    ~Waiter() { BLOOM_CHECK(!queued); }

    Waiter* prev = nullptr;
    Waiter* next = nullptr;
    struct WaiterList* list = nullptr;
    ReadyItem ready;
    StopToken stop;
    bool queued = false;
    bool was_stopped = false;

private:
    static void stopped(StopNode& node) noexcept;
};

struct WaiterList {
    Waiter* head = nullptr;
    Waiter* tail = nullptr;

    WaiterList() = default;
    WaiterList(const WaiterList&) = delete;
    WaiterList& operator=(const WaiterList&) = delete;

    ~WaiterList() { BLOOM_CHECK(head == nullptr); }

    /// Queues; when already stopped, pushes it ready instead with was_stopped set.
    void enqueue(Waiter& waiter, std::coroutine_handle<> handle) noexcept {
        waiter.ready.handle = handle;
        if (!waiter.stop.link(waiter)) {
            waiter.was_stopped = true;
            ReadyQueue::current().push(waiter.ready);
            return;
        }
        waiter.list = this;
        waiter.queued = true;
        waiter.next = nullptr;
        waiter.prev = tail;
        (tail != nullptr ? tail->next : head) = &waiter;
        tail = &waiter;
    }

    void remove(Waiter& waiter) noexcept {
        (waiter.prev != nullptr ? waiter.prev->next : head) = waiter.next;
        (waiter.next != nullptr ? waiter.next->prev : tail) = waiter.prev;
        waiter.queued = false;
    }

    /// Takes the first off the list and lets it go on.
    Waiter& wake_first() noexcept {
        Waiter& first = *head;
        remove(first);
        first.unlink();
        ReadyQueue::current().push(first.ready);
        return first;
    }
};

inline void Waiter::stopped(StopNode& node) noexcept {
    auto& self = static_cast<Waiter&>(node);
    self.list->remove(self);
    self.was_stopped = true;
    ReadyQueue::current().push(self.ready);
}

} // namespace detail

/// A bounded queue between coroutines of one shard: senders wait when it is full, receivers when it
/// is empty, both first come first served. close() ends it: receivers still get what is inside,
/// then nothing. Thread: the shard's; from elsewhere post to the shard. Lifetime: outlives everyone
/// who waits on it.
template <class T>
class Channel {
public:
    explicit Channel(std::size_t capacity) : slots_(capacity) { BLOOM_CHECK(capacity > 0); }

    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    class [[nodiscard]] SendAwaiter : private detail::Waiter {
    public:
        SendAwaiter(Channel& channel, T value, StopToken token)
            : channel_(channel), value_(std::move(value)) {
            stop = token;
        }

        bool await_ready() {
            if (stop.stop_requested()) {
                was_stopped = true;
                return true;
            }
            if (channel_.closed_) return true;
            // Behind those who wait already, so that a busy sender cannot starve them.
            if (channel_.senders_.head == nullptr && channel_.put(value_)) return true;
            return false;
        }

        void await_suspend(std::coroutine_handle<> handle) noexcept {
            channel_.senders_.enqueue(*this, handle);
        }

        /// Errors: closed; the token's when stopped (the value was not sent).
        Result<> await_resume() {
            this->unlink();
            if (!value_.has_value()) return {};
            if (was_stopped) return stop.error();
            return Error{Code::closed, "channel is closed"};
        }

    private:
        friend class Channel;
        Channel& channel_;
        std::optional<T> value_; // empty once it was taken
    };

    class [[nodiscard]] RecvAwaiter : private detail::Waiter {
    public:
        RecvAwaiter(Channel& channel, StopToken token) : channel_(channel) { stop = token; }

        bool await_ready() {
            if (stop.stop_requested()) {
                was_stopped = true;
                return true;
            }
            value_ = channel_.try_recv();
            return value_.has_value() || channel_.closed_;
        }

        void await_suspend(std::coroutine_handle<> handle) noexcept {
            channel_.receivers_.enqueue(*this, handle);
        }

        /// Nothing once the channel is closed and empty. Errors: the token's when stopped.
        Result<std::optional<T>> await_resume() {
            this->unlink();
            if (!value_.has_value() && was_stopped) return stop.error();
            return std::move(value_);
        }

    private:
        friend class Channel;
        Channel& channel_;
        std::optional<T> value_;
    };

    SendAwaiter send(T value, StopToken stop = {}) { return {*this, std::move(value), stop}; }

    RecvAwaiter recv(StopToken stop = {}) { return {*this, stop}; }

    /// Without waiting: false when full or closed; `value` is then untouched.
    bool try_send(T&& value) {
        if (closed_ || senders_.head != nullptr) return false;
        std::optional<T> holder(std::move(value));
        if (put(holder)) return true;
        value = std::move(*holder);
        return false;
    }

    std::optional<T> try_recv() {
        if (n_ == 0) return std::nullopt;
        std::optional<T> value = std::move(slots_[first_]);
        slots_[first_].reset();
        first_ = (first_ + 1) % slots_.size();
        --n_;
        if (senders_.head != nullptr) {
            auto& sender = static_cast<SendAwaiter&>(senders_.wake_first());
            slots_[(first_ + n_) % slots_.size()] = std::move(sender.value_);
            sender.value_.reset();
            ++n_;
        }
        return value;
    }

    /// Wakes everyone: receivers with nothing, senders with Code::closed. May be repeated.
    void close() noexcept {
        closed_ = true;
        while (senders_.head != nullptr)
            senders_.wake_first();
        while (receivers_.head != nullptr)
            receivers_.wake_first();
    }

    bool closed() const noexcept { return closed_; }

    std::size_t size() const noexcept { return n_; }

    std::size_t capacity() const noexcept { return slots_.size(); }

private:
    /// Hands `value` to a waiting receiver or stores it; false (and untouched) when full.
    bool put(std::optional<T>& value) {
        if (receivers_.head != nullptr) {
            auto& receiver = static_cast<RecvAwaiter&>(receivers_.wake_first());
            receiver.value_ = std::move(value);
            value.reset();
            return true;
        }
        if (n_ == slots_.size()) return false;
        slots_[(first_ + n_) % slots_.size()] = std::move(value);
        value.reset();
        ++n_;
        return true;
    }

    std::vector<std::optional<T>> slots_;
    std::size_t first_ = 0;
    std::size_t n_ = 0;
    bool closed_ = false;
    detail::WaiterList senders_;
    detail::WaiterList receivers_;
};

} // namespace bloom::rt
