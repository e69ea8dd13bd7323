#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/output_parser.hpp>

namespace bloom::text {
namespace {

using gen::ToolDefinition;

const std::vector<ToolDefinition> kTools{
    {"get_weather", "", R"({"type":"object","properties":{
        "city":{"type":"string"},"days":{"type":"integer"},"metric":{"type":"boolean"},
        "opt":{"type":["string","null"]},"tags":{"type":"array","items":{"type":"string"}},
        "where":{"anyOf":[{"$ref":"#/$defs/Place"},{"type":"null"}]},"level":{"enum":[1,2]},
        "ratio":{"type":"number"},"free":{}},
        "$defs":{"Place":{"type":"object"}}})",
     false},
    {"now", "", R"({"type":"object","properties":{}})", false}};

/// Events as one line: reasoning in (), content in [], calls as #index name{..} with ! when
/// complete.
void describe(const ParsedOutput& out, std::string& to, std::string& kinds) {
    for (const Piece& piece : out.pieces) {
        const std::string text(out.text_of(piece));
        const char kind = "rcbae"[static_cast<std::size_t>(piece.kind)];
        const bool joins =
            !kinds.empty() && kinds.back() == kind && (kind == 'r' || kind == 'c' || kind == 'a');
        if (!joins) {
            if (!kinds.empty() && kinds.back() == 'r') to += ')';
            if (!kinds.empty() && kinds.back() == 'c') to += ']';
            if (kind == 'r') to += '(';
            if (kind == 'c') to += '[';
            if (kind == 'b') to += '#' + std::to_string(piece.tool_index) + ' ';
        }
        to += text;
        if (kind == 'e') to += '!';
        kinds += kind;
    }
}

struct Case {
    OutputFormat format;
    const char* text;
    const char* expected;
    bool in_reasoning = false;
    bool complete = true;
    bool raw = false;
};

OutputParserOptions options_of(const Case& c) {
    OutputParserOptions options;
    options.format = c.format;
    options.in_reasoning = c.in_reasoning;
    options.raw_reasoning = c.raw;
    options.tools = kTools;
    return options;
}

/// Feeds the text in pieces whose sizes in code points come from `next_size`.
template <class NextSize>
std::string parse(const Case& c, NextSize next_size) {
    OutputParser parser(options_of(c));
    ParsedOutput out;
    std::string description;
    std::string kinds;
    const std::string_view text = c.text;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at;
        for (std::size_t n = next_size(); n > 0 && end < text.size(); --n) {
            ++end;
            while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
                ++end;
        }
        out.clear();
        parser.push(-1, text.substr(at, end - at), out);
        describe(out, description, kinds);
        at = end;
    }
    out.clear();
    parser.finish(c.complete, out);
    describe(out, description, kinds);
    if (!kinds.empty() && kinds.back() == 'r') description += ')';
    if (!kinds.empty() && kinds.back() == 'c') description += ']';
    return description;
}

constexpr auto kPlain = OutputFormat::plain;
constexpr auto kHermes = OutputFormat::hermes_json;
constexpr auto kQwen = OutputFormat::qwen_xml;
constexpr auto kMiniMax = OutputFormat::minimax_xml;
constexpr auto kGemma = OutputFormat::gemma;
constexpr auto kLlama = OutputFormat::llama_json;

