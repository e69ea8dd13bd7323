#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include <bloom/engine/memory_need.hpp>

#include "engine/budget.hpp"

namespace bloom::engine {
namespace {

constexpr std::int64_t kPage = compute::kPageTokens;

std::int64_t n_layers_of(const ModelConfig& config, std::int64_t wanted) {
    return wanted > 0 ? std::min(wanted, config.n_layers) : config.n_layers;
}

/// As f32 whatever the file has: see Uploader::exact_matrix.
bool is_kept_exact(Role role) noexcept {
    return role == Role::w_router || role == Role::w_shared_gate || role == Role::w_alpha ||
           role == Role::w_beta;
}

std::int64_t packed_bytes(const WeightView& view) {
    constexpr std::int64_t kFloat = sizeof(float);
    if (is_vector_role(view.role) || is_kept_exact(view.role)) return view.n_elements() * kFloat;
    return static_cast<std::int64_t>(view.bytes());
}

void add_group(StateSpec& state, const compute::KvGroupSpec& spec) {
    const auto at = std::ranges::find_if(state.groups, [&](compute::KvGroupSpec group) {
        group.n_layers = spec.n_layers;
        return group == spec;
    });
    if (at == state.groups.end()) {
        state.groups.push_back(spec);
        state.groups.back().n_layers = 1;
    } else {
        ++at->n_layers;
    }
}

/// `26.4 GB`, `12.0 MB`.
std::string human(std::int64_t bytes) {
    constexpr double kGB = 1e9;
    const auto value = static_cast<double>(bytes);
    return value >= kGB / 10 ? fmt::format("{:.2f} GB", value / kGB)
                             : fmt::format("{:.2f} MB", value / (kGB / 1000));
}

} // namespace

StateSpec state_of(const ModelConfig& c, std::int64_t wanted, kernels::KvType type, bool draft) {
    StateSpec state;
    const std::int64_t n_layers = n_layers_of(c, wanted);
    const std::int64_t n_draft = draft && n_layers == c.n_layers ? c.n_draft_layers : 0;
    for (std::int64_t i = 0; i < n_layers + n_draft; ++i) {
        // Layers that guess stand behind all others.
        const std::int64_t layer = i < n_layers ? i : c.n_layers + (i - n_layers);
        if (c.is_linear(layer)) {
            if (!state.recurrent) {
                const LinearConfig& l = c.linear;
                state.recurrent = {.n_layers = 0,
                                   .n_k_heads = static_cast<std::int32_t>(l.n_k_heads),
                                   .n_v_heads = static_cast<std::int32_t>(l.n_v_heads),
                                   .k_dim = static_cast<std::int32_t>(l.k_dim),
                                   .v_dim = static_cast<std::int32_t>(l.v_dim),
                                   .conv_taps = static_cast<std::int32_t>(l.conv_taps)};
            }
            ++state.recurrent->n_layers;
            continue;
        }
        const auto dim = static_cast<std::int32_t>(c.head_dim_of(layer));
        add_group(state, {0, static_cast<std::int32_t>(c.kv_heads_of(layer)), dim, dim,
                          static_cast<std::int32_t>(c.window(layer)), type});
    }
    return state;
}

MemoryNeed memory_need(const ModelFile& file, std::int64_t wanted, kernels::KvType type) {
    const ModelConfig& c = file.config();
    const std::int64_t n_layers = n_layers_of(c, wanted);
    MemoryNeed need;
    need.state = state_of(c, wanted, type);
    std::vector<std::int64_t> by_layer(static_cast<std::size_t>(c.n_layers + c.n_draft_layers + 1));
    for (const WeightView& view : file.weights().all()) {
        const bool draft = view.layer >= c.n_layers;
        if (draft ? n_layers < c.n_layers : view.layer >= n_layers) continue;
        need.packed_bytes += packed_bytes(view);
        by_layer[static_cast<std::size_t>(view.layer + 1)] +=
            static_cast<std::int64_t>(view.bytes());
    }
    need.largest_bytes = std::ranges::max(by_layer);
    for (const compute::KvGroupSpec& group : need.state.groups) {
        const std::int64_t page = compute::page_bytes(group);
        if (group.window > 0) {
            // A window that begins and ends inside a page, and what a step adds to it.
            const std::int64_t pages = (group.window + 2 * kPrefillCut) / kPage + 2;
            need.window_bytes += pages * page;
        } else {
            need.kv_bytes_per_token += page / kPage;
        }
    }
    if (need.state.recurrent) need.recurrent_bytes = compute::state_bytes(*need.state.recurrent);
    need.least_state_bytes = (kMaxChoices + kLeastSnapshots) * need.recurrent_bytes;
    need.least_kv_bytes = need.window_bytes + 2 * kPrefillCut * need.kv_bytes_per_token;
    return need;
}

Result<> check_fits(const ModelFile& file, std::int64_t n_layers, kernels::KvType type,
                    std::int64_t available_bytes) {
    if (available_bytes <= 0) return {};
    const MemoryNeed need = memory_need(file, n_layers, type);
    if (need.least_bytes() <= available_bytes) return {};
    return Error{
        Code::out_of_memory,
        fmt::format("{} does not fit into memory: {} of weights, {} of keys and values, {} of "
                    "recurrent states and {} for the process are {}; {} can be used here. Free "
                    "memory, raise the limit, or run a smaller model",
                    file.name(), human(need.packed_bytes), human(need.least_kv_bytes),
                    human(need.least_state_bytes), human(kMemoryHeadroomBytes),
                    human(need.least_bytes()), human(available_bytes))};
}

} // namespace bloom::engine
