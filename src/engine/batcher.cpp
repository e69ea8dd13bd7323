#include <algorithm>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/engine/batcher.hpp>

namespace bloom::engine {
namespace {

/// Fair keys remembered besides the active ones, few enough to be looked through in every step;
/// beyond, those that had least are forgotten.
constexpr std::size_t kMaxKeys = 256;

std::int32_t length(const std::vector<std::int32_t>& tokens) noexcept {
    return static_cast<std::int32_t>(tokens.size());
}

} // namespace

Batcher::Batcher(const BatcherOptions& options, StateStore& store)
    : options_(options), store_(store) {
    BLOOM_CHECK(options.max_seqs > 0);
    BLOOM_CHECK(options.prefill_tokens >= kPrefillCut);
    BLOOM_CHECK(options.busy_prefill_tokens >= kPrefillCut);
}

// --- queue and keys ----------------------------------------------------------------------------

std::uint32_t Batcher::key_for(std::string_view name) {
    constexpr std::size_t kNone = SIZE_MAX;
    std::size_t known = kNone;
    std::size_t idle = kNone; // the one whose past matters least
    std::uint64_t lowest = UINT64_MAX;
    std::uint64_t highest = 0;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
        const Key& key = keys_[i];
        highest = std::max(highest, key.clock);
        if (key.n_seqs > 0) lowest = std::min(lowest, key.clock);
        if (key.name == name) {
            known = i;
        } else if (key.n_seqs == 0 && (idle == kNone || key.clock < keys_[idle].clock)) {
            idle = i;
        }
    }
    // Idle time earns nothing: a newcomer stands beside those that waited longest. When nobody is
    // left, all have had what they wanted and start as equals.
    const std::uint64_t start = lowest == UINT64_MAX ? highest : lowest;
    if (known == kNone) {
        known = idle;
        // Memory goes to those behind the start first: they lose nothing by being forgotten.
        if (idle == kNone || (keys_[idle].clock > start && keys_.size() < kMaxKeys)) {
            known = keys_.size();
            keys_.emplace_back();
        }
        keys_[known].name = name;
        keys_[known].clock = start;
        keys_[known].n_seqs = 0;
    }
    Key& key = keys_[known];
    // Coming back does not undo what was computed: otherwise whoever sends one request after the
    // other would always go before those that keep something waiting.
    if (key.n_seqs++ == 0) key.clock = std::max(key.clock, start);
    return static_cast<std::uint32_t>(known);
}

void Batcher::leave_key(std::uint32_t key) {
    BLOOM_CHECK(keys_[key].n_seqs > 0);
    --keys_[key].n_seqs;
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
        free_seqs_.push_back(static_cast<std::uint32_t>(seqs_.size()));
        seqs_.push_back(std::make_unique<Seq>());
    }
    const std::uint32_t seq = free_seqs_.back();
    free_seqs_.pop_back();
    SequenceState state = std::move(seqs_[seq]->state);
    *seqs_[seq] = Seq{};
    seqs_[seq]->state = std::move(state);
    seqs_[seq]->used = true;
    store_.init(seqs_[seq]->state);
    return seq;
}

Result<SeqId> Batcher::add(NewSequence seq) {
    BLOOM_CHECK(!seq.tokens.empty());
    BLOOM_CHECK(seq.n_slots >= 1 && seq.n_slots <= options_.max_seqs);
    if (n_waiting_ >= options_.max_waiting) {
        return Error{Code::limit_reached,
                     fmt::format("{} requests are waiting already", n_waiting_)};
    }
    if (length(seq.tokens) > store_.max_tokens()) {
        return Error{Code::too_large, fmt::format("{} tokens, the cache holds {}",
                                                  seq.tokens.size(), store_.max_tokens())};
    }
    const std::uint32_t id = new_seq();
    Seq& s = *seqs_[id];
    s.tokens = std::move(seq.tokens);
    s.scope = std::move(seq.cache_scope);
    s.priority = seq.priority;
    s.n_slots = seq.n_slots;
    s.arrival = next_arrival_++;
    s.key = key_for(seq.fair_key);
    enqueue(id);
    return static_cast<SeqId>(id);
}

