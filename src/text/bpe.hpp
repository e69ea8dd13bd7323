#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bloom::text {

/// Adjacent pairs of symbols that merge: (left, right) -> (rank, merged symbol). Open addressing.
/// Thread: any number of readers once filled.
class MergeTable {
public:
    struct Entry {
        std::uint32_t rank = kNoRank;
        std::int32_t merged = -1;
    };

    static constexpr std::uint32_t kNoRank = 0xffffffff;

    /// Makes room for `n` pairs; called once, before insert.
    void reserve(std::size_t n);
    /// Adds a pair; of two with the same parts the lower rank stays. Symbols are >= 0.
    void insert(std::int32_t left, std::int32_t right, Entry entry);

    /// rank == kNoRank if the pair does not merge.
    Entry find(std::int32_t left, std::int32_t right) const noexcept {
        const std::uint64_t key = pack(left, right);
        for (std::size_t at = slot(key);; at = (at + 1) & mask_) {
            if (slots_[at].key == key) return slots_[at].entry;
            if (slots_[at].key == kEmpty) return {};
        }
    }

private:
    static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

    struct Slot {
        std::uint64_t key = kEmpty;
        Entry entry;
    };

    static std::uint64_t pack(std::int32_t left, std::int32_t right) noexcept {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 |
               static_cast<std::uint32_t>(right);
    }

    std::size_t slot(std::uint64_t key) const noexcept {
        key ^= key >> 32;
        return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15U) >> shift_) & mask_;
    }

    std::vector<Slot> slots_{Slot{}, Slot{}};
    std::size_t mask_ = 1;
    unsigned shift_ = 63;
    std::size_t n_ = 0;
};

/// Words of up to this many symbols are merged by scanning all pairs for the lowest rank: their
/// ranks fit two cache lines, which beats a heap.
inline constexpr std::size_t kShortWord = 32;

/// Memory of merge_word, kept between calls.
struct MergeScratch {
    struct Node {
        std::int32_t symbol; ///< -1: merged into its left neighbour
        std::int32_t merged; ///< what symbol and the next one would become
        std::uint32_t rank;  ///< of that pair
        std::uint32_t previous;
        std::uint32_t next;
    };

    std::vector<Node> nodes;
    std::vector<std::uint64_t> heap;
    std::uint64_t steps = 0; ///< pair look-ups, heap entries taken, ranks scanned
};

/// Merges the adjacent pair of lowest rank, leftmost of equals, until none is left; `symbols` holds
/// the result. Cost: O(n log n) time for n symbols, 28 bytes of scratch each.
void merge_word(const MergeTable& table, std::vector<std::int32_t>& symbols, MergeScratch& scratch);

/// The two ways of merge_word, for tests: the first only for up to kShortWord symbols.
void merge_short(const MergeTable& table, std::vector<std::int32_t>& symbols,
                 MergeScratch& scratch);
void merge_long(const MergeTable& table, std::vector<std::int32_t>& symbols, MergeScratch& scratch);

} // namespace bloom::text
