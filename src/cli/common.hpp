#pragma once

#include <string>
#include <string_view>

#include <bloom/base/error.hpp>
#include <bloom/base/result.hpp>
#include <bloom/cli/settings.hpp>

namespace bloom::cli {

/// Prints `error: ...` on stderr and gives the exit code that belongs to the failure.
int report(const Error& error);

/// Prints to stdout in one go.
void print(std::string_view text);

/// The data directory that the settings name, or the default one.
std::string data_dir_of(const Settings& settings);

/// The folder that models are looked for in.
std::string models_dir_of(const Settings& settings);

/// The path (or built-in id) of the model that a command names by path, id or catalog name.
/// Errors: those of provider::locate_model.
Result<std::string> locate(std::string_view model, const Settings& settings);

/// `DARKBLOOM_API_KEY`, else `DARKBLOOM_OWNER_KEY`, else empty.
std::string key_from_environment();

/// URL of the node that runs on this data directory; empty if none answers.
std::string running_node(const Settings& settings);

/// `12.3 GB`, `512 B`.
std::string human_bytes(double bytes);

} // namespace bloom::cli
