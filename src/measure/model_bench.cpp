#include <algorithm>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/measure/model_bench.hpp>

namespace bloom::measure {
namespace {

/// Prompt tokens per step: what llama-bench runs at once by default, so that figures compare.
constexpr std::int32_t kChunk = 512;
/// Decode is measured in pieces of so many seconds: short enough that the roofs beside a piece are
/// those it stood under, long beside the probes.
constexpr double kPieceSeconds = 0.15;
constexpr int kTimedSteps = 32;

class ModelBench {
public:
    ModelBench(engine::Engine& engine, TimedTeam& team, RoofSource& roofs, Stopwatch& clock,
               const ModelBenchOptions& options)
        : engine_(engine), team_(team), roofs_(roofs), clock_(clock), options_(options),
          ops_per_token_(2.0 * static_cast<double>(engine.info().macs_per_token)) {}

    Result<ModelReport> run() {
        ModelReport report;
        if (options_.prompt_tokens > 0) {
            BLOOM_TRY(ModelRow row, prefill());
            report.rows.push_back(std::move(row));
        }
        if (options_.generated_tokens <= 0) return report;
        for (const std::int32_t batch : options_.batches) {
            BLOOM_TRY(ModelRow row, decode(batch));
            report.rows.push_back(std::move(row));
            BLOOM_TRY(const StepRow step, time_steps(batch));
            report.steps.push_back(step);
        }
        return report;
    }

private:
    double weight_bytes(std::int32_t rows) const {
        return engine_.info().traffic.bytes_per_step(rows);
    }

    /// What a step reads of a sequence that has `tokens`: keys and values as far back as its layers
    /// look, and a recurrent state, which is written as well.
    double memory_bytes(double tokens) const {
        const engine::StateSpec& state = engine_.info().state;
        double bytes = 0;
        for (const compute::KvGroupSpec& g : state.groups) {
            const double seen = g.window > 0 ? std::min<double>(tokens, g.window) : tokens;
            bytes += seen * static_cast<double>(compute::page_bytes(g) / compute::kPageTokens);
        }
        if (state.recurrent)
            bytes += 2.0 * static_cast<double>(compute::state_bytes(*state.recurrent));
        return bytes;
    }

    Result<ModelRow> prefill() {
        BLOOM_OK(engine_.fill_cache(1, options_.depth + options_.prompt_tokens));
        const double n = options_.prompt_tokens;
        Work work;
        for (std::int32_t at = 0; at < options_.prompt_tokens; at += kChunk) {
            work.bytes += weight_bytes(std::min(kChunk, options_.prompt_tokens - at)) +
                          memory_bytes(options_.depth + at);
        }
        work.ops = n * ops_per_token_;
        ModelRow row;
        row.test = fmt::format("pp{}", options_.prompt_tokens);
        BLOOM_TRY(row.result, measure(options_.repetitions, work, [&]() -> Result<> {
                      for (std::int32_t at = 0; at < options_.prompt_tokens; at += kChunk) {
                          BLOOM_OK(
                              engine_.run_synthetic(1, options_.depth + at,
                                                    std::min(kChunk, options_.prompt_tokens - at)));
                      }
                      return {};
                  }));
        finish(row, n);
        return row;
    }

    Result<ModelRow> decode(std::int32_t batch) {
        const std::int32_t steps = options_.generated_tokens;
        BLOOM_OK(engine_.fill_cache(batch, options_.depth + steps));
        BLOOM_OK(engine_.run_synthetic(batch, options_.depth, 1));
        const double start = clock_.wall_s();
        BLOOM_OK(engine_.run_synthetic(batch, options_.depth, 1));
        const double step_s = std::max(clock_.wall_s() - start, 1e-9);
        const auto piece = static_cast<std::int32_t>(
            std::clamp(kPieceSeconds / step_s, 1.0, static_cast<double>(steps)));
        const std::int32_t pieces = (steps + piece - 1) / piece;

        ModelRow row;
        row.test = fmt::format("tg{}", steps);
        row.batch = batch;
        row.bytes_per_step =
            weight_bytes(batch) + batch * memory_bytes(options_.depth + 0.5 * steps);
        const double tokens = static_cast<double>(batch) * piece;
        const Work work{row.bytes_per_step * piece, tokens * ops_per_token_};
        std::int32_t at = 0; // goes round within the steps wanted
        BLOOM_TRY(row.result, measure(options_.repetitions * pieces, work, [&]() -> Result<> {
                      for (std::int32_t i = 0; i < piece; ++i, at = (at + 1) % steps)
                          BLOOM_OK(engine_.run_synthetic(batch, options_.depth + at, 1));
                      return {};
                  }));
        finish(row, tokens);
        return row;
    }

    Result<Paired> measure(int repetitions, const Work& work, FunctionRef<Result<>()> run) {
        return measure_paired(
            roofs_, clock_, {std::max(repetitions, 1), options_.seconds, team_.size()},
            [&](int) { return work; }, run);
    }

    void finish(ModelRow& row, double tokens) const {
        row.depth = options_.depth;
        const Spread& s = row.result.seconds;
        if (s.median <= 0) return;
        row.tokens_per_s = tokens / s.median;
        row.tokens_per_s_mad = row.tokens_per_s * s.mad / s.median;
    }

    Result<StepRow> time_steps(std::int32_t batch) {
        std::vector<double> step, work, idle, rest, phases;
        for (int i = 0; i < std::min(kTimedSteps, options_.generated_tokens); ++i) {
            team_.start();
            const double start = clock_.wall_s();
            const Result<> ran = engine_.run_synthetic(batch, options_.depth + i, 1);
            const double seconds = clock_.wall_s() - start;
            const TeamTimes times = team_.stop();
            BLOOM_OK(ran);
            step.push_back(seconds * 1e6);
            work.push_back(times.longest_s * 1e6);
            idle.push_back((times.longest_s - times.mean_s) * 1e6);
            rest.push_back((seconds - times.longest_s) * 1e6);
            phases.push_back(static_cast<double>(times.n_phases));
        }
        return StepRow{batch,        median(step), median(work),
                       median(idle), median(rest), median(phases)};
    }

    engine::Engine& engine_;
    TimedTeam& team_;
    RoofSource& roofs_;
    Stopwatch& clock_;
    const ModelBenchOptions& options_;
    double ops_per_token_;
};

} // namespace

Result<ModelReport> bench_model(engine::Engine& engine, TimedTeam& team, RoofSource& roofs,
                                Stopwatch& clock, const ModelBenchOptions& options) {
    return ModelBench(engine, team, roofs, clock, options).run();
}

} // namespace bloom::measure
