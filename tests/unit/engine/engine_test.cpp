#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>
#include <bloom/engine/state.hpp>
#include <bloom/text/tokenizer.hpp>

#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

using test::Answer;
using test::Collector;
using test::letters;
using test::prompt_of;
using test::TinyEngine;
using test::TinyShape;

std::shared_ptr<const gen::Generation> share(gen::Generation g) {
    return std::make_shared<const gen::Generation>(std::move(g));
}

constexpr std::int64_t kPlenty = std::int64_t{1} << 40;

const char* const kChatMl =
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

gen::Generation chat(std::string text) {
    gen::Generation g = letters("", 8);
    g.prompts.clear();
    g.messages.push_back(
        {gen::Role::user, {{gen::Part::Kind::text, std::move(text)}}, {}, {}, {}, {}});
    return g;
}

TEST(Engine, GreedyFollowsTheReference) {
    for (const char* arch : {"llama", "qwen2", "qwen3"}) {
        TinyEngine engine({.arch = arch, .q8 = true, .output_scale = 4}, {.precise = true});
        gen::Generation g = letters("Hello, tiny model", 16);
        const Answer a = engine.ask(g);
        auto ids = *engine->tokenize("Hello, tiny model");
        const auto n_prompt = static_cast<std::int64_t>(ids.size());
        std::string want;
        for (int i = 0; i < 16; ++i) {
            const auto logits = engine.model.forward(ids).back();
            std::size_t best = 'a';
            for (std::size_t c = 'b'; c <= 'z'; ++c)
                best = logits[c] > logits[best] ? c : best;
            ids.push_back(static_cast<std::int32_t>(best));
            want += static_cast<char>(best);
        }
        EXPECT_EQ(a.text.at(0), want) << arch;
        EXPECT_EQ(a.finish.at(0), gen::Finish::length);
        EXPECT_EQ(a.usage.prompt_tokens, n_prompt);
        EXPECT_EQ(a.usage.completion_tokens, 16);
        EXPECT_EQ(a.n_tokens, 16);
        EXPECT_EQ(a.started.prompt_tokens, n_prompt);
    }
}

TEST(Engine, LogitsOfAllPositionsMatchTheReference) {
    TinyEngine engine({.arch = "qwen3"}, {.precise = true});
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 150; ++i)
        ids.push_back((i * 37) % test::kTinyTokens);
    const auto want = engine.model.forward(ids);
    std::int64_t next = 0;
    double diff = 0, norm = 0;
    ASSERT_TRUE(engine->logits(ids, [&](std::int64_t p, std::span<const float> got) {
        EXPECT_EQ(p, next++);
        for (std::size_t i = 0; i < got.size(); ++i) {
            const double w = want[static_cast<std::size_t>(p)][i];
            diff += std::pow(static_cast<double>(got[i]) - w, 2);
            norm += std::pow(w, 2);
        }
    }));
    EXPECT_EQ(next, 150);
    EXPECT_LT(std::sqrt(diff / norm), 1e-5);
    const std::vector<std::int32_t> bad{1, 320};
    EXPECT_EQ(engine->logits(bad, [](std::int64_t, std::span<const float>) {}).error().code(),
              Code::invalid_argument);
    EXPECT_EQ(engine->pages_in_use(), 0);
}

/// 24 requests of mixed lengths and samplings.
std::vector<gen::Generation> mixed_requests() {
    std::vector<gen::Generation> out;
    Rng rng(11);
    for (std::uint64_t i = 0; i < 24; ++i) {
        const int n = 1 + static_cast<int>(rng.below(i % 4 == 0 ? 200 : 40));
        gen::Generation g = letters(prompt_of(n, rng.next()), 4 + static_cast<int>(rng.below(20)),
                                    i % 2 == 0 ? 0.0F : 1.0F, 100 + i);
        if (i % 3 == 0) g.sampling.top_p = 0.9F;
        if (i % 5 == 0) g.sampling.frequency_penalty = 0.5F;
        g.fair_key = std::to_string(i % 3);
        out.push_back(std::move(g));
    }
    return out;
}