const Case kCases[] = {
    // Reasoning.
    {kPlain, "Hello", "[Hello]"},
    {kPlain, "  Hello \n", "[  Hello \n]"},
    {kPlain, "<think>\nabc\n</think>\n\nHi", "(abc)[Hi]"},
    {kPlain, "\n<think>abc</think>Hi", "(abc)[Hi]"},
    {kPlain, "abc  \n d\n\n</think>\n\n\nHi", "(abc  \n d)[\nHi]", true},
    {kPlain, "\n</think>\n\nHi", "[Hi]", true},
    {kPlain, "</think>\n\nHi", "[Hi]"},
    {kPlain, "never closed \n", "(never closed)", true},
    {kPlain, "a <think> b </think> c", "[a <think> b </think> c]"},
    {kPlain, "a <thinker <t", "[a <thinker <t]"},
    {kPlain, "<thi", "[<thi]"},
    {kPlain, "x</thi\n", "(x</thi)", true},
    {kPlain, "Grüße <think>世界</think> 🌍", "[Grüße <think>世界</think> 🌍]"},
    {kPlain, "<think>a</think>b<think>c", "(a)[b<think>c]"},
    {kPlain, "<think>\na\n</think>\n\nb ", "[<think>\na\n</think>\n\nb ]", false, true, true},
    {kPlain, "a\n</think>\n\nb", "[<think>\na\n</think>\n\nb]", true, true, true},
    {kPlain, "<tool_call>{}</tool_call>", "[<tool_call>{}</tool_call>]"},
    // Hermes JSON.
    {kHermes, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "#0 now{}!"},
    {kHermes,
     "Sure. \n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"O\\\"s}lo\", "
     "\"tags\": [\"{\", []]}}\n</tool_call>",
     "[Sure.]#0 get_weather{\"city\": \"O\\\"s}lo\", \"tags\": [\"{\", []]}!"},
    {kHermes,
     "<think>\nhm\n</think>\n\n<tool_call>{\"name\":\"now\"}</"
     "tool_call>\n<tool_call>{\"arguments\":{\"a\":1},\"name\":\"now\"}</tool_call>\nDone",
     "(hm)#0 now{}!#1 now{\"a\":1}![Done]"},
    {kHermes,
     "<tool_call>{\"name\":\"now\",\"parameters\":{\"ü\":\"世\"},\"id\":[1,{\"x\":\"]\"}]}</"
     "tool_call>",
     "#0 now{\"ü\":\"世\"}!"},
    {kHermes, "<tool_call>{\"name\":\"now\",\"arguments\":\"{\\\"a\\\": 1}\"}</tool_call>",
     "#0 now{\"a\": 1}!"},
    {kHermes,
     "<tool_call>[{\"name\":\"now\",\"arguments\":{}},{\"name\":\"now\",\"arguments\":null}]</"
     "tool_call>",
     "#0 now{}!#1 now{}!"},
    {kHermes, "<tool_call>{\"name\":\"now\",\"arguments\":{}}", "#0 now{}!"},
    {kHermes,
     "<tool_call>{\"name\":\"now\",\"arguments\":{}}\n<tool_call>{\"name\":\"now\"}</tool_call>",
     "#0 now{}!#1 now{}!"},
    {kHermes, "<tool_call>{\"name\":\"now\",\"arguments\":{}", "#0 now{}!"},
    {kHermes, "<tool_call>{\"name\":\"now\",\"arguments\":{}", "#0 now{}", false, false},
    {kHermes, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\": \"b", "#0 now{\"a\": \"b", false,
     false},
    {kHermes, "the <tool_call> tag", "[the <tool_call> tag]"},
    {kHermes, "<tool_call>{\"nam", "[<tool_call>{\"nam]"},
    {kHermes, "<tool_call></tool_call>", "[<tool_call></tool_call>]"},
    {kHermes, "<tool_call>{\"name\":\"now\",\"arguments\":{]}}</tool_call>x", "#0 now{[x]"},
    {kHermes, "think about <tool_call> here\n</think>\n\nHi", "(think about <tool_call> here)[Hi]",
     true},
    {kHermes, "<tool_call>{\"name\":\"now\"}</tool_call> <b>", "#0 now{}![<b>]"},
    // Qwen XML.
    {kQwen, "<tool_call>\n<function=now>\n</function>\n</tool_call>", "#0 now{}!"},
    {kQwen,
     "Need "
     "it.\n</think>\n\nLooking.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</"
     "parameter>\n<parameter=days>\n2\n</parameter>\n<parameter=metric>\nTrue\n</"
     "parameter>\n<parameter=opt>\nNone\n</parameter>\n<parameter=tags>\n[\"a\", "
     "\"b\"]\n</parameter>\n</function>\n</tool_call>",
     "(Need it.)[Looking.]#0 get_weather{\"city\": \"Oslo\", \"days\": 2, \"metric\": true, "
     "\"opt\": null, \"tags\": [\"a\", \"b\"]}!",
     true},
    {kQwen,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\n  a <b> \"q\"\n\n</tool_call> "
     "</parameter> x\n\n</parameter>\n</function>\n</tool_call>",
     "#0 get_weather{\"city\": \"  a <b> \\\"q\\\"\\n\\n</tool_call> </parameter> x\\n\"}!"},
    {kQwen,
     "<tool_call><function=get_weather><parameter=city>Oslo</parameter><parameter=opt>null</"
     "parameter></function></tool_call>",
     "#0 get_weather{\"city\": \"Oslo\", \"opt\": null}!"},
    {kQwen,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\n\n</parameter>\n<parameter=free>\n</"
     "parameter>\n</function>\n</tool_call>",
     "#0 get_weather{\"city\": \"\", \"free\": \"\"}!"},
    {kQwen,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo</parameter>\n</function>\n</"
     "tool_call>",
     "#0 get_weather{\"city\": \"Oslo\"}!"},
    {kQwen,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\n42\n</"
     "parameter>\n<parameter=level>\n2.0\n</parameter>\n<parameter=ratio>\n1e3\n</"
     "parameter>\n<parameter=where>\n{'a': True, \"b\": "
     "None}\n</parameter>\n<parameter=days>\nmany\n</parameter>\n</function>\n</tool_call>",
     "#0 get_weather{\"city\": \"42\", \"level\": 2, \"ratio\": 1e3, \"where\": {\"a\": true, "
     "\"b\": null}, \"days\": \"many\"}!"},
    {kQwen,
     "<tool_call>\n<function=now>\n</function>\n</"
     "tool_call>\n<tool_call>\n<function=get_weather>\n<parameter=days>\n123456789012345678901\n</"
     "parameter>\n</function>\n</tool_call>\nok",
     "#0 now{}!#1 get_weather{\"days\": 123456789012345678901}![ok]"},
    {kQwen, "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>",
     "#0 get_weather{\"city\": \"Oslo\"}!"},
    {kQwen,
     "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
     "#0 get_weather{\"city\": \"Oslo\"}!"},
    {kQwen, "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n",
     "#0 get_weather{\"city\": \"Oslo\"}!"},
    {kQwen, "<tool_call>\n<function=get_weather>\n<parameter=city>\nOs",
     "#0 get_weather{\"city\": \"Os", false, false},
    {kQwen,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</"
     "tool_call>",
     "(thinking)#0 get_weather{\"city\": \"Oslo\"}!"},
    {kQwen, "<tool_call> is a tag", "[<tool_call> is a tag]"},
    {kQwen, "write  <tool_call> and\n<tool_call>\n<b> first\n</think>\n\nHi",
     "(write  <tool_call> and\n<tool_call>\n<b> first)[Hi]", true},
    {kQwen, "so <tool_call>", "(so <tool_call>)", true},
    {kQwen, "so \n<tool_call>\n<function=now>\n</function>\n</tool_call>\n\nDone",
     "(so)#0 now{}![Done]", true},
    {kQwen, "see <function=now> here</think>Hi", "(see <function=now> here)[Hi]", true},
    {kQwen, "<think>\nabc\n</think>\n\nHi", "(abc)[Hi]", true},
    {kQwen, "abc <think> d\n</think>\n\nHi", "(abc <think> d)[Hi]", true},
    {kQwen, "see <function=", "[see <function=]"},
    {kQwen, "x <tool_call>\n<b>y", "[x <tool_call>\n<b>y]"},
    // MiniMax.
    {kMiniMax,
     "Need.\n</think>\n\n\n<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter "
     "name=\"city\">  Oslo\n</parameter>\n<parameter name='days'> 2 "
     "</parameter>\n</invoke>\n<invoke name=now>\n</invoke>\n</minimax:tool_call>",
     "(Need.)#0 get_weather{\"city\": \"  Oslo\\n\", \"days\": 2}!#1 now{}!", true},
    {kMiniMax,
     "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter "
     "name=\"opt\">null</parameter>\n<parameter "
     "name=\"city\">null</parameter>\n</invoke>\n</minimax:tool_call>",
     "#0 get_weather{\"opt\": null, \"city\": \"null\"}!"},
    {kMiniMax, "<minimax:tool_call>\n<invoke name=\"now\">\n", "#0 now", false, false},
    // Gemma.
    {kGemma, "<|channel>thought\nNeed it.\n<channel|>Hi", "(Need it.)[Hi]"},
    {kGemma, "<|channel>thought\n<channel|>Hi", "[Hi]"},
    {kGemma,
     "<|channel><|channel>thought\nx<channel|>Hi<channel|> "
     "there<|channel>thought\nagain<channel|>!",
     "(x)[Hi there](again)[!]"},
    {kGemma,
     "<|tool_call>call:get_weather{city:<|\"|>Os{l,}o \"q\" < "
     "<|<|\"|>,days:2,metric:true,opt:None,tags:[<|\"|>a<|\"|>,<|\"|>b<|\"|>]}<tool_call|>",
     "#0 get_weather{\"city\": \"Os{l,}o \\\"q\\\" < <|\", \"days\": 2, \"metric\": true, \"opt\": "
     "null, \"tags\": [\"a\", \"b\"]}!"},
    {kGemma,
     "<|channel>thought\nt<|tool_call>call: a.b-c_1 { x : { <|\"|>k:1<|\"|> : [ ] , y : { } } , z "
     ": [ 1 , [ 2.5 , word ] ] }<tool_call|>",
     "(t)#0 a.b-c_1{\"x\": {\"k:1\": [], \"y\": {}}, \"z\": [1, [2.5, \"word\"]]}!"},
    {kGemma, "<|tool_call>call:now{}<tool_call|><|tool_call>call:now{}<tool_call|>",
     "#0 now{}!#1 now{}!"},
    {kGemma, "<|tool_call>call:now{a:<|\"|>b", "#0 now{\"a\": \"b", false, false},
    {kGemma, "<|tool_call>what", "[<|tool_call>what]"},
    {kGemma, "<|channel>thought\nuse <|tool_call>what<channel|>Hi", "(use <|tool_call>what)[Hi]"},
    {kGemma, "<|tool_call>call:now{}<tool_call|><tool_call|>\n<|tool_response>", "#0 now{}!"},
    {kGemma, "<|tool_call>call:now{}<|tool_response>", "#0 now{}!"},
    {kGemma, "<|tool_call>call:now{}<|tool_call>call:now{}", "#0 now{}!#1 now{}!"},
    {kGemma, "<|tool_call>call:now{} <|channel>thought\nx<channel|>Hi", "#0 now{}!(x)[Hi]"},
    {kGemma, "<|tool_call>call:now{}<b>", "#0 now{}![<b>]"},
    {kGemma, "a <tool_call|> b", "[a <tool_call|> b]"},
    {kGemma, "Need it.\n<channel|><|tool_call>call:now{}<tool_call|>", "(Need it.)#0 now{}!", true},
    {kGemma, "<|tool_call>call:now{a:]}<tool_call|>x", "#0 now{\"a\": [x]"},
    // Llama.
    {kLlama, "{\"name\": \"now\", \"parameters\": {\"a\": \"b\"}}", "#0 now{\"a\": \"b\"}!"},
    {kLlama, "\n<|python_tag|>{\"name\": \"now\", \"parameters\": {}}", "#0 now{}!"},
    {kLlama, "{\"name\": \"unknown\", \"parameters\": {}}",
     "[{\"name\": \"unknown\", \"parameters\": {}}]"},
    {kLlama, "{\"a\": [1, 2]}", "[{\"a\": [1, 2]}]"},
    {kLlama, "Use {\"name\": \"now\"}", "[Use {\"name\": \"now\"}]"},
    {kLlama, "  {curly", "[  {curly]"},
};

