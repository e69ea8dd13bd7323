#include <algorithm>
#include <array>

#include <bloom/attest/nonce_tree.hpp>
#include <bloom/base/check.hpp>

namespace bloom::attest {
namespace {

using crypto::Sha256;

Sha256 leaf_hash(const Sha256& nonce) {
    std::array<std::uint8_t, 33> bytes{0x00};
    std::ranges::copy(nonce, bytes.begin() + 1);
    return crypto::sha256(bytes);
}

Sha256 node_hash(const Sha256& left, const Sha256& right) {
    std::array<std::uint8_t, 65> bytes{0x01};
    std::ranges::copy(left, bytes.begin() + 1);
    std::ranges::copy(right, bytes.begin() + 33);
    return crypto::sha256(bytes);
}

} // namespace

NonceTree::NonceTree(const std::vector<Sha256>& nonces) {
    BLOOM_CHECK(!nonces.empty());
    std::vector<Sha256> level(nonces.size());
    std::ranges::transform(nonces, level.begin(), leaf_hash);
    levels_.push_back(std::move(level));
    while (levels_.back().size() > 1) {
        const std::vector<Sha256>& below = levels_.back();
        std::vector<Sha256> above;
        for (std::size_t i = 0; i + 1 < below.size(); i += 2)
            above.push_back(node_hash(below[i], below[i + 1]));
        if (below.size() % 2 != 0) above.push_back(below.back()); // goes up as it is
        levels_.push_back(std::move(above));
    }
}

std::vector<Sha256> NonceTree::path(std::size_t leaf) const {
    BLOOM_CHECK(leaf < n_leaves());
    std::vector<Sha256> out;
    for (const std::vector<Sha256>& level : levels_) {
        const std::size_t neighbour = leaf ^ 1;
        if (neighbour < level.size()) out.push_back(level[neighbour]);
        leaf /= 2;
    }
    return out;
}

std::optional<Sha256> root_of(const Sha256& nonce, std::size_t leaf, std::size_t n_leaves,
                              const std::vector<Sha256>& path) {
    if (leaf >= n_leaves) return std::nullopt;
    Sha256 hash = leaf_hash(nonce);
    auto next = path.begin();
    for (std::size_t last = n_leaves - 1; last > 0; last /= 2, leaf /= 2) {
        if ((leaf ^ 1) > last) continue; // no neighbour on this level
        if (next == path.end()) return std::nullopt;
        hash = leaf % 2 != 0 ? node_hash(*next, hash) : node_hash(hash, *next);
        ++next;
    }
    if (next != path.end()) return std::nullopt;
    return hash;
}

} // namespace bloom::attest
