#include <algorithm>
#include <bit>

#include <bloom/base/check.hpp>
#include <bloom/engine/state.hpp>

namespace bloom::engine {
namespace {

constexpr std::int64_t kPage = compute::kPageTokens;

std::int64_t pages_for(std::int64_t n_tokens) noexcept {
    return (n_tokens + kPage - 1) / kPage;
}

/// Grows a table before something is taken for it, so that a failure loses nothing.
template <class T>
void make_place(std::vector<T>& table) {
    if (table.size() == table.capacity()) {
        table.reserve(std::max<std::size_t>(2 * table.size(), 16));
    }
}

/// splitmix64's finaliser: every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

} // namespace

PagePool::PagePool(std::int64_t n_pages) : refs_(static_cast<std::size_t>(n_pages), 0) {
    free_.reserve(refs_.size());
    for (std::int64_t p = n_pages - 1; p >= 0; --p)
        free_.push_back(static_cast<std::int32_t>(p));
}

std::int32_t PagePool::take() noexcept {
    if (free_.empty()) return -1;
    const std::int32_t page = free_.back();
    free_.pop_back();
    refs_[static_cast<std::size_t>(page)] = 1;
    return page;
}

void PagePool::add_ref(std::int32_t page) noexcept {
    BLOOM_CHECK(refs(page) > 0);
    ++refs_[static_cast<std::size_t>(page)];
}

void PagePool::drop_ref(std::int32_t page) noexcept {
    BLOOM_CHECK(refs(page) > 0);
    if (--refs_[static_cast<std::size_t>(page)] == 0) free_.push_back(page);
}

StateStore::StateStore(StateSpec spec, std::span<const std::int64_t> n_pages, bool cache_prefixes,
                       SlotCounts slots)
    : spec_(std::move(spec)),
      cache_(cache_prefixes && !n_pages.empty() && (!spec_.recurrent || slots.n_snapshots > 0)),
      slots_(slots.n_sequences, slots.n_snapshots), evictable_(n_pages.size(), 0) {
    BLOOM_CHECK(!spec_.recurrent || slots.n_sequences > 0);
    BLOOM_CHECK(n_pages.size() == spec_.groups.size());
    std::int64_t most = 0;
    for (const std::int64_t n : n_pages) {
        BLOOM_CHECK(n > 0);
        pools_.emplace_back(n);
        most = std::max(most, n);
    }
    if (!cache_) return;
    const auto n_blocks = static_cast<std::size_t>(most);
    blocks_.resize(n_blocks);
    block_pages_.assign(n_blocks * pools_.size(), -1);
    buckets_.assign(std::bit_ceil(n_blocks), kNone);
    for (std::size_t i = n_blocks; i-- > 0;) {
        blocks_[i].next = unused_;
        unused_ = static_cast<std::uint32_t>(i);
    }
}

StateStore::Supply StateStore::scarcest() const noexcept {
    Supply least;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        const Supply here{n_available(g), pools_[g].size()};
        if (g == 0 || here.available * least.total < least.available * here.total) least = here;
    }
    return least;
}

std::int64_t StateStore::n_free() const noexcept {
    std::int64_t n = 0;
    for (const PagePool& p : pools_)
        n += p.n_free();
    return n;
}

std::int64_t StateStore::n_pages() const noexcept {
    std::int64_t n = 0;
    for (const PagePool& p : pools_)
        n += p.size();
    return n;
}

std::int64_t StateStore::max_tokens() const noexcept {
    std::int64_t least = INT64_MAX;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        // A windowed group holds the window, the chunk being computed and the partial pages around.
        if (spec_.groups[g].window == 0) least = std::min(least, pools_[g].size() * kPage);
    }
    return least;
}

void StateStore::init(SequenceState& seq) const {
    seq.tables.resize(pools_.size());
    seq.window_start.assign(pools_.size(), 0);
    for (const auto& table : seq.tables)
        BLOOM_CHECK(table.empty());
    BLOOM_CHECK(seq.blocks.empty());
}

std::size_t StateStore::short_group(const SequenceState& seq, std::int64_t n_tokens,
                                    std::int64_t spare) const noexcept {
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        std::int64_t need = pages_for(n_tokens) - static_cast<std::int64_t>(seq.tables[g].size());
        const std::int64_t window = spec_.groups[g].window;
        // Behind its window a group gives back what it takes: the window and one cut around it.
        if (window > 0) need = std::min(need, pages_for(window + 2 * kPrefillCut));
        if (need + spare > n_available(g)) return g;
    }
    return kNoGroup;
}

