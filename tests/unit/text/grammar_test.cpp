#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>

#include "support/grammar_vocab.hpp"

namespace bloom::text {
namespace {

using test::accepts;
using Compiled = std::shared_ptr<const Grammar>;

Compiled built(GrammarBuilder& b, GrammarNode start) {
    auto made = b.build(start);
    EXPECT_TRUE(made) << (made ? "" : made.error().message());
    return made ? *made : nullptr;
}

Code refused(GrammarBuilder& b, GrammarNode start) {
    auto made = b.build(start);
    EXPECT_FALSE(made);
    return made ? Code::internal : made.error().code();
}

GrammarNode seq(GrammarBuilder& b, std::vector<GrammarNode> parts) {
    return b.sequence(parts);
}

GrammarNode any(GrammarBuilder& b, std::vector<GrammarNode> options) {
    return b.choice(options);
}

/// A value of JSON without white space, as one would write it by hand.
GrammarNode json_value(GrammarBuilder& b) {
    const std::array plain = {CodePointRange{0x20, 0x21}, CodePointRange{0x23, 0x5b},
                              CodePointRange{0x5d, 0x10ffff}};
    const GrammarNode hex =
        any(b, {b.byte_range('0', '9'), b.byte_range('a', 'f'), b.byte_range('A', 'F')});
    const GrammarNode escape =
        seq(b, {b.literal("\\"),
                any(b, {b.literal("\""), b.literal("\\"), b.literal("/"), b.literal("b"),
                        b.literal("f"), b.literal("n"), b.literal("r"), b.literal("t"),
                        seq(b, {b.literal("u"), b.repeat(hex, 4, 4)})})});
    const GrammarNode string =
        seq(b, {b.literal("\""), b.repeat(any(b, {b.characters(plain), escape}), 0, kUnbounded),
                b.literal("\"")});
    const GrammarNode digits = b.repeat(b.byte_range('0', '9'), 1, kUnbounded);
    const GrammarNode number = seq(
        b, {b.optional(b.literal("-")),
            any(b, {b.literal("0"), seq(b, {b.byte_range('1', '9'),
                                            b.repeat(b.byte_range('0', '9'), 0, kUnbounded)})}),
            b.optional(seq(b, {b.literal("."), digits})),
            b.optional(seq(b, {any(b, {b.literal("e"), b.literal("E")}),
                               b.optional(any(b, {b.literal("+"), b.literal("-")})), digits}))});
    const GrammarRule value = b.declare();
    const GrammarNode refer = b.refer(value);
    const auto list = [&](const char* open, GrammarNode item, const char* close) {
        const GrammarNode more = b.repeat(seq(b, {b.literal(","), item}), 0, kUnbounded);
        return seq(b, {b.literal(open), b.optional(seq(b, {item, more})), b.literal(close)});
    };
    b.define(value, any(b, {string, number, b.literal("true"), b.literal("false"),
                            b.literal("null"), list("[", refer, "]"),
                            list("{", seq(b, {string, b.literal(":"), refer}), "}")}));
    return refer;
}

TEST(Grammar, Literals) {
    GrammarBuilder b;
    const Compiled g = built(b, any(b, {b.literal("cat"), b.literal("car"), b.literal("c")}));
    for (const char* yes : {"cat", "car", "c"})
        EXPECT_TRUE(accepts(g, yes)) << yes;
    for (const char* no : {"", "ca", "cab", "cart", "d"})
        EXPECT_FALSE(accepts(g, no)) << no;
}

TEST(Grammar, EmptyText) {
    GrammarBuilder b;
    const Compiled g = built(b, b.empty());
    EXPECT_TRUE(accepts(g, ""));
    EXPECT_FALSE(accepts(g, "a"));
    EXPECT_TRUE(test::byte_matcher(g).must_end());
}

TEST(Grammar, Repeats) {
    for (const std::uint32_t n : {3U, 40U, 500U, 10000U}) {
        GrammarBuilder b;
        const Compiled g =
            built(b, seq(b, {b.literal("<"), b.repeat(b.literal("ab"), 2, n), b.literal(">")}));
        const auto text = [](std::size_t times) {
            std::string out = "<";
            for (std::size_t i = 0; i < times; ++i)
                out += "ab";
            return out + ">";
        };
        EXPECT_FALSE(accepts(g, text(0))) << n;
        EXPECT_FALSE(accepts(g, text(1))) << n;
        EXPECT_TRUE(accepts(g, text(2))) << n;
        EXPECT_TRUE(accepts(g, text(n - 1))) << n;
        EXPECT_TRUE(accepts(g, text(n))) << n;
        EXPECT_FALSE(accepts(g, text(n + 1))) << n;
        EXPECT_FALSE(accepts(g, "<aba>")) << n;
    }
}

TEST(Grammar, RepeatAtLeast) {
    for (const std::uint32_t n : {0U, 1U, 5U, 1000U}) {
        GrammarBuilder b;
        const Compiled g = built(b, b.repeat(b.byte_range('a', 'b'), n, kUnbounded));
        EXPECT_EQ(accepts(g, ""), n == 0);
        if (n > 0) EXPECT_FALSE(accepts(g, std::string(n - 1, 'a')));
        EXPECT_TRUE(accepts(g, std::string(n, 'b')));
        EXPECT_TRUE(accepts(g, std::string(n + 1, 'a')));
        EXPECT_TRUE(accepts(g, std::string(n + 4000, 'a')));
    }
}

TEST(Grammar, RepeatOfWhatMayBeEmpty) {
    GrammarBuilder b;
    const GrammarNode part = b.optional(b.literal("x"));
    const Compiled g = built(b, b.repeat(part, 200, 300));
    EXPECT_TRUE(accepts(g, ""));
    EXPECT_TRUE(accepts(g, std::string(300, 'x')));
    EXPECT_FALSE(accepts(g, std::string(301, 'x')));
}

TEST(Grammar, NestedCounters) {
    GrammarBuilder b;
    const GrammarNode row = seq(b, {b.repeat(b.byte_range('0', '9'), 2, 100), b.literal(";")});
    const Compiled g = built(b, b.repeat(row, 3, 200));
    const auto rows = [](std::size_t n, std::size_t width) {
        std::string out;
        for (std::size_t i = 0; i < n; ++i)
            out += std::string(width, '7') + ";";
        return out;
    };
    EXPECT_FALSE(accepts(g, rows(2, 50)));
    EXPECT_TRUE(accepts(g, rows(3, 100)));
    EXPECT_FALSE(accepts(g, rows(3, 101)));
    EXPECT_TRUE(accepts(g, rows(200, 2)));
    EXPECT_FALSE(accepts(g, rows(200, 1)));
    EXPECT_FALSE(accepts(g, rows(201, 2)));
}

TEST(Grammar, Json) {
    GrammarBuilder b;
    const Compiled g = built(b, json_value(b));
    for (const char* yes : {"null", "0", "-1.5e+10", "\"\"", "\"a\\\"\\u00e9\xc3\xa9\"", "[]", "{}",
                            "[[],{}]", R"({"a":1,"b":[true,false,{"c":null}]})", R"([1,2,"x"])"}) {
        EXPECT_TRUE(accepts(g, yes)) << yes;
    }
    for (const char* no : {"", "01", "[1,]", "{\"a\"}", "{a:1}", "\"\xc3\"", "\"\xed\xa0\x80\"",
                           "\"\n\"", "[1 ]", "nul", "[[]", "1]"}) {
        EXPECT_FALSE(accepts(g, no)) << no;
    }
    const std::string deep(300, '[');
    EXPECT_TRUE(accepts(g, deep + std::string(300, ']')));
    EXPECT_FALSE(accepts(g, deep + std::string(301, ']')));
}

TEST(Grammar, NestingIsBounded) {
    GrammarBuilder b;
    const GrammarRule rule = b.declare();
    b.define(rule, seq(b, {b.literal("("), b.optional(b.refer(rule)), b.literal(")")}));
    const Compiled g = built(b, b.refer(rule));
    GrammarMatcher matcher = test::byte_matcher(g);
    std::size_t depth = 0;
    while (matcher.accept_bytes("("))
        ++depth;
    EXPECT_GT(depth, 1000U);
    EXPECT_LT(depth, 1100U);
    EXPECT_TRUE(matcher.accept_bytes(std::string(depth, ')')));
    EXPECT_TRUE(matcher.must_end());
}

TEST(Grammar, RightRecursionNeedsNoStack) {
    GrammarBuilder b;
    const GrammarRule rule = b.declare();
    b.define(rule, any(b, {b.literal("."), seq(b, {b.literal("a"), b.refer(rule)})}));
    const Compiled g = built(b, b.refer(rule));
    EXPECT_TRUE(accepts(g, std::string(100000, 'a') + "."));
    EXPECT_FALSE(accepts(g, std::string(100, 'a')));
}

TEST(Grammar, Refusals) {
    {
        GrammarBuilder b;
        EXPECT_EQ(refused(b, b.nothing()), Code::invalid_argument);
    }
    {
        GrammarBuilder b; // x = "a" x
        const GrammarRule rule = b.declare();
        b.define(rule, seq(b, {b.literal("a"), b.refer(rule)}));
        EXPECT_EQ(refused(b, b.refer(rule)), Code::invalid_argument);
    }
    {
        GrammarBuilder b; // x = x
        const GrammarRule rule = b.declare();
        b.define(rule, b.refer(rule));
        EXPECT_EQ(refused(b, b.refer(rule)), Code::invalid_argument);
    }
    {
        GrammarBuilder b; // x = x "a" | "b"
        const GrammarRule rule = b.declare();
        b.define(rule, any(b, {b.literal("b"), seq(b, {b.refer(rule), b.literal("a")})}));
        EXPECT_EQ(refused(b, b.refer(rule)), Code::invalid_argument);
    }
    {
        GrammarBuilder b;
        EXPECT_EQ(refused(b, b.repeat(b.literal("a"), 0, kMaxGrammarRepeat + 1)), Code::too_large);
    }
    {
        GrammarBuilder b;
        EXPECT_EQ(refused(b, b.literal(std::string(kMaxGrammarStates + 1, 'x'))), Code::too_large);
    }
}

TEST(Grammar, DeadBranchesAreLeftOut) {
    GrammarBuilder b;
    const GrammarRule endless = b.declare();
    b.define(endless, seq(b, {b.literal("a"), b.refer(endless)}));
    const Compiled g =
        built(b, any(b, {seq(b, {b.literal("xy"), b.refer(endless)}), b.literal("xz")}));
    GrammarMatcher matcher = test::byte_matcher(g);
    EXPECT_TRUE(matcher.accept_bytes("x"));
    EXPECT_FALSE(matcher.accept_bytes("y"));
    EXPECT_TRUE(matcher.accept_bytes("z"));
}

TEST(Grammar, TextWithout) {
    GrammarBuilder b;
    const std::array<std::string_view, 2> ends = {"</think>", "abab"};
    const Compiled g = built(b, seq(b, {b.text_without(ends), b.tag("</think>"), b.literal("!")}));
    EXPECT_TRUE(accepts(g, "</think>!"));
    EXPECT_TRUE(accepts(g, "some <</thin ab \xc3\xa9</think>!"));
    EXPECT_FALSE(accepts(g, "a</think>b</think>!"));
    EXPECT_FALSE(accepts(g, "ababa</think>!"));
    EXPECT_FALSE(accepts(g, "abaabab</think>!"));
    EXPECT_TRUE(accepts(g, "abaab</think>!"));
    EXPECT_FALSE(accepts(g, "\xc3</think>!"));
}

TEST(Grammar, Characters) {
    GrammarBuilder b;
    const std::array ranges = {CodePointRange{'a', 'c'}, CodePointRange{0x7e, 0x82},
                               CodePointRange{0xd7fe, 0xe001}, CodePointRange{0xfffe, 0x10010},
                               CodePointRange{0x10ffff, 0xffffffff}};
    const Compiled g = built(b, b.characters(ranges));
    const GrammarMatcher start = test::byte_matcher(g);
    for (char32_t cp = 0; cp <= 0x10ffff; cp = cp == 0x10100 ? 0x10fff0 : cp + 1) {
        if (cp >= 0xd800 && cp <= 0xdfff) continue;
        bool in = false;
        for (const CodePointRange& range : ranges)
            in |= range.first <= cp && cp <= range.last;
        std::string text;
        append_utf8(text, cp);
        GrammarMatcher matcher = start;
        ASSERT_EQ(matcher.accept_bytes(text) && matcher.can_end(), in)
            << std::hex << static_cast<std::uint32_t>(cp);
    }
    EXPECT_FALSE(accepts(g, "\xed\xa0\x80"));
    EXPECT_FALSE(accepts(g, "\xf4\x90\x80\x80"));
    EXPECT_FALSE(accepts(g, "\xc1\xa1"));
}

} // namespace
} // namespace bloom::text
