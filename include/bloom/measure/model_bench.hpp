#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/engine.hpp>
#include <bloom/measure/paired.hpp>
#include <bloom/measure/timed_team.hpp>

namespace bloom::measure {

struct ModelBenchOptions {
    std::int32_t prompt_tokens = 512;     ///< pp: tokens of one prompt; 0: not measured
    std::int32_t generated_tokens = 64;   ///< tg: steps per batch size; 0: not measured
    std::int32_t depth = 0;               ///< tokens each sequence already has, in pp and tg
    std::vector<std::int32_t> batches{1}; ///< sequences side by side in tg
    std::int32_t repetitions = 5;
    double seconds = 0; ///< per row, at least
};

/// One line, comparable with llama-bench's pp and tg. Sampling is not part of it.
struct ModelRow {
    std::string test; ///< "pp512", "tg64"
    std::int32_t batch = 1;
    std::int32_t depth = 0;
    double tokens_per_s = 0; ///< all sequences together
    double tokens_per_s_mad = 0;
    double bytes_per_step = 0; ///< weights, keys and values that a step must read
    Paired result;
};

/// Where the time of a decode step goes, in microseconds; medians.
struct StepRow {
    std::int32_t batch = 1;
    double step_us = 0;
    double work_us = 0;      ///< phases, each as long as its slowest worker
    double imbalance_us = 0; ///< part of work_us in which workers waited for the slowest
    double overhead_us = 0;  ///< the rest: barriers, waking, the caller's own doing
    double phases = 0;
};

struct ModelReport {
    std::vector<ModelRow> rows;
    std::vector<StepRow> steps;
};

/// Measures an idle engine on synthetic tokens, the roofs probed between pieces of a fraction of a
/// second. `team` is what the engine computes with, for StepRow.
/// Errors: those of Engine::run_synthetic (too_large when a batch does not fit into the cache).
Result<ModelReport> bench_model(engine::Engine& engine, TimedTeam& team, RoofSource& roofs,
                                Stopwatch& clock, const ModelBenchOptions& options);

} // namespace bloom::measure
