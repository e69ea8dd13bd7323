#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/pretokenizer.hpp>
#include <bloom/text/unicode.hpp>

namespace bloom::text {
namespace {

std::vector<std::string> pieces_of(std::string_view pre, std::string_view text) {
    const auto stages = splitters_for_pre(pre);
    EXPECT_TRUE(stages) << pre;
    std::vector<ByteRange> ranges;
    split(*stages, text, ranges);
    std::vector<std::string> pieces;
    std::size_t at = 0;
    for (const ByteRange r : ranges) {
        EXPECT_EQ(r.begin, at);
        EXPECT_GT(r.end, r.begin);
        pieces.emplace_back(text.substr(r.begin, r.end - r.begin));
        at = r.end;
    }
    EXPECT_EQ(at, text.size());
    return pieces;
}

using Pieces = std::vector<std::string>;

TEST(Pretokenizer, ContractionsInAnyCase) {
    const std::string text = "I'm you'RE";
    for (const char* pre : {"llama-bpe", "qwen2", "qwen35"}) {
        EXPECT_EQ(pieces_of(pre, text), (Pieces{"I", "'m", " you", "'RE"})) << pre;
    }
    EXPECT_EQ(pieces_of("gpt-4o", text), (Pieces{"I'm", " you'RE"}));
    EXPECT_EQ(pieces_of("afmoe", text), (Pieces{"I", "'m", " you", "'RE"}));
    EXPECT_EQ(pieces_of("gpt-2", "I'm you'RE"), (Pieces{"I", "'m", " you", "'", "RE"}));
    // (?i:) folds the long s.
    EXPECT_EQ(pieces_of("llama-bpe", "it'\u017f"), (Pieces{"it", "'\u017f"}));
}

TEST(Pretokenizer, WhiteSpaceGoesToTheNextWord) {
    for (const char* pre : {"llama-bpe", "qwen2", "qwen35", "gpt-4o", "afmoe"}) {
        EXPECT_EQ(pieces_of(pre, "  \n  x"), (Pieces{"  \n", " ", " x"})) << pre;
        EXPECT_EQ(pieces_of(pre, "a   "), (Pieces{"a", "   "})) << pre;
        EXPECT_EQ(pieces_of(pre, "a \r\n\n b"), (Pieces{"a", " \r\n\n", " b"})) << pre;
    }
    EXPECT_EQ(pieces_of("gpt-2", "  \n  x"), (Pieces{"  \n ", " x"}));
    EXPECT_EQ(pieces_of("gpt-2", "\n\nx"), (Pieces{"\n", "\n", "x"}));
}

TEST(Pretokenizer, Digits) {
    const std::string text = "x1234567y";
    EXPECT_EQ(pieces_of("llama-bpe", text), (Pieces{"x", "123", "456", "7", "y"}));
    EXPECT_EQ(pieces_of("gpt-4o", text), (Pieces{"x", "123", "456", "7", "y"}));
    EXPECT_EQ(pieces_of("qwen2", "x12y"), (Pieces{"x", "1", "2", "y"}));
    EXPECT_EQ(pieces_of("qwen35", "x12y"), (Pieces{"x", "1", "2", "y"}));
    EXPECT_EQ(pieces_of("afmoe", text), (Pieces{"x", "1", "234", "567", "y"}));
    EXPECT_EQ(pieces_of("afmoe", "a  1"), (Pieces{"a", "  ", "1"}));
    EXPECT_EQ(pieces_of("afmoe", "123456"), (Pieces{"123", "456"}));
    EXPECT_EQ(pieces_of("gpt-2", text), (Pieces{"x", "1234567", "y"}));
    EXPECT_EQ(pieces_of("starcoder", " 12"), (Pieces{" ", "1", "2"}));
}

TEST(Pretokenizer, CaseAndMarks) {
    const std::string text = "THE quickBrown iOS9";
    EXPECT_EQ(pieces_of("llama-bpe", text), (Pieces{"THE", " quickBrown", " iOS", "9"}));
    EXPECT_EQ(pieces_of("gpt-4o", text), (Pieces{"THE", " quick", "Brown", " i", "OS", "9"}));
    const std::string marks = "e\u0301te\u0301";
    EXPECT_EQ(pieces_of("llama-bpe", marks), (Pieces{"e", "\u0301te", "\u0301"}));
    EXPECT_EQ(pieces_of("qwen35", marks), (Pieces{marks}));
    EXPECT_EQ(pieces_of("gpt-4o", marks), (Pieces{marks}));
    EXPECT_EQ(pieces_of("afmoe", marks), (Pieces{marks}));
    // Classes, not ASCII: accented and Greek capitals start words too.
    EXPECT_EQ(pieces_of("gpt-4o", "caféÉté"), (Pieces{"café", "Été"}));
    EXPECT_EQ(pieces_of("gpt-4o", "αβΓδ"), (Pieces{"αβ", "Γδ"}));
}

TEST(Pretokenizer, Underscores) {
    for (const char* pre : {"llama-bpe", "qwen2", "qwen35", "afmoe"}) {
        EXPECT_EQ(pieces_of(pre, "don't_stop"), (Pieces{"don", "'t", "_stop"})) << pre;
    }
    EXPECT_EQ(pieces_of("gpt-4o", "don't_stop"), (Pieces{"don't", "_stop"}));
}

TEST(Pretokenizer, ScriptsStandAlone) {
    EXPECT_EQ(pieces_of("afmoe", "ab\u4e2d\u6587cd"), (Pieces{"ab", "\u4e2d\u6587", "cd"}));
    EXPECT_EQ(pieces_of("afmoe", "a\u0e01\u0e32b"), (Pieces{"a", "\u0e01\u0e32", "b"}));
    EXPECT_EQ(pieces_of("afmoe", "a\ua4d0b"), (Pieces{"a\ua4d0b"})); // between the two ranges
}

TEST(Pretokenizer, UnknownNamesAreErrors) {
    const auto stages = splitters_for_pre("martian");
    ASSERT_FALSE(stages);
    EXPECT_EQ(stages.error().code(), Code::unsupported);
    EXPECT_NE(stages.error().message().find("martian"), std::string_view::npos);
    EXPECT_FALSE(splitter_for_regex(R"(\p{L}+)"));
    EXPECT_EQ(splitter_for_regex(R"(\p{N})"), Splitter::digits_single);
}

constexpr const char* kAll[] = {"gpt-2",          "llama-bpe",    "qwen2",     "qwen35",
                                "gpt-4o",         "afmoe",        "starcoder", "falcon",
                                "deepseek-coder", "deepseek-llm", "default"};

TEST(Pretokenizer, RandomBytesAreCovered) {
    Rng rng(3);
    for (int i = 0; i < 3000; ++i) {
        std::string text(rng.below(30), '\0');
        for (char& c : text)
            c = static_cast<char>(rng.below(256));
        for (const char* pre : kAll)
            pieces_of(pre, text);
    }
}

// No pattern may look at a character more than a few times per stage, whatever the text.
TEST(Pretokenizer, LinearOnHostileTexts) {
    constexpr std::size_t n = 200000;
    const auto repeat = [](std::string_view unit) {
        std::string text;
        while (text.size() < n)
            text += unit;
        return text;
    };
    const std::string texts[] = {repeat("a"),
                                 repeat(" "),
                                 repeat("\n"),
                                 repeat("\u0301"),
                                 repeat("A"),
                                 repeat("\u0301A"),
                                 repeat("A\u0301 "),
                                 repeat(" \n"),
                                 repeat("  \n a"),
                                 repeat("'"),
                                 repeat("'l"),
                                 repeat("1"),
                                 repeat("\u4e2d"),
                                 repeat(" \u4e2d"),
                                 repeat("\xff"),
                                 repeat("\xe2\x82"),
                                 repeat("!\n"),
                                 repeat(" !"),
                                 repeat("\u3000"),
                                 repeat("\u3000 \u3002"),
                                 repeat("\t"),
                                 repeat("Aa"),
                                 repeat("aA1 \n!'s"),
                                 repeat("\r") + "x",
                                 repeat("A") + "\u02b0",
                                 repeat(" ") + "x"};
    for (const std::string& text : texts) {
        for (const char* pre : kAll) {
            const auto stages = *splitters_for_pre(pre);
            std::vector<ByteRange> ranges;
            const std::uint64_t steps = split(stages, text, ranges);
            EXPECT_LE(steps, 10 * stages.size() * text.size()) << pre << " " << text.substr(0, 8);
        }
    }
}

TEST(Unicode, ClassesOfSamples) {
    const CharTable& table = CharTable::instance();
    EXPECT_EQ(table['A'], CharClass::upper);
    EXPECT_EQ(table[0x1c5], CharClass::title);
    EXPECT_EQ(table[0xdf], CharClass::lower);
    EXPECT_EQ(table[0x2b0], CharClass::modifier);
    EXPECT_EQ(table[0x4e2d], CharClass::letter);
    EXPECT_EQ(table[0x301], CharClass::mark);
    EXPECT_EQ(table[0xbd], CharClass::number);
    EXPECT_EQ(table['_'], CharClass::punct);
    EXPECT_EQ(table['$'], CharClass::symbol);
    EXPECT_EQ(table[0x200b], CharClass::other);
    EXPECT_EQ(table[0xd800], CharClass::other);
    EXPECT_EQ(table[0x110000], CharClass::other);
    for (const unsigned space : {0x9u, 0xdu, 0x20u, 0x85u, 0xa0u, 0x1680u, 0x2000u, 0x200au,
                                 0x2028u, 0x2029u, 0x202fu, 0x205fu, 0x3000u}) {
        EXPECT_EQ(table[space], CharClass::space) << space;
    }
    for (const unsigned other : {0x8u, 0xeu, 0x1cu, 0x1fu, 0x180eu, 0xfeffu}) {
        EXPECT_NE(table[other], CharClass::space) << other;
    }
    EXPECT_GE(unicode_version(), std::string_view("15"));
}

TEST(Unicode, DecodesAndEncodesEveryScalar) {
    for (char32_t cp = 0; cp < 0x110000; cp += cp < 0x3000 ? 1 : 37) {
        if (cp >= 0xd800 && cp <= 0xdfff) continue;
        std::string text;
        append_utf8(text, cp);
        const Char c = decode_char(text, 0);
        ASSERT_EQ(c.cp, cp);
        ASSERT_EQ(c.bytes, text.size());
        for (std::size_t cut = 1; cut < text.size(); ++cut) {
            ASSERT_EQ(decode_char(std::string_view(text).substr(0, cut), 0).cp, kIllFormed);
        }
    }
    for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
                            "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
        EXPECT_EQ(decode_char(bad, 0).cp, kIllFormed);
        EXPECT_EQ(decode_char(bad, 0).bytes, 1u);
    }
}

} // namespace
} // namespace bloom::text
