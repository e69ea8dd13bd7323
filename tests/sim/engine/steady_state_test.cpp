#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include <gtest/gtest.h>

#include "support/engine_fixture.hpp"

// Counts every allocation of this program. Everything else about them stays as it was.
namespace {
std::atomic<std::int64_t> allocations{0};
} // namespace

void* operator new(std::size_t size) {
    allocations.fetch_add(1, std::memory_order_relaxed);
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

TEST(SteadyState, ATokenCostsNoAllocation) {
    test::TinyEngine engine({.n_layers = 1, .ctx_len = 2048});
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
    const std::int64_t before = allocations.load();
    const std::int64_t bytes = sink.bytes;
    for (int i = 300; i < 900; ++i)
        ASSERT_TRUE(engine->step(sink, i));
    EXPECT_EQ(sink.bytes - bytes, 4 * 600);
    // Page tables and the like may double now and then: a handful over 2400 tokens.
    EXPECT_LE(allocations.load() - before, 16);
}

} // namespace
} // namespace bloom::engine
