#include <algorithm>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/rt/shard.hpp>

#include "api/common.hpp"

namespace bloom::api {
namespace {

/// What the links of the node itself hold, each once.
std::vector<attest::ModelFact> own_models(const Services& services) {
    std::vector<attest::ModelFact> out;
    const auto links = services.registry.links();
    for (const auto& link : *links) {
        if (link->identity().id != services.attestation->key().node_id()) continue;
        const registry::Capacity capacity = link->capacity();
        for (const registry::ModelInfo& info : *capacity.models) {
            const registry::CatalogEntry* entry =
                info.catalog_id.empty() ? nullptr : services.catalog->find(info.catalog_id);
            attest::ModelFact fact{entry != nullptr ? entry->public_id() : info.id, info.id, {}};
            const bool listed = std::ranges::any_of(
                out, [&](const attest::ModelFact& other) { return other.build == fact.build; });
            if (!listed) out.push_back(std::move(fact));
        }
    }
    return out;
}

std::optional<crypto::Sha256> parse_nonce(std::string_view raw) {
    const Result<std::string> text = http::percent_decode(raw);
    if (!text) return std::nullopt;
    std::string_view trimmed = *text;
    if (trimmed.ends_with('=')) trimmed.remove_suffix(1); // 32 bytes need one, if any
    const auto bytes = from_base64url(trimmed);
    crypto::Sha256 nonce{};
    if (!bytes || bytes->size() != nonce.size()) return std::nullopt;
    std::ranges::copy(*bytes, nonce.begin());
    return nonce;
}

std::string fresh_json(const attest::IdentityKey& key, std::string_view nonce,
                       const attest::FreshStatement& fresh) {
    std::string out;
    json::Writer w(out);
    w.begin_object();
    w.key("provider_id").string(key.node_id());
    w.key("attestation_scheme").string("software-p256");
    w.key("signing_algorithm").string("p256");
    w.key("identity_public_key").string(key.public_key());
    w.key("nonce").string(nonce);
    w.key("status").string(to_base64(as_bytes(fresh.status.json)));
    w.key("status_signature").string(fresh.status.signature);
    w.key("leaf_index").integer(fresh.leaf);
    w.key("n_leaves").integer(fresh.n_leaves);
    w.key("path").begin_array();
    for (const crypto::Sha256& hash : fresh.path)
        w.string(to_hex(hash));
    w.end_array().end_object();
    return out;
}

ApiError unknown_provider(std::string_view id) {
    ApiError error{http::Status::not_found, "not_found", "unknown_provider", {}, {}, 0};
    error.message = fmt::format("No machine {} is connected to this node.", bloom::quoted(id));
    return error;
}

bool is_draining(const Services& services) {
    return services.draining.load(std::memory_order_relaxed);
}

} // namespace

rt::Task<Result<>> handle_attestations(Services& services, http::Exchange& ex) {
    std::string body;
    json::Writer w(body);
    w.begin_object().key("providers").begin_array();
    if (services.attestation != nullptr) {
        std::string entry;
        services.attestation->append_json(entry, own_models(services), is_draining(services));
        w.raw(entry);
    }
    w.end_array().key("count").integer(services.attestation != nullptr ? 1 : 0).end_object();
    ex.headers().set("Cache-Control", "no-store");
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_attestation(Services& services, http::Exchange& ex) {
    const std::string_view id = ex.param("node_id");
    attest::NodeAttestation* const node = services.attestation;
    if (node == nullptr || id != node->key().node_id())
        co_return co_await refuse(ex, unknown_provider(id));
    ex.headers().set("Cache-Control", "no-store");
    const auto given = http::query_value(ex.request().query, "nonce");
    if (!given) {
        std::string body;
        node->append_json(body, own_models(services), is_draining(services));
        co_return co_await ex.respond(http::Status::ok, kJson, body);
    }
    const std::optional<crypto::Sha256> nonce = parse_nonce(*given);
    if (!nonce) {
        const dialect::RequestError bad{
            "Invalid 'nonce': expected the base64url of 32 bytes of your own.", "nonce"};
        co_return co_await refuse(ex, to_api_error(bad));
    }
    const Result<attest::NonceTicket> ticket = node->join(*nonce, rt::Shard::current().now_ns());
    if (!ticket) co_return co_await refuse(ex, to_api_error(ticket.error()));
    BLOOM_CO_OK(co_await rt::sleep_until(ticket->ready_ns, ex.stop()));
    const Result<attest::FreshStatement> fresh =
        node->take(*ticket, own_models(services), rt::Shard::current().unix_ms() / 1000);
    if (!fresh) co_return co_await refuse(ex, to_api_error(fresh.error()));
    co_return co_await ex.respond(http::Status::ok, kJson,
                                  fresh_json(node->key(), to_base64url(*nonce), *fresh));
}

} // namespace bloom::api
