#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/function_ref.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/engine/state_slots.hpp>

namespace bloom::engine {

/// What one sequence of a model has to remember between steps.
struct StateSpec {
    std::vector<compute::KvGroupSpec> groups;
    /// Beside the pages; none for models of attention alone.
    std::optional<compute::RecurrentSpec> recurrent;
};

/// Prefill is cut, and prefixes are reused, only at multiples of this many absolute tokens:
/// whatever else is in the batch or the cache, a token meets the same arithmetic.
inline constexpr std::int32_t kPrefillCut = 64;
static_assert(kPrefillCut % compute::kPageTokens == 0);

/// Pages of one group: who holds how many references. Page numbers are [0, size()).
class PagePool {
public:
    explicit PagePool(std::int64_t n_pages);

    std::int64_t size() const noexcept { return static_cast<std::int64_t>(refs_.size()); }

    std::int64_t n_free() const noexcept { return static_cast<std::int64_t>(free_.size()); }

    /// A page with one reference, or -1 when none is free.
    std::int32_t take() noexcept;
    void add_ref(std::int32_t page) noexcept;
    /// Gives one reference back; the last one frees the page. Nothing is copied or cleared.
    void drop_ref(std::int32_t page) noexcept;

    std::uint32_t refs(std::int32_t page) const noexcept {
        return refs_[static_cast<std::size_t>(page)];
    }

private:
    std::vector<std::uint32_t> refs_;
    std::vector<std::int32_t> free_;
};

/// The pages of one sequence: a table per group, the cached blocks that its start consists of, and
/// the slot of its recurrent state. Owned by whoever owns the sequence; filled and emptied only by
/// StateStore.
struct SequenceState {
    std::vector<std::vector<std::int32_t>> tables; ///< [group][page of the sequence], -1: dropped
    std::vector<std::uint32_t> blocks;             ///< cache entries of pages 0, 1, ...
    std::vector<std::int32_t> window_start;        ///< [group] first page not yet dropped
    std::int32_t slot = -1;                        ///< of the recurrent state; -1: none
    /// Snapshot that attach() found, to be copied to `slot` before anything else is done with the
    /// store; -1: none.
    std::int32_t resume_from = -1;
    /// Tokens that attach() found blocks for, whole cuts: another sequence has begun so as well.
    std::int32_t n_known = 0;
};

/// Slots that a backend was given for recurrent states: first those of sequences.
struct SlotCounts {
    std::int32_t n_sequences = 0;
    std::int32_t n_snapshots = 0;
};

/// A kept snapshot; the stamp tells whether it still is the one.
struct Snapshot {
    std::int32_t slot = -1;
    std::uint64_t stamp = 0;
};

/// All pages of a model and the cache of prefixes over them.
///
/// The cache is a tree of blocks of 16 tokens: a block is found by its parent and its exact tokens,
/// the first one by the scope too, so that nothing can be learned across scopes. A block holds one
/// reference on a page in each group. Blocks that no sequence uses stay until their pages are
/// needed, least recently used first, ends of chains before their beginnings.
///
/// A recurrent state cannot be cut back, so where a model has one a prefix can be used again only
/// up to blocks that a snapshot of the state belongs to. Snapshots have slots of their own and go
/// by themselves, the one used longest ago first, or with their block; a block without one still
/// holds its pages.
///
/// Thread: one. Cost: no allocation after construction, except when a table grows; where that
/// throws (std::bad_alloc) no page is lost and release() works.
class StateStore {
public:
    /// n_pages: per group. Without `cache_prefixes`, without groups, or without snapshots where
    /// they are needed, nothing is ever shared except by fork().
    StateStore(StateSpec spec, std::span<const std::int64_t> n_pages, bool cache_prefixes,
               SlotCounts slots = {});

    const StateSpec& spec() const noexcept { return spec_; }

    std::size_t n_groups() const noexcept { return pools_.size(); }

    /// Of one group: pages that can be had, free ones and those that only the cache holds, and all.
    struct Supply {
        std::int64_t available = 0;
        std::int64_t total = 0;
    };

    /// The group that has the smallest share of its pages to give.
    Supply scarcest() const noexcept;

    std::int64_t n_available(std::size_t group) const noexcept {
        return pools_[group].n_free() + evictable_[group];
    }

    std::int64_t n_available() const noexcept { return scarcest().available; }

    /// Pages that nobody holds, cache included, over all groups; all of them when nothing runs.
    std::int64_t n_free() const noexcept;
    std::int64_t n_pages() const noexcept;

    std::int64_t n_pages(std::size_t group) const noexcept { return pools_[group].size(); }

    /// Tokens of one sequence that fit if it had everything for itself.
    std::int64_t max_tokens() const noexcept;

    void init(SequenceState& seq) const;

    static constexpr std::size_t kNoGroup = SIZE_MAX;

    /// The first group in which `seq` could not grow to n_tokens and leave `spare` pages, or
    /// kNoGroup. Says nothing for sure where sequences share pages: ensure() decides.
    std::size_t short_group(const SequenceState& seq, std::int64_t n_tokens,
                            std::int64_t spare) const noexcept;

    bool has_room(const SequenceState& seq, std::int64_t n_tokens,
                  std::int64_t spare) const noexcept {
        return short_group(seq, n_tokens, spare) == kNoGroup;
    }

    /// What a sequence needs of a cached prefix.
    enum class Resume : std::uint8_t {
        computing, ///< to go on from there: the windows, and a snapshot of the recurrent state
        pages,     ///< only the pages: it has the state from elsewhere
    };

    /// Points an empty sequence at the longest cached prefix of `tokens` in `scope`, a multiple of
    /// kPrefillCut and shorter than `tokens`. Returns its length. An empty scope shares nothing.
    std::int32_t attach(SequenceState& seq, std::string_view scope,
                        std::span<const std::int32_t> tokens, Resume resume = Resume::computing);

