#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/cli/args.hpp>

namespace bloom::cli {
namespace {

Arguments parsed(std::vector<std::string> words) {
    words.insert(words.begin(), {"darkbloom", "bench"});
    std::vector<char*> argv;
    for (std::string& w : words)
        argv.push_back(w.data());
    return parse_arguments(static_cast<int>(argv.size()), argv.data());
}

TEST(BenchArguments, Kernels) {
    const Arguments a = parsed({"kernels", "--op", "moe", "--shape", "2048,1024,128,8", "--format",
                                "affine8", "--n", "1,8", "--threads", "2", "--isa", "avx2",
                                "--repetitions", "3", "--seconds", "0.5", "--json"});
    EXPECT_EQ(a.verb, Verb::bench_kernels);
    EXPECT_EQ(a.bench.op, "moe");
    EXPECT_EQ(a.bench.shapes, std::vector<std::string>{"2048,1024,128,8"});
    EXPECT_EQ(a.bench.format, "affine8");
    EXPECT_EQ(a.bench.n, (std::vector<std::int32_t>{1, 8}));
    EXPECT_EQ(a.bench.isa, "avx2");
    EXPECT_EQ(a.bench.repetitions, 3);
    EXPECT_EQ(a.bench.seconds, 0.5);
    EXPECT_TRUE(a.json);
    EXPECT_EQ(a.flags.at("--threads"), std::vector<std::string>{"2"});
}

TEST(BenchArguments, ModelByShape) {
    const Arguments a =
        parsed({"model", "--shape", "qwen3-8b", "--layers", "4", "--format", "affine8"});
    EXPECT_EQ(a.verb, Verb::bench_model);
    EXPECT_EQ(a.bench.model_shape, "qwen3-8b");
    EXPECT_EQ(a.bench.format, "affine8");
    EXPECT_EQ(a.flags.at("--layers"), std::vector<std::string>{"4"});
    const Arguments both = parsed({"model", "--shape", "qwen3-8b", "--model", "m.gguf"});
    EXPECT_EQ(both.verb, Verb::none);
    EXPECT_EQ(both.exit_code, 2);
    EXPECT_EQ(parsed({"model", "--shape", "qwen3-8b", "--format", "q4"}).exit_code, 2);
}

TEST(BenchArguments, ModelAndRoofs) {
    const Arguments model =
        parsed({"model", "--model", "m.gguf", "--pp", "0", "--batch", "2", "--depth", "32768"});
    EXPECT_EQ(model.verb, Verb::bench_model);
    EXPECT_EQ(model.target, "m.gguf");
    EXPECT_EQ(model.bench.prefill_tokens, 0);
    EXPECT_EQ(model.bench.depth, 32768);
    EXPECT_EQ(model.bench.batches, std::vector<std::int32_t>{2});
    const Arguments roofs = parsed({"roofs", "--threads", "1,2"});
    EXPECT_EQ(roofs.verb, Verb::bench_roofs);
    EXPECT_EQ(roofs.bench.thread_counts, (std::vector<std::int32_t>{1, 2}));
}

TEST(BenchArguments, Serve) {
    const Arguments a =
        parsed({"serve", "--url", "http://127.0.0.1:1", "--rate", "2.5", "--duration", "10",
                "--no-stream", "--arrivals", "even", "--dialect", "messages"});
    EXPECT_EQ(a.verb, Verb::bench_serve);
    EXPECT_EQ(a.bench.rate, 2.5);
    EXPECT_FALSE(a.bench.stream);
    EXPECT_EQ(a.bench.arrivals, "even");
    EXPECT_EQ(a.bench.dialect, "messages");
    EXPECT_TRUE(parsed({"serve", "--url", "x", "--rate", "1", "--duration", "1"}).bench.stream);
}

TEST(BenchArguments, UsageErrorsEndWithTwo) {
    const std::vector<std::vector<std::string>> wrong{
        {},
        {"kernel"},
        {"kernels", "--op", "gemm", "--shape", "1,1"},
        {"kernels", "--n", "0"},
        {"kernels", "--format", "q4_0"},
        {"model", "--batch", "x"},
        {"model", "--repetitions", "0"},
        {"roofs", "--threads", "0"},
        {"serve"},
        {"serve", "--url", "http://a", "--rate", "0", "--duration", "1"},
        {"serve", "--url", "http://a", "--rate", "1", "--duration", "-1"},
        {"serve", "--url", "http://a", "--rate", "1", "--duration", "1", "--arrivals", "bursty"},
        {"serve", "--url", "http://a", "--rate", "1", "--duration", "1", "--dialect", "latin"},
    };
    for (const auto& words : wrong) {
        testing::internal::CaptureStderr();
        const Arguments a = parsed(words);
        EXPECT_NE(testing::internal::GetCapturedStderr(), "");
        EXPECT_EQ(a.verb, Verb::none) << testing::PrintToString(words);
        EXPECT_EQ(a.exit_code, 2) << testing::PrintToString(words);
    }
}

} // namespace
} // namespace bloom::cli
