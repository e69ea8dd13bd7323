#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>
#include <unordered_set>

#include <fmt/format.h>

#include <bloom/dialect/openai_chat.hpp>

#include "dialect/fields.hpp"

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxMessages = 65'536;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 512;
constexpr std::size_t kMaxLogitBias = 1024;
constexpr std::size_t kMaxSerials = 64;
constexpr std::int32_t kDefaultMaxTokens = 8192; // consumer API section 4.3
constexpr std::int64_t kMaxTokenLimit = std::numeric_limits<std::int32_t>::max();

/// `messages[3].content` and so on.
std::string path(std::string_view base, std::size_t index, std::string_view member = {}) {
    return member.empty() ? fmt::format("{}[{}]", base, index)
                          : fmt::format("{}[{}].{}", base, index, member);
}

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

/// A tool message must answer a call that an earlier assistant message made.
Parsed<void> check_tool_results(const std::vector<gen::Message>& messages) {
    std::unordered_set<std::string_view> called; // long histories: one pass
    for (std::size_t i = 0; i < messages.size(); ++i) {
        for (const gen::ToolCall& call : messages[i].tool_calls)
            called.insert(call.id);
        if (messages[i].role != gen::Role::tool || messages[i].tool_call_id.empty()) continue;
        if (!called.contains(messages[i].tool_call_id)) {
            return refuse(
                path("messages", i, "tool_call_id"),
                "Messages with role 'tool' must answer a preceding message with 'tool_calls'.");
        }
    }
    return {};
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
    auto checked = check_tool_results(messages);
    if (!checked) return std::unexpected(std::move(checked).error());
    return messages;
}

