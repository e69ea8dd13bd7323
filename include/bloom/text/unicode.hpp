#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bloom::text {

/// What the pre-tokenizers need to know about a code point: its general category in coarse groups,
/// and white space as `\s` has it. The groups do not overlap.
enum class CharClass : std::uint8_t {
    other,    ///< unassigned, controls, formats, surrogates, private use
    upper,    ///< Lu
    title,    ///< Lt
    lower,    ///< Ll
    modifier, ///< Lm
    letter,   ///< Lo
    mark,     ///< Mn, Mc, Me
    number,   ///< Nd, Nl, No
    punct,    ///< Pc, Pd, Ps, Pe, Pi, Pf, Po
    symbol,   ///< Sm, Sc, Sk, So
    space,    ///< \s, which is Zs, Zl, Zp, U+0009..000D and U+0085
};

using ClassMask = std::uint16_t;

constexpr ClassMask mask(CharClass c) noexcept {
    return static_cast<ClassMask>(1u << static_cast<unsigned>(c));
}

template <class... More>
constexpr ClassMask mask(CharClass first, More... more) noexcept {
    return static_cast<ClassMask>(mask(first) | mask(more...));
}

inline constexpr ClassMask kLetters = mask(CharClass::upper, CharClass::title, CharClass::lower,
                                           CharClass::modifier, CharClass::letter);
inline constexpr ClassMask kMarks = mask(CharClass::mark);
inline constexpr ClassMask kNumbers = mask(CharClass::number);
inline constexpr ClassMask kPuncts = mask(CharClass::punct);
inline constexpr ClassMask kSymbols = mask(CharClass::symbol);
inline constexpr ClassMask kSpaces = mask(CharClass::space);

/// A table over all code points in two stages: 256-entry pages, equal ones shared.
class CharTable {
public:
    /// Built once per process from utf8proc's database.
    static const CharTable& instance();

    CharClass operator[](char32_t cp) const noexcept {
        if (cp >= kCodePoints) return CharClass::other;
        return static_cast<CharClass>(pages_[std::size_t{index_[cp >> 8]} << 8 | (cp & 0xff)]);
    }

private:
    static constexpr char32_t kCodePoints = 0x110000;

    CharTable();

    std::vector<std::uint16_t> index_;
    std::vector<std::uint8_t> pages_;
};

/// Version of the Unicode database behind CharTable and NFC, "15.0.0".
std::string_view unicode_version() noexcept;

/// One character of a text. Ill-formed input yields single bytes with cp = kIllFormed.
struct Char {
    char32_t cp;
    std::uint32_t bytes; ///< 1..4
};

inline constexpr char32_t kIllFormed = 0xffffffff;

/// Decodes the character at `at`, which must be inside the text.
Char decode_char(std::string_view text, std::size_t at) noexcept;

/// Appends a scalar value as UTF-8.
void append_utf8(std::string& out, char32_t cp);

} // namespace bloom::text
