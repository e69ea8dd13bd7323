#include "dialect/tool_fields.hpp"

#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

#include <bloom/json/serialize.hpp>

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxNameBytes = 64;
constexpr std::string_view kNoParameters = R"({"type":"object","properties":{}})";

bool is_tool_name(std::string_view name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, fits);
}

} // namespace

std::string json_text(const json::Value& value) {
    std::string text;
    json::append_value(text, value);
    return text;
}

Parsed<gen::ToolDefinition> read_function(const json::Object& members, const std::string& where,
                                          std::string_view schema_key) {
    gen::ToolDefinition tool;
    tool.parameters = kNoParameters;
    for (const json::Member m : members) {
        if (m.value.is_null()) continue;
        const std::string at = fmt::format("{}.{}", where, m.key.substr(0, kMaxNameBytes));
        if (m.key == "name") {
            BLOOM_PARSE(tool.name, read_string(m.value, at));
            if (!is_tool_name(tool.name)) {
                return refuse(at, fmt::format("Invalid '{}': a name has 1 to {} of the characters "
                                              "a-z, A-Z, 0-9, _ and -.",
                                              at, kMaxNameBytes));
            }
        } else if (m.key == "description") {
            BLOOM_PARSE(tool.description, read_string(m.value, at));
        } else if (m.key == "strict") {
            BLOOM_PARSE(tool.strict, read_bool(m.value, at));
        } else if (m.key == schema_key) {
            if (!m.value.is_object()) return refuse_type(at, "an object", m.value);
            if (!m.value.as_object()->empty()) tool.parameters = json_text(m.value);
        }
    }
    if (tool.name.empty()) {
        return refuse(where + ".name", fmt::format("Missing required parameter: '{}.name'.", where),
                      "missing_required_parameter");
    }
    return tool;
}

Parsed<void> check_tools(const gen::TemplateOptions& options) {
    if (options.tools.size() > kMaxTools)
        return refuse("tools", fmt::format("Invalid 'tools': at most {} tools.", kMaxTools));
    std::unordered_set<std::string_view> names;
    for (const gen::ToolDefinition& tool : options.tools) {
        if (!names.insert(tool.name).second) {
            return refuse("tools",
                          fmt::format("Invalid 'tools': '{}' is declared twice.", tool.name));
        }
    }
    const bool forced = options.tool_choice == gen::ToolChoice::required ||
                        options.tool_choice == gen::ToolChoice::named;
    if (forced && options.tools.empty()) {
        return refuse("tool_choice",
                      "Invalid 'tool_choice': a call is required, but there are no 'tools'.");
    }
    if (options.tool_choice == gen::ToolChoice::named && !names.contains(options.tool_name)) {
        return refuse("tool_choice", fmt::format("Invalid 'tool_choice': the tool '{}' is not "
                                                 "among 'tools'.",
                                                 options.tool_name.substr(0, kMaxNameBytes)));
    }
    return {};
}

Parsed<gen::OutputFormat> read_schema_format(const json::Object& members,
                                             const std::string& where) {
    gen::OutputFormat format;
    format.kind = gen::OutputFormat::Kind::json_schema;
    for (const json::Member m : members) {
        if (m.value.is_null()) continue;
        const std::string at = fmt::format("{}.{}", where, m.key.substr(0, kMaxNameBytes));
        if (m.key == "name") {
            BLOOM_PARSE(format.name, read_string(m.value, at));
        } else if (m.key == "strict") {
            BLOOM_PARSE(format.strict, read_bool(m.value, at));
        } else if (m.key == "schema") {
            if (!m.value.is_object()) return refuse_type(at, "an object", m.value);
            format.schema = json_text(m.value);
        }
    }
    if (format.schema.empty()) {
        return refuse(where + ".schema",
                      fmt::format("Missing required parameter: '{}.schema'.", where),
                      "missing_required_parameter");
    }
    return format;
}

} // namespace bloom::dialect
