#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/objects.hpp"

/// Text as Python sees it: by code point. Bytes that are not UTF-8 count as one code point each, so
/// that nothing here can fail.
namespace bloom::text::jinja {

struct CodePoint {
    char32_t value = 0;
    std::uint32_t n_bytes = 0;
};

/// The code point at `at`, which is below the size.
CodePoint decode(std::string_view text, std::size_t at) noexcept;
/// The byte where the code point before `at` (above 0) begins.
std::size_t previous(std::string_view text, std::size_t at) noexcept;
void append_utf8(std::string& out, char32_t c);

std::size_t count_code_points(std::string_view text) noexcept;
/// Byte offset of the n-th code point; the size when there are fewer.
std::size_t byte_offset(std::string_view text, std::size_t n) noexcept;

/// str.isspace() of one character.
bool is_space(char32_t c) noexcept;
/// str.isprintable() of one character.
bool is_printable(char32_t c) noexcept;
bool is_alpha(char32_t c) noexcept;
bool is_digit(char32_t c) noexcept;
bool is_upper(char32_t c) noexcept;
bool is_lower(char32_t c) noexcept;
char32_t to_upper(char32_t c) noexcept;
char32_t to_lower(char32_t c) noexcept;

/// Where Python's splitlines() ends a line.
bool is_line_end(char32_t c) noexcept;

std::string_view strip_left(std::string_view text) noexcept;
std::string_view strip_right(std::string_view text) noexcept;

enum class Casing : std::uint8_t {
    upper,
    lower,
    capitalize, ///< first upper, rest lower
    title,      ///< every letter after a non-letter upper, rest lower
    swap,
};

/// A new string with the case of every character changed; marks stay with their characters. Simple
/// mappings only, with one exception: sharp s becomes SS.
Value change_case(const Value& text, Casing casing);

/// Lower case without marks, for comparisons.
std::string lowered(std::string_view text);

} // namespace bloom::text::jinja
