#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>

#include "support/engine_fixture.hpp"
#include "support/schema_validator.hpp"

/// Answers that have to follow a grammar, from models that know nothing of it.
namespace bloom::engine {
namespace {

using gen::ToolChoice;
using test::Answer;
using test::Collector;
using test::TinyEngine;
using test::TinyShape;

const std::string kTurns =
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

/// The same, from a model that writes its calls in some way.
std::string turns_with(const std::string& marks) {
    return kTurns + "{# " + marks + " #}";
}

const std::string kHermes = turns_with("<tool_call> tool_call.name");
const std::string kQwen = turns_with("<tool_call> <function=");
const std::string kMiniMax = turns_with("<minimax:tool_call>");
const std::string kGemma = turns_with("<|tool_call> <tool_call|>");
const std::string kLlama = turns_with("<|python_tag|>");

constexpr const char* kSchemas[] = {
    R"({"type":"object","properties":{"a":{"type":"string","maxLength":8},"b":{"type":"integer"}},
        "required":["a","b"],"additionalProperties":false})",
    R"({"type":"object","properties":{"list":{"type":"array","items":{"enum":["x","y",null]},
        "minItems":1,"maxItems":4},"deep":{"type":"object","properties":{"on":{"type":"boolean"}},
        "required":["on"],"additionalProperties":false}},"required":["list"],
        "additionalProperties":false})",
    R"({"anyOf":[{"type":"object","properties":{"kind":{"const":"n"},"n":{"type":"number"}},
        "required":["kind","n"],"additionalProperties":false},{"type":"object","properties":
        {"kind":{"const":"s"},"s":{"type":"string","pattern":"^[a-c]{1,3}$"}},
        "required":["kind","s"],"additionalProperties":false}]})"};

/// Long enough that sequences get into each other's way.
constexpr const char* kLong = R"({"type":"string","minLength":70,"maxLength":90})";

gen::Generation chat(std::string text, std::uint64_t seed) {
    gen::Generation g;
    g.messages.push_back(
        {gen::Role::user, {{gen::Part::Kind::text, std::move(text)}}, {}, {}, {}, {}});
    g.limits.max_tokens = 160;
    g.sampling.temperature = 1;
    g.sampling.seed = seed;
    // Random weights seldom close a string.
    for (const char c : {'"', '}', ']', '<', '|'})
        g.sampling.logit_bias.push_back({c, 4});
    g.cache_scope = "tests";
    return g;
}

gen::Generation formatted(const char* schema, std::uint64_t seed) {
    gen::Generation g = chat("an object, please", seed);
    g.format.kind = gen::OutputFormat::Kind::json_schema;
    g.format.schema = schema;
    return g;
}

gen::Generation calling(ToolChoice choice, std::uint64_t seed) {
    gen::Generation g = chat("call something", seed);
    g.tmpl.tools = {{"first", "", kSchemas[0], true}, {"second", "", kSchemas[1], true}};
    g.tmpl.tool_choice = choice;
    g.tmpl.tool_name = "second";
    g.tmpl.parallel_tool_calls = seed % 2 == 0;
    return g;
}

bool validates(std::string_view schema, std::string_view value) {
    const auto rules = test::JsonTreeReader::read(schema);
    const auto tree = test::JsonTreeReader::read(value);
    if (!rules || !tree) return false;
    return test::SchemaValidator(*rules).validate(*tree).value_or(false);
}

/// What an answer that came to its end has to be.
void expect_fits(const gen::Generation& g, const Answer& a, int choice) {
    const auto text = a.text.find(choice);
    const std::string content = text == a.text.end() ? "" : text->second;
    const auto calls = a.calls.find(choice);
    if (g.format.kind == gen::OutputFormat::Kind::json_schema) {
        EXPECT_TRUE(validates(g.format.schema, content)) << content;
        EXPECT_EQ(a.finish.at(choice), gen::Finish::stop);
        return;
    }
    EXPECT_EQ(a.finish.at(choice), gen::Finish::tool_calls);
    EXPECT_EQ(content, "");
    ASSERT_NE(calls, a.calls.end());
    if (!g.tmpl.parallel_tool_calls) EXPECT_EQ(calls->second.size(), 1U);
    for (const std::string& call : calls->second) {
        const std::size_t brace = call.find('{');
        const std::string name = call.substr(0, brace);
        if (g.tmpl.tool_choice == ToolChoice::named) EXPECT_EQ(name, g.tmpl.tool_name);
        const char* const schema = kSchemas[name == "first" ? 0 : 1];
        EXPECT_TRUE(validates(schema, call.substr(brace))) << call;
    }
}

