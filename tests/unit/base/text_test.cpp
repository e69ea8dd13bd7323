#include <gtest/gtest.h>

#include <bloom/base/text.hpp>

namespace bloom {
namespace {

TEST(Text, HexRoundTrip) {
    const std::vector<std::uint8_t> bytes{0x00, 0x7f, 0xff, 0x10};
    EXPECT_EQ(to_hex(bytes), "007fff10");
    EXPECT_EQ(from_hex("007FFF10"), bytes);
    EXPECT_EQ(from_hex("0"), std::nullopt);
    EXPECT_EQ(from_hex("0g"), std::nullopt);
}

// RFC 4648 section 10.
TEST(Text, Base64Vectors) {
    const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                           {"f", "Zg=="},
                                                           {"fo", "Zm8="},
                                                           {"foo", "Zm9v"},
                                                           {"foob", "Zm9vYg=="},
                                                           {"fooba", "Zm9vYmE="},
                                                           {"foobar", "Zm9vYmFy"}};
    for (const auto& [plain, encoded] : vectors) {
        EXPECT_EQ(to_base64(as_bytes(plain)), encoded);
        const auto back = from_base64(encoded);
        ASSERT_TRUE(back.has_value()) << encoded;
        EXPECT_EQ(as_text(*back), plain);
    }
    for (const char* bad : {"Zg=", "Zg", "Zh==", "Zm9=", "Z===", "Zg==Zg==", "Zm 8="}) {
        EXPECT_EQ(from_base64(bad), std::nullopt) << bad;
    }
}

// RFC 4648 sections 5 and 10.
TEST(Text, Base64Url) {
    const std::vector<std::uint8_t> bytes{0xfb, 0xff, 0xfe, 0x01};
    EXPECT_EQ(to_base64url(bytes), "-__-AQ");
    EXPECT_EQ(from_base64url("-__-AQ"), bytes);
    EXPECT_EQ(to_base64url(as_bytes("")), "");
    EXPECT_EQ(to_base64url(as_bytes("fooba")), "Zm9vYmE");
    for (const char* bad : {"+__-AQ", "-//-AQ", "-__-AQ==", "-__-A", "-__-AR", "Zg Z"}) {
        EXPECT_EQ(from_base64url(bad), std::nullopt) << bad;
    }
}

// RFC 4648 section 10, in lower case and without padding.
TEST(Text, Base32Vectors) {
    const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                           {"f", "my"},
                                                           {"fo", "mzxq"},
                                                           {"foo", "mzxw6"},
                                                           {"foob", "mzxw6yq"},
                                                           {"fooba", "mzxw6ytb"},
                                                           {"foobar", "mzxw6ytboi"}};
    for (const auto& [plain, encoded] : vectors)
        EXPECT_EQ(to_base32(as_bytes(plain)), encoded);
}

TEST(Text, Utf8) {
    EXPECT_TRUE(is_utf8("plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"));
    for (const char* bad :
         {"\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xff"}) {
        EXPECT_FALSE(is_utf8(bad));
    }
}

TEST(Text, QuotedEscapesAndCuts) {
    EXPECT_EQ(quoted("a\"b\n"), "\"a\\\"b\\x0a\"");
    EXPECT_EQ(quoted(std::string(100, 'x'), 4), "\"xxxx...\"");
}

} // namespace
} // namespace bloom
