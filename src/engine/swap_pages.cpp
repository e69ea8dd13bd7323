#include "engine/swap_pages.hpp"

#include <algorithm>
#include <new>

namespace bloom::engine {

std::unique_ptr<SwapPages> SwapPages::make(compute::Backend& backend,
                                           std::span<const compute::KvGroupSpec> groups,
                                           std::span<const std::int64_t> n_pages,
                                           std::int64_t bytes) {
    double all = 0;
    for (std::size_t g = 0; g < groups.size(); ++g)
        all += static_cast<double>(n_pages[g]) * static_cast<double>(page_bytes(groups[g]));
    if (bytes <= 0 || all <= 0) return nullptr;
    const double share = std::min(static_cast<double>(bytes) / all, 1.0);
    std::unique_ptr<SwapPages> out(new SwapPages(backend));
    std::vector<std::int64_t> n_slots;
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const auto n = static_cast<std::int64_t>(share * static_cast<double>(n_pages[g]));
        if (n == 0) return nullptr;
        Group group;
        group.page_bytes = static_cast<std::size_t>(page_bytes(groups[g]));
        group.memory.reset(new (std::nothrow)
                               std::byte[group.page_bytes * static_cast<std::size_t>(n)]);
        if (!group.memory) return nullptr;
        n_slots.push_back(n);
        out->groups_.push_back(std::move(group));
    }
    PageMover* const mover = out.get();
    out->space_ = std::make_unique<SwapSpace>(n_slots, mover);
    return out;
}

void SwapPages::save(std::size_t group, std::int32_t page, std::int32_t slot) {
    backend_.read_page(static_cast<compute::KvPoolId>(group), page, groups_[group].at(slot));
}

void SwapPages::restore(std::size_t group, std::int32_t slot, std::int32_t page) {
    backend_.write_page(static_cast<compute::KvPoolId>(group), page, groups_[group].at(slot));
}

} // namespace bloom::engine
