#include <limits>

#include <gtest/gtest.h>

#include <bloom/dialect/openai_completions.hpp>

namespace bloom::dialect {
namespace {

Parsed<gen::Generation> parse(std::string_view body) {
    json::Parser parser;
    const auto value = parser.parse(body);
    EXPECT_TRUE(value.has_value()) << body;
    Parsed<Request> request = parse_openai_completions(*value);
    if (!request) return std::unexpected(std::move(request).error());
    return std::move(request->generation);
}

std::string with(std::string_view extra) {
    std::string body = R"({"model":"m","prompt":"Once")";
    if (!extra.empty()) body += ",";
    return body + std::string(extra) + "}";
}

TEST(CompletionsParse, Prompts) {
    using Texts = std::vector<std::string>;
    using Ids = std::vector<std::vector<std::int32_t>>;
    EXPECT_EQ(parse(with(""))->prompts, Texts{"Once"});
    EXPECT_EQ(parse(with(R"("prompt":["a",""])"))->prompts, (Texts{"a", ""}));
    EXPECT_EQ(parse(with(R"("prompt":[1,2])"))->token_prompts, (Ids{{1, 2}}));
    const auto g = parse(with(R"("prompt":[[1,2],[3]],"n":2)"));
    EXPECT_EQ(g->token_prompts, (Ids{{1, 2}, {3}}));
    EXPECT_TRUE(g->prompts.empty()) << "the last duplicate wins";
    EXPECT_TRUE(g->messages.empty());
    EXPECT_EQ(gen::n_answers(*g), 4);
}

TEST(CompletionsParse, ReadsEverythingItHonours) {
    const auto g = parse(with(R"("max_tokens":5,"temperature":0,"n":3,"stream":true,
        "stream_options":{"include_usage":true},"stop":"x","seed":1,"logprobs":5,"best_of":1,
        "suffix":"","user":"u","presence_penalty":1,"logit_bias":{"1":1},"provider_serial":"s")"));
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_EQ(g->render.dialect, gen::Dialect::openai_completions);
    EXPECT_EQ(g->limits.max_tokens, 5);
    EXPECT_EQ(g->n_choices, 3);
    EXPECT_TRUE(g->render.stream);
    EXPECT_TRUE(g->render.include_usage);
    EXPECT_EQ(g->limits.stop, std::vector<std::string>{"x"});
    EXPECT_TRUE(g->sampling.logprobs);
    EXPECT_EQ(g->sampling.top_logprobs, 5);
    EXPECT_TRUE(g->render.logprobs);
    EXPECT_FALSE(g->echo);
    EXPECT_EQ(g->routing.provider_serials, std::vector<std::string>{"s"});
    EXPECT_EQ(parse(with(""))->limits.max_tokens, 8192);
    EXPECT_TRUE(parse(with(R"("echo":true,"logprobs":null)"))->echo);
    EXPECT_TRUE(parse(with(R"("logprobs":0)"))->sampling.logprobs);
}

TEST(CompletionsParse, RefusesByName) {
    struct Refusal {
        const char* extra;
        const char* param;
        const char* code;
    };

    const Refusal cases[] = {
        {R"("suffix":"x")", "suffix", "unsupported_parameter"},
        {R"("best_of":2)", "best_of", "unsupported_parameter"},
        {R"("n":9)", "n", "invalid_value"},
        {R"("logprobs":6)", "logprobs", "invalid_value"},
        {R"("logprobs":true)", "logprobs", "invalid_type"},
        {R"("echo":true,"logprobs":1)", "logprobs", "unsupported_parameter"},
        {R"("echo":1)", "echo", "invalid_type"},
        {R"("prompt":[])", "prompt", "invalid_value"},
        {R"("prompt":{})", "prompt", "invalid_type"},
        {R"("prompt":["a",1])", "prompt[1]", "invalid_type"},
        {R"("prompt":[1,"a"])", "prompt[1]", "invalid_type"},
        {R"("prompt":[1,-1])", "prompt[1]", "invalid_value"},
        {R"("prompt":[[1],[]])", "prompt[1]", "invalid_value"},
        {R"("prompt":[[1],"a"])", "prompt[1]", "invalid_type"},
        {R"("prompt":[[4294967296]])", "prompt[0][0]", "invalid_value"},
        {R"("model":"")", "model", "missing_required_parameter"},
        {R"("temperature":3)", "temperature", "invalid_value"},
    };
    for (const Refusal& c : cases) {
        const auto g = parse(with(c.extra));
        ASSERT_FALSE(g.has_value()) << c.extra;
        EXPECT_EQ(g.error().param, c.param) << c.extra;
        EXPECT_EQ(g.error().code, c.code) << c.extra;
    }
    EXPECT_EQ(parse(R"({"model":"m"})").error().param, "prompt");
    EXPECT_EQ(parse("7").error().code, "invalid_json");
    std::string many = R"("prompt":["0")";
    for (int i = 1; i < 32; ++i)
        many += ",\"" + std::to_string(i) + "\"";
    EXPECT_TRUE(parse(with(many + "]")).has_value());
    EXPECT_EQ(parse(with(many + R"(,"32"])")).error().param, "prompt");
}

gen::RenderSpec spec(bool stream, bool logprobs = false) {
    gen::RenderSpec s;
    s.dialect = gen::Dialect::openai_completions;
    s.response_id = "cmpl-1";
    s.created = 1760000000;
    s.model = "m";
    s.fingerprint = "fp_0";
    s.stream = stream;
    s.logprobs = logprobs;
    return s;
}

gen::Event event(gen::EventKind kind, std::string text = {}, std::int32_t choice = 0) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    e.choice = choice;
    return e;
}

std::string encode(const gen::RenderSpec& s, const std::vector<gen::Event>& events) {
    const auto encoder = make_encoder(s);
    std::string out;
    for (const gen::Event& e : events)
        encoder->append(e, out);
    encoder->finish(out);
    return out;
}

std::vector<gen::Event> two_choices() {
    using enum gen::EventKind;
    gen::Event cut = event(finished, {}, 1);
    cut.finish = gen::Finish::length;
    gen::Event total = event(usage);
    total.usage = {3, 0, 4, 1};
    return {event(accepted),
            event(reasoning_delta, "hm"),
            event(text_delta, "b\n", 1),
            event(text_delta, "a", 0),
            event(finished, {}, 0),
            cut,
            total};
}

const std::string kHead = R"("id":"cmpl-1","object":"text_completion","created":1760000000,)"
                          R"("model":"m","system_fingerprint":"fp_0","choices":[)";
const std::string kUsage = R"("usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,)"
                           R"("prompt_tokens_details":{"cached_tokens":0},)"
                           R"("completion_tokens_details":{"reasoning_tokens":1}})";

std::string choice(int index, const std::string& text, const std::string& finish) {
    return R"({"index":)" + std::to_string(index) + R"(,"text":")" + text +
           R"(","logprobs":null,"finish_reason":)" + finish + "}";
}

