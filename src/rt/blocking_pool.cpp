#include <pthread.h>
#include <system_error>

#include <bloom/base/check.hpp>
#include <bloom/rt/blocking_pool.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::rt {

BlockingPool::BlockingPool(std::size_t n_threads, std::size_t max_queued)
    : max_threads_(n_threads), max_queued_(max_queued) {
    BLOOM_CHECK(n_threads > 0);
}

BlockingPool::~BlockingPool() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
    BLOOM_CHECK(head_ == nullptr);
}

Result<> BlockingPool::start(BlockingJob& job) {
    const std::lock_guard lock(mutex_);
    BLOOM_CHECK(!ending_);
    if (n_queued_ == max_queued_) return Error(Code::busy, "the pool for blocking work is full");
    if (n_idle_ <= n_queued_ && threads_.size() < max_threads_) {
        try {
            threads_.emplace_back([this] { work(); });
        } catch (const std::system_error& e) {
            if (threads_.empty()) {
                return Error(Code::unavailable,
                             std::string("no thread for blocking work: ") + e.what());
            }
        }
    }
    job.next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = &job;
    tail_ = &job;
    ++n_queued_;
    changed_.notify_one();
    return {};
}

std::size_t BlockingPool::n_queued() const {
    const std::lock_guard lock(mutex_);
    return n_queued_;
}

void BlockingPool::work() {
    ::pthread_setname_np(::pthread_self(), "bloom-blocking");
    std::unique_lock lock(mutex_);
    for (;;) {
        ++n_idle_;
        changed_.wait(lock, [this] { return head_ != nullptr || ending_; });
        --n_idle_;
        if (head_ == nullptr) return;
        BlockingJob& job = *head_;
        head_ = job.next;
        --n_queued_;
        lock.unlock();
        job.work(job);
        job.shard->post(job.home); // the job may be gone from here on
        lock.lock();
    }
}

} // namespace bloom::rt
