#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "sim/engine/allocations.hpp"
#include "support/engine_fixture.hpp"

namespace bloom::test {

std::atomic<std::int64_t> n_allocations{0};
std::atomic<std::int64_t> n_failed_allocations{0};
std::atomic<std::int64_t> fail_allocation_in{-1};

} // namespace bloom::test

// Counts every allocation of this program, and fails one where a test says so.
void* operator new(std::size_t size) {
    using namespace bloom::test;
    n_allocations.fetch_add(1, std::memory_order_relaxed);
    if (fail_allocation_in.load(std::memory_order_relaxed) >= 0 &&
        fail_allocation_in.fetch_sub(1, std::memory_order_relaxed) == 0) {
        n_failed_allocations.fetch_add(1, std::memory_order_relaxed);
        throw std::bad_alloc();
    }
    if (void* p = std::malloc(size)) return p;
    throw std::bad_alloc();
}

void operator delete(void* p) noexcept {
    std::free(p);
}

void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}

namespace bloom::engine {
namespace {

/// A sink as a provider has it: takes the batch and leaves a used one behind.
class SwappingSink final : public EventSink {
public:
    void on_events(RequestId, gen::EventBatch&& events) override {
        for (const gen::Event& e : events)
            bytes += static_cast<std::int64_t>(e.text.size());
        taken_.swap(events);
    }

    std::int64_t bytes = 0;

private:
    gen::EventBatch taken_;
};

class SteadyStateTest : public testing::TestWithParam<bool> {};

TEST_P(SteadyStateTest, ATokenCostsNoAllocation) {
    const bool guesses = GetParam();
    test::TinyEngine engine({.n_layers = 1, .ctx_len = 2048}, {.speculate = guesses});
    for (std::uint64_t i = 0; i < 4; ++i) {
        gen::Generation g = test::letters(test::prompt_of(20, i), 1500, i < 2 ? 0.0F : 0.9F);
        g.sampling.top_p = i == 3 ? 0.9F : 1.0F;
        g.sampling.frequency_penalty = i == 2 ? 0.1F : 0.0F;
        g.limits.stop = {"0"};
        ASSERT_TRUE(
            engine->submit(RequestId{i}, std::make_shared<const gen::Generation>(g), 1 << 30));
    }
    SwappingSink sink;
    for (int i = 0; i < 300; ++i) // everything reaches its size
        ASSERT_TRUE(engine->step(sink, i));
    const std::int64_t before = test::n_allocations.load();
    const std::int64_t bytes = sink.bytes;
    for (int i = 300; i < 900; ++i)
        ASSERT_TRUE(engine->step(sink, i));
    if (guesses) {
        EXPECT_GT(sink.bytes - bytes, 4 * 600);
        EXPECT_GT(engine->capacity().n_accepted, 0);
    } else {
        EXPECT_EQ(sink.bytes - bytes, 4 * 600);
    }
    // Page tables and the like may double now and then: a handful over 2400 tokens. Guesses have
    // tables too, and bring several events at once.
    EXPECT_LE(test::n_allocations.load() - before, guesses ? 80 : 16);
}

INSTANTIATE_TEST_SUITE_P(Guesses, SteadyStateTest, testing::Bool());

TEST(SteadyState, NotOneBetweenTwoSizesOfItsTables) {
    auto file = ModelFile::open(std::string(BLOOM_SOURCE_DIR) + "/assets/nano.gguf");
    ASSERT_TRUE(file) << file.error().message();
    compute::SerialTeam team;
    EngineOptions options;
    options.team = &team;
    options.kv_budget_bytes = std::int64_t{64} << 20;
    options.inter_token_ms = 50;
    options.speculate = false;
    auto engine = std::move(Engine::create(std::move(*file), options).value());
    for (std::uint64_t i = 0; i < 4; ++i) {
        gen::Generation g;
        gen::Message message;
        message.content.push_back({gen::Part::Kind::text, "What is Darkbloom?"});
        g.messages.push_back(std::move(message));
        g.sampling.temperature = i < 2 ? 0.0F : 0.9F;
        g.sampling.top_p = i == 3 ? 0.9F : 1.0F;
        g.limits.max_tokens = 600;
        g.limits.ignore_eos = true;
        g.cache_scope = "tests";
        ASSERT_TRUE(
            engine->submit(RequestId{i}, std::make_shared<const gen::Generation>(g), 1 << 30));
    }
    SwappingSink sink;
    // Page tables and the like have sizes of 2^n: between 300 and 400 tokens none grows. With
    // guesses streams would pass 2^n at different steps.
    std::int64_t now_us = 0;
    const auto step = [&] {
        EXPECT_TRUE(engine->step(sink, now_us / 1000));
        engine->step_took(2000);
        now_us += 2000;
    };
    for (int i = 0; i < 300; ++i)
        step();
    const std::int64_t before = test::n_allocations.load();
    for (int i = 0; i < 100; ++i)
        step();
    EXPECT_EQ(test::n_allocations.load() - before, 0);
}

} // namespace
} // namespace bloom::engine
