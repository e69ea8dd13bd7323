#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <bloom/registry/provider_link.hpp>

namespace bloom::provider {

/// What `--model` calls it.
inline constexpr std::string_view kNullModel = "bench:null";

/// A provider without an engine: answers every request with min(max_tokens, 64) copies of one short
/// text, at once. `--model bench:null` serves it, so that the path around the engine can be
/// measured by itself. Streams get one event per turn of the loop, whole answers one batch.
std::shared_ptr<registry::ProviderLink> make_null_link(registry::ProviderIdentity identity,
                                                       std::string model_id);

} // namespace bloom::provider
