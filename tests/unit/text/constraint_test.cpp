#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/text/grammar/constraint.hpp>

#include "support/grammar_vocab.hpp"

namespace bloom::text {
namespace {

using gen::ToolChoice;
using test::byte_matcher;

constexpr const char* kCity =
    R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},)"
    R"("required":["city"],"additionalProperties":false})";

struct Ask {
    gen::TemplateOptions tmpl;
    gen::OutputFormat format;
    OutputFormat calls = OutputFormat::hermes_json;
    bool in_reasoning = false;
    bool may_think = false;

    ConstraintRequest request() const { return {&tmpl, &format, calls, in_reasoning, may_think}; }
};

Ask asked(ToolChoice choice, OutputFormat calls = OutputFormat::hermes_json) {
    Ask a;
    a.tmpl.tools = {{"weather", "", kCity, false}, {"now", "", "", false}};
    a.tmpl.tool_choice = choice;
    a.tmpl.tool_name = "weather";
    a.calls = calls;
    return a;
}

bool accepts(const Ask& ask, std::string_view text) {
    const auto grammar = make_constraint(ask.request());
    EXPECT_TRUE(grammar) << grammar.error().message();
    if (!grammar || !*grammar) return false;
    GrammarMatcher matcher = byte_matcher(*grammar);
    return matcher.accept_bytes(text) && matcher.can_end();
}

TEST(Constraint, NothingToEnforceIsNoGrammar) {
    for (const Ask& a : {asked(ToolChoice::automatic, OutputFormat::llama_json), Ask{},
                         asked(ToolChoice::none, OutputFormat::plain)}) {
        EXPECT_FALSE(wants_constraint(a.request()));
        EXPECT_EQ(*make_constraint(a.request()), nullptr);
    }
    EXPECT_TRUE(wants_constraint(asked(ToolChoice::required).request()));
    EXPECT_TRUE(wants_constraint(asked(ToolChoice::none).request()));
}

TEST(Constraint, CallsOfTheModelsOwnAreWholeAndOfFunctionsThatThereAre) {
    const Ask free = asked(ToolChoice::automatic);
    ASSERT_TRUE(wants_constraint(free.request()));
    EXPECT_TRUE(accepts(free, "Just words, {\"even\": [braces]"));
    EXPECT_TRUE(accepts(free, "Wait.<tool_call>\n{\"name\": \"weather\", \"arguments\": "
                              "{\"anything\": 1}}\n</tool_call>"));
    EXPECT_FALSE(accepts(free, "<tool_call>\n{\"name\": \"wether\", \"arguments\": {}}\n"
                               "</tool_call>"));
    EXPECT_FALSE(accepts(free, "<tool_call>\n{\"name\": \"weather\", \"argum"));
}

