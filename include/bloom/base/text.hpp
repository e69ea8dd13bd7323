#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/bytes.hpp>

namespace bloom {

/// Lower-case hex of the bytes.
std::string to_hex(ByteSpan bytes);
/// Bytes of a hex string in either case; nothing if it has an odd length or another character.
std::optional<std::vector<std::uint8_t>> from_hex(std::string_view text);

/// Base64, RFC 4648 section 4, with padding.
std::string to_base64(ByteSpan bytes);
/// Strict: padding required, no other characters, no stray bits in the last group.
std::optional<std::vector<std::uint8_t>> from_base64(std::string_view text);

/// Base64 for URLs and fields, RFC 4648 section 5, without padding.
std::string to_base64url(ByteSpan bytes);
/// Strict: no padding, no other characters, no stray bits in the last group.
std::optional<std::vector<std::uint8_t>> from_base64url(std::string_view text);

/// Base32, RFC 4648 section 6, in lower case and without padding.
std::string to_base32(ByteSpan bytes);

/// Whether the text is well-formed UTF-8 (no surrogates, no overlong forms, RFC 3629).
bool is_utf8(std::string_view text) noexcept;

/// For error messages that quote untrusted names: control bytes and quotes escaped, cut at
/// `max_bytes` with an ellipsis.
std::string quoted(std::string_view text, std::size_t max_bytes = 80);

/// ASCII-only comparison and folding, as HTTP wants them.
bool iequals(std::string_view a, std::string_view b) noexcept;
char to_lower_ascii(char c) noexcept;

} // namespace bloom
