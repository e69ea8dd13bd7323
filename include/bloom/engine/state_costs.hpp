#pragma once

#include <cstdint>
#include <vector>

#include <bloom/engine/state.hpp>

namespace bloom::engine {

/// What sequences of a model cost in memory besides its weights.
struct StateCosts {
    struct Group {
        compute::KvGroupSpec spec;
        std::int64_t bytes_per_token = 0;
        /// Most that one sequence holds however long it is, in a step of prefill_tokens; 0: it
        /// grows with every token.
        std::int64_t window_bytes = 0;
    };

    std::vector<Group> groups;
    std::int64_t bytes_per_token = 0; ///< in the groups that grow
    std::int64_t window_bytes = 0;    ///< of one sequence in the others, together
    std::int64_t recurrent_bytes = 0; ///< of one sequence; 0: the model has no such state

    /// What one sequence of n_tokens holds at most.
    std::int64_t sequence_bytes(std::int64_t n_tokens) const noexcept;
};

/// Pages that one sequence can hold in a group with a window while steps have so many tokens.
std::int64_t window_pages(const compute::KvGroupSpec& group, std::int64_t prefill_tokens) noexcept;

StateCosts state_costs(const StateSpec& spec, std::int64_t prefill_tokens);

} // namespace bloom::engine
