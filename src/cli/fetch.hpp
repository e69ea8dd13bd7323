#pragma once

#include <string>

#include <bloom/base/result.hpp>

namespace bloom::cli {

/// Body of a GET of an http or https URL, on a shard of its own; blocks.
/// Errors: unavailable for another status than 200, invalid_argument for what is no URL, those of
/// the client.
Result<std::string> fetch(const std::string& url);

} // namespace bloom::cli
