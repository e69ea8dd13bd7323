#pragma once

#include <cstdint>
#include <string_view>

#include <bloom/base/function_ref.hpp>
#include <bloom/base/result.hpp>
#include <bloom/measure/roofs.hpp>
#include <bloom/measure/statistics.hpp>

namespace bloom::measure {

/// What one repetition has to do at least: bytes that must come from memory, multiplications and
/// additions of 8-bit products, and those in f32.
struct Work {
    double bytes = 0;
    double ops = 0;
    double flops = 0;
};

enum class Limit : std::uint8_t { bandwidth, dots, multiply_adds };

std::string_view to_string(Limit limit) noexcept;

struct PairedOptions {
    int repetitions = 7; ///< undisturbed ones that are wanted
    double seconds = 0;  ///< goes on at least so long
    int threads = 1;     ///< that the work keeps busy
};

/// A measurement beside its roofs.
struct Paired {
    int repetitions = 0; ///< that count
    int disturbed = 0;   ///< dropped, because the process did not get its processors
    Spread seconds;      ///< of one repetition
    double gb_per_s = 0;
    double gops = 0;
    double gflops = 0;
    /// max(bytes / read roof, ops / dot roof, flops / multiply-add roof) / time, each repetition
    /// beside the better of the probes just before and just after it.
    Spread roof_ratio;
    Limit limit = Limit::bandwidth; ///< which of the roofs is nearest
    Roofs roofs;                    ///< medians of those that were used
};

/// Measures `run` again and again with the roofs probed in between: on a shared machine both change
/// within seconds, and only their ratio lasts. `prepare(i)` sets the i-th repetition up outside the
/// measured time and says what it has to do. One repetition to warm up. When every one is
/// disturbed, all count (and are in `disturbed`, too): better a figure that says so than none.
/// Errors: those of `run`.
Result<Paired> measure_paired(RoofSource& roofs, Stopwatch& clock, const PairedOptions& options,
                              FunctionRef<Work(int)> prepare, FunctionRef<Result<>()> run);

} // namespace bloom::measure
