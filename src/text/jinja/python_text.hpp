#pragma once

#include <string>
#include <string_view>

#include "text/jinja/budget.hpp"
#include "text/jinja/objects.hpp"

/// How Python writes values: str(), repr() and json.dumps().
namespace bloom::text::jinja {

/// repr() of a float: shortest digits that read back equal, Python's rule for exponents.
std::string float_repr(double value);

/// Appends str(value).
Result<> append_str(StringBuilder& out, const Value& value, Budget& budget);
/// Appends repr(value).
Result<> append_repr(StringBuilder& out, const Value& value, Budget& budget,
                     std::uint32_t depth = 0);
/// str(value) as a value; a string is returned as it is.
Result<Value> to_string_value(const Value& value, Budget& budget);

struct JsonStyle {
    bool ensure_ascii = false;
    bool sort_keys = false;
    bool pretty = false; ///< with `indent`
    std::string indent;  ///< one level
    std::string item_separator = ", ";
    std::string key_separator = ": ";
};

/// Appends json.dumps(value).
Result<> append_json(StringBuilder& out, const Value& value, const JsonStyle& style, Budget& budget,
                     std::uint32_t depth = 0);

/// Name of the Python type, for messages.
std::string_view type_name(const Value& value) noexcept;

} // namespace bloom::text::jinja
