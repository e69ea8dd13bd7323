#pragma once

#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/cli/args.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/measure/paired.hpp>
#include <bloom/measure/roofs.hpp>

namespace bloom::cli {

/// The kernels that --isa names, or the process's choice. Later choices of this process are the
/// same. Errors: machine_lacks, naming those that can run.
Result<const kernels::KernelTable*> choose_bench_kernels(const std::string& isa);

/// Members that say where figures come from: version, processor, kernels, threads.
void write_machine(json::Writer& w, const kernels::KernelTable& table, int threads);
/// The same as one line for people.
std::string machine_line(const kernels::KernelTable& table, int threads);

void write_ceilings(json::Writer& w, const std::vector<measure::Ceiling>& ceilings);
std::string ceilings_table(const std::vector<measure::Ceiling>& ceilings);

/// The members that every row has: repetitions, seconds, gb_per_s, gops, roof_ratio, limit, roofs.
void write_paired(json::Writer& w, const measure::Paired& paired);
/// What a figure's repetitions went through: "", or "  (3 of 10 disturbed)".
std::string disturbed_note(const measure::Paired& paired);

} // namespace bloom::cli
