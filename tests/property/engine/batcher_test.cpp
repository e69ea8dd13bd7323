#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/engine/batcher.hpp>

namespace bloom::engine {
namespace {

std::uint64_t seed_from_environment() {
    const char* text = std::getenv("DARKBLOOM_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 20'260'101;
}

std::uint64_t chain(std::uint64_t before, std::int32_t token) {
    std::uint64_t z = before * 0x9e3779b97f4a7c15U + static_cast<std::uint32_t>(token) + 1;
    return (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9U;
}

std::uint64_t hash_prefix(std::span<const std::int32_t> tokens) {
    std::uint64_t h = 0;
    for (const std::int32_t t : tokens)
        h = chain(h, t);
    return h;
}

/// The "model": what comes after a prefix. Few values, so that prefixes of requests meet again.
std::int32_t next_token(std::uint64_t h) {
    return static_cast<std::int32_t>(h >> 60);
}

/// What a backend keeps in the slot of a recurrent state.
struct FakeState {
    std::uint64_t hash = 0xdead; ///< of all tokens it has taken in
    std::vector<std::int32_t> pending;
};

/// Stands in for a backend: a page slot holds the hash of everything up to its token, a recurrent
/// state the hash of everything it has seen. Running a row checks that every slot its attention
/// would read is exactly what this sequence wrote or shares, and that the state is its own.
class FakeMemory final : public PageMover, public StateMover {
public:
    FakeMemory(const StateSpec& spec, const std::vector<std::int64_t>& pages, int n_states)
        : spec_(spec), states_(static_cast<std::size_t>(n_states)) {
        for (const std::int64_t n : pages)
            slots_.emplace_back(static_cast<std::size_t>(n * compute::kPageTokens), 0);
    }

    void settle_state(std::int32_t slot, std::int32_t n_confirmed) override {
        FakeState& s = state(slot);
        ASSERT_LE(static_cast<std::size_t>(n_confirmed), s.pending.size());
        for (std::int32_t i = 0; i < n_confirmed; ++i)
            s.hash = chain(s.hash, s.pending[static_cast<std::size_t>(i)]);
        s.pending.clear();
    }

    void copy_state(std::int32_t from, std::int32_t to) override {
        EXPECT_TRUE(state(from).pending.empty()) << "not settled";
        EXPECT_NE(from, to);
        state(to) = state(from);
    }

    void save(std::size_t group, std::int32_t page, std::int32_t at) override {
        if (group == spec_.groups.size()) {
            EXPECT_TRUE(state(page).pending.empty()) << "not settled";
            saved_states_[at] = state(page);
            return;
        }
        auto& saved = saved_[{group, at}]; // of a sequence that has gone, perhaps
        saved.clear();
        for (std::int32_t i = 0; i < compute::kPageTokens; ++i)
            saved.push_back(slot(group, page, i));
    }

    void restore(std::size_t group, std::int32_t at, std::int32_t page) override {
        if (group == spec_.groups.size()) {
            state(page) = saved_states_.at(at);
            return;
        }
        const auto& saved = saved_.at({group, at});
        for (std::int32_t i = 0; i < compute::kPageTokens; ++i)
            slot(group, page, i) = saved[static_cast<std::size_t>(i)];
    }

    void copy_page(std::size_t group, std::int32_t from, std::int32_t to) {
        for (std::int32_t i = 0; i < compute::kPageTokens; ++i)
            slot(group, to, i) = slot(group, from, i);
    }

    /// Returns the hash at each wanted logit row.
    std::vector<std::uint64_t> run(const Batcher::Step& step, const Batcher& batcher) {
        const std::size_t n_groups = spec_.groups.size();
        std::vector<std::uint64_t> by_row(step.tokens.size());
        EXPECT_EQ(step.recurrent.size(), spec_.recurrent ? step.items.size() : 0);
        for (std::size_t i = 0; i < step.recurrent.size(); ++i)
            run_state(step, step.items[i], step.recurrent[i], batcher.tokens(step.items[i].seq));
        for (std::size_t r = 0; r < step.tokens.size(); ++r) {
            const auto s = static_cast<std::size_t>(step.row_seq[r]);
            const Batcher::Item& item = step.items[s];
            const auto committed = batcher.tokens(item.seq);
            const std::int32_t p = step.positions[r];
            if (static_cast<std::size_t>(p) < committed.size())
                EXPECT_EQ(step.tokens[r], committed[static_cast<std::size_t>(p)]);
            std::vector<std::int32_t> tokens(committed.begin(), committed.end());
            for (auto q = static_cast<std::int32_t>(tokens.size()); q < item.end; ++q)
                tokens.push_back(step.tokens[static_cast<std::size_t>(item.row + q - item.begin)]);
            std::uint64_t h = 0;
            for (std::int32_t i = 0; i <= p; ++i) {
                h = chain(h, tokens[static_cast<std::size_t>(i)]);
                for (std::size_t g = 0; g < n_groups; ++g) {
                    const std::int32_t window = spec_.groups[g].window;
                    if (window > 0 && i <= p - window) continue;
                    const auto& table = step.tables[s * n_groups + g];
                    const std::int32_t page = table[static_cast<std::size_t>(i / 16)];
                    EXPECT_GE(page, 0) << "a page that is still seen was given up";
                    if (page < 0) continue;
                    if (i == p) slot(g, page, i % 16) = h;
                    EXPECT_EQ(slot(g, page, i % 16), h) << "position " << i << " of row at " << p;
                }
            }
            by_row[r] = h;
        }
        std::vector<std::uint64_t> out;
        for (const std::int32_t r : step.logit_rows)
            out.push_back(by_row[static_cast<std::size_t>(r)]);
        return out;
    }

    int n_snapshots() const { return n_snapshots_; }

private:
    void run_state(const Batcher::Step& step, const Batcher::Item& item,
                   const compute::RecurrentInput& in, std::span<const std::int32_t> committed) {
        if (in.fresh) {
            EXPECT_EQ(item.begin, 0);
            state(in.slot) = {0, {}};
        }
        settle_state(in.slot, in.n_confirmed);
        FakeState& s = state(in.slot);
        EXPECT_EQ(s.hash, hash_prefix(committed.first(static_cast<std::size_t>(item.begin))))
            << "the state of somebody else, at " << item.begin;
        const std::int32_t n_rows = item.end - item.begin;
        EXPECT_EQ(in.n_certain, n_rows - std::max(item.n_logits - 1, 0));
        EXPECT_LE(n_rows - in.n_certain, compute::kMaxPendingRows);
        EXPECT_EQ(in.snapshot_rows > 0, in.snapshot_slot >= 0);
        EXPECT_LE(in.snapshot_rows, in.n_certain);
        for (std::int32_t r = 0; r < n_rows; ++r) {
            const std::int32_t token = step.tokens[static_cast<std::size_t>(item.row + r)];
            if (r >= in.n_certain) {
                s.pending.push_back(token);
                continue;
            }
            s.hash = chain(s.hash, token);
            if (in.snapshot_slot < 0 || r + 1 != in.snapshot_rows) continue;
            EXPECT_EQ((item.begin + r + 1) % kPrefillCut, 0);
            EXPECT_NE(in.snapshot_slot, in.slot);
            state(in.snapshot_slot) = {s.hash, {}};
            ++n_snapshots_;
        }
    }

    FakeState& state(std::int32_t slot) { return states_.at(static_cast<std::size_t>(slot)); }

    std::uint64_t& slot(std::size_t g, std::int32_t page, std::int32_t i) {
        return slots_[g][static_cast<std::size_t>(page * compute::kPageTokens + i)];
    }

    StateSpec spec_;
    std::vector<FakeState> states_;
    int n_snapshots_ = 0;
    std::map<std::int32_t, FakeState> saved_states_;
    std::vector<std::vector<std::uint64_t>> slots_;
    std::map<std::pair<std::size_t, std::int32_t>, std::vector<std::uint64_t>> saved_;
};

struct Want {
    std::vector<std::int32_t> prompt;
    std::int32_t n_new;
    std::int32_t n_choices;
    std::vector<SeqId> seqs;
    std::vector<bool> paused;
};

class World {
public:
    enum class Kind : std::uint8_t { full, windowed, recurrent };

    World(std::uint64_t seed, Kind kind) : rng_(seed) {
        spec_.groups.push_back({1, 1, 8, 8, 0, kernels::KvType::f16});
        if (kind == Kind::windowed) spec_.groups.push_back({1, 1, 8, 8, 40, kernels::KvType::f16});
        if (kind == Kind::recurrent) spec_.recurrent = compute::RecurrentSpec{1, 1, 1, 16, 16, 4};
        const std::int64_t pages = 24 + static_cast<std::int64_t>(rng_.below(40));
        n_pages_.assign(spec_.groups.size(), pages);
        const bool caches = rng_.below(4) != 0;
        options_.max_seqs = 2 + static_cast<std::int32_t>(rng_.below(6));
        SlotCounts states;
        if (spec_.recurrent)
            states = {options_.max_seqs, static_cast<std::int32_t>(rng_.below(12))};
        store_ = std::make_unique<StateStore>(spec_, n_pages_, caches, states);
        options_.max_waiting = 30;
        options_.prefill_tokens = 64 + static_cast<std::int32_t>(rng_.below(200));
        options_.busy_prefill_tokens = 64 + static_cast<std::int32_t>(rng_.below(64));
        options_.inter_token_us = rng_.below(2) == 0 ? 0 : 2000;
        memory_ =
            std::make_unique<FakeMemory>(spec_, n_pages_, states.n_sequences + states.n_snapshots);
        std::vector<std::int64_t> slots(
            n_pages_.size(), rng_.below(3) == 0 ? 0 : static_cast<std::int64_t>(rng_.below(60)));
        if (spec_.recurrent) slots.push_back(static_cast<std::int64_t>(rng_.below(4)));
        swap_ = std::make_unique<SwapSpace>(slots, memory_.get());
        batcher_ = std::make_unique<Batcher>(options_, *store_, swap_.get(), memory_.get());
    }

    void run(int n_arrivals) {
        int idle = 0;
        while ((n_arrivals > 0 || !wants_.empty()) && idle < 2000) {
            if (n_arrivals > 0 && rng_.below(3) == 0) {
                arrive();
                --n_arrivals;
            }
            disturb();
            idle = step() ? 0 : idle + 1;
            if (testing::Test::HasFailure()) return;
            if (n_arrivals == 0 && idle > 3) resume_all();
        }
        EXPECT_TRUE(wants_.empty()) << wants_.size() << " requests never ended";
        EXPECT_EQ(batcher_->n_running(), 0);
        EXPECT_EQ(batcher_->n_waiting(), 0);
        EXPECT_EQ(batcher_->free_slots(), options_.max_seqs);
        EXPECT_EQ(swap_->n_used(), 0);
        EXPECT_EQ(store_->n_available(), n_pages_[0]);
        EXPECT_EQ(store_->slots().n_free(), store_->slots().n_sequences()) << "slots leaked";
        store_->drop_cache();
        EXPECT_EQ(store_->slots().n_kept(), 0);
        for (std::int32_t i = 0; i < store_->slots().n_snapshots(); ++i)
            EXPECT_GE(store_->reserve_snapshot(), 0) << "a snapshot slot leaked";
        EXPECT_EQ(store_->n_free(), store_->n_pages()) << "pages leaked";
        EXPECT_GT(finished_, 0);
    }

    const Batcher& batcher() const { return *batcher_; }

    int n_snapshots() const { return memory_->n_snapshots(); }

    std::int64_t n_cached() const { return n_cached_; }

private:
    void arrive() {
        Want w;
        const std::int64_t most = store_->max_tokens();
        // Prompts start alike, so that prefixes are shared.
        const auto n =
            1 + static_cast<std::int32_t>(rng_.below(static_cast<std::uint64_t>(most - 1)));
        const std::int32_t family = static_cast<std::int32_t>(rng_.below(3));
        for (std::int32_t i = 0; i < n; ++i)
            w.prompt.push_back(i < 70 ? family : static_cast<std::int32_t>(rng_.below(16)));
        w.n_new = 1 + static_cast<std::int32_t>(rng_.below(
                          static_cast<std::uint64_t>(std::min<std::int64_t>(most - n, 60)) + 1));
        w.n_new = std::min(w.n_new, static_cast<std::int32_t>(most) - n + 1);
        w.n_choices = 1 + static_cast<std::int32_t>(rng_.below(2));
        Batcher::NewSequence s;
        s.tokens = w.prompt;
        s.fair_key = std::to_string(rng_.below(3));
        s.cache_scope = rng_.below(5) == 0 ? "" : std::to_string(rng_.below(2));
        s.priority = static_cast<std::int32_t>(rng_.below(2));
        s.n_slots = w.n_choices;
        const auto id = batcher_->add(std::move(s));
        if (!id) {
            EXPECT_EQ(id.error().code(), Code::limit_reached);
            return;
        }
        w.seqs.push_back(*id);
        w.paused.push_back(false);
        wants_.push_back(std::move(w));
    }

    void disturb() {
        if (wants_.empty()) return;
        Want& w = wants_[rng_.below(wants_.size())];
        const std::size_t i = rng_.below(w.seqs.size());
        if (rng_.below(40) == 0) { // cancel the whole request
            for (const SeqId s : w.seqs) {
                if (s != SeqId::none) batcher_->remove(s);
            }
            wants_.erase(wants_.begin() + (&w - wants_.data()));
        } else if (w.seqs[i] != SeqId::none && rng_.below(6) == 0) {
            w.paused[i] = !w.paused[i];
            w.paused[i] ? batcher_->pause(w.seqs[i]) : batcher_->resume(w.seqs[i]);
        }
    }

    void resume_all() {
        for (Want& w : wants_) {
            for (std::size_t i = 0; i < w.seqs.size(); ++i) {
                w.paused[i] = false;
                if (w.seqs[i] != SeqId::none) batcher_->resume(w.seqs[i]);
            }
        }
    }

    /// Guesses for some of those that decode; some of them true for a while.
    void propose() {
        for (const Want& w : wants_) {
            for (const SeqId seq : w.seqs) {
                if (seq == SeqId::none || !batcher_->decodes(seq) || rng_.below(2) == 0) continue;
                std::vector<std::int32_t> draft;
                std::uint64_t h = hash_prefix(batcher_->tokens(seq));
                const std::uint64_t n = 1 + rng_.below(kMaxDraft);
                for (std::uint64_t i = 0; i < n; ++i) {
                    const std::int32_t t = next_token(h);
                    draft.push_back(rng_.below(4) == 0 ? (t + 1) % 16 : t);
                    h = chain(h, t);
                }
                batcher_->propose(seq, draft);
            }
        }
    }

    bool step() {
        propose();
        const Batcher::Step& step = batcher_->schedule();
        check_budget(step);
        if (step.empty()) return false;
        const std::vector<std::uint64_t> hashes = memory_->run(step, *batcher_);
        batcher_->complete();
        const std::vector<Batcher::Item> items = step.items;
        batcher_->observe(
            static_cast<std::int64_t>(200 + 20 * step.tokens.size() + rng_.below(100)));
        for (const Batcher::Item& item : items) {
            n_cached_ += std::max(item.cached, 0);
            for (std::int32_t i = 0; i < item.n_logits; ++i) {
                if (!advance(item.seq, hashes[static_cast<std::size_t>(item.logit_row + i)])) break;
                // What was drawn has to be what was guessed for the next row to count.
                const auto guessed = static_cast<std::size_t>(item.row + i + 1);
                if (i + 1 < item.n_logits &&
                    step.tokens[guessed] != batcher_->tokens(item.seq).back()) {
                    break;
                }
            }
        }
        return true;
    }

    void check_budget(const Batcher::Step& step) {
        std::int32_t prefill = 0;
        for (const Batcher::Item& item : step.items) {
            const std::int32_t n = item.end - item.begin;
            const bool tail = item.logit_row >= 0;
            EXPECT_TRUE(tail || item.end % kPrefillCut == 0) << "cut at " << item.end;
            EXPECT_EQ(step.phase == compute::Phase::decode && n > 1, false);
            prefill += n == item.n_logits ? 0 : n;
        }
        EXPECT_LE(prefill, std::max(options_.busy_prefill_tokens, options_.prefill_tokens));
        EXPECT_LE(step.items.size(), static_cast<std::size_t>(options_.max_seqs));
        EXPECT_EQ(step.items.empty() && batcher_->has_work(), false)
            << "nothing chosen although something could run";
    }

    /// False when the sequence has ended.
    bool advance(SeqId seq, std::uint64_t hash) {
        const auto at = std::ranges::find_if(
            wants_, [&](const Want& w) { return std::ranges::find(w.seqs, seq) != w.seqs.end(); });
        EXPECT_NE(at, wants_.end());
        if (at == wants_.end()) return false;
        Want& w = *at;
        if (static_cast<std::int32_t>(w.seqs.size()) < w.n_choices) {
            const auto copy = [&](std::size_t g, std::int32_t from, std::int32_t to) {
                memory_->copy_page(g, from, to);
            };
            while (static_cast<std::int32_t>(w.seqs.size()) < w.n_choices) {
                w.seqs.push_back(batcher_->fork(seq, copy));
                w.paused.push_back(false);
            }
            for (std::size_t i = 1; i < w.seqs.size(); ++i)
                token(w, i, chain(hash, static_cast<std::int32_t>(i)));
        }
        const auto i = static_cast<std::size_t>(std::ranges::find(w.seqs, seq) - w.seqs.begin());
        token(w, i, hash);
        const bool goes_on = w.seqs[i] != SeqId::none;
        if (std::ranges::all_of(w.seqs, [](SeqId s) { return s == SeqId::none; })) {
            ++finished_;
            wants_.erase(at);
        }
        return goes_on;
    }

    void token(Want& w, std::size_t i, std::uint64_t hash) {
        const auto tokens = batcher_->tokens(w.seqs[i]);
        const auto n_new = static_cast<std::int32_t>(tokens.size() - w.prompt.size());
        if (n_new + 1 < w.n_new) {
            batcher_->append(w.seqs[i], next_token(hash));
            return;
        }
        // The end: everything must be what this request gives when it is alone.
        std::vector<std::int32_t> alone = w.prompt;
        for (std::int32_t k = 0; k < n_new; ++k) {
            std::uint64_t h = hash_prefix(alone);
            if (k == 0 && i > 0) h = chain(h, static_cast<std::int32_t>(i));
            alone.push_back(next_token(h));
        }
        EXPECT_TRUE(std::ranges::equal(tokens, alone));
        batcher_->remove(w.seqs[i]);
        w.seqs[i] = SeqId::none;
    }

    Rng rng_;
    StateSpec spec_;
    std::vector<std::int64_t> n_pages_;
    BatcherOptions options_;
    std::unique_ptr<StateStore> store_;
    std::unique_ptr<FakeMemory> memory_;
    std::unique_ptr<SwapSpace> swap_;
    std::unique_ptr<Batcher> batcher_;
    std::vector<Want> wants_;
    int finished_ = 0;
    std::int64_t n_cached_ = 0;
};

TEST(BatcherProperty, EverySequenceGetsWhatItGetsAlone) {
    const std::uint64_t seed = seed_from_environment();
    std::int64_t preemptions = 0;
    std::int64_t swapped_in = 0;
    std::int64_t accepted = 0;
    int snapshots = 0;
    std::int64_t resumed = 0;
    constexpr std::array kKinds = {World::Kind::full, World::Kind::recurrent,
                                   World::Kind::windowed};
    for (std::uint64_t i = 0; i < 60; ++i) {
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + " world " + std::to_string(i));
        const World::Kind kind = kKinds[i % kKinds.size()];
        World world(seed + i, kind);
        world.run(40);
        snapshots += world.n_snapshots();
        resumed += kind == World::Kind::recurrent ? world.n_cached() : 0;
        preemptions += world.batcher().n_preemptions();
        swapped_in += world.batcher().n_swapped_in();
        accepted += world.batcher().n_accepted();
        if (HasFailure()) return;
    }
    EXPECT_GT(preemptions, 50) << "the worlds are too roomy to test preemption";
    EXPECT_GT(swapped_in, 20) << "nothing came back from the swap space";
    EXPECT_GT(accepted, 1000) << "no guess came true";
    EXPECT_GT(snapshots, 200) << "no snapshots were taken";
    EXPECT_GT(resumed, 1000) << "no sequence started from a snapshot";
}

} // namespace
} // namespace bloom::engine
