#include <algorithm>

#include <bloom/cli/verbs.hpp>

#include "cli/bench_common.hpp"
#include "cli/common.hpp"

namespace bloom::cli {
namespace {

/// 1, 2, 4, ... and all processors of this process.
std::vector<int> default_threads() {
    const auto all = static_cast<int>(compute::allowed_cpus().size());
    std::vector<int> out;
    for (int n = 1; n < all; n *= 2)
        out.push_back(n);
    out.push_back(all);
    return out;
}

Result<> bench(const Arguments& arguments) {
    BLOOM_TRY(const kernels::KernelTable* table, choose_bench_kernels(arguments.bench.isa));
    const std::vector<int> threads = arguments.bench.thread_counts.empty()
                                         ? default_threads()
                                         : std::vector<int>(arguments.bench.thread_counts.begin(),
                                                            arguments.bench.thread_counts.end());
    BLOOM_TRY(const auto ceilings,
              measure::measure_ceilings(*table, threads, arguments.bench.repetitions));
    const int most = *std::ranges::max_element(threads);
    std::string out;
    if (arguments.json) {
        json::Writer w(out);
        w.begin_object();
        write_machine(w, *table, most);
        write_ceilings(w, ceilings);
        w.end_object();
        out += '\n';
    } else {
        out = machine_line(*table, most) + "\n" + ceilings_table(ceilings);
    }
    print(out);
    return {};
}

} // namespace

int run_bench_roofs(const Arguments& arguments) {
    const Result<> done = bench(arguments);
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
