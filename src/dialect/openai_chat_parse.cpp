#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>
#include <unordered_set>

#include <fmt/format.h>

#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/openai_chat.hpp>

#include "dialect/request_fields.hpp"

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxMessages = 65'536;

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
    BLOOM_PARSE(call.arguments, read_string(*arguments, where + ".function.arguments"));
    return call;
}

std::optional<gen::Role> role_of(std::string_view name) {
    if (name == "system" || name == "developer") return gen::Role::system;
    if (name == "user") return gen::Role::user;
    if (name == "assistant") return gen::Role::assistant;
    if (name == "tool" || name == "function") return gen::Role::tool;
    return std::nullopt;
}

Parsed<gen::Message> parse_message(const json::Value& value, const std::string& where,
                                   std::string_view model) {
    const auto object = value.as_object();
    if (!object) return refuse_type(where, "an object", value);
    gen::Message message;
    bool has_role = false;
    bool has_content = false;
    bool needs_call_id = false;
    std::string refusal;
    for (const json::Member member : *object) {
        const std::string at = fmt::format("{}.{}", where, member.key);
        if (member.key == "role") {
            BLOOM_PARSE(const std::string role, read_string(member.value, at));
            const auto known = role_of(role);
            if (!known) {
                return refuse(
                    at,
                    fmt::format("Invalid value: '{}'. Supported roles are: 'system', 'developer', "
                                "'user', 'assistant', 'tool'.",
                                role.substr(0, 64)));
            }
            message.role = *known;
            has_role = true;
            needs_call_id = role == "tool";
        } else if (member.key == "content") {
            BLOOM_PARSE(message.content, parse_content(member.value, at, model));
            has_content = !member.value.is_null();
        } else if ((member.key == "reasoning_content" || member.key == "reasoning") &&
                   member.value.is_string()) {
            message.reasoning = std::string(*member.value.as_string());
        } else if (member.key == "refusal" && !member.value.is_null()) {
            BLOOM_PARSE(refusal, read_string(member.value, at));
        } else if (member.key == "name" && !member.value.is_null()) {
            BLOOM_PARSE(message.name, read_string(member.value, at));
        } else if (member.key == "tool_call_id" && !member.value.is_null()) {
            BLOOM_PARSE(message.tool_call_id, read_string(member.value, at));
        } else if (member.key == "tool_calls" && !member.value.is_null()) {
            const auto calls = member.value.as_array();
            if (!calls) return refuse_type(at, "an array", member.value);
            message.tool_calls.clear();
            for (const json::Value element : *calls) {
                BLOOM_PARSE(gen::ToolCall call,
                            parse_tool_call(element, path(at, message.tool_calls.size())));
                message.tool_calls.push_back(std::move(call));
            }
        }
    }
    if (!has_role) {
        return refuse(where + ".role", fmt::format("Missing required parameter: '{}.role'.", where),
                      "missing_required_parameter");
    }
    if (needs_call_id && message.tool_call_id.empty()) {
        return refuse(where + ".tool_call_id",
                      fmt::format("Missing required parameter: '{}.tool_call_id'.", where),
                      "missing_required_parameter");
    }
    if (!has_content && !refusal.empty() && message.role == gen::Role::assistant) {
        message.content.push_back({gen::Part::Kind::text, std::move(refusal)});
        has_content = true;
    }
    if (!has_content && message.tool_calls.empty()) {
        return refuse(where + ".content",
                      fmt::format("Missing required parameter: '{}.content'.", where),
                      "missing_required_parameter");
    }
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
    const auto is_empty_array = [&] {
        return member.value.is_array() && member.value.as_array()->empty();
    };
    const auto is_false = [&] {
        return member.value.kind() == json::Kind::boolean && !*member.value.as_bool();
    };
    if (member.key == "tools" || member.key == "functions") {
        if (is_empty_array()) return {};
        return refuse_unsupported(member.key, "is not supported by this node.");
    }
    if (member.key == "tool_choice" || member.key == "function_call") {
        if (member.value.is_string() &&
            (*member.value.as_string() == "none" || *member.value.as_string() == "auto")) {
            return {};
        }
        return refuse_unsupported(member.key, "is not supported by this node.");
    }
    if (member.key == "response_format") {
        const auto object = member.value.as_object();
        const auto type = object ? object->find("type") : std::nullopt;
        if (!type || !type->is_string()) {
            return refuse("response_format",
                          "Invalid 'response_format': expected an object with a 'type'.");
        }
        if (*type->as_string() == "text") return {};
        return refuse_unsupported("response_format",
                                  "other than {\"type\": \"text\"} is not supported by this node.");
    }
    if (member.key == "n") {
        BLOOM_PARSE(const std::int64_t n, read_int(member.value, "n", 1, 128));
        if (n == 1) return {};
        return refuse_unsupported("n", "greater than 1 is not supported by this node.");
    }
    if (member.key == "logprobs") {
        BLOOM_PARSE(const bool wanted, read_bool(member.value, "logprobs"));
        if (!wanted) return {};
        return refuse_unsupported("logprobs", "is not supported by this node.");
    }
    if (member.key == "top_logprobs") {
        BLOOM_PARSE(const std::int64_t n, read_int(member.value, "top_logprobs", 0, 20));
        if (n == 0) return {};
        return refuse_unsupported("top_logprobs", "is not supported by this node.");
    }
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
        if (is_false()) return {};
        return refuse_unsupported(member.key, "is not supported by this node.");
    }
    return {};
}