TEST(Engine, ABatchGivesEveryoneWhatTheyGetAlone) {
    const TinyShape shape{.arch = "qwen3", .q8 = true, .output_scale = 4};
    const auto requests = mixed_requests();
    std::vector<Answer> alone;
    TinyEngine single(shape, {.cache_prefixes = false});
    for (const gen::Generation& g : requests)
        alone.push_back(single.ask(g));
    for (const int workers : {1, 3}) {
        TinyEngine engine(shape, {.max_seqs = 24}, workers);
        Collector out;
        for (std::size_t i = 0; i < requests.size(); ++i) {
            ASSERT_TRUE(engine->submit(RequestId{i}, share(requests[i]), kPlenty));
            if (i % 5 == 4) engine->step(out, 0); // some arrive while others run
        }
        engine.run(out);
        for (std::size_t i = 0; i < requests.size(); ++i) {
            EXPECT_EQ(out[i].text, alone[i].text) << i;
            EXPECT_EQ(out[i].usage.completion_tokens, alone[i].usage.completion_tokens);
        }
        engine->drop_prefix_cache();
        EXPECT_EQ(engine->pages_in_use(), 0);
        EXPECT_EQ(engine->n_requests(), 0);
    }
}

TEST(Engine, PreemptionChangesNothingButTime) {
    const TinyShape shape{.arch = "llama", .q8 = true, .output_scale = 4};
    const auto requests = mixed_requests();
    TinyEngine roomy(shape);
    // 18 pages of 2 layers x 2 heads x 32 values x 16 tokens x 2 bytes.
    TinyEngine tight(shape, {.max_seqs = 24, .kv_budget_bytes = 18 * 4096});
    Collector out;
    for (std::size_t i = 0; i < requests.size(); ++i)
        ASSERT_TRUE(tight->submit(RequestId{i}, share(requests[i]), kPlenty));
    tight.run(out);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(out[i].failure, gen::Failure::none) << out[i].failure_text;
        EXPECT_EQ(out[i].text, roomy.ask(requests[i]).text) << i;
    }
    tight->drop_prefix_cache();
    EXPECT_EQ(tight->pages_in_use(), 0);
}

TEST(Engine, WindowedLayersSeeTheirWindowOnly) {
    const TinyShape shape{.q8 = true, .output_scale = 4, .window = 40};
    TinyEngine precise(shape, {.precise = true});
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 150; ++i)
        ids.push_back((i * 37) % test::kTinyTokens);
    const auto want = precise.model.forward(ids);
    double diff = 0, norm = 0;
    ASSERT_TRUE(precise->logits(ids, [&](std::int64_t p, std::span<const float> got) {
        for (std::size_t i = 0; i < got.size(); ++i) {
            const double w = want[static_cast<std::size_t>(p)][i];
            diff += std::pow(static_cast<double>(got[i]) - w, 2);
            norm += std::pow(w, 2);
        }
    }));
    EXPECT_LT(std::sqrt(diff / norm), 1e-5);
}

TEST(Engine, WindowedSequencesShareAndPreemptLikeOthers) {
    const TinyShape shape{.arch = "qwen3", .q8 = true, .output_scale = 4, .window = 40};
    const auto requests = mixed_requests();
    TinyEngine single(shape, {.cache_prefixes = false});
    // A window, a chunk and the pages around them for about three sequences.
    TinyEngine tight(shape, {.max_seqs = 24, .kv_budget_bytes = 40 * 4096, .prefill_tokens = 64});
    Collector out;
    for (int round = 0; round < 2; ++round) { // the second one meets the cache of the first
        for (std::uint64_t i = 0; i < requests.size(); ++i)
            ASSERT_TRUE(tight->submit(RequestId{100 * static_cast<std::uint64_t>(round) + i},
                                      share(requests[i]), kPlenty));
        tight.run(out);
        for (std::uint64_t i = 0; i < requests.size(); ++i) {
            const Answer& a = out[100 * static_cast<std::uint64_t>(round) + i];
            EXPECT_EQ(a.failure, gen::Failure::none) << a.failure_text;
            EXPECT_EQ(a.text, single.ask(requests[i]).text) << i;
        }
    }
    tight->drop_prefix_cache();
    EXPECT_EQ(tight->pages_in_use(), 0);
}