std::uint64_t StateStore::hash_of(std::uint64_t parent_hash, std::string_view scope,
                                  std::span<const std::int32_t> tokens) const noexcept {
    std::uint64_t h = mix(parent_hash + 0x9e3779b97f4a7c15U);
    for (const char c : scope)
        h = mix(h ^ static_cast<unsigned char>(c));
    for (const std::int32_t t : tokens)
        h = mix(h ^ static_cast<std::uint32_t>(t)) + 0x9e3779b97f4a7c15U;
    return h;
}

std::uint32_t StateStore::find_block(std::uint32_t parent, std::string_view scope,
                                     std::span<const std::int32_t> tokens,
                                     std::uint64_t hash) const {
    const std::uint64_t parent_serial = parent == kNone ? 0 : blocks_[parent].serial;
    for (std::uint32_t b = buckets_[hash & (buckets_.size() - 1)]; b != kNone;
         b = blocks_[b].next) {
        const Block& block = blocks_[b];
        if (block.hash == hash && block.parent == parent_serial &&
            std::ranges::equal(block.tokens, tokens) && (parent != kNone || block.scope == scope)) {
            return b;
        }
    }
    return kNone;
}

std::uint32_t StateStore::new_block(std::uint32_t parent, std::string_view scope,
                                    std::span<const std::int32_t> tokens, std::uint64_t hash) {
    if (unused_ == kNone && oldest_ != kNone) erase_block(oldest_);
    if (unused_ == kNone) return kNone;
    const std::uint32_t b = unused_;
    Block& block = blocks_[b];
    if (parent == kNone) block.scope = scope; // may throw; then nothing has happened yet
    unused_ = block.next;
    block.serial = next_serial_++;
    block.parent = parent == kNone ? 0 : blocks_[parent].serial;
    block.hash = hash;
    std::ranges::copy(tokens, block.tokens.begin());
    block.n_users = 0;
    std::uint32_t& bucket = buckets_[hash & (buckets_.size() - 1)];
    block.next = bucket;
    bucket = b;
    list_push(b);
    return b;
}

void StateStore::list_push(std::uint32_t b) {
    Block& block = blocks_[b];
    block.older = newest_;
    block.newer = kNone;
    if (newest_ != kNone) blocks_[newest_].newer = b;
    newest_ = b;
    if (oldest_ == kNone) oldest_ = b;
    for (std::size_t g = 0; g < pools_.size(); ++g)
        evictable_[g] += block_page(b, g) >= 0 ? 1 : 0;
}

void StateStore::list_remove(std::uint32_t b) {
    Block& block = blocks_[b];
    (block.newer == kNone ? newest_ : blocks_[block.newer].older) = block.older;
    (block.older == kNone ? oldest_ : blocks_[block.older].newer) = block.newer;
    for (std::size_t g = 0; g < pools_.size(); ++g)
        evictable_[g] -= block_page(b, g) >= 0 ? 1 : 0;
}

void StateStore::use_block(std::uint32_t b) {
    if (blocks_[b].n_users++ == 0) list_remove(b);
}

void StateStore::leave_block(std::uint32_t b) noexcept {
    BLOOM_CHECK(blocks_[b].n_users > 0);
    if (--blocks_[b].n_users == 0) list_push(b);
}

void StateStore::erase_block(std::uint32_t b) {
    Block& block = blocks_[b];
    BLOOM_CHECK(block.n_users == 0);
    list_remove(b);
    std::uint32_t* at = &buckets_[block.hash & (buckets_.size() - 1)];
    while (*at != b)
        at = &blocks_[*at].next;
    *at = block.next;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        std::int32_t& page = block_page(b, g);
        if (page >= 0) pools_[g].drop_ref(page);
        page = -1;
    }
    if (block.snapshot >= 0) slots_.drop(block.snapshot);
    block.snapshot = -1;
    block.serial = 0;
    block.scope.clear();
    block.next = unused_;
    unused_ = b;
}

bool StateStore::evict_for(std::size_t group) {
    for (std::uint32_t b = oldest_; b != kNone; b = blocks_[b].newer) {
        if (block_page(b, group) < 0) continue;
        erase_block(b);
        return true;
    }
    return false;
}

std::int32_t StateStore::take_page(std::size_t group) {
    // A forked sequence may still hold the page of an evicted block: then the next one goes too.
    while (pools_[group].n_free() == 0 && evict_for(group)) {
    }
    return pools_[group].take();
}

bool StateStore::can_resume(std::span<const std::uint32_t> blocks, std::size_t n,
                            Resume resume) const {
    const bool needs_state = spec_.recurrent && resume == Resume::computing;
    if (needs_state && blocks_[blocks[n - 1]].snapshot < 0) return false;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        const std::int64_t window = spec_.groups[g].window;
        const std::int64_t position = static_cast<std::int64_t>(n) * kPage;
        const std::int64_t first =
            window == 0 ? 0 : std::max<std::int64_t>(position - window + 1, 0);
        for (auto p = static_cast<std::size_t>(first / kPage); p < n; ++p) {
            if (block_page(blocks[p], g) < 0) return false;
        }
    }
    return true;
}

