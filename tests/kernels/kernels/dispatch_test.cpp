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
    {"nothing at all", {}, 0},
};

TEST(CpuFeatures, RecordedMachines) {
    for (const Recorded& m : kMachines)
        EXPECT_EQ(features_from(m.dump), m.features) << m.machine;
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
    EXPECT_EQ(n, 3U);
#endif
}

TEST(Dispatch, FastestThatRuns) {
    EXPECT_STREQ(select_table(0, nullptr)->isa, "scalar");
    EXPECT_STREQ(select_table(0, "")->isa, "scalar");
#if defined(__x86_64__)
    EXPECT_STREQ(select_table(kAll, nullptr)->isa, "avx512vnni");
    EXPECT_STREQ(select_table(kAll & ~kAvx512Vnni, nullptr)->isa, "avx2");
    EXPECT_STREQ(select_table(kAll & ~kF16c, nullptr)->isa, "scalar");
#endif
}

TEST(Dispatch, ForcedByName) {
    EXPECT_STREQ(select_table(kAll, "scalar")->isa, "scalar");
    EXPECT_EQ(select_table(kAll, "avx1024"), nullptr);
    EXPECT_EQ(select_table(kAll, "SCALAR"), nullptr);
#if defined(__x86_64__)
    EXPECT_STREQ(select_table(kAll, "avx2")->isa, "avx2");
    EXPECT_EQ(select_table(kFma, "avx2"), nullptr);
    EXPECT_EQ(select_table(kAll & ~kAvx512Vnni, "avx512vnni"), nullptr);
#endif
}

TEST(Dispatch, DetectionFindsARunnableTable) {
    const std::uint32_t have = detect_cpu_features();
    EXPECT_EQ(have, detect_cpu_features());
    EXPECT_NE(select_table(have, nullptr), nullptr);
}

} // namespace
} // namespace bloom::kernels