std::string expected_of(const Case& c) {
    // One row tells its reasoning by the expectation alone.
    return c.expected;
}

TEST(OutputParser, TakesAnswersApart) {
    for (Case c : kCases) {
        std::string text = c.text;
        if (std::string_view(c.expected).starts_with("(thinking)")) {
            text = "thinking\n" + text;
            c.text = text.c_str();
            c.in_reasoning = true;
        }
        SCOPED_TRACE(std::string(to_string(c.format)) + ": " + c.text);
        EXPECT_EQ(parse(c, [] { return std::size_t{1} << 20; }), expected_of(c));
    }
}

TEST(OutputParser, CutsDoNotMatter) {
    Rng rng(7);
    for (const Case& c : kCases) {
        SCOPED_TRACE(std::string(to_string(c.format)) + ": " + c.text);
        const std::string whole = parse(c, [] { return std::size_t{1} << 20; });
        EXPECT_EQ(parse(c, [] { return std::size_t{1}; }), whole);
        for (int round = 0; round < 20; ++round) {
            EXPECT_EQ(parse(c, [&] { return 1 + rng.below(9); }), whole);
        }
    }
}

TEST(OutputParser, TagsWithATokenAreRecognisedByItAlone) {
    OutputParserOptions options;
    options.format = kHermes;
    options.tools = kTools;
    options.tag_tokens = {{"<think>", 1}, {"</think>", 2}, {"<tool_call>", 3}};
    OutputParser parser(options);
    ParsedOutput out;
    parser.push(1, "<think>", out);
    EXPECT_TRUE(parser.in_reasoning());
    parser.push(9, "spelled </think> out", out);
    parser.push(2, "</think>", out);
    parser.push(9, "\n\nA <tool_call> and ", out);
    parser.push(1, "<think>", out);
    parser.push(9, "x", out);
    parser.push(2, "</think>", out);
    parser.push(3, "<tool_call>", out);
    parser.push(9, "{\"name\":\"now\"}", out);
    parser.push(4, "</tool_call>", out);
    parser.finish(true, out);
    std::string description;
    std::string kinds;
    describe(out, description, kinds);
    EXPECT_EQ(description, "(spelled </think> out)[A <tool_call> and ](x)#0 now{}!");
    EXPECT_EQ(parser.n_complete_calls(), 1);
}