TEST(Engine, ACacheOfOneWindowIsEnoughForAWindowedModel) {
    // (40 + 64 + 2 * 64) / 16 + 2 pages.
    const TinyShape shape{.window = 40};
    TinyEngine engine(shape, {.kv_budget_bytes = 16 * 4096, .prefill_tokens = 64});
    EXPECT_EQ(engine.ask(letters(prompt_of(300, 1), 5)).usage.completion_tokens, 5);
}

TEST(Engine, CancelFreesEverythingWithinOneStep) {
    TinyEngine engine({});
    Collector out;
    gen::Generation g = letters(prompt_of(40, 3), 100);
    g.cache_scope.clear();
    ASSERT_TRUE(engine->submit(RequestId{1}, share(g), kPlenty));
    for (int i = 0; i < 5; ++i)
        EXPECT_TRUE(engine->step(out, 0));
    EXPECT_GT(engine->pages_in_use(), 0);
    engine->cancel(RequestId{1}, CancelReason::client_gone);
    EXPECT_EQ(engine->pages_in_use(), 0);
    EXPECT_FALSE(engine->step(out, 0));
    EXPECT_EQ(out[1].failure, gen::Failure::cancelled);
    EXPECT_EQ(out[1].usage.prompt_tokens, 40);
    EXPECT_EQ(out[1].usage.completion_tokens, 5);
    EXPECT_EQ(engine->n_requests(), 0);
    engine->cancel(RequestId{1}, CancelReason::client_gone); // late: nothing
    EXPECT_FALSE(engine->step(out, 0));
}

TEST(Engine, CancelBeforeTheFirstStep) {
    TinyEngine engine({});
    Collector out;
    ASSERT_TRUE(engine->submit(RequestId{1}, share(letters("x", 4)), kPlenty));
    engine->cancel(RequestId{1}, CancelReason::overload);
    engine.run(out);
    EXPECT_EQ(out[1].failure, gen::Failure::overloaded);
    EXPECT_EQ(out[1].usage, gen::Usage{});
}

TEST(Engine, CreditPausesAndResumes) {
    TinyEngine engine({.output_scale = 4});
    const gen::Generation g = letters("credit", 30);
    const Answer whole = engine.ask(g);
    Collector out;
    ASSERT_TRUE(engine->submit(RequestId{1}, share(g), 5));
    engine.run(out);
    EXPECT_EQ(out[1].text.at(0), whole.text.at(0).substr(0, 6)) << "one event may pass the credit";
    EXPECT_FALSE(out[1].over);
    EXPECT_FALSE(engine->step(out, 0)) << "a paused request costs nothing";
    engine->add_credit(RequestId{1}, 10);
    engine.run(out);
    EXPECT_EQ(out[1].text.at(0).size(), 16u);
    engine->add_credit(RequestId{1}, kPlenty);
    engine.run(out);
    EXPECT_TRUE(out[1].over);
    EXPECT_EQ(out[1].text, whole.text);
}

TEST(Engine, AStoppedReaderHoldsNoSlotThatOthersWant) {
    TinyEngine engine({.output_scale = 4}, {.max_seqs = 8});
    Collector out;
    for (std::uint64_t i = 0; i < 8; ++i)
        ASSERT_TRUE(engine->submit(RequestId{i}, share(letters("paused", 20)), 0));
    engine.run(out);
    ASSERT_TRUE(engine->submit(RequestId{99}, share(letters("other", 20)), kPlenty));
    engine.run(out);
    EXPECT_TRUE(out[99].over);
    for (std::uint64_t i = 0; i < 8; ++i)
        engine->add_credit(RequestId{i}, kPlenty);
    engine.run(out);
    for (std::uint64_t i = 0; i < 8; ++i)
        EXPECT_EQ(out[i].text.at(0), engine.ask(letters("paused", 20)).text.at(0)) << i;
}

