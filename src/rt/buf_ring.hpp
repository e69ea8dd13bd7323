#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <liburing.h>

#include <bloom/base/result.hpp>
#include <bloom/rt/chunk.hpp>

namespace bloom::rt {

/// The provided buffers of one ring: the kernel picks one per receive, chunks bring them back.
/// Lifetime: outlives its chunks (checked) and dies after the ring. Thread: the shard's.
class BufRing final : public ChunkHome {
public:
    static constexpr std::uint16_t kGroup = 0;

    BufRing() = default;
    BufRing(const BufRing&) = delete;
    BufRing& operator=(const BufRing&) = delete;
    ~BufRing();

    /// Maps `n` buffers of `bytes` and registers them. Errors: machine_lacks before Linux 5.19.
    Result<> setup(io_uring& ring, unsigned n, unsigned bytes);

    /// The buffer a completion names, as a chunk of `size` bytes.
    Chunk take(std::uint16_t idx, std::uint32_t size) noexcept;
    void give_back(ChunkNode& node) noexcept override;

    /// Buffers the kernel can still fill.
    std::size_t n_free() const noexcept { return n_ - n_out_; }

    std::size_t n_buffers() const noexcept { return n_; }

    /// Called whenever a buffer has come back.
    void on_return(void (*call)(void*) noexcept, void* context) noexcept {
        returned_ = call;
        context_ = context;
    }

private:
    void offer(ChunkNode& node) noexcept;

    io_uring_buf_ring* ring_ = nullptr;
    std::size_t ring_bytes_ = 0;
    std::uint8_t* memory_ = nullptr;
    std::size_t memory_bytes_ = 0;
    std::unique_ptr<ChunkNode[]> nodes_;
    std::size_t n_ = 0;
    std::size_t n_out_ = 0;
    void (*returned_)(void*) noexcept = nullptr;
    void* context_ = nullptr;
};

} // namespace bloom::rt
