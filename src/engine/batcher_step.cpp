#include <algorithm>
#include <new>

#include <bloom/base/check.hpp>
#include <bloom/engine/batcher.hpp>

/// Which tokens make up a step: admission, room, drafts, and how much prompts get.
namespace bloom::engine {
namespace {

/// Prompts that the bound seems to leave no room for get one cut after so many steps at first: what
/// was learnt may be wrong, and only a cut can tell. The wait doubles each time that the bound was
/// passed indeed, up to a hundredth of the steps.
constexpr std::int32_t kMinWaitSteps = 4;
constexpr std::int32_t kMaxWaitSteps = 100;
/// Or after so many times the bound, where steps are long: slow progress is better than none.
constexpr std::int64_t kMaxWaitBounds = 10;

std::int32_t length(const std::vector<std::int32_t>& tokens) noexcept {
    return static_cast<std::int32_t>(tokens.size());
}

} // namespace

std::int32_t Batcher::attach(Seq& s, StateStore::Resume resume) {
    return store_.attach(s.state, s.scope, s.tokens, resume);
}

/// Gives a preempted sequence back what was saved of it, or leaves it with nothing.
Batcher::Return Batcher::come_back(Seq& s, std::int64_t spare) {
    const std::int32_t cached = attach(s, StateStore::Resume::pages);
    const bool whole = can_swap_in(s, cached);
    s.short_group = running_.empty() ? StateStore::kNoGroup
                                     : store_.short_group(s.state, length(s.tokens), spare);
    if (!whole || s.short_group != StateStore::kNoGroup || !swap_in(s, cached)) {
        if (s.short_group != StateStore::kNoGroup)
            s.available_at_refusal = store_.n_available(s.short_group);
        store_.release(s.state);
        return whole ? Return::no_room : Return::recompute;
    }
    s.n_computed = s.n_swapped;
    s.n_in_state = s.n_swapped;
    ++n_swapped_in_;
    return Return::restored;
}

/// Gives a sequence what is cached of it. False when there is no room for the rest; then it holds
/// nothing.
bool Batcher::start(Seq& s, std::int64_t spare) {
    const std::int32_t cached = attach(s, StateStore::Resume::computing);
    s.short_group = running_.empty() ? StateStore::kNoGroup
                                     : store_.short_group(s.state, length(s.tokens), spare);
    if (s.short_group != StateStore::kNoGroup) {
        s.available_at_refusal = store_.n_available(s.short_group);
        store_.release(s.state);
        return false;
    }
    s.n_computed = cached;
    if (!s.reported) s.cached = cached;
    if (!store_.spec().recurrent) return true;
    BLOOM_CHECK(store_.take_slot(s.state)); // there is one for each running sequence
    if (cached > 0) states_->copy_state(s.state.resume_from, s.state.slot);
    s.n_in_state = cached;
    s.snapshot_at = cached;
    return true;
}

bool Batcher::admit_one(std::uint32_t seq) {
    Seq& s = *seqs_[seq];
    if (slots_used_ + s.n_slots > options_.max_seqs) return false;
    const bool alone = running_.empty();
    if (!alone && s.short_group != StateStore::kNoGroup &&
        store_.n_available(s.short_group) <= s.available_at_refusal) {
        return false;
    }
    const auto spare = static_cast<std::int64_t>(running_.size()) + s.n_slots;
    Return back = Return::recompute;
    if (s.n_swapped > 0) back = come_back(s, spare);
    if (back == Return::no_room && !alone) return false;
    if (back != Return::restored && !start(s, spare)) return false;
    drop_swap(s);
    unqueue(seq);
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
        bool admitted = false;
        try {
            admitted = admit_one(seq);
        } catch (const std::bad_alloc&) {
            store_.release(seqs_[seq]->state); // waiting sequences hold nothing
            throw;
        }
        if (!admitted && !preempt_paused(seq)) return;
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

void Batcher::add_item(std::uint32_t seq, std::int32_t begin, std::int32_t end,
                       std::int32_t n_draft) {
    Seq& s = *seqs_[seq];
    s.in_step = true;
    const bool last = end == length(s.tokens);
    const auto row = static_cast<std::int32_t>(step_.tokens.size());
    const auto logit_row = static_cast<std::int32_t>(step_.logit_rows.size());
    const auto row_seq = static_cast<std::int32_t>(step_.items.size());
    step_.items.push_back({static_cast<SeqId>(seq), begin, end + n_draft, row,
                           last ? logit_row : -1, last ? 1 + n_draft : 0, s.cached});
    s.cached = -1;
    s.reported = true;
    for (std::int32_t p = begin; p < end + n_draft; ++p) {
        step_.tokens.push_back(p < end ? s.tokens[static_cast<std::size_t>(p)]
                                       : s.draft[static_cast<std::size_t>(p - end)]);
        step_.positions.push_back(p);
        step_.row_seq.push_back(row_seq);
    }
    const auto end_row = static_cast<std::int32_t>(step_.tokens.size());
    for (std::int32_t r = end_row - 1 - n_draft; last && r < end_row; ++r)
        step_.logit_rows.push_back(r);
    if (store_.spec().recurrent) give_state(s, begin, end);
    if (end + n_draft - begin > 1) step_.phase = compute::Phase::prefill;
}

// --- recurrent states --------------------------------------------------------------------------

/// What the step does with the state: tokens [begin, end) are certain, guesses follow.
void Batcher::give_state(Seq& s, std::int32_t begin, std::int32_t end) {
    compute::RecurrentInput in;
    in.slot = s.state.slot;
    in.fresh = begin == 0;
    in.n_confirmed = begin - s.n_in_state;
    in.n_certain = end - begin;
    BLOOM_CHECK(in.n_confirmed >= 0);
    BLOOM_CHECK(in.n_confirmed <= compute::kMaxPendingRows);
    if (const std::int32_t at = snapshot_end(s, begin, end); at > begin) {
        const bool of_answer = at > s.n_prompt;
        in.snapshot_slot = store_.reserve_snapshot(of_answer ? s.answer_snapshot : Snapshot{});
        if (in.snapshot_slot >= 0) in.snapshot_rows = at - begin;
    }
    step_.recurrent.push_back(in);
}

bool Batcher::takes_snapshots(const Seq& s) const noexcept {
    return store_.spec().recurrent && store_.caches() && !s.scope.empty();
}

/// Where in the answer the next snapshot belongs, not before `end`. There is none where streams
/// would drive out the snapshots of prompts.
std::int32_t Batcher::snapshot_due(const Seq& s, std::int32_t end) const noexcept {
    if (!takes_snapshots(s) || 2 * n_running() > store_.slots().n_snapshots()) return INT32_MAX;
    const std::int32_t least = std::max(s.snapshot_at + kAnswerStride, end);
    return (least + kPrefillCut - 1) / kPrefillCut * kPrefillCut;
}

/// After which token of [begin, end) a snapshot should be taken; -1: none.
std::int32_t Batcher::snapshot_end(const Seq& s, std::int32_t begin,
                                   std::int32_t end) const noexcept {
    if (!takes_snapshots(s)) return -1;
    const std::int32_t turn = (s.n_prompt - kPromptOpening) / kPrefillCut * kPrefillCut;
    for (const std::int32_t at : {turn, s.state.n_known}) {
        if (begin < at && at <= end) return at;
    }
    if (begin >= turn) {
        const std::int32_t due = snapshot_due(s, begin + 1);
        return due <= end ? due : -1;
    }
    // Long prompts take no more than a share of the snapshots for themselves.
    const std::int32_t most = store_.slots().n_snapshots() / 4;
    if (most == 0) return -1;
    const std::int32_t n_strides = turn / kPromptStride;
    const std::int32_t stride = kPromptStride * std::max((n_strides + most - 1) / most, 1);
    return end / stride * stride > begin ? end / stride * stride : -1;
}

void Batcher::keep_snapshot(Seq& s, std::int32_t begin, compute::RecurrentInput& in) noexcept {
    if (in.snapshot_slot < 0) return;
    s.snapshot_at = begin + in.snapshot_rows;
    const Snapshot kept = store_.keep_snapshot(s.state, s.snapshot_at, in.snapshot_slot);
    in.snapshot_slot = -1; // not the step's any more
    if (s.snapshot_at > s.n_prompt) s.answer_snapshot = kept;
}

void Batcher::schedule_decodes() {
    scratch_.assign(running_.begin(), running_.end()); // preemption changes the original
    for (const std::uint32_t seq : scratch_) {
        Seq& s = *seqs_[seq];
        if (!s.running || s.paused || !s.decoding()) continue;
        const std::int32_t end = length(s.tokens);
        // Nor do guesses step over the place of a snapshot: it needs a certain row there.
        if (s.draft_fresh && s.n_draft > 0) {
            const std::int32_t due = snapshot_due(s, end);
            if (due > end) s.n_draft = std::min(s.n_draft, due - 1 - end);
        }
        // Nobody is preempted for a guess.
        if (!s.draft_fresh || !store_.ensure(s.state, end + s.n_draft)) s.n_draft = 0;
        s.draft_fresh = false;
        s.n_confirmed = 0;
        if (!make_room(seq, end, true)) continue;
        add_item(seq, end - 1, end, s.n_draft);
        load_.add_rows(end - 1, end + s.n_draft, false);
        n_drafted_ += s.n_draft;
    }
}

/// Where a chunk has to end so that the step keeps to the bound; its beginning when even one cut is
/// too much.
std::int32_t Batcher::affordable_end(const Seq& s, std::int32_t end) {
    const std::int32_t first_cut =
        std::min(length(s.tokens), (s.n_computed / kPrefillCut + 1) * kPrefillCut);
    while (end > s.n_computed) {
        StepLoad with = load_;
        with.add_rows(s.n_computed, end, true);
        if (cost_.cautious_us(with) <= static_cast<double>(options_.inter_token_us)) return end;
        if (end <= first_cut && overdue_) {
            tried_ = true;
            return end;
        }
        end = (end - 1) / kPrefillCut * kPrefillCut;
    }
    return s.n_computed;
}

bool Batcher::schedule_chunk(std::uint32_t seq, std::int32_t& budget) {
    Seq& s = *seqs_[seq];
    std::int32_t end = std::min(length(s.tokens), s.n_computed + budget);
    if (end < length(s.tokens)) end = end / kPrefillCut * kPrefillCut;
    if (timed_) end = affordable_end(s, end);
    if (end <= s.n_computed) return true; // the budget is used up, not the memory
    if (!make_room(seq, end, false)) return false;
    overdue_ = false;
    budget -= end - s.n_computed;
    load_.add_rows(s.n_computed, end, true);
    s.n_draft = 0;
    add_item(seq, s.n_computed, end, 0);
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
    const bool busy = !step_.empty();
    const auto n_rows = static_cast<std::int32_t>(step_.tokens.size());
    timed_ = busy && options_.inter_token_us > 0 && cost_.ready();
    overdue_ = waited_steps_ >= std::max(patience_, kMinWaitSteps) ||
               (waited_us_ > 0 && waited_us_ >= kMaxWaitBounds * options_.inter_token_us);
    std::int32_t budget = options_.prefill_tokens;
    if (busy) {
        // Streams and prompts together stay within what a step may have.
        budget = timed_ ? std::max(options_.prefill_tokens - n_rows, kPrefillCut)
                        : options_.busy_prefill_tokens;
    }
    stalled_ = false;
    for (const std::uint32_t seq : order_) {
        if (!schedule_chunk(seq, budget)) stalled_ = true;
    }
    deferred_ = timed_ && !order_.empty() && load_.prefill_rows == 0 && !stalled_;
    if (!deferred_) {
        waited_us_ = 0;
        waited_steps_ = 0;
    }
    if (step_.empty() && stalled_) make_way_for_the_first();
}

/// Prompts hold all pages and none can go on: the latest admitted make way for the first.
void Batcher::make_way_for_the_first() {
    const auto first =
        std::ranges::find_if(running_, [&](std::uint32_t seq) { return !seqs_[seq]->paused; });
    BLOOM_CHECK(first != running_.end());
    const std::uint32_t seq = *first;
    std::int32_t budget = kPrefillCut; // what room is made for, and no more
    const std::int32_t end = std::min(length(seqs_[seq]->tokens), seqs_[seq]->n_computed + budget);
    if (make_room(seq, end, true)) static_cast<void>(schedule_chunk(seq, budget));
}

const Batcher::Step& Batcher::schedule() {
    step_.phase = compute::Phase::decode;
    step_.items.clear();
    step_.tokens.clear();
    step_.positions.clear();
    step_.row_seq.clear();
    step_.logit_rows.clear();
    step_.tables.clear();
    if (in_flight_) { // it never was completed
        for (const compute::RecurrentInput& in : step_.recurrent) {
            if (in.snapshot_slot >= 0) store_.drop_snapshot(in.snapshot_slot);
        }
    }
    step_.recurrent.clear();
    in_flight_ = true;
    load_ = {};
    deferred_ = false;
    tried_ = false;
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
    std::int64_t n_tokens = 0;
    for (std::size_t i = 0; i < step_.items.size(); ++i) {
        const Item& item = step_.items[i];
        Seq& s = at(item.seq);
        BLOOM_CHECK(s.used);
        BLOOM_CHECK(s.n_computed == item.begin);
        const std::int32_t end = item.end - std::max(item.n_logits - 1, 0); // drafts may be wrong
        s.n_computed = end;
        n_tokens += end - item.begin;
        charge(s.key, end - item.begin);
        store_.publish(s.state, s.scope, s.tokens, s.n_computed);
        if (!step_.recurrent.empty()) {
            s.n_in_state = end;
            keep_snapshot(s, item.begin, step_.recurrent[i]);
        }
        store_.drop_behind_window(s.state, s.n_computed);
    }
    in_flight_ = false;
    advance_virtual_time(n_tokens);
    if (deferred_) ++waited_steps_;
}

void Batcher::observe(std::int64_t elapsed_us) {
    if (step_.empty()) return;
    cost_.observe(load_, elapsed_us);
    if (deferred_) waited_us_ += elapsed_us;
    if (!tried_) return;
    tried_ = false;
    const bool too_long = elapsed_us > options_.inter_token_us;
    patience_ = too_long ? std::min(2 * std::max(patience_, kMinWaitSteps), kMaxWaitSteps) : 0;
}

} // namespace bloom::engine
