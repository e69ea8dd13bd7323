#include "bpe.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include <bloom/base/check.hpp>

namespace bloom::text {

void MergeTable::reserve(std::size_t n) {
    BLOOM_CHECK(n_ == 0);
    const std::size_t slots = std::bit_ceil(std::max<std::size_t>(2 * n, 2));
    slots_.assign(slots, Slot{});
    mask_ = slots - 1;
    shift_ = static_cast<unsigned>(64 - std::countr_zero(slots));
}

void MergeTable::insert(std::int32_t left, std::int32_t right, Entry entry) {
    BLOOM_CHECK(left >= 0);
    BLOOM_CHECK(right >= 0);
    const std::uint64_t key = pack(left, right);
    std::size_t at = slot(key);
    while (slots_[at].key != kEmpty && slots_[at].key != key)
        at = (at + 1) & mask_;
    if (slots_[at].key == key) {
        if (entry.rank < slots_[at].entry.rank) slots_[at].entry = entry;
        return;
    }
    ++n_;
    BLOOM_CHECK(2 * n_ <= slots_.size()); // find() ends because empty slots remain
    slots_[at] = {key, entry};
}

void merge_short(const MergeTable& table, std::vector<std::int32_t>& symbols,
                 MergeScratch& scratch) {
    std::size_t n = symbols.size();
    BLOOM_CHECK(n <= kShortWord);
    if (n < 2) return;
    std::array<MergeTable::Entry, kShortWord> pairs; // pairs[i] joins symbols i and i + 1
    const auto look_up = [&](std::size_t i) {
        ++scratch.steps;
        pairs[i] = table.find(symbols[i], symbols[i + 1]);
    };
    for (std::size_t i = 0; i + 1 < n; ++i)
        look_up(i);
    for (;;) {
        std::size_t best = 0;
        for (std::size_t i = 1; i + 1 < n; ++i) {
            if (pairs[i].rank < pairs[best].rank) best = i;
        }
        scratch.steps += n;
        if (pairs[best].rank == MergeTable::kNoRank) break;
        symbols[best] = pairs[best].merged;
        std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2,
                  symbols.begin() + static_cast<std::ptrdiff_t>(n),
                  symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
        if (best + 2 < n) {
            std::copy(pairs.begin() + static_cast<std::ptrdiff_t>(best) + 1,
                      pairs.begin() + static_cast<std::ptrdiff_t>(n) - 1,
                      pairs.begin() + static_cast<std::ptrdiff_t>(best));
        }
        if (--n < 2) break;
        if (best + 1 < n) look_up(best);
        if (best > 0) look_up(best - 1);
    }
    symbols.resize(n);
}

namespace {

constexpr std::uint32_t kEnd = 0xffffffff;

/// The heap orders by rank, then by place. An entry is current if its node still joins by that
/// rank; changed pairs leave their old entries behind, which are dropped when they come up.
class LongMerge {
public:
    LongMerge(const MergeTable& table, MergeScratch& scratch) : table_(table), scratch_(scratch) {}

    void run(std::vector<std::int32_t>& symbols) {
        auto& nodes = scratch_.nodes;
        const auto n = static_cast<std::uint32_t>(symbols.size());
        nodes.resize(n);
        scratch_.heap.clear();
        for (std::uint32_t i = 0; i < n; ++i) {
            nodes[i] = {symbols[i], -1, MergeTable::kNoRank, i == 0 ? kEnd : i - 1,
                        i + 1 == n ? kEnd : i + 1};
        }
        for (std::uint32_t i = 0; i + 1 < n; ++i) {
            if (update(i)) scratch_.heap.push_back(key(i));
        }
        std::make_heap(scratch_.heap.begin(), scratch_.heap.end(), std::greater<>());
        while (!scratch_.heap.empty())
            take();
        symbols.clear();
        for (std::uint32_t i = 0; i != kEnd; i = nodes[i].next)
            symbols.push_back(nodes[i].symbol);
    }

private:
    std::uint64_t key(std::uint32_t at) const noexcept {
        return std::uint64_t{scratch_.nodes[at].rank} << 32 | at;
    }

    /// Looks up the pair at this node and its next one; whether it merges.
    bool update(std::uint32_t at) noexcept {
        MergeScratch::Node& node = scratch_.nodes[at];
        node.rank = MergeTable::kNoRank;
        if (node.next == kEnd) return false;
        ++scratch_.steps;
        const auto found = table_.find(node.symbol, scratch_.nodes[node.next].symbol);
        node.rank = found.rank;
        node.merged = found.merged;
        return found.rank != MergeTable::kNoRank;
    }

    void push_if_joins(std::uint32_t at) {
        if (!update(at)) return;
        scratch_.heap.push_back(key(at));
        std::push_heap(scratch_.heap.begin(), scratch_.heap.end(), std::greater<>());
    }

    void take() {
        ++scratch_.steps;
        std::pop_heap(scratch_.heap.begin(), scratch_.heap.end(), std::greater<>());
        const std::uint64_t entry = scratch_.heap.back();
        scratch_.heap.pop_back();
        const auto at = static_cast<std::uint32_t>(entry);
        MergeScratch::Node& node = scratch_.nodes[at];
        if (node.symbol < 0 || key(at) != entry) return;
        MergeScratch::Node& gone = scratch_.nodes[node.next];
        node.symbol = node.merged;
        gone.symbol = -1;
        node.next = gone.next;
        if (gone.next != kEnd) scratch_.nodes[gone.next].previous = at;
        push_if_joins(at);
        if (node.previous != kEnd) push_if_joins(node.previous);
    }

    const MergeTable& table_;
    MergeScratch& scratch_;
};

} // namespace

void merge_long(const MergeTable& table, std::vector<std::int32_t>& symbols,
                MergeScratch& scratch) {
    if (symbols.size() < 2) return;
    BLOOM_CHECK(symbols.size() < kEnd);
    LongMerge(table, scratch).run(symbols);
}

void merge_word(const MergeTable& table, std::vector<std::int32_t>& symbols,
                MergeScratch& scratch) {
    if (symbols.size() <= kShortWord) {
        merge_short(table, symbols, scratch);
    } else {
        merge_long(table, symbols, scratch);
    }
}

} // namespace bloom::text
