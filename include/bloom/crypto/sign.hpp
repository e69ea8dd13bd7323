#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>

struct evp_pkey_st;

/// Signatures: ECDSA with NIST P-256 and SHA-256 (FIPS 186-5), as DER (RFC 3279 section 2.2.3).
namespace bloom::crypto {

/// A point of the curve: 0x04, then X and Y, 32 bytes each (SEC 1 section 2.3.3).
using P256Point = std::array<std::uint8_t, 65>;

/// The public half. Lifetime: owns its key, cheap to copy. Thread: any, after construction.
class VerifyKey {
public:
    /// From 65 bytes. Errors: invalid_argument for another form or a point off the curve.
    static Result<VerifyKey> from_point(ByteSpan point);
    /// From a SubjectPublicKeyInfo (RFC 5480) of a named curve and an uncompressed point, the one
    /// form that tools write. Errors: as above.
    static Result<VerifyKey> from_spki(ByteSpan der);
    /// From the base64 of either of the two. Errors: as above.
    static Result<VerifyKey> from_base64(std::string_view text);

    const P256Point& point() const noexcept { return point_; }

    /// The SubjectPublicKeyInfo, 91 bytes.
    std::vector<std::uint8_t> spki() const;
    std::string spki_base64() const;

    /// Whether the signature is one over the message by this key's other half. Anything but strict
    /// DER is no signature.
    bool verify(ByteSpan message, ByteSpan signature) const;

    friend bool operator==(const VerifyKey& a, const VerifyKey& b) noexcept {
        return a.point_ == b.point_;
    }

private:
    VerifyKey(std::shared_ptr<evp_pkey_st> key, const P256Point& point)
        : key_(std::move(key)), point_(point) {}

    std::shared_ptr<evp_pkey_st> key_; // of the library, immutable
    P256Point point_;
};

/// A key pair. Lifetime: owns its key, cheap to copy. Thread: any, after construction.
class SigningKey {
public:
    /// A new one from the system's generator. Errors: internal.
    static Result<SigningKey> generate();
    /// From unencrypted PKCS#8 in PEM (RFC 5958, RFC 7468). Errors: corrupt for what is not that
    /// or whose halves do not belong together; unsupported for a key of another kind.
    static Result<SigningKey> from_pem(std::string_view pem);

    /// The secret as PKCS#8 in PEM; wipe() it when it is written. Errors: internal.
    Result<std::string> to_pem() const;

    const VerifyKey& public_key() const noexcept { return public_; }

    /// The signature over the message as DER, 70 to 72 bytes mostly; two over one message differ.
    /// Errors: internal when the library has no memory or no randomness.
    Result<std::vector<std::uint8_t>> sign(ByteSpan message) const;

private:
    SigningKey(std::shared_ptr<evp_pkey_st> key, VerifyKey half)
        : key_(std::move(key)), public_(std::move(half)) {}

    static Result<SigningKey> from_library(std::shared_ptr<evp_pkey_st> key);

    std::shared_ptr<evp_pkey_st> key_;
    VerifyKey public_;
};

/// Overwrites a secret with zeros, in a way that compilers do not leave out, and empties it.
void wipe(std::string& secret) noexcept;

} // namespace bloom::crypto
