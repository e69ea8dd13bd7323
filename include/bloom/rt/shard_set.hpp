#pragma once

#include <cstddef>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/rt/async_function.hpp>
#include <bloom/rt/blocking_pool.hpp>
#include <bloom/rt/compute_pool.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::rt {

/// What runs on each shard.
using ShardMain = AsyncFunction<Task<void>(Shard&)>;

/// The shards of a process: one thread each on the ring (start_shards), all on one thread in
/// simulation (SimWorld). Code that gets a ShardSet does not know which.
class ShardSet {
public:
    ShardSet() = default;
    ShardSet(const ShardSet&) = delete;
    ShardSet& operator=(const ShardSet&) = delete;
    virtual ~ShardSet() = default;

    virtual std::size_t size() const noexcept = 0;
    virtual Shard& at(std::size_t idx) noexcept = 0;
    virtual ComputePool& compute() noexcept = 0;
    /// Runs `main` on every shard and returns when each of them has ended; a shard whose main is
    /// done keeps serving posts until the last one is. Once. Errors: of the drivers.
    virtual Result<> run(ShardMain main) = 0;
};

struct ShardSetOptions {
    std::size_t n_shards = 1;
    /// CPU of each shard's thread; empty leaves placement to the kernel.
    std::vector<int> cpus;
    std::uint64_t stall_ns = 100'000;
    std::size_t n_blocking_threads = BlockingPool::kDefaultThreads;
    std::size_t max_blocking_queued = BlockingPool::kDefaultQueue;
};

} // namespace bloom::rt
