#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

#include "automaton.hpp"
#include "nodes.hpp"

/// The steps of GrammarBuilder::build. Known to src/text/grammar only.
namespace bloom::text {

/// Compiles what `start` accepts. Errors as GrammarBuilder::build.
Result<std::shared_ptr<const Grammar>> compile(const GrammarBuilder::Impl& nodes,
                                               std::uint32_t start);

/// Which nodes become rules of their own and which are written out where they stand.
struct Layout {
    std::vector<std::uint32_t> real; ///< the node behind references; unusable loops give `nothing`
    std::vector<bool> nullable;      ///< accepts the empty text
    std::vector<bool> own_rule;      ///< recursive, or large and used several times
    std::vector<bool> counted;       ///< repeats with a counter instead of copies
};

Layout lay_out(const GrammarBuilder::Impl& nodes, std::uint32_t start);

/// An automaton with empty moves (Thompson 1968); entry is state 0, the only exit state 1.
struct Nfa {
    struct Arc {
        enum class Kind : std::uint8_t { empty, bytes, call };

        std::uint32_t from = 0;
        std::uint32_t to = 0;
        Kind kind = Kind::empty;
        ByteRun run{};          ///< bytes
        std::uint32_t rule = 0; ///< call
    };

    std::uint32_t n_states = 2;
    std::vector<Arc> arcs;

    std::uint32_t add_state() { return n_states++; }

    void add_empty(std::uint32_t from, std::uint32_t to) {
        arcs.push_back({.from = from, .to = to});
    }

    void add_bytes(std::uint32_t from, ByteRun run, std::uint32_t to) {
        arcs.push_back({.from = from, .to = to, .kind = Arc::Kind::bytes, .run = run});
    }

    void add_call(std::uint32_t from, std::uint32_t rule, std::uint32_t to) {
        arcs.push_back({.from = from, .to = to, .kind = Arc::Kind::call, .rule = rule});
    }
};

inline constexpr std::uint32_t kNfaEntry = 0;
inline constexpr std::uint32_t kNfaExit = 1;

/// Automata without empty moves, before what leads nowhere is removed. Calls name targets always.
struct Draft {
    struct State {
        std::vector<Grammar::Edge> edges;
        std::vector<Grammar::Call> calls;
        bool accepts = false;
    };

    struct Rule {
        std::uint32_t start = 0;
        std::uint32_t least = 1;
        std::uint32_t most = 1;
        std::uint32_t tag = kNone;
    };

    std::vector<State> states;
    std::vector<Rule> rules;
    std::vector<std::string> tags;
    std::uint64_t work = 0; ///< spent on making them, against kMaxBuildWork
};

/// Steps of determinising that one build may take.
inline constexpr std::uint64_t kMaxBuildWork = std::uint64_t{1} << 24;

/// Appends the rule's states to the draft and returns its start. Deterministic unless that needs
/// far more states than the NFA has. `strip`: the empty text is taken out. Errors: too_large.
Result<std::uint32_t> determinise(const Nfa& nfa, bool strip, Draft& draft);

/// Removes states from which no end or to which no way leads, and everything else that Grammar
/// promises. Errors: invalid_argument, too_large.
Result<std::shared_ptr<const Grammar>> finish(Draft draft);

} // namespace bloom::text
