#include "engine/prompt_lookup.hpp"

#include <algorithm>
#include <bit>

#include <bloom/base/check.hpp>

namespace bloom::engine {
namespace {

/// Earlier places looked at for the longest match, and how long a match is worth looking.
constexpr int kMaxLooks = 8;
constexpr std::int32_t kMaxMatch = 8;

std::uint64_t pair_of(std::int32_t a, std::int32_t b) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(a)} << 32 | static_cast<std::uint32_t>(b);
}

} // namespace

PromptLookup::Slot& PromptLookup::slot(std::uint64_t pair) {
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t z = pair * 0x9e3779b97f4a7c15U;
    z ^= z >> 29;
    std::size_t at = static_cast<std::size_t>(z * 0xbf58476d1ce4e5b9U >> 20) & mask;
    while (slots_[at].at != 0 && slots_[at].pair != pair)
        at = (at + 1) & mask;
    return slots_[at];
}

/// Makes room for n_tokens, and again as many, since they come one by one.
void PromptLookup::grow(std::size_t n_tokens) {
    std::vector<std::int32_t> before(2 * n_tokens, 0);
    std::ranges::copy(before_, before.begin());
    std::vector<Slot> old(std::bit_ceil(4 * n_tokens));
    before_.swap(before);
    old.swap(slots_);
    for (const Slot& s : old) {
        if (s.at != 0) slot(s.pair) = s;
    }
}

void PromptLookup::index(std::span<const std::int32_t> tokens) {
    if (tokens.size() > before_.size()) grow(tokens.size());
    for (std::size_t i = std::max<std::size_t>(n_indexed_, 1); i < tokens.size(); ++i) {
        const std::uint64_t pair = pair_of(tokens[i - 1], tokens[i]);
        Slot& s = slot(pair);
        before_[i] = s.at;
        s = {pair, static_cast<std::int32_t>(i)};
    }
    n_indexed_ = tokens.size();
}

std::span<const std::int32_t> PromptLookup::guess(std::span<const std::int32_t> tokens,
                                                  std::int32_t n_max, double least_chance) {
    index(tokens);
    const std::int32_t wanted = record_.wanted(n_max, least_chance);
    const auto n = static_cast<std::int32_t>(tokens.size());
    if (wanted == 0 || n < 3) return {};
    std::int32_t best = 0;
    std::int32_t best_length = 0;
    std::int32_t at = before_[static_cast<std::size_t>(n) - 1];
    for (int look = 0; at != 0 && look < kMaxLooks && best_length < kMaxMatch; ++look) {
        std::int32_t length = 2;
        while (length < kMaxMatch && at - length >= 0 &&
               tokens[static_cast<std::size_t>(at - length)] ==
                   tokens[static_cast<std::size_t>(n - 1 - length)]) {
            ++length;
        }
        if (length > best_length) {
            best = at;
            best_length = length;
        }
        at = before_[static_cast<std::size_t>(at)];
    }
    if (best_length == 0) return {};
    // Past the end of what is known the repetition goes on: the period is n - 1 - best.
    const std::int32_t period = n - 1 - best;
    for (std::int32_t i = 0; i < wanted; ++i) {
        draft_[static_cast<std::size_t>(i)] =
            tokens[static_cast<std::size_t>(best + 1 + i % period)];
    }
    return std::span(draft_).first(static_cast<std::size_t>(wanted));
}

} // namespace bloom::engine
