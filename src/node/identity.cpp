#include "node/identity.hpp"

#include <bloom/hw/cpu_info.hpp>
#include <bloom/hw/machine_info.hpp>
#include <bloom/hw/memory_info.hpp>

#include "node/build_id.hpp"
#include "node/posture.hpp"

namespace bloom::node {
namespace {

constexpr std::string_view kPlatform = "linux-x86_64";

Result<std::string> serial_of(std::string_view setting, const attest::IdentityKey& key,
                              const hw::MachineInfo& machine) {
    if (setting != "chassis") return key.serial();
    if (!machine.serial.empty()) return machine.serial;
    return Error{Code::machine_lacks,
                 "provider.serial = chassis: /sys/class/dmi/id has no serial that this process may "
                 "read (only root may); run as root or use provider.serial = derived"};
}

} // namespace

Result<Identity> make_identity(const std::string& data_dir, std::string_view serial,
                               std::string_view version, std::int64_t unix_seconds) {
    BLOOM_TRY(attest::IdentityKey key, attest::IdentityKey::open(data_dir));
    const hw::MachineInfo machine = hw::read_machine_info();
    attest::NodeFacts facts;
    BLOOM_TRY(facts.serial, serial_of(serial, key, machine));
    facts.chip = hw::read_cpu_info().model;
    if (facts.chip.empty()) facts.chip = "unknown";
    facts.hardware_model = machine.product.empty() ? std::string(kPlatform) : machine.product;
    facts.version = std::string(version);
    facts.build_id = build_id_of("/proc/self/exe");
    facts.posture = read_posture();
    facts.memory_bytes = hw::read_memory_info().total_bytes;

    Identity out;
    out.provider.id = key.node_id();
    out.provider.serial = facts.serial;
    out.provider.chip = facts.chip;
    out.provider.machine_model = facts.hardware_model;
    out.provider.public_key = key.public_key();
    BLOOM_TRY(out.attestation,
              attest::NodeAttestation::make(std::move(key), std::move(facts), unix_seconds));
    out.provider.trust = registry::TrustLevel::self_signed;
    out.provider.attested = true;
    return out;
}

} // namespace bloom::node
