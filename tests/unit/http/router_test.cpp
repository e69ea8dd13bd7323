#include <gtest/gtest.h>

#include <bloom/http/router.hpp>

namespace bloom::http {
namespace {

rt::Task<Result<>> nothing(Exchange&) {
    co_return Result<>{};
}

class RouterTest : public testing::Test {
protected:
    void SetUp() override {
        for (const char* p :
             {"/", "/health", "/v1/models", "/v1/models/{id...}", "/v1/models/catalog",
              "/v1/keys/{id}", "/v1/keys/{id}/usage", "/v1/{what}/usage"}) {
            router.add(Method::get, p, nothing);
        }
        router.add(Method::del, "/v1/keys/{id}", nothing);
        router.add(Method::post, "/v1/chat", nothing);
    }

    std::string pattern(std::string_view path) {
        return std::string(router.match(Method::get, path).pattern);
    }

    Router router;
};

TEST_F(RouterTest, LiteralBeatsParamBeatsRest) {
    EXPECT_EQ(pattern("/"), "/");
    EXPECT_EQ(pattern("/health"), "/health");
    EXPECT_EQ(pattern("/health/"), "/health");
    EXPECT_EQ(pattern("/v1/models/"), "/v1/models");
    EXPECT_EQ(pattern("/v1/models/catalog"), "/v1/models/catalog");
    EXPECT_EQ(pattern("/v1/models/a/b/c"), "/v1/models/{id...}");
    EXPECT_EQ(pattern("/v1/keys/7/usage"), "/v1/keys/{id}/usage");
    EXPECT_EQ(pattern("/v1/other/usage"), "/v1/{what}/usage");
    EXPECT_EQ(pattern("/v1/keys/7"), "/v1/keys/{id}");
}

TEST_F(RouterTest, Misses) {
    for (const char* path :
         {"/Health", "//health", "/v1", "/v1//models", "/v1/keys", "/v1/keys/7/x", "/health/x", "*",
          "", "/v1/models;a=b", "/./v1/models"}) {
        EXPECT_EQ(router.match(Method::get, path).outcome, Router::Outcome::not_found) << path;
    }
}

TEST_F(RouterTest, ParamsAreRaw) {
    const auto m = router.match(Method::get, "/v1/models/mlx%2Fqwen/x/");
    ASSERT_EQ(m.params.n, 1u);
    EXPECT_EQ(m.params.items[0].name, "id");
    EXPECT_EQ(m.params.items[0].value, "mlx%2Fqwen/x");
}

TEST_F(RouterTest, Methods) {
    EXPECT_EQ(router.match(Method::head, "/health").outcome, Router::Outcome::found);
    const auto m = router.match(Method::put, "/v1/keys/7");
    EXPECT_EQ(m.outcome, Router::Outcome::method_not_allowed);
    EXPECT_EQ(allow_value(m.allowed), "GET, HEAD, DELETE");
    EXPECT_EQ(router.match(Method::get, "/v1/chat").outcome, Router::Outcome::method_not_allowed);
    EXPECT_EQ(router.match(Method::options, "/nowhere").outcome, Router::Outcome::not_found);
    router.set_options(nothing);
    EXPECT_EQ(router.match(Method::options, "/nowhere").outcome, Router::Outcome::found);
    EXPECT_EQ(router.match(Method::options, "*").outcome, Router::Outcome::found);
    EXPECT_EQ(allow_value(router.match(Method::get, "/health").allowed), "GET, HEAD, OPTIONS");
}

} // namespace
} // namespace bloom::http
