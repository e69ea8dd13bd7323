#include "engine/budget.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace bloom::engine {
namespace {

/// More pages than this serve nobody: 16 million tokens.
constexpr std::int64_t kMaxPages = std::int64_t{1} << 20;
constexpr std::int64_t kPage = compute::kPageTokens;
/// They are looked through for the oldest; more would not be found useful either.
constexpr std::int64_t kMaxSnapshots = 1024;
/// The end of one prompt and that of the beginning that it shares with others.
constexpr std::int64_t kLeastSnapshots = 2;

/// Pages that one sequence can hold in a group with a window: the window before the last cut, what
/// follows it up to the end of a step, partial pages around.
std::int64_t window_pages(const compute::KvGroupSpec& group, std::int64_t prefill_tokens) noexcept {
    return (group.window + prefill_tokens + 2 * kPrefillCut) / kPage + 2;
}

} // namespace

SlotCounts divide_states(const StateSpec& spec, EngineOptions& options) {
    if (!spec.recurrent) return {};
    const std::int64_t one = compute::state_bytes(*spec.recurrent);
    const std::int64_t budget = options.kv_budget_bytes;
    const bool automatic = options.state_cache_bytes == kAutomaticBytes;
    std::int64_t n_snapshots = automatic
                                   ? std::max(budget / 4 / one, kLeastSnapshots)
                                   : std::max<std::int64_t>(options.state_cache_bytes, 0) / one;
    n_snapshots = options.cache_prefixes ? std::min(n_snapshots, kMaxSnapshots) : 0;
    options.max_seqs = static_cast<std::int32_t>(
        std::clamp<std::int64_t>(budget / 4 / one, kMaxChoices, options.max_seqs));
    const std::int64_t taken = options.max_seqs + (automatic ? n_snapshots : 0);
    options.kv_budget_bytes = std::max(budget - taken * one, budget / 2);
    return {options.max_seqs, static_cast<std::int32_t>(n_snapshots)};
}

Result<std::vector<std::int64_t>> divide_budget(const StateSpec& spec,
                                                const EngineOptions& options) {
    const std::int64_t budget = options.kv_budget_bytes;
    std::int64_t full_page = 0;  // one page in every group without a window
    std::int64_t one_window = 0; // what one sequence fills in all others
    for (const compute::KvGroupSpec& g : spec.groups) {
        const std::int64_t page = compute::page_bytes(g);
        (g.window > 0 ? one_window : full_page) +=
            g.window > 0 ? window_pages(g, options.prefill_tokens) * page : page;
    }
    constexpr std::int64_t kLeastPages = 2 * kPrefillCut / kPage;
    const std::int64_t least = one_window + kLeastPages * full_page;
    if (budget < least) {
        return Error{Code::invalid_argument,
                     fmt::format("a cache of {} bytes holds no sequence of this model; give it {} "
                                 "or more",
                                 budget, least)};
    }
    const std::int64_t half = full_page == 0 ? budget : budget / 2;
    const std::int64_t windowed =
        std::min({one_window * options.max_seqs, std::max(half, one_window),
                  budget - kLeastPages * full_page});
    std::vector<std::int64_t> pages(spec.groups.size(), 0);
    std::int64_t left = budget;
    for (std::size_t i = 0; i < spec.groups.size(); ++i) {
        const compute::KvGroupSpec& g = spec.groups[i];
        if (g.window == 0) continue;
        // All windowed groups hold the same number of sequences, whatever their pages are like.
        const double share = static_cast<double>(windowed) / static_cast<double>(one_window);
        const std::int64_t one = window_pages(g, options.prefill_tokens);
        pages[i] = std::min(static_cast<std::int64_t>(static_cast<double>(one) * share), kMaxPages);
        left -= pages[i] * compute::page_bytes(g);
    }
    for (std::size_t i = 0; i < spec.groups.size(); ++i) {
        if (spec.groups[i].window == 0) pages[i] = std::min(left / full_page, kMaxPages);
    }
    return pages;
}

} // namespace bloom::engine
