#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/attest/response_signer.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/gen/render_spec.hpp>
#include <bloom/http/response.hpp>
#include <bloom/registry/provider_link.hpp>

/// What a response says about who made it, when and how (consumer API sections 4.9 and 4.12).
namespace bloom::api {

/// Where the time of a request went, in nanoseconds.
struct Timing {
    std::uint64_t parse_ns = 0;    ///< reading the body's bytes, not waiting for them
    std::uint64_t reserve_ns = 0;  ///< admission
    std::uint64_t route_ns = 0;    ///< choosing a machine
    std::uint64_t queue_ns = 0;    ///< waiting for one
    std::uint64_t dispatch_ns = 0; ///< handing over to it
    std::uint64_t provider_ns = 0; ///< from there to the first bytes of the answer
};

/// Compact JSON in microseconds; before the hand-over the two last members are not known yet.
std::string to_json(const Timing& timing, bool handed_over);

/// The machine behind a committed response.
void add_identity_headers(http::HeaderList& headers, const registry::ProviderIdentity& who);

/// The same facts as one JSON object, for clients whose SDK hides headers.
std::string metadata_json(const registry::ProviderIdentity& who, std::string_view job_id,
                          const Timing& timing);

/// Fields of a whole response that is signed.
void add_evidence_headers(http::HeaderList& headers, const attest::Evidence& evidence);

// Trailers of a stream that is signed, and what announces them (RFC 9110 section 6.6.2).
inline constexpr std::string_view kTrailerNames = "x-response-hash, x-se-signature";
void add_evidence_trailers(http::HeaderList& trailers, const attest::Evidence& evidence);

/// What a statement says besides bytes and key. `finishes` are the choices', in order.
attest::Statement statement_of(const gen::RenderSpec& spec, std::string_view build,
                               const gen::Usage& used, const std::vector<gen::Finish>& finishes,
                               std::int64_t unix_seconds);

} // namespace bloom::api
