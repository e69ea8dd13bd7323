#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <bloom/engine/batcher.hpp>

#include "engine/guess_record.hpp"

namespace bloom::engine {

/// Guesses the next tokens of one sequence: what followed the last time that its end stood earlier
/// in prompt or output, the longest match of a few recent ones, two tokens at least. How much is
/// guessed follows from how often guesses came true.
/// Thread: one. Cost: a guess looks at kMaxLooks places; memory is 36 to 136 bytes per token.
class PromptLookup {
public:
    /// Guesses what follows `tokens`, which grow by append only from call to call. At most n_max
    /// (<= kMaxDraft), each token only where its chance of coming true is worth `least_chance`.
    /// Valid until the next call; empty where nothing matches.
    std::span<const std::int32_t> guess(std::span<const std::int32_t> tokens, std::int32_t n_max,
                                        double least_chance);

    /// Of the last guess, so many came true and, unless all did, the one after them did not.
    void learn(std::int32_t n_guessed, std::int32_t n_true) noexcept {
        record_.learn(n_guessed, n_true);
    }

    /// Chance that a guessed token comes true after those before it did.
    double chance() const noexcept { return record_.chance(); }

private:
    /// Where a pair of tokens was seen last: the position of its second token.
    struct Slot {
        std::uint64_t pair = 0;
        std::int32_t at = 0; ///< 0: empty; a pair ends at 1 at the earliest
    };

    void index(std::span<const std::int32_t> tokens);
    Slot& slot(std::uint64_t pair);
    void grow(std::size_t n_tokens);

    std::vector<Slot> slots_;
    std::vector<std::int32_t> before_; ///< [position] where the same pair ended before; 0: nowhere
    std::size_t n_indexed_ = 0;
    std::array<std::int32_t, kMaxDraft> draft_{};
    GuessRecord record_;
};

} // namespace bloom::engine
