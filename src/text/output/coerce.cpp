#include "text/output/coerce.hpp"

#include <optional>

#include <bloom/text/jinja_value.hpp>

#include "text/jinja/objects.hpp"
#include "text/output/grammar.hpp"

namespace bloom::text {
namespace {

using jinja::Kind;
using jinja::Value;

constexpr std::uint32_t kMaxSchemaDepth = 16; ///< anyOf inside $ref inside allOf ...

TypeSet type_named(std::string_view name) noexcept {
    if (name == "string") return kTypeString;
    if (name == "integer") return kTypeInteger;
    if (name == "number") return kTypeNumber;
    if (name == "boolean") return kTypeBoolean;
    if (name == "null") return kTypeNull;
    if (name == "array") return kTypeArray;
    if (name == "object") return kTypeObject;
    return 0;
}

TypeSet type_of_value(const Value& value) noexcept {
    switch (value.kind()) {
    case Kind::string:
        return kTypeString;
    case Kind::integer:
    case Kind::big_integer:
        return kTypeInteger;
    case Kind::floating:
        return kTypeNumber;
    case Kind::boolean:
        return kTypeBoolean;
    case Kind::none:
        return kTypeNull;
    case Kind::sequence:
        return kTypeArray;
    case Kind::dict:
        return kTypeObject;
    default:
        return 0;
    }
}

/// The definition that "#/$defs/Name" or "#/definitions/Name" points at.
const Value* resolve(const Value& root, std::string_view reference) {
    for (const std::string_view place : {"$defs", "definitions"}) {
        const std::string prefix = "#/" + std::string(place) + "/";
        if (!reference.starts_with(prefix)) continue;
        const Value* definitions = root.find(place);
        return definitions == nullptr ? nullptr
                                      : definitions->find(reference.substr(prefix.size()));
    }
    return nullptr;
}

TypeSet types_of(const Value& root, const Value& schema, std::uint32_t depth) {
    if (depth > kMaxSchemaDepth || !schema.is(Kind::dict)) return 0;
    TypeSet out = 0;
    if (const Value* type = schema.find("type")) {
        if (type->is(Kind::string)) out |= type_named(type->text());
        if (type->is(Kind::sequence)) {
            for (const Value& name : jinja::items_of(*type))
                out |= type_named(name.text());
        }
    }
    if (const Value* nullable = schema.find("nullable"); nullable != nullptr && out != 0) {
        if (nullable->is(Kind::boolean) && nullable->as_boolean()) out |= kTypeNull;
    }
    if (const Value* values = schema.find("enum");
        values != nullptr && values->is(Kind::sequence)) {
        for (const Value& value : jinja::items_of(*values))
            out |= type_of_value(value);
    }
    if (const Value* value = schema.find("const")) out |= type_of_value(*value);
    for (const std::string_view key : {"anyOf", "oneOf", "allOf"}) {
        const Value* parts = schema.find(key);
        if (parts == nullptr || !parts->is(Kind::sequence)) continue;
        for (const Value& part : jinja::items_of(*parts))
            out |= types_of(root, part, depth + 1);
    }
    if (const Value* reference = schema.find("$ref")) {
        const Value* target = resolve(root, reference->text());
        if (target != nullptr) out |= types_of(root, *target, depth + 1);
    }
    return out;
}

std::string_view trimmed(std::string_view text) noexcept {
    constexpr std::string_view kSpace = " \t\r\n";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool reads_as(std::string_view text, TypeSet wanted) {
    const auto value = Value::from_json(text, jinja::Origin::user);
    return value && (type_of_value(*value) & wanted) != 0;
}

/// 2, -7, 2.0: an integer in any of the spellings models use.
std::optional<std::string> as_integer(std::string_view text) {
    if (reads_as(text, kTypeInteger)) return std::string(text);
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos) return std::nullopt;
    if (text.find_first_not_of('0', dot + 1) != std::string_view::npos) return std::nullopt;
    const std::string_view whole = text.substr(0, dot);
    if (!reads_as(whole, kTypeInteger)) return std::nullopt;
    return std::string(whole);
}

std::optional<std::string> as_boolean(std::string_view text) {
    if (text == "true" || text == "True" || text == "1") return "true";
    if (text == "false" || text == "False" || text == "0") return "false";
    return std::nullopt;
}

/// Python's spelling of a literal as JSON: True, None, single quotes.
std::string repaired(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        if (c == '\'' || c == '"') {
            out += '"';
            std::size_t end = i + 1;
            for (; end < text.size() && text[end] != c; ++end) {
                if (text[end] == '\\' && end + 1 < text.size()) {
                    if (text[end + 1] != '\'') out += '\\';
                    ++end;
                    out += text[end];
                } else if (text[end] == '"') {
                    out += "\\\"";
                } else {
                    out += text[end];
                }
            }
            out += '"';
            i = end + 1;
            continue;
        }
        bool word = false;
        for (const auto& [python, json] :
             {std::pair<std::string_view, std::string_view>{"True", "true"},
              {"False", "false"},
              {"None", "null"}}) {
            if (text.substr(i, python.size()) != python) continue;
            out += json;
            i += python.size();
            word = true;
            break;
        }
        if (!word) {
            out += c;
            ++i;
        }
    }
    return out;
}

std::optional<std::string> as_container(std::string_view text, TypeSet wanted) {
    if (reads_as(text, wanted)) return std::string(text);
    std::string json = repaired(text);
    if (reads_as(json, wanted)) return json;
    return std::nullopt;
}

} // namespace

