#include <algorithm>

#include <fmt/format.h>

#include <bloom/cli/verbs.hpp>
#include <bloom/engine/synthetic_model.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/measure/model_bench.hpp>
#include <bloom/provider/kernel_choice.hpp>
#include <bloom/provider/model_source.hpp>

#include "cli/bench_common.hpp"
#include "cli/common.hpp"
#include "cli/engine_setup.hpp"

namespace bloom::cli {
namespace {

using measure::ModelReport;
using measure::ModelRow;
using measure::StepRow;

constexpr std::int64_t kKvBudgetMin = std::int64_t{1} << 30;

std::string as_json(const engine::EngineInfo& info, const kernels::KernelTable& table, int threads,
                    const ModelReport& report) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("model").string(info.name).key("architecture").string(info.arch);
    write_machine(w, table, threads);
    w.key("weight_bytes").integer(info.weight_bytes);
    w.key("rows").begin_array();
    for (const ModelRow& row : report.rows) {
        w.begin_object().key("op").string("model").key("test").string(row.test);
        w.key("n").integer(row.batch).key("batch").integer(row.batch);
        w.key("depth").integer(row.depth).key("threads").integer(threads);
        w.key("tokens_per_s").number(row.tokens_per_s);
        w.key("tokens_per_s_mad").number(row.tokens_per_s_mad);
        w.key("bytes_per_step").number(row.bytes_per_step);
        write_paired(w, row.result);
        w.end_object();
    }
    for (const StepRow& step : report.steps) {
        w.begin_object().key("op").string("step").key("n").integer(step.batch);
        w.key("threads").integer(threads).key("step_us").number(step.step_us);
        w.key("work_us").number(step.work_us).key("imbalance_us").number(step.imbalance_us);
        w.key("overhead_us").number(step.overhead_us).key("phases").number(step.phases);
        w.end_object();
    }
    w.end_array().end_object();
    out += '\n';
    return out;
}

std::string as_table(const engine::EngineInfo& info, const kernels::KernelTable& table, int threads,
                     const ModelReport& report) {
    std::string out = fmt::format("{} ({}), {} of weights\n", info.name, info.arch,
                                  human_bytes(static_cast<double>(info.weight_bytes)));
    out += machine_line(table, threads) + "\n";
    out += fmt::format("{:8} {:>5} {:>6} {:>12} {:>9} {:>8} {:>8} {:>8} {:8} limit       roofs\n",
                       "test", "batch", "depth", "tokens/s", "", "GB/s", "GOPS", "of roof", "");
    for (const ModelRow& row : report.rows) {
        const measure::Paired& p = row.result;
        out += fmt::format("{:8} {:5} {:6} {:12.1f} +-{:<7.1f} {:8.1f} {:8.1f} {:8.3f} +-{:.3f}  "
                           "{:9} {:.1f} GB/s {:.0f} GOPS{}\n",
                           row.test, row.batch, row.depth, row.tokens_per_s, row.tokens_per_s_mad,
                           p.gb_per_s, p.gops, p.roof_ratio.median, p.roof_ratio.mad,
                           measure::to_string(p.limit), p.roofs.read_gb_per_s, p.roofs.dot_gops,
                           disturbed_note(p));
    }
    if (report.steps.empty()) return out;
    out += fmt::format("\n{:14} {:>5} {:>10} {:>10} {:>10} {:>10} {:>7}\n", "one step, us", "batch",
                       "step", "work", "imbalance", "overhead", "phases");
    for (const StepRow& s : report.steps) {
        out += fmt::format("{:14} {:5} {:10.1f} {:10.1f} {:10.1f} {:10.1f} {:7.0f}\n", "", s.batch,
                           s.step_us, s.work_us, s.imbalance_us, s.overhead_us, s.phases);
    }
    return out;
}

/// Room for deep contexts; pages take memory only when they are used.
std::int64_t kv_budget() {
    return std::max(kKvBudgetMin,
                    static_cast<std::int64_t>(hw::read_memory_info().usable_bytes() / 2));
}

/// The model of --shape or of --model. Errors: out_of_memory for random weights that do not fit
/// into this machine.
Result<engine::ModelFile> open_target(const Arguments& arguments, std::int64_t n_layers) {
    const BenchArguments& a = arguments.bench;
    if (a.model_shape.empty()) {
        if (arguments.target.empty()) return provider::open_model(provider::kBuiltInModel);
        BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
        BLOOM_TRY(const std::string source, locate(arguments.target, settings));
        return provider::open_model(source);
    }
    BLOOM_TRY(const engine::SyntheticShape shape, engine::find_shape(a.model_shape));
    const auto format =
        a.format == "q8_0" ? kernels::WeightFormat::q8_0 : kernels::WeightFormat::affine8_bf16;
    BLOOM_TRY(engine::ModelFile file, engine::ModelFile::synthetic(shape, format));
    std::uint64_t bytes = 0;
    for (const engine::WeightView& view : file.weights().all())
        bytes += n_layers == 0 || view.layer < n_layers ? view.bytes() : 0;
    const std::uint64_t usable = hw::read_memory_info().usable_bytes();
    if (usable == 0 || bytes <= usable) return file;
    return Error{Code::out_of_memory,
                 fmt::format("{} needs {} of memory, {} are free; take fewer --layers", shape.name,
                             human_bytes(static_cast<double>(bytes)),
                             human_bytes(static_cast<double>(usable)))};
}

Result<> bench(const Arguments& arguments) {
    const BenchArguments& a = arguments.bench;
    if (a.prefill_tokens == 0 && a.decode_tokens == 0)
        return Error{Code::invalid_argument, "nothing to measure: --pp and --tg are both 0"};
    BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
    BLOOM_TRY(const kernels::KernelTable* table, choose_bench_kernels(a.isa));
    LocalEngineOptions options;
    options.n_layers = static_cast<std::int32_t>(settings.integer("engine.layers"));
    options.precise = settings.flag("engine.precise");
    options.max_seqs = *std::ranges::max_element(a.batches);
    options.ctx = a.depth + std::max(a.prefill_tokens, a.decode_tokens);
    options.kv_budget_bytes = kv_budget();
    options.cache_prefixes = false;
    BLOOM_TRY(engine::ModelFile file, open_target(arguments, options.n_layers));
    auto timed = std::make_unique<measure::TimedTeam>(
        provider::make_team(static_cast<int>(settings.integer("engine.threads"))));
    measure::TimedTeam& team = *timed;
    BLOOM_TRY(const LocalEngine local, load_engine(std::move(file), options, std::move(timed)));
    BLOOM_TRY(const auto roofs, measure::RoofProbe::make(team, *table));

    measure::ModelBenchOptions what;
    what.prompt_tokens = a.prefill_tokens;
    what.generated_tokens = a.decode_tokens;
    what.depth = a.depth;
    what.batches = a.batches;
    what.repetitions = a.repetitions;
    what.seconds = a.seconds;
    measure::ProcessStopwatch clock;
    BLOOM_TRY(const ModelReport report,
              measure::bench_model(*local.engine, team, *roofs, clock, what));
    const engine::EngineInfo& info = local.engine->info();
    print(arguments.json ? as_json(info, *table, team.size(), report)
                         : as_table(info, *table, team.size(), report));
    return {};
}

} // namespace

int run_bench_model(const Arguments& arguments) {
    const Result<> done = bench(arguments);
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
