#include <optional>
#include <string_view>

#include <fmt/format.h>

#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/openai_chat.hpp>

#include "dialect/request_fields.hpp"
#include "dialect/tool_fields.hpp"

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxMessages = 65'536;
constexpr std::int64_t kMaxTopLogprobs = 20;

Parsed<gen::Part> parse_part(const json::Value& value, const std::string& where,
                             std::string_view model) {
    const auto object = value.as_object();
    if (!object) return refuse_type(where, "an object", value);
    const auto type = object->find("type");
    if (!type || !type->is_string()) {
        return refuse(where + ".type", fmt::format("Missing required parameter: '{}.type'.", where),
                      "missing_required_parameter");
    }
    const std::string_view kind = *type->as_string();
    // A refusal that an assistant message of the history holds is text to the model.
    if (kind != "text" && kind != "refusal") return refuse_part(where + ".type", kind, model);
    const std::string at = fmt::format("{}.{}", where, kind); // the text has its type's name
    const auto text = object->find(kind);
    if (!text) {
        return refuse(at, fmt::format("Missing required parameter: '{}'.", at),
                      "missing_required_parameter");
    }
    BLOOM_PARSE(std::string content, read_string(*text, at));
    return gen::Part{gen::Part::Kind::text, std::move(content)};
}

