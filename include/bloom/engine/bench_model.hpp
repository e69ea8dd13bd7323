#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <bloom/base/function_ref.hpp>
#include <bloom/base/result.hpp>
#include <bloom/engine/engine.hpp>

namespace bloom::engine {

struct BenchModelOptions {
    std::int32_t prompt_tokens = 512;     ///< pp: tokens of one prompt; 0: not measured
    std::int32_t generated_tokens = 64;   ///< tg: steps per batch size; 0: not measured
    std::int32_t past_tokens = 0;         ///< already in the cache before tg
    std::vector<std::int32_t> batches{1}; ///< sequences side by side in tg
    std::int32_t repetitions = 5;         ///< after one warm-up; the median is reported
};

/// One line of the result, comparable with llama-bench's pp and tg.
struct BenchModelRow {
    std::string test; ///< "pp512", "tg64"
    std::int32_t batch = 1;
    double seconds = 0;      ///< median of the repetitions
    double seconds_mad = 0;  ///< median absolute deviation
    double tokens_per_s = 0; ///< all sequences together
    /// Weights read per step and the rate at which that happened: the figure to put beside the
    /// measured read bandwidth. 0 for pp.
    double weight_bytes_per_step = 0;
    double gb_per_s = 0;
    /// Multiplications and additions of the layers' matrices: beside the integer-dot peak.
    double gops = 0;
};

/// Seconds on a steady clock. A parameter, because clocks belong to the caller.
using BenchClock = FunctionRef<double()>;

/// Times prefill and decode of an idle engine on synthetic tokens; sampling is not part of it.
/// Errors: those of Engine::run_synthetic (too_large when a batch does not fit into the cache).
Result<std::vector<BenchModelRow>> bench_model(Engine& engine, const BenchModelOptions& options,
                                               BenchClock clock);

} // namespace bloom::engine
