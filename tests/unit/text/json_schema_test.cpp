// JSON Schema as grammars: which texts a schema allows, and what is refused.
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/text/grammar/json_schema.hpp>

#include "support/grammar_match.hpp"

namespace bloom::text {
namespace {

using Texts = std::vector<std::string_view>;

test::GrammarCheck grammar_of(std::string_view schema, const JsonSchemaOptions& options = {}) {
    GrammarBuilder builder;
    const auto node = add_json_schema(builder, schema, options);
    EXPECT_TRUE(node.has_value()) << schema << ": " << node.error().message();
    const auto grammar = builder.build(node ? *node : builder.empty());
    EXPECT_TRUE(grammar.has_value()) << schema << ": " << grammar.error().message();
    return test::GrammarCheck(*grammar);
}

void expect(std::string_view schema, const Texts& good, const Texts& bad,
            const JsonSchemaOptions& options = {}) {
    const test::GrammarCheck check = grammar_of(schema, options);
    for (const std::string_view text : good)
        EXPECT_TRUE(check.accepts(text)) << schema << " allows " << text;
    for (const std::string_view text : bad)
        EXPECT_FALSE(check.accepts(text)) << schema << " does not allow " << text;
}

void expect_error(std::string_view schema, Code code, std::string_view part) {
    GrammarBuilder builder;
    const auto node = add_json_schema(builder, schema, {});
    ASSERT_FALSE(node.has_value()) << schema;
    EXPECT_EQ(node.error().code(), code) << schema << ": " << node.error().message();
    EXPECT_TRUE(node.error().message().contains(part)) << node.error().message();
}

TEST(JsonSchema, PropertiesComeInDeclaredOrderWithOneSpaceAtMost) {
    expect(R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"boolean"}},
               "required":["b"],"additionalProperties":false})",
           {R"({"b":1,"a":true})", R"({"b": 1, "a": false})", R"({"b":0})"},
           {R"({"a":true,"b":1})", "{}", R"({"b":1,})", R"({"b":1,"a":true,"c":1})", R"({ "b":1})",
            R"({"b" :1})", R"({"b":  1})", R"({"b":1 ,"a":true})", R"({"a":true})", R"({"b":1}})",
            R"({"b":1.0})"});
}

TEST(JsonSchema, CommasAreRightWhateverIsLeftOut) {
    const std::string_view schema = R"({"properties":{"a":{"const":1},"b":{"const":2},
        "c":{"const":3}},"type":"object","required":["b"],"additionalProperties":{"const":0}})";
    expect(schema,
           {R"({"b":2})", R"({"a":1,"b":2})", R"({"b":2,"c":3})", R"({"a":1,"b":2,"c":3})",
            R"({"b":2,"d":0})", R"({"a":1,"b":2,"c":3,"d":0,"e":0})", R"({"b":2,"":0})",
            R"({"b":2,"aa":0})"},
           {R"({"a":1})", R"({,"b":2})", R"({"a":1,,"b":2})", R"({"a":1"b":2})", R"({"b":2,})",
            R"({"d":0,"b":2})", R"({"b":2,"a":0})", R"({"b":2,"c":0})", R"({"b":2,"d":1})"});
    expect(R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2}},
               "additionalProperties":false})",
           {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1, "b":2})"}, {R"({"b":2,"a":1})"});
}

TEST(JsonSchema, NamesOfOtherMembersAreNotDeclaredOnesInDisguise) {
    expect(R"({"type":"object","properties":{"a":{"type":"null"}},
               "additionalProperties":{"type":"integer"}})",
           {R"({"a":null,"b":1})", R"({"ab":1})", R"({"A":1})"},
           {R"({"a":1})", R"({"\u0061":1})", R"({"b":null})"});
}

