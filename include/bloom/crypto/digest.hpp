#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <bloom/base/bytes.hpp>

struct evp_md_ctx_st;

namespace bloom::crypto {

using Sha256 = std::array<std::uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of the bytes. Thread: any.
Sha256 sha256(ByteSpan bytes) noexcept;
/// The same as 64 lower-case hex digits.
std::string sha256_hex(std::string_view text);

/// HMAC with SHA-256 (RFC 2104) of the bytes under a key of any length. Thread: any.
Sha256 hmac_sha256(ByteSpan key, ByteSpan bytes) noexcept;

/// SHA-256 of bytes that come in pieces. Feeding does not allocate. Thread: one at a time.
class Sha256Stream {
public:
    Sha256Stream();

    void update(ByteSpan bytes) noexcept;
    /// Of all that was fed; once, and nothing is fed after it.
    Sha256 finish() noexcept;

private:
    struct Free {
        void operator()(evp_md_ctx_st* context) const noexcept;
    };

    std::unique_ptr<evp_md_ctx_st, Free> context_;
};

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
