#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/attest/identity_key.hpp>
#include <bloom/attest/statement.hpp>
#include <bloom/base/result.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::attest {

/// What travels with a signed response, as header fields or in a stream's comment.
struct Evidence {
    std::string response_hash;       ///< SHA-256 hex of the signed bytes
    std::string se_signature;        ///< base64 DER, over the 64 characters of the hash
    std::string statement;           ///< base64url of the statement's JSON
    std::string statement_signature; ///< base64 DER, over statement_message() of that JSON
    std::string public_key;          ///< base64 SubjectPublicKeyInfo

    friend bool operator==(const Evidence&, const Evidence&) = default;
};

/// What the comment of a stream begins with, behind its colon.
inline constexpr std::string_view kCommentTag = "darkbloom-signature ";

/// The comment that ends the signed bytes of a stream, with its empty line (design decision 16).
std::string signature_comment(const Evidence& evidence);
/// Reads the text behind kCommentTag. Errors: invalid_argument for anything but what
/// signature_comment writes, byte for byte.
Result<Evidence> parse_signature_comment(std::string_view json);

/// Hashes what an encoder writes and signs it at the end. Feeding does not allocate.
/// Lifetime: borrows the key. Thread: one at a time.
class ResponseSigner {
public:
    explicit ResponseSigner(const IdentityKey& key) noexcept : key_(key) {}

    /// The next of the signed bytes: what the encoder wrote, nothing that the server adds.
    void update(std::string_view bytes) noexcept;

    /// Signs what was fed, once. Of the statement the caller has filled everything that is not
    /// about bytes or key; hash, node id and segment are put in here. Errors: internal.
    Result<Evidence> finish(Statement statement);

private:
    const IdentityKey& key_;
    crypto::Sha256Stream hash_;
    std::int64_t n_bytes_ = 0;
};

} // namespace bloom::attest
