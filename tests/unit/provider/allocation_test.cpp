// A step of the provider, from its commands to its posts, takes no memory once everything has its
// size. The provider asks for the time when a step begins and when it has ended: in simulation all
// that is allocated between is the step's.
#include <cstdlib>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/provider/local.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/rt/sim_driver.hpp>

#include "support/co_test.hpp"
#include "support/counts_allocations.hpp"

#if BLOOM_TEST_COUNTS_ALLOCATIONS
namespace {
std::int64_t n_allocations = 0;
} // namespace

void* operator new(std::size_t size) {
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    if (void* p = std::malloc(size)) return p;
    throw std::bad_alloc();
}

void operator delete(void* p) noexcept {
    std::free(p);
}

void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}

namespace bloom::provider {
namespace {

/// Allocations of every step so far.
struct Steps {
    std::vector<std::int64_t> allocations;
    std::int64_t begin = -1;
    std::int64_t now_us = 0;

    std::int64_t tick() {
        if (begin < 0) {
            begin = __atomic_load_n(&n_allocations, __ATOMIC_RELAXED);
        } else {
            const std::int64_t end = __atomic_load_n(&n_allocations, __ATOMIC_RELAXED);
            if (allocations.size() < allocations.capacity()) allocations.push_back(end - begin);
            begin = -1;
        }
        return now_us += 500;
    }
};

rt::Task<void> answer(LocalProvider* provider, Steps* steps) {
    EXPECT_TRUE(co_await provider->load(std::string(kBuiltInModel)));
    auto g = std::make_shared<gen::Generation>();
    g->model = std::string(kBuiltInModel);
    gen::Message message;
    message.content.push_back({gen::Part::Kind::text, "What is Darkbloom?"});
    g->messages.push_back(std::move(message));
    g->sampling.temperature = 0;
    g->limits.max_tokens = 230;
    g->limits.ignore_eos = true;
    steps->allocations.clear();
    auto stream = provider->submit(std::move(g));
    std::int64_t n_tokens = 0;
    for (;;) {
        const auto batch = co_await stream->next({});
        EXPECT_TRUE(batch.has_value());
        if (!batch || !*batch) break;
        for (const gen::Event& e : **batch)
            n_tokens += e.n_tokens;
    }
    EXPECT_GE(n_tokens, 200);
    stream.reset();
    co_await provider->stop();
}

TEST(LocalProvider, AStepAllocatesNothingInSteadyState) {
    Steps steps;
    steps.allocations.reserve(1 << 16);
    rt::SimWorld world(1);
    LocalOptions options;
    options.n_threads = 1;
    options.kv_cache_bytes = std::int64_t{32} << 20;
    options.inter_token_ms = 100;
    options.speculate = false;
    options.now_us = [&] { return steps.tick(); };
    auto provider = LocalProvider::start(world, {}, options);
    ASSERT_TRUE(provider.has_value()) << provider.error().message();

    struct Main {
        LocalProvider* provider;
        Steps* steps;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const {
            return answer(provider, steps);
        }
    };

    ASSERT_TRUE(world.run(Main{provider->get(), &steps}).has_value());
    ASSERT_GE(steps.allocations.size(), 220U);
    EXPECT_GT(steps.allocations.front(), 0) << "nothing was counted";
    for (std::size_t i = 100; i < 200; ++i)
        EXPECT_EQ(steps.allocations[i], 0) << "step " << i;
}

} // namespace
} // namespace bloom::provider
#else
TEST(LocalProvider, AStepAllocatesNothingInSteadyState) {
    GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
}
#endif