std::int32_t StateStore::attach(SequenceState& seq, std::string_view scope,
                                std::span<const std::int32_t> tokens, Resume resume) {
    BLOOM_CHECK(seq.blocks.empty());
    seq.resume_from = -1;
    seq.n_known = 0;
    if (!cache_ || scope.empty() || tokens.empty()) return 0;
    const std::size_t full = (tokens.size() - 1) / kBlock; // the last token is always computed
    found_.clear();
    std::uint64_t hash = 0;
    for (std::size_t i = 0; i < full; ++i) {
        const auto part = tokens.subspan(i * kBlock, kBlock);
        const std::uint32_t parent = i == 0 ? kNone : found_.back();
        hash = hash_of(hash, i == 0 ? scope : std::string_view{}, part);
        const std::uint32_t b = find_block(parent, scope, part, hash);
        if (b == kNone) break;
        found_.push_back(b);
    }
    constexpr std::size_t kStep = kPrefillCut / kPage;
    std::size_t n = found_.size() / kStep * kStep;
    seq.n_known = static_cast<std::int32_t>(n * kBlock);
    while (n > 0 && !can_resume(found_, n, resume))
        n -= kStep;
    // Memory first: nothing below can fail.
    seq.blocks.reserve(n);
    for (auto& table : seq.tables)
        table.reserve(n);
    // From the end, so that the beginning of a chain counts as used last and goes last.
    for (std::size_t i = n; i-- > 0;)
        use_block(found_[i]);
    for (std::size_t i = 0; i < n; ++i) {
        seq.blocks.push_back(found_[i]);
        for (std::size_t g = 0; g < pools_.size(); ++g) {
            const std::int32_t page = block_page(found_[i], g);
            if (page >= 0) pools_[g].add_ref(page);
            seq.tables[g].push_back(page);
        }
    }
    const auto length = static_cast<std::int32_t>(n * kBlock);
    if (n > 0 && spec_.recurrent && resume == Resume::computing) {
        seq.resume_from = blocks_[found_[n - 1]].snapshot;
        slots_.touch(seq.resume_from);
    }
    drop_behind_window(seq, length);
    return length;
}

bool StateStore::ensure(SequenceState& seq, std::int64_t n_tokens) {
    const auto n = static_cast<std::size_t>(pages_for(n_tokens));
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        auto& table = seq.tables[g];
        while (table.size() < n) {
            make_place(table);
            const std::int32_t page = take_page(g);
            if (page < 0) return false;
            table.push_back(page);
        }
    }
    return true;
}

std::int64_t StateStore::first_seen_page(std::size_t group, std::int64_t position) const noexcept {
    const std::int64_t window = spec_.groups[group].window;
    return window == 0 ? 0 : std::max<std::int64_t>(position - window + 1, 0) / kPage;
}

bool StateStore::extend_computed(SequenceState& seq, std::int64_t n_tokens) {
    const auto n = static_cast<std::size_t>(pages_for(n_tokens));
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        auto& table = seq.tables[g];
        const auto first = static_cast<std::size_t>(first_seen_page(g, n_tokens));
        while (table.size() < n) {
            make_place(table);
            const std::int32_t page = table.size() < first ? -1 : take_page(g);
            if (page < 0 && table.size() >= first) return false;
            table.push_back(page);
        }
    }
    drop_behind_window(seq, n_tokens);
    return true;
}

void StateStore::publish(SequenceState& seq, std::string_view scope,
                         std::span<const std::int32_t> tokens, std::int64_t n_computed) {
    if (!cache_ || scope.empty()) return;
    BLOOM_CHECK(n_computed <= static_cast<std::int64_t>(tokens.size()));
    const auto full = static_cast<std::size_t>(n_computed / kPage);
    for (std::size_t i = seq.blocks.size(); i < full; ++i) {
        const std::uint32_t parent = i == 0 ? kNone : seq.blocks[i - 1];
        const auto part = tokens.subspan(i * kBlock, kBlock);
        const std::uint64_t hash =
            hash_of(i == 0 ? 0 : blocks_[parent].hash, i == 0 ? scope : std::string_view{}, part);
        make_place(seq.blocks);
        std::uint32_t b = find_block(parent, scope, part, hash);
        if (b == kNone) b = new_block(parent, scope, part, hash);
        if (b == kNone) return; // every record belongs to a running sequence
        use_block(b);
        for (std::size_t g = 0; g < pools_.size(); ++g) {
            std::int32_t& mine = seq.tables[g][i];
            std::int32_t& cached = block_page(b, g);
            if (mine < 0 || mine == cached) continue;
            if (cached < 0) {
                cached = mine;
                pools_[g].add_ref(mine);
            } else {
                pools_[g].drop_ref(mine);
                pools_[g].add_ref(cached);
                mine = cached;
            }
        }
        seq.blocks.push_back(b);
    }
}

