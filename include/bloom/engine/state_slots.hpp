#pragma once

#include <cstdint>
#include <vector>

namespace bloom::engine {

/// Slots of a backend's recurrent states: [0, n_sequences) serve running sequences, the others
/// hold snapshots, copies taken at chosen positions from which other sequences start. Knows who has
/// which slot and nothing of what is in them.
/// Thread: one. No allocation after construction.
class StateSlots {
public:
    StateSlots(std::int32_t n_sequences, std::int32_t n_snapshots);

    std::int32_t n_sequences() const noexcept { return n_sequences_; }

    std::int32_t n_snapshots() const noexcept {
        return static_cast<std::int32_t>(snapshots_.size());
    }

    /// Slots of sequences that nobody has.
    std::int32_t n_free() const noexcept { return static_cast<std::int32_t>(free_.size()); }

    /// Snapshots that sequences can start from.
    std::int32_t n_kept() const noexcept { return n_kept_; }

    /// A slot for a sequence, -1 when none is free; back with give_back().
    std::int32_t take() noexcept;
    void give_back(std::int32_t slot) noexcept;

    static constexpr std::uint32_t kNoBlock = 0xffffffffU;

    /// A snapshot slot to be written: a free one, or that of the snapshot used longest ago, which
    /// is gone with that. -1 when all are being written. Followed by keep() or drop().
    struct Reserved {
        std::int32_t slot = -1;
        std::uint32_t lost_block = kNoBlock; ///< whose snapshot it was
    };

    Reserved reserve() noexcept;
    /// Makes a kept snapshot one to be written again.
    void reserve_again(std::int32_t slot) noexcept;
    /// The reserved slot now holds the state at the end of `block`. Returns a stamp that no other
    /// snapshot ever has.
    std::uint64_t keep(std::int32_t slot, std::uint32_t block) noexcept;
    /// Frees a reserved or kept slot.
    void drop(std::int32_t slot) noexcept;
    /// Somebody starts from it: it is the last to go.
    void touch(std::int32_t slot) noexcept;

    /// Whether the slot still holds the snapshot that got this stamp.
    bool holds(std::int32_t slot, std::uint64_t stamp) const noexcept;

    std::uint32_t block_of(std::int32_t slot) const noexcept { return at(slot).block; }

private:
    enum class Use : std::uint8_t { free, reserved, kept };

    struct Snapshot {
        Use use = Use::free;
        std::uint32_t block = kNoBlock;
        std::uint64_t stamp = 0;
        std::uint64_t used_at = 0;
    };

    const Snapshot& at(std::int32_t slot) const noexcept;
    Snapshot& at(std::int32_t slot) noexcept;

    std::int32_t n_sequences_;
    std::vector<std::int32_t> free_;  ///< slots of sequences
    std::vector<bool> taken_;         ///< [n_sequences]
    std::vector<Snapshot> snapshots_; ///< slot n_sequences + i; few, so they are looked through
    std::uint64_t clock_ = 0;
    std::int32_t n_kept_ = 0;
};

} // namespace bloom::engine
