#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <bloom/attest/identity_key.hpp>
#include <bloom/attest/nonce_tree.hpp>
#include <bloom/base/result.hpp>

namespace bloom::attest {

/// What a node says about itself that does not change while it runs.
struct NodeFacts {
    std::string serial; ///< what requests pin it by
    std::string chip;
    std::string hardware_model;
    std::string version;
    std::string build_id; ///< SHA-256 hex of the program; empty: not known
    std::string posture;  ///< JSON object of self-reported facts, canonical; empty: none
    std::uint64_t memory_bytes = 0;
};

/// A model that the node holds, as statements name it.
struct ModelFact {
    std::string id;              ///< as requests call it
    std::string build;           ///< what runs
    std::string manifest_sha256; ///< empty: not known
};

/// The node's own status at some time, signed (provider network section 2.3): canonical JSON and
/// the base64 DER signature over status_message() of it.
struct SignedStatus {
    std::string json;
    std::string signature;
    std::int64_t at = 0; ///< Unix seconds
};

/// The domain `darkbloom:attestation-status:v2\n`, then the exact bytes of the JSON.
std::string status_message(std::string_view json);

/// What a caller gets for its nonce.
struct FreshStatement {
    SignedStatus status; ///< its `nonce` is the base64url of the tree's root
    std::size_t leaf = 0;
    std::size_t n_leaves = 0;
    std::vector<crypto::Sha256> path;
};

/// Callers that asked within one window and share a signature.
struct NonceWindow;

/// Where to get a fresh statement, and when.
struct NonceTicket {
    std::shared_ptr<NonceWindow> window;
    std::size_t leaf = 0;
    std::uint64_t ready_ns = 0; ///< on the caller's monotonic clock
};

/// The node as a party that can be asked who it is: identity key, facts, self check, statements
/// bound to callers' nonces. One signature answers all nonces of a window of ten seconds; the first
/// caller after a quiet time is answered at once. Thread: any; members are immutable or locked.
class NodeAttestation {
public:
    static constexpr std::uint64_t kWindowNs = 10'000'000'000;
    /// Nonces that one signature answers.
    static constexpr std::size_t kWindowNoncesMax = 4096;

    /// Checks itself: signs a status over a nonce of its own and verifies it, as a coordinator
    /// would. Errors: internal when that fails.
    static Result<std::unique_ptr<NodeAttestation>> make(IdentityKey key, NodeFacts facts,
                                                         std::int64_t unix_seconds);

    const IdentityKey& key() const noexcept { return key_; }

    const NodeFacts& facts() const noexcept { return facts_; }

    /// Takes a seat for the nonce. Errors: limit_reached when the window is full.
    Result<NonceTicket> join(const crypto::Sha256& nonce, std::uint64_t now_ns);
    /// The statement of a ticket, at ready_ns or later; whoever comes first has it signed.
    /// Errors: internal.
    Result<FreshStatement> take(const NonceTicket& ticket, std::span<const ModelFact> models,
                                std::int64_t unix_seconds);

    /// The newest signed status. It never lacks: there is one from the self check.
    SignedStatus last_status() const;

    /// Appends the entry of `GET /v1/providers/attestation` (provider network section 2.7).
    void append_json(std::string& out, std::span<const ModelFact> models, bool draining) const;

private:
    NodeAttestation(IdentityKey key, NodeFacts facts)
        : key_(std::move(key)), facts_(std::move(facts)) {}

    Result<SignedStatus> sign_status(const crypto::Sha256& nonce, std::span<const ModelFact> models,
                                     std::int64_t unix_seconds);

    const IdentityKey key_;
    const NodeFacts facts_;

    mutable std::mutex mutex_; ///< of all below; held for one signature at most
    std::shared_ptr<NonceWindow> open_;
    std::uint64_t seq_ = 0; ///< of signed statuses since the start
    SignedStatus last_;
};

} // namespace bloom::attest
