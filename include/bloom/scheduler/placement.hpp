#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/registry/catalog.hpp>
#include <bloom/registry/registry.hpp>

namespace bloom::scheduler {

/// Why no provider was chosen; the code goes into the error envelope.
struct NoPlace {
    enum class Reason {
        unknown_model,   ///< nobody here holds it, and the catalog does not know it
        not_held,        ///< the catalog knows it, but nobody here holds it
        pin_unavailable, ///< the pinned machine is not connected
        draining,
        exhausted, ///< every provider that holds it was tried
    };
    Reason reason;
    std::vector<std::string> held; ///< unknown_model, not_held: what could be asked for instead
};

/// The provider for a request from one snapshot: holds the model, not tried before, fits the pin;
/// the least loaded first. Cost: one pass over the links. Thread: any.
std::expected<std::shared_ptr<registry::ProviderLink>, NoPlace>
place(const registry::Registry& registry, const gen::Generation& request,
      std::span<const registry::ProviderLink* const> tried);

/// The id that a request for `name` is placed by: a model that is held under that very name; else
/// the build that the catalog means by it, under the name it is held by. What neither knows stays
/// as it is. Cost: one pass over the links. Thread: any.
std::string resolve_model(const registry::Registry& registry, const registry::Catalog& catalog,
                          std::string_view name);

/// A model's facts from the provider that would serve it; nothing if nobody holds it.
std::optional<registry::ModelInfo> find_model(const registry::Registry& registry,
                                              std::string_view id);

} // namespace bloom::scheduler
