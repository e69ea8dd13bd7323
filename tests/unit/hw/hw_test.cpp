#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include <bloom/hw/cpu_info.hpp>
#include <bloom/hw/memory_info.hpp>

namespace bloom::hw {
namespace {

/// A directory that looks like a root file system, removed at the end.
class FakeRoot {
public:
    FakeRoot() {
        std::string pattern = (std::filesystem::temp_directory_path() / "hw_test_XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) std::abort();
        root_ = pattern;
    }

    FakeRoot(const FakeRoot&) = delete;
    FakeRoot& operator=(const FakeRoot&) = delete;

    ~FakeRoot() { std::filesystem::remove_all(root_); }

    const std::filesystem::path& path() const { return root_; }

    void write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories((root_ / name).parent_path());
        std::ofstream(root_ / name) << text;
    }

    void cache(int cpu, int index, const std::string& level, const std::string& type,
               const std::string& size, const std::string& shared) const {
        const std::string dir = "sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                                "/cache/index" + std::to_string(index) + "/";
        write(dir + "level", level + "\n");
        write(dir + "type", type + "\n");
        write(dir + "size", size + "\n");
        write(dir + "shared_cpu_list", shared + "\n");
    }

private:
    std::filesystem::path root_;
};

TEST(CpuList, Parses) {
    EXPECT_EQ(parse_cpu_list("0-3,8,10-11\n"), (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
    EXPECT_EQ(parse_cpu_list("5"), std::vector<int>{5});
    EXPECT_TRUE(parse_cpu_list("").empty());
    EXPECT_TRUE(parse_cpu_list("\n").empty());
    EXPECT_EQ(parse_cpu_list("x,3-,-2,4"), std::vector<int>{4});
    EXPECT_TRUE(parse_cpu_list("0-999999999").empty());
    EXPECT_TRUE(parse_cpu_list("9-3").empty());
}

TEST(CacheSize, Parses) {
    EXPECT_EQ(parse_cache_size("48K\n"), 48U << 10);
    EXPECT_EQ(parse_cache_size("32768K"), 32U << 20);
    EXPECT_EQ(parse_cache_size("1M"), 1U << 20);
    EXPECT_EQ(parse_cache_size("512"), 512U);
    EXPECT_EQ(parse_cache_size(""), 0U);
    EXPECT_EQ(parse_cache_size("K"), 0U);
    EXPECT_EQ(parse_cache_size("-1K"), 0U);
    EXPECT_EQ(parse_cache_size("18446744073709551615G"), 0U);
}

TEST(CpuMax, Parses) {
    EXPECT_EQ(parse_cpu_max("250000 100000\n"), 2.5);
    EXPECT_EQ(parse_cpu_max("max 100000"), 0.0);
    EXPECT_EQ(parse_cpu_max("100000 0"), 0.0);
    EXPECT_EQ(parse_cpu_max("100000"), 0.0);
    EXPECT_EQ(parse_cpu_max(""), 0.0);
}

TEST(CpuInfo, ReadsAMachineWithTwoThreadsPerCoreAndTwoCaches) {
    const FakeRoot root;
    root.write("proc/cpuinfo",
               "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: Test 9000\n"
               "flags\t\t: fpu avx2  fma\n\nprocessor\t: 1\nmodel name\t: Other\n");
    root.write("sys/devices/system/cpu/online", "0-7\n");
    for (int cpu = 0; cpu < 8; ++cpu) {
        const std::string pair = std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4);
        const std::string name = "sys/devices/system/cpu/cpu" + std::to_string(cpu);
        root.write(name + "/topology/thread_siblings_list", pair + "\n");
        root.cache(cpu, 0, "1", "Data", "32K", pair);
        root.cache(cpu, 1, "1", "Instruction", "64K", pair);
        root.cache(cpu, 2, "2", "Unified", "1024K", pair);
        root.cache(cpu, 3, "3", "Unified", "32768K", cpu % 4 < 2 ? "0-1,4-5" : "2-3,6-7");
    }
    std::vector<int> all(8);
    std::iota(all.begin(), all.end(), 0);
    const CpuInfo info = read_cpu_info(root.path(), all);
    EXPECT_EQ(info.vendor, "AuthenticAMD");
    EXPECT_EQ(info.model, "Test 9000");
    EXPECT_EQ(info.flags, (std::vector<std::string>{"fpu", "avx2", "fma"}));
    EXPECT_TRUE(info.has_flag("avx2"));
    EXPECT_FALSE(info.has_flag("avx"));
    EXPECT_EQ(info.n_online, 8);
    EXPECT_EQ(info.n_cores, 4);
    EXPECT_EQ(info.l1d_bytes, 32U << 10);
    EXPECT_EQ(info.l2_bytes, 1U << 20);
    EXPECT_EQ(info.l3_bytes, 32U << 20);
    EXPECT_EQ(info.l3_groups, (std::vector<std::vector<int>>{{0, 1, 4, 5}, {2, 3, 6, 7}}));
    EXPECT_EQ(info.quota_cpus, 0.0);
    EXPECT_EQ(info.n_compute_threads(), 4);
    EXPECT_EQ(read_cpu_info(root.path(), {0, 1}).n_compute_threads(), 2);
    root.write("sys/fs/cgroup/cpu.max", "150000 100000\n");
    EXPECT_EQ(read_cpu_info(root.path(), all).n_compute_threads(), 2);
    root.write("sys/fs/cgroup/cpu.max", "1000 100000\n");
    EXPECT_EQ(read_cpu_info(root.path(), all).n_compute_threads(), 1);
}

TEST(CpuInfo, AnEmptyMachineIsUnknownNotAnError) {
    const FakeRoot root;
    const CpuInfo info = read_cpu_info(root.path(), {});
    EXPECT_EQ(info.n_online, 0);
    EXPECT_EQ(info.n_cores, 0);
    EXPECT_TRUE(info.l3_groups.empty());
    EXPECT_EQ(info.n_compute_threads(), 1);
    EXPECT_EQ(read_cpu_info(root.path(), {3, 4, 5}).n_compute_threads(), 3);
}

TEST(CpuInfo, ThisMachineHasAtLeastOneProcessor) {
    const CpuInfo info = read_cpu_info();
    EXPECT_FALSE(info.usable.empty());
    EXPECT_GE(info.n_compute_threads(), 1);
    EXPECT_LE(info.n_compute_threads(), static_cast<int>(info.usable.size()));
}

TEST(MemoryInfo, Meminfo) {
    const std::string text = "MemTotal:       24576 kB\nMemFree:  100 kB\nMemAvailable:   2048 kB\n"
                             "Broken: 12\nHugePages_Total:       0\n";
    EXPECT_EQ(meminfo_bytes(text, "MemTotal"), 24576U << 10);
    EXPECT_EQ(meminfo_bytes(text, "MemAvailable"), 2048U << 10);
    EXPECT_EQ(meminfo_bytes(text, "Mem"), 0U);
    EXPECT_EQ(meminfo_bytes(text, "Broken"), 0U);
    EXPECT_EQ(meminfo_bytes(text, "SwapTotal"), 0U);
    EXPECT_EQ(meminfo_bytes("MemTotal: 99999999999999999999 kB\n", "MemTotal"), 0U);
    EXPECT_EQ(meminfo_bytes("", "MemTotal"), 0U);
}

// A limit holds for everything below it, and what is used of it is gone but for cached files.
TEST(MemoryInfo, TheTightestCgroupCounts) {
    const FakeRoot root;
    root.write("proc/meminfo", "MemTotal: 40960 kB\nMemAvailable: 30720 kB\n");
    root.write("proc/self/cgroup", "0::/a.slice/b.scope\n");
    root.write("sys/fs/cgroup/a.slice/b.scope/memory.max", "max\n");
    root.write("sys/fs/cgroup/a.slice/memory.max", "8388608\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 8U << 20);
    root.write("sys/fs/cgroup/a.slice/memory.current", "3145728\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 5U << 20);
    root.write("sys/fs/cgroup/a.slice/memory.stat", "anon 1\ninactive_file 1048576\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 6U << 20);
    EXPECT_EQ(read_memory_info(root.path()).limit_bytes, 8U << 20);
    root.write("sys/fs/cgroup/a.slice/b.scope/memory.max", "2097152\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 2U << 20);
    root.write("sys/fs/cgroup/a.slice/b.scope/memory.current", "9999999\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 1U) << "used up is not unknown";
    root.write("proc/self/cgroup", "0::/../../x\n");
    EXPECT_EQ(read_memory_info(root.path()).limit_bytes, 0U) << "outside of what is mounted";
}

TEST(MemoryInfo, ReadsVersionOneOfCgroups) {
    const FakeRoot root;
    root.write("proc/meminfo", "MemTotal: 40960 kB\nMemAvailable: 30720 kB\n");
    root.write("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/id\nnonsense\n");
    root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    EXPECT_EQ(read_memory_info(root.path()).limit_bytes, 0U);
    root.write("sys/fs/cgroup/memory/docker/id/memory.limit_in_bytes", "4194304\n");
    root.write("sys/fs/cgroup/memory/docker/id/memory.usage_in_bytes", "2097152\n");
    root.write("sys/fs/cgroup/memory/docker/id/memory.stat", "total_inactive_file 1048576\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 3U << 20);
}

TEST(MemoryInfo, ReadsLimitAndHugePageMode) {
    const FakeRoot root;
    root.write("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 3072 kB\n");
    MemoryInfo info = read_memory_info(root.path());
    EXPECT_EQ(info.total_bytes, 4U << 20);
    EXPECT_EQ(info.limit_bytes, 0U);
    EXPECT_EQ(info.usable_bytes(), 3U << 20);
    EXPECT_EQ(info.transparent_huge_pages, HugePages::unknown);
    root.write("sys/fs/cgroup/memory.max", "max\n");
    EXPECT_EQ(read_memory_info(root.path()).limit_bytes, 0U);
    root.write("sys/fs/cgroup/memory.max", "1048576\n");
    EXPECT_EQ(read_memory_info(root.path()).usable_bytes(), 1U << 20);
    EXPECT_EQ(read_memory_info(root.path()).limit_used_bytes, 0U);
    const std::string mode = "sys/kernel/mm/transparent_hugepage/enabled";
    root.write(mode, "always [madvise] never\n");
    EXPECT_EQ(read_memory_info(root.path()).transparent_huge_pages, HugePages::by_advice);
    root.write(mode, "[always] madvise never\n");
    EXPECT_EQ(read_memory_info(root.path()).transparent_huge_pages, HugePages::always);
    root.write(mode, "always madvise [never]\n");
    EXPECT_EQ(read_memory_info(root.path()).transparent_huge_pages, HugePages::never);
}

TEST(MemoryInfo, ThisMachine) {
    const MemoryInfo info = read_memory_info();
    EXPECT_GT(info.total_bytes, 0U);
    EXPECT_GE(info.total_bytes, info.available_bytes);
    EXPECT_GE(info.page_bytes, 4096U);
}

} // namespace
} // namespace bloom::hw
