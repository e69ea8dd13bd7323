#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <bloom/base/result.hpp>

namespace bloom::compute::cpu {

inline constexpr std::size_t kAlignment = 64; ///< cache line and one 512-bit register
inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t n, std::size_t unit) noexcept {
    return (n + unit - 1) / unit * unit;
}

/// Zeroed private memory of its own, aligned to 2 MiB when it is that large and advised to use huge
/// pages (+15 to 65 % read bandwidth on one core, see `bench roofs`). Takes no memory until
/// touched.
class Mapping {
public:
    Mapping() noexcept = default;
    /// Errors: out_of_memory (address space).
    static Result<Mapping> make(std::size_t bytes);

    /// Takes all of the memory now, near the calling thread, so that no step has to.
    /// Errors: out_of_memory. Where the kernel cannot say (before 5.14), it is taken when touched.
    Result<> populate() const { return populate(size_); }

    /// The same of the first `bytes`, in whole pages.
    Result<> populate(std::size_t bytes) const;

    Mapping(Mapping&& other) noexcept { swap(other); }

    Mapping& operator=(Mapping&& other) noexcept {
        swap(other);
        return *this;
    }

    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();

    std::uint8_t* data() const noexcept { return data_; }

    std::size_t size() const noexcept { return size_; }

private:
    void swap(Mapping& other) noexcept {
        std::swap(base_, other.base_);
        std::swap(mapped_, other.mapped_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

    void* base_ = nullptr;
    std::size_t mapped_ = 0;
    std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Hands out pieces of large mappings, aligned to kAlignment; all die together.
class WeightArena {
public:
    /// Errors: out_of_memory.
    Result<std::uint8_t*> take(std::size_t bytes);

    std::int64_t used_bytes() const noexcept { return used_; }

private:
    std::vector<Mapping> chunks_;
    std::size_t left_ = 0;
    std::uint8_t* next_ = nullptr;
    std::int64_t used_ = 0;
};

} // namespace bloom::compute::cpu
