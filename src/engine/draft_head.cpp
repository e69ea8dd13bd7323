#include "engine/draft_head.hpp"

#include <algorithm>
#include <numeric>

#include <bloom/base/check.hpp>

namespace bloom::engine {

DraftHead::DraftHead(const Graph& graph, compute::Backend& backend, Batcher& batcher,
                     std::size_t n_groups, std::int64_t n_pages)
    : backend_(backend), batcher_(batcher), plans_(graph, backend, PlanCache::Which::draft_head),
      n_groups_(n_groups), claims_(static_cast<std::size_t>(n_pages)) {}

void DraftHead::clear() {
    tokens_.clear();
    positions_.clear();
    row_seq_.clear();
    logit_rows_.clear();
    carried_.clear();
    tables_.clear();
    active_.clear();
    n_seqs_ = 0;
}

void DraftHead::add_row(std::int32_t token, std::int32_t position, std::int32_t seq,
                        std::int32_t carried) {
    tokens_.push_back(token);
    positions_.push_back(position);
    row_seq_.push_back(seq);
    carried_.push_back(carried);
}

void DraftHead::add_tables(SeqId seq) {
    for (const auto& table : batcher_.tables(seq))
        tables_.emplace_back(table);
    ++n_seqs_;
}

/// Whether a sequence may write to the page of a position in this step.
bool DraftHead::claim(SeqId seq, std::int32_t position, std::uint32_t claimant) {
    const auto at = static_cast<std::size_t>(position / compute::kPageTokens);
    const std::int32_t page = batcher_.tables(seq)[0][at];
    if (page < 0) return false; // behind a window: there is no place for it, and nobody looks
    Claim& claim = claims_[static_cast<std::size_t>(page)];
    if (claim.step != n_steps_) claim = {n_steps_, claimant};
    return claim.claimant == claimant;
}

/// The rows of one sequence that count, each with the token that follows it.
void DraftHead::add_pairs(const Batcher::Step& step, const Follower& follower) {
    const Batcher::Item& item = step.items[follower.item];
    const std::span<const std::int32_t> tokens = batcher_.tokens(item.seq);
    const std::int32_t end = batcher_.n_computed(item.seq);
    BLOOM_CHECK(end <= item.end);
    BLOOM_CHECK(end < static_cast<std::int32_t>(tokens.size()));
    const auto first = tokens_.size();
    for (std::int32_t p = item.begin; p < end; ++p) {
        if (!claim(item.seq, p, static_cast<std::uint32_t>(follower.item))) continue;
        add_row(tokens[static_cast<std::size_t>(p) + 1], p, n_seqs_, item.row + p - item.begin);
    }
    if (tokens_.size() == first) return; // another sequence of the step does what there is
    add_tables(item.seq);
    if (follower.n_wanted == 0 || positions_.back() != end - 1) return;
    Chain chain;
    chain.seq = item.seq;
    chain.n_wanted = follower.n_wanted;
    chain.row = static_cast<std::int32_t>(tokens_.size()) - 1;
    active_.push_back(chains_.size());
    logit_rows_.push_back(chain.row);
    chains_.push_back(chain);
}

Result<> DraftHead::run(compute::Phase phase) {
    BLOOM_TRY(const compute::CompiledId plan,
              plans_.get(phase, tokens_.size(), logit_rows_.size()));
    compute::StepInputs in;
    in.tokens = tokens_;
    in.positions = positions_;
    in.row_seq = row_seq_;
    in.logit_rows = logit_rows_;
    in.n_seqs = n_seqs_;
    in.n_pools = static_cast<std::int32_t>(n_groups_);
    in.tables = tables_;
    in.carry_rows = carried_;
    return backend_.run(plan, in);
}

/// The likeliest token of every chain in the last run.
void DraftHead::take_guesses(std::int32_t n_valid) {
    sample_rows_.resize(active_.size());
    sampled_.resize(active_.size());
    std::iota(sample_rows_.begin(), sample_rows_.end(), 0);
    backend_.sample(sample_rows_, n_valid, sampled_);
    for (std::size_t i = 0; i < active_.size(); ++i) {
        Chain& chain = chains_[active_[i]];
        chain.draft[static_cast<std::size_t>(chain.n++)] = sampled_[i];
    }
}

Result<> DraftHead::follow(const Batcher::Step& step, std::span<const Follower> followers,
                           std::int32_t n_valid, PossibleGuesses possible) {
    clear();
    chains_.clear();
    ++n_steps_;
    for (const Follower& follower : followers)
        add_pairs(step, follower);
    if (tokens_.empty()) return {};
    const bool single = static_cast<std::size_t>(n_seqs_) == tokens_.size();
    BLOOM_OK(run(single ? compute::Phase::decode : compute::Phase::prefill));
    if (!chains_.empty()) take_guesses(n_valid);
    while (!active_.empty()) {
        clear();
        for (std::size_t c = 0; c < chains_.size(); ++c) {
            Chain& chain = chains_[c];
            // Nobody makes way for a guess.
            if (chain.n == chain.n_wanted || !batcher_.has_place(chain.seq, chain.n)) continue;
            const std::int32_t at = batcher_.n_computed(chain.seq) + chain.n - 1;
            add_row(chain.draft[static_cast<std::size_t>(chain.n) - 1], at, n_seqs_, chain.row);
            chain.row = static_cast<std::int32_t>(tokens_.size()) - 1;
            logit_rows_.push_back(chain.row);
            active_.push_back(c);
            add_tables(chain.seq);
        }
        if (active_.empty()) break;
        BLOOM_OK(run(compute::Phase::decode));
        take_guesses(n_valid);
    }
    for (const Chain& chain : chains_) {
        const auto guess = std::span(chain.draft).first(static_cast<std::size_t>(chain.n));
        batcher_.propose(chain.seq, guess.first(possible(chain.seq, guess)));
    }
    return {};
}

} // namespace bloom::engine
