#include "api/evidence.hpp"

#include <fmt/format.h>

#include <bloom/json/writer.hpp>

namespace bloom::api {
namespace {

std::string_view name_of(gen::Finish finish) {
    switch (finish) {
    case gen::Finish::stop:
        return "stop";
    case gen::Finish::length:
        return "length";
    case gen::Finish::tool_calls:
        return "tool_calls";
    case gen::Finish::cancelled:
        return "cancelled";
    case gen::Finish::none:
        break;
    }
    return "none";
}

std::string_view truth(bool value) {
    return value ? "true" : "false";
}

} // namespace

std::string to_json(const Timing& t, bool handed_over) {
    constexpr std::uint64_t kNs = 1000;
    std::string out =
        fmt::format(R"({{"parse_us":{},"reserve_us":{},"route_us":{},"queue_us":{})",
                    t.parse_ns / kNs, t.reserve_ns / kNs, t.route_ns / kNs, t.queue_ns / kNs);
    if (handed_over) {
        out += fmt::format(R"(,"dispatch_us":{},"provider_us":{})", t.dispatch_ns / kNs,
                           t.provider_ns / kNs);
    }
    return out + '}';
}

void add_identity_headers(http::HeaderList& headers, const registry::ProviderIdentity& who) {
    headers.set("x-provider-id", who.id);
    headers.set("x-provider-serial", who.serial);
    headers.set("x-provider-chip", who.chip);
    headers.set("x-provider-model", who.machine_model);
    headers.set("x-provider-attested", truth(who.attested));
    headers.set("x-provider-trust-level", to_string(who.trust));
    headers.set("x-provider-secure-enclave", "false"); // never claimed (design decision 15)
    if (!who.public_key.empty()) headers.set("x-attestation-se-public-key", who.public_key);
}

std::string metadata_json(const registry::ProviderIdentity& who, std::string_view job_id,
                          const Timing& timing) {
    std::string out;
    json::Writer w(out);
    w.begin_object();
    w.key("provider_id").string(who.id);
    w.key("provider_attested").boolean(who.attested);
    w.key("provider_trust_level").string(to_string(who.trust));
    w.key("provider_encrypted").boolean(false);
    w.key("provider_chip").string(who.chip);
    w.key("provider_machine_model").string(who.machine_model);
    w.key("provider_secure_enclave").boolean(false);
    w.key("provider_mda_verified").boolean(false);
    w.key("attestation_se_public_key");
    if (who.public_key.empty()) {
        w.null();
    } else {
        w.string(who.public_key);
    }
    w.key("job_id").string(job_id);
    w.key("timing").raw(to_json(timing, false));
    w.end_object();
    return out;
}

void add_evidence_headers(http::HeaderList& headers, const attest::Evidence& evidence) {
    headers.set("x-response-hash", evidence.response_hash);
    headers.set("x-se-signature", evidence.se_signature);
    headers.set("x-response-statement", evidence.statement);
    headers.set("x-response-statement-signature", evidence.statement_signature);
}

void add_evidence_trailers(http::HeaderList& trailers, const attest::Evidence& evidence) {
    trailers.set("x-response-hash", evidence.response_hash);
    trailers.set("x-se-signature", evidence.se_signature);
}

attest::Statement statement_of(const gen::RenderSpec& spec, std::string_view build,
                               const gen::Usage& used, const std::vector<gen::Finish>& finishes,
                               std::int64_t unix_seconds) {
    attest::Statement out;
    out.response_id = spec.response_id;
    out.request_hash = spec.request_hash;
    out.model = spec.model;
    out.build = std::string(build);
    out.prompt_tokens = used.prompt_tokens;
    out.completion_tokens = used.completion_tokens;
    for (const gen::Finish finish : finishes) {
        if (!out.finish_reason.empty()) out.finish_reason += ',';
        out.finish_reason += name_of(finish);
    }
    out.ts = unix_seconds;
    return out;
}

} // namespace bloom::api
