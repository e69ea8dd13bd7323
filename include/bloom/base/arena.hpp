#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace bloom {

/// Bump allocator for things that end together: nothing is freed before reset(), no destructor
/// runs. Blocks double up to kBlockBytesMax; what does not fit gets a block of its own. Lifetime:
/// what it hands out dies with reset() or the arena.  Thread: one.
class Arena {
public:
    static constexpr std::size_t kBlockBytesMin = 1024;
    static constexpr std::size_t kBlockBytesMax = std::size_t{256} * 1024;

    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    Arena(Arena&&) = delete;
    Arena& operator=(Arena&&) = delete;

    /// `align` is a power of two up to that of new.
    void* allocate(std::size_t bytes, std::size_t align = alignof(std::max_align_t)) {
        const std::size_t at = (used_ + align - 1) & ~(align - 1);
        if (at + bytes > size_) return allocate_slow(bytes);
        used_ = at + bytes;
        return block_ + at;
    }

    /// Uninitialised objects without destructors.
    template <class T>
        requires std::is_trivially_destructible_v<T>
    std::span<T> make_span(std::size_t n) {
        return {static_cast<T*>(allocate(n * sizeof(T), alignof(T))), n};
    }

    std::string_view copy(std::string_view text) {
        if (text.empty()) return {};
        char* at = static_cast<char*>(allocate(text.size(), 1));
        std::memcpy(at, text.data(), text.size());
        return {at, text.size()};
    }

    /// Forgets everything; keeps the newest block for the next round if it has at most
    /// `keep_bytes`.
    void reset(std::size_t keep_bytes = kBlockBytesMax) noexcept {
        n_bytes_ = 0;
        used_ = 0;
        if (blocks_.empty()) return;
        if (size_ > keep_bytes) {
            blocks_.clear();
            block_ = nullptr;
            size_ = 0;
        } else if (blocks_.size() > 1) {
            blocks_.erase(blocks_.begin(), blocks_.end() - 1);
        }
    }

    /// Bytes held from the system.
    std::size_t capacity() const noexcept { return n_bytes_ + size_; }

private:
    void* allocate_slow(std::size_t bytes) {
        std::size_t size = size_ == 0 ? kBlockBytesMin : size_ * 2;
        if (size > kBlockBytesMax) size = kBlockBytesMax;
        if (size < bytes) size = bytes;
        blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(size));
        n_bytes_ += size_;
        block_ = blocks_.back().get();
        size_ = size;
        used_ = bytes;
        return block_;
    }

    std::byte* block_ = nullptr; ///< the one in use, the last of blocks_
    std::size_t size_ = 0;
    std::size_t used_ = 0;
    std::size_t n_bytes_ = 0; ///< in the blocks before it
    std::vector<std::unique_ptr<std::byte[]>> blocks_;
};

} // namespace bloom
