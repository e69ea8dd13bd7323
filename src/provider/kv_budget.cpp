#include "provider/kv_budget.hpp"

#include <algorithm>

namespace bloom::provider {

std::int64_t kv_budget_beside(const engine::MemoryNeed& need, std::int64_t usable_bytes,
                              std::int64_t swap_bytes) noexcept {
    constexpr std::int64_t kLeast = std::int64_t{64} << 20;
    constexpr std::int64_t kMost = std::int64_t{64} << 30;
    const std::int64_t left = usable_bytes - need.packed_bytes - need.least_state_bytes -
                              engine::kMemoryHeadroomBytes - swap_bytes;
    // Twice what a sequence needs: up to half of a budget goes to recurrent states.
    const std::int64_t least = std::max(kLeast, 2 * need.least_kv_bytes);
    return std::clamp(std::min(usable_bytes / 4, left), least, std::max(least, kMost));
}

} // namespace bloom::provider