TEST(CompletionsEncode, WholeBody) {
    EXPECT_EQ(encode(spec(false), two_choices()), "{" + kHead + choice(0, "a", "\"stop\"") + "," +
                                                      choice(1, "b\\n", "\"length\"") + "]," +
                                                      kUsage + "}");
}

TEST(CompletionsEncode, Stream) {
    gen::RenderSpec s = spec(true);
    const auto chunk = [](const std::string& c) { return "data: {" + kHead + c + "]}\n\n"; };
    const std::string chunks = chunk(choice(1, "b\\n", "null")) + chunk(choice(0, "a", "null")) +
                               chunk(choice(0, "", "\"stop\"")) +
                               chunk(choice(1, "", "\"length\""));
    EXPECT_EQ(encode(s, two_choices()), chunks);
    s.include_usage = true;
    EXPECT_EQ(encode(s, two_choices()), chunks + "data: {" + kHead + "]," + kUsage + "}\n\n");
    EXPECT_EQ(make_encoder(s)->end_of_stream(), "data: [DONE]\n\n");
}

TEST(CompletionsEncode, LogProbabilitiesInFourLists) {
    using enum gen::EventKind;
    gen::Event first = event(text_delta, "h\xc3\xa9");
    first.logprobs = {{1, -1.0F, "h", {{1, -1.0F, "h", {}}, {2, -1.5F, "x", {}}}},
                      {3, -2.0F, "\xc3", {{5, -0.125F, "q", {}}, {6, -3.0F, "q", {}}}},
                      {4, -std::numeric_limits<float>::infinity(), "\xa9", {}}};
    gen::Event second = event(text_delta, "!");
    second.logprobs = {{7, -0.5F, "!", {}}};
    const std::string body = encode(spec(false, true), {first, second, event(finished)});
    EXPECT_NE(
        body.find(R"("text":"hé!","logprobs":{"tokens":["h","bytes:\\xc3","bytes:\\xa9","!"],)"
                  R"("token_logprobs":[-1,-2,-9999.0,-0.5],)"
                  R"("top_logprobs":[{"h":-1,"x":-1.5},{"q":-0.125,"bytes:\\xc3":-2},)"
                  R"({"bytes:\\xa9":-9999.0},{"!":-0.5}],"text_offset":[0,1,2,2]})"),
        std::string::npos)
        << body;
    const std::string out = encode(spec(true, true), {first, second, event(finished)});
    EXPECT_NE(out.find(R"("text":"!","logprobs":{"tokens":["!"],"token_logprobs":[-0.5],)"
                       R"("top_logprobs":[{"!":-0.5}],"text_offset":[2]},"finish_reason":null)"),
              std::string::npos)
        << out;
}

TEST(CompletionsEncode, FailureInAStreamIsAnErrorFrame) {
    gen::Event failed = event(gen::EventKind::failed, "secret detail");
    failed.failure = gen::Failure::timeout;
    const std::string out = encode(spec(true), {event(gen::EventKind::text_delta, "a"), failed});
    EXPECT_NE(out.find(R"(data: {"error":{"message":)"), std::string::npos);
    EXPECT_EQ(out.find("secret"), std::string::npos);
}

TEST(Completions, IdsHaveNoDashes) {
    EXPECT_EQ(kOpenAiCompletions.response_id("12-34-5"), "cmpl-12345");
}

} // namespace
} // namespace bloom::dialect
