#include "compute/cpu/moe.hpp"

#include <algorithm>

#include <bloom/base/check.hpp>

namespace bloom::compute::cpu {
namespace {

/// Tasks for each worker: the last ones to end leave the others idle for half a task at most.
constexpr std::int64_t kTasksPerWorker = 8;
/// Shorter streams lose bandwidth to their beginnings.
constexpr std::int64_t kTaskBytesMin = std::int64_t{256} << 10;
/// Gate and up of a block stay in half of a second-level cache of 1 MiB beside what is streamed.
constexpr std::int64_t kGateBlockFloats = std::int64_t{64} << 10;
/// What a block of the second product adds to stays in half of a second-level cache of 1 MiB.
constexpr std::int64_t kDownBlockFloats = std::int64_t{128} << 10;
constexpr std::int64_t kDownBlocksPerWorker = 2;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) noexcept {
    return (a + b - 1) / b;
}

} // namespace

void sort_by_expert(const std::int32_t* ids, std::int64_t ids_stride, std::int64_t n,
                    std::int32_t top_k, std::int64_t n_experts, ExpertOrder& order) noexcept {
    std::int32_t* const begin = order.begin;
    std::fill_n(begin, n_experts + 1, 0);
    for (std::int64_t t = 0; t < n; ++t) {
        for (std::int32_t j = 0; j < top_k; ++j) {
            const std::int32_t e = ids[t * ids_stride + j];
            BLOOM_DCHECK(e >= 0 && e < n_experts);
            ++begin[e + 1];
        }
    }
    order.n_active = 0;
    for (std::int32_t e = 0; e < n_experts; ++e) {
        if (begin[e + 1] > 0) order.active[order.n_active++] = e;
        begin[e + 1] += begin[e];
    }
    // begin[e] moves to the end of its expert, which is where the next one begins.
    for (std::int64_t t = 0; t < n; ++t) {
        for (std::int32_t j = 0; j < top_k; ++j) {
            const std::int32_t at = begin[ids[t * ids_stride + j]]++;
            order.token[at] = static_cast<std::int32_t>(t);
            order.place[t * top_k + j] = at;
        }
    }
    for (std::int64_t e = n_experts; e > 0; --e)
        begin[e] = begin[e - 1];
    begin[0] = 0;
}

std::int64_t tasks_max(std::int64_t n_experts, int n_workers) noexcept {
    return n_experts + kTasksPerWorker * n_workers;
}

std::int32_t cut_tasks(const ExpertOrder& order, std::int64_t rows, std::int64_t row_bytes,
                       int n_workers, ExpertTask* tasks) noexcept {
    const auto cost_of = [&](std::int32_t e) {
        return std::max<std::int64_t>(order.count(e), kRidgeTokens);
    };
    std::int64_t total = 0;
    for (std::int32_t i = 0; i < order.n_active; ++i)
        total += cost_of(order.active[i]);
    const std::int64_t units = ceil_div(rows, kExpertRowUnit);
    std::int32_t n_tasks = 0;
    for (std::int32_t i = 0; i < order.n_active; ++i) {
        const std::int32_t e = order.active[i];
        const std::int64_t cost = cost_of(e);
        const std::int64_t wanted = ceil_div(cost * kTasksPerWorker * n_workers, total);
        const std::int64_t most = rows * row_bytes * cost / kRidgeTokens / kTaskBytesMin;
        const std::int64_t parts = std::clamp(std::min(wanted, most), std::int64_t{1}, units);
        for (std::int64_t p = 0; p < parts; ++p) {
            const std::int64_t first = units * p / parts * kExpertRowUnit;
            const std::int64_t last = std::min(units * (p + 1) / parts * kExpertRowUnit, rows);
            tasks[n_tasks++] = {e, static_cast<std::int32_t>(first),
                                static_cast<std::int32_t>(last)};
        }
    }
    return n_tasks;
}

std::int64_t down_blocks(std::int64_t rows, std::int64_t n_tokens, int n_workers) noexcept {
    const std::int64_t units = ceil_div(rows, kExpertRowUnit);
    const std::int64_t for_cache = ceil_div(rows * n_tokens, kDownBlockFloats);
    const std::int64_t each = std::max(kDownBlocksPerWorker, ceil_div(for_cache, n_workers));
    return std::min(each * n_workers, units);
}

std::int64_t down_floats_max(std::int64_t rows, std::int64_t n_tokens, int n_workers) noexcept {
    const std::int64_t units = ceil_div(rows, kExpertRowUnit);
    const std::int64_t fewest = std::min(kDownBlocksPerWorker * n_workers, units);
    const std::int64_t largest = n_tokens * block_stride(ceil_div(units, fewest) * kExpertRowUnit);
    // A block is at most a unit larger than its share, and its stride 31 floats more than its rows.
    return std::min(largest, kDownBlockFloats + n_tokens * (kExpertRowUnit + 31));
}

std::int64_t gate_block_rows(std::int64_t n_tokens) noexcept {
    const std::int64_t fit = kGateBlockFloats / (2 * n_tokens);
    return std::max(fit / kExpertRowUnit * kExpertRowUnit, kExpertRowUnit);
}

std::int64_t gate_floats_max(std::int64_t n_tokens) noexcept {
    return kGateBlockFloats + 2 * n_tokens * (kExpertRowUnit + 31);
}

} // namespace bloom::compute::cpu
