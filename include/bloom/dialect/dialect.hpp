#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/dialect/encoder.hpp>
#include <bloom/dialect/request_error.hpp>
#include <bloom/dialect/responses_items.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/json/reader.hpp>

/// One table of what differs between the dialects, for those who serve all of them alike.
namespace bloom::dialect {

/// A request body as its dialect reads it: what goes to a provider, and what concerns only the node
/// that answers.
struct Request {
    gen::Generation generation;
    bool metadata_details = false; ///< consumer API section 4.9
    bool store = false;            ///< Responses: to be retrieved later
    /// Responses: the body does not say whether to store, so clients may take it for granted and
    /// refer to the answer's items.
    bool refers = false;
    std::string previous_response_id; ///< Responses: goes before the messages
    std::string instructions;         ///< Responses: the system message in front of all others
    /// Responses: the input, where it is to be stored or has to be joined with what was.
    std::vector<ResponseItem> items;
};

/// The two shapes of an error body (consumer API sections 3.1 and 3.2).
enum class Envelope : std::uint8_t { openai, anthropic };

struct Dialect {
    gen::Dialect id = gen::Dialect::openai_chat;
    /// Reads a body into everything but what the node decides: ids, time, fingerprint, scope.
    Parsed<Request> (*parse)(const json::Value& body) = nullptr;
    std::unique_ptr<Encoder> (*make_encoder)(const gen::RenderSpec& spec) = nullptr;
    Envelope envelope = Envelope::openai;
    /// Id of the response to one attempt, from the attempt's UUID.
    std::string (*response_id)(std::string_view job_id) = nullptr;
    /// What keeps a silent stream alive once its first event has been sent; before that, comments.
    std::string_view keep_alive;
    /// What the node puts right behind a stream's first event, outside the signed bytes; often
    /// nothing.
    std::string_view after_first_event = {};
    // Names of members, where errors tell of what several dialects have: the prompt and the format
    // that the answer is to have.
    std::string_view prompt_param = "messages";
    std::string_view format_param = "response_format";
};

/// Thread: any.
const Dialect& dialect_of(gen::Dialect id) noexcept;

// The entries of the table, one in each dialect's own file.
extern const Dialect kOpenAiChat;
extern const Dialect kOpenAiCompletions;
extern const Dialect kOpenAiResponses;
extern const Dialect kAnthropicMessages;

/// Which dialect a body sent to a chat or Responses path is written in: the shape decides, not the
/// path (consumer API section 5.1).
gen::Dialect shape_of(const json::Value& body, gen::Dialect path) noexcept;

inline constexpr std::string_view kKeepAliveComment = ": keep-alive\n\n";

} // namespace bloom::dialect
