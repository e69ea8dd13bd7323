#include <gtest/gtest.h>

#include <bloom/api/cors.hpp>

namespace bloom::api {
namespace {

TEST(Cors, LocalOriginsAndTheConfiguredOnes) {
    const CorsPolicy policy({"https://console.example"});
    for (const char* origin : {"http://localhost", "http://localhost:5173", "http://127.0.0.1:80",
                               "https://console.example"}) {
        EXPECT_TRUE(policy.allows(origin)) << origin;
    }
    for (const char* origin :
         {"http://localhost.evil.example", "http://localhost:", "http://localhost:80/x",
          "https://console.example.evil", "null", ""}) {
        EXPECT_FALSE(policy.allows(origin)) << origin;
    }
}

TEST(Cors, ForeignOriginsGetOnlyVary) {
    http::HeaderList headers;
    CorsPolicy({}).add_response_headers("https://evil.example", headers);
    EXPECT_EQ(headers.lines(), "Vary: Origin\r\n");
}

TEST(Cors, PreflightEchoesSafeSdkNames) {
    http::HeaderList headers;
    CorsPolicy::add_preflight_headers("Authorization, X-Stainless-OS,x-stainless-b\rad,x-evil",
                                      headers);
    EXPECT_NE(headers.lines().find("x-stainless-os"), std::string_view::npos);
    EXPECT_EQ(headers.lines().find("evil"), std::string_view::npos);
    EXPECT_EQ(headers.lines().find("b\rad"), std::string_view::npos);
}

TEST(RequestId, KeptOnlyWhenSane) {
    EXPECT_EQ(request_id_for("a.B_c:1-2"), "a.B_c:1-2");
    for (const std::string& odd :
         {std::string(), std::string("a b"), std::string("a\n"), std::string(129, 'x')}) {
        const std::string made = request_id_for(odd);
        EXPECT_NE(made, odd);
        EXPECT_EQ(made.size(), 4U + 32U);
    }
    EXPECT_NE(request_id_for(""), request_id_for(""));
}

} // namespace
} // namespace bloom::api
