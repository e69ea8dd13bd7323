// Random schemas, random walks through their grammars: whatever comes out satisfies the schema, as
// a validator sees it that knows nothing of grammars.
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/grammar/json_schema.hpp>
#include <bloom/text/output_parser.hpp>

#include "support/grammar_match.hpp"
#include "support/json_tree.hpp"
#include "support/schema_validator.hpp"

namespace bloom::text {
namespace {

std::uint64_t base_seed() {
    const char* seed = std::getenv("DARKBLOOM_SEED");
    return seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1;
}

/// Writes schemas that mostly can be enforced and mostly have values.
class SchemaWriter {
public:
    explicit SchemaWriter(Rng& rng) : rng_(rng) {}

    std::string write(bool object) {
        std::string defs =
            R"("$defs":{"d0":)" + schema(1, false) + R"(,"d1":)" + schema(2, false) + '}';
        std::string root = schema(3, object);
        if (root == "true") root = "{}";
        return root == "{}" ? '{' + defs + '}' : root.substr(0, root.size() - 1) + ',' + defs + '}';
    }

private:
    bool chance(unsigned percent) { return rng_.below(100) < percent; }

    std::string pick(std::initializer_list<std::string_view> list) {
        return std::string(list.begin()[rng_.below(list.size())]);
    }

    std::string integer(int least, int most) {
        return std::to_string(
            least + static_cast<int>(rng_.below(static_cast<unsigned>(most - least + 1))));
    }

    std::string decimal() {
        std::string out = integer(-30, 300);
        if (chance(50)) out += '.' + integer(0, 99);
        return out;
    }

    std::string schema(int depth, bool object) {
        if (object) return objects(depth);
        switch (rng_.below(depth > 0 ? 12 : 6)) {
        case 0:
            return strings();
        case 1:
            return numbers();
        case 2:
            return pick({R"({"type":"boolean"})", R"({"type":"null"})",
                         R"({"type":["integer","null"]})", "{}"});
        case 3:
            return constants();
        case 4:
            return numbers();
        case 5:
            return strings();
        case 6:
            return arrays(depth);
        case 7:
            return R"({"anyOf":[)" + schema(depth - 1, false) + ',' + schema(depth - 1, false) +
                   "]}";
        case 8:
            return R"({"allOf":[)" + objects(depth - 1) + ',' + objects(depth - 1) + "]}";
        case 9:
            return R"({"oneOf":[{"type":"object","properties":{"k":{"const":1},"v":)" +
                   schema(depth - 1, false) +
                   R"(},"required":["k"]},{"type":"object","properties":{"k":{"const":2}},)"
                   R"("required":["k"]},{"type":"string","maxLength":4}]})";
        case 10:
            return R"({"$ref":"#/$defs/d)" + integer(0, 1) + R"("})";
        default:
            return objects(depth);
        }
    }

    std::string strings() {
        std::string out = R"({"type":"string")";
        if (chance(40)) out += R"(,"minLength":)" + integer(0, 3);
        if (chance(60)) out += R"(,"maxLength":)" + integer(3, 8);
        if (chance(30)) {
            out +=
                R"(,"pattern":)" + pick({R"("^[a-z]+$")", R"("a")", R"("^(x|yz)*$")", R"("[^\"]$")",
                                         R"("^.?b{1,3}")", R"("^[0-9]{2}(-[0-9]{2})?$")"});
        }
        return out + '}';
    }

    std::string numbers() {
        std::string out = chance(50) ? R"({"type":"integer")" : R"({"type":"number")";
        if (chance(50))
            out += (chance(50) ? R"(,"minimum":)" : R"(,"exclusiveMinimum":)") + decimal();
        if (chance(50))
            out += (chance(50) ? R"(,"maximum":)" : R"(,"exclusiveMaximum":)") + decimal();
        if (chance(20)) out += R"(,"multipleOf":)" + pick({"1", "5", "0.5", "0.01", "3", "100"});
        return out + '}';
    }

