#include <cstring>

#include <bloom/base/checksum.hpp>

namespace bloom {
namespace {

constexpr int kLanes = 8;
constexpr std::size_t kBlock = kLanes * sizeof(std::uint64_t);
// Odd, so that multiplying loses nothing; bits without pattern.
constexpr std::uint64_t kMultiplier = 0x9fb21c651e98df25U;
constexpr std::uint64_t kMerge = 0xd6e8feb86659fd93U;

void take_block(std::uint64_t (&lanes)[kLanes], const std::uint8_t* at) noexcept {
    for (int i = 0; i < kLanes; ++i) {
        const auto word = load_le<std::uint64_t>(at + i * 8);
        // Multiplying moves differences upwards only; the shift brings them down again.
        lanes[i] = (lanes[i] ^ word) * kMultiplier;
        lanes[i] ^= lanes[i] >> 32;
    }
}

} // namespace

std::uint64_t checksum64(ByteSpan data, std::uint64_t seed) noexcept {
    std::uint64_t lanes[kLanes];
    for (int i = 0; i < kLanes; ++i)
        lanes[i] = (seed + static_cast<std::uint64_t>(i) + 1) * kMerge;
    const std::size_t n_bytes = data.size();
    while (data.size() >= kBlock) {
        take_block(lanes, data.data());
        data = data.subspan(kBlock);
    }
    if (!data.empty()) { // filled up with zeros, which the length tells from real ones
        std::uint8_t last[kBlock] = {};
        std::memcpy(last, data.data(), data.size());
        take_block(lanes, last);
    }
    std::uint64_t h = seed ^ (static_cast<std::uint64_t>(n_bytes) * kMerge);
    for (const std::uint64_t lane : lanes) {
        h = (h ^ lane) * kMultiplier;
        h ^= h >> 32;
    }
    h *= kMerge;
    return h ^ (h >> 29);
}

} // namespace bloom
