#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/backend.hpp>
#include <bloom/engine/arch.hpp>

namespace bloom::test {

inline std::uint64_t chain(std::uint64_t before, std::int32_t token) {
    std::uint64_t z = before * 0x9e3779b97f4a7c15U + static_cast<std::uint32_t>(token) + 1;
    return (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9U;
}

/// A backend whose "model" is a hash of all tokens so far. Keys and values of a token are that hash
/// and the token, a recurrent state is the hash of what it has taken in, a kept row is the hash of
/// its token. It fails the test when a sequence reads pages, a state or rows that are not its own.
/// The text it writes mostly repeats itself; every eighth token depends on all before it. Its draft
/// head is right four times of five.
class FakeBackend final : public compute::Backend {
public:
    struct Slot {
        std::uint64_t hash = 0;
        std::uint64_t draft = 0; ///< what the head stored: the hash of the pair
        std::int32_t token = -1;
        std::int32_t next = -1; ///< the head's token
    };

    explicit FakeBackend(engine::StateSpec spec, std::int32_t vocab)
        : spec_(std::move(spec)), vocab_(vocab) {}

    std::string_view name() const noexcept override { return "fake"; }

    Result<compute::WeightId> upload_matrix(const kernels::SourceMatrix&) override {
        return none();
    }

    Result<compute::WeightId> upload_experts(std::span<const kernels::SourceMatrix>) override {
        return none();
    }

    Result<compute::WeightId> upload_vector(std::span<const float>) override { return none(); }

    Result<compute::RopeId> add_rope(compute::RopeSpec) override {
        return Error{Code::unsupported, "no model"};
    }

    Result<compute::KvPoolId> allocate_kv(const compute::KvGroupSpec& spec,
                                          std::int64_t n_pages) override {
        EXPECT_GE(compute::page_bytes(spec), std::int64_t{sizeof(Slot)} * kPage);
        pools_.emplace_back(static_cast<std::size_t>(n_pages * kPage));
        return static_cast<compute::KvPoolId>(pools_.size() - 1);
    }

    void copy_page(compute::KvPoolId pool, std::int32_t from, std::int32_t to) override {
        std::copy_n(&slot(index_of(pool), from, 0), kPage, &slot(index_of(pool), to, 0));
    }

    void read_page(compute::KvPoolId pool, std::int32_t page, std::span<std::byte> out) override {
        std::memcpy(out.data(), &slot(index_of(pool), page, 0), kPage * sizeof(Slot));
    }

    void write_page(compute::KvPoolId pool, std::int32_t page,
                    std::span<const std::byte> in) override {
        std::memcpy(&slot(index_of(pool), page, 0), in.data(), kPage * sizeof(Slot));
    }

    Result<> allocate_states(const compute::RecurrentSpec&, std::int64_t n) override {
        states_.resize(static_cast<std::size_t>(n));
        return {};
    }

    void settle_state(std::int32_t at, std::int32_t n_confirmed) override {
        State& s = state(at);
        ASSERT_LE(static_cast<std::size_t>(n_confirmed), s.pending.size());
        for (std::int32_t i = 0; i < n_confirmed; ++i)
            s.hash = chain(s.hash, s.pending[static_cast<std::size_t>(i)]);
        s.pending.clear();
    }

    void copy_state(std::int32_t from, std::int32_t to) override {
        EXPECT_TRUE(state(from).pending.empty()) << "not settled";
        state(to) = state(from);
    }

    void read_state(std::int32_t at, std::span<std::byte> out) override {
        EXPECT_TRUE(state(at).pending.empty()) << "not settled";
        std::memcpy(out.data(), &state(at).hash, sizeof(std::uint64_t));
    }

    void write_state(std::int32_t at, std::span<const std::byte> in) override {
        state(at).pending.clear();
        std::memcpy(&state(at).hash, in.data(), sizeof(std::uint64_t));
    }

    Result<compute::CompiledId> compile(const compute::Plan& plan) override {
        bool head = false;
        for (const compute::Op& op : plan.ops())
            head |= std::holds_alternative<compute::CarriedRowsOp>(op.body);
        is_head_.push_back(head);
        return static_cast<compute::CompiledId>(is_head_.size() - 1);
    }

    Result<> run(compute::CompiledId plan, const compute::StepInputs& in) override {
        hashes_.resize(in.tokens.size());
        latest_.resize(in.tokens.size());
        if (is_head_[compute::index_of(plan)]) {
            run_head(in);
        } else {
            run_model(in);
        }
        logits_.clear();
        for (const std::int32_t r : in.logit_rows)
            write_logits(static_cast<std::size_t>(r));
        return {};
    }

    void sample(std::span<const std::int32_t> rows, std::int32_t n_valid,
                std::span<std::int32_t> out) override {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto logits = read_logits(rows[i]).first(static_cast<std::size_t>(n_valid));
            out[i] = static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
        }
    }

    std::span<const float> read_logits(std::int32_t row) override {
        const auto n = static_cast<std::size_t>(vocab_);
        return std::span(logits_).subspan(static_cast<std::size_t>(row) * n, n);
    }

    compute::BackendMemory memory() const noexcept override { return {}; }

    std::int64_t n_head_rows() const noexcept { return n_head_rows_; }

    /// Entries of the head that a row has seen and that are not those of verified tokens.
    std::int64_t n_stale() const noexcept { return n_stale_; }

private:
    static constexpr std::int32_t kPage = compute::kPageTokens;
    using Last = std::array<std::int32_t, 4>; ///< tokens that the text follows from

    struct State {
        std::uint64_t hash = 0xdead;
        std::vector<std::int32_t> pending;
    };

    static Error none() { return Error{Code::unsupported, "no model"}; }

    State& state(std::int32_t at) { return states_.at(static_cast<std::size_t>(at)); }

    Slot& slot(std::size_t pool, std::int32_t page, std::int32_t at) {
        return pools_[pool].at(static_cast<std::size_t>(page * kPage + at));
    }

    Slot* find(const compute::StepInputs& in, std::size_t seq, std::size_t pool, std::int32_t p) {
        const auto& table = in.tables[seq * pools_.size() + pool];
        const std::int32_t page = table[static_cast<std::size_t>(p / kPage)];
        return page < 0 ? nullptr : &slot(pool, page, p % kPage);
    }

    void run_model(const compute::StepInputs& in) {
        EXPECT_EQ(in.recurrent.size(), spec_.recurrent ? static_cast<std::size_t>(in.n_seqs) : 0);
        for (std::size_t r = 0; r < in.tokens.size(); ++r) {
            const auto s = static_cast<std::size_t>(in.row_seq[r]);
            const std::int32_t p = in.positions[r];
            const bool first = r == 0 || in.row_seq[r - 1] != in.row_seq[r];
            if (!first) EXPECT_EQ(p, in.positions[r - 1] + 1);
            const std::uint64_t before = p == 0 ? 0 : find(in, s, 0, p - 1)->hash;
            hashes_[r] = chain(before, in.tokens[r]);
            for (std::size_t g = 0; g < pools_.size(); ++g) {
                Slot* const own = find(in, s, g, p);
                ASSERT_NE(own, nullptr);
                own->hash = hashes_[r];
                own->token = in.tokens[r];
                check_visible(in, s, g, p, first);
            }
            for (std::int32_t i = 0; i < 4; ++i)
                latest_[r][static_cast<std::size_t>(i)] =
                    p - i < 0 ? -1 : find(in, s, 0, p - i)->token;
            if (first && spec_.recurrent) run_state(in, s, r, before);
        }
        carried_ = hashes_;
        carries_model_ = true;
    }

    /// What the first row of a sequence can see; the others see the row before as well.
    void check_visible(const compute::StepInputs& in, std::size_t s, std::size_t g, std::int32_t p,
                       bool first) {
        const std::int32_t window = spec_.groups[g].window;
        const std::int32_t seen = window == 0 ? 0 : std::max(p - window + 1, 0);
        const Slot* last = nullptr;
        for (std::int32_t i = first ? seen : std::max(seen, p - 1); i <= p; ++i) {
            const Slot* const at = find(in, s, g, i);
            if (at == nullptr || (last != nullptr && at->hash != chain(last->hash, at->token))) {
                ADD_FAILURE() << "position " << i << " of row at " << p << ", group " << g;
                return;
            }
            last = at;
        }
    }

    void run_state(const compute::StepInputs& in, std::size_t s, std::size_t r,
                   std::uint64_t before) {
        const compute::RecurrentInput& input = in.recurrent[s];
        if (input.fresh) state(input.slot) = {0, {}};
        settle_state(input.slot, input.n_confirmed);
        State& own = state(input.slot);
        EXPECT_EQ(own.hash, before) << "not this sequence's state";
        for (std::int32_t i = 0;
             r < in.tokens.size() && in.row_seq[r] == static_cast<std::int32_t>(s); ++r, ++i) {
            if (i >= input.n_certain) {
                own.pending.push_back(in.tokens[r]);
                continue;
            }
            own.hash = chain(own.hash, in.tokens[r]);
            if (input.snapshot_slot >= 0 && i + 1 == input.snapshot_rows)
                state(input.snapshot_slot) = {own.hash, {}};
        }
        EXPECT_LE(own.pending.size(), static_cast<std::size_t>(compute::kMaxPendingRows));
    }

    void run_head(const compute::StepInputs& in) {
        std::vector<const Slot*> written;
        n_head_rows_ += static_cast<std::int64_t>(in.tokens.size());
        for (std::size_t r = 0; r < in.tokens.size(); ++r) {
            const auto s = static_cast<std::size_t>(in.row_seq[r]);
            const std::int32_t p = in.positions[r];
            const std::uint64_t f = carried_.at(static_cast<std::size_t>(in.carry_rows[r]));
            Slot* const own = find(in, s, 0, p);
            ASSERT_NE(own, nullptr);
            EXPECT_EQ(std::ranges::count(written, own), 0) << "written by two sequences";
            written.push_back(own);
            hashes_[r] = chain(f, in.tokens[r]);
            own->draft = hashes_[r];
            own->next = in.tokens[r];
            if (carries_model_) EXPECT_EQ(f, own->hash) << "another row's hidden state";
            if (carries_model_ && (r == 0 || in.row_seq[r - 1] != in.row_seq[r])) {
                for (std::int32_t i = 0; i < p; ++i) {
                    const Slot* const at = find(in, s, 0, i);
                    n_stale_ += at->draft != chain(at->hash, find(in, s, 0, i + 1)->token);
                }
            }
            latest_[r][0] = in.tokens[r];
            for (std::int32_t i = 1; i < 4; ++i)
                latest_[r][static_cast<std::size_t>(i)] =
                    p - i < 0 ? -1 : find(in, s, 0, p - i)->next;
        }
        carried_ = hashes_;
        carries_model_ = false;
        for (std::size_t r = 0; r < in.tokens.size(); ++r) {
            if (hashes_[r] % 5 == 0) latest_[r][0] ^= 1; // a guess that will not come true
        }
    }

    void write_logits(std::size_t r) {
        std::uint64_t key = hashes_[r];
        if (key % 8 != 0) {
            key = 1;
            for (const std::int32_t t : latest_[r])
                key = chain(key, t);
        }
        const std::size_t at = logits_.size();
        logits_.resize(at + static_cast<std::size_t>(vocab_), -50.0F);
        for (int c = 0; c < 26; ++c)
            logits_[at + 'a' + static_cast<std::size_t>(c)] =
                static_cast<float>(chain(key, c) >> 40) * 0x1p-22F;
        logits_[at + 'a' + static_cast<std::size_t>((key >> 20) % 4)] += 4;
    }

    engine::StateSpec spec_;
    std::int32_t vocab_;
    std::vector<std::vector<Slot>> pools_;
    std::vector<State> states_;
    std::vector<bool> is_head_;
    std::vector<std::uint64_t> hashes_;
    std::vector<Last> latest_;
    std::vector<std::uint64_t> carried_;
    bool carries_model_ = false;
    std::vector<float> logits_;
    std::int64_t n_head_rows_ = 0;
    std::int64_t n_stale_ = 0;
};

/// The graph of a FakeBackend's model.
class FakeGraph final : public engine::Graph {
public:
    FakeGraph(engine::StateSpec state, std::int64_t vocab, bool has_head)
        : state_(std::move(state)), vocab_(vocab), has_head_(has_head) {}

    const engine::StateSpec& state() const noexcept override { return state_; }

    std::int64_t vocab_rows() const noexcept override { return vocab_; }

    compute::Plan plan(const compute::PlanKey& key) const override {
        compute::Plan plan(key);
        if (has_head_) plan.add(compute::KeepRowsOp{plan.tensor(1)});
        return plan;
    }

    bool has_draft_head() const noexcept override { return has_head_; }

    compute::Plan draft_plan(const compute::PlanKey& key) const override {
        compute::Plan plan(key);
        const auto row = plan.tensor(1);
        plan.add(compute::CarriedRowsOp{row});
        plan.add(compute::KeepRowsOp{row});
        return plan;
    }

    const engine::WeightTraffic& traffic() const noexcept override { return traffic_; }

    std::int64_t macs_per_token() const noexcept override { return 1; }

private:
    engine::StateSpec state_;
    std::int64_t vocab_;
    bool has_head_;
    engine::WeightTraffic traffic_;
};

} // namespace bloom::test
