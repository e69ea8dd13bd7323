// Answers put together at random in each family's way of writing, taken apart again: whole, byte by
// byte and at random cuts, with tags spelled out and with tags that are tokens.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/output_parser.hpp>

namespace bloom::text {
namespace {

const std::vector<gen::ToolDefinition> kTools{
    {"look", "", R"({"type":"object","properties":{"what":{"type":"string"},
        "n":{"type":"integer"}}})",
     false},
    {"now", "", R"({"type":"object","properties":{}})", false}};

/// Texts that come close to markup without being any.
const std::vector<std::string> kTexts{"Hello",        "a < b",   "x</",
                                      "1 <2> 3",      "{\"a\"}", "Gr\u00fc\u00dfe \U0001f30d",
                                      "<thin king>",  "call:me", "line\n  line",
                                      "</functions>", "<|x|>"};
const std::vector<std::string> kValues{
    "Oslo", "", "a {b}, c", "1 < 2", "\"q\" \\ \n two", "null", "\u4e16\u754c", "<b>", "]}"};

struct Answer {
    std::vector<std::string> tokens; ///< in order; tags are tokens of their own
    std::string reasoning;
    std::string content;
    std::string calls; ///< name and arguments of each
    bool in_reasoning = false;

    std::string text() const {
        std::string out;
        for (const std::string& token : tokens)
            out += token;
        return out;
    }
};

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    return out;
}

class Writer {
public:
    Writer(OutputFormat format, std::uint64_t seed) : format_(format), rng_(seed) {}

    Answer write() {
        Answer a;
        const bool gemma = format_ == OutputFormat::gemma;
        const std::uint64_t thinking = rng_.below(3); // none, written, opened by the prompt
        a.in_reasoning = thinking == 2;
        if (thinking > 0) {
            a.reasoning = pick(kTexts);
            if (thinking == 1) {
                a.tokens.emplace_back(gemma ? "<|channel>" : "<think>");
                a.tokens.emplace_back(gemma ? "thought\n" : "\n");
            }
            a.tokens.push_back(a.reasoning + "\n");
            a.tokens.emplace_back(gemma ? "<channel|>" : "</think>");
            if (!gemma) a.tokens.emplace_back("\n\n");
        }
        if (rng_.below(3) > 0) {
            a.content = pick(kTexts);
            a.tokens.push_back(a.content);
        }
        const std::uint64_t n_calls = rng_.below(4);
        if (n_calls > 0 && !a.content.empty()) a.tokens.emplace_back("\n\n");
        if (n_calls > 0) write_calls(n_calls, a);
        return a;
    }

private:
    const std::string& pick(const std::vector<std::string>& from) {
        return from[rng_.below(from.size())];
    }

    void write_calls(std::uint64_t n, Answer& a) {
        if (format_ == OutputFormat::minimax_xml) a.tokens.emplace_back("<minimax:tool_call>");
        for (std::uint64_t i = 0; i < n; ++i) {
            if (rng_.below(4) == 0) {
                write_call("now", {}, 0, a);
            } else {
                write_call("look", pick(kValues), rng_.below(100), a);
            }
        }
        if (format_ == OutputFormat::minimax_xml) a.tokens.emplace_back("\n</minimax:tool_call>");
    }

    void write_call(const std::string& name, const std::string& what, std::uint64_t n, Answer& a) {
        const bool plain = name == "now";
        const std::string number = std::to_string(n);
        const std::string json =
            plain ? "{}" : R"({"what": ")" + escaped(what) + R"(", "n": )" + number + "}";
        a.calls += name + json + ";";
        switch (format_) {
        case OutputFormat::hermes_json:
            a.tokens.emplace_back("<tool_call>");
            a.tokens.push_back("\n{\"name\": \"" + name + "\", \"arguments\": " + json + "}\n");
            a.tokens.emplace_back("</tool_call>\n");
            break;
        case OutputFormat::qwen_xml:
            a.tokens.emplace_back("<tool_call>");
            a.tokens.push_back("\n<function=" + name + ">\n");
            if (!plain) {
                a.tokens.push_back("<parameter=what>\n" + what + "\n</parameter>\n");
                a.tokens.push_back("<parameter=n>\n" + number + "\n</parameter>\n");
            }
            a.tokens.emplace_back("</function>\n</tool_call>\n");
            break;
        case OutputFormat::minimax_xml:
            a.tokens.push_back("\n<invoke name=\"" + name + "\">");
            if (!plain) {
                a.tokens.push_back("\n<parameter name=\"what\">" + what + "</parameter>");
                a.tokens.push_back("\n<parameter name=\"n\">" + number + "</parameter>");
            }
            a.tokens.emplace_back("\n</invoke>");
            break;
        case OutputFormat::gemma:
            a.tokens.emplace_back("<|tool_call>");
            a.tokens.push_back("call:" + name + "{");
            if (!plain) {
                a.tokens.push_back("what:<|\"|>" + what + "<|\"|>,");
                a.tokens.push_back("n:" + number);
            }
            a.tokens.emplace_back("}");
            a.tokens.emplace_back("<tool_call|>");
            break;
        default:
            FAIL();
        }
    }

