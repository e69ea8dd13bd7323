#pragma once

#include <cstdint>

namespace bloom::engine {

/// How often guesses of a sequence's next tokens came true, and how many are therefore worth
/// making. Thread: one.
class GuessRecord {
public:
    /// Tokens to guess now, at most n_max: each only where the chance that it and all before it
    /// come true is worth `least_chance`. A bad record is forgotten with time, so that it is tried
    /// again.
    std::int32_t wanted(std::int32_t n_max, double least_chance) noexcept;

    /// Of the last guess, so many came true and, unless all did, the one after them did not.
    void learn(std::int32_t n_guessed, std::int32_t n_true) noexcept;

    /// Chance that a guessed token comes true after those before it did.
    double chance() const noexcept { return chance_; }

private:
    double chance_ = 0.6;
};

} // namespace bloom::engine
