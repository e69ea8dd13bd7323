#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dialect/request_fields.hpp"

/// Functions and output schemas as requests describe them, in whatever shape a dialect nests them.
namespace bloom::dialect {

inline constexpr std::size_t kMaxTools = 128; // consumer API section 5.4
/// The schema of a function that says nothing of its parameters.
inline constexpr std::string_view kNoParameters = R"({"type":"object","properties":{}})";

/// A function from the object that has `name`, `description`, `parameters` (here `schema_key`:
/// Anthropic says `input_schema`) and `strict`. The schema keeps its members in the client's order;
/// missing, it is an empty object's.
Parsed<gen::ToolDefinition> read_function(const json::Object& members, const std::string& where,
                                          std::string_view schema_key);

/// At most kMaxTools of them, each name once; a choice names one of them and forces none where
/// there is none. Call after all members have been read.
Parsed<void> check_tools(const gen::TemplateOptions& options);

/// The functions of a `tools` array, `{"type":"function","function":{..}}` or with the function's
/// members beside the type. Tools of other types are left out: they are some vendor's own, which no
/// model here can call; whoever offers them has to reckon with answers that do not.
Parsed<std::vector<gen::ToolDefinition>> read_tools(const json::Value& value,
                                                    std::string_view param);

/// A `tool_choice` into options whose tools have been read: `auto`, `none`, `required`, a function
/// by its name, nested or flat, or `allowed_tools`, which leaves only those. What forces a tool of
/// another type is refused.
Parsed<void> read_tool_choice(const json::Value& value, std::string_view param,
                              gen::TemplateOptions& options);

/// Arguments of a call in the history: the text of a JSON object. Nothing at all is an empty one.
Parsed<std::string> read_arguments(const json::Value& value, std::string_view param);

/// `json_schema` from the object that has `name`, `schema` and `strict`.
Parsed<gen::OutputFormat> read_schema_format(const json::Object& members, const std::string& where);

/// An output format by its `type`: `text`, `json_object` or `json_schema`, the last with the
/// schema's members in `json_schema` (chat) or beside the type (Responses).
Parsed<gen::OutputFormat> read_output_format(const json::Value& value, std::string_view param);

/// The text of any JSON value, members in their order.
std::string json_text(const json::Value& value);

} // namespace bloom::dialect
