#include <algorithm>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include <bloom/dialect/openai_responses.hpp>

#include "dialect/openai_responses.hpp"
#include "dialect/render.hpp"
#include "dialect/tool_fields.hpp"

namespace bloom::dialect {
namespace {

constexpr std::size_t kShownBytes = 64;
constexpr std::size_t kMaxMetadata = 16;      // OpenAI's bounds, as its clients know them
constexpr std::size_t kMaxMetadataKey = 64;   // characters
constexpr std::size_t kMaxMetadataText = 512; // characters
constexpr std::size_t kMaxSafetyId = 64;      // characters
constexpr std::int64_t kMaxToolCalls = 1'000'000;

/// Members of the request that the answer repeats, each as JSON text.
struct Echo {
    std::string instructions = "null";
    std::string max_output_tokens = "null";
    std::string max_tool_calls = "null";
    std::string metadata = "{}";
    std::string previous_response_id = "null";
    std::string prompt_cache_key = "null";
    std::string effort = "null";
    std::string summary = "null";
    std::string safety_identifier = "null";
    std::string temperature = "1.0";
    std::string top_p = "1.0";
    std::string presence_penalty = "0.0";
    std::string frequency_penalty = "0.0";
    std::string top_logprobs = "0";
    std::string format = R"({"type":"text"})";
    std::string verbosity; // left out unless it was given
    std::string tools = "[]";
    std::string tool_choice = R"("auto")";
    std::string user; // left out unless it was given
    bool parallel_tool_calls = true;
    bool store = false;

    /// All of them, `"name":value,..` without braces, in the order of their names.
    std::string members() const {
        std::string out;
        json::Writer w(out);
        w.begin_object();
        w.key("background").boolean(false);
        w.key("frequency_penalty").raw(frequency_penalty);
        w.key("instructions").raw(instructions);
        w.key("max_output_tokens").raw(max_output_tokens);
        w.key("max_tool_calls").raw(max_tool_calls);
        w.key("metadata").raw(metadata);
        w.key("parallel_tool_calls").boolean(parallel_tool_calls);
        w.key("presence_penalty").raw(presence_penalty);
        w.key("previous_response_id").raw(previous_response_id);
        w.key("prompt_cache_key").raw(prompt_cache_key);
        w.key("reasoning").begin_object().key("effort").raw(effort);
        w.key("summary").raw(summary).end_object();
        w.key("safety_identifier").raw(safety_identifier);
        w.key("service_tier").string("default"); // there is one only, whatever was asked for
        w.key("store").boolean(store);
        w.key("temperature").raw(temperature);
        w.key("text").begin_object().key("format").raw(format);
        if (!verbosity.empty()) w.key("verbosity").raw(verbosity);
        w.end_object();
        w.key("tool_choice").raw(tool_choice);
        w.key("tools").raw(tools);
        w.key("top_logprobs").raw(top_logprobs);
        w.key("top_p").raw(top_p);
        w.key("truncation").string("disabled");
        if (!user.empty()) w.key("user").raw(user);
        w.end_object();
        return out.substr(1, out.size() - 2);
    }
};

/// What is read while the members go by.
struct Draft {
    Request request;
    Echo echo;
    std::int64_t max_output_tokens = 0;
    std::int64_t max_tokens = 0;
    std::optional<json::Value> input;
    std::optional<json::Value> tool_choice;

