#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/jinja/interpreter.hpp"

/// What Python's operators do.
namespace bloom::text::jinja {

bool truthy(const Value& value) noexcept;
/// Booleans count as integers.
bool is_number(const Value& value) noexcept;
std::optional<std::int64_t> small_integer(const Value& value) noexcept;
double to_double(const Value& number) noexcept;

/// `value.name`: method or attribute first, then the member of that name.
Result<Value> get_attribute(Interpreter& in, const Value& value, const std::string& name);
/// `value[key]`: member first, then the attribute.
Result<Value> get_item(Interpreter& in, const Value& value, const Value& key);
Result<Value> get_slice(Interpreter& in, const Value& value, const Value& start, const Value& stop,
                        const Value& step);

Result<Value> binary(Interpreter& in, Op op, const Value& a, const Value& b);
Result<Value> add(Interpreter& in, const Value& a, const Value& b);
Result<Value> negate(const Value& value);

Result<bool> equals(Interpreter& in, const Value& a, const Value& b, std::uint32_t depth = 0);
/// Negative, zero or positive. Errors: kinds that Python does not order.
Result<int> order(Interpreter& in, const Value& a, const Value& b, std::uint32_t depth = 0);
Result<bool> compare(Interpreter& in, Op op, const Value& a, const Value& b);
Result<bool> contains(Interpreter& in, const Value& container, const Value& item);

/// Everything an iteration over the value yields; a generator is used up by it.
Result<std::vector<Value>> iterate(Interpreter& in, const Value& value);
/// len(). Errors: values without length.
Result<std::int64_t> length(const Value& value);

/// Text % arguments.
Result<Value> format_percent(Interpreter& in, const Value& format, const Value& arguments);
/// text.format(...).
Result<Value> format_braces(Interpreter& in, const Value& format, const CallArguments& args);

/// Undefined values fail here, with their name. What else happens is the caller's matter.
Error undefined_failure(const Value& value);

} // namespace bloom::text::jinja
