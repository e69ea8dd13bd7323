#pragma once

#include <cstdint>

namespace bloom {

/// Seeded generator (xoshiro256**, Blackman & Vigna 2018, seeded through splitmix64): the same seed
/// gives the same numbers on every machine. Not for secrets. Thread: one.
class Rng {
public:
    explicit Rng(std::uint64_t seed) noexcept {
        for (std::uint64_t& word : state_)
            word = splitmix(seed);
    }

    std::uint64_t next() noexcept {
        const std::uint64_t result = rotl(state_[1] * 5, 7) * 9;
        const std::uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = rotl(state_[3], 45);
        return result;
    }

    /// Uniform in [0, bound), bound > 0; multiply-shift (Lemire 2019) without the rejection step,
    /// whose bias below 2^-32 for our bounds nothing here can notice.
    std::uint64_t below(std::uint64_t bound) noexcept {
        return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
    }

    /// Uniform in [0, 1) with 53 random bits.
    double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

private:
    static std::uint64_t rotl(std::uint64_t x, int k) noexcept { return x << k | x >> (64 - k); }

    static std::uint64_t splitmix(std::uint64_t& seed) noexcept {
        std::uint64_t z = (seed += 0x9e3779b97f4a7c15U);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

    std::uint64_t state_[4];
};

} // namespace bloom
