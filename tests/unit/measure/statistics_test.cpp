#include <vector>

#include <gtest/gtest.h>

#include <bloom/measure/statistics.hpp>

namespace bloom::measure {
namespace {

TEST(Statistics, MedianOfAnyNumber) {
    EXPECT_EQ(median({}), 0);
    EXPECT_EQ(median(std::vector<double>{3}), 3);
    EXPECT_EQ(median(std::vector<double>{5, 1, 3}), 3);
    EXPECT_EQ(median(std::vector<double>{4, 1, 3, 2}), 2.5);
}

TEST(Statistics, SpreadIgnoresOneOutlier) {
    const Spread s = spread_of(std::vector<double>{10, 11, 9, 10, 1000});
    EXPECT_EQ(s.median, 10);
    EXPECT_EQ(s.mad, 1);
}

TEST(Statistics, PercentileIsTheNearestRank) {
    std::vector<double> v;
    for (int i = 1; i <= 1000; ++i)
        v.push_back(i);
    EXPECT_EQ(percentile(v, 0), 1);
    EXPECT_EQ(percentile(v, 0.5), 500);
    EXPECT_EQ(percentile(v, 0.99), 990);
    EXPECT_EQ(percentile(v, 0.999), 999);
    EXPECT_EQ(percentile(v, 1), 1000);
    EXPECT_EQ(percentile(std::vector<double>{7}, 0.999), 7);
    EXPECT_EQ(percentile({}, 0.5), 0);
}

} // namespace
} // namespace bloom::measure
