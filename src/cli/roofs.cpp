#include "cli/roofs.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <vector>

#include "kernels/probe.hpp"

namespace bloom::cli {
namespace {

constexpr std::size_t kProbeBytes = std::size_t{512} << 20; // far more than any cache
constexpr std::size_t kAlign = std::size_t{2} << 20;        // huge pages
constexpr std::int64_t kDotRounds = 200'000;

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

struct Free {
    void operator()(std::uint8_t* memory) const noexcept { std::free(memory); }
};

} // namespace

Roofs measure_roofs(compute::Team& team, const kernels::KernelTable& table, int repetitions) {
    const kernels::Probe& probe = kernels::probe_of(table);
    const std::unique_ptr<std::uint8_t, Free> memory(
        static_cast<std::uint8_t*>(std::aligned_alloc(kAlign, kProbeBytes)));
    if (memory == nullptr) return {};
    ::madvise(memory.get(), kProbeBytes, MADV_HUGEPAGE);
    std::memset(memory.get(), 1, kProbeBytes);
    const auto n = static_cast<std::size_t>(team.size());
    const std::size_t share = kProbeBytes / n / kAlign * kAlign;
    std::vector<std::uint64_t> sums(n * 16); // a cache line each; consumed below
    std::vector<double> reads;
    std::vector<double> dots;
    for (int i = 0; i < std::max(repetitions, 1); ++i) {
        double start = now_s();
        team.run([&](int worker) {
            const auto w = static_cast<std::size_t>(worker);
            sums[w * 16] += probe.read(memory.get() + w * share, share);
        });
        reads.push_back(static_cast<double>(share * n) / (now_s() - start) / 1e9);
        start = now_s();
        team.run([&](int worker) {
            sums[static_cast<std::size_t>(worker) * 16] += probe.dot(kDotRounds);
        });
        dots.push_back(static_cast<double>(probe.dot_ops * kDotRounds) * static_cast<double>(n) /
                       (now_s() - start) / 1e9);
    }
    std::uint64_t sink = 0;
    for (const std::uint64_t sum : sums)
        sink += sum;
    // The sums decide nothing, but they must be computed.
    return {median(reads), sink == 1 ? 0 : median(dots)};
}

} // namespace bloom::cli
