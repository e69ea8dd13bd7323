#pragma once

#include <bloom/dialect/dialect.hpp>

namespace bloom::dialect {

/// Reads the body of `POST /v1/messages` (consumer API section 7.1). Members are walked in order,
/// the last duplicate wins, unknown ones are ignored. What this node does not honour and would
/// change the meaning is refused. Errors name the member in the sentence, as `messages.0.content:
/// ..`, since their envelope has no place for it. Lifetime: keeps nothing of the document.
///
/// The system prompt is `system` and the messages of role `system` before the first assistant turn,
/// one line each; later ones stay where they are, as part of the user's turn, because most chat
/// templates know a system message only at the top and prompts share prefixes then. Turns of the
/// same role that follow one another become one. A last assistant turn is continued.
Parsed<Request> parse_anthropic_messages(const json::Value& body);

/// The body of `POST /v1/messages/count_tokens`: the same, without `max_tokens`.
Parsed<Request> parse_anthropic_count(const json::Value& body);

/// Encoder for `message` and the events of section 7.3. `input_tokens` are those that were not read
/// from the cache: with `cache_read_input_tokens` they make up the prompt, as in Anthropic's API.
std::unique_ptr<Encoder> make_anthropic_messages_encoder(const gen::RenderSpec& spec);

} // namespace bloom::dialect