    std::string constants() {
        if (chance(30)) return R"({"const":)" + constant() + '}';
        return R"({"enum":[)" + constant() + ',' + constant() + ',' + constant() + "]}";
    }

    std::string constant() {
        return pick({"1", "-2.5", "null", "true", R"("a\"b")", R"("\n")", R"([1,{"x":null}])",
                     R"({"b":1,"a":[]})", "1e40", R"("\u00e9")", "{}"});
    }

    std::string arrays(int depth) {
        std::string out = R"({"type":"array")";
        if (chance(40)) {
            out += R"(,"prefixItems":[)" + schema(depth - 1, false);
            if (chance(50)) out += ',' + schema(depth - 1, false);
            out += ']';
        }
        if (chance(80)) {
            out += R"(,"items":)" + (chance(15) ? std::string("false") : schema(depth - 1, false));
        }
        if (chance(40)) out += R"(,"minItems":)" + integer(0, 2);
        if (chance(70)) out += R"(,"maxItems":)" + integer(1, 4);
        return out + '}';
    }

    std::string objects(int depth) {
        static constexpr std::string_view kNames[] = {"a", "b", "x y", "\\u00e9", "q\\\"t", "n_1"};
        std::string properties;
        std::string required;
        for (const std::string_view name : kNames) {
            if (!chance(45)) continue;
            const std::string key = '"' + std::string(name) + '"';
            if (!properties.empty()) properties += ',';
            properties += key + ':' + schema(depth - 1, false);
            if (!chance(45)) continue;
            if (!required.empty()) required += ',';
            required += key;
        }
        std::string out = R"({"type":"object","properties":{)" + properties + '}';
        if (!required.empty()) out += R"(,"required":[)" + required + ']';
        if (chance(20)) out += R"(,"patternProperties":{"^n_":)" + schema(0, false) + '}';
        if (chance(15)) out += R"(,"propertyNames":{"maxLength":3})";
        if (chance(15)) out += R"(,"minProperties":1)";
        if (chance(15)) out += R"(,"maxProperties":)" + integer(1, 4);
        if (chance(75)) {
            out += R"(,"additionalProperties":)" +
                   (chance(70) ? std::string("false") : schema(0, false));
        }
        return out + '}';
    }

