#include <algorithm>
#include <unistd.h>

#include <bloom/hw/memory_info.hpp>

#include "hw/files.hpp"

namespace bloom::hw {

namespace {

namespace fs = std::filesystem;

std::uint64_t number_in(const fs::path& file) {
    const auto text = read_small_file(file);
    return text ? to_number<std::uint64_t>(trimmed(*text)).value_or(0) : 0; // "max": none
}

/// Value of `key 123` in memory.stat.
std::uint64_t stat_bytes(std::string_view stat, std::string_view key) noexcept {
    while (!stat.empty()) {
        const std::size_t eol = std::min(stat.find('\n'), stat.size());
        const std::string_view line = stat.substr(0, eol);
        stat.remove_prefix(std::min(eol + 1, stat.size()));
        if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ')
            continue;
        return to_number<std::uint64_t>(trimmed(line.substr(key.size()))).value_or(0);
    }
    return 0;
}

/// What a cgroup's memory files are called.
struct CgroupFiles {
    const char* limit;
    const char* used;
    const char* reclaimable; ///< key of memory.stat: cached file pages that can go at once
};

constexpr CgroupFiles kVersion2{"memory.max", "memory.current", "inactive_file"};
constexpr CgroupFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes",
                                "total_inactive_file"};
/// Version 1 says "no limit" with a number near 2^63.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;

/// Takes the limit of one cgroup over where it leaves less than what is known.
void apply_cgroup(const fs::path& folder, const CgroupFiles& files, MemoryInfo& out) {
    const std::uint64_t limit = number_in(folder / files.limit);
    if (limit == 0 || limit >= kNoLimit) return;
    const auto stat = read_small_file(folder / "memory.stat");
    const std::uint64_t reclaimable = stat ? stat_bytes(*stat, files.reclaimable) : 0;
    std::uint64_t used = number_in(folder / files.used);
    used = std::min(used - std::min(used, reclaimable), limit);
    if (out.limit_bytes != 0 && out.limit_bytes - out.limit_used_bytes <= limit - used) return;
    out.limit_bytes = limit;
    out.limit_used_bytes = used;
}

/// The cgroup at `path` and all above it: each of their limits holds.
void apply_cgroups(const fs::path& mount, std::string_view path, const CgroupFiles& files,
                   MemoryInfo& out) {
    constexpr int kDepthMax = 64;
    fs::path relative = fs::path(path).relative_path().lexically_normal();
    for (int i = 0; i < kDepthMax && !relative.empty() && *relative.begin() != ".."; ++i) {
        apply_cgroup(mount / relative, files, out);
        relative = relative.parent_path();
    }
    apply_cgroup(mount, files, out);
}

void read_limits(const fs::path& root, MemoryInfo& out) {
    const fs::path mount = root / "sys/fs/cgroup";
    std::string own = read_small_file(root / "proc/self/cgroup").value_or("0::/\n");
    if (own.empty()) own = "0::/\n";
    // Lines of hierarchy:controllers:path.
    for (std::string_view rest = own; !rest.empty();) {
        const std::size_t eol = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, eol);
        rest.remove_prefix(std::min(eol + 1, rest.size()));
        const std::size_t first = line.find(':');
        const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
        if (second == line.npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        if (controllers.empty()) {
            apply_cgroups(mount, line.substr(second + 1), kVersion2, out);
        } else if (controllers == "memory") {
            apply_cgroups(mount / "memory", line.substr(second + 1), kVersion1, out);
        }
    }
}

} // namespace

std::uint64_t MemoryInfo::usable_bytes() const noexcept {
    if (limit_bytes == 0) return available_bytes;
    // A limit that is used up is known: not 0.
    const std::uint64_t left =
        std::max(limit_bytes - std::min(limit_bytes, limit_used_bytes), std::uint64_t{1});
    if (available_bytes == 0) return left;
    return std::min(available_bytes, left);
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
    read_limits(root, out);
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