ParameterTypes::ParameterTypes(const std::vector<gen::ToolDefinition>& tools) {
    for (const gen::ToolDefinition& tool : tools) {
        auto& parameters = functions_[tool.name];
        const auto schema = Value::from_json(tool.parameters, jinja::Origin::user);
        const Value* properties = schema ? schema->find("properties") : nullptr;
        if (properties == nullptr || !properties->is(Kind::dict)) continue;
        for (const auto& [name, property] : properties->as<jinja::DictObject>().members) {
            parameters[std::string(name.text())] = types_of(*schema, property, 0);
        }
    }
}

bool ParameterTypes::knows(std::string_view function) const {
    return functions_.contains(function);
}

TypeSet ParameterTypes::of(std::string_view function, std::string_view parameter) const {
    const auto known = functions_.find(function);
    if (known == functions_.end()) return kTypeString;
    const auto at = known->second.find(parameter);
    return at == known->second.end() || at->second == 0 ? TypeSet{kTypeString} : at->second;
}

std::string coerce_parameter(std::string_view raw, TypeSet types) {
    const std::string_view text = trimmed(raw);
    std::optional<std::string> out;
    if ((types & kTypeInteger) != 0) out = as_integer(text);
    if (!out && (types & kTypeNumber) != 0 && reads_as(text, kTypeInteger | kTypeNumber)) {
        out = std::string(text);
    }
    if (!out && (types & kTypeBoolean) != 0) out = as_boolean(text);
    if (!out && (types & kTypeNull) != 0 && (text == "null" || text == "None")) out = "null";
    if (!out && (types & kTypeArray) != 0) out = as_container(text, kTypeArray);
    if (!out && (types & kTypeObject) != 0) out = as_container(text, kTypeObject);
    if (out) return *std::move(out);
    std::string quoted = "\"";
    append_json_escaped(quoted, raw);
    return quoted + '"';
}

void append_json_escaped(std::string& out, std::string_view bytes) {
    static constexpr std::string_view kHex = "0123456789abcdef";
    for (const char c : bytes) {
        switch (c) {
        case '"':
            out += "\\\"";
            break;
        case '\\':
            out += "\\\\";
            break;
        case '\n':
            out += "\\n";
            break;
        case '\r':
            out += "\\r";
            break;
        case '\t':
            out += "\\t";
            break;
        default:
            if (static_cast<unsigned char>(c) < 0x20) {
                out += "\\u00";
                out += kHex[static_cast<unsigned char>(c) >> 4];
                out += kHex[static_cast<unsigned char>(c) & 15];
            } else {
                out += c;
            }
        }
    }
}

} // namespace bloom::text
