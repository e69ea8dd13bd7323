#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

namespace bloom::text::jinja {

enum class TokenKind : std::uint8_t {
    data,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer, ///< decimal digits
    floating,
    op, ///< operator or bracket, as written
    end,
};

struct Token {
    TokenKind kind = TokenKind::end;
    std::uint32_t line = 1;
    std::string text; ///< string tokens are unescaped
};

/// Cuts a template into tokens; all white-space control happens here. The last token is `end`.
/// Errors: corrupt with the line.
Result<std::vector<Token>> tokenize(std::string_view source);

} // namespace bloom::text::jinja
