#include <algorithm>
#include <new>

#include "engine/engine_impl.hpp"

/// Guesses of the next tokens: how many are worth their rows, and where they come from.
namespace bloom::engine {
namespace {

/// Rows of a step with guesses, of all sequences together: what one sequence may verify.
constexpr std::int32_t kVerifyRows = kMaxDraft + 1;

/// A guess less likely than this is not worth a row even where rows cost nothing.
constexpr double kLeastChance = 0.15;

/// Steps without guesses after which they are made as if rows cost nothing.
constexpr std::int32_t kProbeSteps = 32;

/// A step with guesses brings several tokens at once: they stay well below what the reader can
/// take.
constexpr std::int64_t kDraftCredit = 4096;

} // namespace

/// Guesses are made as long as the step stays as light as the widest that one stream may have:
/// beyond, rows cost what they save.
EngineImpl::GuessRules EngineImpl::guess_rules() {
    const Batcher::Activity now = batcher_.activity();
    const std::int32_t n_streams = now.streams.decode_rows;
    if (!options_.speculate || now.prompts || n_streams == 0 || n_streams > kVerifyRows / 2)
        return {};
    GuessRules rules{kVerifyRows / n_streams - 1, kLeastChance};
    // A guess that comes true saves one stream's part of a step and costs one row, and the head's
    // work where that makes it: steps are measured with it.
    const CostModel& cost = batcher_.cost();
    // What rows cost is learnt only where there are some, so now and then they are taken for free.
    n_unguessed_ = std::min(n_unguessed_ + 1, kProbeSteps);
    const bool probe = n_unguessed_ == kProbeSteps;
    if (const double step_us = cost.predict_us(now.streams);
        !probe && cost.knows_streams() && step_us > 0) {
        rules.least_chance =
            std::max(rules.least_chance, cost.decode_row_us() * n_streams / step_us);
    }
    return rules;
}

/// What of `most` guesses a choice can use.
std::int32_t EngineImpl::room_for_guesses(const Request& request, const Choice& choice,
                                          std::int32_t most) const {
    if (request.ended || request.credit < kDraftCredit) return 0;
    if (choice.seq == SeqId::none || !batcher_.decodes(choice.seq)) return 0;
    return std::min(most, choice.max_new - choice.n_generated - 1);
}

/// How many of the guesses the choice's grammar allows, from the first on.
std::size_t EngineImpl::count_possible(Choice& choice, std::span<const std::int32_t> guess) {
    if (!choice.matcher) return guess.size();
    static_assert(kMaxDraft <= text::GrammarMatcher::kMaxRollback);
    std::size_t n = 0;
    while (n < guess.size() && !prompts_.tokenizer()->is_stop(guess[n]) &&
           choice.matcher->accept(guess[n])) {
        ++n;
    }
    choice.matcher->rollback(static_cast<std::int32_t>(n));
    return n;
}

/// Guesses from text seen before, for models without a head of their own.
void EngineImpl::propose_drafts() {
    if (head_) return;
    const GuessRules rules = guess_rules();
    if (rules.most == 0) return;
    for (const auto& request : requests_) {
        for (const auto& choice : request->choices) {
            const std::int32_t room = room_for_guesses(*request, *choice, rules.most);
            if (room <= 0) continue;
            std::span<const std::int32_t> guess; // memory that is missing for it costs no answer
            try {
                guess =
                    choice->lookup.guess(batcher_.tokens(choice->seq), room, rules.least_chance);
                guess = guess.first(count_possible(*choice, guess));
            } catch (const std::bad_alloc&) {
            }
            if (!guess.empty()) n_unguessed_ = 0;
            batcher_.propose(choice->seq, guess);
        }
    }
}

/// Shows the head what the step has come to, and lets it guess.
Result<> EngineImpl::follow_with_head(const Batcher::Step& step) {
    if (!head_) return {};
    const GuessRules rules = guess_rules();
    followers_.clear();
    for (std::size_t i = 0; i < step.items.size(); ++i) {
        const Owner at = owner(step.items[i].seq);
        if (at.choice == nullptr || at.choice->seq != step.items[i].seq) continue; // it has ended
        DraftHead::Follower follower{i, 0};
        if (const std::int32_t room = room_for_guesses(*at.request, *at.choice, rules.most);
            room > 0) {
            follower.n_wanted = at.choice->head_record.wanted(room, rules.least_chance);
        }
        if (follower.n_wanted > 0) n_unguessed_ = 0;
        followers_.push_back(follower);
    }
    const auto possible = [&](SeqId seq, std::span<const std::int32_t> guess) {
        return count_possible(*owner(seq).choice, guess);
    };
    return head_->follow(step, followers_, info_.n_tokens, possible);
}

} // namespace bloom::engine
