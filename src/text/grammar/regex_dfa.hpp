#pragma once

#include "text/grammar/regex.hpp"

/// Between the files that make automata over code points.
namespace bloom::text::schema {

inline constexpr std::size_t kMaxTextEdges = std::size_t{1} << 20;

/// Appends an edge behind the others, merging it with the last where they meet.
void append_edge(TextDfa::State& state, TextDfa::Edge edge);
/// Leaves the states that are reached and from which an end is reached; the start remains.
void trim(TextDfa& dfa);
/// Fewest states, for automata of moderate size; larger ones stay as they are.
void minimise(TextDfa& dfa, Budget& budget);

} // namespace bloom::text::schema