TEST(Engine, DeadlinesEndWaitingAndRunningRequests) {
    TinyEngine engine({});
    Collector out;
    gen::Generation g = letters("deadline", 1000);
    g.deadline_ms = 500;
    ASSERT_TRUE(engine->submit(RequestId{1}, share(g), kPlenty));
    engine->step(out, 400);
    EXPECT_FALSE(out[1].over);
    engine->step(out, 500);
    EXPECT_EQ(out[1].failure, gen::Failure::timeout);
    EXPECT_GT(out[1].usage.completion_tokens, 0);
}

TEST(Engine, PrefixCacheHitsChangeOnlyTheCount) {
    TinyEngine engine({.arch = "qwen3", .q8 = true, .output_scale = 4});
    const std::string prefix = prompt_of(140, 5);
    const gen::Generation g = letters(prefix + "end", 10, 1.0F);
    const Answer first = engine.ask(g);
    EXPECT_EQ(first.usage.cached_tokens, 0);
    const Answer again = engine.ask(g);
    EXPECT_EQ(again.usage.cached_tokens, 128);
    EXPECT_EQ(again.started.cached_tokens, 128);
    EXPECT_EQ(again.text, first.text);
    gen::Generation other = g;
    other.cache_scope = "another account";
    EXPECT_EQ(engine.ask(other).usage.cached_tokens, 0);
    other.cache_scope = "";
    EXPECT_EQ(engine.ask(other).usage.cached_tokens, 0);
    EXPECT_EQ(engine.ask(other).usage.cached_tokens, 0) << "no scope, no sharing";
}

TEST(Engine, ChoicesShareThePromptAndAreIndependent) {
    TinyEngine engine({.output_scale = 2});
    gen::Generation g = letters(prompt_of(53, 8), 12, 1.0F, 42);
    g.n_choices = 4;
    g.sampling.presence_penalty = 0.2F;
    const Answer a = engine.ask(g);
    ASSERT_EQ(a.finish.size(), 4u);
    EXPECT_EQ(a.usage.prompt_tokens, 53);
    EXPECT_EQ(a.usage.completion_tokens, 48);
    EXPECT_NE(a.text.at(0), a.text.at(1));
    g.n_choices = 1;
    EXPECT_EQ(engine.ask(g).text.at(0), a.text.at(0)) << "other choices change nothing";
    engine->drop_prefix_cache();
    EXPECT_EQ(engine->pages_in_use(), 0);
}

TEST(Engine, SeveralPromptsTimesChoices) {
    TinyEngine engine({.output_scale = 4});
    gen::Generation g = letters("one", 5);
    g.prompts.push_back("another");
    g.n_choices = 2;
    const Answer a = engine.ask(g);
    ASSERT_EQ(a.finish.size(), 4u);
    EXPECT_EQ(a.usage.prompt_tokens, 10);
    EXPECT_EQ(a.text.at(0), engine.ask(letters("one", 5)).text.at(0));
    EXPECT_EQ(a.text.at(0), a.text.at(1)); // greedy
    EXPECT_EQ(a.text.at(2), engine.ask(letters("another", 5)).text.at(0));
}

TEST(Engine, StopStringsAreNeverShown) {
    TinyEngine engine({.output_scale = 1});
    gen::Generation g = letters("stop here", 40, 1.0F, 5);
    const std::string whole = engine.ask(g).text.at(0);
    ASSERT_EQ(whole.size(), 40u);
    const std::string stop = whole.substr(20, 3);
    const std::size_t at = whole.find(stop);
    g.limits.stop = {"0never", stop};
    const Answer a = engine.ask(g);
    EXPECT_EQ(a.text.at(0), whole.substr(0, at));
    EXPECT_EQ(a.finish.at(0), gen::Finish::stop);
    EXPECT_EQ(a.stop.at(0), stop);
    EXPECT_EQ(a.usage.completion_tokens, static_cast<std::int64_t>(at + 3));
}

