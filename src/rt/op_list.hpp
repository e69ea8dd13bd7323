#pragma once

#include <utility>

#include <bloom/rt/driver.hpp>

namespace bloom::rt {

/// Operations a driver keeps back, first in first out, linked through themselves.
class OpList {
public:
    OpList() = default;
    OpList(const OpList&) = delete;
    OpList& operator=(const OpList&) = delete;

    bool empty() const noexcept { return head_ == nullptr; }

    void push(Op& op) noexcept {
        op.driver_next = nullptr;
        op.driver_prev = tail_;
        (tail_ != nullptr ? tail_->driver_next : head_) = &op;
        tail_ = &op;
    }

    void remove(Op& op) noexcept {
        (op.driver_prev != nullptr ? op.driver_prev->driver_next : head_) = op.driver_next;
        (op.driver_next != nullptr ? op.driver_next->driver_prev : tail_) = op.driver_prev;
        op.driver_prev = op.driver_next = nullptr;
    }

    /// The first, taken off; null when there is none.
    Op* pop() noexcept {
        Op* op = head_;
        if (op != nullptr) remove(*op);
        return op;
    }

    void swap(OpList& other) noexcept {
        std::swap(head_, other.head_);
        std::swap(tail_, other.tail_);
    }

private:
    Op* head_ = nullptr;
    Op* tail_ = nullptr;
};

} // namespace bloom::rt
