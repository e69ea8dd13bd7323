#pragma once

#include <span>
#include <string>

#include <bloom/registry/registry.hpp>

namespace bloom::api {

/// Appends one entry of `GET /v1/models` (consumer API section 9.1), which fits OpenAI and
/// Anthropic clients alike.
void append_model(std::string& out, const registry::Registry::ListedModel& model);

/// The whole list, `{"object":"list","data":[..]}`, with Anthropic's paging members beside it.
std::string model_list(std::span<const registry::Registry::ListedModel> models);

} // namespace bloom::api
