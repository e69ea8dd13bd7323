#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <bloom/base/bytes.hpp>

namespace bloom::rt {

/// Bookkeeping of one chunk. Belongs to its home; others see a Chunk.
struct ChunkNode {
    ChunkNode* next = nullptr;
    class ChunkHome* home = nullptr;
    std::uint8_t* data = nullptr;
    std::uint32_t size = 0;     ///< bytes received
    std::uint32_t capacity = 0; ///< bytes there are
};

/// Where chunks go when they are dropped.
class ChunkHome {
public:
    virtual void give_back(ChunkNode& node) noexcept = 0;

protected:
    ~ChunkHome() = default;
};

/// Bytes that were received, in the buffer the kernel filled; dropping the chunk returns the
/// buffer. Keep it only as long as the bytes are looked at: the shard has a bounded number of
/// buffers (when they run low, the driver copies into plain memory, which costs what zero copy had
/// saved). The bytes may be changed in place (unmasking, decryption). Thread: the shard's.
/// Lifetime: shorter than its driver's.
class Chunk {
public:
    Chunk() noexcept = default;

    explicit Chunk(ChunkNode* node) noexcept : node_(node) {}

    Chunk(Chunk&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}

    Chunk& operator=(Chunk&& other) noexcept {
        if (this != &other) {
            reset();
            node_ = std::exchange(other.node_, nullptr);
        }
        return *this;
    }

    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;

    ~Chunk() { reset(); }

    /// Gives the buffer back now.
    void reset() noexcept {
        if (node_ != nullptr) {
            ChunkNode* node = std::exchange(node_, nullptr);
            node->home->give_back(*node);
        }
    }

    MutableByteSpan bytes() const noexcept {
        return node_ == nullptr ? MutableByteSpan{} : MutableByteSpan{node_->data, node_->size};
    }

    std::size_t size() const noexcept { return node_ == nullptr ? 0 : node_->size; }

    /// No bytes: the end of a stream.
    bool empty() const noexcept { return size() == 0; }

    ChunkNode* release() noexcept { return std::exchange(node_, nullptr); }

    ChunkNode* node() const noexcept { return node_; }

private:
    ChunkNode* node_ = nullptr;
};

/// First in, first out, without allocation.
class ChunkQueue {
public:
    ChunkQueue() = default;
    ChunkQueue(const ChunkQueue&) = delete;
    ChunkQueue& operator=(const ChunkQueue&) = delete;

    ~ChunkQueue() { clear(); }

    bool empty() const noexcept { return head_ == nullptr; }

    std::size_t n_chunks() const noexcept { return n_; }

    void push(Chunk chunk) noexcept {
        ChunkNode* node = chunk.release();
        node->next = nullptr;
        (head_ == nullptr ? head_ : tail_->next) = node;
        tail_ = node;
        ++n_;
    }

    Chunk pop() noexcept {
        ChunkNode* node = head_;
        head_ = node->next;
        --n_;
        return Chunk(node);
    }

    void clear() noexcept {
        while (!empty())
            pop().reset();
    }

private:
    ChunkNode* head_ = nullptr;
    ChunkNode* tail_ = nullptr;
    std::size_t n_ = 0;
};

/// Chunks of plain memory, kept for reuse. For decrypted bytes, for the simulation, and for when
/// the kernel's buffers run low. Thread: one. Lifetime: longer than its chunks; the destructor
/// checks.
class HeapChunks final : public ChunkHome {
public:
    static constexpr std::size_t kChunkBytes = 4096;
    static constexpr std::size_t kMaxKept = 256; // 1 MiB idle at most

    HeapChunks() = default;
    HeapChunks(const HeapChunks&) = delete;
    HeapChunks& operator=(const HeapChunks&) = delete;
    ~HeapChunks();

    /// An empty chunk with room for kChunkBytes; the caller fills node()->data and sets
    /// node()->size.
    Chunk allocate();
    void give_back(ChunkNode& node) noexcept override;

    std::size_t n_out() const noexcept { return n_out_; }

private:
    ChunkNode* free_ = nullptr;
    std::size_t n_free_ = 0;
    std::size_t n_out_ = 0;
};

} // namespace bloom::rt
