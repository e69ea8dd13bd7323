#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <bloom/base/function_ref.hpp>
#include <bloom/base/result.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/engine/arch.hpp>
#include <bloom/engine/batcher.hpp>

#include "engine/plan_cache.hpp"

namespace bloom::engine {

/// A model's own head for guessing further tokens (multi-token prediction), kept in step with the
/// model: after every step it sees the rows that count, each with the token that turned out to
/// follow, so that its keys and values are those of verified rows only; from the last row of a
/// sequence it guesses, and from its own guess further. What it writes for guesses lies behind what
/// counts and is written again.
///
/// Pages of the head are pages of the model: whoever shares a prefix shares them too. The entry of
/// the last token before a shared prefix ends was made with the first owner's next token, and that
/// of a token whose sequence ended with it is missing. Such entries make guesses worse and change
/// no token.
/// Thread: the engine's. No allocation in steady state.
class DraftHead {
public:
    /// All outlive the head. n_pages: of the model's first page group.
    DraftHead(const Graph& graph, compute::Backend& backend, Batcher& batcher, std::size_t n_groups,
              std::int64_t n_pages);

    /// A sequence of the step that goes on, and how many guesses of it are wanted.
    struct Follower {
        std::size_t item = 0; ///< in Batcher::Step::items
        std::int32_t n_wanted = 0;
    };

    /// How many of the guesses, from the first on, the sequence may be computed with.
    using PossibleGuesses = FunctionRef<std::size_t(SeqId, std::span<const std::int32_t>)>;

    /// To be called when the step is complete and its tokens have been appended, in the order of
    /// items. Proposes what it guessed, as far as possible, to the batcher. Errors: those of the
    /// backend.
    Result<> follow(const Batcher::Step& step, std::span<const Follower> followers,
                    std::int32_t n_valid, PossibleGuesses possible);

private:
    /// A sequence that is being guessed for.
    struct Chain {
        SeqId seq = SeqId::none;
        std::int32_t row = -1; ///< its latest row in the last run
        std::int32_t n_wanted = 0;
        std::int32_t n = 0;
        std::array<std::int32_t, kMaxDraft> draft{};
    };

    void add_pairs(const Batcher::Step& step, const Follower& follower);
    bool claim(SeqId seq, std::int32_t position, std::uint32_t claimant);
    void add_row(std::int32_t token, std::int32_t position, std::int32_t seq, std::int32_t carried);
    void add_tables(SeqId seq);
    void clear();
    Result<> run(compute::Phase phase);
    void take_guesses(std::int32_t n_valid);

    compute::Backend& backend_;
    Batcher& batcher_;
    PlanCache plans_;
    std::size_t n_groups_;

    /// Which step and sequence last wrote to a page: sequences of one step that share pages would
    /// write to them side by side.
    struct Claim {
        std::uint32_t step = 0;
        std::uint32_t claimant = 0;
    };

    std::vector<Claim> claims_; ///< [page of the first group]
    std::uint32_t n_steps_ = 0;

    std::vector<std::int32_t> tokens_, positions_, row_seq_, logit_rows_, carried_;
    std::vector<compute::PageTable> tables_;
    std::int32_t n_seqs_ = 0;
    std::vector<Chain> chains_;
    std::vector<std::size_t> active_; ///< chains by logit row
    std::vector<std::int32_t> sample_rows_, sampled_;
};

} // namespace bloom::engine