Parsed<std::vector<gen::Part>> parse_content(const json::Value& value, const std::string& where,
                                             std::string_view model) {
    std::vector<gen::Part> parts;
    if (value.is_null()) return parts;
    if (value.is_string()) {
        parts.push_back({gen::Part::Kind::text, std::string(*value.as_string())});
        return parts;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type(where, "a string or an array of parts", value);
    for (const json::Value element : *array) {
        BLOOM_PARSE(gen::Part part, parse_part(element, path(where, parts.size()), model));
        parts.push_back(std::move(part));
    }
    return parts;
}

Parsed<gen::ToolCall> parse_tool_call(const json::Value& value, const std::string& where) {
    const auto object = value.as_object();
    if (!object) return refuse_type(where, "an object", value);
    gen::ToolCall call;
    const auto id = object->find("id");
    const auto function = object->find("function");
    if (!id || !function || !function->is_object()) {
        const char* missing = id ? ".function" : ".id";
        return refuse(where + missing,
                      fmt::format("Missing required parameter: '{}{}'.", where, missing),
                      "missing_required_parameter");
    }
    BLOOM_PARSE(call.id, read_string(*id, where + ".id"));
    const auto members = *function->as_object();
    const auto name = members.find("name");
    const auto arguments = members.find("arguments");
    if (!name || !arguments) {
        const char* missing = name ? ".function.arguments" : ".function.name";
        return refuse(where + missing,
                      fmt::format("Missing required parameter: '{}{}'.", where, missing),
                      "missing_required_parameter");
    }
    BLOOM_PARSE(call.name, read_string(*name, where + ".function.name"));
    BLOOM_PARSE(call.arguments, read_arguments(*arguments, where + ".function.arguments"));
    return call;
}

/// `function_call` of an assistant message: what `tool_calls` were called before.
Parsed<gen::ToolCall> parse_function_call(const json::Value& value, const std::string& where) {
    const auto members = value.as_object();
    if (!members) return refuse_type(where, "an object", value);
    const auto name = members->find("name");
    const auto arguments = members->find("arguments");
    if (!name || !arguments) {
        const std::string missing = where + (name ? ".arguments" : ".name");
        return refuse(missing, fmt::format("Missing required parameter: '{}'.", missing),
                      "missing_required_parameter");
    }
    gen::ToolCall call;
    BLOOM_PARSE(call.name, read_string(*name, where + ".name"));
    BLOOM_PARSE(call.arguments, read_arguments(*arguments, where + ".arguments"));
    call.id = "call_" + call.name;
    return call;
}

std::optional<gen::Role> role_of(std::string_view name) {
    if (name == "system" || name == "developer") return gen::Role::system;
    if (name == "user") return gen::Role::user;
    if (name == "assistant") return gen::Role::assistant;
    if (name == "tool" || name == "function") return gen::Role::tool;
    return std::nullopt;
}

/// What a message has besides what goes into gen::Message.
struct MessageState {
    bool has_role = false;
    bool has_content = false;
    bool needs_call_id = false;
    std::string refusal;
};

Parsed<void> read_role(const json::Value& value, const std::string& at, gen::Message& message,
                       MessageState& state) {
    BLOOM_PARSE(const std::string role, read_string(value, at));
    const auto known = role_of(role);
    if (!known) {
        return refuse(at, fmt::format("Invalid value: '{}'. Supported roles are: 'system', "
                                      "'developer', 'user', 'assistant', 'tool'.",
                                      role.substr(0, 64)));
    }
    message.role = *known;
    state.has_role = true;
    state.needs_call_id = role == "tool";
    return {};
}

Parsed<void> read_message_member(const json::Member& member, const std::string& at,
                                 std::string_view model, gen::Message& message,
                                 MessageState& state) {
    if (member.key == "role") return read_role(member.value, at, message, state);
    if (member.key == "content") {
        BLOOM_PARSE(message.content, parse_content(member.value, at, model));
        state.has_content = !member.value.is_null();
    } else if (member.value.is_null()) {
        return {}; // the same as absent
    } else if (member.key == "reasoning_content" || member.key == "reasoning") {
        if (member.value.is_string()) message.reasoning = std::string(*member.value.as_string());
    } else if (member.key == "refusal") {
        BLOOM_PARSE(state.refusal, read_string(member.value, at));
    } else if (member.key == "name") {
        BLOOM_PARSE(message.name, read_string(member.value, at));
    } else if (member.key == "tool_call_id") {
        BLOOM_PARSE(message.tool_call_id, read_string(member.value, at));
    } else if (member.key == "function_call") {
        BLOOM_PARSE(gen::ToolCall call, parse_function_call(member.value, at));
        message.tool_calls.assign(1, std::move(call));
    } else if (member.key == "tool_calls") {
        const auto calls = member.value.as_array();
        if (!calls) return refuse_type(at, "an array", member.value);
        message.tool_calls.clear();
        for (const json::Value element : *calls) {
            BLOOM_PARSE(gen::ToolCall call,
                        parse_tool_call(element, path(at, message.tool_calls.size())));
            message.tool_calls.push_back(std::move(call));
        }
    }
    return {};
}

std::unexpected<RequestError> missing(std::string param) {
    std::string message = fmt::format("Missing required parameter: '{}'.", param);
    return refuse(param, std::move(message), "missing_required_parameter");
}

Parsed<gen::Message> parse_message(const json::Value& value, const std::string& where,
                                   std::string_view model) {
    const auto object = value.as_object();
    if (!object) return refuse_type(where, "an object", value);
    gen::Message message;
    MessageState state;
    for (const json::Member member : *object) {
        const std::string at = fmt::format("{}.{}", where, member.key.substr(0, 64));
        BLOOM_PARSE_VOID(read_message_member(member, at, model, message, state));
    }
    if (!state.has_role) return missing(where + ".role");
    if (state.needs_call_id && message.tool_call_id.empty())
        return missing(where + ".tool_call_id");
    const bool assistant = message.role == gen::Role::assistant;
    if (!assistant && !message.tool_calls.empty()) {
        return refuse(where + ".tool_calls",
                      "Messages with 'tool_calls' must have the role 'assistant'.");
    }
    if (!state.has_content && assistant && !state.refusal.empty()) {
        message.content.push_back({gen::Part::Kind::text, std::move(state.refusal)});
        state.has_content = true;
    }
    const bool says_something = !message.tool_calls.empty() || !message.reasoning.empty();
    if (!state.has_content && !(assistant && says_something)) return missing(where + ".content");
    return message;
}

Parsed<std::vector<gen::Message>> parse_messages(const json::Value& value, std::string_view model) {
    const auto array = value.as_array();
    if (!array) return refuse_type("messages", "an array of messages", value);
    std::vector<gen::Message> messages;
    for (const json::Value element : *array) {
        if (messages.size() == kMaxMessages) {
            return refuse("messages",
                          fmt::format("Invalid 'messages': more than {} messages.", kMaxMessages));
        }
        BLOOM_PARSE(gen::Message message,
                    parse_message(element, path("messages", messages.size()), model));
        messages.push_back(std::move(message));
    }
    if (messages.empty()) {
        return refuse(
            "messages",
            "Invalid 'messages': empty array. Expected an array with at least one message.");
    }
    BLOOM_PARSE_VOID(check_tool_results(messages, "messages"));
    return messages;
}

/// Members that select something this node cannot do; the harmless value of each passes.
Parsed<void> check_unsupported(const json::Member& member) {
    const bool is_false = member.value.kind() == json::Kind::boolean && !*member.value.as_bool();
    if (member.key == "modalities") {
        const auto array = member.value.as_array();
        if (!array) return refuse_type("modalities", "an array", member.value);
        for (const json::Value element : *array) {
            if (!element.is_string() || *element.as_string() != "text") {
                return refuse_unsupported("modalities",
                                          "other than [\"text\"] is not supported by this node.");
            }
        }
        return {};
    }
    if (member.key == "audio" || member.key == "prediction" || member.key == "web_search_options") {
        if (is_false) return {};
        return refuse_unsupported(member.key, "is not supported by this node.");
    }
    return {};
}

/// Members that can only be understood when all have been read.
struct Deferred {
    std::optional<json::Value> messages;
    std::optional<json::Value> tools;
    std::optional<json::Value> tool_choice;
    std::optional<json::Value> functions;
    std::optional<json::Value> function_call;
    std::int64_t max_tokens = 0;
    std::int64_t max_completion_tokens = 0;
};

/// True when the member was one that is kept for later.
Parsed<bool> defer(const json::Member& m, Deferred& later) {
    if (m.key == "messages") {
        later.messages = m.value;
    } else if (m.value.is_null()) {
        return true; // null is the same as absent, except for messages
    } else if (m.key == "tools") {
        later.tools = m.value;
    } else if (m.key == "tool_choice") {
        later.tool_choice = m.value;
    } else if (m.key == "functions") {
        later.functions = m.value;
    } else if (m.key == "function_call") {
        later.function_call = m.value;
    } else if (m.key == "max_tokens") {
        BLOOM_PARSE(later.max_tokens, read_token_limit(m));
    } else if (m.key == "max_completion_tokens") {
        BLOOM_PARSE(later.max_completion_tokens, read_token_limit(m));
    } else {
        return false;
    }
    return true;
}

/// Members that say what the answer holds; true when the member was one.
Parsed<bool> read_answer(const json::Member& m, Request& request) {
    gen::Generation& g = request.generation;
    if (m.key == "model") {
        BLOOM_PARSE(g.model, read_string(m.value, m.key));
    } else if (m.key == "n") {
        BLOOM_PARSE(g.n_choices, read_choices(m.value, m.key));
    } else if (m.key == "logprobs") {
        BLOOM_PARSE(g.sampling.logprobs, read_bool(m.value, m.key));
    } else if (m.key == "top_logprobs") {
        BLOOM_PARSE(const std::int64_t n, read_int(m.value, m.key, 0, kMaxTopLogprobs));
        g.sampling.top_logprobs = static_cast<std::int32_t>(n);
    } else if (m.key == "parallel_tool_calls") {
        BLOOM_PARSE(g.tmpl.parallel_tool_calls, read_bool(m.value, m.key));
    } else if (m.key == "response_format") {
        BLOOM_PARSE(g.format, read_output_format(m.value, m.key));
    } else if (m.key == "metadata_details") {
        BLOOM_PARSE(request.metadata_details, read_bool(m.value, m.key));
    } else {
        return false;
    }
    return true;
}

/// `functions` and `function_call`, from before there were tools: one call at most, and it is
/// answered in their shape.
Parsed<void> read_functions(const Deferred& later, gen::Generation& g) {
    const auto array = later.functions->as_array();
    if (!array) return refuse_type("functions", "an array", *later.functions);
    if (array->empty()) return {};
    if (!g.tmpl.tools.empty()) {
        return refuse("functions", "Invalid 'functions': 'tools' describe functions already; a "
                                   "request can have only one of the two.");
    }
    for (const json::Value element : *array) {
        const std::string at = path("functions", g.tmpl.tools.size());
        const auto function = element.as_object();
        if (!function) return refuse_type(at, "an object", element);
        BLOOM_PARSE(gen::ToolDefinition tool, read_function(*function, at, "parameters"));
        if (g.tmpl.tools.size() == kMaxTools)
            return refuse("functions",
                          fmt::format("Invalid 'functions': at most {} of them.", kMaxTools));
        g.tmpl.tools.push_back(std::move(tool));
    }
    g.tmpl.parallel_tool_calls = false;
    g.render.function_calls = true;
    return {};
}

/// `none`, `auto` or `{"name":..}`.
Parsed<void> read_function_choice(const json::Value& value, gen::TemplateOptions& options) {
    if (!value.is_object()) return read_tool_choice(value, "function_call", options);
    const auto name = value.as_object()->find("name");
    if (!name) return missing("function_call.name");
    BLOOM_PARSE(options.tool_name, read_string(*name, "function_call.name"));
    options.tool_choice = gen::ToolChoice::named;
    return {};
}

Parsed<void> finish(const Deferred& later, gen::Generation& g) {
    if (g.model.empty()) return missing("model");
    if (!later.messages) return missing("messages");
    BLOOM_PARSE(g.messages, parse_messages(*later.messages, g.model));
    if (later.tools) {
        BLOOM_PARSE(g.tmpl.tools, read_tools(*later.tools, "tools"));
    }
    if (later.functions) BLOOM_PARSE_VOID(read_functions(later, g));
    if (later.tool_choice)
        BLOOM_PARSE_VOID(read_tool_choice(*later.tool_choice, "tool_choice", g.tmpl));
    if (later.function_call) BLOOM_PARSE_VOID(read_function_choice(*later.function_call, g.tmpl));
    BLOOM_PARSE_VOID(check_tools(g.tmpl));
    if (g.sampling.top_logprobs > 0 && !g.sampling.logprobs) {
        return refuse("top_logprobs",
                      "Invalid 'top_logprobs': it needs 'logprobs' to be set to true.");
    }
    g.render.logprobs = g.sampling.logprobs;
    g.render.model = g.model;
    g.limits.max_tokens =
        output_bound(later.max_tokens > 0 ? later.max_tokens : later.max_completion_tokens);
    return {};
}

} // namespace

