#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "compute/cpu/memory.hpp"

namespace bloom::compute::cpu {
namespace {

/// The "VmFlags:" of the mapping that holds `at`, as /proc/self/smaps has them; empty: not found.
std::string flags_of(const void* at) {
    std::ifstream in("/proc/self/smaps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(at);
    bool inside = false;
    for (std::string line; std::getline(in, line);) {
        unsigned long begin = 0;
        unsigned long end = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
            inside = begin <= wanted && wanted < end;
        } else if (inside && line.starts_with("VmFlags:")) {
            return line + " ";
        }
    }
    return {};
}

TEST(Mapping, LargeOnesAreWholeHugePagesByAdvice) {
    auto made = Mapping::make(5 * kHugePage + 1);
    ASSERT_TRUE(made);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(made->data()) % kHugePage, 0U);
    EXPECT_EQ(made->size(), 6 * kHugePage);
    made->data()[made->size() - 1] = 1;
    const std::string flags = flags_of(made->data());
    if (flags.empty()) GTEST_SKIP() << "/proc/self/smaps does not say";
    std::ifstream mode("/sys/kernel/mm/transparent_hugepage/enabled");
    if (!mode) GTEST_SKIP() << "a kernel without huge pages";
    EXPECT_NE(flags.find(" hg "), std::string::npos) << flags;
}

TEST(Mapping, StartsAsZeroAndMoves) {
    auto made = Mapping::make(5000);
    ASSERT_TRUE(made);
    EXPECT_GE(made->size(), 5000U);
    EXPECT_TRUE(std::all_of(made->data(), made->data() + made->size(),
                            [](std::uint8_t b) { return b == 0; }));
    made->data()[7] = 9;
    Mapping other = std::move(*made);
    EXPECT_EQ(other.data()[7], 9);
    EXPECT_TRUE(other.populate());
    EXPECT_EQ(other.data()[7], 9);
    EXPECT_TRUE(Mapping().populate());
}

TEST(Mapping, TakesAsMuchAsItIsTold) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t n = 3 * kHugePage / page;
    const auto made = Mapping::make(n * page);
    ASSERT_TRUE(made);
    std::vector<unsigned char> there(n);
    const auto look = [&] { return ::mincore(made->data(), n * page, there.data()) == 0; };
    const auto count = [&] {
        return std::ranges::count_if(there, [](unsigned char p) { return (p & 1) != 0; });
    };
    ASSERT_TRUE(made->populate(3 * page));
    ASSERT_TRUE(look());
    if (count() == 0) GTEST_SKIP() << "a kernel that cannot be asked for memory";
    EXPECT_TRUE((there[0] & there[1] & there[2] & 1) != 0);
    EXPECT_EQ(there[2 * kHugePage / page] & 1, 0) << "more than the huge page it begins with";
    ASSERT_TRUE(made->populate());
    ASSERT_TRUE(look());
    EXPECT_EQ(static_cast<std::size_t>(count()), n);
}

TEST(Mapping, SaysWhenThereIsNotEnough) {
    const auto made = Mapping::make(std::size_t{1} << 60);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code(), Code::out_of_memory);
    EXPECT_FALSE(Mapping::make(SIZE_MAX - 100));
}

TEST(WeightArena, GivesAlignedPiecesThatDoNotOverlap) {
    WeightArena arena;
    std::uint8_t* last = nullptr;
    std::size_t last_bytes = 0;
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{1} << 20,
                                    std::size_t{300} << 20, std::size_t{64}}) {
        const auto piece = arena.take(bytes);
        ASSERT_TRUE(piece);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(*piece) % kAlignment, 0U);
        const bool apart = last == nullptr || *piece >= last + last_bytes || *piece + bytes <= last;
        EXPECT_TRUE(apart);
        (*piece)[0] = 1;
        (*piece)[bytes - 1] = 2;
        last = *piece;
        last_bytes = bytes;
    }
    EXPECT_EQ(arena.used_bytes(), 64 + 128 + (1 << 20) + (std::int64_t{300} << 20) + 64);
}

} // namespace
} // namespace bloom::compute::cpu