TEST(JsonSchema, CountsOfProperties) {
    const std::string_view declared = R"({"type":"object","properties":{"a":{"const":1},
        "b":{"const":1},"c":{"const":1}},"additionalProperties":false,
        "minProperties":2,"maxProperties":2})";
    expect(declared, {R"({"a":1,"b":1})", R"({"a":1,"c":1})", R"({"b":1,"c":1})"},
           {"{}", R"({"a":1})", R"({"a":1,"b":1,"c":1})"});
    expect(R"({"type":"object","minProperties":1,"maxProperties":2})",
           {R"({"a":1})", R"({"a":1,"b":{}})"}, {"{}", R"({"a":1,"b":1,"c":1})"});
    expect_error(R"({"type":"object","minProperties":2})", Code::unsupported, "minProperties");
}

TEST(JsonSchema, NamesByPatternAndByRule) {
    expect(R"({"type":"object","patternProperties":{"^n_":{"type":"integer"},
               "x$":{"maximum":5}},"additionalProperties":{"type":"boolean"}})",
           {R"({"n_a":7,"y":true,"n_x":5})", R"({"x":"text"})"},
           {R"({"n_a":true})", R"({"n_x":6})", R"({"y":1})", R"({"n_x":4.5})"});
    expect(R"({"type":"object","propertyNames":{"pattern":"^[a-c]+$","maxLength":2}})",
           {R"({"ab":1})", "{}"}, {R"({"abc":1})", R"({"d":1})", R"({"":1})"});
    expect(R"({"type":"object","propertyNames":{"enum":["x","y"]}})",
           {R"({"x":1,"y":2})", R"({"y":1})"}, {R"({"z":1})"});
}

TEST(JsonSchema, Arrays) {
    expect(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
           {"[1]", "[1,2]", "[1, 2, 3]"}, {"[]", "[1,2,3,4]", "[1,]", "[,1]", "[true]", "[1 ]"});
    expect(R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":0},
               "minItems":1,"maxItems":4})",
           {"[1]", "[1,2]", "[1,2,0]", "[1,2,0,0]"}, {"[]", "[2]", "[1,0]", "[1,2,0,0,0]"});
    expect(R"({"type":"array","items":[{"const":1}],"additionalItems":false})", {"[]", "[1]"},
           {"[1,1]", "[2]"});
    expect(R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"});
    expect(R"({"type":"array","items":{"const":1},"minItems":1000,"maxItems":100000})", {},
           {"[1]"});
}

TEST(JsonSchema, Strings) {
    expect(R"({"type":"string"})",
           {R"("")", R"("a\"b\\\/\b\f\n\r\t\u00e9")", R"("\ud83d\ude00")", "\"\U0001f600\"",
            "\"\x7f\""},
           {R"("a)", R"("\x")", R"("\u12")", R"("\ud83d")", R"("\ude00\ud83d")", "\"\n\"",
            "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", R"("\ud83d\u0041")"});
    expect(R"({"type":"string","minLength":2,"maxLength":3})",
           {R"("ab")", R"("\u00e9\ud83d\ude00")", "\"\U0001f600\U0001f600\U0001f600\""},
           {R"("a")", R"("abcd")", R"("\ud83d\ude00")"});
    expect(R"({"type":"string","maxLength":10000})", {R"("")", R"("abc")"}, {"1"});
    expect(R"({"type":"string","pattern":"^a+$","minLength":2,"maxLength":3})",
           {R"("aa")", R"("aaa")"}, {R"("a")", R"("aaaa")", R"("ab")"});
    expect(R"({"type":"string","pattern":"^[\"\\n/]$"})",
           {R"("\"")", R"("\n")", R"("\u000a")", R"("\u000A")", R"("/")", R"("\/")"},
           {R"(""")", R"("n")", R"("\u000b")"});
    expect(R"({"allOf":[{"pattern":"a"},{"pattern":"b"}],"type":"string"})",
           {R"("ab")", R"("xbya")"}, {R"("a")", R"("b")"});
}

