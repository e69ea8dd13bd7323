#pragma once

#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace bloom::log {

enum class Level { trace, debug, info, warn, error, off };

/// Sets threshold and form ("text" or "json") of the process's log on stderr. Call before threads
/// start.
void init(Level level, bool json);
/// Threshold by name; off for an unknown one is never returned: see the bool.
bool parse_level(std::string_view name, Level& out) noexcept;
bool enabled(Level level) noexcept;
/// Thread: any. The line is written whole. Never pass prompts, completions or secrets.
void write(Level level, std::string_view message);

template <class... Args>
void line(Level level, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level)) write(level, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::debug, format, std::forward<Args>(args)...);
}

template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::info, format, std::forward<Args>(args)...);
}

template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::warn, format, std::forward<Args>(args)...);
}

template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::error, format, std::forward<Args>(args)...);
}

} // namespace bloom::log
