#include <algorithm>
#include <array>

#include <bloom/api/cors.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::api {
namespace {

constexpr std::string_view kExposed =
    "X-Request-ID, request-id, X-Inference-Job-ID, Retry-After, x-provider-attested, "
    "x-provider-trust-level, "
    "x-provider-chip, x-provider-serial, x-provider-id, x-provider-model, x-provider-encrypted, "
    "x-se-signature, "
    "x-response-hash, x-response-statement, x-response-statement-signature, "
    "x-provider-secure-enclave, x-attestation-se-public-key, x-timing, x-darkbloom-attempts, "
    "openai-processing-ms, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";

constexpr std::array<std::string_view, 10> kRequestHeaders{
    "authorization",
    "content-type",
    "x-api-key",
    "x-request-id",
    "idempotency-key",
    "x-darkbloom-route",
    "anthropic-version",
    "anthropic-beta",
    "x-darkbloom-metadata-details",
    "anthropic-dangerous-direct-browser-access"};

/// scheme://host, then nothing or a port of digits.
bool is_local(std::string_view origin, std::string_view prefix) {
    if (!origin.starts_with(prefix)) return false;
    const std::string_view rest = origin.substr(prefix.size());
    if (rest.empty()) return true;
    return rest.size() > 1 && rest.front() == ':' &&
           rest.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

bool is_safe_token(std::string_view name) {
    return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    });
}

} // namespace

bool CorsPolicy::allows(std::string_view origin) const noexcept {
    return is_local(origin, "http://localhost") || is_local(origin, "http://127.0.0.1") ||
           std::find(origins_.begin(), origins_.end(), origin) != origins_.end();
}

void CorsPolicy::add_response_headers(std::string_view origin, http::HeaderList& headers) const {
    // Caches must not hand one origin's answer to another, whether it was allowed or not.
    headers.add("Vary", "Origin");
    if (!allows(origin)) return;
    headers.add("Access-Control-Allow-Origin", origin);
    headers.add("Access-Control-Allow-Credentials", "true");
    headers.add("Access-Control-Expose-Headers", kExposed);
}

void CorsPolicy::add_preflight_headers(std::string_view requested, http::HeaderList& headers) {
    std::string allowed;
    for (const std::string_view name : kRequestHeaders) {
        if (!allowed.empty()) allowed += ", ";
        allowed += name;
    }
    // Official SDKs announce their x-stainless-* fields; they are echoed by name.
    while (!requested.empty()) {
        const std::size_t comma = requested.find(',');
        std::string name(requested.substr(0, comma));
        std::erase(name, ' ');
        std::transform(name.begin(), name.end(), name.begin(), to_lower_ascii);
        const bool listed = std::find(kRequestHeaders.begin(), kRequestHeaders.end(), name) !=
                            kRequestHeaders.end();
        if (!listed && name.starts_with("x-stainless-") && is_safe_token(name)) {
            allowed += ", ";
            allowed += name;
        }
        requested =
            comma == std::string_view::npos ? std::string_view() : requested.substr(comma + 1);
    }
    headers.add("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS");
    headers.add("Access-Control-Allow-Headers", allowed);
    headers.add("Access-Control-Max-Age", "600");
}

std::string request_id_for(std::string_view given) {
    constexpr std::size_t kMaxBytes = 128;
    const bool fine = !given.empty() && given.size() <= kMaxBytes &&
                      std::all_of(given.begin(), given.end(), [](char c) {
                          return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                                 (c >= '0' && c <= '9') || c == '.' || c == '_' || c == ':' ||
                                 c == '-';
                      });
    if (fine) return std::string(given);
    return "req_" + crypto::random_hex(16);
}

} // namespace bloom::api
