#include <gtest/gtest.h>

#include <bloom/attest/node_attestation.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>

namespace bloom::attest {
namespace {

constexpr std::int64_t kNow = 1'767'322'805; // 2026-01-02T03:00:05Z
constexpr std::uint64_t kStart = 1'000'000'000'000;

crypto::Sha256 nonce(std::uint8_t fill) {
    crypto::Sha256 out{};
    out.fill(fill);
    return out;
}

std::unique_ptr<NodeAttestation> make_node() {
    NodeFacts facts;
    facts.serial = "db1-abc";
    facts.chip = "A chip";
    facts.version = "1.2.3";
    facts.posture = R"({"uid_nonroot":{"evidence":"self","value":true}})";
    facts.memory_bytes = std::uint64_t{24} << 30;
    auto key = IdentityKey::generate();
    EXPECT_TRUE(key.has_value());
    auto node = NodeAttestation::make(std::move(*key), std::move(facts), kNow);
    EXPECT_TRUE(node.has_value());
    return std::move(*node);
}

std::string member(std::string_view json, std::string_view name) {
    json::Parser parser;
    const auto document = parser.parse(json);
    EXPECT_TRUE(document.has_value()) << json;
    return std::string(document->as_object()->at(name).value().as_string().value());
}

void expect_signed(const NodeAttestation& node, const SignedStatus& status) {
    const auto signature = from_base64(status.signature);
    ASSERT_TRUE(signature.has_value());
    EXPECT_TRUE(node.key().verify_key().verify(as_bytes(status_message(status.json)), *signature));
    EXPECT_FALSE(node.key().verify_key().verify(as_bytes(status.json), *signature)) << "no domain";
}

TEST(NonceTree, EveryLeafOfEverySizeLeadsToTheRoot) {
    std::vector<crypto::Sha256> nonces;
    for (std::uint8_t n = 1; n <= 33; ++n) {
        nonces.push_back(nonce(n));
        const NonceTree tree(nonces);
        for (std::size_t leaf = 0; leaf < nonces.size(); ++leaf) {
            const auto path = tree.path(leaf);
            EXPECT_EQ(root_of(nonces[leaf], leaf, n, path), tree.root());
            EXPECT_NE(root_of(nonce(99), leaf, n, path), tree.root());
            EXPECT_NE(root_of(nonces[leaf], (leaf + 1) % 64, n, path), tree.root());
            if (!path.empty()) {
                auto bad = path;
                bad.back()[0] ^= 1;
                EXPECT_NE(root_of(nonces[leaf], leaf, n, bad), tree.root());
                bad = path;
                bad.pop_back();
                EXPECT_EQ(root_of(nonces[leaf], leaf, n, bad), std::nullopt);
            }
            auto longer = path;
            longer.push_back(nonce(0));
            EXPECT_EQ(root_of(nonces[leaf], leaf, n, longer), std::nullopt);
        }
    }
}

/// RFC 9162 2.1.1 as it is written: split at the largest power of two below n.
crypto::Sha256 reference_root(std::span<const crypto::Sha256> nonces) {
    std::vector<std::uint8_t> bytes;
    if (nonces.size() == 1) {
        bytes.push_back(0);
        bytes.insert(bytes.end(), nonces[0].begin(), nonces[0].end());
        return crypto::sha256(bytes);
    }
    std::size_t split = 1;
    while (split * 2 < nonces.size())
        split *= 2;
    const crypto::Sha256 left = reference_root(nonces.first(split));
    const crypto::Sha256 right = reference_root(nonces.subspan(split));
    bytes.push_back(1);
    bytes.insert(bytes.end(), left.begin(), left.end());
    bytes.insert(bytes.end(), right.begin(), right.end());
    return crypto::sha256(bytes);
}

TEST(NonceTree, RootsAreThoseOfTheRfc) {
    std::vector<crypto::Sha256> nonces;
    for (std::uint8_t n = 1; n <= 33; ++n) {
        nonces.push_back(nonce(n));
        EXPECT_EQ(NonceTree(nonces).root(), reference_root(nonces)) << int{n};
    }
}

TEST(NodeAttestation, ChecksItselfAtTheStart) {
    const auto node = make_node();
    const SignedStatus status = node->last_status();
    expect_signed(*node, status);
    EXPECT_EQ(status.at, kNow);
    EXPECT_EQ(member(status.json, "node_id"), node->key().node_id());
    EXPECT_EQ(member(status.json, "timestamp"), "2026-01-02T03:00:05Z");
    EXPECT_EQ(from_base64url(member(status.json, "nonce"))->size(), 32U);
}

TEST(NodeAttestation, AStatementIsBoundToTheNonce) {
    const auto node = make_node();
    const auto ticket = node->join(nonce(7), kStart);
    ASSERT_TRUE(ticket.has_value());
    EXPECT_EQ(ticket->ready_ns, kStart) << "nobody asked before";
    const std::vector<ModelFact> models{
        {"b", "b-q8", "33"}, {"b", "b-8bit", "22"}, {"a", "a-8bit", ""}};
    const auto fresh = node->take(*ticket, models, kNow + 1);
    ASSERT_TRUE(fresh.has_value());
    expect_signed(*node, fresh->status);
    const auto root = root_of(nonce(7), fresh->leaf, fresh->n_leaves, fresh->path);
    ASSERT_TRUE(root.has_value());
    EXPECT_EQ(member(fresh->status.json, "nonce"), to_base64url(*root));
    EXPECT_NE(fresh->status.json.find(R"("models":{"a":null,"b":"22"})"), std::string::npos)
        << "sorted by id";
    EXPECT_EQ(node->last_status().json, fresh->status.json);
}

TEST(NodeAttestation, OneSignatureAnswersAWindow) {
    const auto node = make_node();
    const auto first = node->join(nonce(1), kStart);
    const auto alone = node->take(*first, {}, kNow);
    // Within ten seconds of it, all wait for the same moment.
    const auto second = node->join(nonce(2), kStart + 1);
    const auto third = node->join(nonce(3), kStart + NodeAttestation::kWindowNs / 2);
    EXPECT_EQ(second->ready_ns, kStart + NodeAttestation::kWindowNs);
    EXPECT_EQ(third->ready_ns, second->ready_ns);
    const auto b = node->take(*second, {}, kNow + 10);
    const auto c = node->take(*third, {}, kNow + 10);
    ASSERT_TRUE(b.has_value());
    ASSERT_TRUE(c.has_value());
    EXPECT_EQ(b->status.signature, c->status.signature);
    EXPECT_NE(b->status.signature, alone->status.signature);
    EXPECT_EQ(root_of(nonce(2), b->leaf, b->n_leaves, b->path),
              root_of(nonce(3), c->leaf, c->n_leaves, c->path));
    // Long after, at once again.
    const auto late = node->join(nonce(4), kStart + 5 * NodeAttestation::kWindowNs);
    EXPECT_EQ(late->ready_ns, kStart + 5 * NodeAttestation::kWindowNs);
}

TEST(NodeAttestation, OneWhoComesAfterTheSignatureIsNotInIt) {
    const auto node = make_node();
    const auto first = node->join(nonce(1), kStart);
    // Not taken yet, but the window is over.
    const auto second = node->join(nonce(2), kStart);
    EXPECT_NE(second->window, first->window);
    EXPECT_EQ(node->take(*first, {}, kNow)->n_leaves, 1U);
}

TEST(NodeAttestation, AFullWindowRefuses) {
    const auto node = make_node();
    ASSERT_TRUE(node->join(nonce(0), kStart).has_value());
    for (std::size_t i = 0; i < NodeAttestation::kWindowNoncesMax; ++i)
        ASSERT_TRUE(node->join(nonce(1), kStart + 1).has_value()) << i;
    const auto full = node->join(nonce(2), kStart + 1);
    ASSERT_FALSE(full.has_value());
    EXPECT_EQ(full.error().code(), Code::limit_reached);
    EXPECT_TRUE(node->join(nonce(2), kStart + 2 * NodeAttestation::kWindowNs).has_value());
}

TEST(NodeAttestation, ListingSaysWhatIsAndIsNotProven) {
    const auto node = make_node();
    const std::vector<ModelFact> models{{"m", "m-8bit", ""}};
    std::string json;
    node->append_json(json, models, false);
    EXPECT_EQ(member(json, "provider_id"), node->key().node_id());
    EXPECT_EQ(member(json, "trust_level"), "self_signed");
    EXPECT_EQ(member(json, "scope"), "same-operator");
    EXPECT_EQ(member(json, "status"), "online");
    EXPECT_EQ(member(json, "identity_public_key"), node->key().public_key());
    EXPECT_EQ(member(json, "se_public_key"), node->key().public_key());
    EXPECT_NE(json.find(R"("secure_enclave":false)"), std::string::npos);
    EXPECT_NE(json.find(R"("memory_gb":24.0)"), std::string::npos) << json;
    EXPECT_NE(json.find(R"("models":[{"id":"m","build":"m-8bit","manifest_sha256":null}])"),
              std::string::npos);
    SignedStatus status;
    status.json = as_text(*from_base64(member(json, "last_status")));
    status.signature = member(json, "last_status_signature");
    expect_signed(*node, status);
    json.clear();
    node->append_json(json, {}, true);
    EXPECT_EQ(member(json, "status"), "draining");
}

} // namespace
} // namespace bloom::attest
