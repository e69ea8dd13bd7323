#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/engine/engine.hpp>

#include "support/engine_fixture.hpp"
#include "support/tiny_qwen35.hpp"

/// Files that somebody has tampered with, all the way through an engine: refused, or they work.
namespace bloom::engine {
namespace {

constexpr std::size_t kBudgetBytes = std::size_t{1} << 22;

/// Loads a model and lets it answer for some steps. True when it could be loaded.
bool survives(std::vector<std::uint8_t> image, compute::Team& team) {
    auto file = ModelFile::from_memory(image, "hostile");
    if (!file) return false;
    EngineOptions options;
    options.team = &team;
    options.kv_budget_bytes = kBudgetBytes;
    auto engine = Engine::create(std::move(*file), options);
    if (!engine) {
        EXPECT_FALSE(engine.error().message().empty());
        return false;
    }
    test::Collector out;
    std::uint64_t id = 0;
    for (const float temperature : {0.0F, 1.0F}) {
        gen::Generation raw = test::letters("some text to go on with", 6, temperature);
        EXPECT_TRUE((*engine)->submit(RequestId{++id}, std::make_shared<gen::Generation>(raw),
                                      std::int64_t{1} << 30));
        gen::Generation chat = raw;
        chat.prompts.clear();
        chat.messages.push_back(
            {gen::Role::user, {{gen::Part::Kind::text, "hello"}}, {}, {}, {}, {}});
        EXPECT_TRUE((*engine)->submit(RequestId{++id}, std::make_shared<gen::Generation>(chat),
                                      std::int64_t{1} << 30));
    }
    for (int i = 0; i < 40 && (*engine)->step(out, 0); ++i) {
    }
    EXPECT_EQ((*engine)->n_requests(), 0);
    return true;
}

TEST(HostileModel, ChangedBytesAreRefusedOrServed) {
    compute::SerialTeam team;
    Rng rng(2024);
    int served = 0;
    constexpr const char* kArchs[] = {"llama", "qwen3", "qwen3moe"};
    for (int round = 0; round < 400; ++round) {
        const test::TinyModel model({.arch = kArchs[round % 3],
                                     .n_layers = 1,
                                     .d_model = 32,
                                     .n_heads = 2,
                                     .ffn_dim = 32,
                                     .q8 = round % 4 < 2,
                                     .chat_template = "{{ messages[0].content }}",
                                     .window = round % 8 < 2 ? 40 : 0,
                                     .expert_ffn = 32});
        std::vector<std::uint8_t> image = model.gguf();
        // Numbers of the configuration come first, then strings of tokens, then tensor headers.
        const std::size_t reach = round % 3 == 0 ? 1200 : image.size();
        const auto n = 1 + rng.below(4);
        for (std::uint64_t i = 0; i < n; ++i) {
            const auto at = static_cast<std::size_t>(24 + rng.below(reach - 24));
            image[at] = rng.below(2) == 0
                            ? static_cast<std::uint8_t>(rng.below(256))
                            : static_cast<std::uint8_t>(image[at] ^ (1U << rng.below(8)));
        }
        served += survives(std::move(image), team) ? 1 : 0;
    }
    EXPECT_GT(served, 40);
    EXPECT_LT(served, 400);
}

TEST(HostileModel, ChangedBytesOfHybridModelsAreRefusedOrServed) {
    compute::SerialTeam team;
    Rng rng(35);
    int served = 0;
    constexpr int kRounds = 160;
    for (int round = 0; round < kRounds; ++round) {
        const test::TinyQwen35 shape{.experts = round % 2 == 0, .draft = round % 3 == 0};
        std::vector<std::uint8_t> image = test::tiny_qwen35_gguf(shape).build();
        const std::size_t reach = round % 4 == 0 ? image.size() : 1600; // mostly the sizes
        for (std::uint64_t n = 1 + rng.below(3); n > 0; --n) {
            const auto at = static_cast<std::size_t>(24 + rng.below(reach - 24));
            image[at] = static_cast<std::uint8_t>(rng.below(256));
        }
        served += survives(std::move(image), team) ? 1 : 0;
    }
    EXPECT_GT(served, 10);
    EXPECT_LT(served, kRounds);
}

TEST(HostileModel, WeightsThatAreNoNumbersGiveTokensAllTheSame) {
    compute::SerialTeam team;
    for (const int kind : {0, 1, 2, 3}) {
        const test::TinyModel model({.arch = kind < 2 ? "llama" : "qwen3moe",
                                     .q8 = kind % 2 == 1,
                                     .chat_template = "{{ messages[0].content }}"});
        std::vector<std::uint8_t> image = model.gguf();
        std::fill(image.end() - 40'000, image.end(), std::uint8_t{0xff}); // NaN, and codes of -1
        EXPECT_TRUE(survives(std::move(image), team));
    }
}

} // namespace
} // namespace bloom::engine