Parsed<std::vector<std::string>> parse_stop(const json::Value& value) {
    std::vector<std::string> stops;
    const auto add = [&](const json::Value& element, const std::string& where) -> Parsed<void> {
        BLOOM_PARSE(std::string stop, read_string(element, where));
        if (stop.empty() || stop.size() > kMaxStopBytes) {
            return refuse(where, fmt::format("Invalid '{}': a stop string has 1 to {} bytes.",
                                             where, kMaxStopBytes));
        }
        if (stops.size() == kMaxStops) {
            return refuse("stop",
                          fmt::format("Invalid 'stop': at most {} stop strings.", kMaxStops));
        }
        stops.push_back(std::move(stop));
        return {};
    };
    if (value.is_string()) {
        auto added = add(value, "stop");
        if (!added) return std::unexpected(std::move(added).error());
        return stops;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type("stop", "a string or an array of strings", value);
    std::size_t index = 0;
    for (const json::Value element : *array) {
        auto added = add(element, path("stop", index++));
        if (!added) return std::unexpected(std::move(added).error());
    }
    return stops;
}

Parsed<std::vector<gen::LogitBias>> parse_logit_bias(const json::Value& value) {
    const auto object = value.as_object();
    if (!object) return refuse_type("logit_bias", "an object", value);
    std::vector<gen::LogitBias> biases;
    for (const json::Member member : *object) {
        const std::string where = fmt::format("logit_bias.{}", member.key.substr(0, 32));
        std::int32_t token = -1;
        const char* const end = member.key.data() + member.key.size();
        const auto [at, failure] = std::from_chars(member.key.data(), end, token);
        if (failure != std::errc{} || at != end || token < 0) {
            return refuse(where, "Invalid 'logit_bias': its keys must be token ids.");
        }
        BLOOM_PARSE(const float bias, read_float(member.value, where, -100, 100));
        if (biases.size() == kMaxLogitBias) {
            return refuse("logit_bias",
                          fmt::format("Invalid 'logit_bias': at most {} tokens.", kMaxLogitBias));
        }
        biases.push_back({token, bias});
    }
    return biases;
}

Parsed<std::vector<std::string>> parse_serials(const json::Value& value, std::string_view param) {
    std::vector<std::string> serials;
    const auto add = [&](const json::Value& element) -> Parsed<void> {
        BLOOM_PARSE(std::string serial, read_string(element, param));
        const std::size_t first = serial.find_first_not_of(" \t");
        if (first == std::string::npos) {
            return refuse(param, fmt::format("Invalid '{}': a serial must not be empty.", param));
        }
        if (serials.size() == kMaxSerials) {
            return refuse(param,
                          fmt::format("Invalid '{}': at most {} machines.", param, kMaxSerials));
        }
        serials.push_back(serial.substr(first, serial.find_last_not_of(" \t") - first + 1));
        return {};
    };
    if (value.is_string()) {
        auto added = add(value);
        if (!added) return std::unexpected(std::move(added).error());
        return serials;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type(param, "a string or an array of strings", value);
    for (const json::Value element : *array) {
        auto added = add(element);
        if (!added) return std::unexpected(std::move(added).error());
    }
    if (serials.empty())
        return refuse(param, fmt::format("Invalid '{}': it names no machine.", param));
    return serials;
}

/// What a reasoning effort means for a template that can only think or not think.
Parsed<std::optional<bool>> parse_effort(const json::Value& value) {
    BLOOM_PARSE(const std::string effort, read_string(value, "reasoning_effort"));
    if (effort == "none" || effort == "minimal") return false;
    for (const std::string_view thinking : {"low", "medium", "high", "xhigh", "max"}) {
        if (effort == thinking) return true;
    }
    return refuse("reasoning_effort",
                  fmt::format("Invalid value: '{}'. Supported values are: 'none', 'minimal', "
                              "'low', 'medium', 'high', 'xhigh', 'max'.",
                              effort.substr(0, 64)));
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

/// Members that draw the next token; true when the member was one.
Parsed<bool> read_sampling(const json::Member& m, gen::Sampling& s) {
    constexpr double kSmallest = 1e-6; // the open lower end of (0, 1]
    if (m.key == "temperature") {
        BLOOM_PARSE(s.temperature, read_float(m.value, m.key, 0, 2));
    } else if (m.key == "top_p") {
        BLOOM_PARSE(s.top_p, read_float(m.value, m.key, kSmallest, 1));
    } else if (m.key == "top_k") {
        BLOOM_PARSE(const std::int64_t k, read_int(m.value, m.key, -1, kMaxTokenLimit));
        s.top_k = static_cast<std::int32_t>(std::max<std::int64_t>(k, 0));
    } else if (m.key == "min_p") {
        BLOOM_PARSE(s.min_p, read_float(m.value, m.key, 0, 1));
    } else if (m.key == "presence_penalty") {
        BLOOM_PARSE(s.presence_penalty, read_float(m.value, m.key, -2, 2));
    } else if (m.key == "frequency_penalty") {
        BLOOM_PARSE(s.frequency_penalty, read_float(m.value, m.key, -2, 2));
    } else if (m.key == "repetition_penalty") {
        BLOOM_PARSE(s.repetition_penalty, read_float(m.value, m.key, 0.01, 10));
    } else if (m.key == "seed") {
        BLOOM_PARSE(const std::int64_t seed,
                    read_int(m.value, m.key, std::numeric_limits<std::int64_t>::min(),
                             std::numeric_limits<std::int64_t>::max()));
        s.seed = static_cast<std::uint64_t>(seed);
    } else if (m.key == "logit_bias") {
        BLOOM_PARSE(s.logit_bias, parse_logit_bias(m.value));
    } else {
        return false;
    }
    return true;
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
        BLOOM_PARSE(g.limits.stop, parse_stop(m.value));
    } else if (m.key == "reasoning_effort") {
        BLOOM_PARSE(g.tmpl.enable_thinking, parse_effort(m.value));
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
    } else if (m.key == "provider_serial" || m.key == "provider_serials") {
        BLOOM_PARSE(std::vector<std::string> serials, parse_serials(m.value, m.key));
        for (std::string& serial : serials) {
            auto& known = g.routing.provider_serials;
            if (std::find(known.begin(), known.end(), serial) == known.end())
                known.push_back(std::move(serial));
        }
    } else {
        return false;
    }
    return true;
}

/// A bound on tokens: what no model reaches is cut in silence (consumer API section 4.3).
Parsed<std::int64_t> read_token_limit(const json::Member& m) {
    if (m.value.kind() == json::Kind::unsigned_integer) return kMaxTokenLimit;
    BLOOM_PARSE(const std::int64_t n,
                read_int(m.value, m.key, 0, std::numeric_limits<std::int64_t>::max()));
    return std::min(n, kMaxTokenLimit);
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
    const std::int64_t bound = max_tokens > 0 ? max_tokens : max_completion_tokens;
    g.limits.max_tokens = bound > 0 ? static_cast<std::int32_t>(bound) : kDefaultMaxTokens;
    return g;
}

} // namespace bloom::dialect
