#include <algorithm>
#include <new>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/engine/batcher.hpp>

namespace bloom::engine {
namespace {

/// Fair keys remembered besides the active ones, few enough to be looked through in every step;
/// beyond, those that had least are forgotten.
constexpr std::size_t kMaxKeys = 256;

/// Clocks count in parts of a token, so that a share of one is not lost.
constexpr std::uint64_t kClockUnit = 1024;

} // namespace

Batcher::Batcher(const BatcherOptions& options, StateStore& store, SwapSpace* swap,
                 StateMover* states)
    : options_(options), store_(store), swap_(swap), states_(states) {
    BLOOM_CHECK(!store.spec().recurrent || states != nullptr);
    BLOOM_CHECK(!store.spec().recurrent || store.slots().n_sequences() >= options.max_seqs);
    BLOOM_CHECK(options.max_seqs > 0);
    BLOOM_CHECK(options.prefill_tokens >= kPrefillCut);
    BLOOM_CHECK(options.busy_prefill_tokens >= kPrefillCut);
    // Everything that a step may need, so that none can fail halfway.
    const auto n_seqs = static_cast<std::size_t>(options.max_seqs);
    const auto n_rows =
        static_cast<std::size_t>(std::max(options.prefill_tokens, options.busy_prefill_tokens) +
                                 options.max_seqs * (kMaxDraft + 1));
    running_.reserve(n_seqs);
    order_.reserve(n_seqs);
    scratch_.reserve(n_seqs);
    step_.items.reserve(n_seqs);
    step_.tokens.reserve(n_rows);
    step_.positions.reserve(n_rows);
    step_.row_seq.reserve(n_rows);
    step_.logit_rows.reserve(n_seqs * (kMaxDraft + 1));
    step_.tables.reserve(n_seqs * store.n_groups());
    if (store.spec().recurrent) step_.recurrent.reserve(n_seqs);
}

// --- queue and keys ----------------------------------------------------------------------------

std::uint32_t Batcher::key_for(std::string_view name) {
    constexpr std::size_t kNone = SIZE_MAX;
    std::size_t idle = kNone; // the one whose past matters least
    for (std::size_t i = 0; i < keys_.size(); ++i) {
        const Key& key = keys_[i];
        if (key.name == name) return static_cast<std::uint32_t>(i);
        if (key.n_seqs == 0 && (idle == kNone || key.clock < keys_[idle].clock)) idle = i;
    }
    // Memory goes to those behind the virtual time first: they lose nothing by being forgotten.
    if (idle == kNone || (keys_[idle].clock > virtual_time_ && keys_.size() < kMaxKeys)) {
        idle = keys_.size();
        keys_.emplace_back();
    }
    Key& key = keys_[idle];
    key.name = name;
    key.clock = 0;
    key.n_computed = 0;
    return static_cast<std::uint32_t>(idle);
}

/// Every sequence of a key may have to wait at one time: queueing it again cannot fail.
void Batcher::make_place(std::uint32_t key) {
    Key& k = keys_[key];
    const auto n = static_cast<std::size_t>(k.n_seqs) + 1;
    if (k.waiting.capacity() < n) k.waiting.reserve(std::max(n, 2 * k.waiting.capacity()));
}

void Batcher::join_key(std::uint32_t key) noexcept {
    Key& k = keys_[key];
    // Coming back does not undo what was computed: otherwise whoever sends one request after the
    // other would always go before those that keep something waiting.
    if (!wants_more(key)) k.clock = std::max(k.clock, virtual_time_);
    if (k.n_seqs++ == 0) ++n_active_keys_;
}

void Batcher::leave_key(std::uint32_t key) noexcept {
    BLOOM_CHECK(keys_[key].n_seqs > 0);
    if (--keys_[key].n_seqs > 0 || --n_active_keys_ > 0) return;
    // Nobody is left: all have had what they wanted and start as equals.
    for (const Key& k : keys_)
        virtual_time_ = std::max(virtual_time_, k.clock);
}

/// Whether a key has tokens to compute besides those of its streams.
bool Batcher::wants_more(std::uint32_t key) const noexcept {
    if (!keys_[key].waiting.empty()) return true;
    return std::ranges::any_of(running_, [&](std::uint32_t seq) {
        const Seq& s = *seqs_[seq];
        return s.key == key && !s.paused && s.prefilling();
    });
}

void Batcher::charge(std::uint32_t key, std::int64_t n_tokens) noexcept {
    keys_[key].clock += static_cast<std::uint64_t>(n_tokens) * kClockUnit;
    keys_[key].n_computed += n_tokens;
}

void Batcher::advance_virtual_time(std::int64_t n_tokens) noexcept {
    const std::int64_t n_keys = std::max<std::int64_t>(n_active_keys_, 1);
    virtual_time_ +=
        static_cast<std::uint64_t>(n_tokens) * kClockUnit / static_cast<std::uint64_t>(n_keys);
    std::uint64_t lowest = UINT64_MAX;
    for (const Key& key : keys_) {
        if (!key.waiting.empty()) lowest = std::min(lowest, key.clock);
    }
    for (const std::uint32_t seq : running_) {
        const Seq& s = *seqs_[seq];
        if (!s.paused && s.prefilling()) lowest = std::min(lowest, keys_[s.key].clock);
    }
    if (lowest != UINT64_MAX) virtual_time_ = std::max(virtual_time_, lowest);
}

std::int64_t Batcher::n_computed_for(std::string_view fair_key) const noexcept {
    const auto at = std::ranges::find(keys_, fair_key, &Key::name);
    return at == keys_.end() ? 0 : at->n_computed;
}

void Batcher::enqueue(std::uint32_t seq) {
    const Seq& s = *seqs_[seq];
    auto& waiting = keys_[s.key].waiting;
    const auto later = [&](std::uint32_t other) {
        const Seq& o = *seqs_[other];
        return o.priority != s.priority ? o.priority < s.priority : o.arrival > s.arrival;
    };
    waiting.insert(std::ranges::find_if_not(waiting, later), seq);
    ++n_waiting_;
}

void Batcher::unqueue(std::uint32_t seq) {
    auto& waiting = keys_[seqs_[seq]->key].waiting;
    const auto at = std::ranges::find(waiting, seq);
    BLOOM_CHECK(at != waiting.end());
    waiting.erase(at);
    --n_waiting_;
}

std::uint32_t Batcher::next_waiting() const {
    std::uint32_t best = compute::index_of(SeqId::none);
    for (const Key& key : keys_) {
        const auto head = std::find_if(key.waiting.rbegin(), key.waiting.rend(),
                                       [&](std::uint32_t s) { return !seqs_[s]->paused; });
        if (head == key.waiting.rend()) continue;
        if (best == compute::index_of(SeqId::none)) {
            best = *head;
            continue;
        }
        const Seq& a = *seqs_[*head];
        const Seq& b = *seqs_[best];
        const std::uint64_t other = keys_[b.key].clock;
        if (key.clock != other ? key.clock < other : a.arrival < b.arrival) best = *head;
    }
    return best;
}

// --- sequences ---------------------------------------------------------------------------------

std::uint32_t Batcher::new_seq() {
    if (free_seqs_.empty()) {
        free_seqs_.reserve(seqs_.size() + 1); // all of them fit, so giving one back cannot fail
        seqs_.push_back(std::make_unique<Seq>());
        free_seqs_.push_back(static_cast<std::uint32_t>(seqs_.size() - 1));
    }
    const std::uint32_t seq = free_seqs_.back();
    Seq& s = *seqs_[seq];
    store_.init(s.state);
    free_seqs_.pop_back();
    SequenceState state = std::move(s.state);
    auto slots = std::move(s.slots);
    s = Seq{};
    s.state = std::move(state);
    s.slots = std::move(slots);
    s.used = true;
    return seq;
}

Result<SeqId> Batcher::add(NewSequence seq) {
    BLOOM_CHECK(!seq.tokens.empty());
    BLOOM_CHECK(seq.n_slots >= 1 && seq.n_slots <= options_.max_seqs);
    if (n_waiting_ >= options_.max_waiting) {
        return Error{Code::limit_reached,
                     fmt::format("{} requests are waiting already", n_waiting_)};
    }
    if (static_cast<std::int64_t>(seq.tokens.size()) > store_.max_tokens()) {
        return Error{Code::too_large, fmt::format("{} tokens, the cache holds {}",
                                                  seq.tokens.size(), store_.max_tokens())};
    }
    const std::uint32_t key = key_for(seq.fair_key);
    make_place(key);
    const std::uint32_t id = new_seq();
    Seq& s = *seqs_[id];
    s.tokens = std::move(seq.tokens);
    s.n_prompt = static_cast<std::int32_t>(s.tokens.size());
    s.scope = std::move(seq.cache_scope);
    s.priority = seq.priority;
    s.n_slots = seq.n_slots;
    s.arrival = next_arrival_++;
    s.key = key;
    join_key(key);
    enqueue(id);
    return static_cast<SeqId>(id);
}

SeqId Batcher::fork(SeqId parent_id, StateStore::CopyPage copy) {
    BLOOM_CHECK(at(parent_id).running);
    BLOOM_CHECK(at(parent_id).n_slots > 1);
    std::vector<std::int32_t> tokens;
    tokens.reserve(at(parent_id).tokens.capacity());
    tokens = at(parent_id).tokens;
    std::string scope = at(parent_id).scope;
    make_place(at(parent_id).key);
    const std::uint32_t id = new_seq();
    Seq& parent = at(parent_id);
    Seq& s = *seqs_[id];
    s.tokens = std::move(tokens);
    s.scope = std::move(scope);
    s.priority = parent.priority;
    s.reported = true;
    s.arrival = next_arrival_++;
    s.key = parent.key;
    join_key(s.key);
    --parent.n_slots;
    bool forked = false;
    try {
        forked = store_.fork(parent.state, s.state, parent.n_computed, copy);
    } catch (const std::bad_alloc&) {
        store_.release(s.state);
    }
    s.n_prompt = parent.n_prompt;
    s.snapshot_at = parent.snapshot_at;
    if (forked) {
        s.n_computed = parent.n_computed;
        if (store_.spec().recurrent) {
            BLOOM_CHECK(store_.take_slot(s.state)); // there is one for each running sequence
            settle(parent);
            states_->copy_state(parent.state.slot, s.state.slot);
            s.n_in_state = s.n_computed;
        }
        s.running = true; // on the slot that the parent held for it
        running_.push_back(id);
    } else {
        --slots_used_;
        enqueue(id);
    }
    return static_cast<SeqId>(id);
}

void Batcher::remove(SeqId id) {
    const std::uint32_t seq = compute::index_of(id);
    Seq& s = at(id);
    BLOOM_CHECK(s.used);
    if (s.running) {
        leave_running(seq);
    } else {
        unqueue(seq);
    }
    store_.release(s.state);
    drop_swap(s);
    leave_key(s.key);
    s.used = false;
    s.tokens = {};
    free_seqs_.push_back(seq);
}

void Batcher::leave_running(std::uint32_t seq) {
    Seq& s = *seqs_[seq];
    running_.erase(std::ranges::find(running_, seq));
    s.running = false;
    slots_used_ -= s.n_slots;
}

void Batcher::preempt(std::uint32_t seq) {
    Seq& s = *seqs_[seq];
    leave_running(seq);
    if (worth_swapping(s)) swap_out(s);
    store_.release(s.state);
    s.n_computed = 0;
    s.n_in_state = 0;
    s.n_draft = 0;
    s.draft_fresh = false;
    s.available_at_refusal = -1;
    enqueue(seq);
    ++n_preemptions_;
}

// --- swapping ----------------------------------------------------------------------------------

bool Batcher::worth_swapping(const Seq& s) const noexcept {
    if (swap_ == nullptr || s.n_computed < kPrefillCut) return false;
    const double n_pages = static_cast<double>(s.n_computed) / compute::kPageTokens;
    if (!cost_.ready()) return true; // copying wins as a rule
    StepLoad again;
    again.add_rows(0, s.n_computed, true);
    return n_pages * options_.swap_page_us + options_.swap_state_us < cost_.predict_us(again);
}

/// Takes the guesses that came true into the recurrent state, so that it can be copied.
void Batcher::settle(Seq& s) {
    states_->settle_state(s.state.slot, s.n_computed - s.n_in_state);
    s.n_in_state = s.n_computed;
}

/// Saves what is not in a prefix that other sequences hold as well; nothing when there is no room
/// for all of it.
void Batcher::swap_out(Seq& s) {
    BLOOM_CHECK(s.n_swapped == 0);
    const auto n_pages =
        static_cast<std::size_t>((s.n_computed + compute::kPageTokens - 1) / compute::kPageTokens);
    // Only whole cuts are found in the cache when the sequence comes back.
    constexpr std::size_t kCutPages = kPrefillCut / compute::kPageTokens;
    std::size_t n_staying = 0;
    while (store_.used_by_others(s.state, n_staying))
        ++n_staying;
    n_staying = n_staying / kCutPages * kCutPages;
    const auto saved = [&](std::size_t group, std::size_t page) {
        return page >= n_staying && s.state.tables[group][page] >= 0 &&
               static_cast<std::int64_t>(page) >= store_.first_seen_page(group, s.n_computed);
    };
    try {
        s.slots.resize(store_.n_groups());
        for (auto& slots : s.slots)
            slots.assign(n_pages, -1);
    } catch (const std::bad_alloc&) {
        return; // recompute
    }
    for (std::size_t g = 0; g < store_.n_groups(); ++g) {
        std::int64_t need = 0;
        for (std::size_t p = 0; p < n_pages; ++p)
            need += saved(g, p) ? 1 : 0;
        if (need > swap_->n_free(g)) return;
    }
    const bool recurrent = store_.spec().recurrent.has_value();
    if (recurrent && swap_->n_free(store_.n_groups()) == 0) return;
    for (std::size_t g = 0; g < store_.n_groups(); ++g) {
        for (std::size_t p = 0; p < n_pages; ++p) {
            if (saved(g, p)) s.slots[g][p] = swap_->save(g, s.state.tables[g][p]);
        }
    }
    if (recurrent) {
        settle(s);
        s.state_slot = swap_->save(store_.n_groups(), s.state.slot);
    }
    s.n_swapped = s.n_computed;
    ++n_swapped_out_;
}

/// Whether the cached prefix and the saved pages together are all that was computed.
bool Batcher::can_swap_in(const Seq& s, std::int32_t cached) const noexcept {
    if (s.n_swapped <= cached) return false;
    for (std::size_t g = 0; g < store_.n_groups(); ++g) {
        const auto seen = static_cast<std::int32_t>(store_.first_seen_page(g, s.n_swapped));
        const auto first = static_cast<std::size_t>(std::max(cached / compute::kPageTokens, seen));
        for (std::size_t p = first; p < s.slots[g].size(); ++p) {
            if (s.slots[g][p] < 0) return false;
        }
    }
    return true;
}

bool Batcher::swap_in(Seq& s, std::int32_t cached) {
    if (!store_.extend_computed(s.state, s.n_swapped)) return false;
    if (store_.spec().recurrent) {
        BLOOM_CHECK(store_.take_slot(s.state)); // there is one for each running sequence
        swap_->restore(store_.n_groups(), s.state_slot, s.state.slot);
    }
    for (std::size_t g = 0; g < store_.n_groups(); ++g) {
        for (auto p = static_cast<std::size_t>(cached / compute::kPageTokens);
             p < s.slots[g].size(); ++p) {
            const std::int32_t page = s.state.tables[g][p];
            if (page >= 0) swap_->restore(g, s.slots[g][p], page);
        }
    }
    return true;
}

void Batcher::drop_swap(Seq& s) noexcept {
    if (s.n_swapped == 0) return;
    for (std::size_t g = 0; g < s.slots.size(); ++g) {
        for (const std::int32_t slot : s.slots[g]) {
            if (slot >= 0) swap_->drop(g, slot);
        }
        s.slots[g].clear();
    }
    if (s.state_slot >= 0) swap_->drop(store_.n_groups(), s.state_slot);
    s.state_slot = -1;
    s.n_swapped = 0;
}

void Batcher::pause(SeqId id) {
    at(id).paused = true;
}

void Batcher::resume(SeqId id) {
    at(id).paused = false;
}

void Batcher::propose(SeqId id, std::span<const std::int32_t> draft) {
    BLOOM_CHECK(draft.size() <= kMaxDraft);
    Seq& s = at(id);
    std::ranges::copy(draft, s.draft.begin());
    s.n_draft = static_cast<std::int32_t>(draft.size());
    s.draft_fresh = true;
}

void Batcher::append(SeqId id, std::int32_t token) {
    Seq& s = at(id);
    s.tokens.push_back(token);
    if (s.draft_fresh || s.n_confirmed >= s.n_draft) return;
    if (s.draft[static_cast<std::size_t>(s.n_confirmed)] != token) {
        s.n_confirmed = s.n_draft; // what follows was computed after another token
        return;
    }
    ++s.n_confirmed;
    ++s.n_computed;
    ++n_accepted_;
    charge(s.key, 1);
}

bool Batcher::has_work() const noexcept {
    const auto active = [&](std::uint32_t s) { return !seqs_[s]->paused; };
    if (std::ranges::any_of(running_, active)) return true;
    return next_waiting() != compute::index_of(SeqId::none);
}

Batcher::Activity Batcher::activity() const noexcept {
    Activity out;
    for (const std::uint32_t seq : running_) {
        const Seq& s = *seqs_[seq];
        if (s.paused) continue;
        if (s.decoding()) out.streams.add_rows(s.n_computed, s.n_computed + 1, false);
        out.prompts |= s.prefilling();
    }
    return out;
}

} // namespace bloom::engine
