#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>

#include "engine/output.hpp"

/// Which event the log probability of each token leaves with.
namespace bloom::engine {
namespace {

using text::OutputFormat;

/// A vocabulary of whatever pieces a test is about, in raw bytes.
class Pieces {
public:
    explicit Pieces(std::vector<std::string> pieces) {
        text::VocabSpec spec;
        spec.kind = text::VocabKind::char_bpe;
        spec.add_bos = false;
        spec.tokens = {"<unk>", "<0xC3>", "<0xA9>"};
        spec.types = {text::TokenType::unknown, text::TokenType::byte, text::TokenType::byte};
        spec.unk_id = 0;
        for (std::string& p : pieces) {
            spec.tokens.push_back(std::move(p));
            spec.types.push_back(text::TokenType::user_defined);
        }
        auto made = text::Tokenizer::create(std::move(spec));
        EXPECT_TRUE(made) << made.error().message();
        tokenizer = *made;
    }

    std::int32_t operator()(std::string_view text) const {
        const auto id = tokenizer->token_id(text);
        EXPECT_TRUE(id) << text;
        return id.value_or(0);
    }

    std::shared_ptr<const text::Tokenizer> tokenizer;
};

constexpr std::int32_t kFirstByteOfE = 1; ///< of an e with an acute accent
constexpr std::int32_t kSecondByteOfE = 2;

OutputOptions options_of(OutputFormat format, std::vector<std::string> stops = {}) {
    OutputOptions o;
    o.logprobs = true;
    o.parser.format = format;
    if (format != OutputFormat::plain) o.parser.tools = {{"f", "", "{}", false}};
    o.stops = *text::StopStrings::create(stops);
    return o;
}

gen::EventBatch run(const Pieces& pieces, const OutputOptions& options,
                    const std::vector<std::int32_t>& tokens) {
    ChoiceOutput out(pieces.tokenizer, options);
    gen::EventBatch events;
    for (const std::int32_t t : tokens) {
        gen::TokenLogprob l{t, -1.0F, std::string(pieces.tokenizer->bytes_of(t)), {}};
        out.push(t, 0, events, &l);
        if (out.stopped() || out.call_over()) break;
    }
    out.push_end();
    out.finish(0, events);
    return events;
}

/// Events as "kind(text|token token)".
std::string describe(const gen::EventBatch& events) {
    static constexpr const char* kNames[] = {"", "", "", "think", "text", "begin", "args", "end"};
    std::string out;
    for (const gen::Event& e : events) {
        out += std::string(kNames[static_cast<std::size_t>(e.kind)]) + "(" + e.text + "|";
        for (std::size_t i = 0; i < e.logprobs.size(); ++i)
            out += (i > 0 ? "," : "") + e.logprobs[i].bytes;
        out += ")";
    }
    return out;
}

TEST(Output, LogprobsLeaveWithTheTextOfTheirTokens) {
    const Pieces p({"a", "b", " ", "<", "think", ">", "</think>", "</think>c", "\n"});
    const auto all = [&](std::initializer_list<std::string_view> texts) {
        std::vector<std::int32_t> ids;
        for (const std::string_view t : texts)
            ids.push_back(p(t));
        return describe(run(p, options_of(OutputFormat::plain), ids));
    };
    EXPECT_EQ(all({"a", "b"}), "text(a|a)text(b|b)");
    // Held back as a possible tag.
    EXPECT_EQ(all({"<", "think", "a"}), "text(<thinka|<,think,a)");
    EXPECT_EQ(all({"<", "think", ">", "a", "</think>", "\n", "b"}),
              "think(a|<,think,>,a)text(b|b)");
    EXPECT_EQ(all({"<", "think", ">", "a", "</think>c"}), "think(a|<,think,>,a)text(c|</think>c)");
    EXPECT_EQ(all({" ", "a", " "}), "text( a| ,a)text( | )");
    EXPECT_EQ(all({"<"}), "text(<|<)");
}

TEST(Output, LogprobsOfTagTokensAreNotTheAnswers) {
    const Pieces p({"a", " ", "<think>", "</think>", "<tool_call>", "</tool_call>",
                    "{\"name\": ", "\"f\"", ", \"arguments\": {}}", "\n"});
    OutputOptions o = options_of(OutputFormat::hermes_json);
    for (const char* tag : {"<think>", "</think>", "<tool_call>"})
        o.parser.tag_tokens.push_back({tag, p(tag)});
    const auto calls = run(p, o,
                           {p("<think>"), p("a"), p("</think>"), p("\n"), p("a"), p(" "),
                            p("<tool_call>"), p("\n"), p("{\"name\": "), p("\"f\""),
                            p(", \"arguments\": {}}"), p("\n"), p("</tool_call>")});
    EXPECT_EQ(describe(calls),
              "think(a|<think>,a)text(a|a)begin(f| ,<tool_call>,\n,{\"name\": ,\"f\")"
              "args({}|, \"arguments\": {}})end(|)");
    // White space that turns out to be seen, in front of a tag that is not.
    o.parser.tools.clear();
    EXPECT_EQ(describe(run(p, o, {p("a"), p(" "), p("<think>"), p("a")})),
              "text(a|a)text( | )think(a|<think>,a)");
}

TEST(Output, LogprobsWaitForCharactersAndStops) {
    const Pieces p({"a", "st", "op", "ar"});
    EXPECT_EQ(describe(run(p, options_of(OutputFormat::plain),
                           {p("a"), kFirstByteOfE, kSecondByteOfE, p("a")})),
              "text(a|a)text(\u00e9|\xc3,\xa9)text(a|a)");
    const OutputOptions stops = options_of(OutputFormat::plain, {"stop"});
    EXPECT_EQ(describe(run(p, stops, {p("a"), p("st"), p("ar"), p("a")})),
              "text(a|a)text(star|st,ar)text(a|a)");
    EXPECT_EQ(describe(run(p, stops, {p("a"), p("st"), p("op"), p("a")})), "text(a|a)");
    EXPECT_EQ(describe(run(p, stops, {p("a"), p("st")})), "text(a|a)text(st|st)");
}

/// Whatever pieces come, every token whose text is seen is told once, in order.
TEST(Output, EveryTokenOfTheAnswerIsToldOnce) {
    const std::vector<std::string> texts{"a",
                                         "bc ",
                                         " ",
                                         "\n",
                                         "<",
                                         "think>",
                                         "<think>",
                                         "</think>",
                                         "</th",
                                         "ink>",
                                         "</think>x",
                                         "y<think>",
                                         "<tool",
                                         "_call>",
                                         "{\"name\": \"f\", ",
                                         "\"arguments\": {}}",
                                         "</tool_call>",
                                         "stop",
                                         "st",
                                         "\u00e9"};
    const Pieces p(texts);
    Rng rng(7);
    std::size_t n_text = 0;
    for (int round = 0; round < 4000; ++round) {
        OutputOptions o = options_of(
            rng.below(2) == 0 ? OutputFormat::plain : OutputFormat::hermes_json, {"stop", "axa"});
        o.parser.raw_reasoning = rng.below(4) == 0;
        o.parser.in_reasoning = !o.parser.raw_reasoning && rng.below(4) == 0;
        o.parser.thinks_first = rng.below(4) == 0;
        std::vector<std::int32_t> tokens;
        for (std::uint64_t n = rng.below(14); n > 0; --n) {
            tokens.push_back(rng.below(8) == 0
                                 ? (rng.below(2) == 0 ? kFirstByteOfE : kSecondByteOfE)
                                 : p(texts[rng.below(texts.size())]));
        }
        const gen::EventBatch events = run(p, o, tokens);
        SCOPED_TRACE(describe(events));
        std::size_t at = 0; // in tokens
        std::string told, shown;
        for (const gen::Event& e : events) {
            if (e.kind == gen::EventKind::text_delta) shown += e.text;
            for (const gen::TokenLogprob& l : e.logprobs) {
                while (at < tokens.size() && tokens[at] != l.token)
                    ++at;
                ASSERT_LT(at, tokens.size()) << "out of order, or twice";
                ++at;
                if (e.kind == gen::EventKind::text_delta) told += l.bytes;
            }
        }
        // The text is what its tokens say, apart from bytes that were no text.
        std::size_t seen = 0;
        for (const char c : told)
            seen += seen < shown.size() && shown[seen] == c ? 1 : 0;
        if (shown.find("\ufffd") == std::string::npos) {
            EXPECT_EQ(seen, shown.size()) << shown << " of " << told;
        }
        n_text += shown.size();
    }
    EXPECT_GT(n_text, 10'000u);
}

TEST(Output, NothingComesBehindTheOnlyCall) {
    const Pieces p(
        {"<tool_call>", "{\"name\": \"f\", \"arguments\": {}}", "</tool_call>", "\n", "words"});
    OutputOptions o = options_of(OutputFormat::hermes_json);
    const std::vector<std::int32_t> twice{
        p("<tool_call>"), p("{\"name\": \"f\", \"arguments\": {}}"), p("</tool_call>"), p("\n"),
        p("<tool_call>"), p("{\"name\": \"f\", \"arguments\": {}}"), p("</tool_call>"), p("words")};
    o.logprobs = false;
    EXPECT_EQ(describe(run(p, o, twice)),
              "begin(f|)args({}|)end(|)begin(f|)args({}|)end(|)text(words|)");
    o.one_call = true;
    EXPECT_EQ(describe(run(p, o, twice)), "begin(f|)args({}|)end(|)");
}

} // namespace
} // namespace bloom::engine
