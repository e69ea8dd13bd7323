#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace bloom::hw {

/// Processor numbers above this are ignored: no kernel we run on has more.
inline constexpr int kCpusMax = 8192;

/// Facts about the processor and what of it this process may use. 0 or empty means unknown: a
/// container may hide any of it. Lifetime: plain data.
struct CpuInfo {
    std::string vendor;             ///< "AuthenticAMD", as cpuid gives it
    std::string model;              ///< "AMD EPYC 9654 96-Core Processor"
    std::vector<std::string> flags; ///< what the kernel reports: "avx2", "avx512_vnni", "asimddp"
    int n_online = 0;               ///< logical processors switched on
    int n_cores = 0;                ///< physical cores among them
    std::vector<int> usable;        ///< processors of this process' affinity mask, ascending
    double quota_cpus = 0.0;        ///< cgroup limit in processors; 0 without one
    std::uint64_t l1d_bytes = 0;    ///< per core
    std::uint64_t l2_bytes = 0;     ///< per core
    std::uint64_t l3_bytes = 0;     ///< per group below
    std::vector<std::vector<int>> l3_groups; ///< processors that share a last-level cache
    std::vector<std::vector<int>> cores; ///< processors that share a core, by the lowest of each
    std::vector<std::vector<int>> nodes; ///< processors near one memory, by node; empty: unknown

    bool has_flag(std::string_view flag) const noexcept;
    /// How many threads can compute at the same time: cores, affinity and quota together, at
    /// least 1.
    int n_compute_threads() const noexcept;
};

/// Reads /proc/cpuinfo, /sys/devices/system/cpu, the affinity mask and the cgroup limit. Never
/// fails; what cannot be read stays unknown. Thread: any. Cost: a few dozen small files, at
/// start-up.
CpuInfo read_cpu_info();

/// The same from a directory laid out like the root of a file system, with this affinity mask.
CpuInfo read_cpu_info(const std::filesystem::path& root, std::vector<int> usable);

/// Processor list as the kernel writes it, "0-3,8,10-11". Ignores what is malformed or too large.
std::vector<int> parse_cpu_list(std::string_view text);

/// Cache size as the kernel writes it, "48K", "32768K", "1M"; 0 if malformed.
std::uint64_t parse_cache_size(std::string_view text) noexcept;

/// Contents of cgroup v2 cpu.max, "200000 100000" or "max 100000", in processors; 0 without limit.
double parse_cpu_max(std::string_view text) noexcept;

} // namespace bloom::hw