TEST(JsonSchema, Numbers) {
    expect(R"({"type":"integer"})", {"0", "-1", "12", "999999999999999999"},
           {"-0", "01", "1.0", "1e3", "+1", "1000000000000000000", "", "-"});
    expect(R"({"type":"number"})", {"0", "-0.5", "1.25", "1e5", "1E-05", "2.5e+288", "3e9"},
           {"1.", ".5", "1e", "1e290", "1e1000", "00", "-"});
    expect(R"({"type":"integer","minimum":-12,"maximum":105})",
           {"-12", "-9", "0", "9", "10", "99", "100", "105"}, {"-13", "-20", "106", "110", "200"});
    expect(R"({"type":"number","exclusiveMinimum":0,"maximum":1.5})",
           {"0.1", "0.000001", "1", "1.0", "1.5", "1.50", "1.49"}, {"0", "0.0", "1.51", "2", "-1"});
    expect(R"({"type":"integer","minimum":1.5,"exclusiveMaximum":4})", {"2", "3"}, {"1", "4"});
    expect(R"({"type":"integer","multipleOf":5,"minimum":0})", {"0", "5", "10", "105"},
           {"1", "51", "104"});
    expect(R"({"type":"number","multipleOf":0.01})", {"0.01", "1.1", "7", "-3.25"},
           {"0.001", "1.234", "1e2"});
    expect(R"({"type":"integer","multipleOf":1000})", {"0", "1000", "12000"}, {"100", "1001"});
    expect(R"({"type":"integer","multipleOf":0.5})", {"0", "1", "17"}, {"0.5"});
    expect_error(R"({"type":"integer","multipleOf":123457})", Code::too_large, "multipleOf");
}

TEST(JsonSchema, ConstantsInEveryForm) {
    expect(R"({"enum":[1.50,"a",null,true,[1,{"x":[]}],1e30]})",
           {"1.5", R"("a")", "null", "true", R"([1,{"x":[]}])", R"([1, {"x": []}])", "1e30"},
           {"1.50", "false", R"([1])"});
    expect(R"({"properties":{"b":true,"a":true},"const":{"a":1,"b":2,"c":3}})",
           {R"({"b":2,"a":1,"c":3})"}, {R"({"a":1,"b":2,"c":3})"});
    expect(R"({"enum":[1,2,"3",40],"type":"integer","maximum":10})", {"1", "2"}, {"40", R"("3")"});
}

TEST(JsonSchema, ChoicesAndConjunctions) {
    expect(R"({"anyOf":[{"type":"integer"},{"type":"null"}]})", {"1", "null"}, {"true"});
    expect(R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},
               {"properties":{"b":{"type":"string"},"a":{"maximum":5}}}],"type":"object"})",
           {R"({"a":5})", R"({"a":1,"b":""})"}, {R"({"a":6})", "{}", R"({"b":"","a":1})"});
    expect(R"({"type":"object","properties":{"k":{"enum":["x","y"]}},"required":["k"],
               "anyOf":[{"properties":{"k":{"const":"x"},"n":{"type":"integer"}},
               "required":["n"]},{"properties":{"k":{"const":"y"}}}]})",
           {R"({"k":"x","n":1})", R"({"k":"y"})", R"({"k":"y","n":true})"}, {R"({"k":"x"})"});
    expect(R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"v":{"type":"null"}},
               "required":["t","v"]},{"type":"object","properties":{"t":{"const":"b"}},
               "required":["t"]},{"type":"string"}]})",
           {R"({"t":"a","v":null})", R"({"t":"b"})", R"("")"}, {R"({"t":"a"})", "1"});
    expect_error(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", Code::unsupported,
                 "oneOf cannot be enforced: options 0 and 1");
}

