#include <string>

#include <gtest/gtest.h>

#include <bloom/text/jinja.hpp>

namespace bloom::text::jinja {
namespace {

Result<Rendered> render(const std::string& source, const RenderLimits& limits = {}) {
    auto parsed = Template::parse(source, "t");
    if (!parsed) return std::unexpected(parsed.error());
    return parsed->render(Value::dict({}), limits);
}

Code code_of(const Result<Rendered>& result) {
    return result ? Code::internal : result.error().code();
}

std::string repeated(std::string_view what, std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i)
        out += what;
    return out;
}

TEST(JinjaLimits, RecursionEnds) {
    for (const char* source : {
             "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
             "{% macro f(x) %}{% if x %}{% for i in [1] %}{{ (f(x) ~ 1)|upper }}{% endfor %}{% "
             "endif %}"
             "{% endmacro %}{{ f(1) }}",
             "{% macro g() %}{{ caller is defined }}{% call g() %}x{% endcall %}{% endmacro %}{{ "
             "g() }}",
             "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
             "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
         }) {
        EXPECT_EQ(code_of(render(source)), Code::limit_reached) << source;
    }
}

TEST(JinjaLimits, LoopsEnd) {
    EXPECT_EQ(code_of(render("{% for a in range(10**9) %}{% endfor %}")), Code::limit_reached);
    EXPECT_EQ(code_of(render(
                  "{% for a in range(-9223372036854775807, 9223372036854775807) %}{% endfor %}")),
              Code::limit_reached);
    EXPECT_EQ(
        code_of(render(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")),
        Code::limit_reached);
    EXPECT_EQ(code_of(render("{% set n = namespace(l=[1]) %}{% for a in range(99) %}"
                             "{% set n.l = n.l + n.l %}{% endfor %}")),
              Code::limit_reached);
    EXPECT_EQ(code_of(render("{{ ([1] * 10**12)|length }}")), Code::limit_reached);
}

TEST(JinjaLimits, OutputAndTextEnd) {
    RenderLimits limits;
    limits.max_output_bytes = 1000;
    EXPECT_EQ(code_of(render("{% for a in range(1001) %}x{% endfor %}", limits)), Code::too_large);
    EXPECT_TRUE(render("{% for a in range(1000) %}x{% endfor %}", limits).has_value());
    EXPECT_EQ(code_of(render("{{ 'ab' * 501 }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ 'ab' * 10**18 }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{% set n = namespace(s='x') %}{% for a in range(99) %}"
                             "{% set n.s = n.s + n.s %}{% endfor %}")),
              Code::too_large);
    EXPECT_EQ(code_of(render("{{ ('\n' * 900)|indent(200) }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ ('\na' * 400)|indent(200) }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ 'a'|indent(100000) }}")), Code::limit_reached);
    EXPECT_EQ(code_of(render("{{ '%99999d' % 1 }}")), Code::limit_reached);
    EXPECT_EQ(code_of(render("{{ ('a' * 900)|replace('a', 'bbb') }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ ('a' * 900)|list|join('-') }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ ('a' * 900)|list }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ ('a' * 900)|list|tojson }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{{ 'a'.center(1001) }}", limits)), Code::too_large);
    EXPECT_EQ(code_of(render("{% filter upper %}{{ 'a' * 999 }}bb{% endfilter %}", limits)),
              Code::too_large);
}

TEST(JinjaLimits, TheCallerCanStopIt) {
    RenderLimits limits;
    int n_asked = 0;
    limits.keep_going = [&] { return ++n_asked < 3; };
    EXPECT_EQ(code_of(render("{% for a in range(99999) %}{{ a }}{% endfor %}", limits)),
              Code::timeout);
    EXPECT_EQ(n_asked, 3);
}

TEST(JinjaLimits, NestingEnds) {
    const std::pair<const char*, const char*> nests[] = {
        {"(", ")"},    {"[", "]"},        {"-", ""},    {"not ", ""},
        {"{1:", "}"},  {"a[", "]"},       {"f(", ")"},  {"1 if 1 else ", ""},
        {"a|f(", ")"}, {"1 is eq(", ")"}, {"(1, ", ")"}};
    for (const auto& [open, close] : nests) {
        const std::string source =
            "{{ " + repeated(open, 5000) + "1" + repeated(close, 5000) + " }}";
        EXPECT_EQ(code_of(render(source)), Code::limit_reached) << open;
    }
    EXPECT_EQ(code_of(render(repeated("{% if 1 %}", 5000))), Code::limit_reached);
    EXPECT_EQ(code_of(render("{% if 0 %}" + repeated("{% elif 1 %}", 5000) + "{% endif %}")),
              Code::limit_reached);
    EXPECT_EQ(
        code_of(render("{% set " + repeated("(", 5000) + "x" + repeated(")", 5000) + " = 1 %}")),
        Code::limit_reached);
    EXPECT_EQ(code_of(render(std::string(kMaxSourceBytes + 1, 'x'))), Code::too_large);
    // Chains are no nesting for the reader, but they are for whoever walks the tree.
    for (const char* link : {" + 1", " ~ 1 - 1", ".a", "[0]", "()", "|f", " or 1", " and 1", " * 1",
                             " ** 1", " if 1"}) {
        EXPECT_EQ(code_of(render("{{ a" + repeated(link, 20000) + " }}")), Code::limit_reached)
            << link;
    }
    EXPECT_TRUE(render("{{ 1" + repeated(" + 1", 500) + " }}").has_value());
    EXPECT_TRUE(render("{{ 1" + repeated(" ~ 1", 20000) + " }}").has_value());
}

TEST(JinjaLimits, DeepValuesEnd) {
    EXPECT_EQ(code_of(render("{% set n = namespace(l=[]) %}{% for a in range(9999) %}"
                             "{% set n.l = [n.l] %}{% endfor %}")),
              Code::limit_reached);
    EXPECT_EQ(code_of(render("{% set l = [] %}{{ l.append(l) }}{{ l }}")), Code::limit_reached);
    EXPECT_EQ(code_of(render("{% set l = [] %}{{ l.append(l) }}{{ l|tojson }}")),
              Code::limit_reached);
    EXPECT_EQ(code_of(render("{% set l = [] %}{{ l.append(l) }}{{ l == [l] }}")),
              Code::limit_reached);
    EXPECT_EQ(code_of(render("{% set n = namespace() %}{% set n.n = n %}{{ n }}")),
              Code::limit_reached);
    // Doubly linked: exponential if it were walked without a budget.
    EXPECT_NE(code_of(render("{% set n = namespace(l=[], m=[]) %}{% for a in range(60) %}"
                             "{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, n.m] %}{% endfor %}"
                             "{{ n.l == n.m }}")),
              Code::internal);
    EXPECT_EQ(Value::from_json(repeated("[", 5000), Origin::user).error().code(),
              Code::limit_reached);
}

TEST(JinjaLimits, CyclesAreReleasedAndHarmless) {
    const auto out = render(
        "{% set n = namespace() %}{% set n.n = n %}{% set l = [1] %}{{ l.append([l, n]) }}"
        "{% for a in l %}{{ loop.changed(loop) }}{% set n.x = loop %}{% endfor %}{{ l|length }}");
    ASSERT_TRUE(out.has_value()) << out.error().message();
    EXPECT_EQ(out->text, "NoneTrueFalse2");
}

} // namespace
} // namespace bloom::text::jinja