/// Members that say how the answer is delivered; true when the member was one.
Parsed<bool> read_delivery(const json::Member& m, gen::Generation& g) {
    if (m.key == "stream") {
        BLOOM_PARSE(g.render.stream, read_bool(m.value, m.key));
    } else if (m.key == "stream_options") {
        const auto options = m.value.as_object();
        if (!options) return refuse_type(m.key, "an object", m.value);
        if (const auto usage = options->find("include_usage"); usage && !usage->is_null()) {
            BLOOM_PARSE(g.render.include_usage, read_bool(*usage, "stream_options.include_usage"));
        }
    } else if (m.key == "stop") {
        BLOOM_PARSE(g.limits.stop, read_stop(m.value, m.key));
    } else if (m.key == "reasoning_effort") {
        BLOOM_PARSE_VOID(read_effort(m.value, m.key, g.tmpl));
    } else if (m.key == "reasoning_format") {
        BLOOM_PARSE(const std::string format, read_string(m.value, m.key));
        if (format == "parsed") {
            g.render.reasoning = gen::ReasoningMode::parsed;
        } else if (format == "hidden") {
            g.render.reasoning = gen::ReasoningMode::hidden;
        } else if (format == "raw") {
            g.render.reasoning = gen::ReasoningMode::raw;
        } else {
            return refuse(m.key,
                          "Invalid 'reasoning_format': expected 'parsed', 'hidden' or 'raw'.");
        }
    } else if (m.key == "chat_template_kwargs") {
        const auto kwargs = m.value.as_object();
        if (!kwargs) return refuse_type(m.key, "an object", m.value);
        if (const auto thinking = kwargs->find("enable_thinking");
            thinking && !thinking->is_null()) {
            BLOOM_PARSE(g.tmpl.enable_thinking,
                        read_bool(*thinking, "chat_template_kwargs.enable_thinking"));
        }
    } else {
        return false;
    }
    return true;
}

} // namespace

Parsed<gen::Generation> parse_openai_chat(const json::Value& body) {
    const auto object = body.as_object();
    if (!object) {
        return refuse({}, "The request body must be a JSON object.", "invalid_json");
    }
    gen::Generation g;
    g.render.dialect = gen::Dialect::openai_chat;
    std::int64_t max_tokens = 0;
    std::int64_t max_completion_tokens = 0;
    std::optional<json::Value> messages;
    for (const json::Member m : *object) {
        if (m.key == "messages") {
            messages = m.value;
            continue;
        }
        if (m.value.is_null()) continue; // null is the same as absent, except for messages
        if (m.key == "model") {
            BLOOM_PARSE(g.model, read_string(m.value, m.key));
            continue;
        }
        if (m.key == "max_tokens") {
            BLOOM_PARSE(max_tokens, read_token_limit(m));
            continue;
        }
        if (m.key == "max_completion_tokens") {
            BLOOM_PARSE(max_completion_tokens, read_token_limit(m));
            continue;
        }
        BLOOM_PARSE(const bool sampling, read_sampling(m, g.sampling));
        if (sampling) continue;
        BLOOM_PARSE(const bool routing, read_routing(m, g.routing));
        if (routing) continue;
        BLOOM_PARSE(const bool delivery, read_delivery(m, g));
        if (delivery) continue;
        auto supported = check_unsupported(m);
        if (!supported) return std::unexpected(std::move(supported).error());
    }
    if (g.model.empty()) {
        return refuse("model", "Missing required parameter: 'model'.",
                      "missing_required_parameter");
    }
    if (!messages) {
        return refuse("messages", "Missing required parameter: 'messages'.",
                      "missing_required_parameter");
    }
    BLOOM_PARSE(g.messages, parse_messages(*messages, g.model));
    g.render.model = g.model;
    g.limits.max_tokens = output_bound(max_tokens > 0 ? max_tokens : max_completion_tokens);
    return g;
}

namespace {

Parsed<Request> parse_chat_request(const json::Value& body) {
    Request request;
    BLOOM_PARSE(request.generation, parse_openai_chat(body));
    return request;
}

std::string chat_response_id(std::string_view job_id) {
    return "chatcmpl-" + std::string(job_id);
}

} // namespace

constinit const Dialect kOpenAiChat{.id = gen::Dialect::openai_chat,
                                    .parse = &parse_chat_request,
                                    .make_encoder = &make_openai_chat_encoder,
                                    .envelope = Envelope::openai,
                                    .response_id = &chat_response_id,
                                    .keep_alive = kKeepAliveComment};

} // namespace bloom::dialect
