#include "engine/guess_record.hpp"

#include <algorithm>

#include <bloom/base/check.hpp>

namespace bloom::engine {
namespace {

/// Weight of the newest guess, and how fast a bad record is forgotten while nothing is guessed, so
/// that text which has begun to repeat itself is found: half of it in 70 tokens.
constexpr double kNewest = 0.2;
constexpr double kForget = 0.01;
constexpr double kUnknown = 0.6;

} // namespace

std::int32_t GuessRecord::wanted(std::int32_t n_max, double least_chance) noexcept {
    chance_ += kForget * std::max(kUnknown - chance_, 0.0);
    std::int32_t n = 0;
    for (double p = chance_; n < n_max && p > least_chance; p *= chance_)
        ++n;
    return n;
}

void GuessRecord::learn(std::int32_t n_guessed, std::int32_t n_true) noexcept {
    BLOOM_CHECK(n_true <= n_guessed);
    if (n_guessed == 0) return;
    const double seen = n_true == n_guessed ? 1.0 : n_true / (n_true + 1.0);
    chance_ += kNewest * (seen - chance_);
}

} // namespace bloom::engine
