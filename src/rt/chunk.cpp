#include <new>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/chunk.hpp>

namespace bloom::rt {
namespace {

/// A node and its bytes in one allocation.
struct HeapNode {
    ChunkNode node;
    std::uint8_t bytes[HeapChunks::kChunkBytes];
};

} // namespace

HeapChunks::~HeapChunks() {
    BLOOM_CHECK(n_out_ == 0);
    while (free_ != nullptr) {
        ChunkNode* node = std::exchange(free_, free_->next);
        delete reinterpret_cast<HeapNode*>(node);
    }
}

Chunk HeapChunks::allocate() {
    ++n_out_;
    if (free_ != nullptr) {
        ChunkNode* node = std::exchange(free_, free_->next);
        --n_free_;
        node->size = 0;
        return Chunk(node);
    }
    auto* made = new HeapNode; // the bytes stay uninitialised
    made->node.home = this;
    made->node.data = made->bytes;
    made->node.size = 0;
    made->node.capacity = kChunkBytes;
    return Chunk(&made->node);
}

void HeapChunks::give_back(ChunkNode& node) noexcept {
    --n_out_;
    if (n_free_ == kMaxKept) {
        delete reinterpret_cast<HeapNode*>(&node);
        return;
    }
    node.next = free_;
    free_ = &node;
    ++n_free_;
}

} // namespace bloom::rt
