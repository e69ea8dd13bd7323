#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include <bloom/api/cors.hpp>
#include <bloom/attest/node_attestation.hpp>
#include <bloom/auth/api_key.hpp>
#include <bloom/base/snapshot.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/fit/machine.hpp>
#include <bloom/http/router.hpp>
#include <bloom/http/server.hpp>
#include <bloom/registry/catalog.hpp>
#include <bloom/registry/registry.hpp>
#include <bloom/scheduler/admission.hpp>

namespace bloom::api {

class StoredResponses;
std::shared_ptr<StoredResponses> make_stored_responses();

/// Times and bounds of inference requests; the defaults are the consumer API's.
struct InferenceLimits {
    std::uint64_t body_bytes = std::uint64_t{16} << 20; ///< section 1.1
    std::chrono::milliseconds commit_after{10'000};     ///< after acceptance, design decision 11
    std::chrono::milliseconds keep_alive{15'000};       ///< between bytes of a committed stream
    std::chrono::milliseconds silence{600'000};         ///< without an event: timed out
    int n_attempts = 3;                                 ///< section 4.6
};

/// What the handlers work with: one for the process, made by the node, outlives the servers.
/// Thread: any shard; members are immutable, snapshots or atomics.
struct Services {
    registry::Registry& registry;
    scheduler::AdmissionControl& admission;
    const Snapshot<auth::KeyTable>& keys;
    CorsPolicy cors{{}};
    std::string version = {};
    InferenceLimits limits = {};
    const registry::Catalog* catalog = &registry::Catalog::built_in(); ///< never null
    /// Of the node itself, which signs what its own links answer; nullptr: nothing is signed.
    attest::NodeAttestation* attestation = nullptr;
    bool list_catalog = false; ///< entries that nobody serves are in /v1/models, too
    /// What keys for thinking blocks derive from; another one after every start, since nobody has
    /// to recognise a block of before.
    crypto::Sha256 thinking_secret = crypto::random_key();

    /// Responses that their requests want to be kept; never null.
    std::shared_ptr<StoredResponses> stored = make_stored_responses();

    /// This machine for the fit API; never null.
    std::shared_ptr<const fit::Machine> machine = std::make_shared<const fit::Machine>();
    bool fit_is_public = false; ///< the fit API needs no key: nobody else can reach the node

    std::atomic<bool> draining{false};
    std::atomic<std::int64_t> n_active{0}; ///< inference requests between admission and settlement
    std::atomic<std::uint64_t> n_requests{0}; ///< inference requests so far
};

/// Every route of the API. Lifetime: keeps a reference to `services`.
http::Router make_router(Services& services);

/// Request ids, CORS, the error envelope and the access log on every response.
http::Hooks make_hooks(Services& services);

} // namespace bloom::api
