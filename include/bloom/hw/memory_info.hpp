#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace bloom::hw {

enum class HugePages : std::uint8_t { unknown, never, by_advice, always };

/// Memory of the machine and what of it this process may use, in bytes; 0 means unknown.
struct MemoryInfo {
    std::uint64_t total_bytes = 0;
    std::uint64_t available_bytes = 0;  ///< usable without swapping, by the kernel's estimate
    std::uint64_t limit_bytes = 0;      ///< tightest limit of this process's cgroups; 0 without one
    std::uint64_t limit_used_bytes = 0; ///< of it, what is in use and cannot be reclaimed
    std::uint64_t page_bytes = 0;
    HugePages transparent_huge_pages = HugePages::unknown;

    /// What may be used now: available_bytes cut to what is left of the limit.
    std::uint64_t usable_bytes() const noexcept;
};

/// Reads /proc/meminfo, the limits of this process's cgroups (version 2, and version 1's memory
/// controller) and the huge page mode. Never fails; what cannot be read
/// stays unknown. Thread: any.
MemoryInfo read_memory_info();

/// The same from a directory laid out like the root of a file system.
MemoryInfo read_memory_info(const std::filesystem::path& root);

/// Value of "MemTotal:   24576 kB" style lines in bytes; 0 if the key is absent or malformed.
std::uint64_t meminfo_bytes(std::string_view meminfo, std::string_view key) noexcept;

} // namespace bloom::hw
