#include "engine/swap_pages.hpp"

#include <algorithm>
#include <new>

namespace bloom::engine {

std::unique_ptr<SwapPages> SwapPages::make(compute::Backend& backend, const StateSpec& spec,
                                           std::span<const std::int64_t> n_pages,
                                           std::int32_t n_states, std::int64_t bytes) {
    double all = 0;
    for (std::size_t g = 0; g < spec.groups.size(); ++g)
        all += static_cast<double>(n_pages[g]) * static_cast<double>(page_bytes(spec.groups[g]));
    if (spec.recurrent) all += n_states * static_cast<double>(state_bytes(*spec.recurrent));
    if (bytes <= 0 || all <= 0) return nullptr;
    const double share = std::min(static_cast<double>(bytes) / all, 1.0);
    const auto slots_of = [&](std::int64_t n) {
        return static_cast<std::int64_t>(share * static_cast<double>(n));
    };
    std::unique_ptr<SwapPages> out(new SwapPages(backend));
    std::vector<std::int64_t> n_slots;
    for (std::size_t g = 0; g < spec.groups.size(); ++g) {
        n_slots.push_back(slots_of(n_pages[g]));
        if (!out->add_group(page_bytes(spec.groups[g]), n_slots.back())) return nullptr;
    }
    out->n_kv_groups_ = spec.groups.size();
    if (spec.recurrent) {
        n_slots.push_back(slots_of(n_states));
        if (!out->add_group(state_bytes(*spec.recurrent), n_slots.back())) return nullptr;
    }
    PageMover* const mover = out.get();
    out->space_ = std::make_unique<SwapSpace>(n_slots, mover);
    return out;
}

bool SwapPages::add_group(std::int64_t page_bytes, std::int64_t n_slots) {
    if (n_slots == 0) return false;
    Group group;
    group.page_bytes = static_cast<std::size_t>(page_bytes);
    group.memory.reset(new (std::nothrow)
                           std::byte[group.page_bytes * static_cast<std::size_t>(n_slots)]);
    if (!group.memory) return false;
    groups_.push_back(std::move(group));
    return true;
}

void SwapPages::save(std::size_t group, std::int32_t page, std::int32_t slot) {
    if (group == n_kv_groups_) {
        backend_.read_state(page, groups_[group].at(slot));
        return;
    }
    backend_.read_page(static_cast<compute::KvPoolId>(group), page, groups_[group].at(slot));
}

void SwapPages::restore(std::size_t group, std::int32_t slot, std::int32_t page) {
    if (group == n_kv_groups_) {
        backend_.write_state(page, groups_[group].at(slot));
        return;
    }
    backend_.write_page(static_cast<compute::KvPoolId>(group), page, groups_[group].at(slot));
}

} // namespace bloom::engine
