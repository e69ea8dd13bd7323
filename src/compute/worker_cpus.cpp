#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/compute/worker_cpus.hpp>

namespace bloom::compute {
namespace {

/// Usable CPUs of one memory node: one of each core first, ascending, then the others.
struct Node {
    std::vector<int> cpus;
    std::int64_t n_cores = 0;
};

Node order_node(const std::vector<int>& cpus, const std::set<int>& second_threads) {
    Node node;
    node.cpus = cpus;
    std::ranges::sort(node.cpus, {},
                      [&](int cpu) { return std::pair(second_threads.contains(cpu), cpu); });
    node.n_cores =
        std::ranges::count_if(node.cpus, [&](int cpu) { return !second_threads.contains(cpu); });
    return node;
}

/// CPUs of which a lower one of the same core is usable too.
std::set<int> find_second_threads(const hw::CpuInfo& info, const std::set<int>& usable) {
    std::set<int> out;
    for (const std::vector<int>& core : info.cores) {
        bool first = true;
        for (const int cpu : std::set<int>(core.begin(), core.end())) {
            if (!usable.contains(cpu)) continue;
            if (!first) out.insert(cpu);
            first = false;
        }
    }
    return out;
}

} // namespace

std::vector<int> worker_cpus(const hw::CpuInfo& info, int n_workers) {
    BLOOM_CHECK(n_workers >= 1);
    const std::set<int> usable(info.usable.begin(), info.usable.end());
    const std::set<int> second_threads = find_second_threads(info, usable);
    std::set<int> homeless = usable;
    std::vector<Node> nodes;
    const auto add = [&](const std::vector<int>& cpus) {
        if (!cpus.empty()) nodes.push_back(order_node(cpus, second_threads));
    };
    for (const std::vector<int>& listed : info.nodes) {
        std::vector<int> here;
        for (const int cpu : listed) {
            if (homeless.erase(cpu) != 0) here.push_back(cpu);
        }
        add(here);
    }
    add({homeless.begin(), homeless.end()}); // nodes unknown: all are one
    std::int64_t n_cores = 0;
    std::int64_t n_cpus = 0;
    for (const Node& node : nodes) {
        n_cores += node.n_cores;
        n_cpus += static_cast<std::int64_t>(node.cpus.size());
    }
    const bool by_core = n_workers <= n_cores;
    const std::int64_t total = by_core ? n_cores : n_cpus;
    std::vector<int> out;
    std::int64_t passed = 0;
    for (const Node& node : nodes) {
        const std::int64_t begin = n_workers * passed / total;
        passed += by_core ? node.n_cores : static_cast<std::int64_t>(node.cpus.size());
        const std::int64_t share = n_workers * passed / total - begin;
        std::vector<int> mine;
        for (std::int64_t i = 0; i < share; ++i)
            mine.push_back(node.cpus[static_cast<std::size_t>(i) % node.cpus.size()]);
        std::ranges::sort(mine); // neighbours share caches
        out.insert(out.end(), mine.begin(), mine.end());
    }
    return out;
}

} // namespace bloom::compute