TEST(Engine, AStopStringThatTheParserHeldUntilTheEndIsAStop) {
    TinyEngine engine({.chat_template = kChatMl});
    gen::Generation g = chat("hi");
    g.sampling.logit_bias = {{'<', 200}}; // may begin a tag, so the parser waits
    g.limits.max_tokens = 1;
    g.limits.stop = {"<"};
    const Answer a = engine.ask(g);
    EXPECT_TRUE(a.text.empty());
    EXPECT_EQ(a.finish.at(0), gen::Finish::stop);
    EXPECT_EQ(a.stop.at(0), "<");
}

TEST(Engine, TheEndOfTurnTokenIsNeitherShownNorCounted) {
    TinyEngine engine({});
    gen::Generation g = letters("x", 10);
    g.sampling.logit_bias = {{test::kTinyEos, 100}};
    const Answer a = engine.ask(g);
    EXPECT_EQ(a.finish.at(0), gen::Finish::stop);
    EXPECT_EQ(a.usage.completion_tokens, 0);
    EXPECT_TRUE(a.text.empty());
    g.limits.ignore_eos = true;
    EXPECT_EQ(engine.ask(g).usage.completion_tokens, 10);
}

TEST(Engine, ContextLengthBoundsPromptAndAnswer) {
    TinyEngine engine({}, {.ctx_len = 64});
    EXPECT_EQ(engine->info().ctx_len, 64);
    const Answer too_long = engine.ask(letters(prompt_of(64, 1), 5));
    EXPECT_EQ(too_long.failure, gen::Failure::context_length);
    EXPECT_NE(too_long.failure_text.find("64"), std::string::npos);
    const Answer cut = engine.ask(letters(prompt_of(60, 1), 50));
    EXPECT_EQ(cut.finish.at(0), gen::Finish::length);
    EXPECT_EQ(cut.usage.completion_tokens, 4);
}

TEST(Engine, ChatGoesThroughTheTemplate) {
    TinyEngine engine({.output_scale = 4, .chat_template = kChatMl});
    EXPECT_TRUE(engine->info().has_chat_template);
    const auto ids = *engine->render(chat("hi <|im_end|>"));
    ASSERT_EQ(ids.size(), 1u);
    EXPECT_EQ(ids[0].front(), test::kTinyStart);
    // What the user wrote stays text: two turns, one of them open, and no third end.
    EXPECT_EQ(std::ranges::count(ids[0], test::kTinyStart), 2);
    EXPECT_EQ(std::ranges::count(ids[0], test::kTinyEnd), 1);
    const Answer a = engine.ask(chat("hi"));
    EXPECT_EQ(a.text.at(0).size(), 8u);
    EXPECT_EQ(a.finish.at(0), gen::Finish::length);
}

TEST(Engine, ThinkingIsKeptApart) {
    const std::string open = std::string(kChatMl) + "{{ '<think>\\n' }}";
    TinyEngine engine({.output_scale = 4, .chat_template = open});
    const Answer a = engine.ask(chat("hi"));
    EXPECT_EQ(a.reasoning.at(0).size(), 8u);
    EXPECT_TRUE(a.text.empty());
    EXPECT_EQ(a.usage.reasoning_tokens, 8);
    gen::Generation hidden = chat("hi");
    hidden.render.reasoning = gen::ReasoningMode::hidden;
    const Answer b = engine.ask(hidden);
    EXPECT_TRUE(b.reasoning.empty());
    EXPECT_EQ(b.usage.reasoning_tokens, 8);
}

TEST(Engine, ATemplateThatRefusesFailsTheRequest) {
    TinyEngine engine({.chat_template = "{{ raise_exception('no such role here') }}"});
    const Answer a = engine.ask(chat("hi"));
    EXPECT_EQ(a.failure, gen::Failure::invalid_request);
    EXPECT_EQ(a.failure_text, "no such role here");
}