    Rng& rng_;
};

/// A random text of the grammar, by masks; nullopt when it would not come to its end.
std::optional<std::string> walk(GrammarMatcher matcher, Rng& rng) {
    constexpr std::size_t kLong = 250; ///< from here on whatever closes is preferred
    constexpr std::size_t kTooLong = 4000;
    std::string out;
    while (out.size() < kTooLong) {
        if (matcher.can_end() && (matcher.must_end() || rng.below(2) == 0)) return out;
        const std::span<const std::uint64_t> mask = matcher.mask();
        std::vector<int> allowed;
        std::vector<int> closing;
        for (int b = 0; b < 256; ++b) {
            if ((mask[static_cast<std::size_t>(b) / 64] >> (b % 64) & 1) == 0) continue;
            allowed.push_back(b);
            if (std::string_view("\"}]<|>").contains(static_cast<char>(b))) closing.push_back(b);
        }
        if (allowed.empty()) {
            EXPECT_TRUE(matcher.can_end()) << "a dead end behind " << out;
            return out;
        }
        const bool close = !closing.empty() && (out.size() > kLong || rng.below(4) == 0);
        const std::vector<int>& from = close ? closing : allowed;
        const int byte = from[rng.below(from.size())];
        EXPECT_TRUE(matcher.accept(byte)) << out;
        out += static_cast<char>(byte);
    }
    return std::nullopt;
}

/// Pieces that cross the borders of a grammar's parts, as those of real vocabularies do.
constexpr std::string_view kPieces[] = {
    "{\"",    "\":", "\":\"",   "\",\"",  "},{",   "}]",      "]}",    "]]",   "true",   "false",
    "null",   "tr",  "12",      "1.5",    "-1",    "00",      "e5",    "0}",   "1,\"",   "\"}",
    "\"],\"", "aa",  "ab",      "a\"",    "\\n",   "\\u00e9", "\\u00", "\\\"", "\u00e9", "\u4e16",
    "[{\"",   "[[",  "\"n_1\"", "\"a\":", "b\":[", "x\",",    "1}",    "2]",   "{}",     "[]",
};

/// The same walk in tokens, longer ones preferred. Every token outside of the mask is refused.
std::optional<std::string> token_walk(GrammarMatcher matcher, Rng& rng) {
    constexpr int kSteps = 300;
    const auto n = static_cast<std::size_t>(test::kStopToken) + 1 + std::size(kPieces);
    std::string out;
    for (int step = 0; step < kSteps; ++step) {
        if (matcher.can_end() && (matcher.must_end() || rng.below(2) == 0)) return out;
        const auto words = matcher.mask();
        const std::vector<std::uint64_t> mask(words.begin(), words.end());
        const auto allowed = [&](std::size_t id) { return (mask[id / 64] >> (id % 64) & 1) != 0; };
        EXPECT_EQ(allowed(test::kStopToken), matcher.can_end()) << out;
        std::vector<std::size_t> bytes;
        std::vector<std::size_t> pieces;
        for (std::size_t id = 0; id < n; ++id) {
            if (id == test::kStopToken) continue;
            const bool piece = id > test::kStopToken;
            if (piece) {
                GrammarMatcher copy = matcher;
                const std::string_view text = kPieces[id - test::kStopToken - 1];
                EXPECT_EQ(copy.accept_bytes(text), allowed(id)) << out << " and then " << text;
            }
            if (allowed(id)) (piece ? pieces : bytes).push_back(id);
        }
        if (bytes.empty() && pieces.empty()) {
            EXPECT_TRUE(matcher.can_end()) << "a dead end behind " << out;
            return out;
        }
        const bool longer = !pieces.empty() && (bytes.empty() || rng.below(3) != 0);
        const std::vector<std::size_t>& from = longer ? pieces : bytes;
        const std::size_t id = from[rng.below(from.size())];
        EXPECT_TRUE(matcher.accept(static_cast<std::int32_t>(id))) << out;
        if (longer) {
            out += kPieces[id - test::kStopToken - 1];
        } else {
            out += static_cast<char>(id);
        }
    }
    return std::nullopt;
}

struct Tally {
    int schemas = 0;
    int refused = 0;
    int empty = 0;
    int texts = 0;
    int cut = 0;
};

std::shared_ptr<const Grammar> grammar_of(const std::string& schema,
                                          const JsonSchemaOptions& options, Tally& tally) {
    ++tally.schemas;
    GrammarBuilder builder;
    const auto node = add_json_schema(builder, schema, options);
    if (!node) {
        EXPECT_TRUE(node.error().code() == Code::unsupported ||
                    node.error().message().contains("without a value in between"))
            << schema << ": " << node.error().message();
        ++tally.refused;
        return nullptr;
    }
    const auto grammar = builder.build(*node);
    if (!grammar) {
        EXPECT_EQ(grammar.error().code(), Code::invalid_argument)
            << schema << ": " << grammar.error().message();
        ++tally.empty;
        return nullptr;
    }
    return *grammar;
}

void print(const Tally& t) {
    std::cout << t.schemas << " schemas, " << t.refused << " refused, " << t.empty
              << " without values, " << t.texts << " texts, " << t.cut << " cut\n";
    EXPECT_LT(t.refused * 3, t.schemas);
    EXPECT_LT(t.empty * 3, t.schemas);
    EXPECT_GT(t.texts, t.schemas);
}

void run(std::uint64_t seed, bool strict, Tally& tally) {
    Rng rng(seed);
    const std::string schema = SchemaWriter(rng).write(false);
    SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + ' ' + schema);
    const auto grammar = grammar_of(schema, {.strict = strict}, tally);
    if (grammar == nullptr) return;
    const test::GrammarCheck check(grammar);
    const auto tree = test::JsonTreeReader::read(schema);
    ASSERT_TRUE(tree.has_value());
    test::SchemaValidator validator(*tree);
    for (int i = 0; i < 6; ++i) {
        const auto text = walk(check.matcher(), rng);
        if (!text) {
            ++tally.cut;
            continue;
        }
        ++tally.texts;
        const auto value = test::JsonTreeReader::read(*text);
        ASSERT_TRUE(value.has_value()) << "no JSON: " << *text;
        const auto good = validator.validate(*value);
        ASSERT_TRUE(good.has_value()) << *text;
        EXPECT_TRUE(*good) << *text;
    }
}

