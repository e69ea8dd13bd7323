#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/text/chat_template.hpp>

namespace bloom::text {
namespace {

using jinja::Kind;
using jinja::Origin;
using jinja::Value;
using Members = std::vector<std::pair<Value, Value>>;

/// Marks the end of a message that is to be continued. Private-use code points: no model has them
/// in its vocabulary as one token and nobody types them; the last occurrence counts.
constexpr std::string_view kPrefillEnd = "\xee\x83\x9b\xef\xa3\xbf\xee\x83\x9b";

/// Output may be this many times the input, and a fixed part on top for instructions and schemas.
constexpr std::size_t kOutputPerInput = 4;
constexpr std::size_t kOutputSlackBytes = std::size_t{1} << 20;

Value trusted(std::string_view text) {
    return Value::string(std::string(text));
}

Value user(std::string_view text) {
    return Value::string(std::string(text), Origin::user);
}

std::string_view role_name(gen::Role role) noexcept {
    switch (role) {
    case gen::Role::system:
        return "system";
    case gen::Role::user:
        return "user";
    case gen::Role::assistant:
        return "assistant";
    case gen::Role::tool:
        return "tool";
    }
    return "user";
}

std::string joined_content(const gen::Message& message) {
    std::string out;
    for (const gen::Part& part : message.content)
        out += part.text;
    return out;
}

Result<Value> parsed_arguments(const gen::ToolCall& call) {
    if (call.arguments.empty()) return Value::dict({}); // many clients write no arguments so
    auto value = Value::from_json(call.arguments, Origin::user);
    if (!value || !value->is(Kind::dict)) {
        return Error{
            Code::invalid_argument,
            fmt::format("the arguments of tool call {} are not a JSON object", quoted(call.name))};
    }
    return *std::move(value);
}

Result<Value> call_value(const gen::ToolCall& call) {
    BLOOM_TRY(Value arguments, parsed_arguments(call));
    Members function;
    function.emplace_back(trusted("name"), user(call.name));
    function.emplace_back(trusted("arguments"), std::move(arguments));
    Members out;
    out.emplace_back(trusted("id"), user(call.id));
    out.emplace_back(trusted("type"), trusted("function"));
    out.emplace_back(trusted("function"), Value::dict(std::move(function)));
    return Value::dict(std::move(out));
}

Result<Value> tool_value(const gen::ToolDefinition& tool) {
    Members function;
    function.emplace_back(trusted("name"), user(tool.name));
    if (!tool.description.empty()) {
        function.emplace_back(trusted("description"), user(tool.description));
    }
    if (!tool.parameters.empty()) {
        auto schema = Value::from_json(tool.parameters, Origin::user);
        if (!schema) {
            return Error{
                Code::invalid_argument,
                fmt::format("the parameters of tool {} are not valid JSON", quoted(tool.name))};
        }
        function.emplace_back(trusted("parameters"), *std::move(schema));
    }
    if (tool.strict) function.emplace_back(trusted("strict"), Value::boolean(true));
    Members out;
    out.emplace_back(trusted("type"), trusted("function"));
    out.emplace_back(trusted("function"), Value::dict(std::move(function)));
    return Value::dict(std::move(out));
}

/// A message on its way into the template, still open to changes.
struct Draft {
    const gen::Message* from = nullptr;
    std::string content;
    std::vector<Value> responses; ///< for templates that know no tool role
};

/// The call that a result belongs to, by id; its name is what Gemma prints.
std::string_view called_name(const gen::Message& assistant, const gen::Message& result) {
    for (const gen::ToolCall& call : assistant.tool_calls) {
        if (call.id == result.tool_call_id) return call.name;
    }
    return result.name;
}

std::vector<Draft> draft_messages(const std::vector<gen::Message>& messages, bool tool_responses) {
    std::vector<Draft> out;
    for (const gen::Message& message : messages) {
        std::string content = joined_content(message);
        Draft* const last = out.empty() ? nullptr : &out.back();
        const bool after_assistant =
            tool_responses && last != nullptr && last->from->role == gen::Role::assistant;
        if (after_assistant && message.role == gen::Role::tool) {
            Members response;
            const std::string_view name = called_name(*last->from, message);
            if (!name.empty()) response.emplace_back(trusted("name"), user(name));
            response.emplace_back(trusted("response"), user(content));
            last->responses.push_back(Value::dict(std::move(response)));
        } else if (after_assistant && !last->responses.empty() &&
                   message.role == gen::Role::assistant && message.tool_calls.empty()) {
            if (!last->content.empty()) last->content += '\n';
            last->content += content;
        } else {
            out.push_back({&message, std::move(content), {}});
        }
    }
    return out;
}

Result<Value> message_value(const Draft& draft, bool reasoning_alias) {
    const gen::Message& message = *draft.from;
    Members out;
    // Roles are trusted: templates build their markers from them, and only four exist.
    out.emplace_back(trusted("role"), trusted(role_name(message.role)));
    out.emplace_back(trusted("content"), user(draft.content));
    if (!message.name.empty()) out.emplace_back(trusted("name"), user(message.name));
    if (!message.reasoning.empty()) {
        out.emplace_back(trusted("reasoning_content"), user(message.reasoning));
        if (reasoning_alias) out.emplace_back(trusted("reasoning"), user(message.reasoning));
    }
    if (!message.tool_calls.empty()) {
        std::vector<Value> calls;
        for (const gen::ToolCall& call : message.tool_calls) {
            BLOOM_TRY(Value value, call_value(call));
            calls.push_back(std::move(value));
        }
        out.emplace_back(trusted("tool_calls"), Value::list(std::move(calls)));
    }
    if (!draft.responses.empty()) {
        out.emplace_back(trusted("tool_responses"), Value::list(draft.responses));
    }
    if (!message.tool_call_id.empty()) {
        out.emplace_back(trusted("tool_call_id"), user(message.tool_call_id));
    }
    return Value::dict(std::move(out));
}

std::size_t input_bytes(const gen::Generation& request) {
    std::size_t n = 0;
    for (const gen::Message& message : request.messages) {
        for (const gen::Part& part : message.content)
            n += part.text.size();
        n += message.reasoning.size();
        for (const gen::ToolCall& call : message.tool_calls)
            n += call.arguments.size();
    }
    for (const gen::ToolDefinition& tool : request.tmpl.tools) {
        n += tool.description.size() + tool.parameters.size();
    }
    return n;
}

/// Whether the last think tag in the text is an opening one.
bool ends_in_reasoning(std::string_view text) noexcept {
    static constexpr std::string_view kTags[][2] = {{"<think>", "</think>"},
                                                    {"<|channel>thought", "<channel|>"}};
    for (const auto& [open, close] : kTags) {
        const std::size_t opened = text.rfind(open);
        if (opened == std::string_view::npos) continue;
        const std::size_t closed = text.rfind(close);
        if (closed == std::string_view::npos || closed < opened) return true;
    }
    return false;
}

/// Cuts the text behind the message to be continued and drops the mark that showed where.
Result<> cut_at_prefill(RenderedPrompt& prompt) {
    const std::size_t at = prompt.text.rfind(kPrefillEnd);
    if (at == std::string::npos) {
        return Error{Code::unsupported, "the chat template cannot continue an assistant message"};
    }
    prompt.text.resize(at);
    std::erase_if(prompt.user_ranges, [&](const jinja::ByteRange& r) { return r.begin >= at; });
    if (!prompt.user_ranges.empty() && prompt.user_ranges.back().end > at) {
        prompt.user_ranges.back().end = static_cast<std::uint32_t>(at);
    }
    return {};
}

} // namespace

std::string_view to_string(OutputFormat format) noexcept {
    static constexpr std::string_view kNames[] = {"plain",       "hermes_json", "qwen_xml",
                                                  "minimax_xml", "gemma",       "llama_json"};
    return kNames[static_cast<std::size_t>(format)];
}

OutputFormat detect_output_format(std::string_view source) noexcept {
    const auto has = [&](std::string_view what) {
        return source.find(what) != std::string_view::npos;
    };
    if (has("<minimax:tool_call>")) return OutputFormat::minimax_xml;
    if (has("<|tool_call>") && has("<tool_call|>")) return OutputFormat::gemma;
    if (has("<tool_call>") && has("<function=")) return OutputFormat::qwen_xml;
    if (has("<tool_call>") &&
        (has("\"arguments\"") || has("\\\"arguments\\\"") || has("tool_call.name"))) {
        return OutputFormat::hermes_json;
    }
    if (has("<|python_tag|>") || (has("<|start_header_id|>") && has("\"parameters\""))) {
        return OutputFormat::llama_json;
    }
    return OutputFormat::plain;
}

ChatTemplate::ChatTemplate(jinja::Template parsed, OutputFormat format,
                           const ChatTemplateOptions& options)
    : template_(std::move(parsed)), format_(format),
      wants_tool_responses_(template_.mentions("tool_responses") &&
                            !template_.mentions("tool_call_id")),
      wants_reasoning_(template_.mentions("reasoning")) {
    for (const auto& [name, text] : options.special_tokens) {
        special_tokens_.emplace_back(trusted(name), trusted(text));
    }
}

Result<ChatTemplate> ChatTemplate::create(std::string_view source, std::string_view name,
                                          const ChatTemplateOptions& options) {
    BLOOM_TRY(jinja::Template parsed, jinja::Template::parse(source, name));
    return ChatTemplate(std::move(parsed), detect_output_format(source), options);
}

Result<RenderedPrompt> ChatTemplate::render(const gen::Generation& request,
                                            const ChatRenderOptions& options) const {
    const bool continues = !request.messages.empty() &&
                           request.messages.back().role == gen::Role::assistant &&
                           request.messages.back().tool_calls.empty();
    std::vector<Draft> drafts = draft_messages(request.messages, wants_tool_responses_);
    if (continues) drafts.back().content += kPrefillEnd;
    std::vector<Value> messages;
    for (const Draft& draft : drafts) {
        BLOOM_TRY(Value value, message_value(draft, wants_reasoning_));
        messages.push_back(std::move(value));
    }
    Value tools = Value::none();
    if (!request.tmpl.tools.empty() && request.tmpl.tool_choice != gen::ToolChoice::none) {
        std::vector<Value> list;
        for (const gen::ToolDefinition& tool : request.tmpl.tools) {
            BLOOM_TRY(Value value, tool_value(tool));
            list.push_back(std::move(value));
        }
        tools = Value::list(std::move(list));
    }

    Members globals = special_tokens_;
    globals.emplace_back(trusted("messages"), Value::list(std::move(messages)));
    globals.emplace_back(trusted("tools"), std::move(tools));
    globals.emplace_back(trusted("documents"), Value::none());
    globals.emplace_back(trusted("add_generation_prompt"), Value::boolean(!continues));
    if (request.tmpl.enable_thinking) {
        globals.emplace_back(trusted("enable_thinking"),
                             Value::boolean(*request.tmpl.enable_thinking));
    }
    if (!request.tmpl.reasoning_effort.empty() && has_reasoning_effort()) {
        globals.emplace_back(trusted("reasoning_effort"), user(request.tmpl.reasoning_effort));
    }
    jinja::RenderLimits limits;
    limits.max_output_bytes = std::min(jinja::kMaxOutputBytes,
                                       kOutputPerInput * input_bytes(request) + kOutputSlackBytes);
    limits.keep_going = options.keep_going;
    limits.local_time_s = options.local_time_s;
    BLOOM_TRY(jinja::Rendered rendered, template_.render(Value::dict(std::move(globals)), limits));

    RenderedPrompt prompt;
    prompt.text = std::move(rendered.text);
    prompt.user_ranges = std::move(rendered.user_ranges);
    prompt.continues = continues;
    if (continues) BLOOM_OK(cut_at_prefill(prompt));
    // Only what the template wrote after the last user text can open a tag, except in a message
    // that the client began for the model.
    const bool begun = continues && drafts.back().content.size() > kPrefillEnd.size();
    const std::size_t tail = prompt.user_ranges.empty() ? 0
                             : begun                    ? prompt.user_ranges.back().begin
                                                        : prompt.user_ranges.back().end;
    prompt.in_reasoning = ends_in_reasoning(std::string_view(prompt.text).substr(tail));
    return prompt;
}

} // namespace bloom::text
