#include "node/identity.hpp"

#include <bloom/crypto/digest.hpp>
#include <bloom/hw/cpu_info.hpp>
#include <bloom/store/node_facts.hpp>

namespace bloom::node {

Result<registry::ProviderIdentity> make_identity(store::Database& db) {
    constexpr std::size_t kSerialBytes = 8;
    registry::ProviderIdentity identity;
    identity.id = crypto::uuid_v4();
    BLOOM_TRY(identity.serial,
              store::remember(db, "serial", "db-" + crypto::random_hex(kSerialBytes)));
    identity.chip = hw::read_cpu_info().model;
    if (identity.chip.empty()) identity.chip = "unknown";
    identity.machine_model = "linux-x86_64";
    identity.trust = registry::TrustLevel::none;
    return identity;
}

} // namespace bloom::node
