#pragma once

#include <string>

#include <bloom/json/reader.hpp>

namespace bloom::json {

/// Appends a value that was read as compact JSON: members in their order, duplicates included,
/// integers exactly, reals as the shortest text of the same double. Depth is bounded by the
/// parser's.
void append_value(std::string& out, const Value& value);

} // namespace bloom::json
