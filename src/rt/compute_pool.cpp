#include <atomic>
#include <cstdint>
#include <exception>
#include <pthread.h>
#include <system_error>
#include <thread>

#include <bloom/base/log.hpp>
#include <bloom/base/thread.hpp>
#include <bloom/rt/compute_pool.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::rt {
namespace {

class StepThread final : public StepHandle {
public:
    StepThread(StepJob& job, std::string name) : job_(job), name_(std::move(name)) {}

    ~StepThread() override {
        ask_to_end();
        if (thread_.joinable()) thread_.join();
    }

    Result<> launch() {
        try {
            thread_ = std::thread([this] { run(); });
        } catch (const std::system_error& e) {
            return Error(Code::unavailable, "no thread for " + name_ + ": " + e.what());
        }
        return {};
    }

    void wake() noexcept override {
        signal_.fetch_add(1, std::memory_order_release);
        signal_.notify_one();
    }

    Task<void> stop() override {
        if (!thread_.joinable()) co_return;
        // The end comes home as a post; until then the shard goes on with other things.
        Ended ended(Shard::current());
        ended_.store(&ended, std::memory_order_release);
        ask_to_end();
        co_await ended.event.wait();
        thread_.join();
    }

private:
    struct Ended final : PostItem {
        explicit Ended(Shard& home) noexcept
            : PostItem([](PostItem& item) noexcept { static_cast<Ended&>(item).event.set(); }),
              shard(home) {}

        Shard& shard;
        Event event;
    };

    void ask_to_end() noexcept {
        ending_.store(true, std::memory_order_release);
        wake();
    }

    void run() {
        ::pthread_setname_np(::pthread_self(), name_.substr(0, 15).c_str());
        become_compute_thread();
        std::uint32_t seen = 0;
        while (!ending_.load(std::memory_order_acquire)) {
            signal_.wait(seen, std::memory_order_acquire);
            // Read before stepping: a wake during the steps is then seen as a change.
            seen = signal_.load(std::memory_order_acquire);
            while (!ending_.load(std::memory_order_acquire) && step_once()) {
            }
        }
        if (Ended* ended = ended_.load(std::memory_order_acquire)) ended->shard.post(*ended);
    }

    bool step_once() noexcept {
        try {
            return job_.step();
        } catch (const std::exception& e) {
            log::error("compute job {} ended with an exception: {}", name_, e.what());
        } catch (...) {
            log::error("compute job {} ended with an exception of unknown type", name_);
        }
        std::terminate();
    }

    // immutable after launch
    StepJob& job_;
    std::string name_;
    std::thread thread_;

    // any thread
    std::atomic<std::uint32_t> signal_{0};
    std::atomic<bool> ending_{false};
    std::atomic<Ended*> ended_{nullptr};
};

} // namespace

Result<std::unique_ptr<StepHandle>> ThreadComputePool::start(StepJob& job,
                                                             const std::string& name) {
    auto handle = std::make_unique<StepThread>(job, name);
    BLOOM_OK(handle->launch());
    return handle;
}

} // namespace bloom::rt
