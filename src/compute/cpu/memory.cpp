#include "compute/cpu/memory.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/mman.h>

#include <fmt/format.h>

#include <bloom/base/check.hpp>

namespace bloom::compute::cpu {
namespace {

/// MADV_POPULATE_WRITE, Linux 5.14; the C library's headers may be older than the kernel.
constexpr int kPopulateWrite = 23;

/// Matrices lie end to end in chunks of this size, so that few of them end on a huge page that
/// nobody shares. What is not used is address space, no memory.
constexpr std::size_t kChunkBytes = std::size_t{256} << 20;

} // namespace

Result<Mapping> Mapping::make(std::size_t bytes) {
    Mapping out;
    if (bytes == 0) return out;
    // Whole huge pages: the last one would otherwise be 512 small ones.
    const std::size_t size = round_up(bytes, bytes >= kHugePage ? kHugePage : 4096);
    const std::size_t mapped = size >= kHugePage ? size + kHugePage : size;
    if (mapped < bytes) return Error{Code::out_of_memory, "a memory request overflows"};
    void* base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return Error{Code::out_of_memory, fmt::format("no address space for {} bytes", bytes)};
    }
    out.base_ = base;
    out.mapped_ = mapped;
    out.data_ = static_cast<std::uint8_t*>(base);
    out.size_ = size;
    if (size >= kHugePage) {
        const auto at = reinterpret_cast<std::uintptr_t>(base);
        out.data_ += round_up(at, kHugePage) - at;
        static_cast<void>(::madvise(out.data_, size, MADV_HUGEPAGE));
    }
    return out;
}

Result<> Mapping::populate(std::size_t bytes) const {
    BLOOM_CHECK(bytes <= size_);
    if (bytes == 0) return {};
    if (::madvise(data_, bytes, kPopulateWrite) == 0 || errno == EINVAL) return {};
    return Error{Code::out_of_memory, fmt::format("no memory for {} bytes", bytes)};
}

Mapping::~Mapping() {
    if (base_ != nullptr) static_cast<void>(::munmap(base_, mapped_));
}

Result<std::uint8_t*> WeightArena::take(std::size_t bytes) {
    const std::size_t size = round_up(std::max<std::size_t>(bytes, 1), kAlignment);
    if (size > left_) {
        BLOOM_TRY(Mapping chunk, Mapping::make(std::max(size, kChunkBytes)));
        next_ = chunk.data();
        left_ = chunk.size();
        chunks_.push_back(std::move(chunk));
    }
    std::uint8_t* const out = next_;
    next_ += size;
    left_ -= size;
    used_ += static_cast<std::int64_t>(size);
    return out;
}

} // namespace bloom::compute::cpu
