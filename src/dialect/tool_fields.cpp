#include "dialect/tool_fields.hpp"

#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

#include <bloom/json/serialize.hpp>

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

bool is_tool_name(std::string_view name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, fits);
}

/// The `type` of an object; empty: it has none.
std::string_view type_of(const json::Object& members) {
    const auto type = members.find("type");
    return type && type->is_string() ? *type->as_string() : std::string_view();
}

/// The name in `{"function":{"name":..}}` or `{"name":..}`.
Parsed<std::string> read_chosen_name(const json::Object& members, const std::string& where) {
    const auto function = members.find("function");
    const bool nested = function && function->is_object();
    const auto name = nested ? function->as_object()->find("name") : members.find("name");
    const std::string at = where + (nested ? ".function.name" : ".name");
    if (!name) {
        return refuse(at, fmt::format("Missing required parameter: '{}'.", at),
                      "missing_required_parameter");
    }
    return read_string(*name, at);
}

/// `{"type":"allowed_tools","allowed_tools":{"mode":..,"tools":[..]}}`, or both beside the type.
Parsed<void> read_allowed_tools(const json::Object& members, const std::string& param,
                                gen::TemplateOptions& options) {
    const auto inner = members.find("allowed_tools");
    const json::Object list = inner && inner->is_object() ? *inner->as_object() : members;
    const auto mode = list.find("mode");
    if (mode && mode->is_string() && *mode->as_string() == "required") {
        options.tool_choice = gen::ToolChoice::required;
    } else if (mode && !(mode->is_string() && *mode->as_string() == "auto")) {
        return refuse(param + ".mode",
                      fmt::format("Invalid '{}.mode': expected 'auto' or 'required'.", param));
    }
    const auto tools = list.find("tools");
    if (!tools || !tools->is_array()) {
        return refuse(param + ".tools",
                      fmt::format("Invalid '{}.tools': expected an array of tools.", param),
                      "invalid_type");
    }
    const json::Array array = *tools->as_array();
    std::unordered_set<std::string> allowed;
    std::size_t index = 0;
    for (const json::Value element : array) {
        const std::string at = path(param + ".tools", index++);
        const auto tool = element.as_object();
        if (!tool) return refuse_type(at, "an object", element);
        if (type_of(*tool) != "function") continue;
        BLOOM_PARSE(std::string name, read_chosen_name(*tool, at));
        const auto known = [&](const gen::ToolDefinition& t) { return t.name == name; };
        if (std::ranges::none_of(options.tools, known)) {
            return refuse(at, fmt::format("Invalid '{}': the tool '{}' is not among 'tools'.", at,
                                          name.substr(0, kMaxNameBytes)));
        }
        allowed.insert(std::move(name));
    }
    std::erase_if(options.tools,
                  [&](const gen::ToolDefinition& tool) { return !allowed.contains(tool.name); });
    return {};
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

Parsed<std::vector<gen::ToolDefinition>> read_tools(const json::Value& value,
                                                    std::string_view param) {
    const auto array = value.as_array();
    if (!array) return refuse_type(param, "an array", value);
    std::vector<gen::ToolDefinition> tools;
    std::size_t index = 0;
    for (const json::Value element : *array) {
        const std::string at = path(param, index++);
        const auto tool = element.as_object();
        if (!tool) return refuse_type(at, "an object", element);
        const auto function = tool->find("function");
        const std::string_view type = type_of(*tool);
        if (type.empty() && !function) {
            return refuse(at + ".type", fmt::format("Missing required parameter: '{}.type'.", at),
                          "missing_required_parameter");
        }
        if (!type.empty() && type != "function") continue;
        if (function && !function->is_object())
            return refuse_type(at + ".function", "an object", *function);
        BLOOM_PARSE(gen::ToolDefinition definition,
                    function ? read_function(*function->as_object(), at + ".function", "parameters")
                             : read_function(*tool, at, "parameters"));
        if (tools.size() == kMaxTools)
            return refuse(param, fmt::format("Invalid '{}': at most {} tools.", param, kMaxTools));
        tools.push_back(std::move(definition));
    }
    return tools;
}

Parsed<void> read_tool_choice(const json::Value& value, std::string_view param,
                              gen::TemplateOptions& options) {
    const std::string where(param);
    if (value.is_string()) {
        const std::string_view choice = *value.as_string();
        if (choice == "auto") {
            options.tool_choice = gen::ToolChoice::automatic;
        } else if (choice == "none") {
            options.tool_choice = gen::ToolChoice::none;
        } else if (choice == "required" || choice == "any") {
            options.tool_choice = gen::ToolChoice::required;
        } else {
            return refuse(where, fmt::format("Invalid '{}': expected 'auto', 'none', 'required' or "
                                             "an object that names a tool.",
                                             where));
        }
        return {};
    }
    const auto members = value.as_object();
    if (!members) return refuse_type(where, "a string or an object", value);
    const std::string_view type = type_of(*members);
    if (type == "allowed_tools") return read_allowed_tools(*members, where, options);
    if (type != "function") {
        return refuse(where + ".type",
                      fmt::format("Invalid '{}': tools of type '{}' cannot be called here.", where,
                                  type.substr(0, kMaxNameBytes)));
    }
    BLOOM_PARSE(options.tool_name, read_chosen_name(*members, where));
    options.tool_choice = gen::ToolChoice::named;
    return {};
}

Parsed<std::string> read_arguments(const json::Value& value, std::string_view param) {
    constexpr std::size_t kKeptParserBytes = std::size_t{1} << 16;
    constexpr std::string_view kSpace = " \t\r\n";
    BLOOM_PARSE(std::string text, read_string(value, param));
    if (text.find_first_not_of(kSpace) == std::string::npos) return std::string("{}");
    thread_local json::Parser parser; // apart from that of the request, whose values are in use
    const auto parsed = parser.parse(text);
    const bool is_object = parsed && parsed->is_object();
    parser.trim(kKeptParserBytes);
    if (!is_object) {
        return refuse(param, fmt::format("Invalid '{}': the arguments of a call must be the text "
                                         "of a JSON object.",
                                         param));
    }
    return text;
}

Parsed<gen::OutputFormat> read_output_format(const json::Value& value, std::string_view param) {
    const std::string where(param);
    const auto members = value.as_object();
    if (!members) return refuse_type(where, "an object", value);
    const std::string_view type = type_of(*members);
    gen::OutputFormat format;
    if (type == "json_schema") {
        const auto nested = members->find("json_schema");
        if (!nested) return read_schema_format(*members, where);
        if (!nested->is_object()) return refuse_type(where + ".json_schema", "an object", *nested);
        return read_schema_format(*nested->as_object(), where + ".json_schema");
    }
    if (type == "json_object") {
        format.kind = gen::OutputFormat::Kind::json_object;
    } else if (type != "text") {
        return refuse(where + ".type", fmt::format("Invalid '{}.type': expected 'text', "
                                                   "'json_object' or 'json_schema'.",
                                                   where));
    }
    return format;
}

} // namespace bloom::dialect
