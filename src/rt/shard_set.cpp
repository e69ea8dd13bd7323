#include <atomic>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <system_error>
#include <thread>

#include <bloom/base/log.hpp>
#include <bloom/rt/shard_set.hpp>
#include <bloom/rt/uring_driver.hpp>

namespace bloom::rt {
namespace {

void place_thread(std::size_t idx, const std::vector<int>& cpus) {
    ::pthread_setname_np(::pthread_self(), ("bloom-shard-" + std::to_string(idx)).c_str());
    if (idx >= cpus.size()) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpus[idx]), &set);
    if (const int rc = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set); rc != 0) {
        log::warn("shard {}: cannot run on CPU {} only: {}", idx, cpus[idx],
                  Error::from_errno(rc, "pthread_setaffinity_np").message());
    }
}

class UringShards final : public ShardSet {
public:
    UringShards(const ShardSetOptions& options) : options_(options) {}

    Result<> setup(const UringOptions& uring) {
        pool_ = std::make_unique<BlockingPool>(options_.n_blocking_threads,
                                               options_.max_blocking_queued);
        for (std::size_t i = 0; i < options_.n_shards; ++i) {
            BLOOM_TRY(auto driver, make_uring_driver(uring, *pool_));
            shards_.push_back(
                std::make_unique<Shard>(std::move(driver), ShardOptions{i, options_.stall_ns}));
        }
        return {};
    }

    ~UringShards() override {
        pool_.reset(); // joins: its threads post to the shards
    }

    std::size_t size() const noexcept override { return shards_.size(); }

    Shard& at(std::size_t idx) noexcept override { return *shards_[idx]; }

    ComputePool& compute() noexcept override { return compute_; }

    Result<> run(ShardMain main) override {
        ShardGroup group;
        for (auto& shard : shards_)
            group.shards.push_back(shard.get());
        group.n_running.store(shards_.size(), std::memory_order_relaxed);
        std::vector<Result<>> ended(shards_.size());

        // The threads wait until all of them exist: a shard without its neighbours could not end.
        enum Start : int { waiting, go, give_up };

        std::atomic<int> start{waiting};
        const auto run_one = [&](std::size_t i) {
            start.wait(waiting, std::memory_order_acquire);
            if (start.load(std::memory_order_acquire) == give_up) return;
            place_thread(i, options_.cpus);
            ended[i] = shards_[i]->run(main(*shards_[i]), &group);
        };
        std::vector<std::thread> threads;
        Result<> made = make_threads(threads, run_one);
        start.store(made ? go : give_up, std::memory_order_release);
        start.notify_all();
        if (made) run_one(0);
        for (std::thread& thread : threads)
            thread.join();
        BLOOM_OK(std::move(made));
        for (Result<>& result : ended)
            BLOOM_OK(std::move(result));
        return {};
    }

private:
    template <class F>
    Result<> make_threads(std::vector<std::thread>& threads, const F& run_one) {
        try {
            for (std::size_t i = 1; i < shards_.size(); ++i)
                threads.emplace_back(run_one, i);
        } catch (const std::system_error& e) {
            return Error(Code::unavailable, std::string("no thread for a shard: ") + e.what());
        }
        return {};
    }

    ShardSetOptions options_;
    std::vector<std::unique_ptr<Shard>> shards_;
    std::unique_ptr<BlockingPool> pool_;
    ThreadComputePool compute_;
};

} // namespace

Result<std::unique_ptr<ShardSet>> start_shards(const ShardSetOptions& options,
                                               const UringOptions& uring) {
    if (options.n_shards == 0) return Error(Code::invalid_argument, "at least one shard is needed");
    BLOOM_TRY(const UringFeatures features, probe_uring(uring));
    log::info("{}; {} shard{}", describe(features), options.n_shards,
              options.n_shards == 1 ? "" : "s");
    UringOptions known = uring;
    known.level = features.level;
    known.multishot_recv = features.multishot_recv;
    auto shards = std::make_unique<UringShards>(options);
    BLOOM_OK(shards->setup(known));
    return shards;
}

} // namespace bloom::rt
