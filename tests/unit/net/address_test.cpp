#include <gtest/gtest.h>

#include <bloom/net/address.hpp>

namespace bloom::net {
namespace {

TEST(Address, parses_and_prints) {
    for (const char* text : {"127.0.0.1:0", "10.1.2.3:65535", "[::1]:80", "[2001:db8::5]:443"}) {
        const Result<Address> address = Address::parse(text);
        ASSERT_TRUE(address.has_value()) << text;
        EXPECT_EQ(address->to_string(), text);
    }
    EXPECT_EQ(Address::parse(":8080")->to_string(), "0.0.0.0:8080");
    EXPECT_TRUE(Address::parse(":8080")->is_any());
    EXPECT_EQ(Address::parse("localhost:1")->to_string(), "127.0.0.1:1");
    EXPECT_TRUE(Address::parse("[::1]:1")->is_loopback());
    EXPECT_TRUE(Address::parse("127.9.9.9:1")->is_loopback());
    EXPECT_FALSE(Address::parse("128.0.0.1:1")->is_loopback());
}

TEST(Address, refuses_with_a_reason) {
    for (const char* text : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                             "127.0.0.1:8o", "::1:80", "[::1]", "[127.0.0.1]:80", "example.com:80",
                             "256.0.0.1:80", "[::g]:80", "1.2.3.4:+5", " 1.2.3.4:5"}) {
        const Result<Address> address = Address::parse(text);
        ASSERT_FALSE(address.has_value()) << text;
        EXPECT_EQ(address.error().code(), Code::invalid_argument);
        EXPECT_NE(address.error().message().find("expected"), std::string_view::npos);
    }
}

TEST(Address, compares_by_value) {
    EXPECT_EQ(*Address::parse("1.2.3.4:5"), *Address::from_ip("1.2.3.4", 5));
    EXPECT_FALSE(*Address::parse("1.2.3.4:5") == *Address::parse("1.2.3.4:6"));
    EXPECT_FALSE(*Address::parse("0.0.0.0:5") == *Address::parse("[::]:5"));
}

} // namespace
} // namespace bloom::net
