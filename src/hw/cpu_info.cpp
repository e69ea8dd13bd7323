#include <algorithm>
#include <cmath>
#include <memory>
#include <sched.h>
#include <set>
#include <utility>

#include <bloom/hw/cpu_info.hpp>

#include "hw/files.hpp"

namespace bloom::hw {
namespace {

/// Caches of a processor are numbered from 0 without gaps; no machine has this many.
constexpr int kCacheIndexMax = 16;

/// Value of the first "key : value" line.
std::string_view cpuinfo_value(std::string_view cpuinfo, std::string_view key) {
    while (!cpuinfo.empty()) {
        const std::size_t eol = std::min(cpuinfo.find('\n'), cpuinfo.size());
        const std::string_view line = cpuinfo.substr(0, eol);
        cpuinfo.remove_prefix(std::min(eol + 1, cpuinfo.size()));
        const std::size_t colon = line.find(':');
        if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == key) {
            return trimmed(line.substr(colon + 1));
        }
    }
    return {};
}

void read_cpuinfo(std::string_view text, CpuInfo& out) {
    out.vendor = cpuinfo_value(text, "vendor_id");
    out.model = cpuinfo_value(text, "model name");
    std::string_view flags = cpuinfo_value(text, "flags");
    if (flags.empty()) flags = cpuinfo_value(text, "Features"); // arm64
    while (!flags.empty()) {
        const std::size_t end = std::min(flags.find(' '), flags.size());
        if (end > 0) out.flags.emplace_back(flags.substr(0, end));
        flags.remove_prefix(std::min(end + 1, flags.size()));
    }
}

void read_caches(const std::filesystem::path& cpu_dir, int cpu,
                 std::set<std::vector<int>>& l3_groups, CpuInfo& out) {
    for (int i = 0; i < kCacheIndexMax; ++i) {
        const std::filesystem::path dir =
            cpu_dir / ("cpu" + std::to_string(cpu)) / "cache" / ("index" + std::to_string(i));
        const auto level = read_small_file(dir / "level");
        if (!level) return;
        const std::string type = read_small_file(dir / "type").value_or("");
        if (trimmed(type) == "Instruction") continue;
        const std::uint64_t bytes = parse_cache_size(read_small_file(dir / "size").value_or(""));
        const int number = to_number<int>(trimmed(*level)).value_or(0);
        if (number == 1) out.l1d_bytes = std::max(out.l1d_bytes, bytes);
        if (number == 2) out.l2_bytes = std::max(out.l2_bytes, bytes);
        if (number == 3) {
            out.l3_bytes = std::max(out.l3_bytes, bytes);
            l3_groups.insert(parse_cpu_list(read_small_file(dir / "shared_cpu_list").value_or("")));
        }
    }
}

/// Distinct sets of sibling threads; none when one of them is unknown.
std::vector<std::vector<int>> read_cores(const std::filesystem::path& cpu_dir,
                                         const std::vector<int>& online) {
    std::set<std::vector<int>> cores;
    for (const int cpu : online) {
        const auto siblings = read_small_file(cpu_dir / ("cpu" + std::to_string(cpu)) / "topology" /
                                              "thread_siblings_list");
        if (!siblings) return {};
        cores.insert(parse_cpu_list(*siblings));
    }
    return {cores.begin(), cores.end()};
}

/// Processors of each memory node; nodes without processors are left out.
std::vector<std::vector<int>> read_nodes(const std::filesystem::path& node_dir) {
    std::vector<std::vector<int>> nodes;
    const auto online = read_small_file(node_dir / "online");
    if (!online) return nodes;
    for (const int node : parse_cpu_list(*online)) {
        const auto text = read_small_file(node_dir / ("node" + std::to_string(node)) / "cpulist");
        std::vector<int> cpus = parse_cpu_list(text.value_or(""));
        if (!cpus.empty()) nodes.push_back(std::move(cpus));
    }
    return nodes;
}

std::vector<int> affinity() {
    // The mask grows with the machine; the kernel refuses one that is too small.
    for (int cpus = 1024; cpus <= kCpusMax; cpus *= 2) {
        const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(
            CPU_ALLOC(static_cast<std::size_t>(cpus)), [](cpu_set_t* s) { CPU_FREE(s); });
        const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
        if (!set || sched_getaffinity(0, bytes, set.get()) != 0) continue;
        std::vector<int> out;
        for (int i = 0; i < cpus; ++i) {
            if (CPU_ISSET_S(static_cast<std::size_t>(i), bytes, set.get())) out.push_back(i);
        }
        return out;
    }
    return {};
}

} // namespace

