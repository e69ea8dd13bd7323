#include "kernels/probe.hpp"

namespace bloom::kernels {

std::uint64_t add_chain(std::int64_t rounds) noexcept {
    std::uint64_t x = 0;
    // From a register: some processors fold additions of constants away while renaming.
    std::uint64_t y = 1;
    for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < kChainAdds; ++i) {
            x += y;
            __asm__ volatile("" : "+r"(x), "+r"(y)); // keeps each addition for itself
        }
    }
    return x;
}

} // namespace bloom::kernels
