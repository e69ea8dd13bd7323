#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dialect/request_fields.hpp"

/// Functions and output schemas as requests describe them, in whatever shape a dialect nests them.
namespace bloom::dialect {

inline constexpr std::size_t kMaxTools = 128; // consumer API section 5.4

/// A function from the object that has `name`, `description`, `parameters` (here `schema_key`:
/// Anthropic says `input_schema`) and `strict`. The schema keeps its members in the client's order;
/// missing, it is an empty object's.
Parsed<gen::ToolDefinition> read_function(const json::Object& members, const std::string& where,
                                          std::string_view schema_key);

/// At most kMaxTools of them, each name once; a choice names one of them and forces none where
/// there is none. Call after all members have been read.
Parsed<void> check_tools(const gen::TemplateOptions& options);

/// `json_schema` from the object that has `name`, `schema` and `strict`.
Parsed<gen::OutputFormat> read_schema_format(const json::Object& members, const std::string& where);

/// The text of any JSON value, members in their order.
std::string json_text(const json::Value& value);

} // namespace bloom::dialect