TEST(Constraint, CallsAreWrittenAsTheTemplatesShowThem) {
    EXPECT_TRUE(accepts(asked(ToolChoice::required),
                        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\", "
                        "\"days\": 3}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", "
                        "\"arguments\": {}}\n</tool_call>"));
    EXPECT_TRUE(accepts(asked(ToolChoice::named, OutputFormat::qwen_xml),
                        "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\nN\n</parameter>\n"
                        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"));
    EXPECT_TRUE(accepts(asked(ToolChoice::required, OutputFormat::minimax_xml),
                        "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter "
                        "name=\"city\">Oslo</parameter>\n</invoke>\n<invoke name=\"now\">\n"
                        "</invoke>\n</minimax:tool_call>"));
    EXPECT_TRUE(accepts(asked(ToolChoice::required, OutputFormat::gemma),
                        "<|tool_call>call:weather{city:<|\"|>Oslo<|\"|>,days:3}<tool_call|>"
                        "<|tool_call>call:now{}<tool_call|>"));
    EXPECT_TRUE(accepts(asked(ToolChoice::required, OutputFormat::llama_json),
                        "{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}"));
}

TEST(Constraint, ForcedCallsLeaveNothingElse) {
    const Ask required = asked(ToolChoice::required);
    EXPECT_FALSE(accepts(required, ""));
    EXPECT_FALSE(accepts(required, "Oslo is cold."));
    EXPECT_FALSE(accepts(required, "<tool_call>\n{\"name\": \"other\", \"arguments\": "
                                   "{}}\n</tool_call>"));
    EXPECT_FALSE(accepts(required, "<tool_call>\n{\"name\": \"weather\", \"arguments\": "
                                   "{}}\n</tool_call>"))
        << "a city is missing";
    const std::string_view now =
        "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    EXPECT_TRUE(accepts(required, now));
    EXPECT_FALSE(accepts(asked(ToolChoice::named), now));
    Ask one = required;
    one.tmpl.parallel_tool_calls = false;
    EXPECT_TRUE(accepts(one, now));
    EXPECT_FALSE(accepts(one, std::string(now) + "\n" + std::string(now)));
}

TEST(Constraint, ThinkingComesFirstWhereItCan) {
    Ask a;
    a.format.kind = gen::OutputFormat::Kind::json_object;
    EXPECT_TRUE(accepts(a, "{\"a\": 1}"));
    EXPECT_FALSE(accepts(a, "<think>\nhm\n</think>\n\n{}"));
    EXPECT_FALSE(accepts(a, "{} "));
    a.may_think = true;
    EXPECT_TRUE(accepts(a, "{}"));
    EXPECT_TRUE(accepts(a, "<think>\nhm\n</think>\n\n{}"));
    EXPECT_FALSE(accepts(a, "hm\n</think>\n\n{}"));
    a.in_reasoning = true;
    EXPECT_TRUE(accepts(a, "hm {\n</think>\n\n{}"));
    EXPECT_FALSE(accepts(a, "{}"));
    a.calls = OutputFormat::gemma;
    a.in_reasoning = false;
    EXPECT_TRUE(accepts(a, "<|channel>thought\nhm<channel|>{}"));
}

TEST(Constraint, StrictToolsAreOnlyHeldToTheirSchemas) {
    Ask a = asked(ToolChoice::automatic);
    a.tmpl.tools[0].strict = true;
    EXPECT_TRUE(accepts(a, ""));
    EXPECT_TRUE(accepts(a, "It is < 5 degrees."));
    EXPECT_TRUE(accepts(a, "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": "
                           "{\"city\": \"Oslo\"}}\n</tool_call>"));
    EXPECT_FALSE(accepts(a, "<tool_call>\n{\"name\": \"weather\", \"arguments\": "
                            "{\"days\": 3}}\n</tool_call>"));
    EXPECT_TRUE(accepts(a, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"any\": "
                           "[1]}}\n</tool_call>"))
        << "it is not strict";
    a.calls = OutputFormat::llama_json;
    EXPECT_TRUE(accepts(a, "Cold."));
    EXPECT_FALSE(accepts(a, "{\"name\": \"weather\", \"parameters\": {}}"));
}

TEST(Constraint, NoCallIsAnyTextWithoutOne) {
    const Ask a = asked(ToolChoice::none);
    EXPECT_TRUE(accepts(a, "Words, and <b>more</b> of them."));
    EXPECT_FALSE(accepts(a, "<tool_call>\n{}"));
}

TEST(Constraint, StringsInTagsAreReadAsTheyAreWritten) {
    Ask a = asked(ToolChoice::required, OutputFormat::qwen_xml);
    a.tmpl.tools = {{"f", "", R"({"type":"object","properties":{"v":{"type":["string","null"]},
        "w":{"enum":["one","2",3]},"x":{"type":["string","integer"],"minLength":2}},
        "required":["v","w","x"]})",
                     false}};
    const auto call = [&](std::string_view v, std::string_view w, std::string_view x) {
        std::string text = "<tool_call>\n<function=f>\n<parameter=v>\n";
        text.append(v).append("\n</parameter>\n<parameter=w>\n").append(w);
        text.append("\n</parameter>\n<parameter=x>\n").append(x);
        return accepts(a, text + "\n</parameter>\n</function>\n</tool_call>");
    };
    EXPECT_TRUE(call("text", "one", "ab"));
    EXPECT_TRUE(call("null", "3", "17"));
    EXPECT_TRUE(call("nullify", "one", "a7"));
    EXPECT_FALSE(call("None ", "one", "ab")) << "would be read as null";
    EXPECT_FALSE(call("text", "2", "ab")) << "would be read as a number";
    EXPECT_FALSE(call("text", "\"one\"", "ab"));
    EXPECT_FALSE(call("text", "one", "7x")) << "might be a number";
    EXPECT_FALSE(call("text", "one", "a"));
    EXPECT_FALSE(call("</parameter>", "one", "ab"));
}

TEST(Constraint, NothingInsideOfAValueLooksLikeATag) {
    Ask a = asked(ToolChoice::required, OutputFormat::qwen_xml);
    a.tmpl.tools = {{"f", "", R"({"type":"object","properties":{"v":{"type":"array",
        "items":{"type":"string"}},"w":{"enum":[["<a>"]]}},"required":["v","w"]})",
                     false}};
    const auto call = [&](std::string_view v, std::string_view w) {
        std::string text = "<tool_call>\n<function=f>\n<parameter=v>\n";
        text.append(v).append("\n</parameter>\n<parameter=w>\n").append(w);
        return accepts(a, text + "\n</parameter>\n</function>\n</tool_call>");
    };
    EXPECT_TRUE(call(R"(["a > b", "\u003cb>"])", R"(["\u003ca>"])"));
    EXPECT_FALSE(call(R"(["</parameter>"])", R"(["\u003ca>"])"));
    EXPECT_FALSE(call("[]", R"(["<a>"])"));
}

TEST(Constraint, ErrorsTellWhatCannotBeDone) {
    const auto error = [](const Ask& a) {
        const auto made = make_constraint(a.request());
        EXPECT_FALSE(made);
        return made ? Error{Code::closed} : made.error();
    };
    EXPECT_EQ(error(asked(ToolChoice::required, OutputFormat::plain)).code(), Code::unsupported);
    Ask a = asked(ToolChoice::named);
    a.tmpl.tool_name = "unknown";
    EXPECT_EQ(error(a).code(), Code::invalid_argument);
    a = asked(ToolChoice::required, OutputFormat::qwen_xml);
    a.tmpl.tools[0].name = "a>b";
    EXPECT_EQ(error(a).code(), Code::unsupported);
    a = asked(ToolChoice::required);
    a.tmpl.tools[1].parameters = R"({"type":7})";
    EXPECT_EQ(error(a).code(), Code::invalid_argument);
    const auto checked = check_constraints(a.tmpl, a.format);
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->param, "tools[1]");
    EXPECT_EQ(checked->error.code(), Code::invalid_argument);
    a.tmpl.tool_choice = ToolChoice::automatic; // nobody looks at it
    EXPECT_FALSE(check_constraints(a.tmpl, a.format));
    a.format.kind = gen::OutputFormat::Kind::json_schema;
    a.format.schema = R"({"not":{}})";
    const auto format = check_constraints(a.tmpl, a.format);
    ASSERT_TRUE(format);
    EXPECT_EQ(format->param, "response_format");
    EXPECT_NE(format->error.message().find("not"), std::string_view::npos);
}

} // namespace
} // namespace bloom::text
