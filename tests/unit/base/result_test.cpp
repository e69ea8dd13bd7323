#include <gtest/gtest.h>

#include <bloom/base/result.hpp>

namespace bloom {
namespace {

Result<int> half(int n) {
    if (n % 2 != 0) return Error{Code::invalid_argument, "odd"};
    return n / 2;
}

Result<int> quarter(int n) {
    BLOOM_TRY(const int h, half(n));
    BLOOM_OK(half(h));
    return half(h);
}

TEST(Result, TryPropagates) {
    EXPECT_EQ(quarter(8).value(), 2);
    EXPECT_EQ(quarter(6).error().message(), "odd");
    EXPECT_EQ(quarter(7).error().code(), Code::invalid_argument);
}

TEST(Result, ErrorsDescribeThemselves) {
    EXPECT_EQ(Error{Code::not_found}.message(), "not_found");
    EXPECT_EQ(to_string(Code::internal), "internal");
    const Error e = Error::from_errno(ENOENT, "open \"x\"").with_context("model");
    EXPECT_EQ(e.message(), "model: open \"x\": No such file or directory");
    EXPECT_EQ(e.sys_errno(), ENOENT);
}

} // namespace
} // namespace bloom
