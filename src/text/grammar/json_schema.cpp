#include <bloom/text/grammar/json_schema.hpp>

#include "text/grammar/json_schema_compile.hpp"
#include "text/grammar/json_schema_facts.hpp"
#include "text/grammar/json_schema_notation.hpp"
#include "text/grammar/json_schema_refs.hpp"
#include "text/grammar/json_schema_value.hpp"

namespace bloom::text {

Result<GrammarNode> add_json_schema(GrammarBuilder& grammar, std::string_view schema,
                                    const JsonSchemaOptions& options) {
    BLOOM_TRY(const schema::Document document, schema::Document::parse(schema));
    BLOOM_TRY(schema::References refs, schema::References::index(document.root()));
    schema::Budget budget(schema::kMaxSchemaSteps);
    schema::SchemaReader reader(refs, budget);
    schema::Notation notation(grammar, options.syntax);
    return schema::SchemaCompiler(notation, reader, options.strict).compile(document.root());
}

GrammarNode add_json_object(GrammarBuilder& grammar, ValueSyntax syntax) {
    return schema::Notation(grammar, syntax).any_object();
}

GrammarNode add_json_value(GrammarBuilder& grammar, ValueSyntax syntax) {
    return schema::Notation(grammar, syntax).any_value();
}

Result<> check_json_schema(std::string_view schema, bool strict) {
    GrammarBuilder grammar;
    BLOOM_TRY(const GrammarNode start,
              add_json_schema(grammar, schema, {.syntax = ValueSyntax::json, .strict = strict}));
    BLOOM_OK(grammar.build(start));
    return {};
}

} // namespace bloom::text
