#include "text/grammar/constraint_calls.hpp"

#include <vector>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/text/grammar/json_schema.hpp>
#include <bloom/text/jinja_value.hpp>

#include "text/output/grammar.hpp"

namespace bloom::text {
namespace {

constexpr std::string_view kNoParameters =
    R"({"type":"object","properties":{},"additionalProperties":false})";

/// A name inside of marks: what the parser would take for their end must not be in it.
Result<> check_name(std::string_view name, std::string_view forbidden) {
    const bool odd = name.empty() || name.front() == ' ' || name.back() == ' ' ||
                     name.find_first_of(forbidden) != std::string_view::npos;
    if (!odd) return {};
    return Error{Code::unsupported,
                 fmt::format("this model cannot write calls of a function named {}", quoted(name))};
}

std::string json_string(std::string_view text) {
    std::string out = "\"";
    append_json_escaped(out, text);
    return out + '"';
}

/// Arguments as one object.
Result<GrammarNode> add_arguments(GrammarBuilder& g, const Callable& f, ValueSyntax syntax) {
    if (!f.enforced) return add_json_object(g, syntax);
    return add_json_schema(g, arguments_schema(*f.tool), {syntax, f.tool->strict});
}

/// {"name": "f", "arguments": {..}}
Result<GrammarNode> add_json_call(GrammarBuilder& g, const Callable& f, std::string_view key) {
    BLOOM_TRY(const GrammarNode arguments, add_arguments(g, f, ValueSyntax::json));
    const GrammarNode parts[] = {
        g.literal(fmt::format("{{\"name\": {}, \"{}\": ", json_string(f.tool->name), key)),
        arguments, g.literal("}")};
    return g.sequence(parts);
}

Result<GrammarNode> add_hermes_call(GrammarBuilder& g, const Callable& f) {
    BLOOM_TRY(const GrammarNode call, add_json_call(g, f, "arguments"));
    const GrammarNode parts[] = {g.tag("<tool_call>"), g.literal("\n"), call, g.literal("\n"),
                                 g.tag("</tool_call>")};
    return g.sequence(parts);
}

Result<GrammarNode> add_qwen_call(GrammarBuilder& g, const Callable& f) {
    BLOOM_OK(check_name(f.tool->name, "<>\"'\n\r\t"));
    BLOOM_TRY(const GrammarNode parameters, add_parameters(g, f, true));
    const GrammarNode parts[] = {g.tag("<tool_call>"),
                                 g.literal(fmt::format("\n<function={}>\n", f.tool->name)),
                                 parameters, g.literal("</function>\n"), g.tag("</tool_call>")};
    return g.sequence(parts);
}

Result<GrammarNode> add_minimax_call(GrammarBuilder& g, const Callable& f) {
    BLOOM_OK(check_name(f.tool->name, "<>\"'\n\r\t"));
    BLOOM_TRY(const GrammarNode parameters, add_parameters(g, f, false));
    const GrammarNode parts[] = {g.literal(fmt::format("<invoke name=\"{}\">\n", f.tool->name)),
                                 parameters, g.literal("</invoke>\n")};
    return g.sequence(parts);
}

Result<GrammarNode> add_gemma_call(GrammarBuilder& g, const Callable& f) {
    BLOOM_OK(check_name(f.tool->name, "<{\n\r\t"));
    BLOOM_TRY(const GrammarNode arguments, add_arguments(g, f, ValueSyntax::gemma));
    const GrammarNode parts[] = {g.tag("<|tool_call>"),
                                 g.literal(fmt::format("call:{}", f.tool->name)), arguments,
                                 g.tag("<tool_call|>")};
    return g.sequence(parts);
}

Result<GrammarNode> add_call(GrammarBuilder& g, OutputFormat format, const Callable& f) {
    switch (format) {
    case OutputFormat::hermes_json:
        return add_hermes_call(g, f);
    case OutputFormat::llama_json:
        return add_json_call(g, f, "parameters");
    case OutputFormat::qwen_xml:
        return add_qwen_call(g, f);
    case OutputFormat::minimax_xml:
        return add_minimax_call(g, f);
    case OutputFormat::gemma:
        return add_gemma_call(g, f);
    case OutputFormat::plain:
        break;
    }
    return Error{Code::unsupported, "the chat template of this model knows no tool calls"};
}

/// What stands between two calls of one answer.
std::string_view separator(OutputFormat format) noexcept {
    return format == OutputFormat::hermes_json || format == OutputFormat::qwen_xml ? "\n" : "";
}

} // namespace

CallMarks marks_of(OutputFormat format) noexcept {
    constexpr std::string_view kOpen = "<think>", kClose = "</think>";
    switch (format) {
    case OutputFormat::hermes_json:
        return {kOpen, kClose, "<tool_call>", "</tool_call>", ""};
    case OutputFormat::qwen_xml:
        return {kOpen, kClose, "<tool_call>", "</tool_call>", "<function="};
    case OutputFormat::minimax_xml:
        return {kOpen, kClose, "<minimax:tool_call>", "</minimax:tool_call>", ""};
    case OutputFormat::gemma:
        return {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", ""};
    case OutputFormat::llama_json:
        return {kOpen, kClose, "", "", "<|python_tag|>"};
    case OutputFormat::plain:
        break;
    }
    return {kOpen, kClose, "", "", ""};
}

std::string arguments_schema(const gen::ToolDefinition& tool) {
    if (tool.parameters.empty()) return std::string(kNoParameters);
    const auto schema = jinja::Value::from_json(tool.parameters, jinja::Origin::user);
    const std::size_t brace = tool.parameters.find('{');
    if (!schema || !schema->is(jinja::Kind::dict) || schema->find("type") != nullptr ||
        brace == std::string::npos) {
        return tool.parameters;
    }
    // Without a type it would allow values that are no arguments.
    const std::size_t next = tool.parameters.find_first_not_of(" \t\r\n", brace + 1);
    const bool none = next == std::string::npos || tool.parameters[next] == '}';
    return tool.parameters.substr(0, brace + 1) + R"("type":"object")" + (none ? "" : ",") +
           tool.parameters.substr(brace + 1);
}

Result<GrammarNode> add_calls(GrammarBuilder& g, OutputFormat format,
                              std::span<const Callable> functions, bool several) {
    std::vector<GrammarNode> calls;
    for (const Callable& f : functions) {
        BLOOM_TRY(const GrammarNode call, add_call(g, format, f));
        calls.push_back(call);
    }
    const GrammarNode call = g.choice(calls);
    GrammarNode all = call;
    // Llama's models make one call at a time.
    if (several && format != OutputFormat::llama_json) {
        const GrammarNode next[] = {g.literal(separator(format)), call};
        const GrammarNode list[] = {call, g.repeat(g.sequence(next), 0, kUnbounded)};
        all = g.sequence(list);
    }
    if (format != OutputFormat::minimax_xml) return all;
    const CallMarks marks = marks_of(format); // around all calls
    const GrammarNode block[] = {g.tag(marks.tool_open), g.literal("\n"), all,
                                 g.tag(marks.tool_close)};
    return g.sequence(block);
}

} // namespace bloom::text
