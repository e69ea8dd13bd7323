#include <algorithm>
#include <tuple>

#include <bloom/attest/node_attestation.hpp>
#include <bloom/base/calendar.hpp>
#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::attest {

struct NonceWindow {
    std::uint64_t closes_ns = 0;
    std::vector<crypto::Sha256> nonces;
    std::optional<NonceTree> tree; ///< once signed
    SignedStatus status;           ///< once signed
};

namespace {

constexpr std::string_view kDomain = "darkbloom:attestation-status:v2\n";
constexpr std::string_view kScheme = "software-p256";
constexpr std::string_view kSelfSigned = "self_signed";

/// What a caller does with all this, in one breath.
constexpr std::string_view kInstructions =
    "x-response-hash is the SHA-256 of the body; x-se-signature is this key's signature (ECDSA "
    "P-256, SHA-256, DER) over those 64 characters. 'darkbloom verify-response' checks saved "
    "responses; docs/attestation.md has the recipe for openssl. The key is kept by software: it "
    "shows that the same node answered, not what ran on it.";

void put_or_null(json::Writer& w, std::string_view key, std::string_view text) {
    w.key(key);
    if (text.empty()) {
        w.null();
    } else {
        w.string(text);
    }
}

struct Claim {
    std::string_view claim;
    bool value;
    std::string_view evidence;
};

/// Provider network section 2.9, the column of software keys.
constexpr Claim kClaims[] = {
    {"same_key_as_before", true, "signature"},
    {"identity_key_bound_to_machine", false, "none"},
    {"boot_chain_measured", false, "self-report"},
    {"published_build", false, "self-report"},
    {"weights_equal_manifest", false, "self-report"},
    {"operator_cannot_read_prompts", false, "none"},
};

void put_models(json::Writer& w, std::span<const ModelFact> models) {
    w.key("models").begin_array();
    for (const ModelFact& model : models) {
        w.begin_object().key("id").string(model.id).key("build").string(model.build);
        put_or_null(w, "manifest_sha256", model.manifest_sha256);
        w.end_object();
    }
    w.end_array();
}

/// Members of the original listing that only another kind of machine could fill.
void put_legacy(json::Writer& w) {
    w.key("secure_enclave").boolean(false);
    w.key("sip_enabled").null();
    w.key("secure_boot_enabled").null();
    w.key("mdm_verified").boolean(false);
}

} // namespace

std::string status_message(std::string_view json) {
    return std::string(kDomain) + std::string(json);
}

Result<std::unique_ptr<NodeAttestation>> NodeAttestation::make(IdentityKey key, NodeFacts facts,
                                                               std::int64_t unix_seconds) {
    std::unique_ptr<NodeAttestation> node(new NodeAttestation(std::move(key), std::move(facts)));
    crypto::Sha256 nonce{};
    crypto::random_bytes(nonce);
    BLOOM_TRY(const SignedStatus status, node->sign_status(nonce, {}, unix_seconds));
    const auto signature = from_base64(status.signature);
    if (!signature ||
        !node->key_.verify_key().verify(as_bytes(status_message(status.json)), *signature)) {
        return Error{Code::internal, "the identity key does not verify its own signature"};
    }
    return node;
}

Result<SignedStatus> NodeAttestation::sign_status(const crypto::Sha256& nonce,
                                                  std::span<const ModelFact> models,
                                                  std::int64_t unix_seconds) {
    std::vector<const ModelFact*> sorted;
    for (const ModelFact& model : models)
        sorted.push_back(&model);
    std::ranges::sort(sorted, {}, [](const ModelFact* m) { return std::tie(m->id, m->build); });
    // Two builds may go by one id, but canonical JSON has every name once: the first build counts.
    const auto again =
        std::ranges::unique(sorted, {}, [](const ModelFact* m) -> const auto& { return m->id; });
    sorted.erase(again.begin(), again.end());
    SignedStatus out;
    json::Writer w(out.json);
    w.begin_object();
    if (!facts_.build_id.empty()) w.key("build_id").string(facts_.build_id);
    w.key("models").begin_object();
    for (const ModelFact* model : sorted)
        put_or_null(w, model->id, model->manifest_sha256);
    w.end_object();
    w.key("node_id").string(key_.node_id());
    w.key("nonce").string(to_base64url(nonce));
    if (!facts_.posture.empty()) w.key("posture").raw(facts_.posture);
    w.key("public_key").string(key_.public_key());
    w.key("scheme").string(kScheme);
    w.key("seq").integer(++seq_);
    w.key("timestamp").string(rfc3339(unix_seconds));
    w.key("v").integer(2);
    w.end_object();
    BLOOM_TRY(out.signature, key_.sign(status_message(out.json)));
    out.at = unix_seconds;
    last_ = out;
    return out;
}

