#include <algorithm>

#include <bloom/scheduler/placement.hpp>

namespace bloom::scheduler {
namespace {

bool holds(const registry::Capacity& capacity, std::string_view model) {
    return std::any_of(capacity.models->begin(), capacity.models->end(),
                       [&](const registry::ModelInfo& info) { return info.id == model; });
}

bool fits_pin(const registry::ProviderLink& link, const gen::Routing& routing) {
    const auto& pins = routing.provider_serials;
    return pins.empty() ||
           std::find(pins.begin(), pins.end(), link.identity().serial) != pins.end();
}

/// Waiting and running sequences per slot: comparable between machines of different size.
double load_of(const registry::Capacity& capacity) {
    return (capacity.n_running + capacity.n_queued) /
           static_cast<double>(std::max(capacity.n_slots, 1));
}

} // namespace

std::expected<std::shared_ptr<registry::ProviderLink>, NoPlace>
place(const registry::Registry& registry, const gen::Generation& request,
      std::span<const registry::ProviderLink* const> tried) {
    std::shared_ptr<registry::ProviderLink> best;
    double best_load = 0;
    bool model_held = false;
    bool pin_seen = false;
    bool drained = false;
    const auto links = registry.links();
    for (const auto& link : *links) {
        const registry::Capacity capacity = link->capacity();
        if (!holds(capacity, request.model)) continue;
        model_held = true;
        if (!fits_pin(*link, request.routing)) continue;
        pin_seen = true;
        if (std::find(tried.begin(), tried.end(), link.get()) != tried.end()) continue;
        if (capacity.draining) {
            drained = true;
            continue;
        }
        const double load = load_of(capacity);
        if (best == nullptr || load < best_load) {
            best = link;
            best_load = load;
        }
    }
    if (best != nullptr) return best;
    if (!model_held) {
        NoPlace none{NoPlace::Reason::unknown_model, {}};
        for (const auto& model : registry.models())
            none.held.push_back(model.info.id);
        return std::unexpected(std::move(none));
    }
    if (!pin_seen) return std::unexpected(NoPlace{NoPlace::Reason::pin_unavailable, {}});
    return std::unexpected(
        NoPlace{drained ? NoPlace::Reason::draining : NoPlace::Reason::exhausted, {}});
}

std::string resolve_model(const registry::Registry& registry, const registry::Catalog& catalog,
                          std::string_view name) {
    const registry::CatalogEntry* const entry = catalog.find(name);
    std::string held_as;
    const auto links = registry.links();
    for (const auto& link : *links) {
        const registry::Capacity capacity = link->capacity();
        for (const registry::ModelInfo& info : *capacity.models) {
            if (info.id == name) return info.id;
            if (entry == nullptr) continue;
            // The build's own id before names that somebody gave it.
            if (info.id == entry->id || (info.catalog_id == entry->id && held_as.empty()))
                held_as = info.id;
        }
    }
    if (!held_as.empty()) return held_as;
    return entry != nullptr ? entry->id : std::string(name);
}

std::optional<registry::ModelInfo> find_model(const registry::Registry& registry,
                                              std::string_view id) {
    const auto links = registry.links();
    for (const auto& link : *links) {
        const registry::Capacity capacity = link->capacity();
        for (const registry::ModelInfo& info : *capacity.models) {
            if (info.id == id) return info;
        }
    }
    return std::nullopt;
}

} // namespace bloom::scheduler
