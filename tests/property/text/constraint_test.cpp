#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/grammar/constraint.hpp>
#include <bloom/text/output_parser.hpp>

#include "support/grammar_vocab.hpp"
#include "support/schema_validator.hpp"
#include "text/grammar/constraint_calls.hpp"

/// Whatever a grammar of answers allows, the parser of the model's output reads as what was asked
/// for: random walks through the grammars of all formats, with tags that are tokens and without.
namespace bloom::text {
namespace {

using gen::ToolChoice;
using gen::ToolDefinition;
using test::SmallVocab;

const std::vector<ToolDefinition> kTools{{"get_weather", "", R"({"type":"object","properties":{
        "city":{"type":"string"},"unit":{"enum":["C","F"]},"days":{"type":"integer","minimum":1,
        "maximum":14},"exact":{"type":"boolean"},"note":{"type":["string","null"]}},
        "required":["city","days"]})",
                                          true},
                                         {"search", "", R"({"type":"object","properties":{
        "query":{"type":"string","minLength":2,"maxLength":12},
        "code":{"type":"string","pattern":"^[A-Z]{2}-[0-9]+$"},
        "tags":{"type":"array","items":{"type":"string"},"maxItems":3},
        "where":{"$ref":"#/$defs/Place"},"level":{"anyOf":[{"type":"integer"},{"enum":["all"]}]},
        "version":{"const":2},"ratio":{"type":"number"}},
        "required":["query","where","version"],"additionalProperties":false,
        "$defs":{"Place":{"type":"object","properties":{"x":{"type":"number"},
        "name":{"type":"string"}},"required":["name"],"additionalProperties":false}}})",
                                          false},
                                         {"now", "", "", false},
                                         {"anything", "", R"({"type":"object"})", false}};

constexpr std::string_view kAnswerSchema = R"({"type":"object","properties":{
    "title":{"type":"string","maxLength":20},"steps":{"type":"array","items":{"type":"integer"},
    "minItems":1},"ok":{"type":"boolean"}},"required":["title","ok"],
    "additionalProperties":false})";

struct Ask {
    OutputFormat calls = OutputFormat::hermes_json;
    gen::TemplateOptions tmpl;
    gen::OutputFormat format;
    bool in_reasoning = false;
    bool may_think = false;
    bool tags_are_tokens = false;
};

SmallVocab vocab_of(const Ask& ask) {
    SmallVocab out;
    if (!ask.tags_are_tokens) return out;
    for (const std::string_view tag : constraint_tags(ask.calls))
        out.tags.emplace_back(tag);
    return out;
}

std::shared_ptr<const Grammar> grammar_of(const Ask& ask) {
    ConstraintRequest request;
    request.tmpl = &ask.tmpl;
    request.format = &ask.format;
    request.calls = ask.calls;
    request.in_reasoning = ask.in_reasoning;
    request.may_think = ask.may_think;
    const auto made = make_constraint(request);
    EXPECT_TRUE(made) << made.error().message();
    return made ? *made : nullptr;
}

/// What was read: thinking, answer, and calls as name and arguments.
struct Read {
    std::string reasoning;
    std::string content;
    std::vector<std::pair<std::string, std::string>> calls;
    std::int32_t n_complete = 0;
};

/// An answer on its way from tokens to what the client gets.
class Reader {
public:
    Reader(const Ask& ask, std::shared_ptr<const Tokenizer> tokenizer)
        : detokenizer_(tokenizer), parser_(options_of(ask, *tokenizer)) {}

    void push(std::int32_t token) {
        text_.clear();
        detokenizer_.push(token, text_);
        parser_.push(token, text_, out_);
    }

    bool thinks() const { return parser_.in_reasoning(); }

    Read finish() {
        parser_.finish(true, out_);
        Read read;
        for (const Piece& piece : out_.pieces) {
            const std::string text(out_.text_of(piece));
            if (piece.kind == PieceKind::reasoning) read.reasoning += text;
            if (piece.kind == PieceKind::content) read.content += text;
            if (piece.kind == PieceKind::tool_begin) read.calls.emplace_back(text, "");
            if (piece.kind == PieceKind::tool_args) read.calls.back().second += text;
        }
        read.n_complete = parser_.n_complete_calls();
        return read;
    }

private:
    static OutputParserOptions options_of(const Ask& ask, const Tokenizer& tokenizer) {
        OutputParserOptions options;
        options.format = ask.calls;
        options.in_reasoning = ask.in_reasoning;
        if (ask.tmpl.tool_choice != ToolChoice::none) options.tools = ask.tmpl.tools;
        for (const std::string_view tag : tags_of(ask.calls)) {
            if (const auto id = tokenizer.token_id(tag))
                options.tag_tokens.push_back({std::string(tag), *id});
        }
        return options;
    }

