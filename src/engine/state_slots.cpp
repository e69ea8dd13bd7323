#include <bloom/base/check.hpp>
#include <bloom/engine/state_slots.hpp>

namespace bloom::engine {

StateSlots::StateSlots(std::int32_t n_sequences, std::int32_t n_snapshots)
    : n_sequences_(n_sequences), taken_(static_cast<std::size_t>(n_sequences), false),
      snapshots_(static_cast<std::size_t>(n_snapshots)) {
    free_.reserve(static_cast<std::size_t>(n_sequences));
    for (std::int32_t s = n_sequences - 1; s >= 0; --s)
        free_.push_back(s);
}

const StateSlots::Snapshot& StateSlots::at(std::int32_t slot) const noexcept {
    BLOOM_CHECK(slot >= n_sequences_);
    BLOOM_CHECK(slot < n_sequences_ + n_snapshots());
    return snapshots_[static_cast<std::size_t>(slot - n_sequences_)];
}

StateSlots::Snapshot& StateSlots::at(std::int32_t slot) noexcept {
    return const_cast<Snapshot&>(static_cast<const StateSlots*>(this)->at(slot));
}

std::int32_t StateSlots::take() noexcept {
    if (free_.empty()) return -1;
    const std::int32_t slot = free_.back();
    free_.pop_back();
    taken_[static_cast<std::size_t>(slot)] = true;
    return slot;
}

void StateSlots::give_back(std::int32_t slot) noexcept {
    BLOOM_CHECK(taken_[static_cast<std::size_t>(slot)]);
    taken_[static_cast<std::size_t>(slot)] = false;
    free_.push_back(slot);
}

StateSlots::Reserved StateSlots::reserve() noexcept {
    Snapshot* best = nullptr;
    for (Snapshot& s : snapshots_) {
        if (s.use == Use::reserved) continue;
        if (best == nullptr || s.use < best->use ||
            (s.use == best->use && s.used_at < best->used_at)) {
            best = &s;
        }
    }
    if (best == nullptr) return {};
    Reserved out{n_sequences_ + static_cast<std::int32_t>(best - snapshots_.data()), best->block};
    if (best->use == Use::kept) --n_kept_;
    best->use = Use::reserved;
    best->block = kNoBlock;
    return out;
}

void StateSlots::reserve_again(std::int32_t slot) noexcept {
    Snapshot& s = at(slot);
    BLOOM_CHECK(s.use == Use::kept);
    --n_kept_;
    s.use = Use::reserved;
    s.block = kNoBlock;
}

std::uint64_t StateSlots::keep(std::int32_t slot, std::uint32_t block) noexcept {
    Snapshot& s = at(slot);
    BLOOM_CHECK(s.use == Use::reserved);
    ++n_kept_;
    s.use = Use::kept;
    s.block = block;
    s.used_at = ++clock_;
    s.stamp = clock_;
    return s.stamp;
}

void StateSlots::drop(std::int32_t slot) noexcept {
    Snapshot& s = at(slot);
    BLOOM_CHECK(s.use != Use::free);
    if (s.use == Use::kept) --n_kept_;
    s.use = Use::free;
    s.block = kNoBlock;
}

void StateSlots::touch(std::int32_t slot) noexcept {
    Snapshot& s = at(slot);
    BLOOM_CHECK(s.use == Use::kept);
    s.used_at = ++clock_;
}

bool StateSlots::holds(std::int32_t slot, std::uint64_t stamp) const noexcept {
    return at(slot).use == Use::kept && at(slot).stamp == stamp;
}

} // namespace bloom::engine
