#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <bloom/compute/backend.hpp>
#include <bloom/engine/swap.hpp>

namespace bloom::engine {

/// Swap space in host memory, which is taken from the system as it is used.
class SwapPages final : private PageMover {
public:
    /// Divides `bytes` as the cache is divided: n_pages of each group. nullptr when that is not
    /// one page of each, or the address space is not to be had.
    static std::unique_ptr<SwapPages> make(compute::Backend& backend,
                                           std::span<const compute::KvGroupSpec> groups,
                                           std::span<const std::int64_t> n_pages,
                                           std::int64_t bytes);

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

    void save(std::size_t group, std::int32_t page, std::int32_t slot) override;
    void restore(std::size_t group, std::int32_t slot, std::int32_t page) override;

    compute::Backend& backend_;
    std::vector<Group> groups_;
    std::unique_ptr<SwapSpace> space_;
};

} // namespace bloom::engine
