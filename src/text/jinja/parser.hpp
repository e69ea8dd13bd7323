#pragma once

#include <memory>
#include <string_view>

#include "text/jinja/ast.hpp"

namespace bloom::text::jinja {

/// Parses a whole template. Errors: corrupt with the line, limit_reached for nesting.
Result<std::shared_ptr<const Program>> parse_program(std::string_view source,
                                                     std::string_view title);

} // namespace bloom::text::jinja
