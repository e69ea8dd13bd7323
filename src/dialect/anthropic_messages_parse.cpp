#include "dialect/anthropic_messages_parse.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include <bloom/dialect/anthropic_messages.hpp>

#include "dialect/render.hpp"
#include "dialect/tool_fields.hpp"

namespace bloom::dialect {
namespace {

using anthropic::at;
using anthropic::bad;
using anthropic::missing;
using anthropic::not_a;

constexpr std::int64_t kMaxTokenLimit = std::numeric_limits<std::int32_t>::max();

/// What `thinking` says; where it says nothing, the template's own default holds.
enum class Thinking : std::uint8_t { unset, off, on, adaptive };

/// The body's members on their way into the request, where one needs another.
struct Draft {
    Request request;
    std::optional<json::Value> messages;
    std::string system;
    std::optional<std::int64_t> max_tokens;
    Thinking thinking = Thinking::unset;
};

/// The `type` of an object that is told apart by it.
Parsed<std::string> type_of(const json::Value& value, const std::string& where) {
    const auto members = value.as_object();
    if (!members) return not_a(where, "dictionary");
    const auto type = members->find("type");
    if (!type) return missing(where + ".type");
    if (!type->is_string()) return not_a(where + ".type", "string");
    return std::string(*type->as_string());
}

Parsed<bool> flag(const json::Value& value, std::string_view where) {
    const auto set = value.as_bool();
    if (!set) return not_a(where, "boolean");
    return *set;
}

Parsed<std::int64_t> read_max_tokens(const json::Value& value) {
    if (value.kind() == json::Kind::unsigned_integer) return kMaxTokenLimit;
    const auto n = value.as_int64();
    if (!n) return not_a("max_tokens", "integer");
    if (*n < 1) return bad("max_tokens", "Input should be greater than or equal to 1");
    return std::min(*n, kMaxTokenLimit);
}

Parsed<std::vector<std::string>> read_stops(const json::Value& value) {
    if (!value.is_array()) return not_a("stop_sequences", "list");
    return read_stop(value, "stop_sequences");
}

/// The budget bounds nothing here that `max_tokens` does not.
Parsed<void> read_thinking(const json::Value& value, Draft& draft) {
    gen::Generation& g = draft.request.generation;
    BLOOM_PARSE(const std::string type, type_of(value, "thinking"));
    const auto members = *value.as_object();
    if (type == "disabled") {
        g.render.reasoning = gen::ReasoningMode::hidden;
        draft.thinking = Thinking::off;
        return {};
    }
    if (type == "enabled") {
        const auto budget = members.find("budget_tokens");
        if (!budget || budget->is_null()) return missing("thinking.enabled.budget_tokens");
        const bool huge = budget->kind() == json::Kind::unsigned_integer;
        const auto tokens = budget->as_int64();
        if (!tokens && !huge) return not_a("thinking.enabled.budget_tokens", "integer");
        if (!huge && *tokens < 1) {
            return bad("thinking.enabled.budget_tokens",
                       "Input should be greater than or equal to 1");
        }
        draft.thinking = Thinking::on;
    } else if (type == "adaptive" || type == "between_tools") {
        draft.thinking = Thinking::adaptive;
    } else {
        return bad("thinking.type",
                   "Input should be 'enabled', 'disabled', 'adaptive' or 'between_tools'");
    }
    const auto display = members.find("display");
    const bool omitted = display && display->is_string() && *display->as_string() == "omitted";
    g.render.reasoning = omitted ? gen::ReasoningMode::hidden : gen::ReasoningMode::parsed;
    return {};
}

Parsed<void> read_format(const json::Value& value, const std::string& where, gen::Generation& g) {
    BLOOM_PARSE(const std::string type, type_of(value, where));
    if (type != "json_schema") return bad(where + ".type", "Input should be 'json_schema'");
    BLOOM_PARSE(g.format, read_schema_format(*value.as_object(), where));
    g.format.strict = true; // this dialect knows no other
    return {};
}

Parsed<void> read_output_config(const json::Value& value, gen::Generation& g) {
    const auto members = value.as_object();
    if (!members) return not_a("output_config", "dictionary");
    if (const auto effort = members->find("effort"); effort && !effort->is_null())
        BLOOM_PARSE_VOID(read_effort(*effort, "output_config.effort", g.tmpl));
    if (const auto format = members->find("format"); format && !format->is_null())
        BLOOM_PARSE_VOID(read_format(*format, "output_config.format", g));
    return {};
}

Parsed<void> read_tools(const json::Value& value, gen::TemplateOptions& options) {
    const auto array = value.as_array();
    if (!array) return not_a("tools", "list");
    options.tools.clear();
    for (const json::Value element : *array) {
        BLOOM_PARSE(gen::ToolDefinition tool,
                    anthropic::read_tool(element, at("tools", options.tools.size())));
        options.tools.push_back(std::move(tool));
    }
    return {};
}

Parsed<void> read_tool_choice(const json::Value& value, gen::TemplateOptions& options) {
    BLOOM_PARSE(const std::string type, type_of(value, "tool_choice"));
    const auto members = *value.as_object();
    if (type == "auto") {
        options.tool_choice = gen::ToolChoice::automatic;
    } else if (type == "any") {
        options.tool_choice = gen::ToolChoice::required;
    } else if (type == "none") {
        options.tool_choice = gen::ToolChoice::none;
    } else if (type == "tool") {
        const auto name = members.find("name");
        if (!name) return missing("tool_choice.tool.name");
        if (!name->is_string()) return not_a("tool_choice.tool.name", "string");
        options.tool_choice = gen::ToolChoice::named;
        options.tool_name = std::string(*name->as_string());
    } else {
        return bad("tool_choice.type", "Input should be 'auto', 'any', 'tool' or 'none'");
    }
    if (const auto single = members.find("disable_parallel_tool_use");
        single && !single->is_null()) {
        BLOOM_PARSE(const bool is_single, flag(*single, "tool_choice.disable_parallel_tool_use"));
        options.parallel_tool_calls = !is_single;
    }
    return {};
}

/// Members that select something this node cannot do.
Parsed<void> check_unsupported(const json::Member& m) {
    const bool is_empty = (m.value.is_array() && m.value.as_array()->empty()) ||
                          (m.value.is_object() && m.value.as_object()->empty()) ||
                          (m.value.is_string() && m.value.as_string()->empty());
    if ((m.key == "container" || m.key == "mcp_servers") && !is_empty) {
        return bad(m.key, "Not supported by this node, which runs no tools itself",
                   "unsupported_parameter");
    }
    // A conversation that the server would hold: it may begin, which changes nothing, but what went
    // before is not here to go on from.
    if (m.key == "thread" && m.value.is_object()) {
        BLOOM_PARSE(const std::string type, type_of(m.value, "thread"));
        if (type == "continue") {
            return bad("thread.previous_message_id", "No thread ends with this message",
                       "thread_not_found");
        }
    }
    return {};
}

/// Members about tools and what comes out; true when the member was one.
Parsed<bool> read_output(const json::Member& m, Draft& draft) {
    gen::Generation& g = draft.request.generation;
    if (m.key == "thinking") {
        BLOOM_PARSE_VOID(read_thinking(m.value, draft));
    } else if (m.key == "output_config") {
        BLOOM_PARSE_VOID(read_output_config(m.value, g));
    } else if (m.key == "output_format") {
        BLOOM_PARSE_VOID(read_format(m.value, "output_format", g));
    } else if (m.key == "tools") {
        BLOOM_PARSE_VOID(read_tools(m.value, g.tmpl));
    } else if (m.key == "tool_choice") {
        BLOOM_PARSE_VOID(read_tool_choice(m.value, g.tmpl));
    } else if (m.key == "stop_sequences") {
        BLOOM_PARSE(g.limits.stop, read_stops(m.value));
    } else if (m.key == "context_management") {
        // Nothing is ever cleared here; clients that ask want to be told so.
        g.render.echoed = R"({"applied_edits":[]})";
    } else {
        return false;
    }
    return true;
}

Parsed<void> read_member(const json::Member& m, Draft& draft) {
    gen::Generation& g = draft.request.generation;
    if (m.key == "model") {
        if (!m.value.is_string()) return not_a("model", "string");
        g.model = std::string(*m.value.as_string());
        return {};
    }
    if (m.key == "max_tokens") {
        BLOOM_PARSE(draft.max_tokens, read_max_tokens(m.value));
        return {};
    }
    if (m.key == "system") {
        BLOOM_PARSE(draft.system, anthropic::read_system(m.value, "system"));
        return {};
    }
    if (m.key == "stream") {
        BLOOM_PARSE(g.render.stream, flag(m.value, m.key));
        return {};
    }
    if (m.key == "metadata_details") {
        BLOOM_PARSE(draft.request.metadata_details, flag(m.value, m.key));
        return {};
    }
    BLOOM_PARSE(const bool output, read_output(m, draft));
    if (output) return {};
    BLOOM_PARSE(const bool sampling, read_sampling(m, g.sampling));
    if (sampling) return {};
    BLOOM_PARSE(const bool routing, read_routing(m, g.routing));
    if (routing) return {};
    return check_unsupported(m);
}

/// An effort says how hard to think, `thinking` whether: only where that is left to the model does
/// one follow from the other.
void decide_thinking(Thinking asked, gen::TemplateOptions& options) {
    switch (asked) {
    case Thinking::unset:
        options.enable_thinking.reset();
        break;
    case Thinking::off:
        options.enable_thinking = false;
        break;
    case Thinking::on:
        options.enable_thinking = true;
        break;
    case Thinking::adaptive:
        break;
    }
}

/// The system prompt before the turns.
Parsed<void> place_messages(Draft& draft) {
    gen::Generation& g = draft.request.generation;
    BLOOM_PARSE(anthropic::Conversation talk,
                anthropic::read_conversation(*draft.messages, g.model));
    std::string system = std::move(draft.system);
    for (const std::string& more : talk.system) {
        if (!system.empty()) system += '\n';
        system += more;
    }
    if (!system.empty()) {
        gen::Message message;
        message.role = gen::Role::system;
        message.content.push_back({gen::Part::Kind::text, std::move(system)});
        g.messages.push_back(std::move(message));
    }
    std::ranges::move(talk.messages, std::back_inserter(g.messages));
    std::ranges::move(talk.added_tools, std::back_inserter(g.tmpl.tools));
    return check_tools(g.tmpl);
}

Parsed<Request> read_body(const json::Value& body, bool counting) {
    const auto members = body.as_object();
    if (!members) return refuse({}, "The request body must be a JSON object.", "invalid_json");
    Draft draft;
    gen::Generation& g = draft.request.generation;
    g.render.dialect = gen::Dialect::anthropic_messages;
    g.render.reasoning = gen::ReasoningMode::hidden; // shown to those who ask for it
    for (const json::Member m : *members) {
        if (m.key == "messages") {
            draft.messages = m.value;
        } else if (!m.value.is_null()) {
            BLOOM_PARSE_VOID(read_member(m, draft));
        }
    }
    if (g.model.empty()) return missing("model");
    if (!draft.messages) return missing("messages");
    if (!draft.max_tokens && !counting) return missing("max_tokens");
    BLOOM_PARSE_VOID(place_messages(draft));
    decide_thinking(draft.thinking, g.tmpl);
    g.render.model = g.model;
    g.limits.max_tokens = output_bound(draft.max_tokens.value_or(0));
    return std::move(draft.request);
}

/// `messages[0].content` as Anthropic writes it.
std::string dotted(std::string_view path) {
    std::string out;
    for (const char c : path) {
        if (c == ']') continue;
        out += c == '[' ? '.' : c;
    }
    return out;
}

/// What readers shared with other dialects say in their words, in the words of this one.
RequestError restate(RequestError error) {
    if (error.param.empty()) return error;
    const std::string param = dotted(error.param);
    std::string_view text = error.message;
    if (text.starts_with(param + ": ")) return error;
    const std::string quoted = fmt::format("'{}'", error.param);
    if (text == fmt::format("Missing required parameter: {}.", quoted)) {
        text = "Field required";
    } else {
        for (const char* const opening : {"Invalid ", "Invalid type for "}) {
            const std::string prefix = fmt::format("{}{}: ", opening, quoted);
            if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
        }
    }
    std::string message = fmt::format("{}: {}", param, text);
    char& first = message[param.size() + 2];
    first = static_cast<char>(std::toupper(static_cast<unsigned char>(first)));
    error.message = std::move(message);
    error.param = param;
    return error;
}

Parsed<Request> read(const json::Value& body, bool counting) {
    Parsed<Request> request = read_body(body, counting);
    if (!request) return std::unexpected(restate(std::move(request).error()));
    return request;
}

std::string message_id(std::string_view job_id) {
    return undashed_id("msg_", job_id);
}

constexpr std::string_view kPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

} // namespace

Parsed<Request> parse_anthropic_messages(const json::Value& body) {
    return read(body, false);
}

Parsed<Request> parse_anthropic_count(const json::Value& body) {
    return read(body, true);
}

constinit const Dialect kAnthropicMessages{.id = gen::Dialect::anthropic_messages,
                                           .parse = &parse_anthropic_messages,
                                           .make_encoder = &make_anthropic_messages_encoder,
                                           .envelope = Envelope::anthropic,
                                           .response_id = &message_id,
                                           .keep_alive = kPing,
                                           .after_first_event = kPing,
                                           .format_param = "output_config.format"};

} // namespace bloom::dialect
