#include <algorithm>
#include <chrono>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include <bloom/base/check.hpp>
#include <bloom/base/thread.hpp>
#include <bloom/compute/team.hpp>

namespace bloom::compute {
namespace {

/// Spins before a waiter starts to give its slice away. A pause is 10 to 40 ns on current x86
/// cores, so this is a few tens of microseconds: longer than an operation of a small model, shorter
/// than a scheduler slice that we would otherwise burn while the thread we wait for is not running.
constexpr int kSpins = 2048;

/// Idle time after which a worker outside a step parks.
constexpr std::chrono::microseconds kParkAfter{50};

/// Workers that meet at one counter. Each arrival moves the counter's cache line, 50 to 100 ns
/// between cores; with two levels, 64 workers wait for 8 + 8 such moves instead of 64.
constexpr int kGroupSize = 8;

/// One worker may serve at most this many: a bound against nonsense in the configuration.
constexpr int kMaxWorkers = 1024;

void relax() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// A wait that has gone round `spins` times without what it waits for.
void wait_a_little(int spins) noexcept {
    if (spins < kSpins) {
        relax();
    } else {
        ::sched_yield();
    }
}

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
    static_cast<void>(
        ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0));
}

void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
    static_cast<void>(
        ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0));
}

} // namespace

SerialTeam::SerialTeam(int size) noexcept : size_(size) {
    BLOOM_CHECK(size >= 1);
}

SpinTeam::SpinTeam(int size, std::span<const int> cpus)
    : size_(size), cpus_(cpus.begin(), cpus.end()),
      n_groups_((size + kGroupSize - 1) / kGroupSize) {
    BLOOM_CHECK(size >= 1);
    BLOOM_CHECK(size <= kMaxWorkers);
    groups_ = std::make_unique<Group[]>(static_cast<std::size_t>(n_groups_));
    threads_.reserve(static_cast<std::size_t>(size - 1));
    for (int w = 1; w < size; ++w) {
        const int cpu = cpus.empty() ? -1 : cpus[static_cast<std::size_t>(w) % cpus.size()];
        threads_.emplace_back([this, w, cpu] { worker_main(w, cpu); });
    }
}

SpinTeam::~SpinTeam() {
    stop_ = true;
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    wake_parked();
    for (std::thread& t : threads_)
        t.join();
}

void SpinTeam::run(FunctionRef<void(int worker)> work) {
    if (size_ == 1) {
        work(0);
        return;
    }
    work_ = &work;
    running_.store(size_ - 1, std::memory_order_relaxed);
    // seq_cst against parked_: either a parking worker sees the new epoch or we see it parked.
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    wake_parked();
    work(0);
    for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins)
        wait_a_little(spins);
}

void SpinTeam::run_phases(std::int32_t n_phases,
                          FunctionRef<void(std::int32_t phase, int worker)> work) {
    if (n_phases <= 0) return;
    if (size_ == 1) {
        for (std::int32_t p = 0; p < n_phases; ++p)
            work(p, 0);
        return;
    }
    run([&](int w) {
        work(0, w);
        for (std::int32_t p = 1; p < n_phases; ++p) {
            barrier(w);
            work(p, w);
        }
    });
}

void SpinTeam::barrier(int worker) noexcept {
    const std::uint32_t gate = gate_.load(std::memory_order_acquire);
    if (arrives_last(worker)) {
        gate_.store(gate + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; gate_.load(std::memory_order_acquire) == gate; ++spins)
        wait_a_little(spins);
}

bool SpinTeam::arrives_last(int worker) noexcept {
    const int group = worker / kGroupSize;
    const int members = std::min(kGroupSize, size_ - group * kGroupSize);
    std::atomic<int>& mine = groups_[static_cast<std::size_t>(group)].arrived;
    if (mine.fetch_add(1, std::memory_order_acq_rel) != members - 1) return false;
    mine.store(0, std::memory_order_relaxed); // nobody comes again before the gate has opened
    if (n_groups_ == 1) return true;
    if (all_.arrived.fetch_add(1, std::memory_order_acq_rel) != n_groups_ - 1) return false;
    all_.arrived.store(0, std::memory_order_relaxed);
    return true;
}

void SpinTeam::begin_step() {
    in_step_.store(true, std::memory_order_seq_cst);
    wake_parked();
}

void SpinTeam::end_step() {
    in_step_.store(false, std::memory_order_relaxed);
}

void SpinTeam::pin_caller() {
    if (!cpus_.empty()) pin_current_thread(cpus_[0]);
}

void SpinTeam::wake_parked() noexcept {
    if (parked_.load(std::memory_order_seq_cst) != 0) futex_wake_all(epoch_);
}

std::uint32_t SpinTeam::await_job(std::uint32_t seen) {
    using Clock = std::chrono::steady_clock;
    Clock::time_point idle_since{};
    for (int spins = 0;; ++spins) {
        const std::uint32_t now = epoch_.load(std::memory_order_acquire);
        if (now != seen) return now;
        if (spins < kSpins) {
            relax();
            continue;
        }
        if (in_step_.load(std::memory_order_relaxed)) {
            ::sched_yield();
            idle_since = {};
            continue;
        }
        if (idle_since == Clock::time_point{}) idle_since = Clock::now();
        if (Clock::now() - idle_since < kParkAfter) {
            ::sched_yield();
            continue;
        }
        parked_.fetch_add(1, std::memory_order_seq_cst);
        // The kernel compares again, so a job published between the two is not slept through.
        if (epoch_.load(std::memory_order_seq_cst) == seen) futex_wait(epoch_, seen);
        parked_.fetch_sub(1, std::memory_order_seq_cst);
        spins = 0;
        idle_since = {};
    }
}

void SpinTeam::worker_main(int worker, int cpu) {
    static_cast<void>(::pthread_setname_np(::pthread_self(), "bloom-compute"));
    become_compute_thread();
    if (cpu >= 0) pin_current_thread(cpu);
    std::uint32_t seen = 0;
    for (;;) {
        seen = await_job(seen);
        if (stop_) return;
        (*work_)(worker);
        running_.fetch_sub(1, std::memory_order_release);
    }
}

bool pin_current_thread(int cpu) noexcept {
    if (cpu < 0 || cpu >= CPU_SETSIZE) return false;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    return ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set) == 0;
}

std::vector<int> allowed_cpus() {
    std::vector<int> cpus;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
        }
    }
    if (cpus.empty()) cpus.push_back(0);
    return cpus;
}

} // namespace bloom::compute
