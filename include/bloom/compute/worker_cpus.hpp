#pragma once

#include <vector>

#include <bloom/hw/cpu_info.hpp>

namespace bloom::compute {

/// The CPU of each of `n_workers` workers, in worker order. Workers of one memory node are
/// neighbours, and so are the rows they own: every matrix is cut by rows in worker order and packed
/// by who will multiply, so that a row lies near its worker. Nodes get workers in proportion to
/// their cores; a core's second thread is taken only when all cores of its node are; CPUs repeat
/// when there are more workers than CPUs. Only CPUs of the affinity mask; empty when that is
/// unknown.
std::vector<int> worker_cpus(const hw::CpuInfo& info, int n_workers);

} // namespace bloom::compute
