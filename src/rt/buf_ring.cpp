#include "rt/buf_ring.hpp"

#include <cerrno>
#include <sys/mman.h>

#include <bloom/base/check.hpp>

namespace bloom::rt {
namespace {

void* map_pages(std::size_t bytes) noexcept {
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? nullptr : at;
}

} // namespace

BufRing::~BufRing() {
    BLOOM_CHECK(n_out_ == 0);
    if (ring_ != nullptr) ::munmap(ring_, ring_bytes_);
    if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

Result<> BufRing::setup(io_uring& ring, unsigned n, unsigned bytes) {
    BLOOM_CHECK(n > 0 && (n & (n - 1)) == 0 && n <= 32768);
    ring_bytes_ = n * sizeof(io_uring_buf);
    memory_bytes_ = std::size_t{n} * bytes;
    ring_ = static_cast<io_uring_buf_ring*>(map_pages(ring_bytes_));
    memory_ = static_cast<std::uint8_t*>(map_pages(memory_bytes_));
    if (ring_ == nullptr || memory_ == nullptr) {
        return Error(Code::out_of_memory, "receive buffers: mmap failed", errno);
    }
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(ring_);
    registration.ring_entries = n;
    registration.bgid = kGroup;
    const int rc = io_uring_register_buf_ring(&ring, &registration, 0);
    if (rc < 0) {
        return Error(
            Code::machine_lacks,
            "io_uring has no provided-buffer rings: the kernel is older than 5.19; update it", -rc);
    }
    io_uring_buf_ring_init(ring_);
    nodes_ = std::make_unique<ChunkNode[]>(n);
    n_ = n;
    for (unsigned i = 0; i < n; ++i) {
        nodes_[i].home = this;
        nodes_[i].data = memory_ + std::size_t{i} * bytes;
        nodes_[i].capacity = bytes;
        offer(nodes_[i]);
    }
    return {};
}

void BufRing::offer(ChunkNode& node) noexcept {
    const auto idx = static_cast<unsigned short>(&node - nodes_.get());
    const int mask = io_uring_buf_ring_mask(static_cast<unsigned>(n_));
    io_uring_buf_ring_add(ring_, node.data, node.capacity, idx, mask, 0);
    io_uring_buf_ring_advance(ring_, 1);
}

Chunk BufRing::take(std::uint16_t idx, std::uint32_t size) noexcept {
    BLOOM_CHECK(idx < n_);
    ChunkNode& node = nodes_[idx];
    BLOOM_CHECK(size <= node.capacity);
    node.size = size;
    ++n_out_;
    return Chunk(&node);
}

void BufRing::give_back(ChunkNode& node) noexcept {
    --n_out_;
    offer(node);
    if (returned_ != nullptr) returned_(context_);
}

} // namespace bloom::rt
