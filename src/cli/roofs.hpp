#pragma once

#include "kernels/kernel_table.hpp"
#include <bloom/compute/team.hpp>

namespace bloom::cli {

/// What the machine can do at best with this team, measured now: ratios to it are what counts on a
/// machine whose speed changes.
struct Roofs {
    double read_gb_per_s = 0; ///< memory beyond the caches, all workers together
    double dot_gops = 0;      ///< 8-bit dot products out of registers
};

/// Medians of `repetitions` measurements. Takes about a second and 512 MiB.
Roofs measure_roofs(compute::Team& team, const kernels::KernelTable& table, int repetitions);

} // namespace bloom::cli
