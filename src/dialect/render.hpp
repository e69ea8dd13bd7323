#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <bloom/gen/event.hpp>
#include <bloom/gen/render_spec.hpp>
#include <bloom/json/writer.hpp>

/// What the encoders share. Pure, as they are.
namespace bloom::dialect {

/// Type and message of an error event: a closed list, never a provider's own words.
struct PublicFailure {
    std::string_view type; ///< OpenAI's; consumer API section 3.4
    std::string_view message;
};

PublicFailure public_failure(gen::Failure failure) noexcept;

/// `stop`, `length` or `tool_calls`: how OpenAI's two older dialects say why a choice ended.
std::string_view finish_name(gen::Finish finish) noexcept;

/// The id of a response where it is the attempt's UUID without dashes behind a prefix.
std::string undashed_id(std::string_view prefix, std::string_view job_id);

/// An id that follows from the response's: `prefix` and 24 letters and digits, another one for
/// every (kind, choice, index).
std::string derived_id(const gen::RenderSpec& spec, std::string_view prefix, std::int32_t choice,
                       std::int32_t index);

/// The `usage` object of OpenAI's two older dialects.
void write_usage(json::Writer& w, const gen::Usage& usage);

/// Room for token_text().
using TokenTextBuffer = std::array<char, 256>;

/// A token as text: its bytes, or, where these are not whole characters, `\xe2\x80` behind `prefix`
/// in `buffer`. The bytes themselves belong beside it.
std::string_view token_text(std::string_view bytes, std::string_view prefix,
                            TokenTextBuffer& buffer) noexcept;

/// Shortest text of the number; what is impossible (minus infinity) is -9999.0, as OpenAI has it.
void write_logprob(json::Writer& w, float logprob);

/// `[{"token","logprob","bytes","top_logprobs":[{"token","logprob","bytes"},..]},..]`. No
/// allocation besides the growth of what is written to.
void write_logprobs(json::Writer& w, std::span<const gen::TokenLogprob> tokens);

} // namespace bloom::dialect
