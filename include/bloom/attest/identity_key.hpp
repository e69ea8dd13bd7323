#pragma once

#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/crypto/sign.hpp>

namespace bloom::attest {

/// File in the data directory that holds the node's private key, PKCS#8 in PEM, mode 0600.
inline constexpr std::string_view kKeyFile = "identity-key.pem";

/// What a serial of a node begins with; its node id follows.
inline constexpr std::string_view kSerialPrefix = "db1-";

/// Short name of a public key: the first 10 bytes of SHA-256 over its SubjectPublicKeyInfo (DER, 91
/// bytes) as 16 base32 characters in lower case.
std::string node_id_of(const crypto::VerifyKey& key);

/// The key that a node is known by and signs with. Software made it and software keeps it: who has
/// the file has the identity. Lifetime: owns everything. Thread: any.
class IdentityKey {
public:
    /// Reads the key of a data directory, or makes one where there is none: written to a file of
    /// its own, synced, then put in place at once, so that a crash leaves the whole key or none,
    /// and of two nodes that start together one makes it. The directory must exist. Errors:
    /// permission_denied for a file that others can read, corrupt for one that holds no key,
    /// unsupported for a key of another kind, those of the file system; each names the file, and
    /// where there is one the way out.
    static Result<IdentityKey> open(const std::string& data_dir);
    /// One that is written nowhere. Errors: internal.
    static Result<IdentityKey> generate();

    const std::string& node_id() const noexcept { return node_id_; }

    /// `db1-` and the node id: what requests pin a machine by (design decision 14).
    const std::string& serial() const noexcept { return serial_; }

    /// Base64 of the SubjectPublicKeyInfo.
    const std::string& public_key() const noexcept { return public_key_; }

    const crypto::VerifyKey& verify_key() const noexcept { return key_.public_key(); }

    /// Base64 of the DER signature over the message. Errors: internal.
    Result<std::string> sign(std::string_view message) const;

private:
    explicit IdentityKey(crypto::SigningKey key);

    crypto::SigningKey key_;
    std::string node_id_;
    std::string serial_;
    std::string public_key_;
};

} // namespace bloom::attest
