#include <algorithm>

#include <bloom/engine/state_costs.hpp>

namespace bloom::engine {
namespace {

constexpr std::int64_t kPage = compute::kPageTokens;

} // namespace

std::int64_t window_pages(const compute::KvGroupSpec& group, std::int64_t prefill_tokens) noexcept {
    // The window before the last cut, what follows it up to the step's end, partial pages around.
    return (group.window + prefill_tokens + 2 * kPrefillCut) / kPage + 2;
}

StateCosts state_costs(const StateSpec& spec, std::int64_t prefill_tokens) {
    StateCosts out;
    for (const compute::KvGroupSpec& g : spec.groups) {
        const std::int64_t page = compute::page_bytes(g);
        StateCosts::Group group{g, page / kPage, 0};
        if (g.window > 0) {
            group.window_bytes = window_pages(g, prefill_tokens) * page;
            out.window_bytes += group.window_bytes;
        } else {
            out.bytes_per_token += group.bytes_per_token;
        }
        out.groups.push_back(group);
    }
    if (spec.recurrent) out.recurrent_bytes = compute::state_bytes(*spec.recurrent);
    return out;
}

std::int64_t StateCosts::sequence_bytes(std::int64_t n_tokens) const noexcept {
    const std::int64_t rounded = (n_tokens + kPage - 1) / kPage * kPage;
    std::int64_t bytes = recurrent_bytes;
    for (const Group& g : groups) {
        const std::int64_t grown = rounded * g.bytes_per_token;
        bytes += g.window_bytes > 0 ? std::min(grown, g.window_bytes) : grown;
    }
    return bytes;
}

} // namespace bloom::engine
