#pragma once

#include <memory>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/compute/team.hpp>

namespace bloom::provider {

/// The kernel table for this process: the fastest that runs here, or the one DARKBLOOM_KERNEL_ISA
/// names. Errors: machine_lacks when that one cannot run, naming those that can.
Result<const kernels::KernelTable*> choose_kernels();

/// A compute team of `n_threads` workers, each on a CPU of its own; 0: one per core that this
/// process may use, no more than its share of time (cgroup) pays for.
std::unique_ptr<compute::Team> make_team(int n_threads);

} // namespace bloom::provider
