#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

/// Regular languages over code points: ECMA-262 patterns, lengths, lists of words and what can be
/// put together from them, as deterministic automata.
namespace bloom::text::schema {

/// What all automata of one schema may cost together; running out is too_large.
class Budget {
public:
    explicit Budget(std::uint64_t steps) noexcept : left_(steps) {}

    bool spend(std::uint64_t steps) noexcept {
        if (steps > left_) {
            left_ = 0;
            return false;
        }
        left_ -= steps;
        return true;
    }

private:
    std::uint64_t left_;
};

inline constexpr std::size_t kMaxPatternBytes = 4096;
inline constexpr std::size_t kMaxPatternStates = std::size_t{1} << 14;

/// State 0 is the start. Edges are sorted and apart; where there is none, the text is lost.
struct TextDfa {
    struct Edge {
        char32_t first;
        char32_t last; ///< inclusive
        std::uint32_t target;

        bool operator==(const Edge&) const = default;
    };

    struct State {
        std::vector<Edge> edges;
        bool accepts = false;
    };

    std::vector<State> states;

    bool matches(std::string_view utf8) const;

    /// Whether it accepts no text at all. Only of automata made by the functions below.
    bool nothing() const noexcept { return !states[0].accepts && states[0].edges.empty(); }
};

/// The texts in which an ECMA-262 pattern (flag u) is found, at any place unless it is anchored.
/// Lookahead right behind a leading `^` is understood, other lookaround is not.
/// Errors: invalid_argument (no pattern), unsupported (names the construct), too_large.
Result<TextDfa> pattern_dfa(std::string_view pattern, Budget& budget);

/// Texts of so many code points; kUnbounded: without end.
Result<TextDfa> length_dfa(std::uint64_t least, std::uint64_t most, Budget& budget);
/// Exactly these texts.
Result<TextDfa> words_dfa(std::span<const std::string> words, Budget& budget);
/// All texts that the other does not accept.
Result<TextDfa> complement(const TextDfa& dfa, Budget& budget);
Result<TextDfa> intersection(const TextDfa& a, const TextDfa& b, Budget& budget);
/// The texts in which these bytes (ASCII, no repetition of the first) do not occur.
Result<TextDfa> without(std::string_view word, Budget& budget);
/// Every text.
TextDfa any_text();

/// How code points are written inside a string.
enum class TextForm : std::uint8_t {
    raw, ///< as UTF-8
    json ///< with escapes for quote, backslash and controls, `/` escaped or not
};

/// The same texts as bytes. Errors: too_large.
Result<ByteDfa> to_bytes(const TextDfa& dfa, TextForm form, Budget& budget);

} // namespace bloom::text::schema
