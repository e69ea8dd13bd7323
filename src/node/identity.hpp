#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <bloom/attest/node_attestation.hpp>
#include <bloom/base/result.hpp>
#include <bloom/registry/provider_link.hpp>

namespace bloom::node {

/// Who this machine is towards callers: what links and listings say, and what signs for it.
struct Identity {
    registry::ProviderIdentity provider;
    std::unique_ptr<attest::NodeAttestation> attestation;
};

/// Opens (or makes) the identity key of the data directory and lets it check itself, which is what
/// trust `self_signed` rests on. `serial` is the setting provider.serial: `derived` from the key or
/// `chassis` from the firmware (design decision 14). Errors: those of IdentityKey::open;
/// machine_lacks where a chassis serial is wanted and cannot be read.
Result<Identity> make_identity(const std::string& data_dir, std::string_view serial,
                               std::string_view version, std::int64_t unix_seconds);

} // namespace bloom::node