constexpr int kGenerations = 1000; ///< of all kinds of models together

TEST(Constrained, AnswersFitOrAreCutByTheLimit) {
    const int n = kGenerations / 5;
    std::uint64_t seed = 1;
    for (const std::string* source : {&kHermes, &kQwen, &kMiniMax, &kGemma, &kLlama}) {
        SCOPED_TRACE(*source);
        TinyEngine engine({.arch = "qwen3", .chat_template = *source});
        Collector out;
        std::vector<gen::Generation> asked;
        for (int i = 0; i < n; ++i, ++seed) {
            asked.push_back(
                i % 2 == 0 ? formatted(kSchemas[i / 2 % 3], seed)
                           : calling(i % 4 == 1 ? ToolChoice::required : ToolChoice::named, seed));
            asked.back().n_choices = i % 7 == 0 ? 3 : 1;
            if (i % 5 == 0) asked.back().sampling.temperature = 0;
            ASSERT_TRUE(engine->submit(RequestId{static_cast<std::uint64_t>(i)},
                                       std::make_shared<const gen::Generation>(asked.back()),
                                       1 << 30));
        }
        engine.run(out);
        int n_ended = 0;
        for (int i = 0; i < n; ++i) {
            const Answer& a = out[static_cast<std::uint64_t>(i)];
            ASSERT_EQ(a.failure, gen::Failure::none) << a.failure_text;
            for (const auto& [choice, finish] : a.finish) {
                if (finish == gen::Finish::length) continue;
                ++n_ended;
                expect_fits(asked[static_cast<std::size_t>(i)], a, choice);
            }
        }
        EXPECT_GT(n_ended, n / 3);
    }
}

TEST(Constrained, GuessesAndPreemptionChangeNothing) {
    const TinyShape shape{.arch = "llama", .output_scale = 2, .chat_template = kHermes};
    std::vector<gen::Generation> asked;
    for (std::uint64_t i = 0; i < 12; ++i) {
        asked.push_back(i % 2 == 0 ? formatted(kSchemas[i / 2 % 3], i)
                                   : calling(ToolChoice::required, i));
        if (i % 4 == 0) asked.back() = formatted(kLong, i);
        if (i % 3 != 0) asked.back().sampling.temperature = 0;
        asked.back().limits.max_tokens = 100;
    }
    TinyEngine plain(shape, {.precise = true, .speculate = false, .cache_prefixes = false});
    TinyEngine guessing(shape, {.precise = true});
    TinyEngine tight(shape, {.precise = true, .max_seqs = 12, .kv_budget_bytes = 12 * 8192});
    Collector out;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        ASSERT_TRUE(tight->submit(RequestId{i}, std::make_shared<const gen::Generation>(asked[i]),
                                  1 << 30));
    }
    tight.run(out);
    EXPECT_GT(tight->capacity().n_preempted, 0) << "it was roomy";
    for (std::size_t i = 0; i < asked.size(); ++i) {
        const Answer want = plain.ask(asked[i]);
        for (const Answer& got : {guessing.ask(asked[i]), out[i]}) {
            EXPECT_EQ(got.text, want.text) << i;
            EXPECT_EQ(got.calls, want.calls) << i;
            EXPECT_EQ(got.finish, want.finish) << i;
            EXPECT_EQ(got.usage.completion_tokens, want.usage.completion_tokens) << i;
        }
    }
    EXPECT_GT(guessing->capacity().n_accepted, 0) << "nothing was guessed";
}