void StateStore::drop_behind_window(SequenceState& seq, std::int64_t position) {
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        const std::int64_t window = spec_.groups[g].window;
        if (window == 0) continue;
        const std::int64_t first_seen = first_seen_page(g, position / kPrefillCut * kPrefillCut);
        auto& table = seq.tables[g];
        std::int32_t& start = seq.window_start[g];
        const auto end =
            std::min<std::int64_t>(first_seen, static_cast<std::int64_t>(table.size()));
        for (; start < end; ++start) {
            const auto i = static_cast<std::size_t>(start);
            const std::int32_t page = table[i];
            if (page < 0) continue;
            table[i] = -1;
            pools_[g].drop_ref(page);
            // When no sequence sees it any more the cache lets go as well: otherwise long prompts
            // would pin what their windows freed.
            if (i < seq.blocks.size() && block_page(seq.blocks[i], g) == page &&
                pools_[g].refs(page) == 1) {
                pools_[g].drop_ref(page);
                block_page(seq.blocks[i], g) = -1;
            }
        }
    }
}

bool StateStore::fork(const SequenceState& from, SequenceState& to, std::int64_t n_tokens,
                      CopyPage copy) {
    init(to);
    const auto full = static_cast<std::size_t>(n_tokens / kPage);
    const bool partial = n_tokens % kPage != 0;
    to.window_start = from.window_start;
    to.blocks.reserve(std::min(full, from.blocks.size()));
    for (auto& table : to.tables)
        table.reserve(full + 1);
    for (std::size_t i = 0; i < std::min(full, from.blocks.size()); ++i) {
        use_block(from.blocks[i]);
        to.blocks.push_back(from.blocks[i]);
    }
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        for (std::size_t i = 0; i < full; ++i) {
            const std::int32_t page = from.tables[g][i];
            if (page >= 0) pools_[g].add_ref(page);
            to.tables[g].push_back(page);
        }
        if (!partial) continue;
        const std::int32_t page = take_page(g);
        if (page < 0) {
            release(to);
            return false;
        }
        copy(g, from.tables[g][full], page);
        to.tables[g].push_back(page);
    }
    return true;
}

void StateStore::release(SequenceState& seq) noexcept {
    for (std::size_t g = 0; g < seq.tables.size(); ++g) {
        for (const std::int32_t page : seq.tables[g]) {
            if (page >= 0) pools_[g].drop_ref(page);
        }
        seq.tables[g].clear();
        seq.window_start[g] = 0;
    }
    for (std::size_t i = seq.blocks.size(); i-- > 0;)
        leave_block(seq.blocks[i]);
    seq.blocks.clear();
    if (seq.slot >= 0) slots_.give_back(seq.slot);
    seq.slot = -1;
    seq.resume_from = -1;
    seq.n_known = 0;
}

bool StateStore::take_slot(SequenceState& seq) noexcept {
    if (!spec_.recurrent) return true;
    BLOOM_CHECK(seq.slot < 0);
    seq.slot = slots_.take();
    return seq.slot >= 0;
}

std::int32_t StateStore::reserve_snapshot(Snapshot instead) noexcept {
    if (instead.slot >= 0 && slots_.holds(instead.slot, instead.stamp)) {
        blocks_[slots_.block_of(instead.slot)].snapshot = -1;
        slots_.reserve_again(instead.slot);
        return instead.slot;
    }
    const StateSlots::Reserved got = slots_.reserve();
    if (got.lost_block != StateSlots::kNoBlock) blocks_[got.lost_block].snapshot = -1;
    return got.slot;
}

Snapshot StateStore::keep_snapshot(const SequenceState& seq, std::int64_t position,
                                   std::int32_t slot) noexcept {
    BLOOM_CHECK(position > 0);
    BLOOM_CHECK(position % kPrefillCut == 0);
    const auto n = static_cast<std::size_t>(position / kPage);
    const std::uint32_t b = n <= seq.blocks.size() ? seq.blocks[n - 1] : kNone;
    if (b == kNone || blocks_[b].snapshot >= 0) {
        if (b != kNone) slots_.touch(blocks_[b].snapshot);
        slots_.drop(slot);
        return {};
    }
    blocks_[b].snapshot = slot;
    return {slot, slots_.keep(slot, b)};
}

void StateStore::drop_cache() {
    while (oldest_ != kNone)
        erase_block(oldest_);
}

} // namespace bloom::engine
