#include <memory>

#include <gtest/gtest.h>

#include <bloom/measure/model_bench.hpp>

#include "support/engine_fixture.hpp"

namespace bloom::measure {
namespace {

/// Half a second passes between any two looks.
class CountingStopwatch final : public Stopwatch {
public:
    double wall_s() override { return wall_ += 0.5; }

    double cpu_s() override { return wall_ * 2; }

private:
    double wall_ = 0;
};

class FixedRoofs final : public RoofSource {
public:
    Roofs sample() override { return {100, 100}; }
};

TEST(ModelBench, CountsTokensBytesAndPages) {
    test::TinyEngine engine({.q8 = true});
    TimedTeam team(std::make_unique<compute::SerialTeam>(1));
    FixedRoofs roofs;
    CountingStopwatch clock;
    ModelBenchOptions options;
    options.prompt_tokens = 32;
    options.generated_tokens = 4;
    options.batches = {1, 3};
    options.repetitions = 2;
    const auto report = bench_model(*engine, team, roofs, clock, options);
    ASSERT_TRUE(report) << report.error().message();
    ASSERT_EQ(report->rows.size(), 3u);
    EXPECT_EQ(report->rows[0].test, "pp32");
    EXPECT_DOUBLE_EQ(report->rows[0].tokens_per_s, 64);
    // A step takes longer than a piece may, so each is one: a token per half second and sequence.
    EXPECT_EQ(report->rows[2].test, "tg4");
    EXPECT_EQ(report->rows[2].batch, 3);
    EXPECT_DOUBLE_EQ(report->rows[2].tokens_per_s, 6);
    EXPECT_GT(report->rows[1].bytes_per_step, 0);
    EXPECT_GT(report->rows[2].bytes_per_step, report->rows[1].bytes_per_step) << "keys and values";
    EXPECT_GT(report->rows[1].result.roof_ratio.median, 0);
    ASSERT_EQ(report->steps.size(), 2u);
    EXPECT_EQ(report->steps[1].batch, 3);
    EXPECT_EQ(engine->pages_in_use(), 0);
}

TEST(ModelBench, DepthCostsBytesAndMustFit) {
    test::TinyEngine engine({.q8 = true});
    TimedTeam team(std::make_unique<compute::SerialTeam>(1));
    FixedRoofs roofs;
    CountingStopwatch clock;
    ModelBenchOptions options;
    options.prompt_tokens = 0;
    options.generated_tokens = 4;
    options.repetitions = 1;
    const auto shallow = bench_model(*engine, team, roofs, clock, options);
    options.depth = 200;
    const auto deep = bench_model(*engine, team, roofs, clock, options);
    ASSERT_TRUE(shallow);
    ASSERT_TRUE(deep);
    EXPECT_EQ(deep->rows[0].depth, 200);
    const double more = deep->rows[0].bytes_per_step - shallow->rows[0].bytes_per_step;
    EXPECT_DOUBLE_EQ(more, 200.0 * static_cast<double>(engine->info().kv_bytes_per_token));
    options.depth = 1 << 20;
    const auto none = bench_model(*engine, team, roofs, clock, options);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), Code::too_large);
    EXPECT_EQ(engine->pages_in_use(), 0);
}

TEST(TimedTeam, CountsPhasesOnlyWhenAsked) {
    TimedTeam team(std::make_unique<compute::SerialTeam>(3));
    int calls = 0;
    const auto work = [&](std::int32_t, int) { ++calls; };
    team.run_phases(4, work);
    EXPECT_EQ(calls, 12);
    team.start();
    team.run_phases(4, work);
    team.run([&](int) { ++calls; });
    const TeamTimes times = team.stop();
    EXPECT_EQ(calls, 27);
    EXPECT_EQ(times.n_phases, 5);
    EXPECT_GE(times.longest_s, times.mean_s);
    EXPECT_EQ(team.stop().n_phases, 5) << "nothing is counted after stop";
    team.start();
    EXPECT_EQ(team.stop().n_phases, 0);
}

} // namespace
} // namespace bloom::measure