    gen::Generation& generation() { return request.generation; }
};

std::size_t n_characters(std::string_view text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string quoted_json(std::string_view text) {
    std::string out;
    json::append_string(out, text);
    return out;
}

/// A member of an object that is there and not null.
std::optional<json::Value> given(const json::Object& members, std::string_view name) {
    const auto value = members.find(name);
    return value && !value->is_null() ? value : std::nullopt;
}

Parsed<void> read_reasoning(const json::Member& m, Draft& d) {
    const auto members = m.value.as_object();
    if (!members) return refuse_type(m.key, "an object", m.value);
    if (const auto effort = given(*members, "effort")) {
        BLOOM_PARSE_VOID(read_effort(*effort, "reasoning.effort", d.generation().tmpl));
        d.echo.effort = json_text(*effort);
    }
    std::string at = "reasoning.summary";
    auto summary = given(*members, "summary");
    if (!summary) {
        at = "reasoning.generate_summary"; // its old name
        summary = given(*members, "generate_summary");
    }
    if (!summary) return {};
    BLOOM_PARSE(const std::string kind, read_string(*summary, at));
    if (kind == "none") return {};
    if (kind != "auto" && kind != "concise" && kind != "detailed") {
        return refuse(at, fmt::format("Invalid value: '{}'. Supported values are: 'auto', "
                                      "'concise', and 'detailed'.",
                                      kind.substr(0, kShownBytes)));
    }
    d.generation().render.reasoning_summary = true;
    d.echo.summary = quoted_json(kind);
    return {};
}

/// As it was asked for. Clients' schemas want a description, which may be empty.
std::string format_text(const json::Object& members, const gen::OutputFormat& format) {
    std::string out;
    json::Writer w(out);
    if (format.kind != gen::OutputFormat::Kind::json_schema) {
        const bool object = format.kind == gen::OutputFormat::Kind::json_object;
        w.begin_object().key("type").string(object ? "json_object" : "text").end_object();
        return out;
    }
    const auto description = members.find("description");
    w.begin_object().key("type").string("json_schema").key("name").string(format.name);
    w.key("description");
    w.string(description && description->is_string() ? *description->as_string() : "");
    w.key("schema").raw(format.schema).key("strict").boolean(format.strict).end_object();
    return out;
}

Parsed<void> read_text(const json::Member& m, Draft& d) {
    const auto members = m.value.as_object();
    if (!members) return refuse_type(m.key, "an object", m.value);
    if (const auto format = given(*members, "format")) {
        BLOOM_PARSE(d.generation().format, read_output_format(*format, "text.format"));
        d.echo.format = format_text(*format->as_object(), d.generation().format);
    }
    if (const auto verbosity = given(*members, "verbosity")) {
        BLOOM_PARSE(const std::string degree, read_string(*verbosity, "text.verbosity"));
        if (degree != "low" && degree != "medium" && degree != "high") {
            return refuse("text.verbosity",
                          fmt::format("Invalid value: '{}'. Supported values are: 'low', "
                                      "'medium', and 'high'.",
                                      degree.substr(0, kShownBytes)));
        }
        d.echo.verbosity = quoted_json(degree);
    }
    return {};
}

Parsed<void> read_include(const json::Member& m, Draft& d) {
    const auto array = m.value.as_array();
    if (!array) return refuse_type(m.key, "an array of strings", m.value);
    std::size_t index = 0;
    for (const json::Value element : *array) {
        BLOOM_PARSE(const std::string name, read_string(element, path(m.key, index++)));
        // All others name what answers from here never have.
        if (name == "message.output_text.logprobs") d.generation().sampling.logprobs = true;
    }
    return {};
}

Parsed<void> read_metadata(const json::Member& m, Draft& d) {
    const auto members = m.value.as_object();
    if (!members) return refuse_type(m.key, "an object", m.value);
    if (members->size() > kMaxMetadata) {
        return refuse(m.key, fmt::format("Invalid 'metadata': at most {} members.", kMaxMetadata));
    }
    for (const json::Member pair : *members) {
        if (n_characters(pair.key) > kMaxMetadataKey) {
            return refuse(m.key, fmt::format("Invalid 'metadata': a key has at most {} characters.",
                                             kMaxMetadataKey));
        }
        BLOOM_PARSE(const std::string text,
                    read_string(pair.value, fmt::format("metadata.{}", pair.key)));
        if (n_characters(text) > kMaxMetadataText) {
            return refuse(fmt::format("metadata.{}", pair.key),
                          fmt::format("Invalid 'metadata': a value has at most {} characters.",
                                      kMaxMetadataText));
        }
    }
    d.echo.metadata = json_text(m.value);
    return {};
}

/// The functions as they were understood; what was left out is not there.
std::string tools_text(const std::vector<gen::ToolDefinition>& tools) {
    std::string out;
    json::Writer w(out);
    w.begin_array();
    for (const gen::ToolDefinition& tool : tools) {
        w.begin_object().key("type").string("function").key("name").string(tool.name);
        w.key("description");
        if (tool.description.empty()) {
            w.null();
        } else {
            w.string(tool.description);
        }
        w.key("parameters").raw(tool.parameters);
        w.key("strict").boolean(tool.strict).end_object();
    }
    w.end_array();
    return out;
}

/// The choice as it was understood. Of allowed tools those are left that can be called.
std::string tool_choice_text(const json::Value& value, const gen::TemplateOptions& options) {
    if (value.is_string()) {
        return options.tool_choice == gen::ToolChoice::required ? R"("required")"
                                                                : json_text(value);
    }
    std::string out;
    json::Writer w(out);
    const auto function = [&](std::string_view name) {
        w.begin_object().key("type").string("function").key("name").string(name).end_object();
    };
    if (options.tool_choice == gen::ToolChoice::named) {
        function(options.tool_name);
        return out;
    }
    w.begin_object().key("type").string("allowed_tools").key("mode");
    w.string(options.tool_choice == gen::ToolChoice::required ? "required" : "auto");
    w.key("tools").begin_array();
    for (const gen::ToolDefinition& tool : options.tools)
        function(tool.name);
    w.end_array().end_object();
    return out;
}

/// Members that would make this another kind of request; the harmless value of each passes.
Parsed<bool> check_unsupported(const json::Member& m) {
    if (m.key == "background") {
        BLOOM_PARSE(const bool background, read_bool(m.value, m.key));
        if (background) return refuse_unsupported(m.key, "is not supported by this node.");
    } else if (m.key == "conversation" || m.key == "prompt") {
        return refuse_unsupported(m.key, "is not supported by this node.");
    } else if (m.key == "truncation") {
        BLOOM_PARSE(const std::string kind, read_string(m.value, m.key));
        if (kind != "disabled")
            return refuse_unsupported(m.key,
                                      "other than 'disabled' is not supported by this node.");
    } else {
        return false;
    }
    return true;
}

/// Members that only the answer repeats. True when the member was one.
Parsed<bool> read_echoed(const json::Member& m, Draft& d) {
    if (m.key == "metadata") {
        BLOOM_PARSE_VOID(read_metadata(m, d));
    } else if (m.key == "max_tool_calls") {
        // It bounds calls of the vendor's own tools, of which there are none.
        BLOOM_PARSE_VOID(read_int(m.value, m.key, 0, kMaxToolCalls));
        d.echo.max_tool_calls = json_text(m.value);
    } else if (m.key == "prompt_cache_key") {
        BLOOM_PARSE_VOID(read_string(m.value, m.key));
        d.echo.prompt_cache_key = json_text(m.value);
    } else if (m.key == "user") {
        BLOOM_PARSE_VOID(read_string(m.value, m.key));
        d.echo.user = json_text(m.value);
    } else if (m.key == "safety_identifier") {
        BLOOM_PARSE(const std::string id, read_string(m.value, m.key));
        if (n_characters(id) > kMaxSafetyId) {
            return refuse(m.key, fmt::format("Invalid 'safety_identifier': at most {} characters.",
                                             kMaxSafetyId));
        }
        d.echo.safety_identifier = quoted_json(id);
    } else {
        return false;
    }
    return true;
}

/// Members of sampling; what the answer repeats of them keeps the client's digits.
Parsed<bool> read_drawing(const json::Member& m, Draft& d) {
    gen::Sampling& sampling = d.generation().sampling;
    if (m.key == "top_logprobs") {
        constexpr std::int64_t kMost = 20;
        BLOOM_PARSE(const std::int64_t n, read_int(m.value, m.key, 0, kMost));
        sampling.top_logprobs = static_cast<std::int32_t>(n);
        d.echo.top_logprobs = json_text(m.value);
        return true;
    }
    BLOOM_PARSE(const bool known, read_sampling(m, sampling));
    if (!known) return false;
    if (m.key == "temperature") d.echo.temperature = json_text(m.value);
    if (m.key == "top_p") d.echo.top_p = json_text(m.value);
    if (m.key == "presence_penalty") d.echo.presence_penalty = json_text(m.value);
    if (m.key == "frequency_penalty") d.echo.frequency_penalty = json_text(m.value);
    return true;
}

/// Members that are this dialect's own. True when the member was one.
Parsed<bool> read_own(const json::Member& m, Draft& d) {
    gen::Generation& g = d.generation();
    if (m.key == "model") {
        BLOOM_PARSE(g.model, read_string(m.value, m.key));
    } else if (m.key == "input") {
        d.input = m.value;
    } else if (m.key == "instructions") {
        BLOOM_PARSE(d.request.instructions, read_string(m.value, m.key));
        d.echo.instructions = json_text(m.value);
    } else if (m.key == "max_output_tokens") {
        BLOOM_PARSE(d.max_output_tokens, read_token_limit(m));
        if (d.max_output_tokens > 0) d.echo.max_output_tokens = json_text(m.value);
    } else if (m.key == "max_tokens") {
        BLOOM_PARSE(d.max_tokens, read_token_limit(m));
    } else if (m.key == "tools") {
        BLOOM_PARSE(g.tmpl.tools, read_tools(m.value, m.key));
    } else if (m.key == "tool_choice") {
        d.tool_choice = m.value;
    } else if (m.key == "parallel_tool_calls") {
        BLOOM_PARSE(g.tmpl.parallel_tool_calls, read_bool(m.value, m.key));
        d.echo.parallel_tool_calls = g.tmpl.parallel_tool_calls;
    } else if (m.key == "text") {
        BLOOM_PARSE_VOID(read_text(m, d));
    } else if (m.key == "reasoning") {
        BLOOM_PARSE_VOID(read_reasoning(m, d));
    } else if (m.key == "include") {
        BLOOM_PARSE_VOID(read_include(m, d));
    } else if (m.key == "store") {
        BLOOM_PARSE(d.request.store, read_bool(m.value, m.key));
        d.request.refers = false;
        d.echo.store = d.request.store;
    } else if (m.key == "previous_response_id") {
        BLOOM_PARSE(d.request.previous_response_id, read_string(m.value, m.key));
        d.echo.previous_response_id = json_text(m.value);
    } else if (m.key == "metadata_details") {
        BLOOM_PARSE(d.request.metadata_details, read_bool(m.value, m.key));
    } else {
        return false;
    }
    return true;
}

Parsed<void> read_member(const json::Member& m, Draft& d) {
    BLOOM_PARSE(bool known, read_own(m, d));
    if (known) return {};
    BLOOM_PARSE(known, read_drawing(m, d));
    if (known) return {};
    BLOOM_PARSE(known, read_routing(m, d.generation().routing));
    if (known) return {};
    BLOOM_PARSE(known, read_delivery(m, d.generation()));
    if (known) return {};
    BLOOM_PARSE(known, read_echoed(m, d));
    if (known) return {};
    BLOOM_PARSE_VOID(check_unsupported(m));
    return {};
}

Parsed<void> complete_tools(Draft& d) {
    gen::TemplateOptions& options = d.generation().tmpl;
    d.echo.tools = tools_text(options.tools);
    if (d.tool_choice) {
        BLOOM_PARSE_VOID(read_tool_choice(*d.tool_choice, "tool_choice", options));
        d.echo.tool_choice = tool_choice_text(*d.tool_choice, options);
    }
    return check_tools(options);
}

Parsed<void> complete_input(Draft& d) {
    Request& request = d.request;
    if (!d.input) {
        return refuse("input", "Missing required parameter: 'input'.",
                      "missing_required_parameter");
    }
    BLOOM_PARSE(request.items, parse_items(*d.input, request.generation.model));
    if (needs_stored(request)) return {};
    // Only what is to be stored is needed twice.
    std::vector<ResponseItem> items =
        request.store ? request.items : std::exchange(request.items, {});
    BLOOM_PARSE(request.generation.messages, fold_items(request.instructions, std::move(items)));
    return {};
}

} // namespace

Parsed<Request> parse_openai_responses(const json::Value& body) {
    const auto object = body.as_object();
    if (!object) return refuse({}, "The request body must be a JSON object.", "invalid_json");
    Draft d;
    d.request.refers = true; // until the body has said
    gen::Generation& g = d.generation();
    g.render.dialect = gen::Dialect::openai_responses;
    for (const json::Member m : *object) {
        if (m.value.is_null()) continue; // the same as absent
        BLOOM_PARSE_VOID(read_member(m, d));
    }
    if (g.model.empty()) {
        return refuse("model", "Missing required parameter: 'model'.",
                      "missing_required_parameter");
    }
    BLOOM_PARSE_VOID(complete_tools(d));
    BLOOM_PARSE_VOID(complete_input(d));
    if (g.sampling.top_logprobs > 0) g.sampling.logprobs = true;
    g.render.logprobs = g.sampling.logprobs;
    g.render.model = g.model;
    g.limits.max_tokens =
        output_bound(d.max_output_tokens > 0 ? d.max_output_tokens : d.max_tokens);
    g.render.echoed = d.echo.members();
    return std::move(d.request);
}

namespace {

std::string responses_response_id(std::string_view job_id) {
    return undashed_id("resp_", job_id);
}

} // namespace

constinit const Dialect kOpenAiResponses{.id = gen::Dialect::openai_responses,
                                         .parse = &parse_openai_responses,
                                         .make_encoder = &make_openai_responses_encoder,
                                         .envelope = Envelope::openai,
                                         .response_id = &responses_response_id,
                                         .keep_alive = kKeepAliveComment,
                                         .prompt_param = "input",
                                         .format_param = "text.format"};

} // namespace bloom::dialect
