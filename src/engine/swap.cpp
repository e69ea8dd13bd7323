#include <bloom/base/check.hpp>
#include <bloom/engine/swap.hpp>

namespace bloom::engine {

SwapSpace::SwapSpace(std::span<const std::int64_t> n_slots, PageMover* mover)
    : mover_(mover), free_(n_slots.size()) {
    for (std::size_t g = 0; g < n_slots.size(); ++g) {
        BLOOM_CHECK(n_slots[g] == 0 || mover != nullptr);
        free_[g].reserve(static_cast<std::size_t>(n_slots[g]));
        for (std::int64_t s = n_slots[g] - 1; s >= 0; --s)
            free_[g].push_back(static_cast<std::int32_t>(s));
    }
}

std::int32_t SwapSpace::save(std::size_t group, std::int32_t page) {
    BLOOM_CHECK(!free_[group].empty());
    const std::int32_t slot = free_[group].back();
    free_[group].pop_back();
    ++n_used_;
    mover_->save(group, page, slot);
    return slot;
}

void SwapSpace::restore(std::size_t group, std::int32_t slot, std::int32_t page) {
    mover_->restore(group, slot, page);
}

void SwapSpace::drop(std::size_t group, std::int32_t slot) noexcept {
    free_[group].push_back(slot);
    --n_used_;
}

} // namespace bloom::engine
