#pragma once

#include <cstdint>
#include <string>

namespace bloom::gen {

enum class Dialect : std::uint8_t {
    openai_chat,
    openai_completions,
    openai_responses,
    anthropic_messages,
};

/// What a client gets of the model's thinking (design decision 17).
enum class ReasoningMode : std::uint8_t {
    parsed, ///< apart from the answer
    hidden, ///< dropped
    raw,    ///< left in the answer, tags included
};

/// Everything that an encoder may depend on besides the events: the same RenderSpec and the same
/// events give the same bytes on every machine (design section 2, Signing).
struct RenderSpec {
    Dialect dialect = Dialect::openai_chat;
    std::uint32_t render_version = 1; ///< raised by a change of any byte
    std::string response_id;
    std::int64_t created = 0; ///< Unix seconds
    std::string model;        ///< as the client wrote it
    std::string fingerprint;  ///< system_fingerprint
    bool stream = false;
    bool include_usage = false;
    ReasoningMode reasoning = ReasoningMode::parsed;
    bool logprobs = false; ///< choices carry log probabilities
    /// OpenAI chat: the one call is shown as `function_call`, which the request asked for.
    bool function_calls = false;
    bool reasoning_summary = false; ///< Responses: thinking is shown as its item's summary
    /// The client is shown that a machine was chosen, by members that a dialect adds to its body
    /// (`metadata` of consumer API section 4.9), as one JSON object; empty: not asked for.
    std::string metadata;
    std::string echoed;       ///< request fields that the dialect repeats, as it encoded them
    std::string thinking_key; ///< what thinking blocks are authenticated with, for this response
    std::string request_hash; ///< SHA-256 hex of the request body
};

} // namespace bloom::gen
