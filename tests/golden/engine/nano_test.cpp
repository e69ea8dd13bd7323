// The built-in model against its trainer: token ids of the tokenizer that made it, rendered
// prompts, and greedy continuations from an independent f32 forward over the same quantised
// weights.
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/team.hpp>
#include <bloom/engine/engine.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {
namespace {

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::int32_t> ids_of(const json::Object& object, std::string_view key) {
    std::vector<std::int32_t> out;
    for (const json::Value v : object.at(key).value().as_array().value()) {
        out.push_back(static_cast<std::int32_t>(v.as_int64().value()));
    }
    return out;
}

/// Collects the answer as text; ids are compared through it.
class TextOf final : public EventSink {
public:
    void on_events(RequestId /*id*/, gen::EventBatch&& events) override {
        for (const gen::Event& event : events) {
            if (event.kind == gen::EventKind::text_delta) text += event.text;
            EXPECT_NE(event.kind, gen::EventKind::failed) << event.text;
        }
    }

    std::string text;
};

struct Nano {
    explicit Nano(bool precise) {
        auto file = ModelFile::open(std::string(BLOOM_SOURCE_DIR) + "/assets/nano.gguf");
        EXPECT_TRUE(file.has_value());
        EngineOptions options;
        options.team = &team;
        options.precise = precise;
        options.kv_budget_bytes = std::int64_t{64} << 20;
        engine = std::move(Engine::create(std::move(*file), options).value());
    }

    compute::SerialTeam team;
    std::unique_ptr<Engine> engine;
};

json::Value golden(json::Parser& parser) {
    return parser.parse(read_file(std::string(BLOOM_SOURCE_DIR) + "/tests/golden/nano/tokens.json"))
        .value();
}

TEST(NanoGolden, TokenIds) {
    const Nano nano(false);
    json::Parser parser;
    int n = 0;
    for (const json::Value v :
         golden(parser).as_object()->at("tokenize").value().as_array().value()) {
        const json::Object item = v.as_object().value();
        const std::string_view text = item.at("text").value().as_string().value();
        EXPECT_EQ(nano.engine->tokenize(text).value(), ids_of(item, "ids")) << text;
        ++n;
    }
    EXPECT_GE(n, 20);
}

gen::Generation request_of(const json::Object& item) {
    gen::Generation g;
    for (const json::Value v : item.at("messages").value().as_array().value()) {
        const json::Object m = v.as_object().value();
        const std::string_view role = m.at("role").value().as_string().value();
        gen::Message message;
        message.role = role == "system"      ? gen::Role::system
                       : role == "assistant" ? gen::Role::assistant
                       : role == "tool"      ? gen::Role::tool
                                             : gen::Role::user;
        message.content.push_back(
            {gen::Part::Kind::text, std::string(m.at("content").value().as_string().value())});
        g.messages.push_back(std::move(message));
    }
    g.tmpl.enable_thinking = item.at("enable_thinking").value().as_bool().value();
    g.sampling.temperature = 0;
    return g;
}

class NanoGenerates : public testing::TestWithParam<bool> {};

TEST_P(NanoGenerates, WhatItsTrainerDoes) {
    const Nano nano(GetParam());
    json::Parser parser;
    int n = 0;
    for (const json::Value v :
         golden(parser).as_object()->at("generate").value().as_array().value()) {
        const json::Object item = v.as_object().value();
        if (!item.at("tools").value().is_null()) continue; // requests cannot bring tools yet
        const std::string name(item.at("name").value().as_string().value());
        auto request = std::make_shared<gen::Generation>(request_of(item));
        EXPECT_EQ(nano.engine->render(*request).value().at(0), ids_of(item, "prompt_ids")) << name;
        const std::vector<std::int32_t> expected = ids_of(item, "greedy_ids");
        request->limits.max_tokens = static_cast<std::int32_t>(expected.size());
        request->render.reasoning = gen::ReasoningMode::raw;
        TextOf answer;
        ASSERT_TRUE(
            nano.engine->submit(RequestId{static_cast<std::uint64_t>(++n)}, request, 1 << 20)
                .has_value());
        while (nano.engine->n_requests() > 0)
            nano.engine->step(answer, 0);
        std::string text = nano.engine->tokenizer().decode(expected);
        // Raw answers begin with the tag that the prompt opened.
        if (request->tmpl.enable_thinking.value_or(false)) text.insert(0, "<think>\n");
        EXPECT_EQ(answer.text, text) << name;
    }
    EXPECT_GE(n, 3);
}

// The margins of the recorded cases are far wider than what 8-bit activations change.
INSTANTIATE_TEST_SUITE_P(Modes, NanoGenerates, testing::Bool(),
                         [](const auto& info) { return info.param ? "precise" : "int8"; });

} // namespace
} // namespace bloom::engine
