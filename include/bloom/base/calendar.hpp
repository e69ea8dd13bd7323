#pragma once

#include <cstdint>
#include <string>

namespace bloom {

/// A time in UTC as RFC 3339 has it, 2026-01-02T03:04:05Z; empty for one outside the calendar.
std::string rfc3339(std::int64_t unix_seconds);

} // namespace bloom