TEST(JsonSchema, References) {
    expect(R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{
               "v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
               "required":["v","next"],"additionalProperties":false}}})",
           {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
           {R"({"v":1})", R"({"v":1,"next":{"v":2}})"});
    expect(R"({"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"null"}}})", {"null"}, {"1"});
    expect(R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
    expect(R"({"$ref":"#/$defs/i","maximum":3,"$defs":{"i":{"type":"integer"}}})", {"3"}, {"4"});
    expect(R"({"$schema":"http://json-schema.org/draft-07/schema#","$ref":"#/definitions/i",
               "maximum":3,"definitions":{"i":{"type":"integer"}}})",
           {"3", "4"}, {"1.5"});
}

TEST(JsonSchema, StrictClosesObjects) {
    const JsonSchemaOptions strict{.strict = true};
    const std::string_view schema = R"({"type":"object","properties":{"a":{"type":"object"},
        "b":{"type":"object","additionalProperties":{"type":"null"}}}})";
    expect(schema, {R"({"a":{"x":1},"c":1})"}, {});
    expect(schema, {R"({"a":{}})", R"({"a":{},"b":{"x":null}})"},
           {R"({"a":{"x":1}})", R"({"c":1})", R"({"b":{"x":1}})"}, strict);
    expect(R"({"allOf":[{"properties":{"a":{"const":1}}},{"properties":{"b":{"const":2}}}],
               "type":"object"})",
           {R"({"a":1,"b":2})"}, {R"({"a":1,"c":2})"}, strict);
}

TEST(JsonSchema, GemmaNotation) {
    const JsonSchemaOptions gemma{.syntax = ValueSyntax::gemma};
    expect(R"({"type":"object","properties":{"city":{"type":"string"},"n":{"type":"integer"},
               "a b":{"enum":["x",null]},"l":{"type":"array","items":{"type":"string",
               "maxLength":3}}},"required":["city"],"additionalProperties":false})",
           {R"({city:<|"|>Oslo "x" \<|"|>})",
            R"({city:<|"|><|"|>,n:1,<|"|>a b<|"|>:None,l:[<|"|>a<b<|"|>,<|"|><|"|>]})",
            R"({city:<|"|>a<|"|>,<|"|>a b<|"|>:<|"|>x<|"|>})"},
           {R"({"city":"Oslo"})", R"({city: <|"|>Oslo<|"|>})", R"({city:Oslo})",
            R"({city:<|"|>a<|"|>,a b:null})", R"({city:<|"|>a<|"|>,l:[<|"|>abcd<|"|>]})"},
           gemma);
    expect(R"({"type":"object","additionalProperties":{"type":"boolean"},
               "properties":{"a":true}})",
           {R"({b:true,<|"|>c d<|"|>:false})"}, {R"({b:1})", R"({b c:true})"}, gemma);
    GrammarBuilder builder;
    const auto grammar = builder.build(add_json_object(builder, ValueSyntax::gemma));
    ASSERT_TRUE(grammar.has_value());
    EXPECT_TRUE(test::GrammarCheck(*grammar).accepts(R"({a:[1,{b:<|"|>{"}<|"|>}],c:null})"));
    EXPECT_FALSE(test::GrammarCheck(*grammar).accepts(R"({a:<|"|>x})"));
}

TEST(JsonSchema, AnyValueAndAnyObject) {
    GrammarBuilder builder;
    const auto grammar = builder.build(add_json_value(builder, ValueSyntax::json));
    ASSERT_TRUE(grammar.has_value());
    const test::GrammarCheck check(*grammar);
    for (const std::string_view text :
         {"{}", "[]", "1", R"("x")", "null", R"({"a": [1, {"b":[[]]}], "c":-1.5e3})"})
        EXPECT_TRUE(check.accepts(text)) << text;
    for (const std::string_view text : {"", "{", "[1", "{\"a\"}", "nul", "[1]]", "\t1", "NaN"})
        EXPECT_FALSE(check.accepts(text)) << text;
    std::string deep;
    for (int i = 0; i < 60; ++i)
        deep += "[";
    deep += std::string(60, ']');
    EXPECT_TRUE(check.accepts(deep));
    GrammarBuilder other;
    const auto object = other.build(add_json_object(other, ValueSyntax::json));
    ASSERT_TRUE(object.has_value());
    EXPECT_TRUE(test::GrammarCheck(*object).accepts(R"({"a":{"b":[]}})"));
    EXPECT_FALSE(test::GrammarCheck(*object).accepts("[]"));
}

