#include <vector>

#include <gtest/gtest.h>

#include <bloom/measure/paired.hpp>

namespace bloom::measure {
namespace {

/// Roofs from a list, the last one again and again.
class ListedRoofs final : public RoofSource {
public:
    explicit ListedRoofs(std::vector<Roofs> list) : list_(std::move(list)) {}

    Roofs sample() override {
        const Roofs now = list_[std::min(at_, list_.size() - 1)];
        ++at_;
        return now;
    }

    std::size_t n_samples() const { return at_; }

private:
    std::vector<Roofs> list_;
    std::size_t at_ = 0;
};

class SetStopwatch final : public Stopwatch {
public:
    double wall_s() override { return wall; }

    double cpu_s() override { return cpu; }

    double wall = 0;
    double cpu = 0;
};

/// One run takes `seconds` of wall time and `cpu` of processor time.
struct Runs {
    struct One {
        double seconds;
        double cpu;
    };

    SetStopwatch& clock;
    std::vector<One> list;
    std::size_t at = 0;

    Result<> operator()() {
        const One now = list[std::min(at, list.size() - 1)];
        ++at;
        clock.wall += now.seconds;
        clock.cpu += now.cpu;
        return {};
    }
};

constexpr Work kOneGigabyte{1e9, 1e9};

TEST(Paired, RatioIsBesideTheBetterProbeOfItsRepetition) {
    // Bandwidth doubles after the second repetition; each ratio uses its own neighbours.
    ListedRoofs roofs({{10, 100}, {10, 100}, {20, 100}, {20, 100}});
    SetStopwatch clock;
    Runs runs{clock, {{1, 1}, {0.1, 0.1}, {0.1, 0.1}, {0.05, 0.05}}};
    const auto p = measure_paired(roofs, clock, {3, 0, 1}, [](int) { return kOneGigabyte; }, runs);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->repetitions, 3);
    EXPECT_EQ(p->disturbed, 0);
    EXPECT_EQ(roofs.n_samples(), 4u); // one between every two
    // 10 of 10, 10 of 20, 20 of 20
    EXPECT_NEAR(p->roof_ratio.median, 1.0, 1e-9);
    EXPECT_NEAR(p->gb_per_s, 10, 1e-9);
    EXPECT_NEAR(p->seconds.median, 0.1, 1e-9);
    EXPECT_EQ(p->limit, Limit::bandwidth);
}

TEST(Paired, NamesTheNearerRoof) {
    ListedRoofs roofs({{100, 20}});
    SetStopwatch clock;
    Runs runs{clock, {{0.1, 0.1}}};
    const auto p = measure_paired(roofs, clock, {2, 0, 1}, [](int) { return kOneGigabyte; }, runs);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->limit, Limit::dots);
    EXPECT_NEAR(p->roof_ratio.median, 0.5, 1e-9);
}

TEST(Paired, RepetitionsWithoutTheirProcessorsDoNotCount) {
    ListedRoofs roofs({{10, 100}});
    SetStopwatch clock;
    // Two threads: 0.2 s of processor time belong to 0.1 s. The second one was robbed.
    Runs runs{clock, {{1, 2}, {0.1, 0.2}, {0.2, 0.3}, {0.1, 0.2}}};
    const auto p = measure_paired(roofs, clock, {2, 0, 2}, [](int) { return kOneGigabyte; }, runs);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->repetitions, 2);
    EXPECT_EQ(p->disturbed, 1);
    EXPECT_NEAR(p->seconds.median, 0.1, 1e-9);
}

TEST(Paired, ABusyMachineStillGivesAFigureThatSaysSo) {
    ListedRoofs roofs({{10, 100}});
    SetStopwatch clock;
    Runs runs{clock, {{0.1, 0.05}}};
    const auto p = measure_paired(roofs, clock, {3, 0, 1}, [](int) { return kOneGigabyte; }, runs);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->repetitions, 9); // three tries for each one wanted
    EXPECT_EQ(p->disturbed, 9);
    EXPECT_NEAR(p->roof_ratio.median, 1.0, 1e-9);
}

TEST(Paired, GoesOnAtLeastSoLong) {
    ListedRoofs roofs({{10, 100}});
    SetStopwatch clock;
    Runs runs{clock, {{0.1, 0.1}}};
    const auto p =
        measure_paired(roofs, clock, {1, 1.05, 1}, [](int) { return kOneGigabyte; }, runs);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->repetitions, 11);
}

TEST(Paired, PreparesEachOnceOutsideTheTimeAndHandsErrorsOn) {
    ListedRoofs roofs({{10, 100}});
    SetStopwatch clock;
    std::vector<int> prepared;
    Runs runs{clock, {{0.1, 0.1}}};
    const auto prepare = [&](int i) {
        prepared.push_back(i);
        clock.wall += 5;
        return kOneGigabyte;
    };
    const auto p = measure_paired(roofs, clock, {2, 0, 1}, prepare, runs);
    ASSERT_TRUE(p);
    EXPECT_EQ(prepared, (std::vector<int>{0, 1, 2}));
    EXPECT_NEAR(p->seconds.median, 0.1, 1e-9);

    const auto failing = []() -> Result<> { return Error{Code::io_error, "gone"}; };
    const auto failed =
        measure_paired(roofs, clock, {2, 0, 1}, [](int) { return kOneGigabyte; }, failing);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), Code::io_error);
}

} // namespace
} // namespace bloom::measure
