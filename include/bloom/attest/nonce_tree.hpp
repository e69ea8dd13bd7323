#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include <bloom/crypto/digest.hpp>

namespace bloom::attest {

/// A Merkle tree over nonces, so that one signature answers many callers and each can see that its
/// own nonce is in it. Hashes and shape: RFC 9162 section 2.1 (leaves 0x00, nodes 0x01, SHA-256).
/// Thread: any, after construction.
class NonceTree {
public:
    /// At least one nonce, each as its raw bytes.
    explicit NonceTree(const std::vector<crypto::Sha256>& nonces);

    const crypto::Sha256& root() const noexcept { return levels_.back().front(); }

    std::size_t n_leaves() const noexcept { return levels_.front().size(); }

    /// Inclusion proof of a leaf, from its neighbour upwards; empty in a tree of one.
    std::vector<crypto::Sha256> path(std::size_t leaf) const;

private:
    std::vector<std::vector<crypto::Sha256>> levels_; ///< leaves first
};

/// The root that a nonce and its path lead to; nothing if the path does not fit the position.
/// `nonce` has 32 bytes.
std::optional<crypto::Sha256> root_of(const crypto::Sha256& nonce, std::size_t leaf,
                                      std::size_t n_leaves,
                                      const std::vector<crypto::Sha256>& path);

} // namespace bloom::attest
