// Layers that see only a window: their memory does not grow with the sequence, and what is behind
// the window has no say.
#include <algorithm>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <bloom/compute/backend.hpp>
#include <bloom/compute/team.hpp>
#include <bloom/engine/engine.hpp>

#include "golden_case.hpp"
#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

using golden::load_case;

class Windows : public testing::TestWithParam<const char*> {};

TEST_P(Windows, PagesOfSlidingLayersStayFew) {
    constexpr int kTokens = 700;
    compute::SerialTeam team{2};
    auto file = ModelFile::open(load_case(GetParam()).path);
    ASSERT_TRUE(file) << file.error().message();
    const ModelConfig& config = file->config();
    const std::int64_t window = *std::ranges::max_element(config.layer_windows);
    ASSERT_GT(window, 0);
    ASSERT_GT(std::ranges::count(config.layer_windows, 0), 0) << "a group that does grow";
    const auto engine = Engine::create(std::move(*file), {.team = &team,
                                                          .kv_budget_bytes = std::int64_t{64} << 20,
                                                          .speculate = false,
                                                          .cache_prefixes = false});
    ASSERT_TRUE(engine) << engine.error().message();
    auto request = std::make_shared<gen::Generation>();
    request->prompts.emplace_back("one two three four five six seven eight");
    request->limits.max_tokens = kTokens;
    request->limits.ignore_eos = true;
    test::Collector out;
    ASSERT_TRUE((*engine)->submit(RequestId{1}, request, 1 << 30));
    // A page for each token that the window and one cut can still need, those begun at both ends,
    // and one for what a step adds.
    constexpr std::int64_t kCut = 64;
    const std::int64_t few = (window + kCut) / compute::kPageTokens + 3;
    std::int64_t most = 0;
    for (int n = 0; (*engine)->n_requests() > 0; ++n) {
        ASSERT_LT(n, 2 * kTokens);
        (*engine)->step(out, 0);
        most = std::max(most, (*engine)->pages_in_use());
    }
    ASSERT_EQ(out[1].failure, gen::Failure::none) << out[1].failure_text;
    const std::int64_t tokens = out[1].usage.prompt_tokens + out[1].usage.completion_tokens;
    EXPECT_EQ(out[1].usage.completion_tokens, kTokens);
    const std::int64_t full = tokens / compute::kPageTokens + 2;
    EXPECT_GE(most, tokens / compute::kPageTokens) << "of the full layers";
    EXPECT_LE(most, full + few);
    EXPECT_EQ((*engine)->pages_in_use(), 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Windows,
                         testing::Values("gemma4-gguf-q8_0", "gemma4-mlx-affine8",
                                         "afmoe-gguf-q8_0"));

} // namespace
} // namespace bloom::engine
