#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/json/reader.hpp>

namespace bloom::json {
namespace {

std::string nested(std::size_t depth) {
    return std::string(depth, '[') + "1" + std::string(depth, ']');
}

TEST(JsonReader, KeepsMembersInOrderAndDuplicates) {
    Parser parser;
    const auto root = parser.parse(R"({"b":1,"a":[true,null,{"x":{}}],"b":"two"})");
    ASSERT_TRUE(root);
    const Object object = *root->as_object();
    EXPECT_EQ(object.size(), 3u);
    std::string keys;
    for (const Member member : object)
        keys += member.key;
    EXPECT_EQ(keys, "bab");
    EXPECT_EQ(*object.find("b")->as_string(), "two"); // the last one wins
    EXPECT_FALSE(object.find("c"));
    const auto missing = object.at("c");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code(), Code::not_found);

    const Array array = *object.find("a")->as_array();
    EXPECT_EQ(array.size(), 3u);
    std::vector<Kind> kinds;
    for (const Value value : array)
        kinds.push_back(value.kind());
    EXPECT_EQ(kinds, (std::vector{Kind::boolean, Kind::null, Kind::object}));
}

TEST(JsonReader, DuplicatesCanBeRefusedAtAnyDepth) {
    Parser parser;
    EXPECT_TRUE(
        parser.parse(R"({"a":{"b":1},"b":[{"b":1},{"b":2}]})", {.reject_duplicates = true}));
    for (const char* text : {R"({"a":1,"a":1})", R"([{"x":{"a":1,"b":2,"\u0061":3}}])"}) {
        const auto root = parser.parse(text, {.reject_duplicates = true});
        ASSERT_FALSE(root) << text;
        EXPECT_EQ(root.error().code(), Code::invalid_argument);
        EXPECT_NE(root.error().message().find("\"a\""), std::string_view::npos);
        EXPECT_TRUE(parser.parse(text));
    }
}

TEST(JsonReader, NumbersAreExact) {
    Parser parser;
    const auto root = parser.parse("[9223372036854775807,-9223372036854775808,9223372036854775808,"
                                   "18446744073709551615,1.0,1e2,-1,0.1]");
    ASSERT_TRUE(root);
    std::vector<Value> v;
    for (const Value value : *root->as_array())
        v.push_back(value);
    EXPECT_EQ(*v[0].as_int64(), std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(*v[1].as_int64(), std::numeric_limits<std::int64_t>::min());
    EXPECT_EQ(v[2].kind(), Kind::unsigned_integer);
    EXPECT_FALSE(v[2].as_int64());
    EXPECT_EQ(*v[2].as_uint64(), std::uint64_t{1} << 63);
    EXPECT_EQ(*v[3].as_uint64(), std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(v[4].kind(), Kind::real);
    EXPECT_FALSE(v[4].as_int64());
    EXPECT_FALSE(v[4].as_uint64());
    EXPECT_EQ(*v[4].as_double(), 1.0);
    EXPECT_FALSE(v[5].as_int64());
    EXPECT_FALSE(v[6].as_uint64());
    EXPECT_EQ(*v[6].as_double(), -1.0);
    EXPECT_EQ(*v[7].as_double(), 0.1);
    for (const char* text : {"18446744073709551616", "-9223372036854775809", "1e999"}) {
        EXPECT_FALSE(parser.parse(text)) << text;
    }
}

TEST(JsonReader, StringsAreUtf8WithEscapesResolved) {
    Parser parser;
    const auto root = parser.parse(R"(["a\u0000b\n","\ud83d\ude00\u0120","é"])");
    ASSERT_TRUE(root);
    std::vector<std::string_view> v;
    for (const Value value : *root->as_array())
        v.push_back(*value.as_string());
    EXPECT_EQ(v[0], std::string_view("a\0b\n", 4));
    EXPECT_EQ(v[1], "\xf0\x9f\x98\x80\xc4\xa0");
    EXPECT_EQ(v[2], "\xc3\xa9");
    for (const char* text : {R"("\ud800")", R"("\udc00")", R"("\ud800\u0041")", "\"\xff\"",
                             "\"\xed\xa0\x80\"", "\"\x01\""}) {
        EXPECT_FALSE(parser.parse(text)) << text;
    }
}

TEST(JsonReader, WrongKindsNameBoth) {
    Parser parser;
    const auto root = parser.parse("null");
    ASSERT_TRUE(root);
    EXPECT_EQ(root->as_string().error().message(), "expected a string, got null");
    EXPECT_EQ(root->as_object().error().message(), "expected an object, got null");
    EXPECT_FALSE(root->as_array());
    EXPECT_FALSE(root->as_bool());
    EXPECT_FALSE(root->as_double());
}

TEST(JsonReader, DepthIsBounded) {
    Parser parser;
    EXPECT_TRUE(parser.parse(nested(kMaxDepth - 1)));
    const auto deep = parser.parse(nested(kMaxDepth + 1));
    ASSERT_FALSE(deep);
    EXPECT_EQ(deep.error().code(), Code::too_large);
    Parser shallow(8);
    EXPECT_TRUE(shallow.parse(nested(7)));
    EXPECT_FALSE(shallow.parse(nested(9)));
    EXPECT_FALSE(shallow.parse(std::string(1 << 20, '[')));
    EXPECT_TRUE(shallow.parse("[1]")); // and is usable afterwards
}

TEST(JsonReader, PaddedInputIsReadInPlace) {
    std::string text = R"({"k":"v"})";
    const std::size_t size = text.size();
    text.append(kPadding, '#');
    Parser parser;
    const auto root = parser.parse_padded(std::string_view(text).substr(0, size));
    ASSERT_TRUE(root);
    text.assign(text.size(), '?'); // the document does not refer to its text
    EXPECT_EQ(*root->as_object()->find("k")->as_string(), "v");
}

TEST(JsonReader, SurvivesMoveReuseAndTrim) {
    Parser first;
    const auto root = first.parse("[\"" + std::string(100000, 'x') + "\"]");
    ASSERT_TRUE(root);
    Parser second = std::move(first);
    EXPECT_EQ((*root->as_array()->begin()).as_string()->size(), 100000u);
    second.trim(1000);
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(second.parse("{\"a\":[1,2]}"));
    EXPECT_FALSE(second.parse(""));
    EXPECT_FALSE(second.parse("  "));
    EXPECT_FALSE(second.parse("{} {}"));
}

TEST(JsonReader, CountsBeyondTheTapeCounter) {
    constexpr std::size_t n = (1u << 24) + 5;
    std::string text = "[";
    text.reserve(2 * n + 2);
    for (std::size_t i = 0; i < n; ++i)
        text += i == 0 ? "1" : ",1";
    text += "]";
    Parser parser;
    const auto root = parser.parse(text);
    ASSERT_TRUE(root);
    EXPECT_EQ(root->as_array()->size(), n);
}

} // namespace
} // namespace bloom::json
