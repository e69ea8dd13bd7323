#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"

/// What this processor can do at best, measured with one instruction set: the roofs beside which
/// kernel rates are quoted. Not used for computing.
namespace bloom::kernels {

struct Probe {
    const char* isa;
    /// Reads `bytes` (a multiple of 512) once in order, prefetching past the caches; the result
    /// depends on every byte.
    std::uint64_t (*read)(const std::uint8_t* data, std::size_t bytes) noexcept;
    /// `rounds` rounds of independent 8-bit dot products out of registers.
    std::uint64_t (*dot)(std::int64_t rounds) noexcept;
    std::int64_t dot_ops; ///< multiplications and additions in one round of `dot`
    /// As `read`, but without software prefetch; null: this table has none.
    std::uint64_t (*read_plain)(const std::uint8_t* data, std::size_t bytes) noexcept = nullptr;
    /// `rounds` rounds of independent f32 multiply-adds out of registers; null: this table has
    /// none.
    std::uint64_t (*fma)(std::int64_t rounds) noexcept = nullptr;
    std::int64_t fma_ops = 0; ///< multiplications and additions in one round of `fma`
};

/// The probe compiled with the same instruction set as `table`.
const Probe& probe_of(const KernelTable& table) noexcept;

/// `rounds` times kChainAdds additions that wait for each other, one a clock on every processor we
/// know: the time they take tells the clock.
std::uint64_t add_chain(std::int64_t rounds) noexcept;
inline constexpr std::int64_t kChainAdds = 16;

} // namespace bloom::kernels
