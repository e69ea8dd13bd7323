#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/checksum.hpp>
#include <bloom/base/rng.hpp>

namespace bloom {
namespace {

std::vector<std::uint8_t> some_bytes(std::size_t n) {
    Rng rng(3);
    std::vector<std::uint8_t> out(n);
    for (auto& b : out)
        b = static_cast<std::uint8_t>(rng.below(256));
    return out;
}

TEST(Checksum, StaysWhatItWasInFiles) {
    EXPECT_EQ(checksum64({}), 0xde35a696e9d1b956U);
    EXPECT_EQ(checksum64(as_bytes("darkbloom")), 0xc8fa9ce9671feb7bU);
    EXPECT_EQ(checksum64(some_bytes(1000), 7), 0x9d4776d0491fb86U);
}

TEST(Checksum, EveryBitEveryLengthAndTheSeedCount) {
    std::set<std::uint64_t> seen;
    std::size_t n = 0;
    for (const std::size_t size : {1U, 8U, 63U, 64U, 65U, 200U}) {
        std::vector<std::uint8_t> bytes = some_bytes(size);
        for (std::size_t bit = 0; bit < size * 8; ++bit, ++n) {
            bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
            seen.insert(checksum64(bytes));
            bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        }
    }
    const std::vector<std::uint8_t> zeros(300, 0);
    for (std::size_t size = 0; size <= zeros.size(); ++size, ++n)
        seen.insert(checksum64(ByteSpan(zeros).first(size)));
    for (std::uint64_t seed = 1; seed < 100; ++seed, ++n)
        seen.insert(checksum64(as_bytes("same"), seed));
    EXPECT_EQ(seen.size(), n);
}

TEST(Checksum, DoesNotDependOnAlignment) {
    const auto bytes = some_bytes(333);
    std::vector<std::uint8_t> moved(bytes.size() + 5);
    for (std::size_t by = 0; by < 5; ++by) {
        std::copy(bytes.begin(), bytes.end(), moved.begin() + static_cast<std::ptrdiff_t>(by));
        EXPECT_EQ(checksum64(ByteSpan(moved).subspan(by, bytes.size())), checksum64(bytes));
    }
}

} // namespace
} // namespace bloom
