#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/ready.hpp>
#include <bloom/rt/sync_wait.hpp>

namespace bloom::rt {
namespace {

thread_local ReadyQueue* current_queue = nullptr;

} // namespace

ReadyQueue& ReadyQueue::current() noexcept {
    BLOOM_CHECK(current_queue != nullptr);
    return *current_queue;
}

ReadyQueue* ReadyQueue::current_or_null() noexcept {
    return current_queue;
}

ReadyQueue* ReadyQueue::exchange_current(ReadyQueue* queue) noexcept {
    return std::exchange(current_queue, queue);
}

std::size_t ReadyQueue::run(std::size_t budget) {
    std::size_t n = 0;
    while (head_ != nullptr && n < budget) {
        pop().resume();
        ++n;
    }
    return n;
}

namespace detail {

void drain_until_done(ReadyQueue& queue, std::coroutine_handle<> root) {
    while (!root.done()) {
        BLOOM_CHECK(!queue.empty());
        queue.pop().resume();
    }
    BLOOM_CHECK(queue.empty());
}

} // namespace detail
} // namespace bloom::rt