TEST(OutputParser, StrayTokensOfGemmaAreDropped) {
    OutputParserOptions options;
    options.format = kGemma;
    options.tools = kTools;
    options.tag_tokens = {{"<tool_call|>", 1}, {"<|tool_response>", 2}, {"<channel|>", 3}};
    EXPECT_EQ(tags_of(kGemma).size(), 5U);
    OutputParser parser(options);
    ParsedOutput out;
    parser.push(9, "Hi", out);
    parser.push(1, "<tool_call|>", out);
    parser.push(3, "<channel|>", out);
    parser.push(9, " there", out);
    parser.push(2, "<|tool_response>", out);
    parser.finish(true, out);
    std::string description;
    std::string kinds;
    describe(out, description, kinds);
    EXPECT_EQ(description, "[Hi there");
}

TEST(OutputParser, ATokenEndsACallOfGemmaThatLacksItsMark) {
    OutputParserOptions options;
    options.format = kGemma;
    options.tools = kTools;
    options.tag_tokens = {{"<|tool_call>", 1},
                          {"<tool_call|>", 2},
                          {"<|channel>", 3},
                          {"<channel|>", 4},
                          {"<|tool_response>", 5}};
    const auto parsed = [&](const std::vector<std::pair<int, const char*>>& tokens) {
        OutputParser parser(options);
        ParsedOutput out;
        for (const auto& [id, text] : tokens)
            parser.push(id, text, out);
        parser.finish(true, out);
        std::string description;
        std::string kinds;
        describe(out, description, kinds);
        return description;
    };
    EXPECT_EQ(parsed({{1, "<|tool_call>"},
                      {9, "call:now{}"},
                      {1, "<|tool_call>"},
                      {9, "call:now{}"},
                      {2, "<tool_call|>"},
                      {5, "<|tool_response>"}}),
              "#0 now{}!#1 now{}!");
    EXPECT_EQ(parsed({{1, "<|tool_call>"},
                      {9, "call:now{}"},
                      {3, "<|channel>"},
                      {9, "thought\nx"},
                      {4, "<channel|>"},
                      {9, "Hi"}}),
              "#0 now{}!(x)[Hi");
    // Inside a string of a call the token is only text.
    EXPECT_EQ(parsed({{1, "<|tool_call>"},
                      {9, "call:now{a:<|\"|>x"},
                      {3, "<|channel>"},
                      {9, "<|\"|>}"},
                      {2, "<tool_call|>"}}),
              "#0 now{\"a\": \"x<|channel>\"}!");
}

