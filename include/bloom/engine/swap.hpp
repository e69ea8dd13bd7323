#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bloom::engine {

/// Copies pages between a model's cache and slots outside of it. Slot numbers are
/// [0, n_slots[group]) of the SwapSpace that uses it. Where a model has recurrent states they are
/// one group more, the last, whose pages are the slots of the states, settled.
class PageMover {
public:
    virtual ~PageMover() = default;
    virtual void save(std::size_t group, std::int32_t page, std::int32_t slot) = 0;
    virtual void restore(std::size_t group, std::int32_t slot, std::int32_t page) = 0;
};

/// Where pages of preempted sequences wait: a bounded number of slots per group.
/// Thread: one. No allocation after construction.
class SwapSpace {
public:
    /// `mover` outlives the space; it may be nullptr where there are no slots.
    SwapSpace(std::span<const std::int64_t> n_slots, PageMover* mover);

    std::int64_t n_free(std::size_t group) const noexcept {
        return static_cast<std::int64_t>(free_[group].size());
    }

    std::int64_t n_used() const noexcept { return n_used_; }

    /// Copies a page out. A free slot is the caller's to check for.
    std::int32_t save(std::size_t group, std::int32_t page);
    /// Copies a slot back into a page; the slot stays taken until drop().
    void restore(std::size_t group, std::int32_t slot, std::int32_t page);
    void drop(std::size_t group, std::int32_t slot) noexcept;

private:
    PageMover* mover_;
    std::vector<std::vector<std::int32_t>> free_; ///< [group]
    std::int64_t n_used_ = 0;
};

} // namespace bloom::engine
