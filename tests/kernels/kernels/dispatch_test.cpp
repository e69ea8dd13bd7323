#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <gtest/gtest.h>

#include "kernels/cpu_features.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/probe.hpp"

namespace bloom::kernels {
namespace {

struct Recorded {
    const char* machine;
    CpuidDump dump;
    std::uint32_t features;
};

constexpr std::uint32_t kAll = kAvx2 | kFma | kF16c | kAvx512 | kAvx512Vnni;
constexpr std::uint32_t kMost = kAll | kAvxVnni;

// Register values as these processors report them; the last ones are variations an operating system
// or hypervisor makes.
const Recorded kMachines[] = {
    {"Core i7-4770 (Haswell)", {13, 0x7ffafbff, 0x000027ab, 0x00000000, 0x7}, kAvx2 | kFma | kF16c},
    {"EPYC 7702 (Zen 2)", {16, 0x7ed8320b, 0x219c91a9, 0x00400004, 0x207}, kAvx2 | kFma | kF16c},
    {"Xeon Gold 6148 (Skylake-SP)",
     {22, 0x7ffefbff, 0xd39ffffb, 0x00000008, 0x2e7},
     kAvx2 | kFma | kF16c | kAvx512},
    {"EPYC 9654 (Zen 4)", {16, 0x7efa320b, 0xf1bf97a9, 0x00405fce, 0x2e7}, kAll},
    {"Core i3-2100 (Sandy Bridge: no AVX2, FMA, F16C)", {13, 0x1dbae3bf, 0, 0, 0x7}, 0},
    {"Core 2 (no AVX, no XSAVE in use)", {10, 0x0000e3bd, 0, 0, 0}, 0},
    {"Zen 4, zmm state not enabled",
     {16, 0x7efa320b, 0xf1bf97a9, 0x00405fce, 0x7},
     kAvx2 | kFma | kF16c},
    {"Zen 4, opmask state missing",
     {16, 0x7efa320b, 0xf1bf97a9, 0x00405fce, 0xc7},
     kAvx2 | kFma | kF16c},
    {"Zen 4, ymm state not enabled", {16, 0x7efa320b, 0xf1bf97a9, 0x00405fce, 0x3}, 0},
    {"Zen 4, OSXSAVE off", {16, 0x76fa320b, 0xf1bf97a9, 0x00405fce, 0x0}, 0},
    {"Zen 4, leaf 7 hidden", {6, 0x7efa320b, 0, 0, 0xe7}, kFma | kF16c},
    {"AVX-512 without VL", {16, 0x7efa320b, 0x71bf97a9, 0x00405fce, 0xe7}, kAvx2 | kFma | kF16c},
    {"EPYC (Zen 5)", {28, 0xfffa3203, 0xf1bf07ab, 0x00405fc6, 0xe7, 0x00000030}, kMost},
    {"Zen 5, zmm state not enabled",
     {28, 0xfffa3203, 0xf1bf07ab, 0x00405fc6, 0x7, 0x00000030},
     kAvx2 | kFma | kF16c | kAvxVnni},
    {"Zen 5, ymm state not enabled", {28, 0xfffa3203, 0xf1bf07ab, 0x00405fc6, 0x3, 0x00000030}, 0},
    {"nothing at all", {}, 0},
};

TEST(CpuFeatures, RecordedMachines) {
    for (const Recorded& m : kMachines)
        EXPECT_EQ(features_from(m.dump), m.features) << m.machine;
}

TEST(CpuFeatures, ArmHwcaps) {
    EXPECT_EQ(features_from_hwcaps(0x8fb, 0), 0U);                                 // Cortex-A72
    EXPECT_EQ(features_from_hwcaps(0x119ffb, 0), kNeonDot);                        // Neoverse N1
    EXPECT_EQ(features_from_hwcaps(0xecfffffb, 0x7f877fff), kNeonDot | kNeonI8mm); // QEMU's max
    EXPECT_EQ(features_from_hwcaps(0xffffffff, 0xffffffff & ~(1U << 13)), kNeonDot);
}

TEST(Dispatch, TablesAreDistinctCompleteAndEndWithScalar) {
    std::size_t n = 0;
    const KernelTable* last = nullptr;
    for (const KernelTable* const* t = all_tables(); *t != nullptr; ++t, ++n) {
        for (const KernelTable* const* u = all_tables(); u != t; ++u) {
            EXPECT_STRNE((*t)->isa, (*u)->isa);
        }
        EXPECT_GT((*t)->panel_rows, 0);
        EXPECT_STREQ(probe_of(**t).isa, (*t)->isa);
        last = *t;
    }
    ASSERT_NE(last, nullptr);
    EXPECT_STREQ(last->isa, "scalar");
    EXPECT_EQ(last->required, 0U);
#if defined(__x86_64__)
    EXPECT_EQ(n, 5U);
#elif defined(__aarch64__)
    EXPECT_EQ(n, 3U);
#endif
}

TEST(Dispatch, TablesHaveEveryOperation) {
    constexpr std::size_t kFirst = offsetof(KernelTable, packed_bytes);
    using Entry = void (*)();
    static_assert((sizeof(KernelTable) - kFirst) % sizeof(Entry) == 0);
    for (const KernelTable* const* t = all_tables(); *t != nullptr; ++t) {
        for (std::size_t at = kFirst; at < sizeof(KernelTable); at += sizeof(Entry)) {
            Entry entry = nullptr;
            std::memcpy(&entry, reinterpret_cast<const char*>(*t) + at, sizeof entry);
            EXPECT_NE(entry, nullptr) << (*t)->isa << ", byte " << at;
        }
    }
}

TEST(Dispatch, FastestThatRuns) {
    EXPECT_STREQ(select_table(0, nullptr)->isa, "scalar");
    EXPECT_STREQ(select_table(0, "")->isa, "scalar");
#if defined(__x86_64__)
    EXPECT_STREQ(select_table(kAll, nullptr)->isa, "avx512vnni");
    EXPECT_STREQ(select_table(kMost, nullptr)->isa, "avx512vnni");
    EXPECT_STREQ(select_table(kAll & ~kAvx512Vnni, nullptr)->isa, "avx512");
    EXPECT_STREQ(select_table(kAvx2 | kFma | kF16c | kAvxVnni, nullptr)->isa, "avx2vnni");
    EXPECT_STREQ(select_table(kAvx2 | kFma | kF16c, nullptr)->isa, "avx2");
    EXPECT_STREQ(select_table(kAll & ~kF16c, nullptr)->isa, "scalar");
#elif defined(__aarch64__)
    EXPECT_STREQ(select_table(kNeonDot | kNeonI8mm, nullptr)->isa, "neon_i8mm");
    EXPECT_STREQ(select_table(kNeonDot, nullptr)->isa, "neon_dot");
    EXPECT_STREQ(select_table(kNeonI8mm, nullptr)->isa, "scalar");
#endif
}

TEST(Dispatch, ForcedByName) {
    EXPECT_STREQ(select_table(kAll, "scalar")->isa, "scalar");
    EXPECT_EQ(select_table(kAll, "avx1024"), nullptr);
    EXPECT_EQ(select_table(kAll, "SCALAR"), nullptr);
#if defined(__x86_64__)
    EXPECT_STREQ(select_table(kAll, "avx2")->isa, "avx2");
    EXPECT_STREQ(select_table(kAll, "avx512")->isa, "avx512");
    EXPECT_EQ(select_table(kAll, "avx2vnni"), nullptr);
    EXPECT_STREQ(select_table(kMost, "avx2vnni")->isa, "avx2vnni");
    EXPECT_EQ(select_table(kFma, "avx2"), nullptr);
    EXPECT_EQ(select_table(kAll & ~kAvx512Vnni, "avx512vnni"), nullptr);
#endif
}

TEST(Dispatch, DetectionFindsARunnableTable) {
    const std::uint32_t have = detect_cpu_features();
    EXPECT_EQ(have, detect_cpu_features());
    const KernelTable* const chosen = select_table(have, nullptr);
    ASSERT_NE(chosen, nullptr);
    // Runs on an emulated processor say what it must lead to.
    const char* const expected = std::getenv("DARKBLOOM_EXPECT_ISA");
    if (expected != nullptr) EXPECT_STREQ(chosen->isa, expected);
}

} // namespace
} // namespace bloom::kernels
