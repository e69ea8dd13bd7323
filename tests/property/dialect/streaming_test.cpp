// What clients get does not depend on where the model's tokens begin and end: answers with think
// tags, calls and stop strings, cut at every byte, go through the engine's output and an encoder,
// and the client reads the same as from the answer in one piece.
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/dialect/dialect.hpp>
#include <bloom/json/reader.hpp>

#include "engine/output.hpp"

namespace bloom::dialect {
namespace {

using text::OutputFormat;

/// An answer as a model writes it, and what has to arrive of it.
struct Answer {
    const char* name;
    OutputFormat format;
    std::string text;
    std::vector<std::string> stops;
    bool in_reasoning;
    std::string reasoning;
    std::string content;
    std::string calls; ///< name and arguments of each
};

std::vector<Answer> answers() {
    const std::string call = R"({"what": "\u00d6sl\"o", "n": 3})";
    const std::string hermes = "<tool_call>\n{\"name\": \"look\", \"arguments\": " + call +
                               "}\n</tool_call>\n<tool_call>\n"
                               R"({"name": "now", "arguments": {}})"
                               "\n</tool_call>";
    const std::string qwen = "<tool_call>\n<function=look>\n<parameter=what>\na < b\n</parameter>\n"
                             "<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>\n";
    const std::string minimax =
        "<minimax:tool_call>\n<invoke name=\"look\">\n<parameter name=\"what\">a < b</parameter>\n"
        "<parameter name=\"n\">3</parameter>\n</invoke>\n</minimax:tool_call>";
    const std::string gemma = "<|tool_call>call:look{what:<|\"|>a < b<|\"|>,n:3}<tool_call|>";
    const std::string read = R"(look{"what": "a < b", "n": 3};)";
    return {
        {"think",
         OutputFormat::plain,
         "<think>\nh\u00e9 <b>\n</think>\n\nSo 1 < 2, \U0001f30d </x>.",
         {},
         false,
         "h\u00e9 <b>",
         "So 1 < 2, \U0001f30d </x>.",
         ""},
        {"think opened",
         OutputFormat::plain,
         "h\u00e9 </thin\n</think>\n\nYes.",
         {},
         true,
         "h\u00e9 </thin",
         "Yes.",
         ""},
        {"unclosed",
         OutputFormat::plain,
         "<think>never ends </thin",
         {},
         false,
         "never ends </thin",
         "",
         ""},
        {"stop",
         OutputFormat::plain,
         "\u00e9\u00e9 one STO STOP two",
         {"STOP", "two"},
         false,
         "",
         "\u00e9\u00e9 one STO ",
         ""},
        {"stop inside a character's bytes",
         OutputFormat::plain,
         "a \u00e9\u00e8\u00ea b",
         {"\u00e8\u00ea"},
         false,
         "",
         "a \u00e9",
         ""},
        {"stops that begin alike",
         OutputFormat::plain,
         "aababac<END",
         {"ababb", "abac", "<END"},
         false,
         "",
         "aab",
         ""},
        {"stop in thinking does not count",
         OutputFormat::plain,
         "<think>a END b</think>c END d",
         {"END"},
         false,
         "a END b",
         "c ",
         ""},
        {"hermes",
         OutputFormat::hermes_json,
         "<think>\nhm\n</think>\n\nLet me <see>.\n" + hermes,
         {},
         false,
         "hm",
         "Let me <see>.",
         "look" + call + ";" + "now{};"},
        {"hermes and a stop",
         OutputFormat::hermes_json,
         "Let me END\n" + hermes,
         {"END"},
         false,
         "",
         "Let me ",
         ""},
        {"qwen",
         OutputFormat::qwen_xml,
         "hm\n</think>\n\n" + qwen + qwen,
         {},
         true,
         "hm",
         "",
         read + read},
        {"minimax",
         OutputFormat::minimax_xml,
         "<think>hm</think>\n\nLet me.\n\n" + minimax,
         {},
         false,
         "hm",
         "Let me.",
         read},
        {"gemma",
         OutputFormat::gemma,
         "<|channel>thought\nhm\n<channel|>Let me." + gemma + gemma,
         {},
         false,
         "hm",
         "Let me.",
         read + read},
    };
}

