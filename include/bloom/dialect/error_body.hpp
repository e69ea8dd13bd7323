#pragma once

#include <string>
#include <string_view>

namespace bloom::dialect {

/// Appends `{"error":{"message":..,"type":..,"param":..,"code":..}}`, the OpenAI envelope (consumer
/// API section 3.1). An empty `param` becomes null; an empty `code` repeats the type.
void append_openai_error(std::string& out, std::string_view message, std::string_view type,
                         std::string_view param, std::string_view code);

/// Appends `{"type":"error","error":{"type":..,"message":..},"request_id":..}`, the Anthropic
/// envelope (section 3.2). An empty `request_id`: events in a stream, which have none.
/// `error_code`: what clients that act on it find in `details`.
void append_anthropic_error(std::string& out, std::string_view message, std::string_view type,
                            std::string_view request_id, std::string_view error_code = {});

} // namespace bloom::dialect
