#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/rt/driver.hpp>

namespace bloom::rt {

/// A bounded number of threads with a bounded queue, for work that blocks: SQLite, resolving names,
/// reading directories. Shared by the shards. Threads start with the first jobs. Thread: any. The
/// destructor runs what is queued and joins.
class BlockingPool {
public:
    static constexpr std::size_t kDefaultThreads = 4;
    static constexpr std::size_t kDefaultQueue = 1024;

    explicit BlockingPool(std::size_t n_threads = kDefaultThreads,
                          std::size_t max_queued = kDefaultQueue);
    BlockingPool(const BlockingPool&) = delete;
    BlockingPool& operator=(const BlockingPool&) = delete;
    ~BlockingPool();

    /// Runs job.work on one of the threads, then posts job.home to job.shard. Errors: busy when the
    /// queue is full; the job is then untouched.
    Result<> start(BlockingJob& job);

    std::size_t n_queued() const;

private:
    void work();

    // immutable
    const std::size_t max_threads_;
    const std::size_t max_queued_;

    // any thread, under mutex_
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    BlockingJob* head_ = nullptr;
    BlockingJob* tail_ = nullptr;
    std::size_t n_queued_ = 0;
    std::size_t n_idle_ = 0;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

} // namespace bloom::rt
