#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <bloom/rt/compute_pool.hpp>
#include <bloom/rt/driver.hpp>

#include "rt/sim/core.hpp"

namespace bloom::rt::sim {

/// Blocking and step jobs on the world's one thread, outside of any shard: a job that touches a
/// shard aborts here as it would race for real.
class Jobs final : public ComputePool {
public:
    static constexpr std::size_t kMaxBlocking = 1024;

    explicit Jobs(Core& core) : core_(core) {}

    Result<> start_blocking(BlockingJob& job);
    Result<std::unique_ptr<StepHandle>> start(StepJob& job, const std::string& name) override;

private:
    Core& core_;
    std::size_t n_blocking_ = 0;
};

} // namespace bloom::rt::sim
