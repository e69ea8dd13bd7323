#pragma once

#include <string>
#include <string_view>

#include <bloom/base/check.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/jinja.hpp>

#include "golden/text/golden_file.hpp"
#include "text/jinja/objects.hpp"

namespace bloom::text {

/// The value as JSON text, through the interpreter itself.
inline std::string json_of(const jinja::Value& value) {
    auto printer = jinja::Template::parse("{{ value|tojson }}", "json");
    BLOOM_CHECK(printer.has_value());
    auto text = printer->render(jinja::Value::dict({{jinja::Value::string("value"), value}}), {});
    BLOOM_CHECK(text.has_value());
    return text->text;
}

inline gen::Role role_of(std::string_view name) {
    return name == "system"      ? gen::Role::system
           : name == "assistant" ? gen::Role::assistant
           : name == "tool"      ? gen::Role::tool
                                 : gen::Role::user;
}

inline gen::Message message_of(const jinja::Value& from) {
    gen::Message out;
    out.role = role_of(text_of(from, "role"));
    out.reasoning = text_of(from, "reasoning_content");
    out.tool_call_id = text_of(from, "tool_call_id");
    const jinja::Value* content = from.find("content");
    if (content != nullptr && content->is(jinja::Kind::string)) {
        out.content.push_back({gen::Part::Kind::text, std::string(content->text())});
    } else if (content != nullptr && content->is(jinja::Kind::sequence)) {
        for (const jinja::Value& part : jinja::items_of(*content)) {
            out.content.push_back({gen::Part::Kind::text, text_of(part, "text")});
        }
    }
    if (const jinja::Value* calls = from.find("tool_calls")) {
        for (const jinja::Value& call : jinja::items_of(*calls)) {
            const jinja::Value& function = *call.find("function");
            out.tool_calls.push_back(
                {text_of(call, "id"), text_of(function, "name"), text_of(function, "arguments")});
        }
    }
    return out;
}

inline gen::ToolDefinition tool_of(const jinja::Value& from) {
    const jinja::Value& function = *from.find("function");
    return {text_of(function, "name"), text_of(function, "description"),
            json_of(*function.find("parameters")), false};
}

/// A conversation of the golden file as a request.
inline gen::Generation generation_of(const jinja::Value& conversation,
                                     const jinja::Value& tool_sets) {
    gen::Generation out;
    for (const jinja::Value& message : jinja::items_of(*conversation.find("messages"))) {
        out.messages.push_back(message_of(message));
    }
    if (const jinja::Value* tools = conversation.find("tools")) {
        for (const jinja::Value& tool : jinja::items_of(*tool_sets.find(tools->text()))) {
            out.tmpl.tools.push_back(tool_of(tool));
        }
    }
    if (const jinja::Value* thinking = conversation.find("enable_thinking")) {
        out.tmpl.enable_thinking = thinking->as_boolean();
    }
    return out;
}

} // namespace bloom::text
