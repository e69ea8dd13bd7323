// Memory that is missing at any point of a step costs the requests it was for, and nothing else.
#include <memory>
#include <new>
#include <string>

#include <gtest/gtest.h>

#include "sim/engine/allocations.hpp"
#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

using test::Answer;
using test::Collector;

/// Memory is missing for the engine only; now and then for whoever takes the events, too.
class Guarded final : public EventSink {
public:
    void on_events(RequestId id, gen::EventBatch&& events) override {
        const std::int64_t left = test::fail_allocation_in.exchange(-1);
        if (left == 0) throw std::bad_alloc();
        out.on_events(id, std::move(events));
        test::fail_allocation_in.store(left);
    }

    Collector out;
};

gen::Generation request_of(std::uint64_t i) {
    gen::Generation g = test::letters(test::prompt_of(30 + static_cast<int>(i) * 40, i), 40,
                                      i % 2 == 0 ? 0.0F : 0.8F);
    g.limits.stop = {"0never"};
    if (i == 1) g.sampling.frequency_penalty = 0.3F;
    g.fair_key = "an account whose name is long enough for memory of its own " + std::to_string(i);
    g.n_choices = i == 2 ? 2 : 1;
    g.cache_scope = i == 3 ? "" : "tests, in a scope with a long name";
    return g;
}

TEST(OutOfMemory, AtAnyPointOfAStepFailsRequestsAndNothingElse) {
    const test::TinyShape shape{.n_layers = 1, .output_scale = 4};
    // Room for two or three of them: sequences make way and come back.
    test::TinyEngine engine(shape, {.kv_budget_bytes = 22 * 2048, .swap_bytes = 22 * 2048});
    test::TinyEngine roomy(shape);
    std::vector<Answer> want;
    for (std::uint64_t i = 0; i < 4; ++i)
        want.push_back(roomy.ask(request_of(i)));
    std::uint64_t id = 1;
    int failed = 0;
    int answered = 0;
    std::int64_t k = 0;
    int rounds = 0;
    // From each of the first steps on, the first allocation, the second, ... as long as there are.
    int offset = 0;
    for (bool hit = true; offset < 8; k = hit ? k + 1 : 0, offset += hit ? 0 : 1) {
        SCOPED_TRACE(offset * 10'000 + k);
        ++rounds;
        Guarded sink;
        Collector& out = sink.out;
        const std::uint64_t first = id;
        for (std::uint64_t i = 0; i < 4; ++i) {
            ASSERT_TRUE(engine->submit(
                RequestId{id++}, std::make_shared<const gen::Generation>(request_of(i)), 1 << 30));
        }
        for (int i = 0; i < offset; ++i)
            engine->step(sink, 0);
        test::fail_allocation_in.store(k);
        for (int i = 0; i < 60 && test::fail_allocation_in.load() >= 0; ++i)
            engine->step(sink, 0);
        hit = test::fail_allocation_in.exchange(-1) < 0;
        engine.run(out);
        for (std::uint64_t i = 0; i < 4; ++i) {
            const Answer& a = out[first + i];
            EXPECT_TRUE(a.over);
            if (a.failure == gen::Failure::none) {
                EXPECT_EQ(a.text, want[i].text);
                EXPECT_EQ(a.usage.completion_tokens, want[i].usage.completion_tokens);
                ++answered;
            } else {
                EXPECT_EQ(a.failure, gen::Failure::provider) << a.failure_text;
                ++failed;
            }
        }
        EXPECT_EQ(engine->n_requests(), 0);
        EXPECT_EQ(engine->capacity().queued, 0);
        EXPECT_EQ(engine->capacity().free_slots, 16);
        engine->drop_prefix_cache();
        EXPECT_EQ(engine->pages_in_use(), 0);
        if (HasFailure()) return;
    }
    EXPECT_GT(rounds, 100);
    EXPECT_GT(failed, 50);
    EXPECT_GT(answered, 100);
}

TEST(OutOfMemory, AnEndFromOutsideComesWhenMemoryIsThere) {
    test::TinyEngine engine({.n_layers = 1, .output_scale = 4});
    std::uint64_t id = 0;
    // A cancel and a deadline, each without its first allocation, its second, ...
    for (const bool by_deadline : {false, true}) {
        bool hit = true;
        int rounds = 0;
        for (std::int64_t k = 0; hit; ++k, ++rounds) {
            SCOPED_TRACE(k);
            Guarded sink;
            const RequestId request{++id};
            gen::Generation g = request_of(0);
            if (by_deadline) g.deadline_ms = 10;
            ASSERT_TRUE(
                engine->submit(request, std::make_shared<const gen::Generation>(g), 1 << 30));
            for (int i = 0; i < 4; ++i)
                engine->step(sink, 0);
            test::fail_allocation_in.store(k);
            if (!by_deadline) engine->cancel(request, CancelReason::client_gone);
            engine->step(sink, 10);
            hit = test::fail_allocation_in.exchange(-1) < 0;
            engine.run(sink.out, 10);
            const Answer& a = sink.out[id];
            EXPECT_TRUE(a.over);
            const auto said = by_deadline ? gen::Failure::timeout : gen::Failure::cancelled;
            EXPECT_TRUE(a.failure == said || (hit && a.failure == gen::Failure::provider))
                << a.failure_text;
            EXPECT_EQ(engine->n_requests(), 0);
        }
        EXPECT_GT(rounds, 1) << "no allocation failed";
    }
    engine->drop_prefix_cache();
    EXPECT_EQ(engine->pages_in_use(), 0);
}

} // namespace
} // namespace bloom::engine
