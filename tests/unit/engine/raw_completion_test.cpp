#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>

#include "support/engine_fixture.hpp"

/// Raw completions: prompts of ids, echo, prompts times choices, thinking at the start.
namespace bloom::engine {
namespace {

using test::Answer;
using test::Collector;
using test::letters;
using test::TinyEngine;

TEST(RawCompletion, IdsAreAPromptLikeItsText) {
    TinyEngine engine({.output_scale = 4});
    const Answer want = engine.ask(letters("as ids", 8));
    gen::Generation g = letters("", 8);
    g.prompts.clear();
    g.token_prompts = {*engine->tokenize("as ids")};
    const Answer got = engine.ask(g);
    EXPECT_EQ(got.text, want.text);
    EXPECT_EQ(got.usage.prompt_tokens, want.usage.prompt_tokens);
    EXPECT_EQ(*engine->render(g), g.token_prompts);
}

TEST(RawCompletion, IdsOutsideOfTheVocabularyAreRefused) {
    TinyEngine engine({});
    for (const std::int32_t id : {-1, static_cast<std::int32_t>(test::kTinyTokens), 1 << 30}) {
        gen::Generation g = letters("", 4);
        g.prompts.clear();
        g.token_prompts = {{1, 2}, {3, id}};
        const Answer a = engine.ask(g);
        EXPECT_EQ(a.failure, gen::Failure::invalid_request);
        EXPECT_NE(a.failure_text.find(std::to_string(id)), std::string::npos) << a.failure_text;
    }
}

TEST(RawCompletion, SeveralPromptsOfIdsTimesChoices) {
    TinyEngine engine({.output_scale = 4}, {.max_seqs = 8});
    gen::Generation g = letters("", 3, 1.0F, 5);
    g.prompts.clear();
    for (std::size_t i = 0; i < kMaxPrompts; ++i)
        g.token_prompts.push_back(
            std::vector<std::int32_t>(3 + i, static_cast<std::int32_t>('A' + i)));
    g.n_choices = 2;
    g.echo = true;
    const Answer a = engine.ask(g);
    ASSERT_EQ(a.finish.size(), 2 * kMaxPrompts);
    for (std::size_t i = 0; i < 2 * kMaxPrompts; ++i) {
        const std::string& text = a.text.at(static_cast<int>(i));
        const std::string prompt(3 + i / 2, static_cast<char>('A' + i / 2));
        EXPECT_TRUE(text.starts_with(prompt)) << "choice " << i << ": " << text;
        EXPECT_EQ(text.size(), prompt.size() + 3);
    }
    g.token_prompts.push_back({1});
    EXPECT_EQ(engine->submit(RequestId{5}, std::make_shared<const gen::Generation>(g), 1 << 20)
                  .error()
                  .code(),
              Code::invalid_argument);
}

TEST(RawCompletion, EchoComesFirstAndCountsNoTokens) {
    TinyEngine engine({.output_scale = 4});
    const std::string prompt = "an \u00e9cho ";
    const Answer plain = engine.ask(letters(prompt, 6));
    gen::Generation g = letters(prompt, 6);
    g.echo = true;
    g.limits.stop = {"cho"}; // of the answer only
    const Answer a = engine.ask(g);
    EXPECT_EQ(a.text.at(0), prompt + plain.text.at(0));
    EXPECT_EQ(a.usage, plain.usage);
    EXPECT_EQ(a.n_tokens, plain.n_tokens);
    g.prompts.clear();
    g.token_prompts = {{'o', 'k', 0xc3, 0x28}}; // no whole characters
    EXPECT_TRUE(engine.ask(g).text.at(0).starts_with("ok\ufffd("));
}

/// An engine cannot be made to say a certain text, so the prompt has begun what matters.
TEST(RawCompletion, ThinkingThatThePromptHasBegunIsNoAnswer) {
    TinyEngine engine({.output_scale = 4});
    const Answer a = engine.ask(letters("why? <think>\n", 6));
    EXPECT_TRUE(a.text.empty());
    EXPECT_EQ(a.reasoning.at(0).size(), 6u);
    EXPECT_EQ(a.usage.reasoning_tokens, 6);
    gen::Generation raw = letters("why? <think>\n", 6);
    raw.render.reasoning = gen::ReasoningMode::raw;
    EXPECT_EQ(engine.ask(raw).text.at(0), "<think>\n" + a.reasoning.at(0));
    EXPECT_EQ(engine.ask(letters("a <think> that goes on", 6)).text.at(0).size(), 6u);
}

} // namespace
} // namespace bloom::engine
