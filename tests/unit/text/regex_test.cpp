// Patterns, formats and lengths as automata over code points, and their bytes.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/unicode.hpp>

#include "text/grammar/formats.hpp"
#include "text/grammar/regex.hpp"

namespace bloom::text::schema {
namespace {

using Texts = std::vector<std::string_view>;

Budget plenty() {
    return Budget(100'000'000);
}

void expect(std::string_view pattern, const Texts& good, const Texts& bad) {
    Budget budget = plenty();
    const auto dfa = pattern_dfa(pattern, budget);
    ASSERT_TRUE(dfa.has_value()) << pattern << ": " << dfa.error().message();
    for (const std::string_view text : good)
        EXPECT_TRUE(dfa->matches(text)) << pattern << " is found in " << text;
    for (const std::string_view text : bad)
        EXPECT_FALSE(dfa->matches(text)) << pattern << " is not found in " << text;
}

TEST(Pattern, IsSearchedUnlessAnchored) {
    expect("b+", {"b", "abba", "xxb"}, {"", "a"});
    expect("^b", {"b", "bc"}, {"ab", ""});
    expect("b$", {"b", "ab"}, {"ba", ""});
    expect("^$", {""}, {"a"});
    expect("^a|b$", {"ax", "xb", "ab"}, {"xa", "bx"});
    expect("(^a|b)c", {"ac", "xbc"}, {"xac"});
    expect("a$b", {}, {"ab", "a", ""});
    expect("", {"", "x"}, {});
    expect("^(a|^b)*$", {"", "aa", "b", "ba"}, {"ab"});
}

TEST(Pattern, Repeats) {
    expect("^a{2,3}$", {"aa", "aaa"}, {"a", "aaaa"});
    expect("^a{2,}?$", {"aa", "aaaaa"}, {"a"});
    expect("^(ab?){2}$", {"aa", "aba", "abab"}, {"ab", "aab b"});
    expect("^(a*)*$", {"", "aaa"}, {"b"});
    expect("^x{,2}$", {"x{,2}"}, {"xx"});
    expect("^a{0}$", {""}, {"a"});
}

TEST(Pattern, Classes) {
    expect("^[a-c\\d_]+$", {"a1_", "c"}, {"d", ""});
    expect("^[^a-c]$", {"d", "\n", "\u00e9", "\U0001f600"}, {"a", ""});
    expect("^[]a]$", {}, {"a"}); // an empty class and then what cannot follow
    expect("^[\\]\\-a]$", {"]", "-", "a"}, {"b"});
    expect("^[a-]$", {"a", "-"}, {"b"});
    expect("^[\\w-]$", {"-", "z"}, {"."});
    expect("^.$", {"a", "\u00e9"}, {"\n", "\r", "\u2028", "ab"});
    expect("^\\D\\W\\S$", {"a.b"}, {"1.b", "aab", "a. "});
    expect("^\\s$", {" ", "\t", "\u00a0", "\ufeff", "\u3000"}, {"a"});
    expect("^\\p{L}+$", {"a\u00e9\u4e16"}, {"1", "a1"});
    expect("^\\p{Lu}\\P{Letter}$", {"A1"}, {"a1", "AB"});
    expect("^\\p{Nd}$", {"7", "\u0967"}, {"a", "\u2167"});
}

TEST(Pattern, Escapes) {
    expect("^\\x41\\u0042\\u{43}\\cA\\0\\t$", {std::string_view("ABC\x01\0\t", 6)}, {"ABC"});
    expect("^\\ud83d\\ude00$", {"\U0001f600"}, {"\u00e9"});
    expect("^\\.\\*\\/\\-\\{$", {".*/-{"}, {"a*/-{"});
    expect("^(?<year>\\d{4})-(?:\\d\\d)$", {"2024-12"}, {"24-12"});
}

TEST(Pattern, LookaheadAtTheBeginning) {
    expect("^(?!\\.)(?!.*\\.\\.)[a-z.]+@x$", {"a@x", "a.b@x"}, {".a@x", "a..b@x", "A@x"});
    expect("^(?=.*\\d)(?=.*[a-z]).{3,5}$", {"a1b", "12x45"}, {"abc", "123", "a1", "abcde1"});
    expect("^(?!(?:[)|]|a)$)[^b]+", {"aa", ")x", "c"}, {"a", ")", "|", "b"});
    expect("^(?!)a", {}, {"a", ""});
}

TEST(Pattern, WhatCannotBeDoneIsNamed) {
    const auto error = [](std::string_view pattern, Code code, std::string_view part) {
        Budget budget = plenty();
        const auto dfa = pattern_dfa(pattern, budget);
        ASSERT_FALSE(dfa.has_value()) << pattern;
        EXPECT_EQ(dfa.error().code(), code) << dfa.error().message();
        EXPECT_TRUE(dfa.error().message().contains(part)) << dfa.error().message();
    };
    error("a(?!b)", Code::unsupported, "lookahead");
    error("^(?!b)a|c", Code::unsupported, "lookahead before a choice");
    error("^(?!a(?=b))c", Code::unsupported, "lookahead");
    error("^(?!a", Code::invalid_argument, "without its ')'");
    error("^(?!a)*b", Code::invalid_argument, "");
    error("^(?!a)b)(c", Code::invalid_argument, "");
    error("(?<=a)b", Code::unsupported, "lookbehind");
    error("(a)\\1", Code::unsupported, "backreference");
    error("\\k<a>", Code::unsupported, "backreference");
    error("\\B", Code::unsupported, "word boundary");
    error("(?i)a", Code::unsupported, "flags");
    error("\\p{Script=Greek}", Code::unsupported, "\\p{Script=Greek}");
    for (const std::string_view bad :
         {"(", ")", "[a", "*a", "a**", "\\", "[b-a]", "a{3,2}", "\\a", "\\u12", "\\x1", "^*"})
        error(bad, Code::invalid_argument, "");
    error("(a|b)*a(a|b){30}$", Code::too_large, "states");
    error("a{20000}", Code::too_large, "count");
}

TEST(Automata, PutTogether) {
    Budget budget = plenty();
    const auto a = pattern_dfa("^a*$", budget);
    const auto lengths = length_dfa(2, 3, budget);
    const auto both = intersection(*a, *lengths, budget);
    EXPECT_TRUE(both->matches("aa"));
    EXPECT_FALSE(both->matches("a"));
    EXPECT_FALSE(both->matches("ab"));
    const auto others = complement(*both, budget);
    EXPECT_FALSE(others->matches("aa"));
    EXPECT_TRUE(others->matches(""));
    EXPECT_TRUE(others->matches("\U0001f600"));
    EXPECT_TRUE(intersection(*both, *others, budget)->nothing());
    const std::vector<std::string> words{"", "ab", "a\u00e9"};
    const auto list = words_dfa(words, budget);
    EXPECT_TRUE(list->matches("") && list->matches("ab") && list->matches("a\u00e9"));
    EXPECT_FALSE(list->matches("a") || list->matches("abc"));
    const auto clear = without("<|\"|>", budget);
    EXPECT_TRUE(clear->matches("<|\"|") && clear->matches("<<|\"|<|") && clear->matches(""));
    EXPECT_FALSE(clear->matches("x<<|\"|>y"));
    EXPECT_TRUE(length_dfa(3, 2, budget)->nothing());
    Budget small(10);
    EXPECT_FALSE(pattern_dfa("abc|def|ghi", small).has_value());
}

bool accepts(const ByteDfa& dfa, std::string_view bytes) {
    std::uint32_t at = 0;
    for (const char c : bytes) {
        const auto byte = static_cast<std::uint8_t>(c);
        const ByteDfa::Edge* found = nullptr;
        for (const ByteDfa::Edge& e : dfa.states[at].edges) {
            if (e.first <= byte && e.last >= byte) found = &e;
        }
        if (found == nullptr) return false;
        at = found->target;
    }
    return dfa.states[at].accepts;
}

TEST(Bytes, AreTheUtf8OfExactlyTheRanges) {
    Rng rng(7);
    Budget budget = plenty();
    const std::vector<char32_t> edges{0,      0x7f,   0x80,    0x7ff,    0x800, 0xd7ff,
                                      0xe000, 0xffff, 0x10000, 0x10ffff, 0x41,  0x1fff};
    for (int round = 0; round < 60; ++round) {
        char32_t first = edges[rng.below(edges.size())];
        char32_t last = edges[rng.below(edges.size())];
        if (rng.below(2) == 0) last = static_cast<char32_t>(rng.below(0x110000));
        if (first > last) std::swap(first, last);
        TextDfa dfa;
        dfa.states.push_back({{{first, last, 1}}, false});
        dfa.states.push_back({{}, true});
        const auto bytes = to_bytes(dfa, TextForm::raw, budget);
        ASSERT_TRUE(bytes.has_value());
        for (int i = 0; i < 400; ++i) {
            const char32_t cp = i < 12    ? edges[static_cast<std::size_t>(i)]
                                : i == 12 ? first
                                : i == 13 ? last
                                          : static_cast<char32_t>(rng.below(0x110000));
            if (cp >= 0xd800 && cp < 0xe000) continue;
            std::string text;
            append_utf8(text, cp);
            EXPECT_EQ(accepts(*bytes, text), cp >= first && cp <= last) << std::uint32_t{cp};
        }
    }
}

TEST(Bytes, EscapesOfJson) {
    Budget budget = plenty();
    const auto bytes = to_bytes(any_text(), TextForm::json, budget);
    ASSERT_TRUE(bytes.has_value());
    for (const std::string_view good :
         {"", "a", R"(\"\\\/\b\f\n\r\t)", R"(\u0000\u001f\u000B)", "\u00e9\U0001f600\x7f"})
        EXPECT_TRUE(accepts(*bytes, good)) << good;
    for (const std::string_view bad :
         {"\"", "\\", "\n", R"(\u0041)", R"(\v)", "\x80", "\xed\xa0\x80"})
        EXPECT_FALSE(accepts(*bytes, bad)) << bad;
}

TEST(Formats, OnlyValidTexts) {
    const auto check = [](std::string_view name, const Texts& good, const Texts& bad) {
        ASSERT_TRUE(is_known_format(name));
        Budget budget = plenty();
        const auto dfa = format_dfa(name, budget);
        ASSERT_TRUE(dfa.has_value()) << name;
        for (const std::string_view text : good)
            EXPECT_TRUE(dfa->matches(text)) << name << ' ' << text;
        for (const std::string_view text : bad)
            EXPECT_FALSE(dfa->matches(text)) << name << ' ' << text;
    };
    check("date", {"2024-02-29", "2000-02-29", "1999-12-31", "2023-04-30"},
          {"2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "2023-00-10", "2023-1-1"});
    check("time", {"23:59:59Z", "00:00:00.5+01:30"}, {"24:00:00Z", "12:00:60Z", "12:00:00"});
    check("date-time", {"2024-01-01T00:00:00Z"}, {"2024-01-01 00:00:00Z", "2024-01-01T00:00:00"});
    check("duration", {"P1D", "PT1H30M", "P1Y2M3DT4H", "P4W"}, {"P", "PT", "P1YT", "P1Y1D", "1D"});
    check("uuid", {"2eb8aa08-AA98-11ea-b4aa-73b441d16380"}, {"2eb8aa08aa9811eab4aa73b441d16380"});
    check("ipv4", {"0.0.0.0", "255.249.199.9"}, {"256.0.0.1", "01.1.1.1", "1.1.1"});
    check("ipv6", {"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1::8", "1:2:3:4:5:6:7::", "fe80::a:b"},
          {":", "1:2:3:4:5:6:7", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8:9"});
    check("hostname", {"a", "example.com", "a-b.c1"}, {"", "-a", "a-", "a..b", "a_b", "a."});
    check("email", {"joe.x+1@example.com"}, {"joe", "@x.com", "joe@", ".joe@x", "joe@-x"});
    check("uri", {"http://example.com/a?b#c", "mailto:a@b.c", "urn:x:y", "a://u@h:80", "x:"},
          {"//x", "a b:c", "http://a b", "", "1a:b", "x:%zz", "a:b^c"});
    EXPECT_FALSE(is_known_format("color"));
}

} // namespace
} // namespace bloom::text::schema
