#include <gtest/gtest.h>

#include <bloom/base/calendar.hpp>

namespace bloom {
namespace {

TEST(Calendar, Rfc3339) {
    EXPECT_EQ(rfc3339(0), "1970-01-01T00:00:00Z");
    EXPECT_EQ(rfc3339(1'767'323'045), "2026-01-02T03:04:05Z");
    EXPECT_EQ(rfc3339(-1), "1969-12-31T23:59:59Z");
    EXPECT_EQ(rfc3339(INT64_MAX), "");
}

} // namespace
} // namespace bloom