/// A vocabulary of the pieces of one cut; parts of characters are spelled by byte tokens.
struct Tokens {
    explicit Tokens(const std::vector<std::string_view>& pieces) {
        text::VocabSpec spec;
        spec.kind = text::VocabKind::char_bpe;
        spec.add_bos = false;
        spec.unk_id = 0;
        spec.tokens = {"<unk>"};
        spec.types = {text::TokenType::unknown};
        for (unsigned byte = 0; byte < 256; ++byte) {
            char name[8];
            std::snprintf(name, sizeof name, "<0x%02X>", byte);
            spec.tokens.emplace_back(name);
            spec.types.push_back(text::TokenType::byte);
        }
        for (const std::string_view piece : pieces)
            add(piece, spec);
        auto made = text::Tokenizer::create(std::move(spec));
        EXPECT_TRUE(made.has_value()) << made.error().message();
        tokenizer = *made;
    }

    void add(std::string_view piece, text::VocabSpec& spec) {
        const auto continues = [](char c) {
            return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
        };
        const auto byte = [](char c) { return 1 + std::int32_t{static_cast<unsigned char>(c)}; };
        std::size_t begin = 0;
        while (begin < piece.size() && continues(piece[begin]))
            ids.push_back(byte(piece[begin++]));
        std::size_t end = piece.size();
        std::size_t lead = end;
        while (lead > begin && continues(piece[lead - 1]))
            --lead;
        if (lead > begin) --lead;
        // The last character is whole or not: spelled by its bytes, it is right in either case.
        if (lead < end && static_cast<unsigned char>(piece[lead]) >= 0x80) end = lead;
        if (begin < end) {
            const std::string_view whole = piece.substr(begin, end - begin);
            const auto known = std::find(spec.tokens.begin() + 257, spec.tokens.end(), whole);
            ids.push_back(static_cast<std::int32_t>(known - spec.tokens.begin()));
            if (known == spec.tokens.end()) {
                spec.tokens.emplace_back(whole);
                spec.types.push_back(text::TokenType::user_defined);
            }
        }
        for (std::size_t i = std::max(begin, end); i < piece.size(); ++i)
            ids.push_back(byte(piece[i]));
    }

    std::shared_ptr<const text::Tokenizer> tokenizer;
    std::vector<std::int32_t> ids;
};

/// The events of one choice whose tokens are the pieces.
gen::EventBatch generate(const Answer& answer, bool chat,
                         const std::vector<std::string_view>& pieces) {
    engine::OutputOptions options;
    options.chat = chat;
    options.parser.format = chat ? answer.format : OutputFormat::plain;
    options.parser.in_reasoning = chat && answer.in_reasoning;
    if (chat && answer.format != OutputFormat::plain) {
        options.parser.tools = {
            {"look", "",
             R"({"type":"object","properties":{"what":{"type":"string"},"n":{"type":"integer"}}})",
             false},
            {"now", "", R"({"type":"object","properties":{}})", false}};
    }
    options.stops = *text::StopStrings::create(answer.stops);
    const Tokens tokens(pieces);
    engine::ChoiceOutput output(tokens.tokenizer, options);
    gen::EventBatch events;
    for (const std::int32_t id : tokens.ids) {
        output.push(id, 0, events);
        if (output.stopped()) break;
    }
    output.push_end();
    output.finish(0, events);
    events.emplace_back();
    events.back().kind = gen::EventKind::finished;
    // As the engine says it: behind a stop string nothing counts.
    const bool calls = output.n_tool_calls() > 0 && !output.stopped();
    events.back().finish = calls ? gen::Finish::tool_calls : gen::Finish::stop;
    events.emplace_back();
    events.back().kind = gen::EventKind::usage;
    return events;
}

std::string encode(gen::Dialect dialect, bool stream, const gen::EventBatch& events) {
    gen::RenderSpec spec;
    spec.dialect = dialect;
    spec.response_id = "id";
    spec.model = "m";
    spec.stream = stream;
    const auto encoder = make_encoder(spec);
    std::string out;
    for (const gen::Event& event : events)
        encoder->append(event, out);
    encoder->finish(out);
    return out;
}

/// What a client of chat has read.
struct Read {
    std::string reasoning;
    std::string content;
    std::string calls;
    std::string finish;

    bool operator==(const Read&) const = default;
};

void append_member(const json::Object& object, std::string_view name, std::string& to) {
    if (const auto value = object.find(name); value && value->is_string())
        to += *value->as_string();
}

void read_delta(const json::Object& delta, Read& read) {
    append_member(delta, "reasoning_content", read.reasoning);
    append_member(delta, "content", read.content);
    const auto calls = delta.find("tool_calls");
    if (!calls) return;
    const json::Array list = *calls->as_array();
    for (const json::Value element : list) {
        const json::Object call = *element.as_object();
        if (call.find("id") && !read.calls.empty()) read.calls += ';';
        const json::Object function = *call.find("function")->as_object();
        append_member(function, "name", read.calls);
        append_member(function, "arguments", read.calls);
    }
}

