#include <gtest/gtest.h>

#include <bloom/rt/sim_driver.hpp>

#include "provider/home.hpp"
#include "support/co_test.hpp"

namespace bloom::provider {
namespace {

using std::chrono::milliseconds;

class CountingGate final : public EngineGate {
public:
    void on_engine(std::move_only_function<void()>) override { ++n_calls; }

    void engine_cancel(std::uint64_t) override { ++n_cancels; }

    void engine_credit(std::uint64_t, std::size_t bytes) override { credit += bytes; }

    void engine_wake() noexcept override { ++n_wakes; }

    int n_calls = 0;
    int n_cancels = 0;
    int n_wakes = 0;
    std::size_t credit = 0;
};

gen::EventBatch batch_of(gen::EventKind kind) {
    gen::EventBatch batch(1);
    batch[0].kind = kind;
    return batch;
}

std::uint64_t in(milliseconds time) {
    return rt::Shard::current().now_ns() + static_cast<std::uint64_t>(time.count()) * 1'000'000;
}

rt::Task<void> deadlines(bool* ran) {
    CountingGate gate;
    Home home;
    {
        LocalStream early(gate, home, 1, in(milliseconds(50)));
        LocalStream late(gate, home, 2, in(milliseconds(5000)));
        LocalStream none(gate, home, 3, 0);
        co_await rt::sleep_for(milliseconds(40));
        EXPECT_EQ(gate.n_wakes, 0);
        co_await rt::sleep_for(milliseconds(20));
        EXPECT_EQ(gate.n_wakes, 1) << "the engine sleeps while nobody reads";
        for (LocalStream* stream : {&early, &late, &none}) {
            gen::EventBatch last = batch_of(gen::EventKind::usage);
            stream->deliver(last);
            EXPECT_TRUE(last.empty());
        }
    }
    co_await rt::sleep_for(milliseconds(6000));
    EXPECT_EQ(gate.n_wakes, 1) << "a stream that has gone wakes nobody";
    EXPECT_TRUE(home.streams.empty());
    *ran = true;
}

rt::Task<void> batches(bool* ran) {
    CountingGate gate;
    Home home;
    LocalStream stream(gate, home, 7, 0);
    gen::EventBatch batch = batch_of(gen::EventKind::started);
    batch.reserve(8);
    stream.deliver(batch);
    EXPECT_TRUE(batch.empty());
    EXPECT_GE(batch.capacity(), 8U) << "its memory is used for the next step";
    batch.push_back({});
    batch.back().kind = gen::EventKind::usage;
    batch.back().usage.completion_tokens = 3;
    stream.deliver(batch);
    const auto got = co_await stream.next({});
    EXPECT_TRUE(got && *got && (*got)->size() == 2);
    EXPECT_EQ((co_await stream.cancel()).completion_tokens, 3);
    EXPECT_EQ(gate.n_cancels, 0) << "it had ended";
    *ran = true;
}

void run(rt::Task<void> (*body)(bool*)) {
    rt::SimWorld world(1);
    bool ran = false;

    struct Main {
        rt::Task<void> (*body)(bool*);
        bool* ran;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const { return body(ran); }
    };

    ASSERT_TRUE(world.run(Main{body, &ran}).has_value());
    EXPECT_TRUE(ran);
}

TEST(LocalStream, WakesTheEngineAtItsDeadline) {
    run(&deadlines);
}

TEST(LocalStream, LeavesTheMemoryOfBatchesWhereItWas) {
    run(&batches);
}

} // namespace
} // namespace bloom::provider
