#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <time.h>
#include <vector>

/// What the kernels' benchmarks share: clocks, memory on huge pages, pinned threads.
namespace bloom::bench {

inline constexpr std::size_t kHugePage = 2U << 20;
inline constexpr std::size_t kProbeBytes = 256U << 20; ///< read by the roofs' probe, part by part
/// A repetition that got less of its processors than this is dropped.
inline constexpr double kCpuShareMin = 0.94;

inline double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

inline double cpu_s() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Memory on huge pages where possible; never given back.
inline std::uint8_t* huge_alloc(std::size_t bytes) {
    const std::size_t size = (bytes / kHugePage + 2) * kHugePage;
    void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        std::fprintf(stderr, "cannot map %zu bytes\n", size);
        std::exit(1);
    }
    const auto address =
        (reinterpret_cast<std::uintptr_t>(base) + kHugePage - 1) / kHugePage * kHugePage;
    madvise(reinterpret_cast<void*>(address), size - kHugePage, MADV_HUGEPAGE);
    return reinterpret_cast<std::uint8_t*>(address);
}

inline double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v.empty() ? 0.0 : v[v.size() / 2];
}

inline std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at <= list.size();) {
        const std::size_t comma = std::min(list.find(',', at), list.size());
        out.push_back(list.substr(at, comma - at));
        at = comma + 1;
    }
    return out;
}

/// Pinned threads that spin between jobs; the caller is the first.
class Team {
public:
    explicit Team(int n) : n_(n) {
        sched_getaffinity(0, sizeof all_, &all_);
        pin(0);
        for (int i = 1; i < n; ++i)
            threads_.emplace_back([this, i] { work(i); });
    }

    ~Team() {
        stop_ = true;
        for (std::thread& t : threads_)
            t.join();
        sched_setaffinity(0, sizeof all_, &all_);
    }

    void run(const std::function<void(int)>& job) {
        job_ = &job;
        left_ = n_ - 1;
        generation_.fetch_add(1);
        job(0);
        while (left_.load() != 0) {
        }
    }

    /// All threads of the current job meet here.
    void barrier() {
        const int phase = phase_.load();
        if (arrived_.fetch_add(1) == n_ - 1) {
            arrived_ = 0;
            phase_.fetch_add(1);
        } else {
            while (phase_.load() == phase) {
            }
        }
    }

private:
    static void pin(int cpu) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }

    void work(int i) {
        pin(i);
        int seen = 0;
        while (true) {
            while (generation_.load() == seen && !stop_) {
            }
            if (stop_) return;
            seen = generation_;
            (*job_)(i);
            left_.fetch_sub(1);
        }
    }

    int n_;
    cpu_set_t all_{};
    std::vector<std::thread> threads_;
    const std::function<void(int)>* job_ = nullptr;
    std::atomic<int> left_{0};
    std::atomic<int> generation_{0};
    std::atomic<int> arrived_{0};
    std::atomic<int> phase_{0};
    std::atomic<bool> stop_{false};
};

} // namespace bloom::bench
