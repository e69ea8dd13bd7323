#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/interpreter.hpp"

/// String functions shared by methods and filters. All keep the marks of what they keep.
namespace bloom::text::jinja {

enum class Side : std::uint8_t { both, left, right };

/// str.strip(); without `chars` white space, else every character of the set.
Value strip(const Value& text, Side side, const Value* chars);
/// str.replace(); a negative count replaces all.
Result<Value> replace(Interpreter& in, const Value& text, const Value& old, const Value& fresh,
                      std::int64_t count);
/// str.splitlines() without the line ends.
std::vector<Value> split_lines(const Value& text);
/// The items' text with a separator between them.
Result<Value> join(Interpreter& in, const std::vector<Value>& items, const Value& separator);

} // namespace bloom::text::jinja
