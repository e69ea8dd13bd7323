#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <bloom/text/unicode.hpp>

// The pre-tokenizer patterns as hand-written scanners. Each takes a position inside the piece and
// gives the end of the match that the published regular expression would make there; none of them
// looks at a character more than a small constant number of times per piece it makes.
namespace bloom::text {

/// A piece of a text under a scanner.
struct Scan {
    std::string_view text;
    std::size_t begin;
    std::size_t end;
    std::uint64_t& steps; ///< characters decoded
    const CharTable& table;

    Char at(std::size_t p) const noexcept {
        ++steps;
        return decode_char(text.substr(0, end), p);
    }

    CharClass classify(Char c) const noexcept {
        return c.cp == kIllFormed ? CharClass::other : table[c.cp];
    }
};

std::size_t next_gpt2(const Scan& scan, std::size_t p) noexcept;
std::size_t next_llama3(const Scan& scan, std::size_t p) noexcept;
std::size_t next_qwen2(const Scan& scan, std::size_t p) noexcept;
std::size_t next_qwen35(const Scan& scan, std::size_t p) noexcept;
std::size_t next_o200k(const Scan& scan, std::size_t p) noexcept;
/// Does not match digits and controls: gives p there.
std::size_t match_afmoe_word(const Scan& scan, std::size_t p) noexcept;

} // namespace bloom::text