TEST(Constrained, WhatIsCertainIsCertain) {
    TinyEngine engine({.chat_template = kHermes});
    gen::Generation g = formatted(R"({"const":"only this"})", 1);
    g.sampling.logprobs = true;
    g.sampling.top_logprobs = 2;
    const Answer a = engine.ask(g);
    EXPECT_EQ(a.text.at(0), "\"only this\"");
    EXPECT_EQ(a.finish.at(0), gen::Finish::stop);
    EXPECT_EQ(a.usage.completion_tokens, 11) << "one byte each, and nothing behind";
    ASSERT_EQ(a.logprobs.at(0).size(), 11U);
    for (const gen::TokenLogprob& l : a.logprobs.at(0)) {
        EXPECT_EQ(l.logprob, 0.0F);
        EXPECT_EQ(l.top.size(), 1U);
    }
}

TEST(Constrained, AnAnswerThatTheClientBeganGoesOn) {
    TinyEngine engine({.chat_template = kHermes});
    gen::Generation g = formatted(R"({"type":"object","properties":{"a":{"const":"b"}},
        "required":["a"],"additionalProperties":false})",
                                  1);
    g.messages.push_back(
        {gen::Role::assistant, {{gen::Part::Kind::text, "{\"a\":"}}, {}, {}, {}, {}});
    const std::string rest = engine.ask(g).text.at(0);
    EXPECT_TRUE(rest == "\"b\"}" || rest == " \"b\"}") << rest;
}

TEST(Constrained, WhatCannotBeEnforcedIsTheRequestsFault) {
    TinyEngine hermes({.chat_template = kHermes});
    const Answer a = hermes.ask(formatted(R"({"type":"object","not":{}})", 1));
    EXPECT_EQ(a.failure, gen::Failure::invalid_request);
    EXPECT_NE(a.failure_text.find("not"), std::string::npos) << a.failure_text;
    TinyEngine plain({.chat_template = kTurns});
    const Answer b = plain.ask(calling(ToolChoice::required, 1));
    EXPECT_EQ(b.failure, gen::Failure::invalid_request);
    EXPECT_NE(b.failure_text.find("tool calls"), std::string::npos) << b.failure_text;
}

TEST(Constrained, OthersGoOnWhileAGrammarIsMade) {
    TinyEngine engine({.chat_template = kHermes});
    Collector out;
    const auto submit = [&](std::uint64_t id, gen::Generation g) {
        ASSERT_TRUE(engine->submit(RequestId{id},
                                   std::make_shared<const gen::Generation>(std::move(g)), 1 << 30));
    };
    submit(1, test::letters("a stream", 200));
    engine->step(out, 0);
    engine->step(out, 0);
    submit(2, formatted(kSchemas[0], 5));
    submit(3, formatted(kSchemas[1], 5));
    submit(4, formatted(kSchemas[0], 5));
    submit(5, formatted(R"({"type":7})", 5));
    const int n_tokens = out[1].n_tokens;
    engine->step(out, 0);
    EXPECT_GT(out[1].n_tokens, n_tokens);
    EXPECT_EQ(engine->capacity().queued, 4);
    engine->cancel(RequestId{3}, CancelReason::client_gone);
    engine.run(out);
    EXPECT_EQ(out[1].finish.at(0), gen::Finish::length);
    EXPECT_EQ(out[2].failure, gen::Failure::none) << out[2].failure_text;
    EXPECT_EQ(out[3].failure, gen::Failure::cancelled);
    EXPECT_EQ(out[4].text, out[2].text);
    EXPECT_EQ(out[5].failure, gen::Failure::invalid_request);
    EXPECT_EQ(engine->n_requests(), 0);
}

TEST(Constrained, ManyGrammarsAreForgottenAndMadeAgain) {
    TinyEngine engine({.chat_template = kHermes});
    Collector out;
    std::uint64_t id = 0;
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 40; ++i) {
            const std::string schema = "{\"const\":" + std::to_string(1000 + i) + "}";
            ASSERT_TRUE(engine->submit(
                RequestId{id++},
                std::make_shared<const gen::Generation>(formatted(schema.c_str(), 1)), 1 << 30));
        }
        engine.run(out);
    }
    for (std::uint64_t i = 0; i < id; ++i)
        EXPECT_EQ(out[i].text.at(0), std::to_string(1000 + i % 40));
}

} // namespace
} // namespace bloom::engine