SeqId Batcher::fork(SeqId parent_id, StateStore::CopyPage copy) {
    const std::uint32_t id = new_seq();
    Seq& parent = at(parent_id);
    Seq& s = *seqs_[id];
    BLOOM_CHECK(parent.running);
    BLOOM_CHECK(parent.n_slots > 1);
    s.tokens.reserve(parent.tokens.capacity());
    s.tokens = parent.tokens;
    s.scope = parent.scope;
    s.priority = parent.priority;
    s.started = true;
    s.arrival = next_arrival_++;
    s.key = parent.key;
    ++keys_[s.key].n_seqs;
    --parent.n_slots;
    if (store_.fork(parent.state, s.state, parent.n_computed, copy)) {
        s.n_computed = parent.n_computed;
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
    store_.release(s.state);
    s.n_computed = 0;
    s.available_at_refusal = -1;
    enqueue(seq);
    ++n_preemptions_;
}

void Batcher::pause(SeqId id) {
    at(id).paused = true;
}

void Batcher::resume(SeqId id) {
    at(id).paused = false;
}

void Batcher::append(SeqId id, std::int32_t token) {
    at(id).tokens.push_back(token);
}

bool Batcher::has_work() const noexcept {
    const auto active = [&](std::uint32_t s) { return !seqs_[s]->paused; };
    if (std::ranges::any_of(running_, active)) return true;
    return next_waiting() != compute::index_of(SeqId::none);
}

// --- steps -------------------------------------------------------------------------------------

bool Batcher::admit_one(std::uint32_t seq) {
    Seq& s = *seqs_[seq];
    if (slots_used_ + s.n_slots > options_.max_seqs) return false;
    const bool alone = running_.empty();
    if (!alone && store_.n_available() <= s.available_at_refusal) return false;
    const std::int32_t cached = store_.attach(s.state, s.scope, s.tokens);
    const auto spare = static_cast<std::int64_t>(running_.size()) + s.n_slots;
    if (!alone && !store_.has_room(s.state, length(s.tokens), spare)) {
        store_.release(s.state);
        s.available_at_refusal = store_.n_available();
        return false;
    }
    unqueue(seq);
    s.n_computed = cached;
    if (!s.started) s.cached = cached;
    s.started = true;
    s.running = true;
    slots_used_ += s.n_slots;
    running_.push_back(seq);
    return true;
}

void Batcher::admit() {
    for (;;) {
        const std::uint32_t seq = next_waiting();
        // Whoever is next stays next: smaller ones do not overtake, so nobody starves.
        if (seq == compute::index_of(SeqId::none)) return;
        if (!admit_one(seq) && !preempt_paused(seq)) return;
    }
}

bool Batcher::preempt_paused(std::uint32_t other_than) {
    for (std::size_t i = running_.size(); i-- > 0;) {
        const std::uint32_t seq = running_[i];
        if (!seqs_[seq]->paused || seq == other_than) continue;
        preempt(seq);
        return true;
    }
    return false;
}

bool Batcher::make_room(std::uint32_t seq, std::int64_t n_tokens, bool preempt_running) {
    while (!store_.ensure(seqs_[seq]->state, n_tokens)) {
        if (preempt_paused(seq)) continue;
        if (!preempt_running) return false;
        const auto latest = std::find_if(running_.rbegin(), running_.rend(),
                                         [&](std::uint32_t s) { return !seqs_[s]->in_step; });
        if (latest == running_.rend()) return false;
        const std::uint32_t victim = *latest;
        preempt(victim);
        if (victim == seq) return false;
    }
    return true;
}

void Batcher::add_item(std::uint32_t seq, std::int32_t begin, std::int32_t end) {
    Seq& s = *seqs_[seq];
    s.in_step = true;
    const bool last = end == length(s.tokens);
    const auto logit_row = static_cast<std::int32_t>(step_.logit_rows.size());
    step_.items.push_back({static_cast<SeqId>(seq), begin, end, last ? logit_row : -1, s.cached});
    s.cached = -1;
    const auto row_seq = static_cast<std::int32_t>(step_.items.size() - 1);
    for (std::int32_t p = begin; p < end; ++p) {
        step_.tokens.push_back(s.tokens[static_cast<std::size_t>(p)]);
        step_.positions.push_back(p);
        step_.row_seq.push_back(row_seq);
    }
    if (last) step_.logit_rows.push_back(static_cast<std::int32_t>(step_.tokens.size() - 1));
    if (end - begin > 1) step_.phase = compute::Phase::prefill;
}

void Batcher::schedule_decodes() {
    scratch_ = running_; // preemption changes the original
    for (const std::uint32_t seq : scratch_) {
        const Seq& s = *seqs_[seq];
        if (!s.running || s.paused || length(s.tokens) - s.n_computed != 1) continue;
        if (make_room(seq, length(s.tokens), true)) {
            add_item(seq, s.n_computed, s.n_computed + 1);
        }
    }
}

bool Batcher::schedule_chunk(std::uint32_t seq, std::int32_t& budget) {
    const Seq& s = *seqs_[seq];
    std::int32_t end = std::min(length(s.tokens), s.n_computed + budget);
    if (end < length(s.tokens)) end = end / kPrefillCut * kPrefillCut;
    if (end <= s.n_computed) return true; // the budget is used up, not the memory
    if (!make_room(seq, end, false)) return false;
    budget -= end - s.n_computed;
    add_item(seq, s.n_computed, end);
    return true;
}

void Batcher::schedule_prefills() {
    order_.clear();
    for (const std::uint32_t seq : running_) {
        const Seq& s = *seqs_[seq];
        if (!s.paused && !s.in_step && s.n_computed < length(s.tokens)) order_.push_back(seq);
    }
    std::ranges::sort(order_, [&](std::uint32_t a, std::uint32_t b) {
        const std::uint64_t clock_a = keys_[seqs_[a]->key].clock;
        const std::uint64_t clock_b = keys_[seqs_[b]->key].clock;
        return clock_a != clock_b ? clock_a < clock_b : seqs_[a]->arrival < seqs_[b]->arrival;
    });
    std::int32_t budget = step_.empty() ? options_.prefill_tokens : options_.busy_prefill_tokens;
    stalled_ = false;
    for (const std::uint32_t seq : order_) {
        if (!schedule_chunk(seq, budget)) stalled_ = true;
    }
    if (!step_.empty() || !stalled_) return;
    // Prompts hold all pages and none can go on: the latest admitted make way for the first.
    std::uint32_t first = compute::index_of(SeqId::none);
    for (const std::uint32_t seq : running_) {
        if (!seqs_[seq]->paused) {
            first = seq;
            break;
        }
    }
    BLOOM_CHECK(first != compute::index_of(SeqId::none));
    budget = kPrefillCut; // what room is made for, and no more
    const std::int32_t end =
        std::min(length(seqs_[first]->tokens), seqs_[first]->n_computed + budget);
    if (make_room(first, end, true)) static_cast<void>(schedule_chunk(first, budget));
}

const Batcher::Step& Batcher::schedule() {
    step_.phase = compute::Phase::decode;
    step_.items.clear();
    step_.tokens.clear();
    step_.positions.clear();
    step_.row_seq.clear();
    step_.logit_rows.clear();
    step_.tables.clear();
    for (const std::uint32_t seq : running_)
        seqs_[seq]->in_step = false;
    // A second look when the first only sent sequences back to the queue, or met an old stall.
    for (int pass = 0; pass < 2 && step_.empty(); ++pass) {
        if (pass > 0) stalled_ = false;
        schedule_decodes();
        if (!stalled_) admit();
        schedule_prefills();
    }
    // Only now: making room moves tables.
    for (const Item& item : step_.items) {
        for (const auto& table : at(item.seq).state.tables)
            step_.tables.emplace_back(table);
    }
    return step_;
}

void Batcher::complete() {
    for (const Item& item : step_.items) {
        Seq& s = at(item.seq);
        BLOOM_CHECK(s.used);
        BLOOM_CHECK(s.n_computed == item.begin);
        s.n_computed = item.end;
        keys_[s.key].clock += static_cast<std::uint64_t>(item.end - item.begin);
        store_.publish(s.state, s.scope, s.tokens, s.n_computed);
        store_.drop_behind_window(s.state, s.n_computed);
    }
}

} // namespace bloom::engine
