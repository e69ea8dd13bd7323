#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include <bloom/rt/shard.hpp>
#include <bloom/rt/sim_driver.hpp>
#include <bloom/rt/task.hpp>
#include <bloom/rt/uring_driver.hpp>

namespace bloom::test {

/// The run's seed: DARKBLOOM_SEED, else a fixed one.
inline std::uint64_t base_seed() {
    const char* text = std::getenv("DARKBLOOM_SEED");
    return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

/// Runs a coroutine as the only main of a simulated shard.
inline void run_simulated(rt::Task<void> (*body)(rt::Shard&), std::uint64_t seed,
                          const rt::SimFaults& faults = {}) {
    SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed));
    rt::SimWorld world(seed, faults);
    const Result<> ended = world.run(body);
    ASSERT_TRUE(ended.has_value()) << ended.error().message();
}

/// Runs a coroutine on a shard with a real ring; skips, visibly, where the machine has no io_uring.
inline void run_on_ring(rt::Task<void> (*body)(rt::Shard&), const rt::UringOptions& options = {}) {
    auto shards = rt::start_shards({}, options);
    if (!shards && shards.error().code() == Code::machine_lacks) {
        GTEST_SKIP() << shards.error().message();
    }
    ASSERT_TRUE(shards.has_value()) << shards.error().message();
    const Result<> ended = (*shards)->run(body);
    ASSERT_TRUE(ended.has_value()) << ended.error().message();
}

} // namespace bloom::test

/// A test whose body is a coroutine on a simulated shard: `BLOOM_CO_TEST(Suite, name) { co_await
/// ...; }`. The body sees `rt::Shard& shard`. Use CO_ASSERT_*, since ASSERT_* returns.
#define BLOOM_CO_TEST(suite, name)                                                                 \
    static ::bloom::rt::Task<void> suite##_##name##_body(::bloom::rt::Shard& shard);               \
    TEST(suite, name) {                                                                            \
        ::bloom::test::run_simulated(&suite##_##name##_body, ::bloom::test::base_seed());          \
    }                                                                                              \
    static ::bloom::rt::Task<void> suite##_##name##_body([[maybe_unused]] ::bloom::rt::Shard& shard)

/// The same body on the simulated driver and on a real ring.
#define BLOOM_CO_TEST_BOTH(suite, name)                                                            \
    static ::bloom::rt::Task<void> suite##_##name##_body(::bloom::rt::Shard& shard);               \
    TEST(suite, name##_sim) {                                                                      \
        ::bloom::test::run_simulated(&suite##_##name##_body, ::bloom::test::base_seed());          \
    }                                                                                              \
    TEST(suite, name##_ring) {                                                                     \
        ::bloom::test::run_on_ring(&suite##_##name##_body);                                        \
    }                                                                                              \
    static ::bloom::rt::Task<void> suite##_##name##_body([[maybe_unused]] ::bloom::rt::Shard& shard)

/// The body on a real ring only.
#define BLOOM_RING_TEST(suite, name)                                                               \
    static ::bloom::rt::Task<void> suite##_##name##_body(::bloom::rt::Shard& shard);               \
    TEST(suite, name) {                                                                            \
        ::bloom::test::run_on_ring(&suite##_##name##_body);                                        \
    }                                                                                              \
    static ::bloom::rt::Task<void> suite##_##name##_body([[maybe_unused]] ::bloom::rt::Shard& shard)

#define CO_ASSERT_TRUE(condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            ADD_FAILURE() << "not true: " #condition;                                              \
            co_return;                                                                             \
        }                                                                                          \
    } while (false)
#define CO_ASSERT_FALSE(condition) CO_ASSERT_TRUE(!(condition))
#define CO_ASSERT_EQ(a, b)                                                                         \
    do {                                                                                           \
        const auto& co_a = (a);                                                                    \
        const auto& co_b = (b);                                                                    \
        if (!(co_a == co_b)) {                                                                     \
            ADD_FAILURE() << #a " == " #b ": " << ::testing::PrintToString(co_a) << " and "        \
                          << ::testing::PrintToString(co_b);                                       \
            co_return;                                                                             \
        }                                                                                          \
    } while (false)
/// For Result<T>: fails with the error's sentence.
#define CO_ASSERT_OK(...)                                                                          \
    do {                                                                                           \
        const auto& co_result = (__VA_ARGS__);                                                     \
        if (!co_result) {                                                                          \
            ADD_FAILURE() << #__VA_ARGS__ ": " << co_result.error().message();                     \
            co_return;                                                                             \
        }                                                                                          \
    } while (false)
