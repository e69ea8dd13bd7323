// Guesses, snapshots, swapping: none of them changes a token of a model with recurrent states.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/team.hpp>
#include <bloom/engine/engine.hpp>

#include "golden_case.hpp"
#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

constexpr int kPrompts = 200;

/// Prompts of one to ninety words, of which some begin alike; every fifth draws its tokens, every
/// eighth has to be an object.
gen::Generation request(int i) {
    gen::Generation g;
    std::string prompt = i % 3 == 0 ? "The same beginning of more than sixty-four tokens, which is "
                                      "computed once and then found again by all who share it; "
                                    : "";
    for (int w = 0; w <= i * 7 % 90; ++w)
        prompt += " word" + std::to_string((i * 31 + w * w) % 17);
    g.prompts.push_back(std::move(prompt));
    g.limits.max_tokens = 6 + i % 7;
    g.limits.ignore_eos = true;
    g.sampling.temperature = i % 5 == 4 ? 0.8F : 0.0F;
    g.sampling.seed = static_cast<std::uint64_t>(i);
    g.cache_scope = "tests";
    if (i % 8 == 3) g.format.kind = gen::OutputFormat::Kind::json_object;
    return g;
}

struct Way {
    EngineOptions options;
    int at_once = 1;
};

std::vector<std::string> texts(const std::string& name, const Way& way, EngineCapacity& end) {
    compute::SerialTeam team(1);
    auto file = ModelFile::open(golden::load_case(name).path);
    EXPECT_TRUE(file) << file.error().message();
    EngineOptions options = way.options;
    options.team = &team;
    const auto engine = Engine::create(std::move(*file), options);
    EXPECT_TRUE(engine) << engine.error().message();
    test::Collector out;
    std::vector<std::string> result;
    for (int i = 0; i < kPrompts; ++i) {
        EXPECT_TRUE((*engine)->submit(RequestId{static_cast<std::uint64_t>(i) + 1},
                                      std::make_shared<const gen::Generation>(request(i)),
                                      1 << 30));
        while ((*engine)->n_requests() >= way.at_once)
            (*engine)->step(out, 0);
    }
    while ((*engine)->n_requests() > 0)
        (*engine)->step(out, 0);
    for (int i = 0; i < kPrompts; ++i) {
        test::Answer& a = out[static_cast<std::uint64_t>(i) + 1];
        EXPECT_EQ(a.failure, gen::Failure::none) << a.failure_text;
        result.push_back(a.text.empty() ? std::string() : a.text.begin()->second);
    }
    end = (*engine)->capacity();
    (*engine)->drop_prefix_cache();
    EXPECT_EQ((*engine)->pages_in_use(), 0);
    EXPECT_EQ((*engine)->states_in_use(), 0);
    EXPECT_EQ((*engine)->n_snapshots(), 0);
    return result;
}

class Speculation : public testing::TestWithParam<const char*> {};

TEST_P(Speculation, ChangesNoToken) {
    constexpr std::int64_t kRoom = std::int64_t{64} << 20;
    EngineCapacity end;
    const auto plain =
        texts(GetParam(),
              {{.kv_budget_bytes = kRoom, .speculate = false, .cache_prefixes = false}, 1}, end);
    EXPECT_EQ(end.n_drafted, 0);
    EXPECT_EQ(texts(GetParam(), {{.kv_budget_bytes = kRoom}, 1}, end), plain) << "head, alone";
    EXPECT_GT(end.n_head_drafted, 0);
    EXPECT_EQ(end.n_head_drafted, end.n_drafted);
    EXPECT_EQ(texts(GetParam(), {{.kv_budget_bytes = kRoom}, 4}, end), plain) << "head, company";
    EXPECT_GT(end.n_head_drafted, 0);
    EXPECT_EQ(texts(GetParam(), {{.kv_budget_bytes = kRoom, .draft_head = false}, 4}, end), plain)
        << "lookup";
    // The other model repeats no two of its tokens, so there is nothing to look up.
    if (std::string(GetParam()) == "qwen35-gguf-q8_0") EXPECT_GT(end.n_drafted, 0);
    EXPECT_EQ(end.n_head_drafted, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Speculation,
                         testing::Values("qwen35-gguf-q8_0", "qwen35moe-hf-bf16"));

} // namespace
} // namespace bloom::engine
