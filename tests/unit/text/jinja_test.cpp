#include <gtest/gtest.h>

#include <bloom/text/jinja.hpp>

namespace bloom::text::jinja {
namespace {

Value user(std::string text) {
    return Value::string(std::move(text), Origin::user);
}

/// Renders with `u` a user's string and `us` a list of them; user text comes out in brackets.
std::string marked(const std::string& source) {
    auto parsed = Template::parse(source, "t");
    if (!parsed) return "parse: " + std::string(parsed.error().message());
    const Value globals =
        Value::dict({{Value::string("u"), user("  Evil <x> 世 ")},
                     {Value::string("us"), Value::list({user("a"), user("b")})},
                     {Value::string("k"), Value::dict({{user("key"), user("v")}})}});
    auto rendered = parsed->render(globals, {});
    if (!rendered) return "render: " + std::string(rendered.error().message());
    std::string out;
    std::size_t at = 0;
    for (const ByteRange& range : rendered->user_ranges) {
        out += rendered->text.substr(at, range.begin - at) + '{';
        out += rendered->text.substr(range.begin, range.end - range.begin) + '}';
        at = range.end;
    }
    return out + rendered->text.substr(at);
}

TEST(JinjaMarks, FollowUserText) {
    const std::pair<const char*, const char*> rows[] = {
        {"a{{ u }}b", "a{  Evil <x> 世 }b"},
        {"{{ u|trim }}", "{Evil <x> 世}"},
        {"{{ '<' + u.strip() + '>' }}", "<{Evil <x> 世}>"},
        {"{{ '<' ~ u|trim ~ '>' ~ us[0] }}", "<{Evil <x> 世}>{a}"},
        {"{{ u.upper().strip() }}", "{EVIL <X> 世}"},
        {"{{ u|lower|trim }}", "{evil <x> 世}"},
        {"{{ (u|trim)[1:4] }}", "{vil}"},
        {"{{ (u|trim)[::-1] }}", "{世 >x< livE}"},
        {"{{ (u|trim)[-1] }}", "{世}"},
        {"{{ (u|trim).split(' ')|join('-') }}", "{Evil}-{<x>}-{世}"},
        {"{{ (u|trim)|replace('x', '!') }}", "{Evil <}!{> 世}"},
        {"{{ 'a-a'|replace('a', us[1]) }}", "{b}-{b}"},
        {"{{ us }}", "['{a}', '{b}']"},
        {"{{ us|tojson }}", "[\"{a}\", \"{b}\"]"},
        {"{{ k|tojson }}", "{\"{key}\": \"{v}\"}"},
        {"{{ k|dictsort }}", "[('{key}', '{v}')]"},
        {"{{ (us|first ~ '\"\n')|tojson }}", "\"{a}\\\"\\n\""},
        {"{{ us|join(', ') }}", "{a}, {b}"},
        {"{{ us|map('upper')|join }}", "{AB}"},
        {"{% for c in us[0] ~ 'x' %}{{ c }}.{% endfor %}", "{a}.x."},
        {"{% set t %}[{{ us[0] }}]{% endset %}{{ t }}{{ t|length }}", "[{a}]3"},
        {"{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(us[0]) ~ m('t') }}", "<{a}><t>"},
        {"{% filter upper %}x{{ us[0] }}{% endfilter %}", "X{A}"},
        {"{{ '%s=%s' % (us[0], 'v') }}", "{a}=v"},
        {"{{ '{}|{:>3}'.format('v', us[0]) }}", "v|  {a}"},
        {"{{ us[0]|indent(2, true) }}", "  {a}"},
        {"{{ us[0] * 2 }}", "{aa}"},
        {"{{ us[0]|safe ~ '' }}", "{a}"},
        {"{{ us[0]|default('x') ~ (nope|default('y')) }}", "{a}y"},
        {"{{ us[0] == 'a' }}{{ us|length }}", "True2"},
        {"{{ 'pre' ~ us[0] ~ us[1] ~ 'post' }}", "pre{ab}post"},
    };
    for (const auto& [source, expected] : rows)
        EXPECT_EQ(marked(source), expected) << source;
}

TEST(Jinja, FailuresNameTemplateAndLine) {
    const std::pair<const char*, const char*> rows[] = {
        {"a\nb {{ nope.x }}", "render: template \"t\", line 2: 'nope' is undefined"},
        {"{% if 1 %}\n\n{{ 1 + 'a' }}{% endif %}",
         "render: template \"t\", line 3: unsupported operand types for +: 'int' and 'str'"},
        {"x\n{% for %}",
         "parse: template \"t\": line 2: expected a name to assign to, got the end of the tag"},
        {"{{ x|nofilter }}", "render: template \"t\", line 1: no filter named \"nofilter\""},
        {"{{ [1,2,3].nope }}{{ us.nope.deeper }}",
         "render: template \"t\", line 1: 'nope' is undefined"},
        {"{% include 'x' %}",
         "parse: template \"t\": line 1: unknown or unsupported tag, got \"include\""},
        {"{{ raise_exception('as it is') }}", "render: as it is"},
    };
    for (const auto& [source, expected] : rows)
        EXPECT_EQ(marked(source), expected) << source;
}

TEST(Jinja, ListsOfTheTemplateCanChangeOthersCannot) {
    EXPECT_EQ(marked("{% set l = [1] %}{% set _ = l.append(2) %}{% set _ = l.insert(0, 9) %}{{ "
                     "l.pop() }}{{ l }}"),
              "2[9, 1]");
    EXPECT_EQ(marked("{% set l = ['x'] %}{% set _ = l.extend(us) %}{{ l|join }}"), "x{ab}");
    EXPECT_EQ(marked("{{ us.append('c') }}"),
              "render: template \"t\", line 1: this list cannot be changed");
}

TEST(Jinja, OneTemplateRendersManyTimes) {
    auto parsed =
        Template::parse("{% set ns = namespace(n=n) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}", "t");
    ASSERT_TRUE(parsed.has_value());
    for (std::int64_t n = 0; n < 3; ++n) {
        auto out = parsed->render(Value::dict({{Value::string("n"), Value::integer(n)}}), {});
        ASSERT_TRUE(out.has_value());
        EXPECT_EQ(out->text, std::to_string(n + 1));
    }
}

TEST(Jinja, MentionsNamesAttributesAndKeys) {
    auto parsed = Template::parse("text {{ a.b['c'] }}{% macro m(d) %}{% endmacro %}", "t");
    ASSERT_TRUE(parsed.has_value());
    for (const char* name : {"a", "b", "c", "m", "d"})
        EXPECT_TRUE(parsed->mentions(name)) << name;
    EXPECT_FALSE(parsed->mentions("text"));
}

TEST(JinjaValue, ReadsJsonStrictly) {
    for (const char* bad :
         {"",          "{",           "[1,]",        "{\"a\":1,}", "{a:1}", "01",
          "1.",        ".5",          "+1",          "1e",         "\"a",   "\"\\x\"",
          "\"\t\"",    "\"\\ud800\"", "\"\\udc00\"", "nul",        "1 2",   "[1 2]",
          "{\"a\" 1}", "\"\xff\"",    "'a'",         "NaN",        "-",     "\"\\u12\""}) {
        EXPECT_FALSE(Value::from_json(bad, Origin::user).has_value()) << bad;
    }
    auto value = Value::from_json(" {\"b\": [1, -2.50, 1e400, 12345678901234567890, true, null], "
                                  "\"a\": \"\\ud83d\\ude00\\n\", \"b\": 0} ",
                                  Origin::user);
    ASSERT_TRUE(value.has_value());
    EXPECT_EQ(value->size(), 2U);
    EXPECT_EQ(value->find("b")->as_integer(), 0); // the last one wins
    EXPECT_EQ(value->find("a")->text(), "😀\n");
    EXPECT_EQ(Value::from_json("12345678901234567890", Origin::user)->text(),
              "12345678901234567890");
    EXPECT_TRUE(Value::from_json("-9223372036854775808", Origin::user)->is(Kind::integer));
    EXPECT_TRUE(Value::from_json("1.0", Origin::user)->is(Kind::floating));
}

TEST(JinjaValue, LargeDictsKeepOrderAndFindEverything) {
    std::vector<std::pair<Value, Value>> members;
    for (int i = 0; i < 1000; ++i) {
        members.emplace_back(Value::string("k" + std::to_string((i * 7919) % 1000)),
                             Value::integer(i));
    }
    const Value dict = Value::dict(std::move(members));
    ASSERT_EQ(dict.size(), 1000U);
    for (int i = 0; i < 1000; ++i) {
        const Value* found = dict.find("k" + std::to_string((i * 7919) % 1000));
        ASSERT_NE(found, nullptr);
        EXPECT_EQ(found->as_integer(), i);
    }
    EXPECT_EQ(dict.find("nope"), nullptr);
}

} // namespace
} // namespace bloom::text::jinja
