#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/engine/bench_model.hpp>

namespace bloom::engine {
namespace {

/// Prompt tokens per step: what llama-bench runs at once by default, so that figures compare.
constexpr std::int32_t kChunk = 512;

double median(std::vector<double> v) {
    BLOOM_CHECK(!v.empty());
    std::ranges::sort(v);
    const std::size_t mid = v.size() / 2;
    return v.size() % 2 == 1 ? v[mid] : (v[mid - 1] + v[mid]) / 2;
}

struct Timing {
    double seconds;
    double mad;
};

/// Runs `work` once to warm up and then `repetitions` times.
Result<Timing> time_it(std::int32_t repetitions, BenchClock clock, FunctionRef<Result<>()> work) {
    BLOOM_OK(work());
    std::vector<double> seconds;
    for (std::int32_t i = 0; i < std::max(repetitions, 1); ++i) {
        const double start = clock();
        BLOOM_OK(work());
        seconds.push_back(clock() - start);
    }
    const double mid = median(seconds);
    for (double& s : seconds)
        s = std::abs(s - mid);
    return Timing{mid, median(seconds)};
}

} // namespace

Result<std::vector<BenchModelRow>> bench_model(Engine& engine, const BenchModelOptions& options,
                                               BenchClock clock) {
    std::vector<BenchModelRow> rows;
    const double ops_per_token = 2.0 * static_cast<double>(engine.info().macs_per_token);
    const auto rate = [](double amount, double seconds) {
        return seconds > 0 ? amount / seconds : 0.0;
    };
    if (options.prompt_tokens > 0) {
        const auto prefill = [&]() -> Result<> {
            for (std::int32_t at = 0; at < options.prompt_tokens; at += kChunk) {
                BLOOM_OK(engine.run_synthetic(1, at, std::min(kChunk, options.prompt_tokens - at)));
            }
            return {};
        };
        BLOOM_TRY(const Timing t, time_it(options.repetitions, clock, prefill));
        BenchModelRow row;
        row.test = fmt::format("pp{}", options.prompt_tokens);
        row.seconds = t.seconds;
        row.seconds_mad = t.mad;
        row.tokens_per_s = rate(options.prompt_tokens, t.seconds);
        row.gops = rate(options.prompt_tokens * ops_per_token, t.seconds) * 1e-9;
        rows.push_back(row);
    }
    for (const std::int32_t batch : options.batches) {
        if (options.generated_tokens <= 0) break;
        const auto decode = [&]() -> Result<> {
            for (std::int32_t i = 0; i < options.generated_tokens; ++i)
                BLOOM_OK(engine.run_synthetic(batch, options.past_tokens + i, 1));
            return {};
        };
        BLOOM_TRY(const Timing t, time_it(options.repetitions, clock, decode));
        BenchModelRow row;
        row.test = fmt::format("tg{}", options.generated_tokens);
        row.batch = batch;
        row.seconds = t.seconds;
        row.seconds_mad = t.mad;
        const double tokens = static_cast<double>(batch) * options.generated_tokens;
        row.tokens_per_s = rate(tokens, t.seconds);
        row.weight_bytes_per_step = engine.info().traffic.bytes_per_step(batch);
        row.gb_per_s = rate(row.weight_bytes_per_step * options.generated_tokens, t.seconds) * 1e-9;
        row.gops = rate(tokens * ops_per_token, t.seconds) * 1e-9;
        rows.push_back(row);
    }
    return rows;
}

} // namespace bloom::engine
