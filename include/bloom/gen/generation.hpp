#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <bloom/gen/render_spec.hpp>

/// The one request that every dialect is parsed into and every provider answers. Plain values, no
/// pointers into a request: it may cross threads and links.
namespace bloom::gen {

enum class Role : std::uint8_t { system, user, assistant, tool };

/// One part of a message. Text only for now (design decision 25); the kind leaves room for others.
struct Part {
    enum class Kind : std::uint8_t { text };
    Kind kind = Kind::text;
    std::string text;
};

/// A call that an assistant message made earlier. `arguments` is the JSON text of an object.
struct ToolCall {
    std::string id;
    std::string name;
    std::string arguments;
};

struct Message {
    Role role = Role::user;
    std::vector<Part> content;        ///< empty: null content
    std::string reasoning;            ///< earlier thinking that the client sent back
    std::vector<ToolCall> tool_calls; ///< assistant only
    std::string tool_call_id;         ///< tool only
    std::string name;
};

/// A function the model may call; `parameters` is the JSON text of its schema, keys in client
/// order.
struct ToolDefinition {
    std::string name;
    std::string description;
    std::string parameters;
    bool strict = false;
};

enum class ToolChoice : std::uint8_t { automatic, none, required, named };

/// What goes into the chat template besides the messages.
struct TemplateOptions {
    std::vector<ToolDefinition> tools;
    ToolChoice tool_choice = ToolChoice::automatic;
    std::string tool_name; ///< with ToolChoice::named
    bool parallel_tool_calls = true;
    std::optional<bool> enable_thinking; ///< absent: the template's own default
    /// `low`, `medium`, `high` and their like for templates that know degrees; empty: their
    /// default.
    std::string reasoning_effort;
};

struct LogitBias {
    std::int32_t token;
    float bias;
};

/// How the next token is drawn. Ranges are checked by the dialects; defaults are OpenAI's.
struct Sampling {
    float temperature = 1.0F; ///< 0: greedy
    float top_p = 1.0F;       ///< (0, 1]
    std::int32_t top_k = 0;   ///< 0: off
    float min_p = 0.0F;       ///< [0, 1]
    float presence_penalty = 0.0F;
    float frequency_penalty = 0.0F;
    float repetition_penalty = 1.0F;
    std::optional<std::uint64_t> seed; ///< absent: the provider draws one
    std::vector<LogitBias> logit_bias;
    bool logprobs = false;
    std::int32_t top_logprobs = 0;
};

/// What may come out: bounds and stop strings. 16 x 512 bytes at most (design decision 19).
struct Limits {
    std::int32_t max_tokens = 8192; ///< per choice, reasoning and tool tokens included
    std::vector<std::string> stop;
    bool ignore_eos = false; ///< benchmarks only; no dialect sets it
};

struct OutputFormat {
    enum class Kind : std::uint8_t { text, json_object, json_schema };
    Kind kind = Kind::text;
    std::string name;   ///< of the schema, for messages
    std::string schema; ///< JSON text, with json_schema
    bool strict = false;
};

/// Wishes about where it runs; resolved by the scheduler, not seen by the engine.
struct Routing {
    std::vector<std::string> provider_serials;
};

struct Generation {
    std::string request_id;
    std::string model;                ///< resolved build id
    std::vector<Message> messages;    ///< chat; empty for a raw completion
    std::vector<std::string> prompts; ///< raw completion: 1..k texts; empty for chat
    /// Raw completion with prompts that are token ids already, instead of `prompts`.
    std::vector<std::vector<std::int32_t>> token_prompts;
    bool echo = false; ///< raw completion: each choice begins with its prompt
    std::int32_t n_choices = 1;
    TemplateOptions tmpl;
    Sampling sampling;
    Limits limits;
    OutputFormat format;
    Routing routing;
    std::int64_t deadline_ms = 0; ///< on the driver's clock; 0: none
    std::int32_t priority = 0;
    std::int32_t attempt = 1;
    std::string cache_scope; ///< opaque: prefixes are shared only inside one scope (decision 22)
    std::string fair_key;    ///< opaque: turns are shared between keys
    RenderSpec render;
};

/// How many answers a request asks for: the choices of all its prompts. Choice `i` of prompt `p` is
/// number p * n_choices + i.
inline std::int32_t n_answers(const Generation& g) noexcept {
    const std::size_t n_prompts = g.prompts.size() + g.token_prompts.size();
    return static_cast<std::int32_t>(n_prompts > 0 ? n_prompts : 1) * g.n_choices;
}

} // namespace bloom::gen
