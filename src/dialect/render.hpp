#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/gen/event.hpp>
#include <bloom/gen/render_spec.hpp>

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

/// An id that follows from the response's: `prefix` and 24 letters and digits, another one for
/// every (kind, choice, index).
std::string derived_id(const gen::RenderSpec& spec, std::string_view prefix, std::int32_t choice,
                       std::int32_t index);

} // namespace bloom::dialect