    Detokenizer detokenizer_;
    OutputParser parser_;
    ParsedOutput out_;
    std::string text_;
};

/// Tokens that a walk tries in order to come to an end, the first that fit.
std::vector<std::string> closers(const Ask& ask, bool thinks) {
    if (thinks) return {std::string(marks_of(ask.calls).think_close)};
    switch (ask.calls) {
    case OutputFormat::qwen_xml:
        return {"\n</parameter>\n", "\"", "}", "]", "</function>"};
    case OutputFormat::minimax_xml:
        return {"</parameter>\n", "\"", "}", "]", "</invoke>\n</minimax:tool_call>"};
    case OutputFormat::gemma:
        return {"<|\"|>", "\"", "}", "]"};
    default:
        return {"\"", "}", "]"};
    }
}

/// Accepts a text: as the token that it is, or byte by byte.
bool try_text(GrammarMatcher& matcher, const Tokenizer& tokenizer, std::string_view text,
              std::vector<std::int32_t>& tokens) {
    GrammarMatcher copy = matcher;
    if (const auto id = tokenizer.token_id(text); id && copy.accept(*id)) {
        matcher = copy;
        tokens.push_back(*id);
        return true;
    }
    for (const char c : text) {
        if (!copy.accept(static_cast<unsigned char>(c))) return false;
    }
    matcher = copy;
    for (const char c : text)
        tokens.push_back(static_cast<unsigned char>(c));
    return true;
}

/// A random answer; nullopt where it did not come to its end.
std::optional<Read> walk(Rng& rng, const Ask& ask, const std::shared_ptr<BoundGrammar>& grammar,
                         const SmallVocab& vocab, std::string& text) {
    const auto tokenizer = vocab.tokenizer();
    GrammarMatcher matcher(grammar);
    Reader reader(ask, tokenizer);
    const std::uint64_t calm = rng.below(60); // steps before it wants to end
    std::vector<std::int32_t> tokens;
    std::size_t n_read = 0;
    for (std::size_t step = 0; step < 3000; ++step) {
        for (; n_read < tokens.size(); ++n_read) {
            reader.push(tokens[n_read]);
            text += tokenizer->bytes_of(tokens[n_read]);
        }
        if (matcher.must_end() || (step > calm && matcher.can_end())) {
            EXPECT_TRUE(matcher.can_end());
            return reader.finish();
        }
        const auto mask = matcher.mask();
        std::vector<std::int32_t> allowed;
        for (std::int32_t i = 0; i < vocab.stop(); ++i) {
            if (((mask[static_cast<std::size_t>(i) / 64] >> (i % 64)) & 1) != 0)
                allowed.push_back(i);
        }
        bool moved = false;
        if (step > calm && allowed.size() > 1) {
            for (const std::string& closer : closers(ask, reader.thinks()))
                moved = moved || try_text(matcher, *tokenizer, closer, tokens);
        }
        if (moved) continue;
        if (allowed.empty()) {
            EXPECT_TRUE(matcher.can_end()) << "a dead end";
            return reader.finish();
        }
        tokens.push_back(allowed[rng.below(allowed.size())]);
        EXPECT_TRUE(matcher.accept(tokens.back()));
    }
    return std::nullopt;
}

bool validates(std::string_view schema, std::string_view value) {
    const auto rules = test::JsonTreeReader::read(schema);
    const auto tree = test::JsonTreeReader::read(value);
    EXPECT_TRUE(rules) << schema;
    if (!rules || !tree) return false;
    const std::optional<bool> good = test::SchemaValidator(*rules).validate(*tree);
    EXPECT_TRUE(good.has_value()) << schema;
    return good.value_or(false);
}

void expect_valid_calls(const Ask& ask, const Read& read) {
    EXPECT_EQ(static_cast<std::size_t>(read.n_complete), read.calls.size());
    const bool forced = ask.tmpl.tool_choice != ToolChoice::automatic;
    if (!ask.tmpl.parallel_tool_calls || ask.calls == OutputFormat::llama_json) {
        EXPECT_LE(read.calls.size(), 1U);
    }
    for (const auto& [name, arguments] : read.calls) {
        const auto tool = std::ranges::find(ask.tmpl.tools, name, &ToolDefinition::name);
        ASSERT_NE(tool, ask.tmpl.tools.end()) << name;
        if (ask.tmpl.tool_choice == ToolChoice::named) {
            EXPECT_EQ(name, ask.tmpl.tool_name);
        }
        const bool enforced = forced || tool->strict;
        EXPECT_TRUE(
            validates(enforced ? arguments_schema(*tool) : R"({"type":"object"})", arguments))
            << arguments;
    }
}