TEST(OutputParser, AContinuationThinksFirstOrNotAtAll) {
    const auto parsed = [](std::vector<std::pair<std::int32_t, const char*>> tokens) {
        OutputParserOptions options;
        options.tag_tokens = {{"<think>", 1}, {"</think>", 2}};
        options.thinks_first = true;
        OutputParser parser(options);
        ParsedOutput out;
        for (const auto& [token, text] : tokens)
            parser.push(token, text, out);
        parser.finish(true, out);
        std::string description;
        std::string kinds;
        describe(out, description, kinds);
        return description;
    };
    EXPECT_EQ(parsed({{9, "\n"}, {1, "<think>"}, {9, "a"}, {2, "</think>"}, {9, "\nb"}}), "(a)[b");
    EXPECT_EQ(parsed({{9, "The tag "}, {1, "<think>"}, {9, " is a tag."}}),
              "[The tag <think> is a tag.");
    EXPECT_EQ(parsed({{9, "x"}, {2, "</think>"}}), "[x</think>");
    EXPECT_EQ(parsed({{9, " x \n"}}), "[ x \n");
}

TEST(OutputParser, WithoutToolsMarkupIsText) {
    OutputParserOptions options;
    options.format = kQwen;
    OutputParser parser(options);
    ParsedOutput out;
    parser.push(-1, "<tool_call>\n<function=now>", out);
    parser.finish(true, out);
    ASSERT_EQ(out.pieces.size(), 1U);
    EXPECT_EQ(out.text, "<tool_call>\n<function=now>");
    EXPECT_EQ(parser.n_complete_calls(), 0);
}

} // namespace
} // namespace bloom::text
