#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <bloom/fit/facts.hpp>
#include <bloom/fit/listing.hpp>
#include <bloom/hw/cpu_info.hpp>
#include <bloom/hw/memory_info.hpp>

namespace bloom::fit {

/// The facts that estimates need, from what was read of a machine. Limits of containers hold.
SystemFacts system_facts(const hw::CpuInfo& cpu, const hw::MemoryInfo& memory);

/// Name of this machine: its host name, else HOSTNAME, else `unknown-node`.
std::string node_name();

/// This machine as the API shows it. What can change is read again, at most once a second.
/// Thread: any.
class Machine {
public:
    Machine();

    const NodeName& node() const noexcept { return node_; }

    /// now_ns: any clock that goes on.
    SystemFacts facts(std::uint64_t now_ns) const;

private:
    NodeName node_;
    hw::CpuInfo cpu_;
    mutable std::mutex mutex_; ///< of what follows; held for a copy or a small file
    mutable std::uint64_t read_ns_ = 0;
    mutable hw::MemoryInfo memory_;
};

} // namespace bloom::fit
