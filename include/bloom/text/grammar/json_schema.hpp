#pragma once

#include <cstdint>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

namespace bloom::text {

/// How a value is written: most models write calls as JSON, Gemma has a notation of its own
/// (`{key:<|"|>text<|"|>,n:1}`).
enum class ValueSyntax : std::uint8_t { json, gemma };

struct JsonSchemaOptions {
    ValueSyntax syntax = ValueSyntax::json;
    /// OpenAI's strict mode: objects allow only the properties they declare, whatever
    /// additionalProperties says by being absent.
    bool strict = false;
};

/// Adds the texts of all values that satisfy a JSON Schema (2020-12, and what draft 7 spells
/// otherwise), in one notation: properties in declared order, compact, escapes only where JSON
/// needs them, white space as documented in docs/structured-output.md.
/// Errors: invalid_argument (no JSON, no schema: `type` is 7), unsupported (a keyword that cannot
/// be enforced), too_large; messages name the keyword and where it stands as a JSON pointer, in a
/// sentence for the caller.
Result<GrammarNode> add_json_schema(GrammarBuilder& grammar, std::string_view schema,
                                    const JsonSchemaOptions& options);

/// Any JSON object, or any JSON value.
GrammarNode add_json_object(GrammarBuilder& grammar, ValueSyntax syntax);
GrammarNode add_json_value(GrammarBuilder& grammar, ValueSyntax syntax);

/// Whether add_json_schema would take it, for refusing a request before it goes anywhere.
Result<> check_json_schema(std::string_view schema, bool strict);

} // namespace bloom::text
