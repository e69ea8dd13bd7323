#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <bloom/gen/generation.hpp>

#include "dialect/request_fields.hpp"

/// What the parts of Anthropic's reader share.
namespace bloom::dialect::anthropic {

/// `messages.3`, `messages.3.content`.
std::string at(std::string_view base, std::size_t index, std::string_view member = {});

/// `where: what`, the form of Anthropic's validation errors.
std::unexpected<RequestError> bad(std::string_view where, std::string_view what,
                                  std::string_view code = "invalid_value");
std::unexpected<RequestError> missing(std::string_view where);
std::unexpected<RequestError> not_a(std::string_view where, std::string_view expected);

/// What `messages` holds, in the order and the roles that chat templates take.
struct Conversation {
    std::vector<std::string> system; ///< system messages before the first assistant turn
    std::vector<gen::Message> messages;
    std::vector<gen::ToolDefinition> added_tools; ///< defined by `tool_addition` blocks
};

/// `model` is for messages about what it cannot take.
Parsed<Conversation> read_conversation(const json::Value& value, std::string_view model);

/// A string or an array of text blocks, one line each.
Parsed<std::string> read_system(const json::Value& value, std::string_view where);

/// A tool that the client runs. Errors: of a kind that Anthropic's servers run or define.
Parsed<gen::ToolDefinition> read_tool(const json::Value& value, const std::string& where);

} // namespace bloom::dialect::anthropic
