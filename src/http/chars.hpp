#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace bloom::http {

/// Character classes of RFC 9110 5.6.2, 5.5 and RFC 3986, one bit each.
enum CharClass : std::uint8_t {
    kToken = 1,      ///< tchar
    kFieldValue = 2, ///< field-vchar, SP, HTAB
    kHostChar = 4,   ///< unreserved, sub-delims, '%', ':' and the brackets of an IP literal
    kTargetChar = 8, ///< visible ASCII except '#'
    kHexDigit = 16,
};

inline constexpr std::array<std::uint8_t, 256> kCharClass = [] {
    std::array<std::uint8_t, 256> table{};
    auto mark = [&table](std::string_view set, std::uint8_t bit) {
        for (const char c : set) {
            std::uint8_t& entry = table[static_cast<unsigned char>(c)];
            entry = static_cast<std::uint8_t>(entry | bit);
        }
    };
    constexpr std::string_view kAlnum =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    mark(kAlnum, kToken | kHostChar);
    mark("!#$%&'*+-.^_`|~", kToken);
    mark("-._~!$&'()*+,;=%:[]", kHostChar);
    mark("0123456789abcdefABCDEF", kHexDigit);
    for (unsigned c = 0; c < 256; ++c) {
        const bool visible = c > 0x20 && c < 0x7f;
        if (visible || c >= 0x80 || c == ' ' || c == '\t') table[c] = table[c] | kFieldValue;
        if (visible && c != '#') table[c] = table[c] | kTargetChar;
    }
    return table;
}();

inline bool is_class(char c, CharClass bit) noexcept {
    return (kCharClass[static_cast<unsigned char>(c)] & bit) != 0;
}

inline bool all_class(std::string_view text, CharClass bit) noexcept {
    std::uint8_t seen = bit;
    for (const char c : text)
        seen &= kCharClass[static_cast<unsigned char>(c)];
    return seen != 0;
}

inline int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

inline std::string_view trim_blanks(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
        text.remove_suffix(1);
    return text;
}

} // namespace bloom::http