bool CpuInfo::has_flag(std::string_view flag) const noexcept {
    return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

int CpuInfo::n_compute_threads() const noexcept {
    int n = static_cast<int>(usable.size());
    if (n == 0) n = n_online;
    // With two threads a core, the second adds nothing to code that fills the vector units.
    if (n_cores > 0) n = std::min(n, n_cores);
    if (quota_cpus > 0.0) n = std::min(n, static_cast<int>(std::ceil(quota_cpus)));
    return std::max(n, 1);
}

std::vector<int> parse_cpu_list(std::string_view text) {
    std::vector<int> out;
    text = trimmed(text);
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(','), text.size());
        const std::string_view range = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t dash = range.find('-');
        const auto first = to_number<int>(range.substr(0, dash));
        const auto last =
            dash == std::string_view::npos ? first : to_number<int>(range.substr(dash + 1));
        if (!first || !last || *first < 0 || *last >= kCpusMax) continue;
        for (int i = *first; i <= *last; ++i)
            out.push_back(i);
    }
    return out;
}

std::uint64_t parse_cache_size(std::string_view text) noexcept {
    text = trimmed(text);
    if (text.empty()) return 0;
    const int shift = text.back() == 'K'   ? 10
                      : text.back() == 'M' ? 20
                      : text.back() == 'G' ? 30
                                           : 0;
    if (shift != 0) text.remove_suffix(1);
    const std::uint64_t value = to_number<std::uint64_t>(text).value_or(0);
    return value > (UINT64_MAX >> shift) ? 0 : value << shift;
}

double parse_cpu_max(std::string_view text) noexcept {
    text = trimmed(text);
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return 0.0;
    const auto quota = to_number<std::uint64_t>(text.substr(0, space));
    const auto period = to_number<std::uint64_t>(text.substr(space + 1));
    if (!quota || !period || *period == 0) return 0.0; // "max": no limit
    return static_cast<double>(*quota) / static_cast<double>(*period);
}

CpuInfo read_cpu_info(const std::filesystem::path& root, std::vector<int> usable) {
    CpuInfo out;
    out.usable = std::move(usable);
    if (const auto text = read_small_file(root / "proc/cpuinfo")) read_cpuinfo(*text, out);
    const std::filesystem::path cpu_dir = root / "sys/devices/system/cpu";
    std::vector<int> online;
    if (const auto text = read_small_file(cpu_dir / "online")) online = parse_cpu_list(*text);
    out.n_online = static_cast<int>(online.size());
    out.cores = read_cores(cpu_dir, online);
    out.n_cores = static_cast<int>(out.cores.size());
    out.nodes = read_nodes(root / "sys/devices/system/node");
    std::set<std::vector<int>> l3_groups;
    for (const int cpu : online)
        read_caches(cpu_dir, cpu, l3_groups, out);
    out.l3_groups.assign(l3_groups.begin(), l3_groups.end());
    if (const auto text = read_small_file(root / "sys/fs/cgroup/cpu.max")) {
        out.quota_cpus = parse_cpu_max(*text);
    }
    return out;
}

CpuInfo read_cpu_info() {
    return read_cpu_info("/", affinity());
}

} // namespace bloom::hw
