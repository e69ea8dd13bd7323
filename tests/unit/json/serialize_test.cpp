#include <string>

#include <gtest/gtest.h>

#include <bloom/json/serialize.hpp>

namespace bloom::json {
namespace {

std::string round_trip(std::string_view text) {
    Parser parser;
    const auto value = parser.parse(text);
    EXPECT_TRUE(value.has_value()) << text;
    std::string out;
    if (value) append_value(out, *value);
    return out;
}

TEST(Serialize, KeepsOrderDuplicatesAndExactIntegers) {
    EXPECT_EQ(round_trip(R"( { "b" : 1, "a" : [ ], "b" : { } } )"), R"({"b":1,"a":[],"b":{}})");
    EXPECT_EQ(round_trip("[9007199254740993,18446744073709551615,-9223372036854775808]"),
              "[9007199254740993,18446744073709551615,-9223372036854775808]");
    EXPECT_EQ(round_trip(R"([true,false,null,1.5,1e300])"), R"([true,false,null,1.5,1e+300])");
}

TEST(Serialize, EscapesOnlyWhatJsonNeeds) {
    EXPECT_EQ(round_trip(R"("\u00e9\/\"\u0001\ud83d\ude00")"), "\"é/\\\"\\u0001😀\"");
    EXPECT_EQ(round_trip(R"({"a\nb":""})"), R"({"a\nb":""})");
}

} // namespace
} // namespace bloom::json
