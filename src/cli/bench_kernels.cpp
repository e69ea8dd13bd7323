#include <cstdio>

#include <fmt/format.h>

#include <bloom/cli/verbs.hpp>
#include <bloom/measure/kernel_bench.hpp>
#include <bloom/provider/kernel_choice.hpp>

#include "cli/bench_common.hpp"
#include "cli/common.hpp"

namespace bloom::cli {
namespace {

using measure::KernelOp;
using measure::KernelRow;
using measure::KernelShape;

std::string_view format_name(kernels::WeightFormat format) {
    return format == kernels::WeightFormat::q8_0 ? "q8_0" : "affine8";
}

/// What the operation reads is stored in.
std::string_view storage_name(const KernelShape& shape) {
    if (shape.op == KernelOp::attention) return "f16";
    if (shape.op == KernelOp::delta) return "f32";
    return format_name(shape.format);
}

/// --shapes and --shapes-file: all matrices of catalog models.
Result<> add_models(const BenchArguments& a, kernels::WeightFormat format,
                    std::vector<KernelShape>& out) {
    std::vector<std::string> models = a.shapes_files;
    if (a.catalog == "all") {
        for (const std::string_view name : engine::shape_names())
            models.emplace_back(name);
    } else if (!a.catalog.empty()) {
        models.push_back(a.catalog);
    }
    for (const std::string& model : models) {
        BLOOM_TRY(const engine::SyntheticShape shape, engine::find_shape(model));
        for (KernelShape& one : measure::shapes_of_model(shape, format, a.context)) {
            const bool wanted = a.op.empty() || a.op == measure::to_string(one.op);
            if (wanted) out.push_back(std::move(one));
        }
    }
    return {};
}

Result<std::vector<KernelShape>> shapes_of(const BenchArguments& a) {
    std::vector<KernelShape> out;
    BLOOM_TRY(const kernels::WeightFormat format, measure::parse_bench_format(a.format));
    BLOOM_OK(add_models(a, format, out));
    if (out.empty() && a.shapes.empty()) {
        return Error{Code::invalid_argument,
                     "nothing to measure: give --op with --shape, or --shapes"};
    }
    if (!a.shapes.empty() && a.op.empty()) {
        return Error{Code::invalid_argument, "--shape needs --op dense, moe, attention or delta"};
    }
    const KernelOp op = a.op == "dense"       ? KernelOp::dense
                        : a.op == "moe"       ? KernelOp::moe
                        : a.op == "attention" ? KernelOp::attention
                                              : KernelOp::delta;
    for (const std::string& text : a.shapes) {
        BLOOM_TRY(KernelShape shape, measure::parse_kernel_shape(op, text));
        shape.format = format;
        if (op == KernelOp::attention) shape.context = a.context;
        out.push_back(std::move(shape));
    }
    for (const KernelShape& shape : out)
        BLOOM_OK(measure::check_shape(shape));
    return out;
}

void write_row(json::Writer& w, const KernelRow& row) {
    const KernelShape& s = row.shape;
    w.begin_object().key("op").string(measure::to_string(s.op));
    if (!s.name.empty()) w.key("name").string(s.name);
    w.key("shape").string(measure::shape_text(s));
    w.key("format").string(storage_name(s));
    if (s.op == KernelOp::attention) w.key("context").integer(s.context);
    w.key("n").integer(row.n).key("threads").integer(row.threads);
    write_paired(w, row.result);
    w.end_object();
}

std::string line_of(const KernelRow& row) {
    const KernelShape& s = row.shape;
    std::string shape = measure::shape_text(s);
    if (s.op == KernelOp::attention) shape += fmt::format(" @{}", s.context);
    return fmt::format("{:10} {:20} {:8} {:>5} {:10.1f} {:10.1f} {:8.3f} +-{:.3f}  {}{}{}{}\n",
                       measure::to_string(s.op), shape, storage_name(s), row.n, row.result.gb_per_s,
                       s.op == KernelOp::delta ? row.result.gflops : row.result.gops,
                       row.result.roof_ratio.median, row.result.roof_ratio.mad,
                       measure::to_string(row.result.limit), s.name.empty() ? "" : "  ", s.name,
                       disturbed_note(row.result));
}

std::string heading() {
    return fmt::format("{:10} {:20} {:8} {:>5} {:>10} {:>10} {:>8} {:8} limit\n", "op", "shape",
                       "format", "n", "GB/s", "GOPS", "of roof", "");
}

Result<> bench(const Arguments& arguments) {
    const BenchArguments& a = arguments.bench;
    BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
    BLOOM_TRY(const auto shapes, shapes_of(a));
    BLOOM_TRY(const kernels::KernelTable* table, choose_bench_kernels(a.isa));
    const auto team = provider::make_team(static_cast<int>(settings.integer("engine.threads")));
    team->pin_caller();
    BLOOM_TRY(const auto roofs, measure::RoofProbe::make(*team, *table));
    measure::KernelBenchOptions options;
    options.repetitions = a.repetitions;
    options.seconds = a.seconds;
    options.working_set_bytes = std::int64_t{a.working_set_mb} << 20;

    std::string out;
    json::Writer w(out);
    if (arguments.json) {
        w.begin_object();
        write_machine(w, *table, team->size());
        w.key("rows").begin_array();
    } else {
        const measure::Roofs now = roofs->sample();
        print(machine_line(*table, team->size()) +
              fmt::format("roofs now: reading {:.1f} GB/s, 8-bit dot products {:.0f} GOPS\n\n",
                          now.read_gb_per_s, now.dot_gops) +
              heading());
    }
    for (const KernelShape& shape : shapes) {
        const auto rows = measure::bench_kernel(*team, *table, *roofs, shape, a.n, options);
        if (!rows && rows.error().code() == Code::out_of_memory && shapes.size() > 1) {
            std::fprintf(stderr, "left out: %s\n", std::string(rows.error().message()).c_str());
            continue; // the other shapes of a catalog may fit
        }
        if (!rows) return std::unexpected(rows.error());
        for (const KernelRow& row : *rows) {
            if (arguments.json) {
                write_row(w, row);
            } else {
                print(line_of(row));
            }
        }
    }
    if (arguments.json) {
        w.end_array().end_object();
        print(out + "\n");
    }
    return {};
}

} // namespace

int run_bench_kernels(const Arguments& arguments) {
    const Result<> done = bench(arguments);
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
