#pragma once

#include <span>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/fit/facts.hpp>

namespace bloom::fit {

/// Reads a table of models: catalog/fit-models.tsv shows the columns. Every row is checked: a
/// window of at most 2^21 tokens, fewer active parameters than all, no more experts used than there
/// are, a date, a category. Errors: invalid_argument with line and column.
Result<std::vector<ModelFacts>> parse_model_table(std::string_view tsv);

/// The table that is compiled in. Thread: any.
std::span<const ModelFacts> built_in_models();

/// `swa1024:5+full:1` and its like; Kind::unknown for what this does not know.
Attention parse_attention(std::string_view text) noexcept;

} // namespace bloom::fit
