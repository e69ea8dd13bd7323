#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

/// The syntax of patterns; private to regex_*.cpp.
namespace bloom::text::schema {

/// Sorted, apart, none adjacent.
using CodePoints = std::vector<CodePointRange>;

inline constexpr char32_t kLastCodePoint = 0x10ffff;

CodePoints normalised(CodePoints ranges);
CodePoints complement(const CodePoints& ranges);
/// `\d`, `\w`, `\s` by their letters.
CodePoints class_of(char letter);
/// The ranges of a general category or group (`L`, `Lu`, `Nd`); nullptr when unknown.
const CodePoints* category(std::string_view name);

struct Regex {
    enum class Kind : std::uint8_t { empty, set, sequence, choice, repeat, begin, end };
    Kind kind = Kind::empty;
    CodePoints set;
    std::vector<Regex> parts; ///< of sequence, choice; the one of repeat
    std::uint32_t least = 0;
    std::uint32_t most = 0;
};

/// Groups inside one another.
inline constexpr int kMaxPatternDepth = 48;

Result<Regex> parse_regex(std::string_view pattern);

} // namespace bloom::text::schema