TEST(Engine, ATemplateHasOnlySoMuchTime) {
    TinyEngine engine({.chat_template = "{% for i in range(50000) %}{{ i }}{% endfor %}"},
                      {.render_ms_max = 0});
    const Answer a = engine.ask(chat("hi"));
    EXPECT_EQ(a.failure, gen::Failure::invalid_request);
    EXPECT_NE(a.failure_text.find("too long"), std::string::npos) << a.failure_text;
}

TEST(Engine, LargeToolsOfManyRequestsAreNotPreparedInOneStep) {
    TinyEngine engine({.chat_template = kChatMl});
    Collector out;
    gen::Generation g = chat("hi");
    g.tmpl.tools.push_back({"f", std::string(kPrepareBytesPerStep, 'x'), {}, false});
    for (std::uint64_t i = 0; i < 4; ++i)
        ASSERT_TRUE(engine->submit(RequestId{i}, share(g), kPlenty));
    engine->step(out, 0);
    EXPECT_EQ(engine->capacity().running, 1);
    EXPECT_EQ(engine->capacity().queued, 3);
    engine.run(out);
    for (std::uint64_t i = 0; i < 4; ++i)
        EXPECT_TRUE(out[i].over);
}

TEST(Engine, RefusesWhatPassesABound) {
    TinyEngine engine({}, {.max_waiting = 2});
    ASSERT_TRUE(engine->submit(RequestId{1}, share(letters("a", 3)), kPlenty));
    EXPECT_EQ(engine->submit(RequestId{1}, share(letters("a", 3)), kPlenty).error().code(),
              Code::id_reused);
    ASSERT_TRUE(engine->submit(RequestId{2}, share(letters("a", 3)), kPlenty));
    EXPECT_EQ(engine->submit(RequestId{3}, share(letters("a", 3)), kPlenty).error().code(),
              Code::limit_reached);
    Collector out;
    engine.run(out);
    gen::Generation g = letters("a", 3);
    g.n_choices = kMaxChoices + 1;
    EXPECT_EQ(engine->submit(RequestId{4}, share(g), kPlenty).error().code(),
              Code::invalid_argument);
    g.n_choices = 1;
    g.limits.stop.assign(17, "stop");
    EXPECT_EQ(engine->submit(RequestId{6}, share(g), kPlenty).error().code(),
              Code::invalid_argument)
        << "not busy: nobody should try again";
    g.limits.stop.assign(1, std::string(513, 's'));
    EXPECT_EQ(engine->submit(RequestId{7}, share(g), kPlenty).error().code(),
              Code::invalid_argument);
    g.limits.stop.clear();
    g.prompts.clear();
    EXPECT_EQ(engine->submit(RequestId{5}, share(g), kPlenty).error().code(),
              Code::invalid_argument);
}

TEST(Engine, ACacheThatHoldsNothingIsRefused) {
    const test::TinyModel model({});
    const auto image = model.gguf();
    compute::SerialTeam team;
    auto file = ModelFile::from_memory(image, "tiny");
    ASSERT_TRUE(file);
    const auto made = Engine::create(std::move(*file), {.team = &team, .kv_budget_bytes = 5000});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code(), Code::invalid_argument);
}

TEST(Engine, CapacityCountsSlotsAndSpeed) {
    TinyEngine engine({});
    const EngineCapacity idle = engine->capacity();
    EXPECT_EQ(idle.free_slots, 16);
    EXPECT_EQ(idle.pages_available, idle.pages_total);
    Collector out;
    ASSERT_TRUE(engine->submit(RequestId{1}, share(letters("speed", 400)), kPlenty));
    for (int i = 0; i < 300; ++i)
        engine->step(out, i * 10);
    const EngineCapacity busy = engine->capacity();
    EXPECT_GT(busy.sequence, idle.sequence);
    EXPECT_EQ(busy.free_slots, 15);
    EXPECT_LT(busy.pages_available, busy.pages_total);
    EXPECT_NEAR(busy.tokens_per_s, 100, 2);
}

} // namespace
} // namespace bloom::engine
