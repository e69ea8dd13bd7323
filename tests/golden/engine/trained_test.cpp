// Small models that were trained for some hundred steps: the whole way from a chat message to an
// answer, which must be the trainer's and consist of words of its corpus; and that guessing by the
// model's own head changes no token.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>
#include <bloom/json/reader.hpp>

#include "golden_case.hpp"
#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

using golden::ids_of;
using golden::read_text;

struct Question {
    std::string text;
    std::vector<std::int32_t> ids;
    std::string precise, int8; ///< answers
};

struct Trained {
    golden::fs::path path;
    std::vector<double> losses;
    std::vector<Question> questions;
    std::set<std::string> words;
};

Trained load_trained(const std::string& name) {
    const golden::fs::path dir = golden::data_dir() / name;
    json::Parser parser;
    const json::Object o = parser.parse(read_text(dir / "golden.json")).value().as_object().value();
    const auto text_of = [](const json::Object& from, std::string_view key) {
        const auto value = from.find(key);
        return value ? std::string(value->as_string().value()) : std::string();
    };
    Trained out;
    out.path = dir / text_of(o, "model");
    for (const json::Value v : o.at("loss").value().as_array().value()) {
        std::size_t column = 0;
        for (const json::Value number : v.as_array().value()) {
            if (column++ == 1) out.losses.push_back(number.as_double().value());
        }
    }
    for (const json::Value v : o.at("prompts").value().as_array().value()) {
        const json::Object p = v.as_object().value();
        out.questions.push_back({text_of(p, "question"), ids_of(p, "ids"),
                                 text_of(p, "text_precise"), text_of(p, "text_int8")});
    }
    const std::string words = read_text(dir / text_of(o, "words_file"));
    for (std::size_t at = 0; at < words.size();) {
        const std::size_t end = std::min(words.find('\n', at), words.size());
        out.words.insert(words.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

/// Runs of ASCII letters, in small letters.
std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> out(1);
    for (const char c : text) {
        const char small = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        if (small >= 'a' && small <= 'z') {
            out.back() += small;
        } else if (!out.back().empty()) {
            out.emplace_back();
        }
    }
    if (out.back().empty()) out.pop_back();
    return out;
}

std::unique_ptr<Engine> open_engine(const golden::fs::path& path, EngineOptions options) {
    auto file = ModelFile::open(path);
    EXPECT_TRUE(file) << file.error().message();
    options.kv_budget_bytes = std::int64_t{32} << 20;
    auto engine = Engine::create(std::move(*file), options);
    EXPECT_TRUE(engine) << engine.error().message();
    return std::move(*engine);
}

gen::Generation greedy(std::int32_t n_tokens) {
    gen::Generation g;
    g.limits.max_tokens = n_tokens;
    g.sampling.temperature = 0;
    g.render.reasoning = gen::ReasoningMode::raw;
    return g;
}

class TrainedModel : public testing::TestWithParam<const char*> {};

TEST_P(TrainedModel, AnswersAsItsTrainerSays) {
    const Trained model = load_trained(GetParam());
    ASSERT_GE(model.losses.size(), 10U);
    EXPECT_LT(model.losses.back(), model.losses.front() / 4);
    EXPECT_GT(model.words.size(), 100U);
    for (const bool precise : {true, false}) {
        compute::SerialTeam team(2);
        const auto engine = open_engine(model.path, {.team = &team, .precise = precise});
        test::Collector out;
        std::uint64_t id = 0;
        for (const Question& q : model.questions) {
            const std::string& want = precise ? q.precise : q.int8;
            if (want.empty()) continue;
            gen::Generation g = greedy(64);
            gen::Message message;
            message.content.push_back({gen::Part::Kind::text, q.text});
            g.messages.push_back(std::move(message));
            const auto rendered = engine->render(g);
            ASSERT_TRUE(rendered) << rendered.error().message();
            EXPECT_EQ(rendered->at(0), q.ids) << q.text;
            ASSERT_TRUE(engine->submit(RequestId{++id}, std::make_shared<const gen::Generation>(g),
                                       1 << 20));
            while (engine->step(out, 0)) {
            }
            EXPECT_EQ(out[id].text[0].substr(0, want.size()), want) << q.text;
            for (const std::string& word : words_of(out[id].text[0]))
                EXPECT_TRUE(model.words.contains(word)) << word;
        }
        EXPECT_GE(id, 3U);
    }
}

INSTANTIATE_TEST_SUITE_P(Models, TrainedModel, testing::Values("qwen35-trained", "gemma4-trained"));

// --- guessing
// -------------------------------------------------------------------------------------

constexpr std::uint64_t kPrompts = 200;

struct Answers {
    std::vector<std::string> texts;
    EngineCapacity counts;
};

/// What a model says to so many prompts, eight of them at a time or one by one.
Answers ask(const golden::fs::path& path, EngineOptions options, std::uint64_t n_prompts,
            std::uint64_t at_once) {
    compute::SerialTeam team(2);
    options.team = &team;
    const auto engine = open_engine(path, options);
    test::Collector out;
    Answers answers;
    for (std::uint64_t i = 1; i <= n_prompts; ++i) {
        gen::Generation g = greedy(static_cast<std::int32_t>(6 + i % 11));
        g.limits.ignore_eos = true;
        g.prompts.push_back("What is " + std::to_string(i * 37 % 101) + " and " +
                            std::string(1 + i * i % 60, static_cast<char>('a' + i % 26)) + "?");
        EXPECT_TRUE(
            engine->submit(RequestId{i}, std::make_shared<const gen::Generation>(g), 1 << 20));
        while (i % at_once == 0 && engine->step(out, 0)) {
        }
    }
    while (engine->step(out, 0)) {
    }
    for (std::uint64_t i = 1; i <= n_prompts; ++i) {
        EXPECT_EQ(out[i].failure, gen::Failure::none) << out[i].failure_text;
        answers.texts.push_back(out[i].text[0]);
    }
    answers.counts = engine->capacity();
    return answers;
}

void expect_no_difference(const char* name, std::uint64_t n_prompts, std::int64_t accepted_min) {
    const golden::fs::path path = golden::data_dir() / name / "model.gguf";
    const Answers plain = ask(path, {.speculate = false}, n_prompts, 1);
    EXPECT_EQ(plain.counts.n_drafted, 0);
    for (const std::uint64_t at_once : {std::uint64_t{1}, std::uint64_t{8}}) {
        const Answers guessed = ask(path, {.speculate = true}, n_prompts, at_once);
        EXPECT_EQ(guessed.texts, plain.texts) << name << ", " << at_once << " at once";
        EXPECT_GT(guessed.counts.n_head_drafted, 0) << name;
        EXPECT_GE(guessed.counts.n_head_accepted, accepted_min) << name;
    }
}

TEST(DraftHeads, ChangeNoToken) {
    expect_no_difference("qwen35-trained", kPrompts, 50);
    expect_no_difference("qwen35-gguf-q8_0", 40, 0);
    expect_no_difference("qwen35moe-gguf-q8_0", 40, 0);
}

} // namespace
} // namespace bloom::engine
