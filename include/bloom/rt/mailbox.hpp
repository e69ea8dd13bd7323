#pragma once

#include <atomic>

#include <bloom/rt/driver.hpp>

namespace bloom::rt {

/// Items posted from any thread to one. Intrusive, without locks, unbounded by itself: every item
/// is owned by a poster that is bounded. Thread: push() any, take() the owner's.
class Mailbox {
public:
    /// True when it was empty: then the owner has to be woken.
    bool push(PostItem& item) noexcept {
        PostItem* head = head_.load(std::memory_order_relaxed);
        do {
            item.next = head;
        } while (!head_.compare_exchange_weak(head, &item, std::memory_order_release,
                                              std::memory_order_relaxed));
        return head == nullptr;
    }

    /// Everything posted so far, oldest first, linked by `next`; null when empty.
    PostItem* take() noexcept {
        if (head_.load(std::memory_order_relaxed) == nullptr) return nullptr;
        PostItem* newest_first = head_.exchange(nullptr, std::memory_order_acquire);
        PostItem* oldest_first = nullptr;
        while (newest_first != nullptr) {
            PostItem* next = newest_first->next;
            newest_first->next = oldest_first;
            oldest_first = newest_first;
            newest_first = next;
        }
        return oldest_first;
    }

    bool empty() const noexcept { return head_.load(std::memory_order_relaxed) == nullptr; }

private:
    std::atomic<PostItem*> head_{nullptr};
};

} // namespace bloom::rt
