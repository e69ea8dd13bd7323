#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <bloom/compute/backend.hpp>
#include <bloom/engine/state.hpp>
#include <bloom/engine/swap.hpp>

namespace bloom::engine {

/// Swap space in host memory, which is taken from the system as it is used.
class SwapPages final : private PageMover {
public:
    /// Divides `bytes` as the cache is divided: n_pages of each group, and n_states recurrent
    /// states where there are any. nullptr when that is not one of each, or the address space is
    /// not to be had.
    static std::unique_ptr<SwapPages> make(compute::Backend& backend, const StateSpec& spec,
                                           std::span<const std::int64_t> n_pages,
                                           std::int32_t n_states, std::int64_t bytes);

    SwapSpace& space() noexcept { return *space_; }

private:
    struct Group {
        std::size_t page_bytes = 0;
        std::unique_ptr<std::byte[]> memory;

        std::span<std::byte> at(std::int32_t slot) const noexcept {
            return {memory.get() + static_cast<std::size_t>(slot) * page_bytes, page_bytes};
        }
    };

    explicit SwapPages(compute::Backend& backend) : backend_(backend) {}

    bool add_group(std::int64_t page_bytes, std::int64_t n_slots);

    void save(std::size_t group, std::int32_t page, std::int32_t slot) override;
    void restore(std::size_t group, std::int32_t slot, std::int32_t page) override;

    compute::Backend& backend_;
    std::vector<Group> groups_; ///< the last one holds recurrent states, where there are any
    std::size_t n_kv_groups_ = 0;
    std::unique_ptr<SwapSpace> space_;
};

} // namespace bloom::engine
