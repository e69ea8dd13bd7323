#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <bloom/text/grammar/grammar.hpp>

/// What a GrammarBuilder has collected; known to src/text/grammar only.
namespace bloom::text {

/// A run of bytes, both inclusive.
struct ByteRun {
    std::uint8_t first = 0;
    std::uint8_t last = 0;

    friend bool operator==(const ByteRun&, const ByteRun&) = default;
};

/// Longest UTF-8 form.
inline constexpr std::size_t kMaxUtf8Bytes = 4;

/// One way to write a range of code points: a run of bytes for every place.
struct Utf8Form {
    ByteRun bytes[kMaxUtf8Bytes];
    std::uint32_t n = 0;
};

/// The UTF-8 forms of all code points in [first, last], without surrogates, in ascending order.
std::vector<Utf8Form> utf8_forms(char32_t first, char32_t last);

/// Sorted, apart, no surrogates, nothing above U+10FFFF.
std::vector<CodePointRange> normalised(std::span<const CodePointRange> ranges);

/// Well-formed UTF-8 in which none of `ends` occurs; every state between characters accepts.
/// States: at most 8 for every byte of `ends`, and 8.
ByteDfa dfa_without(std::span<const std::string_view> ends);
/// Bytes that the ends of one text_without may have together.
inline constexpr std::size_t kMaxTextEndBytes = 4096;

struct Node {
    enum class Kind : std::uint8_t {
        empty,
        nothing,
        literal,    ///< text[first, first + n)
        bytes,      ///< first to last
        characters, ///< ranges[first, first + n)
        sequence,   ///< children[first, first + n)
        choice,     ///< children[first, first + n)
        repeat,     ///< children[first], least to most
        automaton,  ///< dfas[first]
        tag,        ///< text[first, first + n)
        refer,      ///< rules[first]
    };

    Kind kind = Kind::nothing;
    std::uint32_t first = 0;
    std::uint32_t n = 0;
    std::uint32_t least = 0;
    std::uint32_t most = 0;
};

inline constexpr std::uint32_t kNoNode = 0xffff'ffffU;

struct GrammarBuilder::Impl {
    std::vector<Node> nodes;
    std::vector<std::uint32_t> children;
    std::string text;
    std::vector<CodePointRange> ranges;
    std::vector<ByteDfa> dfas;
    std::vector<std::uint32_t> rules; ///< the body of each, kNoNode before define()
    std::string refused;              ///< the bound that was reached, for build()
    /// Equal nodes are one node, so that their automata are shared: serialised content to index.
    std::unordered_map<std::string, std::uint32_t> known;

    std::string_view text_of(const Node& node) const {
        return std::string_view(text).substr(node.first, node.n);
    }

    std::span<const std::uint32_t> children_of(const Node& node) const {
        if (node.kind == Node::Kind::sequence || node.kind == Node::Kind::choice) {
            return std::span(children).subspan(node.first, node.n);
        }
        if (node.kind == Node::Kind::repeat) return std::span(children).subspan(node.first, 1);
        return {};
    }
};

} // namespace bloom::text
