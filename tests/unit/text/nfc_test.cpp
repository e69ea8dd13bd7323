#include <cstdlib>
#include <string>

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/nfc.hpp>
#include <bloom/text/unicode.hpp>

namespace bloom::text {
namespace {

std::string nfc(std::string_view text) {
    std::string out;
    normalize_nfc(text, out);
    return out;
}

/// The library's own normaliser: quadratic, wrong about U+11A7, but independent of ours.
std::string reference(const std::string& text) {
    utf8proc_uint8_t* mapped = nullptr;
    const auto n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    EXPECT_GE(n, 0);
    std::string out(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(n));
    std::free(mapped);
    return out;
}

TEST(Nfc, Samples) {
    EXPECT_EQ(nfc("e\u0301"), "\u00e9");
    EXPECT_EQ(nfc("re\u0301sume\u0301"), "r\u00e9sum\u00e9");
    EXPECT_EQ(nfc("\u212b"), "\u00c5");             // a singleton
    EXPECT_EQ(nfc("\u1100\u1161\u11a8"), "\uac01"); // Hangul by arithmetic
    EXPECT_EQ(nfc("\uac00\u11a8"), "\uac01");
    EXPECT_EQ(nfc("\uac00\u11a7"), "\uac00\u11a7");   // just below the final consonants
    EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307"); // order
    EXPECT_EQ(nfc("a\u0323\u0302"), "\u1ead");        // two steps
    EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");         // excluded from composition
    EXPECT_EQ(nfc("a\u0334\u0301\u0301"), "\u00e1\u0334\u0301");
    EXPECT_EQ(nfc("\u0344"), "\u0308\u0301");
    EXPECT_EQ(nfc(""), "");
    EXPECT_EQ(nfc("a\xff\u0301"), "a\xff\u0301"); // ill-formed bytes stay and block
}

TEST(Nfc, EveryCharacterAloneAndAfterALetter) {
    for (char32_t cp = 0; cp < 0x110000; ++cp) {
        if (cp >= 0xd800 && cp <= 0xdfff) continue;
        std::string text;
        append_utf8(text, cp);
        ASSERT_EQ(nfc(text), reference(text)) << std::hex << static_cast<std::uint32_t>(cp);
        if (cp == 0x3400) cp = 0xa000 - 1; // unified ideographs do not compose
        if (cp == 0x20000) cp = 0x2f7ff;
        if (cp == 0x2fa20) cp = 0xe0000;
        if (cp == 0xe01f0) break;
    }
}

TEST(Nfc, RandomMarksAgreeWithTheLibrary) {
    constexpr char32_t kPool[] = {'a',    'e',    'o',   0x300,   0x301,   0x302,   0x308,   0x323,
                                  0x327,  0x334,  0x345, 0x1100,  0x1161,  0x11a9,  0x11a8,  0xac00,
                                  0x1e0b, 0x1e0d, 0x915, 0x93c,   0x9c7,   0x9be,   0x3b1,   0x342,
                                  0x1f00, 0x212b, 0x958, 0x1d157, 0x1d165, 0x110a5, 0x110ba, ' '};
    Rng rng(5);
    for (int i = 0; i < 20000; ++i) {
        std::string text;
        // Sometimes long runs of marks, which are put in order another way.
        const std::size_t n = rng.below(20) == 0 ? 100 : rng.below(8);
        const std::size_t first = n == 100 ? 3 : 0;
        for (std::size_t k = 0; k < n; ++k) {
            append_utf8(text, kPool[first + rng.below(n == 100 ? 8 : std::size(kPool))]);
        }
        ASSERT_EQ(nfc(text), reference(text));
        ASSERT_EQ(nfc(nfc(text)), nfc(text));
    }
}

TEST(Nfc, TrivialTextsAreInNfc) {
    EXPECT_TRUE(nfc_trivial("plain caf\u00e9"));
    EXPECT_FALSE(nfc_trivial("e\u0301"));
    for (char32_t cp = 0; cp < 0x300; ++cp) {
        std::string text = "a";
        append_utf8(text, cp);
        ASSERT_TRUE(nfc_trivial(text));
        ASSERT_EQ(reference(text), text);
    }
}

TEST(Nfc, LinearOnAlternatingMarks) {
    std::string text = "a";
    while (text.size() < 400000)
        text += "\u0301\u0323";
    std::string out;
    EXPECT_LE(normalize_nfc(text, out), 4 * text.size());
    // All marks below come first, and the first of them joins the letter; nothing else composes.
    EXPECT_TRUE(out.starts_with("\u1ea1\u0323"));
    EXPECT_TRUE(out.ends_with("\u0301\u0301"));
    EXPECT_EQ(out.size(), text.size()); // a + U+0323 and U+1EA1 both have three bytes
}

} // namespace
} // namespace bloom::text