constexpr OutputFormat kFormats[] = {OutputFormat::hermes_json, OutputFormat::qwen_xml,
                                     OutputFormat::minimax_xml, OutputFormat::gemma,
                                     OutputFormat::llama_json};

class Constraints : public testing::TestWithParam<std::tuple<OutputFormat, bool>> {
protected:
    Ask ask() const {
        Ask out;
        std::tie(out.calls, out.tags_are_tokens) = GetParam();
        out.tmpl.tools = kTools;
        return out;
    }

    /// Runs random answers and hands those that ended to `check`.
    template <class Check>
    void walks(const Ask& ask, int n, Check check) {
        const auto grammar = grammar_of(ask);
        ASSERT_NE(grammar, nullptr);
        const SmallVocab vocab = vocab_of(ask);
        const auto bound = BoundGrammar::create(grammar, vocab.vocab());
        ASSERT_TRUE(bound);
        Rng rng(static_cast<std::uint64_t>(ask.calls) * 31 + (ask.tags_are_tokens ? 7 : 0));
        int n_ended = 0;
        for (int i = 0; i < n; ++i) {
            std::string text;
            const std::optional<Read> read = walk(rng, ask, *bound, vocab, text);
            SCOPED_TRACE(text);
            if (!read) continue;
            ++n_ended;
            check(*read);
            if (testing::Test::HasFailure()) return;
        }
        EXPECT_GT(n_ended, n * 9 / 10);
    }
};

TEST_P(Constraints, ForcedCallsAreReadAsCallsThatFit) {
    for (const bool parallel : {true, false}) {
        Ask a = ask();
        a.tmpl.tool_choice = ToolChoice::required;
        a.tmpl.parallel_tool_calls = parallel;
        a.may_think = parallel;
        walks(a, 60, [&](const Read& read) {
            EXPECT_EQ(read.content, "");
            EXPECT_FALSE(read.calls.empty());
            expect_valid_calls(a, read);
        });
    }
}

TEST_P(Constraints, ANamedToolIsTheOneThatIsCalled) {
    for (const ToolDefinition& tool : kTools) {
        Ask a = ask();
        a.in_reasoning = true;
        a.tmpl.tool_choice = ToolChoice::named;
        a.tmpl.tool_name = tool.name;
        walks(a, 20, [&](const Read& read) {
            EXPECT_EQ(read.content, "");
            EXPECT_FALSE(read.calls.empty());
            expect_valid_calls(a, read);
        });
    }
}

TEST_P(Constraints, StrictToolsMayBeCalledOrNot) {
    Ask a = ask();
    a.may_think = true;
    std::size_t n_calls = 0;
    walks(a, 60, [&](const Read& read) {
        expect_valid_calls(a, read);
        n_calls += read.calls.size();
    });
    // Random text seldom comes to a call, so a format leaves nothing else but the object.
    a.format.kind = gen::OutputFormat::Kind::json_schema;
    a.format.schema = kAnswerSchema;
    walks(a, 60, [&](const Read& read) {
        expect_valid_calls(a, read);
        n_calls += read.calls.size();
        if (read.calls.empty()) EXPECT_TRUE(validates(kAnswerSchema, read.content)) << read.content;
        if (!read.calls.empty()) EXPECT_EQ(read.content, "");
    });
    EXPECT_GT(n_calls, 10U);
}

TEST_P(Constraints, FormatsAreTheAnswer) {
    for (const bool object : {true, false}) {
        Ask a = ask();
        a.tmpl.tools.clear();
        a.in_reasoning = object;
        a.may_think = true;
        a.format.kind =
            object ? gen::OutputFormat::Kind::json_object : gen::OutputFormat::Kind::json_schema;
        a.format.schema = kAnswerSchema;
        walks(a, 60, [&](const Read& read) {
            EXPECT_TRUE(read.calls.empty());
            EXPECT_TRUE(validates(object ? R"({"type":"object"})" : kAnswerSchema, read.content))
                << read.content;
        });
    }
}

TEST_P(Constraints, NoCallsWhereNoneAreWanted) {
    Ask a = ask();
    a.tmpl.tool_choice = ToolChoice::none;
    walks(a, 40, [&](const Read& read) {
        EXPECT_TRUE(read.calls.empty());
        for (const std::string_view mark :
             {marks_of(a.calls).tool_open, marks_of(a.calls).also_open})
            EXPECT_TRUE(mark.empty() || read.content.find(mark) == std::string::npos);
    });
}

INSTANTIATE_TEST_SUITE_P(Formats, Constraints,
                         testing::Combine(testing::ValuesIn(kFormats), testing::Bool()),
                         [](const auto& info) {
                             return std::string(to_string(std::get<0>(info.param))) +
                                    (std::get<1>(info.param) ? "_tokens" : "_bytes");
                         });

} // namespace
} // namespace bloom::text
