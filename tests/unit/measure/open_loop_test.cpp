#include <algorithm>
#include <chrono>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/measure/serve_bench.hpp>

#include "support/co_test.hpp"

namespace bloom::measure {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

TEST(ArrivalTimes, EvenOnesDoNotDrift) {
    const auto due = arrival_times(3, 10, Arrivals::even, 1);
    ASSERT_EQ(due.size(), 30u);
    EXPECT_EQ(due[0], 0u);
    EXPECT_EQ(due[1], 333 * kMs);
    EXPECT_EQ(due[3], 1000 * kMs);
    EXPECT_EQ(due[29], 9666 * kMs);
}

TEST(ArrivalTimes, PoissonHasTheRateAndTheSeedsOrder) {
    const auto due = arrival_times(100, 100, Arrivals::poisson, 7);
    EXPECT_EQ(due, arrival_times(100, 100, Arrivals::poisson, 7));
    EXPECT_NE(due, arrival_times(100, 100, Arrivals::poisson, 8));
    EXPECT_NEAR(static_cast<double>(due.size()), 10'000, 400); // four standard deviations
    EXPECT_TRUE(std::ranges::is_sorted(due));
    EXPECT_LT(due.back(), 100'000 * kMs);
    // Exponential gaps: e^-1 of them are longer than the mean of 10 ms.
    std::size_t longer = 0;
    for (std::size_t i = 1; i < due.size(); ++i)
        longer += due[i] - due[i - 1] > 10 * kMs ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(longer) / static_cast<double>(due.size()), 0.35, 0.03);
}

TEST(ArrivalTimes, ManyAMillisecondComeTogether) {
    const auto due = arrival_times(4000, 0.01, Arrivals::even, 1);
    ASSERT_EQ(due.size(), 40u);
    EXPECT_EQ(due[3], 0u);
    EXPECT_EQ(due[4], kMs);
}

rt::Task<Outcome> takes_a_second(std::size_t i, rt::StopToken stop) {
    Outcome out;
    static_cast<void>(co_await rt::sleep_for(std::chrono::seconds(1), stop));
    out.first_ns = rt::Shard::current().driver().now_ns();
    out.n_tokens = static_cast<std::int64_t>(i);
    co_return out;
}

BLOOM_CO_TEST(OpenLoop, ASlowServerGetsNoFewerRequests) {
    const auto due = arrival_times(10, 2, Arrivals::even, 1);
    const SendRequest send = takes_a_second;
    const auto outcomes = co_await run_open_loop(due, 100, send);
    CO_ASSERT_EQ(outcomes.size(), 20u);
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        const Outcome& o = outcomes[i];
        CO_ASSERT_EQ(o.due_ns - outcomes[0].due_ns, due[i]);
        CO_ASSERT_TRUE(o.sent_ns - o.due_ns < 2 * kMs);
        CO_ASSERT_TRUE(o.end_ns - o.due_ns >= 1000 * kMs);
        CO_ASSERT_TRUE(o.end_ns - o.due_ns < 1010 * kMs);
    }
}

BLOOM_CO_TEST(OpenLoop, WaitingForAPlaceCounts) {
    // Two a second can be served, ten arrive: the k-th waits for the pairs before it.
    const auto due = arrival_times(10, 1, Arrivals::even, 1);
    const SendRequest send = takes_a_second;
    const auto outcomes = co_await run_open_loop(due, 2, send);
    CO_ASSERT_EQ(outcomes.size(), 10u);
    const ServeReport report = summarise(outcomes, 1000);
    EXPECT_EQ(report.n_answered, 10u);
    EXPECT_EQ(report.n_tokens, 45);
    // The last two begin after four seconds, due at 0.8 and 0.9 s, and take one.
    EXPECT_NEAR(report.ttft.max, 4200, 10);
    EXPECT_NEAR(report.added.max, 3200, 10);
    EXPECT_NEAR(report.late.max, 3200, 10);
    EXPECT_NEAR(report.seconds, 5.1, 0.01); // the second place was taken 0.1 s after the first
    EXPECT_NEAR(report.requests_per_s, 10 / 5.1, 0.01);
}

rt::Task<Outcome> never_ends(std::size_t /*i*/, rt::StopToken stop) {
    Outcome out;
    const auto slept = co_await rt::sleep_for(std::chrono::hours(1), stop);
    if (!slept) out.error = "cut";
    co_return out;
}

BLOOM_CO_TEST(OpenLoop, AnswersThatNeverComeAreCut) {
    const auto due = arrival_times(2, 1, Arrivals::even, 1);
    const SendRequest send = never_ends;
    const auto outcomes = co_await run_open_loop(due, 1, send);
    const ServeReport report = summarise(outcomes, 0);
    EXPECT_EQ(report.n_answered, 0u);
    EXPECT_EQ(report.errors.at("cut"), 1u);
    EXPECT_EQ(report.errors.size(), 2u) << "the second one waited for its place until the end";
    EXPECT_EQ(report.ttft.n, 0u);
}

TEST(ServeReport, KeepsFailuresOutOfTheTimes) {
    std::vector<Outcome> outcomes(3);
    outcomes[0] = {.due_ns = 0,
                   .sent_ns = 1 * kMs,
                   .first_ns = 10 * kMs,
                   .end_ns = 40 * kMs,
                   .gaps_ns = {5 * kMs, 25 * kMs},
                   .n_tokens = 3,
                   .error = {}};
    outcomes[1] = {.due_ns = 100 * kMs,
                   .sent_ns = 100 * kMs,
                   .first_ns = 0,
                   .end_ns = 1000 * kMs,
                   .gaps_ns = {},
                   .n_tokens = 99,
                   .error = "status 503"};
    outcomes[2] = {.due_ns = 200 * kMs,
                   .sent_ns = 200 * kMs,
                   .first_ns = 230 * kMs,
                   .end_ns = 240 * kMs,
                   .gaps_ns = {},
                   .n_tokens = 1,
                   .error = {}};
    const ServeReport r = summarise(outcomes, 8);
    EXPECT_EQ(r.n_requests, 3u);
    EXPECT_EQ(r.n_answered, 2u);
    EXPECT_EQ(r.errors.at("status 503"), 1u);
    EXPECT_EQ(r.n_tokens, 4);
    EXPECT_DOUBLE_EQ(r.seconds, 1.0);
    EXPECT_DOUBLE_EQ(r.tokens_per_s, 4);
    EXPECT_DOUBLE_EQ(r.ttft.p50, 10);
    EXPECT_DOUBLE_EQ(r.ttft.max, 30);
    EXPECT_DOUBLE_EQ(r.added.max, 22);
    EXPECT_EQ(r.gap.n, 2u);
    EXPECT_DOUBLE_EQ(r.gap.max, 25);
    EXPECT_DOUBLE_EQ(r.total.max, 40);
    EXPECT_DOUBLE_EQ(r.late.max, 1);
    EXPECT_EQ(summarise({}, 1).n_requests, 0u);
}

TEST(ServeBench, ReadsChunksOfBothKinds) {
    EXPECT_FALSE(read_chunk(R"({"choices":[{"delta":{"role":"assistant"}}]})").has_content);
    EXPECT_FALSE(read_chunk(R"({"choices":[{"delta":{"content":""}}]})").has_content);
    EXPECT_TRUE(read_chunk(R"({"choices":[{"delta":{"content":"x"}}]})").has_content);
    EXPECT_TRUE(read_chunk(R"({"choices":[{"delta":{"reasoning_content":"x"}}]})").has_content);
    EXPECT_TRUE(read_chunk(R"({"choices":[{"message":{"content":"x"}}]})").has_content);
    const ChunkContent usage =
        read_chunk(R"({"choices":[],"usage":{"completion_tokens":17,"prompt_tokens":2}})");
    EXPECT_EQ(usage.completion_tokens, 17);
    EXPECT_TRUE(usage.error.empty());
    EXPECT_TRUE(read_chunk(R"({"choices":[{"text":"x"}]})").has_content);
    EXPECT_TRUE(read_chunk(R"({"type":"response.output_text.delta","delta":"x"})").has_content);
    EXPECT_FALSE(read_chunk(R"({"type":"response.created","response":{"usage":null}})").ends);
    const ChunkContent completed = read_chunk(
        R"({"type":"response.completed","response":{"error":null,"usage":{"output_tokens":5}}})");
    EXPECT_TRUE(completed.ends);
    EXPECT_EQ(completed.completion_tokens, 5);
    EXPECT_TRUE(read_chunk(R"({"object":"response","error":null,"output":[{}]})").has_content);
    EXPECT_EQ(read_chunk(R"({"type":"error","message":"oh"})").error, "oh");
    EXPECT_TRUE(read_chunk(R"({"type":"content_block_delta","delta":{}})").has_content);
    EXPECT_EQ(
        read_chunk(R"({"type":"message_delta","usage":{"output_tokens":6}})").completion_tokens, 6);
    EXPECT_TRUE(read_chunk(R"({"type":"message_stop"})").ends);
    EXPECT_FALSE(read_chunk(R"({"type":"ping"})").has_content);
    EXPECT_EQ(read_chunk(R"({"error":{"message":"too busy"}})").error, "too busy");
    EXPECT_FALSE(read_chunk("[DONE]").error.empty());
    EXPECT_FALSE(read_chunk("").error.empty());
}

TEST(ServeBench, EveryDialectAsksInItsOwnWay) {
    ServeBenchOptions options;
    options.model = "m";
    const auto asks = [&](const char* name, const char* path, const char* with) {
        const auto dialect = load_dialect(name);
        ASSERT_TRUE(dialect.has_value()) << name;
        EXPECT_EQ(to_string(*dialect), name);
        EXPECT_EQ(path_of(*dialect), path);
        options.dialect = *dialect;
        EXPECT_NE(load_request(options, 1).find(with), std::string::npos) << name;
    };
    asks("chat", "/v1/chat/completions", R"("messages":[{"role":"user","content":")");
    asks("completions", "/v1/completions", R"("max_tokens":64,"prompt":")");
    asks("responses", "/v1/responses", R"("max_output_tokens":64,"input":[{"role":"user")");
    asks("responses", "/v1/responses", R"("store":false)");
    asks("messages", "/v1/messages", R"("max_tokens":64,"messages":[)");
    EXPECT_EQ(load_dialect("latin"), std::nullopt);
}

TEST(ServeBench, RequestsDifferAndRepeat) {
    ServeBenchOptions options;
    options.model = "m";
    options.prompt_tokens = 20;
    EXPECT_EQ(load_request(options, 3), load_request(options, 3));
    EXPECT_NE(load_request(options, 3), load_request(options, 4));
    EXPECT_NE(load_request(options, 3).find(R"("include_usage":true)"), std::string::npos);
    options.stream = false;
    EXPECT_EQ(load_request(options, 3).find("stream_options"), std::string::npos);
}

TEST(ServeBench, RefusesWhatItCannotReach) {
    ServeBenchOptions options;
    options.url = "ftp://a";
    const auto wrong = bench_serve(options);
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code(), Code::invalid_argument);
    options.url = "https://a";
    EXPECT_FALSE(bench_serve(options));
}

} // namespace
} // namespace bloom::measure
