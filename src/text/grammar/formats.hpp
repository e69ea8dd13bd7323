#pragma once

#include <optional>
#include <string_view>

#include "text/grammar/regex.hpp"

namespace bloom::text::schema {

/// Whether texts of a `format` can be enforced; other formats are annotations.
bool is_known_format(std::string_view name) noexcept;

/// Texts that satisfy a known `format`: never one that does not, though some valid ones are left
/// out (docs/structured-output.md says which). Errors: too_large (the budget).
Result<TextDfa> format_dfa(std::string_view name, Budget& budget);

} // namespace bloom::text::schema
