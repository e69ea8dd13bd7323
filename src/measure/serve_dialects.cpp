#include <iterator>

#include <bloom/base/rng.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/measure/serve_bench.hpp>

namespace bloom::measure {
namespace {

struct LoadApi {
    LoadDialect dialect;
    std::string_view name;
    std::string_view path;
};

constexpr LoadApi kApis[] = {
    {LoadDialect::chat, "chat", "/v1/chat/completions"},
    {LoadDialect::completions, "completions", "/v1/completions"},
    {LoadDialect::responses, "responses", "/v1/responses"},
    {LoadDialect::messages, "messages", "/v1/messages"},
};

const LoadApi& api_of(LoadDialect dialect) noexcept {
    return kApis[static_cast<std::size_t>(dialect)];
}

bool is_text(const std::optional<json::Value>& value) {
    return value && value->is_string() && !value->as_string()->empty();
}

std::string_view text_of(const std::optional<json::Value>& value) {
    return value && value->is_string() ? *value->as_string() : std::string_view();
}

bool is_filled_array(const std::optional<json::Value>& value) {
    return value && value->is_array() && !value->as_array()->empty();
}

/// Whether a message or delta of chat brings anything a reader sees.
bool has_content(const json::Object& members) {
    if (is_text(members.find("content")) || is_text(members.find("reasoning_content"))) return true;
    return is_filled_array(members.find("tool_calls"));
}

void read_usage(const json::Object& members, ChunkContent& out) {
    const auto usage = members.find("usage");
    if (!usage || !usage->is_object()) return;
    for (const char* name : {"completion_tokens", "output_tokens"}) {
        if (const auto n = usage->as_object()->find(name); n && n->is_number())
            out.completion_tokens = n->as_int64().value_or(-1);
    }
}

/// Chat and completions.
void read_choices(const json::Object& chunk, ChunkContent& out) {
    const auto choices = chunk.find("choices");
    if (!choices || !choices->is_array()) return;
    const json::Array list = *choices->as_array();
    for (const json::Value element : list) {
        if (!element.is_object()) continue;
        const json::Object choice = *element.as_object();
        out.has_content |= is_text(choice.find("text"));
        for (const char* where : {"delta", "message"}) {
            const auto part = choice.find(where);
            if (part && part->is_object()) out.has_content |= has_content(*part->as_object());
        }
    }
}

/// Responses: `response.output_text.delta` and its like, `response.completed`.
void read_response(const json::Object& event, std::string_view type, ChunkContent& out) {
    if (type.ends_with(".delta")) out.has_content |= is_text(event.find("delta"));
    const auto whole = event.find("response");
    const bool over = type == "response.completed" || type == "response.incomplete";
    if (over && whole && whole->is_object()) {
        out.ends = true;
        read_usage(*whole->as_object(), out);
    }
    if (text_of(event.find("object")) == "response")
        out.has_content |= is_filled_array(event.find("output"));
}

/// Messages: `content_block_delta`, `message_stop`, or the whole message.
void read_message(const json::Object& event, std::string_view type, ChunkContent& out) {
    out.has_content |= type == "content_block_delta";
    out.has_content |= type == "message" && is_filled_array(event.find("content"));
    out.ends |= type == "message_stop";
}

std::string prompt_of(const ServeBenchOptions& options, std::size_t i) {
    // Common words, one token each in most vocabularies, in an order of this request's own.
    static constexpr std::string_view kWords[] = {"river", "stone", "light", "paper", "green",
                                                  "seven", "cloud", "music", "table", "north"};
    Rng rng(options.seed * 0x9e3779b97f4a7c15U + i);
    std::string prompt;
    for (std::int32_t w = 0; w < options.prompt_tokens; ++w) {
        if (w > 0) prompt += ' ';
        prompt += kWords[rng.below(std::size(kWords))];
    }
    return prompt;
}

} // namespace

std::string_view to_string(LoadDialect dialect) noexcept {
    return api_of(dialect).name;
}

std::optional<LoadDialect> load_dialect(std::string_view name) noexcept {
    for (const LoadApi& api : kApis) {
        if (api.name == name) return api.dialect;
    }
    return std::nullopt;
}

std::string_view path_of(LoadDialect dialect) noexcept {
    return api_of(dialect).path;
}

std::string load_request(const ServeBenchOptions& options, std::size_t i) {
    const std::string prompt = prompt_of(options, i);
    const bool responses = options.dialect == LoadDialect::responses;
    const bool has_options =
        options.dialect == LoadDialect::chat || options.dialect == LoadDialect::completions;
    std::string body;
    json::Writer w(body);
    w.begin_object().key("model").string(options.model).key("stream").boolean(options.stream);
    if (options.stream && has_options)
        w.key("stream_options").begin_object().key("include_usage").boolean(true).end_object();
    // Answers that nobody refers to would push out those that the account keeps.
    if (responses) w.key("store").boolean(false);
    w.key(responses ? "max_output_tokens" : "max_tokens").integer(options.max_tokens);
    if (options.dialect == LoadDialect::completions) {
        w.key("prompt").string(prompt);
    } else {
        w.key(responses ? "input" : "messages").begin_array().begin_object();
        w.key("role").string("user").key("content").string(prompt);
        w.end_object().end_array();
    }
    w.end_object();
    return body;
}

ChunkContent read_chunk(const std::string& data) {
    ChunkContent out;
    json::Parser parser;
    const auto document = parser.parse(data);
    if (!document || !document->is_object()) {
        out.error = "an event is no JSON object";
        return out;
    }
    const json::Object chunk = *document->as_object();
    const std::string_view type = text_of(chunk.find("type"));
    const auto error = chunk.find("error");
    const bool nested = error && error->is_object();
    if (nested || type == "error") {
        const auto message = nested ? error->as_object()->find("message") : chunk.find("message");
        out.error = is_text(message) ? std::string(*message->as_string()) : "an error event";
        return out;
    }
    read_usage(chunk, out);
    read_choices(chunk, out);
    read_response(chunk, type, out);
    read_message(chunk, type, out);
    return out;
}

} // namespace bloom::measure
