#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"

/// Layers of linear attention: recurrent states and the gated delta rule over them.
namespace bloom::compute {

std::int64_t state_bytes(const RecurrentSpec& spec) noexcept {
    const std::int64_t conv = (spec.conv_taps - 1) * spec.channels();
    const std::int64_t memory = std::int64_t{spec.n_v_heads} * spec.k_dim * spec.v_dim;
    return spec.n_layers * (conv + memory) * static_cast<std::int64_t>(sizeof(float));
}

namespace cpu {

Result<> CpuBackend::allocate_states(const RecurrentSpec&, std::int64_t) {
    return Error{Code::unsupported, "recurrent states are not supported"};
}

void CpuBackend::settle_state(std::int32_t, std::int32_t) {
    BLOOM_CHECK(false);
}

void CpuBackend::copy_state(std::int32_t, std::int32_t) {
    BLOOM_CHECK(false);
}

void CpuBackend::read_state(std::int32_t, std::span<std::byte>) {
    BLOOM_CHECK(false);
}

void CpuBackend::write_state(std::int32_t, std::span<const std::byte>) {
    BLOOM_CHECK(false);
}

} // namespace cpu
} // namespace bloom::compute
