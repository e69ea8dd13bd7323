#pragma once

#include <bloom/dialect/dialect.hpp>

namespace bloom::dialect {

/// Reads the body of `POST /v1/chat/completions` (consumer API section 5.1). Filled are: messages,
/// sampling, limits, template options, output format, routing, and of the RenderSpec what the body
/// decides. Members are walked in order, the last duplicate wins, unknown ones are ignored. What
/// this node does not honour and would change the meaning is refused by name.
/// Lifetime: keeps nothing of the document.
Parsed<Request> parse_openai_chat(const json::Value& body);

/// Encoder for `chat.completion` and `chat.completion.chunk` (sections 5.2, 5.3).
std::unique_ptr<Encoder> make_openai_chat_encoder(const gen::RenderSpec& spec);

/// Fingerprint of build and engine: `fp_` and 12 hex digits.
std::string system_fingerprint(std::string_view build);

} // namespace bloom::dialect
