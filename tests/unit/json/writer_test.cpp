#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::json {
namespace {

std::string escaped(std::string_view text) {
    std::string out;
    append_string(out, text);
    return out;
}

std::string real(double value) {
    std::string out;
    append_double(out, value);
    return out;
}

TEST(JsonWriter, EscapesWhatJsonAsksFor) {
    EXPECT_EQ(escaped("a\"\\\b\f\n\r\t\x01\x1f\x7f/é"),
              "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/é\"");
    EXPECT_EQ(escaped(std::string_view("\0", 1)), "\"\\u0000\"");
}

TEST(JsonWriter, IllFormedBytesBecomeReplacements) {
    // Unicode 15, table 3-8: maximal subparts.
    EXPECT_EQ(escaped("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), "\"\ufffd\ufffd\ufffd\ufffdA\"");
    EXPECT_EQ(escaped("\xed\xa0\x80"), "\"\ufffd\ufffd\ufffd\"");
    EXPECT_EQ(escaped("\xc0\xaf"), "\"\ufffd\ufffd\"");
    EXPECT_EQ(escaped("\xe2\x82"), "\"\ufffd\"");
}

TEST(JsonWriter, NumbersAreShortestAndKeepTheirKind) {
    EXPECT_EQ(real(0.1), "0.1");
    EXPECT_EQ(real(1.0), "1.0");
    EXPECT_EQ(real(-0.0), "-0.0");
    EXPECT_EQ(real(1e300), "1e+300");
    EXPECT_EQ(real(std::nan("")), "null");
    EXPECT_EQ(real(-std::numeric_limits<double>::infinity()), "null");
    std::string out;
    append_int(out, std::numeric_limits<std::int64_t>::min());
    append_uint(out, std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(out, "-922337203685477580818446744073709551615");
}

TEST(JsonWriter, DoublesReadBackBitEqual) {
    Rng rng(7);
    Parser parser;
    for (int i = 0; i < 20000; ++i) {
        const std::uint64_t bits = rng.next();
        double value;
        std::memcpy(&value, &bits, sizeof value);
        if (!std::isfinite(value)) continue;
        const auto root = parser.parse(real(value));
        ASSERT_TRUE(root) << real(value);
        ASSERT_EQ(root->kind(), Kind::real);
        const double back = *root->as_double();
        ASSERT_EQ(std::memcmp(&back, &value, sizeof value), 0) << real(value);
    }
}

TEST(JsonWriter, RandomBytesAreAlwaysValidJson) {
    Rng rng(8);
    Parser parser;
    for (int i = 0; i < 5000; ++i) {
        std::string bytes(rng.below(24), '\0');
        for (char& c : bytes)
            c = static_cast<char>(rng.below(3) == 0 ? rng.below(256) : 0x80 + rng.below(128));
        const auto root = parser.parse(escaped(bytes));
        ASSERT_TRUE(root);
        if (is_utf8(bytes)) {
            ASSERT_EQ(*root->as_string(), bytes);
        }
    }
}

TEST(JsonWriter, PlacesCommasAndColons) {
    std::string out = "data: ";
    Writer w(out);
    w.begin_object().key("a").begin_array().integer(1).integer(-2).begin_object().end_object();
    w.begin_array().end_array().null().end_array().key("b").boolean(true).key("c").number(0.5);
    EXPECT_FALSE(w.complete());
    w.key("d").raw("{\"x\":1}").key("e").string("\"").end_object();
    EXPECT_TRUE(w.complete());
    EXPECT_EQ(out, R"(data: {"a":[1,-2,{},[],null],"b":true,"c":0.5,"d":{"x":1},"e":"\""})");
}

} // namespace
} // namespace bloom::json
