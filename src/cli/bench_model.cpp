#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include <bloom/cli/verbs.hpp>
#include <bloom/engine/bench_model.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/provider/kernel_choice.hpp>
#include <bloom/provider/model_source.hpp>

#include "cli/common.hpp"
#include "cli/engine_setup.hpp"
#include "cli/roofs.hpp"

namespace bloom::cli {
namespace {

/// A measurement beside its roof: decode is bound by reading weights, prefill by dot products.
struct Row {
    engine::BenchModelRow bench;
    double roof_ratio = 0;
};

std::vector<Row> with_ratios(std::vector<engine::BenchModelRow> rows, const Roofs& roofs) {
    std::vector<Row> out;
    for (engine::BenchModelRow& row : rows) {
        const double by_reading = roofs.read_gb_per_s > 0 ? row.gb_per_s / roofs.read_gb_per_s : 0;
        const double by_dots = roofs.dot_gops > 0 ? row.gops / roofs.dot_gops : 0;
        out.push_back({std::move(row), std::max(by_reading, by_dots)});
    }
    return out;
}

std::string as_json(const engine::EngineInfo& info, int threads, const Roofs& roofs,
                    const std::vector<Row>& rows) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("model").string(info.name).key("architecture").string(info.arch);
    w.key("isa").string(info.kernel_isa).key("threads").integer(threads);
    w.key("weight_bytes").integer(info.weight_bytes);
    w.key("roofs").begin_object().key("read_gb_per_s").number(roofs.read_gb_per_s);
    w.key("dot_gops").number(roofs.dot_gops).end_object();
    w.key("rows").begin_array();
    for (const Row& row : rows) {
        w.begin_object().key("test").string(row.bench.test).key("batch").integer(row.bench.batch);
        w.key("tokens_per_s")
            .number(row.bench.tokens_per_s)
            .key("seconds")
            .number(row.bench.seconds);
        w.key("seconds_mad")
            .number(row.bench.seconds_mad)
            .key("gb_per_s")
            .number(row.bench.gb_per_s);
        w.key("gops").number(row.bench.gops).key("roof_ratio").number(row.roof_ratio).end_object();
    }
    w.end_array().end_object();
    out += '\n';
    return out;
}

std::string as_table(const engine::EngineInfo& info, int threads, const Roofs& roofs,
                     const std::vector<Row>& rows) {
    std::string out =
        fmt::format("{} ({}), {} of weights, kernels {}, {} threads\n", info.name, info.arch,
                    human_bytes(static_cast<double>(info.weight_bytes)), info.kernel_isa, threads);
    out += fmt::format("roofs in this run: reading {:.1f} GB/s, 8-bit dot products {:.0f} GOPS\n\n",
                       roofs.read_gb_per_s, roofs.dot_gops);
    out += fmt::format("{:8} {:>5} {:>12} {:>10} {:>10} {:>9}\n", "test", "batch", "tokens/s",
                       "GB/s", "GOPS", "of roof");
    for (const Row& row : rows) {
        out += fmt::format("{:8} {:5} {:12.1f} {:10.1f} {:10.1f} {:8.0f}%\n", row.bench.test,
                           row.bench.batch, row.bench.tokens_per_s, row.bench.gb_per_s,
                           row.bench.gops, 100 * row.roof_ratio);
    }
    return out;
}

Result<> bench(const Arguments& arguments) {
    BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
    LocalEngineOptions options;
    options.n_threads = static_cast<int>(settings.integer("engine.threads"));
    options.n_layers = static_cast<std::int32_t>(settings.integer("engine.layers"));
    options.precise = settings.flag("engine.precise");
    options.max_seqs = *std::max_element(arguments.batches.begin(), arguments.batches.end());
    options.cache_prefixes = false;
    const std::string source =
        arguments.target.empty() ? std::string(provider::kBuiltInModel) : arguments.target;
    BLOOM_TRY(const LocalEngine local, load_engine(source, options));
    BLOOM_TRY(const kernels::KernelTable* table, provider::choose_kernels());

    engine::BenchModelOptions what;
    what.prompt_tokens = arguments.prefill_tokens;
    what.generated_tokens = arguments.decode_tokens;
    what.batches = arguments.batches;
    what.repetitions = arguments.repetitions;
    const auto clock = [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
            .count();
    };
    // Before and after: a shared machine's speed changes, and a roof must not lie below what stood
    // under it.
    const Roofs before = measure_roofs(*local.team, *table, arguments.repetitions);
    BLOOM_TRY(auto measured, engine::bench_model(*local.engine, what, clock));
    const Roofs after = measure_roofs(*local.team, *table, arguments.repetitions);
    const Roofs roofs{std::max(before.read_gb_per_s, after.read_gb_per_s),
                      std::max(before.dot_gops, after.dot_gops)};
    const std::vector<Row> rows = with_ratios(std::move(measured), roofs);
    const engine::EngineInfo& info = local.engine->info();
    print(arguments.json ? as_json(info, local.team->size(), roofs, rows)
                         : as_table(info, local.team->size(), roofs, rows));
    return {};
}

} // namespace

int run_bench_model(const Arguments& arguments) {
    const Result<> done = bench(arguments);
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
