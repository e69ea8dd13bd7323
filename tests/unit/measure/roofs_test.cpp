#include <vector>

#include <gtest/gtest.h>

#include "kernels/probe.hpp"
#include <bloom/measure/roofs.hpp>

namespace bloom::measure {
namespace {

constexpr std::size_t kLittle = std::size_t{16} << 20;

const kernels::KernelTable& fastest() {
    return *kernels::select_table(kernels::detect_cpu_features(), nullptr);
}

TEST(RoofProbe, MeasuresEverythingWithEveryTable) {
    compute::SerialTeam team(2);
    for (const kernels::KernelTable* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~kernels::detect_cpu_features()) != 0) continue;
        const auto probe = RoofProbe::make(team, **t, {.bytes = kLittle, .huge_pages = false});
        ASSERT_TRUE(probe) << (*t)->isa;
        EXPECT_GT((*probe)->read_gb_per_s(false), 0) << (*t)->isa;
        EXPECT_GT((*probe)->fma_gflops(), 0) << (*t)->isa;
        EXPECT_GT((*probe)->clock_ghz(), 0);
        const Roofs roofs = (*probe)->sample();
        EXPECT_GT(roofs.read_gb_per_s, 0) << (*t)->isa;
        EXPECT_GT(roofs.dot_gops, 0) << (*t)->isa;
    }
}

TEST(RoofProbe, PlainAndPrefetchedReadsSumTheSame) {
    std::vector<std::uint8_t> data(4096 + 64);
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<std::uint8_t>(i * 7);
    const kernels::Probe& probe = kernels::probe_of(fastest());
    ASSERT_NE(probe.read_plain, nullptr);
    EXPECT_EQ(probe.read(data.data(), 4096), probe.read_plain(data.data(), 4096));
    data[4095] ^= 1;
    EXPECT_NE(probe.read(data.data(), 4096), probe.read_plain(data.data(), 4096 - 512));
}

TEST(RoofProbe, ChainCountsItsAdditions) {
    EXPECT_EQ(kernels::add_chain(10), 10U * kernels::kChainAdds);
}

TEST(Ceilings, OneLinePerNumberOfThreads) {
    const auto lines = measure_ceilings(fastest(), std::vector<int>{1, 2}, 1,
                                        {.bytes = kLittle, .huge_pages = true});
    ASSERT_TRUE(lines);
    ASSERT_EQ(lines->size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
        const Ceiling& c = (*lines)[i];
        EXPECT_EQ(c.threads, static_cast<int>(i) + 1);
        EXPECT_GT(c.read_gb_per_s, 0);
        EXPECT_GT(c.read_plain_gb_per_s, 0);
        EXPECT_GT(c.read_small_pages_gb_per_s, 0);
        EXPECT_GT(c.dot_gops, 0);
        EXPECT_GT(c.fma_gflops, 0);
        EXPECT_GT(c.clock_ghz, 0);
    }
    const auto none = measure_ceilings(fastest(), std::vector<int>{0}, 1, {.bytes = kLittle});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), Code::invalid_argument);
}

} // namespace
} // namespace bloom::measure