Result<NonceTicket> NodeAttestation::join(const crypto::Sha256& nonce, std::uint64_t now_ns) {
    const std::lock_guard lock(mutex_);
    if (open_ == nullptr || open_->tree || now_ns >= open_->closes_ns) {
        // After a quiet time at once; else when the window behind the last signature is over.
        const std::uint64_t next = open_ == nullptr ? now_ns : open_->closes_ns + kWindowNs;
        open_ = std::make_shared<NonceWindow>();
        open_->closes_ns = std::max(now_ns, next);
    }
    if (open_->nonces.size() >= kWindowNoncesMax)
        return Error{Code::limit_reached, "Too many callers ask for a fresh statement."};
    open_->nonces.push_back(nonce);
    return NonceTicket{open_, open_->nonces.size() - 1, open_->closes_ns};
}

Result<FreshStatement> NodeAttestation::take(const NonceTicket& ticket,
                                             std::span<const ModelFact> models,
                                             std::int64_t unix_seconds) {
    const std::lock_guard lock(mutex_);
    NonceWindow& window = *ticket.window;
    BLOOM_CHECK(ticket.leaf < window.nonces.size());
    if (!window.tree) {
        NonceTree tree(window.nonces);
        BLOOM_TRY(window.status, sign_status(tree.root(), models, unix_seconds));
        window.tree.emplace(std::move(tree));
    }
    return FreshStatement{window.status, ticket.leaf, window.tree->n_leaves(),
                          window.tree->path(ticket.leaf)};
}

SignedStatus NodeAttestation::last_status() const {
    const std::lock_guard lock(mutex_);
    return last_;
}

void NodeAttestation::append_json(std::string& out, std::span<const ModelFact> models,
                                  bool draining) const {
    const SignedStatus status = last_status();
    json::Writer w(out);
    w.begin_object();
    w.key("provider_id").string(key_.node_id());
    w.key("serial_number").string(facts_.serial);
    w.key("chip_name").string(facts_.chip);
    w.key("hardware_model").string(facts_.hardware_model);
    w.key("trust_level").string(kSelfSigned);
    w.key("attestation_scheme").string(kScheme);
    // Who checks and who is checked are one process here (section 2.9).
    w.key("scope").string("same-operator");
    w.key("status").string(draining ? "draining" : "online");
    w.key("memory_gb").number(static_cast<double>(facts_.memory_bytes / (1U << 20)) / 1024);
    w.key("gpu_cores").integer(0);
    put_models(w, models);
    w.key("identity_public_key").string(key_.public_key());
    w.key("encryption_public_key").null();
    w.key("signing_algorithm").string("p256");
    w.key("last_challenge_at").string(rfc3339(status.at));
    w.key("last_status").string(to_base64(as_bytes(status.json)));
    w.key("last_status_signature").string(status.signature);
    w.key("tpm").null();
    w.key("posture");
    if (facts_.posture.empty()) {
        w.null();
    } else {
        w.raw(facts_.posture);
    }
    put_or_null(w, "build_id", facts_.build_id);
    w.key("release_version").string(facts_.version);
    w.key("claims").begin_array();
    for (const Claim& claim : kClaims) {
        w.begin_object().key("claim").string(claim.claim).key("value").boolean(claim.value);
        w.key("evidence").string(claim.evidence).end_object();
    }
    w.end_array();
    w.key("se_public_key").string(key_.public_key());
    put_legacy(w);
    w.key("verification_instructions").string(kInstructions);
    w.end_object();
}

} // namespace bloom::attest
