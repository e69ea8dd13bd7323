#pragma once

#include <string>
#include <string_view>

#include <bloom/base/error.hpp>
#include <bloom/cli/settings.hpp>

namespace bloom::cli {

/// Prints `error: ...` on stderr and gives the exit code that belongs to the failure.
int report(const Error& error);

/// Prints to stdout in one go.
void print(std::string_view text);

/// The data directory that the settings name, or the default one.
std::string data_dir_of(const Settings& settings);

/// `12.3 GB`, `512 B`.
std::string human_bytes(double bytes);

} // namespace bloom::cli
