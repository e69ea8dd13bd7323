#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/detokenizer.hpp>

namespace bloom::text {
namespace {

std::string in_pieces(const std::vector<std::string_view>& pieces) {
    Utf8Stream stream;
    std::string out;
    for (const std::string_view piece : pieces) {
        stream.push(piece, out);
        EXPECT_TRUE(is_utf8(out));
        EXPECT_LE(stream.held(), 3u);
    }
    stream.finish(out);
    EXPECT_EQ(stream.held(), 0u);
    return out;
}

TEST(Utf8Stream, HoldsBackOnlyWhatIsIncomplete) {
    Utf8Stream stream;
    std::string out;
    stream.push("a\xf0\x9f", out);
    EXPECT_EQ(out, "a");
    EXPECT_EQ(stream.held(), 2u);
    stream.push("\x98", out);
    EXPECT_EQ(out, "a");
    stream.push("\x80z", out);
    EXPECT_EQ(out, "a\U0001f600z");
    EXPECT_EQ(stream.held(), 0u);
}

TEST(Utf8Stream, ReplacesMaximalSubparts) {
    // Unicode 15, tables 3-8 to 3-11.
    EXPECT_EQ(in_pieces({"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"}),
              "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdA");
    EXPECT_EQ(in_pieces({"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"}),
              "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdA");
    EXPECT_EQ(in_pieces({"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"}),
              "\ufffd\ufffd\ufffd\ufffd\ufffdA\ufffd\ufffdB");
    EXPECT_EQ(in_pieces({"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"}), "\ufffd\ufffd\ufffd\ufffdA");
    EXPECT_EQ(in_pieces({"\xe2\x82"}), "\ufffd"); // cut off at the end
    EXPECT_EQ(in_pieces({"\xe2", "\x82", "\xe2\x82\xac"}), "\ufffd\u20ac");
}

// Whatever the cuts, the text is that of one push.
TEST(Utf8Stream, EverySplitGivesTheSame) {
    Rng rng(21);
    const std::string_view kUnits[] = {"a",    "\xc3\xa9",    "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                       "\xff", "\xe2",        "\xf0\x9f",     "\xed\xa0",
                                       "\x80", "\xf4\x8f\xbf"};
    for (int i = 0; i < 3000; ++i) {
        std::string text;
        for (std::size_t n = rng.below(6); n > 0; --n)
            text += kUnits[rng.below(std::size(kUnits))];
        const std::string whole = in_pieces({text});
        if (is_utf8(text)) {
            ASSERT_EQ(whole, text);
        }
        const std::string_view view = text;
        for (std::size_t a = 0; a <= text.size(); ++a) {
            for (std::size_t b = a; b <= text.size(); ++b) {
                ASSERT_EQ(in_pieces({view.substr(0, a), view.substr(a, b - a), view.substr(b)}),
                          whole);
            }
        }
    }
}

} // namespace
} // namespace bloom::text
