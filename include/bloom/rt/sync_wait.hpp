#pragma once

#include <coroutine>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/ready.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::rt {

namespace detail {

/// Resumes what is ready until `root` is done; aborts when nothing is ready before that: without a
/// shard nobody else could wake it.
void drain_until_done(ReadyQueue& queue, std::coroutine_handle<> root);

} // namespace detail

/// Runs a task to its end on this thread, which has no shard: for tests and for tasks that wait
/// only for each other (channels, scopes). What needs I/O or time runs on a shard instead
/// (ShardSet::run).
template <class T>
T sync_wait(Task<T> task) {
    ReadyQueue queue;
    ReadyQueue* before = ReadyQueue::exchange_current(&queue);
    BLOOM_CHECK(before == nullptr);
    auto handle = task.handle();
    BLOOM_CHECK(handle);
    handle.promise().started = true;
    queue.push(handle.promise().ready);
    detail::drain_until_done(queue, handle);
    ReadyQueue::exchange_current(before);
    return handle.promise().take();
}

} // namespace bloom::rt
