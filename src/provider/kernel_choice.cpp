#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/compute/worker_cpus.hpp>
#include <bloom/provider/kernel_choice.hpp>

namespace bloom::provider {

Result<const kernels::KernelTable*> choose_kernels() {
    const char* forced = std::getenv("DARKBLOOM_KERNEL_ISA");
    if (forced != nullptr && *forced == '\0') forced = nullptr;
    const std::uint32_t have = kernels::detect_cpu_features();
    if (const kernels::KernelTable* table = kernels::select_table(have, forced)) return table;
    std::string runnable;
    for (const kernels::KernelTable* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~have) != 0) continue;
        if (!runnable.empty()) runnable += ", ";
        runnable += (*t)->isa;
    }
    return Error{Code::machine_lacks,
                 fmt::format("DARKBLOOM_KERNEL_ISA={}: no such kernels run on this processor; it "
                             "can run: {}",
                             bloom::quoted(forced == nullptr ? "" : forced), runnable)};
}

std::unique_ptr<compute::Team> make_team(int n_threads) {
    const hw::CpuInfo info = hw::read_cpu_info();
    const int size = n_threads > 0 ? n_threads : info.n_compute_threads();
    return std::make_unique<compute::SpinTeam>(size, compute::worker_cpus(info, size));
}

} // namespace bloom::provider
