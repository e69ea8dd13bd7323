#include "kernels/cpu_features.hpp"

#include "kernels/kernel_table.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace bloom::kernels {
namespace {

constexpr bool bit(std::uint32_t reg, int n) noexcept {
    return ((reg >> n) & 1U) != 0;
}

constexpr std::uint64_t kXcr0Ymm = 0x6;  // xmm, ymm
constexpr std::uint64_t kXcr0Zmm = 0xe6; // and opmask, upper halves, registers 16 to 31

} // namespace

std::uint32_t features_from(const CpuidDump& d) noexcept {
    const bool os_xsave = d.max_leaf >= 1 && bit(d.leaf1_ecx, 27);
    if (!os_xsave || !bit(d.leaf1_ecx, 28) || (d.xcr0 & kXcr0Ymm) != kXcr0Ymm) return 0;
    std::uint32_t have = 0;
    if (bit(d.leaf1_ecx, 12)) have |= kFma;
    if (bit(d.leaf1_ecx, 29)) have |= kF16c;
    if (d.max_leaf < 7) return have;
    if (bit(d.leaf7_ebx, 5)) have |= kAvx2;
    if (bit(d.leaf7_1_eax, 4)) have |= kAvxVnni;
    if ((d.xcr0 & kXcr0Zmm) != kXcr0Zmm) return have;
    const bool f = bit(d.leaf7_ebx, 16);
    const bool dq = bit(d.leaf7_ebx, 17);
    const bool bw = bit(d.leaf7_ebx, 30);
    const bool vl = bit(d.leaf7_ebx, 31);
    if (f && dq && bw && vl) {
        have |= kAvx512;
        if (bit(d.leaf7_ecx, 11)) have |= kAvx512Vnni;
    }
    return have;
}

std::uint32_t features_from_hwcaps(std::uint64_t hwcap, std::uint64_t hwcap2) noexcept {
    constexpr std::uint64_t kHwcapAsimdDp = 1U << 20;
    constexpr std::uint64_t kHwcap2I8mm = 1U << 13;
    std::uint32_t have = 0;
    if ((hwcap & kHwcapAsimdDp) != 0) have |= kNeonDot;
    if ((hwcap2 & kHwcap2I8mm) != 0) have |= kNeonI8mm;
    return have;
}

std::uint32_t detect_cpu_features() noexcept {
#if defined(__x86_64__)
    CpuidDump dump;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    if (__get_cpuid(0, &a, &b, &c, &d) == 0) return 0;
    dump.max_leaf = a;
    if (__get_cpuid(1, &a, &b, &c, &d) != 0) dump.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
        dump.leaf7_ebx = b;
        dump.leaf7_ecx = c;
        const std::uint32_t last_subleaf = a;
        if (last_subleaf >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) dump.leaf7_1_eax = a;
    }
    if (bit(dump.leaf1_ecx, 27)) {
        std::uint32_t low = 0;
        std::uint32_t high = 0;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        dump.xcr0 = (static_cast<std::uint64_t>(high) << 32) | low;
    }
    return features_from(dump);
#elif defined(__aarch64__) && defined(__linux__)
    return features_from_hwcaps(getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
#else
    return 0;
#endif
}

} // namespace bloom::kernels
