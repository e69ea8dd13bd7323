#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/bytes.hpp>

namespace bloom::crypto {

using Sha256 = std::array<std::uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of the bytes. Thread: any.
Sha256 sha256(ByteSpan bytes) noexcept;
/// The same as 64 lower-case hex digits.
std::string sha256_hex(std::string_view text);

/// HMAC with SHA-256 (RFC 2104) of the bytes under a key of any length. Thread: any.
Sha256 hmac_sha256(ByteSpan key, ByteSpan bytes) noexcept;

/// Whether two byte strings are equal, in time that depends only on their lengths.
bool constant_time_equal(ByteSpan a, ByteSpan b) noexcept;

/// Fills `out` from the system's cryptographic generator; aborts if the system has none, since
/// nothing secret could be made then. Thread: any.
void random_bytes(MutableByteSpan out) noexcept;
/// A random key for hmac_sha256().
Sha256 random_key() noexcept;
/// `n_bytes` random bytes as lower-case hex.
std::string random_hex(std::size_t n_bytes);
/// `n` characters of [0-9A-Za-z], uniform.
std::string random_alphanumeric(std::size_t n);
/// A random UUID, RFC 9562 version 4, in lower case.
std::string uuid_v4();

} // namespace bloom::crypto
