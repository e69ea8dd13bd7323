#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

/// A compiled grammar: a pushdown automaton over bytes. Known to src/text/grammar only.
namespace bloom::text {

inline constexpr std::uint32_t kNone = 0xffff'ffffU;
/// Frames that a stack may hold: nesting of what is recursive. Texts that nest deeper are refused.
inline constexpr std::uint32_t kMaxGrammarDepth = 1024;

/// Rules are automata that call each other; a call pushes the state to go on with. No rule accepts
/// the empty text except rule 0, the whole grammar, so every call makes progress, and no rule calls
/// itself before it has read something. From every state some end can be reached.
class Grammar {
public:
    struct Edge {
        std::uint8_t first = 0;
        std::uint8_t last = 0; ///< inclusive
        std::uint32_t target = 0;
    };

    struct Call {
        std::uint32_t rule = 0;
        /// kNone: what remains after it is the end of the calling rule, so nothing is pushed.
        std::uint32_t target = 0;
    };

    struct State {
        std::uint32_t first_edge = 0; ///< sorted; apart, except in rules too large to determinise
        std::uint32_t first_call = 0;
        std::uint32_t n_edges = 0;
        std::uint32_t n_calls = 0;
        std::uint32_t tag = kNone; ///< the start of this tag's rule
        std::uint32_t need = 0;    ///< frames that reaching an end of its rule takes at least
        bool accepts = false;
    };

    /// `least` to `most` times in a row; the counter lives in the frame of the call.
    struct Rule {
        std::uint32_t start = 0;
        std::uint32_t least = 1;
        std::uint32_t most = 1;

        bool counts() const noexcept { return least != 1 || most != 1; }
    };

    std::vector<State> states;
    std::vector<Edge> edges;
    std::vector<Call> calls;
    std::vector<Rule> rules;
    std::vector<std::string> tags;
    std::uint32_t max_need = 0; ///< over all states

    std::span<const Edge> edges_of(const State& state) const noexcept {
        return std::span(edges).subspan(state.first_edge, state.n_edges);
    }

    std::span<const Call> calls_of(const State& state) const noexcept {
        return std::span(calls).subspan(state.first_call, state.n_calls);
    }
};

} // namespace bloom::text
