#pragma once

#include <cstdint>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/engine.hpp>
#include <bloom/engine/state.hpp>

/// How an engine's memory budget becomes pages and slots.
namespace bloom::engine {

/// Snapshots that a budget is divided for at the least: the end of one prompt and that of the
/// beginning that it shares with others.
inline constexpr std::int64_t kLeastSnapshots = 2;

/// Recurrent states out of the cache's budget: a quarter of it for running sequences, which are as
/// many as that allows but kMaxChoices at least, and a quarter for snapshots, unless they have a
/// budget of their own. Pages keep half of it at least, so large states may take more than it has:
/// check_fits() reckons with that. Lowers max_seqs and kv_budget_bytes; leaves both alone where the
/// model has no recurrent state.
SlotCounts divide_states(const StateSpec& spec, EngineOptions& options);

/// Pages of each group: windowed groups get what max_seqs sequences can fill, at most half of the
/// budget beside others, which share the rest so that all hold the same number of tokens.
/// Errors: invalid_argument when that holds no sequence.
Result<std::vector<std::int64_t>> divide_budget(const StateSpec& spec,
                                                const EngineOptions& options);

} // namespace bloom::engine
