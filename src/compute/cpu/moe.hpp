#pragma once

#include <cstddef>
#include <cstdint>

/// How the experts of a step share it: pairs of (token, slot) in the order of experts, and tasks
/// that workers take until there are none left. Plain functions over preallocated memory.
namespace bloom::compute::cpu {

/// Rows of every cut: whole panels of every table (at most 32 rows) and whole groups of every
/// format, so that a task can quantise what it computed.
inline constexpr std::int64_t kExpertRowUnit = 64;

/// Up to this many tokens an expert's weights cost their memory traffic, beyond that arithmetic:
/// dot products for one byte of bandwidth on current processors, in round figures.
inline constexpr std::int64_t kRidgeTokens = 16;

/// The (token, slot) pairs of a step in the order of experts, those of one expert by token.
struct ExpertOrder {
    std::int32_t* begin = nullptr;  ///< [n_experts + 1]: expert e has pairs [begin[e], begin[e+1])
    std::int32_t* active = nullptr; ///< [n_experts]: experts that have pairs, ascending
    std::int32_t* token = nullptr;  ///< [n_pairs], by place in this order
    std::int32_t* place = nullptr;  ///< [n_pairs]: where slot j of token t is, at t * top_k + j
    std::int32_t n_active = 0;

    std::int32_t count(std::int32_t e) const noexcept { return begin[e + 1] - begin[e]; }
};

/// A counting sort. ids: row t at ids + t * ids_stride, top_k different ones in [0, n_experts).
void sort_by_expert(const std::int32_t* ids, std::int64_t ids_stride, std::int64_t n,
                    std::int32_t top_k, std::int64_t n_experts, ExpertOrder& order) noexcept;

/// Output rows [begin, end) of one expert, for all its pairs.
struct ExpertTask {
    std::int32_t expert;
    std::int32_t begin;
    std::int32_t end;
};

/// Most tasks that cut_tasks makes.
std::int64_t tasks_max(std::int64_t n_experts, int n_workers) noexcept;

/// Cuts `rows` output rows of all active experts into tasks of about the same cost, expert by
/// expert: some for every worker, none of so few bytes that its stream hardly gets going.
/// `row_bytes` is what one row weighs.  Returns the number of tasks.
std::int32_t cut_tasks(const ExpertOrder& order, std::int64_t rows, std::int64_t row_bytes,
                       int n_workers, ExpertTask* tasks) noexcept;

/// Into how many blocks of whole units the output rows of the second product are cut; a block
/// takes all experts, so that its worker can add up what they give to n tokens. One expert's
/// results for all of these, or fewer, fit down_floats_max().
std::int64_t down_blocks(std::int64_t rows, std::int64_t n_tokens, int n_workers) noexcept;
std::int64_t down_floats_max(std::int64_t rows, std::int64_t n_tokens, int n_workers) noexcept;

/// Rows of gate and of up that a task computes before it multiplies them: a multiple of the unit.
/// Both together fit gate_floats_max().
std::int64_t gate_block_rows(std::int64_t n_tokens) noexcept;
std::int64_t gate_floats_max(std::int64_t n_tokens) noexcept;

/// Floats from one token to the next in a block of `rows`: not a multiple of 4 KiB, or all tokens
/// would meet in the same few cache sets.
constexpr std::int64_t block_stride(std::int64_t rows) noexcept {
    return (rows + 15) / 16 * 16 + 16;
}

} // namespace bloom::compute::cpu