TEST(JsonSchema, RefusalsNameKeywordAndPlace) {
    const auto refused = [](std::string_view schema, std::string_view text) {
        expect_error(schema, Code::unsupported, text);
    };
    refused(R"({"properties":{"a/b":{"not":{"type":"null"}}}})",
            "not cannot be enforced (at #/properties/a~1b/not)");
    refused(R"({"type":"array","uniqueItems":true})", "uniqueItems");
    refused(R"({"type":"array","contains":{}})", "contains");
    refused(R"({"if":{},"then":false})", "if cannot");
    refused(R"({"type":"object","dependentRequired":{"a":["b"]}})", "dependentRequired");
    refused(R"({"type":"object","unevaluatedProperties":false})", "unevaluatedProperties");
    refused(R"({"$ref":"http://example.com/x.json"})", "$ref leads outside");
    refused(R"({"$schema":"http://example.com/mine","type":"null"})", "$schema");
    refused(R"({"type":"string","pattern":"x(?=a)b"})", "pattern: lookahead (at #/pattern)");
    refused(R"({"type":"string","pattern":"(a)\\1"})", "backreference");
    refused(R"({"type":"string","pattern":"\\bword"})", "word boundary");
    refused(R"({"type":"object","propertyNames":{"anyOf":[{"maxLength":1},{"enum":["ab"]}]}})",
            "propertyNames");
    // What does not concern the values that are allowed does not matter.
    expect(R"({"type":"string","uniqueItems":true,"contains":{}})", {R"("x")"}, {"[]"});
    expect(R"({"type":"null","then":false,"x-mine":1,"format":"color"})", {"null"}, {"1"});
}

TEST(JsonSchema, FaultsNameKeywordAndPlace) {
    const auto wrong = [](std::string_view schema, std::string_view text) {
        expect_error(schema, Code::invalid_argument, text);
    };
    wrong("{", "cannot be read");
    wrong("7", "must be an object or a boolean (at #)");
    wrong(R"({"type":7})", "type must be");
    wrong(R"({"type":["string","text"]})", "(at #/type)");
    wrong(R"({"items":{"minLength":-1}})", "minLength must be a non-negative integer");
    wrong(R"({"required":"a"})", "required must be a list of names");
    wrong(R"({"properties":[]})", "properties must be an object");
    wrong(R"({"properties":{"a":1}})", "(at #/properties/a)");
    wrong(R"({"enum":1})", "enum must be a list");
    wrong(R"({"anyOf":[]})", "anyOf must be a list");
    wrong(R"({"minimum":"1"})", "minimum must be a number");
    wrong(R"({"type":"string","pattern":"a("})", "pattern: ");
    wrong(R"({"$ref":"#/$defs/no"})", "leads nowhere");
    wrong(R"({"$ref":1})", "$ref must be a string");
    wrong(R"({"$ref":"#"})", "without a value in between");
    wrong(R"({"anyOf":[{"type":"null"},{"$ref":"#"}]})", "without a value in between");
    wrong(R"({"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},
              "b":{"anyOf":[{"$ref":"#/$defs/a"}]}}})",
          "without a value in between");
    for (const std::string_view nothing :
         {"false", R"({"type":"string","minLength":3,"maxLength":2})", R"({"enum":[]})",
          R"({"$ref":"#/$defs/a","$defs":{"a":{"type":"object","properties":{
             "x":{"$ref":"#/$defs/a"}},"required":["x"]}}})"}) {
        const auto checked = check_json_schema(nothing, false);
        ASSERT_FALSE(checked.has_value()) << nothing;
        EXPECT_EQ(checked.error().code(), Code::invalid_argument);
    }
    EXPECT_TRUE(check_json_schema(R"({"type":"object"})", true).has_value());
}

