#pragma once

#include <coroutine>
#include <cstddef>

#include <bloom/base/rng.hpp>

namespace bloom::rt {

/// A suspended coroutine that can go on. Embedded in whatever it waits for, so that waking costs no
/// allocation. Lifetime: stays where it is from push() until the queue resumes it.
struct ReadyItem {
    ReadyItem* next = nullptr;
    std::coroutine_handle<> handle;
};

/// The coroutines of one thread that can go on. Everything that wakes a coroutine goes through here
/// instead of resuming it in place: a waker never runs foreign code under its own feet.
/// Thread: the one that made it current.
class ReadyQueue {
public:
    ReadyQueue() = default;
    ReadyQueue(const ReadyQueue&) = delete;
    ReadyQueue& operator=(const ReadyQueue&) = delete;

    /// The queue of this thread: the running shard's, or that of a sync_wait. Aborts without one.
    static ReadyQueue& current() noexcept;
    static ReadyQueue* current_or_null() noexcept;
    /// Makes `queue` (or none) current and returns what was.
    static ReadyQueue* exchange_current(ReadyQueue* queue) noexcept;

    bool empty() const noexcept { return head_ == nullptr; }

    void push(ReadyItem& item) noexcept {
        if (shuffle_ != nullptr && head_ != nullptr && (shuffle_->next() & 3) == 0) {
            item.next = head_; // simulation: explore orders that FIFO never shows
            head_ = &item;
            return;
        }
        item.next = nullptr;
        if (head_ == nullptr) {
            head_ = &item;
        } else {
            tail_->next = &item;
        }
        tail_ = &item;
    }

    /// Takes the next one; the queue must not be empty.
    std::coroutine_handle<> pop() noexcept {
        ReadyItem* item = head_;
        head_ = item->next;
        return item->handle;
    }

    /// Resumes until nothing is ready or `budget` resumptions are done; returns how many there
    /// were.
    std::size_t run(std::size_t budget);

    /// Simulation only: orders pushes by the generator; null means first in, first out.
    void set_shuffle(Rng* rng) noexcept { shuffle_ = rng; }

private:
    ReadyItem* head_ = nullptr;
    ReadyItem* tail_ = nullptr;
    Rng* shuffle_ = nullptr;
};

} // namespace bloom::rt