/// Chat's stream and completions' stream alike; every chunk must be valid by itself.
Read read_stream(std::string_view stream) {
    Read read;
    json::Parser parser;
    constexpr std::string_view kData = "data: ";
    while (!stream.empty()) {
        const std::size_t end = stream.find("\n\n");
        EXPECT_TRUE(stream.starts_with(kData));
        const auto chunk = parser.parse(stream.substr(kData.size(), end - kData.size()));
        EXPECT_TRUE(chunk.has_value());
        if (!chunk || end == std::string_view::npos) break;
        stream.remove_prefix(end + 2);
        const json::Array choices = *chunk->as_object()->find("choices")->as_array();
        for (const json::Value element : choices) {
            const json::Object choice = *element.as_object();
            append_member(choice, "text", read.content);
            append_member(choice, "finish_reason", read.finish);
            if (const auto delta = choice.find("delta")) read_delta(*delta->as_object(), read);
        }
    }
    if (!read.calls.empty()) read.calls += ';';
    return read;
}

/// Cuts that belong to one answer: into bytes, in two at every byte, and at random.
std::vector<std::vector<std::string_view>> cuts_of(std::string_view text, Rng& rng) {
    std::vector<std::vector<std::string_view>> cuts(1);
    for (std::size_t i = 0; i < text.size(); ++i)
        cuts.front().push_back(text.substr(i, 1));
    for (std::size_t i = 1; i < text.size(); ++i)
        cuts.push_back({text.substr(0, i), text.substr(i)});
    for (int n = 0; n < 20; ++n) {
        cuts.emplace_back();
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t size = 1 + rng.below(9);
            cuts.back().push_back(text.substr(at, size));
            at += size;
        }
    }
    return cuts;
}

std::uint64_t first_seed() {
    const char* const given = std::getenv("DARKBLOOM_SEED");
    return given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
}

TEST(Streaming, ClientsReadTheSameWhereverTokensEnd) {
    Rng rng(first_seed());
    for (const Answer& answer : answers()) {
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(first_seed()) + " " + answer.name);
        const auto whole = generate(answer, true, {answer.text});
        const std::string body = encode(gen::Dialect::openai_chat, false, whole);
        const Read expected{answer.reasoning, answer.content, answer.calls,
                            answer.calls.empty() ? "stop" : "tool_calls"};
        for (const auto& pieces : cuts_of(answer.text, rng)) {
            const auto events = generate(answer, true, pieces);
            const Read read = read_stream(encode(gen::Dialect::openai_chat, true, events));
            EXPECT_EQ(read.reasoning, expected.reasoning);
            EXPECT_EQ(read.content, expected.content);
            EXPECT_EQ(read.calls, expected.calls);
            EXPECT_EQ(read.finish, expected.finish);
            EXPECT_EQ(encode(gen::Dialect::openai_chat, false, events), body);
            if (testing::Test::HasFailure()) {
                std::string shown;
                for (const std::string_view piece : pieces)
                    shown += "[" + std::string(piece) + "]";
                FAIL() << shown;
            }
        }
    }
}

// Bodies are whole answers: those of every dialect are the same for every cut.
TEST(Streaming, BodiesOfAllDialectsAreTheSameWhereverTokensEnd) {
    Rng rng(first_seed());
    for (const gen::Dialect dialect :
         {gen::Dialect::openai_chat, gen::Dialect::openai_completions,
          gen::Dialect::openai_responses, gen::Dialect::anthropic_messages}) {
        for (const Answer& answer : answers()) {
            const bool chat = dialect != gen::Dialect::openai_completions;
            const std::string body = encode(dialect, false, generate(answer, chat, {answer.text}));
            for (const auto& pieces : cuts_of(answer.text, rng)) {
                ASSERT_EQ(encode(dialect, false, generate(answer, chat, pieces)), body)
                    << answer.name;
            }
        }
    }
}

// Thinking at the start of a raw text is no part of it; stop strings are found in it as in answers.
TEST(Streaming, CompletionsCutAtEveryByte) {
    Rng rng(first_seed());
    for (const Answer& answer : answers()) {
        if (answer.format != OutputFormat::plain || answer.in_reasoning) continue;
        SCOPED_TRACE(answer.name);
        for (const auto& pieces : cuts_of(answer.text, rng)) {
            const auto events = generate(answer, false, pieces);
            const Read read = read_stream(encode(gen::Dialect::openai_completions, true, events));
            ASSERT_EQ(read.content, answer.content);
            ASSERT_EQ(read.finish, "stop");
        }
    }
}

} // namespace
} // namespace bloom::dialect
