#include "cli/bench_common.hpp"

#include <cstdlib>

#include <fmt/format.h>

#include <bloom/hw/cpu_info.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/provider/kernel_choice.hpp>

namespace bloom::cli {
namespace {

std::string_view huge_pages() {
    switch (hw::read_memory_info().transparent_huge_pages) {
    case hw::HugePages::never:
        return "never";
    case hw::HugePages::by_advice:
        return "madvise";
    case hw::HugePages::always:
        return "always";
    case hw::HugePages::unknown:
        break;
    }
    return "unknown";
}

} // namespace

Result<const kernels::KernelTable*> choose_bench_kernels(const std::string& isa) {
    // The environment is how every part of the process learns about a forced instruction set.
    if (!isa.empty()) ::setenv("DARKBLOOM_KERNEL_ISA", isa.c_str(), 1);
    return provider::choose_kernels();
}

void write_machine(json::Writer& w, const kernels::KernelTable& table, int threads) {
    w.key("cpu").string(hw::read_cpu_info().model).key("isa").string(table.isa);
    w.key("threads").integer(threads).key("huge_pages").string(huge_pages());
}

std::string machine_line(const kernels::KernelTable& table, int threads) {
    return fmt::format("{}, kernels {}, {} thread{}, huge pages {}\n", hw::read_cpu_info().model,
                       table.isa, threads, threads == 1 ? "" : "s", huge_pages());
}

void write_ceilings(json::Writer& w, const std::vector<measure::Ceiling>& ceilings) {
    w.key("ceilings").begin_array();
    for (const measure::Ceiling& c : ceilings) {
        w.begin_object().key("threads").integer(c.threads);
        w.key("read_gb_per_s").number(c.read_gb_per_s);
        w.key("read_plain_gb_per_s").number(c.read_plain_gb_per_s);
        w.key("read_small_pages_gb_per_s").number(c.read_small_pages_gb_per_s);
        w.key("dot_gops").number(c.dot_gops).key("fma_gflops").number(c.fma_gflops);
        w.key("clock_ghz").number(c.clock_ghz);
        w.key("disturbed").boolean(c.disturbed).end_object();
    }
    w.end_array();
}

std::string ceilings_table(const std::vector<measure::Ceiling>& ceilings) {
    std::string out =
        fmt::format("{:>7} {:>12} {:>12} {:>12} {:>12} {:>12} {:>7}\n", "threads", "read GB/s",
                    "no prefetch", "4 kB pages", "dots GOPS", "fma GFLOPS", "GHz");
    for (const measure::Ceiling& c : ceilings) {
        out += fmt::format("{:7} {:12.1f} {:12.1f} {:12.1f} {:12.0f} {:12.0f} {:7.2f}{}\n",
                           c.threads, c.read_gb_per_s, c.read_plain_gb_per_s,
                           c.read_small_pages_gb_per_s, c.dot_gops, c.fma_gflops, c.clock_ghz,
                           c.disturbed ? "  all disturbed" : "");
    }
    return out;
}

void write_paired(json::Writer& w, const measure::Paired& p) {
    w.key("gb_per_s").number(p.gb_per_s).key("gops").number(p.gops);
    w.key("gflops").number(p.gflops);
    w.key("roof_ratio").number(p.roof_ratio.median);
    w.key("roof_ratio_mad").number(p.roof_ratio.mad);
    w.key("limit").string(measure::to_string(p.limit));
    w.key("read_roof_gb_per_s").number(p.roofs.read_gb_per_s);
    w.key("dot_roof_gops").number(p.roofs.dot_gops);
    w.key("fma_roof_gflops").number(p.roofs.fma_gflops);
    w.key("seconds").number(p.seconds.median).key("seconds_mad").number(p.seconds.mad);
    w.key("repetitions").integer(p.repetitions).key("disturbed").integer(p.disturbed);
}

std::string disturbed_note(const measure::Paired& p) {
    if (p.disturbed == 0) return {};
    if (p.disturbed == p.repetitions) return "  all disturbed";
    return fmt::format("  {} disturbed", p.disturbed);
}

} // namespace bloom::cli
