#include "rt/sim/core.hpp"

#include <algorithm>
#include <cstring>

#include <bloom/base/check.hpp>

namespace bloom::rt::sim {

void Core::schedule_at(std::uint64_t at_ns, Action action) {
    // A random second key orders what happens at one time; a collision draws again.
    for (;;) {
        if (events_.try_emplace({at_ns, rng.next()}, std::move(action)).second) return;
    }
}

void Core::trace(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept {
    for (const std::uint64_t word : {now_ns, a, b, c})
        hash = (hash ^ word) * 0x100000001b3U ^ (hash >> 29);
    ++n_events;
}

void Core::run_event() {
    auto first = events_.extract(events_.begin());
    now_ns = std::max(now_ns, first.key().first);
    first.mapped()();
}

void Core::finish(std::size_t shard, Op& op, std::int32_t result, bool more, Bytes bytes,
                  std::uint64_t delay_ns) {
    BLOOM_CHECK(op.in_flight && op.driver_state != op_finishing);
    if (!more) op.driver_state = op_finishing;
    const std::uint64_t soon =
        now_ns + delay_ns + between(1, faults.latency_ns_max == 0 ? 1 : 5'000);
    // Completions of one operation keep their order.
    const std::uint64_t at = std::max(soon, op.driver_word + 1);
    op.driver_word = at;
    schedule_at(at, [this, shard, &op, result, more, data = std::move(bytes)] {
        complete(shard, op, result, more, data);
    });
}

void Core::complete(std::size_t shard, Op& op, std::int32_t result, bool more, const Bytes& bytes) {
    const Shard::Current guard(*shards[shard]);
    trace(shard, static_cast<std::uint64_t>(op.code), static_cast<std::uint32_t>(result));
    Chunk chunk;
    if (op.code == OpCode::recv_multi && !bytes.empty()) {
        BLOOM_CHECK(bytes.size() <= HeapChunks::kChunkBytes);
        chunk = shards[shard]->driver().heap_chunks().allocate();
        std::memcpy(chunk.node()->data, bytes.data(), bytes.size());
        chunk.node()->size = static_cast<std::uint32_t>(bytes.size());
    } else if (!bytes.empty()) {
        BLOOM_CHECK(bytes.size() <= op.size);
        std::memcpy(op.data, bytes.data(), bytes.size());
    }
    if (!more) {
        op.in_flight = false;
        op.driver_state = op_idle;
        --n_in_flight[shard];
    }
    op.complete(op, Completion{result, more, chunk.empty() ? nullptr : &chunk});
}

} // namespace bloom::rt::sim
