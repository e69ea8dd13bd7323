#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/engine/cost_model.hpp>

namespace bloom::engine {
namespace {

double truth(const StepLoad& l) {
    return 4000 + 150.0 * l.decode_rows + 90.0 * l.prefill_rows +
           0.004 * static_cast<double>(l.context);
}

StepLoad load(int n_streams, int past, int n_prompt, int prompt_at) {
    StepLoad l;
    for (int i = 0; i < n_streams; ++i)
        l.add_rows(past, past + 1, false);
    if (n_prompt > 0) l.add_rows(prompt_at, prompt_at + n_prompt, true);
    return l;
}

TEST(StepLoad, CountsWhatRowsLookAt) {
    StepLoad l;
    l.add_rows(10, 13, true); // 11 + 12 + 13
    EXPECT_EQ(l.context, 36);
    EXPECT_EQ(l.prefill_rows, 3);
    l.add_rows(0, 1, false);
    EXPECT_EQ(l.context, 37);
    EXPECT_EQ(l.decode_rows, 1);
}

TEST(CostModel, KnowsNothingAtFirst) {
    CostModel m;
    EXPECT_FALSE(m.ready());
    for (int i = 0; i < 20; ++i)
        m.observe(load(4, 100, 0, 0), 5000);
    EXPECT_FALSE(m.ready()) << "no prompt yet";
    m.observe(load(4, 100, 64, 0), 0);
    m.observe(load(4, 100, 64, 64), -5);
    EXPECT_FALSE(m.ready()) << "no time is no observation";
    m.observe(load(4, 100, 64, 128), 10000);
    m.observe(load(4, 100, 64, 192), 10000);
    EXPECT_TRUE(m.ready());
}

TEST(CostModel, RowsOfStreamsCostSomethingOnceTheirNumberVaries) {
    CostModel m;
    EXPECT_FALSE(m.knows_streams());
    for (int i = 0; i < 20; ++i)
        m.observe(load(1, 0, 0, 0), 1000);
    EXPECT_TRUE(m.knows_streams());
    EXPECT_NEAR(m.predict_us(load(1, 0, 0, 0)), 1000, 1);
    for (int i = 0; i < 40; ++i)
        m.observe(load(1 + i % 8, 0, 0, 0), 1000 + 100 * (i % 8));
    EXPECT_NEAR(m.decode_row_us(), 100, 20);
}

TEST(CostModel, LearnsThroughNoise) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Rng rng(seed);
        CostModel m;
        int prompt_at = 0;
        for (int i = 0; i < 600; ++i) {
            const int cuts = i % 3 == 0 ? static_cast<int>(rng.below(4)) : 0;
            const StepLoad l = load(1 + static_cast<int>(rng.below(8)), 500, 64 * cuts, prompt_at);
            prompt_at = prompt_at > 8000 ? 0 : prompt_at + 64 * cuts;
            double t = truth(l) * (0.95 + 0.001 * static_cast<double>(rng.below(100)));
            if (rng.below(200) == 0) t *= 10; // somebody else had the processor
            m.observe(l, static_cast<std::int64_t>(t));
        }
        ASSERT_TRUE(m.ready());
        for (const StepLoad& l : {load(4, 600, 0, 0), load(4, 600, 64, 4000), load(2, 600, 192, 0)})
            EXPECT_NEAR(m.predict_us(l) / truth(l), 1.0, 0.15) << seed;
        EXPECT_LT(m.margin(), 1.6);
    }
}

TEST(CostModel, RemembersPromptsWhileThereAreNone) {
    CostModel m;
    for (int i = 0; i < 40; ++i) {
        const StepLoad l = load(4, 100 + i, 64 * (i % 3), 64 * i);
        m.observe(l, static_cast<std::int64_t>(truth(l)));
    }
    for (int i = 0; i < 5000; ++i) {
        const StepLoad l = load(4, 140 + i / 10, 0, 0);
        m.observe(l, static_cast<std::int64_t>(truth(l)));
    }
    const StepLoad l = load(4, 600, 128, 1000);
    EXPECT_NEAR(m.predict_us(l) / truth(l), 1.0, 0.15);
}

TEST(CostModel, FollowsAMachineThatBecameSlower) {
    CostModel m;
    for (int i = 0; i < 100; ++i) {
        const StepLoad l = load(4, 100, 64 * (i % 2), 64 * i);
        m.observe(l, static_cast<std::int64_t>(truth(l)));
    }
    for (int i = 0; i < 60; ++i) {
        const StepLoad l = load(4, 100, 64 * (i % 2), 64 * i);
        m.observe(l, static_cast<std::int64_t>(5 * truth(l)));
    }
    const StepLoad l = load(4, 100, 64, 2000);
    EXPECT_GT(m.predict_us(l), 4 * truth(l));
    EXPECT_LT(m.predict_us(l), 6 * truth(l));
}

} // namespace
} // namespace bloom::engine
