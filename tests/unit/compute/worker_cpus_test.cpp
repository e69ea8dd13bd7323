#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include <bloom/compute/worker_cpus.hpp>

namespace bloom::compute {
namespace {

using Cpus = std::vector<int>;

/// The part of /sys that says which CPUs belong together, as a kernel writes it.
class SysTree {
public:
    SysTree() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "worker_cpus_XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) std::abort();
        root_ = pattern;
    }

    SysTree(const SysTree&) = delete;
    SysTree& operator=(const SysTree&) = delete;

    ~SysTree() { std::filesystem::remove_all(root_); }

    void online(const std::string& cpus) { write("cpu/online", cpus); }

    void core(const Cpus& threads, const std::string& list) {
        for (const int cpu : threads)
            write("cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list", list);
    }

    void nodes(const std::string& list) { write("node/online", list); }

    void node(int n, const std::string& cpus) {
        write("node/node" + std::to_string(n) + "/cpulist", cpus);
    }

    hw::CpuInfo read(Cpus usable) const { return hw::read_cpu_info(root_, std::move(usable)); }

private:
    void write(const std::string& name, const std::string& text) const {
        const auto path = root_ / "sys/devices/system" / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text << '\n';
    }

    std::filesystem::path root_;
};

Cpus up_to(int n) {
    Cpus out(static_cast<std::size_t>(n));
    std::iota(out.begin(), out.end(), 0);
    return out;
}

/// Two sockets of four cores with two threads each, numbered as two-socket servers number them.
void two_sockets(SysTree& tree) {
    tree.online("0-15");
    for (int core = 0; core < 8; ++core)
        tree.core({core, core + 8}, std::to_string(core) + "," + std::to_string(core + 8));
    tree.nodes("0-1");
    tree.node(0, "0-3,8-11");
    tree.node(1, "4-7,12-15");
}

TEST(WorkerCpus, OneNodeWithoutThreads) {
    SysTree tree;
    tree.online("0-1");
    tree.core({0}, "0");
    tree.core({1}, "1");
    tree.nodes("0");
    tree.node(0, "0-1");
    EXPECT_EQ(worker_cpus(tree.read({0, 1}), 2), (Cpus{0, 1}));
    EXPECT_EQ(worker_cpus(tree.read({0, 1}), 1), Cpus{0});
    EXPECT_EQ(worker_cpus(tree.read({1}), 1), Cpus{1});
    EXPECT_EQ(worker_cpus(tree.read({0, 1}), 4), (Cpus{0, 0, 1, 1}));
}

TEST(WorkerCpus, ThreadsOfOneCoreNextToEachOther) {
    SysTree tree; // a desktop: 0 and 1 share a core, 2 and 3 the next
    tree.online("0-7");
    for (int cpu = 0; cpu < 8; cpu += 2)
        tree.core({cpu, cpu + 1}, std::to_string(cpu) + "-" + std::to_string(cpu + 1));
    EXPECT_EQ(worker_cpus(tree.read(up_to(8)), 4), (Cpus{0, 2, 4, 6}));
    EXPECT_EQ(worker_cpus(tree.read(up_to(8)), 6), (Cpus{0, 1, 2, 3, 4, 6}));
    EXPECT_EQ(worker_cpus(tree.read({1, 2, 3}), 2), (Cpus{1, 2})) << "the first that may be used";
}

TEST(WorkerCpus, NodesGetNeighboursInProportionToTheirCores) {
    SysTree tree;
    two_sockets(tree);
    const hw::CpuInfo all = tree.read(up_to(16));
    EXPECT_EQ(all.n_compute_threads(), 8);
    EXPECT_EQ(worker_cpus(all, 8), (Cpus{0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(worker_cpus(all, 4), (Cpus{0, 1, 4, 5}));
    EXPECT_EQ(worker_cpus(all, 3), (Cpus{0, 4, 5}));
    EXPECT_EQ(worker_cpus(all, 16), (Cpus{0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15}));
    // A mask that leaves one node two cores and the other four.
    EXPECT_EQ(worker_cpus(tree.read({2, 3, 4, 5, 6, 7, 12}), 6), (Cpus{2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(worker_cpus(tree.read({2, 3, 4, 5, 6, 7, 12}), 3), (Cpus{2, 4, 5}));
}

TEST(WorkerCpus, EveryCountStaysInsideTheMaskNodeByNode) {
    SysTree tree;
    two_sockets(tree);
    const auto node_of = [](int cpu) { return cpu % 8 / 4; };
    for (const Cpus& usable : {up_to(16), Cpus{1, 3, 5, 9, 12}, Cpus{6}, Cpus{0, 8}}) {
        for (int n = 1; n <= 20; ++n) {
            const Cpus cpus = worker_cpus(tree.read(usable), n);
            ASSERT_EQ(cpus.size(), static_cast<std::size_t>(n));
            for (const int cpu : cpus)
                EXPECT_TRUE(std::ranges::find(usable, cpu) != usable.end()) << cpu;
            EXPECT_TRUE(std::ranges::is_sorted(cpus, {}, node_of));
        }
    }
}

TEST(WorkerCpus, NothingKnownMeansAnywhere) {
    SysTree tree;
    EXPECT_TRUE(worker_cpus(tree.read({}), 3).empty());
    EXPECT_EQ(worker_cpus(tree.read({0, 1, 2}), 2), (Cpus{0, 1}));
}

TEST(WorkerCpus, ListsOfNodesThatContradictCountACpuOnce) {
    SysTree tree;
    tree.online("0-3");
    tree.nodes("0-2");
    tree.node(0, "0-2");
    tree.node(1, "2-3");
    EXPECT_EQ(worker_cpus(tree.read(up_to(4)), 4), (Cpus{0, 1, 2, 3}));
}

} // namespace
} // namespace bloom::compute
