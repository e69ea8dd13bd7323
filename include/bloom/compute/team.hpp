#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include <bloom/base/function_ref.hpp>

namespace bloom::compute {

/// A fixed set of workers that run one function together. The caller is worker 0; run() returns
/// when all are done, which is the one barrier an operation costs. Work is split by the function
/// itself from its worker number: static, so the same inputs always meet the same split.
/// Thread: one caller at a time, always the same one between begin_step() and end_step().
class Team {
public:
    virtual ~Team() = default;

    /// Workers, the caller included; at least 1.
    virtual int size() const noexcept = 0;
    /// Calls work(w) once for every w in [0, size()). Everything written before is visible to the
    /// workers, everything they write is visible on return. `work` must not call run().
    virtual void run(FunctionRef<void(int worker)> work) = 0;

    /// Calls work(phase, w) for every phase in [0, n_phases) and every w: a phase begins when all
    /// workers have ended the one before, with what they wrote visible. Workers are woken once.
    virtual void run_phases(std::int32_t n_phases,
                            FunctionRef<void(std::int32_t phase, int worker)> work) {
        for (std::int32_t p = 0; p < n_phases; ++p)
            run([&](int w) { work(p, w); });
    }

    /// Between these two the workers stay awake: runs follow each other closely.
    virtual void begin_step() {}

    virtual void end_step() {}

    /// CPUs that the workers are pinned to, worker w to the (w % n)th; empty: to none.
    virtual std::span<const int> cpus() const noexcept { return {}; }

    /// Makes the calling thread worker 0 for good: it goes to that worker's CPU. For a thread that
    /// does nothing else; threads that it starts later inherit the CPU.
    virtual void pin_caller() {}
};

/// All workers in turn on the calling thread: simulation and tests of splits.
class SerialTeam final : public Team {
public:
    explicit SerialTeam(int size = 1) noexcept;

    int size() const noexcept override { return size_; }

    void run(FunctionRef<void(int worker)> work) override {
        for (int w = 0; w < size_; ++w)
            work(w);
    }

private:
    int size_;
};

/// Threads that spin while a step runs and park on a futex about 50 us after it.
/// A waiting thread spins briefly and then yields its time slice, so that on a machine with as many
/// workers as cores the serving threads still get theirs. Nothing here takes a lock or memory after
/// construction, and no system call is made between begin_step() and end_step() except the yields
/// of a wait that has become long, and one wake where workers were parked.
class SpinTeam final : public Team {
public:
    /// `size` workers, size - 1 of them new threads. Worker w >= 1 is pinned to cpus[w % n] when
    /// cpus is not empty; worker 0 with pin_caller().
    explicit SpinTeam(int size, std::span<const int> cpus = {});
    ~SpinTeam() override;

    SpinTeam(const SpinTeam&) = delete;
    SpinTeam& operator=(const SpinTeam&) = delete;

    int size() const noexcept override { return size_; }

    std::span<const int> cpus() const noexcept override { return cpus_; }

    void run(FunctionRef<void(int worker)> work) override;
    void run_phases(std::int32_t n_phases,
                    FunctionRef<void(std::int32_t phase, int worker)> work) override;
    void begin_step() override;
    void end_step() override;
    void pin_caller() override;

private:
    /// Workers that count their arrivals together.
    struct alignas(64) Group {
        std::atomic<int> arrived{0};
    };

    void worker_main(int worker, int cpu);
    std::uint32_t await_job(std::uint32_t seen);
    void barrier(int worker) noexcept;
    bool arrives_last(int worker) noexcept;
    void wake_parked() noexcept;

    // Immutable after construction.
    int size_;
    std::vector<int> cpus_;
    int n_groups_;
    std::vector<std::thread> threads_;

    // Written by the caller before epoch_ moves, read by workers after they saw it move.
    const FunctionRef<void(int)>* work_ = nullptr;
    bool stop_ = false;

    // Each on its own cache line: the workers poll the first, the caller the second.
    alignas(64) std::atomic<std::uint32_t> epoch_{0};
    alignas(64) std::atomic<int> running_{0};
    alignas(64) std::atomic<int> parked_{0};
    std::atomic<bool> in_step_{false};

    // Between phases: the last of a group arrives for it, the last group opens the gate for all.
    // The gate has its line for itself, so that arrivals do not disturb those who watch it.
    std::unique_ptr<Group[]> groups_;
    Group all_;
    alignas(64) std::atomic<std::uint32_t> gate_{0};
};

/// Pins the calling thread to one CPU, numbers from 0. False if the system says no, which callers
/// may ignore.
bool pin_current_thread(int cpu) noexcept;

/// CPUs this process may run on, ascending; at least one.
std::vector<int> allowed_cpus();

/// Worker w's part of [0, n) in whole multiples of `unit` (the last part may end at n): parts are
/// contiguous, cover [0, n) once, and differ by at most one unit.
struct Range {
    std::int64_t begin;
    std::int64_t end;
};

constexpr Range split_range(std::int64_t n, std::int64_t unit, int worker, int n_workers) noexcept {
    const std::int64_t units = (n + unit - 1) / unit;
    const std::int64_t first = units * worker / n_workers;
    const std::int64_t last = units * (worker + 1) / n_workers;
    return {first * unit, last * unit < n ? last * unit : n};
}

} // namespace bloom::compute
