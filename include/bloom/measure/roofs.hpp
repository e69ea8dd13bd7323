#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/compute/team.hpp>

namespace bloom::measure {

/// What the machine can do at best with one team and one instruction set, at one moment.
struct Roofs {
    double read_gb_per_s = 0; ///< memory beyond the caches, all workers together
    double dot_gops = 0;      ///< 8-bit dot products out of registers, with the table's own idiom
    double fma_gflops = 0;    ///< f32 multiply-adds out of registers; 0: not known
};

/// Where roofs come from; tests put their own figures here.
class RoofSource {
public:
    virtual ~RoofSource() = default;
    /// A few milliseconds: what stands between two repetitions.
    virtual Roofs sample() = 0;
};

/// Seconds since some time, and seconds on processors of all threads of this process.
class Stopwatch {
public:
    virtual ~Stopwatch() = default;
    virtual double wall_s() = 0;
    virtual double cpu_s() = 0;
};

/// CPU time per wall time and thread below which a repetition was disturbed: by a hypervisor that
/// gave the processor to others, or by another process.
inline constexpr double kCpuShareMin = 0.94;

/// The clocks of this process.
class ProcessStopwatch final : public Stopwatch {
public:
    double wall_s() override;
    double cpu_s() override;
};

struct RoofOptions {
    /// Memory to read; 0: 1 GiB, or what many workers need, or a quarter of what is free.
    std::size_t bytes = 0;
    bool huge_pages = true;
};

/// Probes that are run by the team that computes: the same threads on the same processors.
/// A read probe goes over the next eighth of the memory, so that nothing it reads was read lately.
/// Thread: the team's caller.
class RoofProbe final : public RoofSource {
public:
    /// Errors: out_of_memory. `team` outlives the probe.
    static Result<std::unique_ptr<RoofProbe>>
    make(compute::Team& team, const kernels::KernelTable& table, const RoofOptions& options = {});
    ~RoofProbe() override;

    /// The better of two reads, prefetched and plain, and of two runs of dot products.
    Roofs sample() override;

    double read_gb_per_s(bool prefetch);
    double dot_gops();
    double fma_gflops(); ///< 0 where the table has no such probe
    /// Clock of the caller's core in GHz.
    double clock_ghz();

private:
    RoofProbe(compute::Team& team, const kernels::KernelTable& table);

    double timed_rounds(std::uint64_t (*probe)(std::int64_t) noexcept, std::int64_t rounds,
                        std::int64_t ops);

    struct Memory;

    compute::Team& team_;
    const kernels::KernelTable& table_;
    std::unique_ptr<Memory> memory_;
    std::int64_t dot_rounds_ = 1;
    std::int64_t fma_rounds_ = 1;
    std::vector<std::uint64_t> sums_; ///< a cache line per worker: probes must not be optimised out
};

/// One line of the table of ceilings.
struct Ceiling {
    int threads = 1;
    double read_gb_per_s = 0;             ///< huge pages, prefetched
    double read_plain_gb_per_s = 0;       ///< huge pages, no software prefetch
    double read_small_pages_gb_per_s = 0; ///< 4 KiB pages, the better of both
    double dot_gops = 0;
    double fma_gflops = 0;
    double clock_ghz = 0;
    bool disturbed = false; ///< every repetition was: too low, perhaps by far
};

/// Medians of `repetitions` undisturbed ones for each number of threads, each with a new team on
/// the processors that a model's workers would have. Leaves the calling thread on one processor.
/// Errors: out_of_memory; invalid_argument (a thread count below 1).
Result<std::vector<Ceiling>> measure_ceilings(const kernels::KernelTable& table,
                                              std::span<const int> threads, int repetitions,
                                              const RoofOptions& options = {});

} // namespace bloom::measure
