#pragma once

#include <cstdint>

namespace bloom::kernels {

/// The register values that detection reads, so that it can be tested on recorded machines.
struct CpuidDump {
    std::uint32_t max_leaf = 0;    ///< leaf 0, eax
    std::uint32_t leaf1_ecx = 0;   ///< leaf 1
    std::uint32_t leaf7_ebx = 0;   ///< leaf 7, subleaf 0
    std::uint32_t leaf7_ecx = 0;   ///< leaf 7, subleaf 0
    std::uint64_t xcr0 = 0;        ///< xgetbv(0); 0 where OSXSAVE is off
    std::uint32_t leaf7_1_eax = 0; ///< leaf 7, subleaf 1; 0 where there is none
};

/// CpuFeature bits of a machine: an extension counts only if the operating system saves the
/// registers it uses (XCR0: xmm and ymm for AVX2; opmask and both zmm parts too for AVX-512).
std::uint32_t features_from(const CpuidDump& dump) noexcept;

/// The same from the two words in which Linux tells what a 64-bit Arm can do (AT_HWCAP, AT_HWCAP2).
std::uint32_t features_from_hwcaps(std::uint64_t hwcap, std::uint64_t hwcap2) noexcept;

} // namespace bloom::kernels
