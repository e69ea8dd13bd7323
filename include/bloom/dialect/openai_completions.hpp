#pragma once

#include <bloom/dialect/dialect.hpp>

namespace bloom::dialect {

/// Reads the body of `POST /v1/completions` (consumer API section 8): prompts as text or token ids,
/// no chat template. Otherwise like parse_openai_chat.
Parsed<Request> parse_openai_completions(const json::Value& body);

/// Encoder for `text_completion`, whole and streamed. Choices are numbered prompt * n + i.
std::unique_ptr<Encoder> make_openai_completions_encoder(const gen::RenderSpec& spec);

} // namespace bloom::dialect