TEST(JsonSchemaProperty, WhatAGrammarAllowsIsValid) {
    Tally tally;
    for (std::uint64_t i = 0; i < 250; ++i)
        run(base_seed() * 1000 + i, false, tally);
    print(tally);
}

TEST(JsonSchemaProperty, StrictAllowsLess) {
    Tally tally;
    for (std::uint64_t i = 0; i < 100; ++i)
        run(base_seed() * 7000 + i, true, tally);
    EXPECT_GT(tally.texts, 100);
}

TEST(JsonSchemaProperty, TokensOfSeveralBytesStayInside) {
    const auto vocab = test::vocab_with(kPieces);
    Tally tally;
    for (std::uint64_t i = 0; i < 80; ++i) {
        const std::uint64_t seed = base_seed() * 5000 + i;
        Rng rng(seed);
        const std::string schema = SchemaWriter(rng).write(rng.below(2) == 0);
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + ' ' + schema);
        const auto grammar = grammar_of(schema, {}, tally);
        if (grammar == nullptr) continue;
        const test::GrammarCheck check(grammar, vocab);
        const auto tree = test::JsonTreeReader::read(schema);
        ASSERT_TRUE(tree.has_value());
        test::SchemaValidator validator(*tree);
        for (int n = 0; n < 4; ++n) {
            const auto text = token_walk(check.matcher(), rng);
            if (!text) {
                ++tally.cut;
                continue;
            }
            ++tally.texts;
            const auto value = test::JsonTreeReader::read(*text);
            ASSERT_TRUE(value.has_value()) << "no JSON: " << *text;
            const auto good = validator.validate(*value);
            ASSERT_TRUE(good.has_value()) << *text;
            EXPECT_TRUE(*good) << *text;
        }
    }
    print(tally);
}

/// Gemma's notation goes through the parser of answers, which turns calls into JSON.
TEST(JsonSchemaProperty, GemmaCallsAreReadBackAsValidJson) {
    Tally tally;
    for (std::uint64_t i = 0; i < 150; ++i) {
        const std::uint64_t seed = base_seed() * 3000 + i;
        Rng rng(seed);
        const std::string schema = SchemaWriter(rng).write(true);
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + ' ' + schema);
        const auto grammar = grammar_of(schema, {.syntax = ValueSyntax::gemma}, tally);
        if (grammar == nullptr) continue;
        const test::GrammarCheck check(grammar);
        const auto tree = test::JsonTreeReader::read(schema);
        ASSERT_TRUE(tree.has_value());
        test::SchemaValidator validator(*tree);
        for (int n = 0; n < 4; ++n) {
            const auto text = walk(check.matcher(), rng);
            if (!text) {
                ++tally.cut;
                continue;
            }
            ++tally.texts;
            OutputParserOptions options;
            options.format = OutputFormat::gemma;
            options.tools = {{"f", "", schema, false}};
            OutputParser parser(options);
            ParsedOutput out;
            parser.push(-1, "<|tool_call>call:f" + *text + "<tool_call|>", out);
            parser.finish(true, out);
            std::string args;
            for (const auto& piece : out.pieces) {
                if (piece.kind == PieceKind::tool_args) args += out.text_of(piece);
            }
            const auto value = test::JsonTreeReader::read(args);
            ASSERT_TRUE(value.has_value()) << *text << " became " << args;
            const auto good = validator.validate(*value);
            ASSERT_TRUE(good.has_value()) << *text;
            EXPECT_TRUE(*good) << *text << " became " << args;
        }
    }
    print(tally);
}

} // namespace
} // namespace bloom::text
