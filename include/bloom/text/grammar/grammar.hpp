#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

/// Grammars over bytes that say which answers are allowed: built from nodes, compiled once, shared
/// by all requests that ask for the same.
namespace bloom::text {

/// A node of a grammar under construction; nodes are immutable and may be used any number of times.
enum class GrammarNode : std::uint32_t {};
/// A name for a node that other nodes, and itself, can refer to before it is defined: recursion.
enum class GrammarRule : std::uint32_t {};

struct CodePointRange {
    char32_t first = 0;
    char32_t last = 0; ///< inclusive
};

/// A deterministic automaton over bytes, for what choice and repetition say badly: a pattern
/// together with bounds on the length, numbers within bounds, text up to the first `</think>`.
/// State 0 is the start. Edges of a state are sorted and apart.
struct ByteDfa {
    struct Edge {
        std::uint8_t first = 0;
        std::uint8_t last = 0; ///< inclusive
        std::uint32_t target = 0;
    };

    struct State {
        std::vector<Edge> edges;
        bool accepts = false;
    };

    std::vector<State> states;
};

// Bounds of one grammar; what needs more is refused as too_large.
inline constexpr std::size_t kMaxGrammarNodes = std::size_t{1} << 18;
inline constexpr std::size_t kMaxGrammarStates = std::size_t{1} << 19;
inline constexpr std::uint32_t kMaxGrammarRepeat = 1U << 20;
inline constexpr std::uint32_t kUnbounded = 0xffff'ffffU;

/// Compiled: immutable, opaque to its users. Thread: any.
class Grammar;

/// Collects nodes. Equal nodes are one, so a part that is used often, such as a string, is compiled
/// once and shares its masks. Nodes and rules belong to the builder that made them. Memory and time
/// of every call are bounded by its arguments; build() is bounded by kMaxGrammarStates.
class GrammarBuilder {
public:
    struct Impl; ///< known to src/text/grammar only

    GrammarBuilder();
    ~GrammarBuilder();
    GrammarBuilder(GrammarBuilder&&) noexcept;
    GrammarBuilder& operator=(GrammarBuilder&&) noexcept;

    GrammarNode empty();   ///< the empty text
    GrammarNode nothing(); ///< no text at all: a dead end
    GrammarNode literal(std::string_view bytes);
    GrammarNode byte_range(std::uint8_t first, std::uint8_t last);
    /// One character of any of the ranges as UTF-8; surrogates are left out.
    GrammarNode characters(std::span<const CodePointRange> ranges);
    GrammarNode sequence(std::span<const GrammarNode> parts);
    GrammarNode choice(std::span<const GrammarNode> options);
    /// `least` to `most` times (kUnbounded: without end).
    GrammarNode repeat(GrammarNode node, std::uint32_t least, std::uint32_t most);

    GrammarNode optional(GrammarNode node) { return repeat(node, 0, 1); }

    GrammarNode automaton(ByteDfa dfa);
    /// A tag such as `<tool_call>`: the one token that the vocabulary has for it, or, where it has
    /// none, the bytes. Which vocabulary decides when a matcher is made.
    GrammarNode tag(std::string_view text);
    /// Any well-formed UTF-8, as long as may be, that does not contain any of `ends` (together at
    /// most 4096 bytes); tags that are tokens are never part of it.
    GrammarNode text_without(std::span<const std::string_view> ends);

    GrammarRule declare();
    /// Once for every rule.
    void define(GrammarRule rule, GrammarNode body);
    GrammarNode refer(GrammarRule rule);

    std::size_t n_nodes() const noexcept;

    /// Compiles what `start` accepts; the builder is spent. What leads to no end is left out.
    /// Recursion may nest 1024 deep; deeper texts are refused where they begin to. Errors:
    /// too_large (the bounds above, named); invalid_argument (no text at all satisfies it; a rule
    /// that begins with itself). Cost: linear in what the nodes say, 0.1 to 0.3 ms for small
    /// schemas; bounded for all.
    Result<std::shared_ptr<const Grammar>> build(GrammarNode start);

private:
    std::unique_ptr<Impl> impl_;
};

} // namespace bloom::text