Parsed<Request> parse_openai_chat(const json::Value& body) {
    const auto object = body.as_object();
    if (!object) return refuse({}, "The request body must be a JSON object.", "invalid_json");
    Request request;
    gen::Generation& g = request.generation;
    g.render.dialect = gen::Dialect::openai_chat;
    Deferred later;
    for (const json::Member m : *object) {
        BLOOM_PARSE(const bool deferred, defer(m, later));
        if (deferred) continue;
        BLOOM_PARSE(const bool answer, read_answer(m, request));
        if (answer) continue;
        BLOOM_PARSE(const bool sampling, read_sampling(m, g.sampling));
        if (sampling) continue;
        BLOOM_PARSE(const bool routing, read_routing(m, g.routing));
        if (routing) continue;
        BLOOM_PARSE(const bool delivery, read_delivery(m, g));
        if (delivery) continue;
        BLOOM_PARSE_VOID(check_unsupported(m));
    }
    BLOOM_PARSE_VOID(finish(later, g));
    return request;
}

namespace {

std::string chat_response_id(std::string_view job_id) {
    return "chatcmpl-" + std::string(job_id);
}

} // namespace

constinit const Dialect kOpenAiChat{.id = gen::Dialect::openai_chat,
                                    .parse = &parse_openai_chat,
                                    .make_encoder = &make_openai_chat_encoder,
                                    .envelope = Envelope::openai,
                                    .response_id = &chat_response_id,
                                    .keep_alive = kKeepAliveComment};

} // namespace bloom::dialect