std::string repeated(std::string_view text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i)
        out += text;
    return out;
}

TEST(JsonSchema, ManyOptionalPropertiesStaySmall) {
    std::string schema = R"({"type":"object","additionalProperties":false,"properties":{)";
    for (int i = 0; i < 1000; ++i)
        schema += (i > 0 ? ",\"p" : "\"p") + std::to_string(i) + R"(":{"type":"boolean"})";
    schema += "}}";
    GrammarBuilder builder;
    const auto node = add_json_schema(builder, schema, {});
    ASSERT_TRUE(node.has_value());
    EXPECT_LT(builder.n_nodes(), 16'000U);
    const auto grammar = builder.build(*node);
    ASSERT_TRUE(grammar.has_value()) << grammar.error().message();
    const test::GrammarCheck check(*grammar);
    EXPECT_TRUE(check.accepts(R"({"p0":true,"p500":false,"p999":true})"));
    EXPECT_TRUE(check.accepts(R"({"p999":true})"));
    EXPECT_FALSE(check.accepts(R"({"p500":true,"p0":false})"));
}

TEST(JsonSchema, HostileSchemasEndInAnError) {
    const auto too_large = [](const std::string& schema) {
        const auto checked = check_json_schema(schema, false);
        ASSERT_FALSE(checked.has_value()) << schema.substr(0, 100);
        EXPECT_EQ(checked.error().code(), Code::too_large) << checked.error().message();
    };
    too_large(repeated(R"({"items":)", 2000) + "true" + repeated("}", 2000));
    too_large("[" + repeated("0,", 1 << 19) + "0]");
    too_large(R"({"enum":[)" + repeated("0,", 100'000) + "0]}");
    too_large(R"({"type":"string","pattern":"(a|b)*a(a|b){40}$"})");
    too_large(R"({"type":"string","pattern":"((a{1000}){1000}){1000}"})");
    too_large(R"({"type":"string","pattern":")" + repeated("(", 200) + repeated(")", 200) + "\"}");
    too_large(R"({"type":"string","pattern":"^[a-z]+$","minLength":100000})");
    too_large(R"({"type":"string","minLength":123456789012})");
    too_large(R"({"allOf":[)" +
              repeated(R"({"anyOf":[{"minLength":1},{"maxLength":9},{"pattern":"a"}]},)", 20) +
              "true]}");
    // A conjunction of subsets of recursive schemas: exponentially many sets.
    std::string sets = R"({"$ref":"#/$defs/s0","$defs":{)";
    for (int i = 0; i < 24; ++i) {
        const std::string next = std::to_string((i + 1) % 24);
        sets += "\"s" + std::to_string(i) + R"(":{"properties":{"a":{"$ref":"#/$defs/s)" + next +
                R"("},"b":{"allOf":[{"$ref":"#/$defs/s)" + next + R"("},{"$ref":"#/$defs/s)" +
                std::to_string((i * 7 + 3) % 24) + R"("}]}}},)";
    }
    sets += R"("z":true}})";
    const auto checked = check_json_schema(sets, false);
    if (!checked) EXPECT_EQ(checked.error().code(), Code::too_large) << checked.error().message();
    // Doubling references are one set and no harm.
    std::string laughs = R"({"$ref":"#/$defs/d0","$defs":{)";
    for (int i = 0; i < 60; ++i) {
        const std::string next = R"({"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"}";
        laughs += "\"d" + std::to_string(i) + R"(":{"allOf":[)" + next + "," + next + "]},";
    }
    laughs += R"("d60":{"type":"null"}}})";
    EXPECT_TRUE(check_json_schema(laughs, false).has_value());
}

} // namespace
} // namespace bloom::text