    /// Gives a sequence a slot for its recurrent state, where the model has one. False when none is
    /// free.
    bool take_slot(SequenceState& seq) noexcept;

    /// A slot for a snapshot: that of `instead`, if it still is there, otherwise any, see
    /// StateSlots::reserve(). -1 when there is none. Followed by keep_snapshot() or
    /// drop_snapshot().
    std::int32_t reserve_snapshot(Snapshot instead = {}) noexcept;
    /// `slot` now holds the state of `seq` after its first `position` tokens, a multiple of
    /// kPrefillCut, which are published. Others may start from it. Where the cache does not know
    /// these tokens or has a snapshot already the slot is given back and the result has none.
    Snapshot keep_snapshot(const SequenceState& seq, std::int64_t position,
                           std::int32_t slot) noexcept;

    void drop_snapshot(std::int32_t slot) noexcept { slots_.drop(slot); }

    const StateSlots& slots() const noexcept { return slots_; }

    /// Whether prefixes are kept for others at all.
    bool caches() const noexcept { return cache_; }

    /// Makes room for tokens [0, n_tokens). False when pages are missing; what was taken stays.
    bool ensure(SequenceState& seq, std::int64_t n_tokens);
    /// Offers the sequence's full pages of computed tokens [0, n_computed) to others of its scope.
    /// A page that the cache has already is given up for the cached one.
    void publish(SequenceState& seq, std::string_view scope, std::span<const std::int32_t> tokens,
                 std::int64_t n_computed);
    /// Gives back pages that no token from the last cut before `position` on can see: another
    /// sequence may start at that cut.
    void drop_behind_window(SequenceState& seq, std::int64_t position);

    using CopyPage = FunctionRef<void(std::size_t group, std::int32_t from, std::int32_t to)>;
    /// Makes `to` (empty) a second sequence with the same n_tokens computed tokens: full pages are
    /// shared, a partly filled one is copied. A recurrent state is left to the caller. False when
    /// pages are missing; then `to` is empty.
    bool fork(const SequenceState& from, SequenceState& to, std::int64_t n_tokens, CopyPage copy);

    /// Gives everything back; the sequence is empty again.
    void release(SequenceState& seq) noexcept;

    /// First page of a group that a token at `position` or later can see.
    std::int64_t first_seen_page(std::size_t group, std::int64_t position) const noexcept;

    /// Whether other sequences use the cached page at `index` as well, so that it stays when this
    /// one goes.
    bool used_by_others(const SequenceState& seq, std::size_t index) const noexcept {
        return index < seq.blocks.size() && blocks_[seq.blocks[index]].n_users > 1;
    }

    /// Gives an attached sequence the tables of one that has computed n_tokens: pages where later
    /// tokens look, with undefined contents beyond what was attached, none behind windows. False
    /// when pages are missing; what was taken stays until release().
    bool extend_computed(SequenceState& seq, std::int64_t n_tokens);

    /// Empties the cache of everything that no sequence uses.
    void drop_cache();

private:
    static constexpr std::uint32_t kNone = 0xffffffffU;
    static constexpr std::size_t kBlock = compute::kPageTokens;

    struct Block {
        std::uint64_t serial = 0; ///< never used twice; 0: not in use
        std::uint64_t parent = 0; ///< serial of the block before; 0: the first
        std::uint64_t hash = 0;
        std::array<std::int32_t, kBlock> tokens{};
        std::string scope;           ///< first blocks only
        std::int32_t snapshot = -1;  ///< slot of the state at the block's end
        std::uint32_t n_users = 0;   ///< sequences
        std::uint32_t next = kNone;  ///< in the hash bucket, or in the list of unused blocks
        std::uint32_t newer = kNone; ///< in the list of blocks without users
        std::uint32_t older = kNone;
    };

    std::uint64_t hash_of(std::uint64_t parent_hash, std::string_view scope,
                          std::span<const std::int32_t> tokens) const noexcept;
    std::uint32_t find_block(std::uint32_t parent, std::string_view scope,
                             std::span<const std::int32_t> tokens, std::uint64_t hash) const;
    std::uint32_t new_block(std::uint32_t parent, std::string_view scope,
                            std::span<const std::int32_t> tokens, std::uint64_t hash);
    void use_block(std::uint32_t block);
    void leave_block(std::uint32_t block) noexcept;
    void list_push(std::uint32_t block);
    void list_remove(std::uint32_t block);
    void erase_block(std::uint32_t block);
    bool evict_for(std::size_t group);
    std::int32_t take_page(std::size_t group);
    bool can_resume(std::span<const std::uint32_t> blocks, std::size_t n, Resume resume) const;

    std::int32_t& block_page(std::uint32_t block, std::size_t group) {
        return block_pages_[block * pools_.size() + group];
    }

    std::int32_t block_page(std::uint32_t block, std::size_t group) const {
        return block_pages_[block * pools_.size() + group];
    }

    StateSpec spec_;
    bool cache_;
    StateSlots slots_;
    std::vector<PagePool> pools_;
    std::vector<std::int64_t> evictable_; ///< [group] pages of blocks without users

    std::vector<Block> blocks_;
    std::vector<std::int32_t> block_pages_; ///< [block][group], -1: none
    std::vector<std::uint32_t> buckets_;
    std::uint32_t unused_ = kNone; ///< list of free Block records
    std::uint32_t newest_ = kNone;
    std::uint32_t oldest_ = kNone;
    std::uint64_t next_serial_ = 1;
    std::vector<std::uint32_t> found_; ///< scratch of attach
};

} // namespace bloom::engine
