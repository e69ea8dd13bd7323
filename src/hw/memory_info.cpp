#include <algorithm>
#include <unistd.h>

#include <bloom/hw/memory_info.hpp>

#include "hw/files.hpp"

namespace bloom::hw {

std::uint64_t MemoryInfo::usable_bytes() const noexcept {
    if (limit_bytes == 0) return available_bytes;
    if (available_bytes == 0) return limit_bytes;
    return std::min(available_bytes, limit_bytes);
}

std::uint64_t meminfo_bytes(std::string_view meminfo, std::string_view key) noexcept {
    while (!meminfo.empty()) {
        const std::size_t eol = std::min(meminfo.find('\n'), meminfo.size());
        std::string_view line = meminfo.substr(0, eol);
        meminfo.remove_prefix(std::min(eol + 1, meminfo.size()));
        if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':')
            continue;
        line = trimmed(line.substr(key.size() + 1));
        if (!line.ends_with(" kB")) return 0;
        line.remove_suffix(3);
        const std::uint64_t kib = to_number<std::uint64_t>(trimmed(line)).value_or(0);
        return kib > (UINT64_MAX >> 10) ? 0 : kib << 10;
    }
    return 0;
}

MemoryInfo read_memory_info(const std::filesystem::path& root) {
    MemoryInfo out;
    if (const auto text = read_small_file(root / "proc/meminfo")) {
        out.total_bytes = meminfo_bytes(*text, "MemTotal");
        out.available_bytes = meminfo_bytes(*text, "MemAvailable");
    }
    if (const auto text = read_small_file(root / "sys/fs/cgroup/memory.max")) {
        out.limit_bytes = to_number<std::uint64_t>(trimmed(*text)).value_or(0); // "max": none
    }
    if (const auto text = read_small_file(root / "sys/kernel/mm/transparent_hugepage/enabled")) {
        if (text->find("[always]") != std::string::npos) {
            out.transparent_huge_pages = HugePages::always;
        } else if (text->find("[madvise]") != std::string::npos) {
            out.transparent_huge_pages = HugePages::by_advice;
        } else if (text->find("[never]") != std::string::npos) {
            out.transparent_huge_pages = HugePages::never;
        }
    }
    const long page = sysconf(_SC_PAGESIZE);
    out.page_bytes = page > 0 ? static_cast<std::uint64_t>(page) : 0;
    return out;
}

MemoryInfo read_memory_info() {
    return read_memory_info("/");
}

} // namespace bloom::hw