    OutputFormat format_;
    Rng rng_;
};

/// What came out, in the form of an Answer.
struct Seen {
    std::string reasoning;
    std::string content;
    std::string calls;

    void take(const ParsedOutput& out) {
        for (const Piece& piece : out.pieces) {
            const std::string text(out.text_of(piece));
            switch (piece.kind) {
            case PieceKind::reasoning:
                reasoning += text;
                break;
            case PieceKind::content:
                content += text;
                break;
            case PieceKind::tool_begin:
            case PieceKind::tool_args:
                calls += text;
                break;
            case PieceKind::tool_end:
                calls += ";";
                break;
            }
        }
    }
};

void expect_same(const Seen& seen, const Answer& a) {
    EXPECT_EQ(seen.reasoning, a.reasoning) << a.text();
    EXPECT_EQ(seen.content, a.content) << a.text();
    EXPECT_EQ(seen.calls, a.calls) << a.text();
}

OutputParserOptions options_of(OutputFormat format, const Answer& a) {
    OutputParserOptions options;
    options.format = format;
    options.in_reasoning = a.in_reasoning;
    options.tools = kTools;
    return options;
}

/// Whole code points, so many at a time as `next` says.
template <class Next>
Seen parse_text(OutputFormat format, const Answer& a, Next next) {
    OutputParser parser(options_of(format, a));
    const std::string text = a.text();
    ParsedOutput out;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = std::min(text.size(), at + next());
        while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
            ++end;
        parser.push(-1, std::string_view(text).substr(at, end - at), out);
        at = end;
    }
    parser.finish(true, out);
    Seen seen;
    seen.take(out);
    return seen;
}

/// Tags with ids of their own, as vocabularies have them.
Seen parse_tokens(OutputFormat format, const Answer& a) {
    OutputParserOptions options = options_of(format, a);
    std::int32_t next_id = 1;
    for (const std::string_view tag : tags_of(format))
        options.tag_tokens.push_back({std::string(tag), next_id++});
    OutputParser parser(options);
    ParsedOutput out;
    for (const std::string& token : a.tokens) {
        const auto tag = std::ranges::find(options.tag_tokens, token, &TagToken::text);
        parser.push(tag == options.tag_tokens.end() ? 1000 : tag->id, token, out);
    }
    parser.finish(true, out);
    Seen seen;
    seen.take(out);
    return seen;
}

TEST(OutputParserProperty, AnswersComeApartAsTheyWereWritten) {
    const char* const given = std::getenv("DARKBLOOM_SEED");
    const std::uint64_t first = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
    for (const OutputFormat format : {OutputFormat::hermes_json, OutputFormat::qwen_xml,
                                      OutputFormat::minimax_xml, OutputFormat::gemma}) {
        for (std::uint64_t seed = first; seed < first + 150; ++seed) {
            SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + " " +
                         std::string(to_string(format)));
            const Answer a = Writer(format, seed).write();
            Rng rng(seed);
            expect_same(parse_text(format, a, [] { return std::size_t{1} << 20; }), a);
            expect_same(parse_text(format, a, [] { return std::size_t{1}; }), a);
            expect_same(parse_text(format, a, [&] { return 1 + rng.below(12); }), a);
            expect_same(parse_tokens(format, a), a);
            if (testing::Test::HasFailure()) return;
        }
    }
}

// Every cut in two of one answer with everything in it.
TEST(OutputParserProperty, EveryCutOfEveryFamily) {
    for (const OutputFormat format : {OutputFormat::hermes_json, OutputFormat::qwen_xml,
                                      OutputFormat::minimax_xml, OutputFormat::gemma}) {
        Answer a;
        for (std::uint64_t seed = 1; a.reasoning.empty() || a.content.empty() || a.calls.empty();
             ++seed)
            a = Writer(format, seed).write();
        const std::size_t n = a.text().size();
        for (std::size_t cut = 1; cut < n; ++cut) {
            bool begun = false;
            expect_same(parse_text(format, a, [&] { return std::exchange(begun, true) ? n : cut; }),
                        a);
        }
    }
}

} // namespace
} // namespace bloom::text
