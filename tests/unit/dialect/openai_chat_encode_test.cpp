#include <limits>

#include <gtest/gtest.h>

#include <bloom/dialect/error_body.hpp>
#include <bloom/dialect/openai_chat.hpp>

namespace bloom::dialect {
namespace {

gen::RenderSpec spec(bool stream, bool usage = false) {
    gen::RenderSpec s;
    s.response_id = "chatcmpl-1";
    s.created = 1760000000;
    s.model = "m";
    s.fingerprint = "fp_0";
    s.stream = stream;
    s.include_usage = usage;
    return s;
}

gen::Event event(gen::EventKind kind, std::string text = {}) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    return e;
}

std::vector<gen::Event> conversation() {
    gen::Event finished = event(gen::EventKind::finished);
    finished.finish = gen::Finish::length;
    gen::Event usage = event(gen::EventKind::usage);
    usage.usage = {12, 4, 34, 3};
    return {event(gen::EventKind::accepted),
            event(gen::EventKind::started),
            event(gen::EventKind::reasoning_delta, "hm"),
            event(gen::EventKind::text_delta, "a\"\n"),
            event(gen::EventKind::text_delta, "b"),
            finished,
            usage};
}

std::string encode(const gen::RenderSpec& s, const std::vector<gen::Event>& events) {
    const auto encoder = make_encoder(s);
    std::string out;
    for (const gen::Event& e : events)
        encoder->append(e, out);
    encoder->finish(out);
    return out;
}

const std::string kHead =
    R"("id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"m",)"
    R"("system_fingerprint":"fp_0","choices":[)";

std::string chunk(const std::string& delta, const std::string& finish) {
    return "data: {" + kHead + R"({"index":0,"delta":)" + delta +
           R"(,"logprobs":null,"finish_reason":)" + finish + "}]}\n\n";
}

TEST(ChatEncode, StreamIsByteForByteTheContract) {
    const std::string expected = chunk(R"({"role":"assistant","content":""})", "null") +
                                 chunk(R"({"reasoning_content":"hm"})", "null") +
                                 chunk(R"({"content":"a\"\n"})", "null") +
                                 chunk(R"({"content":"b"})", "null") + chunk("{}", "\"length\"");
    EXPECT_EQ(encode(spec(true), conversation()), expected);
    EXPECT_EQ(make_encoder(spec(true))->end_of_stream(), "data: [DONE]\n\n");
}

TEST(ChatEncode, UsageChunkOnlyOnRequest) {
    const std::string out = encode(spec(true, true), conversation());
    const std::string tail =
        "data: {" + kHead +
        R"(],"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46,)"
        R"("prompt_tokens_details":{"cached_tokens":4},)"
        R"("completion_tokens_details":{"reasoning_tokens":3}}})"
        "\n\n";
    ASSERT_GT(out.size(), tail.size());
    EXPECT_EQ(out.substr(out.size() - tail.size()), tail);
    EXPECT_EQ(encode(spec(true), conversation()).find("usage"), std::string::npos);
}

TEST(ChatEncode, WholeBody) {
    EXPECT_EQ(
        encode(spec(false), conversation()),
        R"({"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"m",)"
        R"("system_fingerprint":"fp_0","choices":[{"index":0,"message":{"role":"assistant","content":"a\"\nb",)"
        R"("reasoning_content":"hm","refusal":null},"logprobs":null,"finish_reason":"length"}],)"
        R"("usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46,)"
        R"("prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}})");
}

TEST(ChatEncode, HiddenReasoningLeavesNoTrace) {
    gen::RenderSpec s = spec(true);
    s.reasoning = gen::ReasoningMode::hidden;
    EXPECT_EQ(encode(s, conversation()).find("hm"), std::string::npos);
    s.stream = false;
    EXPECT_EQ(encode(s, conversation()).find("reasoning_content"), std::string::npos);
}

TEST(ChatEncode, EmptyAnswerStillHasItsPreamble) {
    gen::Event finished = event(gen::EventKind::finished);
    finished.finish = gen::Finish::stop;
    EXPECT_EQ(encode(spec(true), {finished}),
              chunk(R"({"role":"assistant","content":""})", "null") + chunk("{}", "\"stop\""));
}

TEST(ChatEncode, FailureInAStreamIsAnErrorFrameWithoutProviderText) {
    gen::Event failed = event(gen::EventKind::failed, "secret detail");
    failed.failure = gen::Failure::provider;
    const std::string out = encode(spec(true), {event(gen::EventKind::text_delta, "a"), failed});
    EXPECT_NE(out.find(R"(data: {"error":{"message":)"), std::string::npos);
    EXPECT_EQ(out.find("secret"), std::string::npos);
    EXPECT_NE(out.find(R"("type":"provider_error")"), std::string::npos);
}

TEST(ChatEncode, BatchingDoesNotChangeBytes) {
    // The encoder sees one event at a time; state between events is all that matters.
    const auto events = conversation();
    const auto encoder = make_encoder(spec(true));
    std::string pieces;
    for (const gen::Event& e : events) {
        std::string piece;
        encoder->append(e, piece);
        pieces += piece;
    }
    EXPECT_EQ(pieces, encode(spec(true), events));
}

gen::Event tool(gen::EventKind kind, std::int32_t index, std::string text = {},
                std::int32_t choice = 0) {
    gen::Event e = event(kind, std::move(text));
    e.tool_index = index;
    e.choice = choice;
    return e;
}

std::vector<gen::Event> calls() {
    using enum gen::EventKind;
    gen::Event done = event(finished);
    done.finish = gen::Finish::tool_calls;
    gen::Event total = event(usage);
    total.usage = {1, 0, 2, 0};
    return {tool(tool_begin, 0, "f"),
            tool(tool_args, 0, "{\"a\""),
            tool(tool_args, 0, ":1}"),
            tool(tool_end, 0),
            tool(tool_begin, 1, "g"),
            tool(tool_args, 1, "{}"),
            tool(tool_end, 1),
            done,
            total};
}

TEST(ChatEncode, CallsStreamAsTheyAreWritten) {
    const std::string out = encode(spec(true), calls());
    const std::string id0 = out.substr(out.find("call_"), 29);
    const std::string id1 = out.substr(out.find("call_", out.find(id0) + 1), 29);
    EXPECT_NE(id0, id1);
    const std::string fragment = R"(,"function":{"arguments":)";
    EXPECT_EQ(out,
              chunk(R"({"role":"assistant","content":""})", "null") +
                  chunk(R"({"tool_calls":[{"index":0,"id":")" + id0 +
                            R"(","type":"function","function":{"name":"f","arguments":""}}]})",
                        "null") +
                  chunk(R"({"tool_calls":[{"index":0)" + fragment + R"("{\"a\""}}]})", "null") +
                  chunk(R"({"tool_calls":[{"index":0)" + fragment + R"(":1}"}}]})", "null") +
                  chunk(R"({"tool_calls":[{"index":1,"id":")" + id1 +
                            R"(","type":"function","function":{"name":"g","arguments":""}}]})",
                        "null") +
                  chunk(R"({"tool_calls":[{"index":1)" + fragment + R"("{}"}}]})", "null") +
                  chunk("{}", "\"tool_calls\""));
    // The whole answer names the same calls.
    const std::string body = encode(spec(false), calls());
    EXPECT_NE(body.find(R"("message":{"role":"assistant","content":null,"tool_calls":[{"id":")" +
                        id0 + R"(","type":"function","function":{"name":"f","arguments":)" +
                        R"("{\"a\":1}"}},{"id":")" + id1 +
                        R"(","type":"function","function":{"name":"g","arguments":"{}"}}],)" +
                        R"("refusal":null},"logprobs":null,"finish_reason":"tool_calls"})"),
              std::string::npos)
        << body;
}

TEST(ChatEncode, TextBesideCallsStays) {
    auto events = calls();
    events.insert(events.begin(), event(gen::EventKind::text_delta, "Let me see."));
    EXPECT_NE(encode(spec(false), events).find(R"("content":"Let me see.","tool_calls":[)"),
              std::string::npos);
}

TEST(ChatEncode, FunctionsAreAnsweredByFunctionCall) {
    gen::RenderSpec s = spec(false);
    s.function_calls = true;
    const std::string body = encode(s, calls());
    EXPECT_NE(body.find(R"("content":null,"function_call":{"name":"f","arguments":"{\"a\":1}"},)"
                        R"("refusal":null},"logprobs":null,"finish_reason":"function_call"})"),
              std::string::npos)
        << body;
    s.stream = true;
    const std::string out = encode(s, calls());
    EXPECT_NE(out.find(R"("delta":{"function_call":{"name":"f","arguments":""}})"),
              std::string::npos);
    EXPECT_NE(out.find(R"("delta":{"function_call":{"arguments":":1}"}})"), std::string::npos);
    EXPECT_NE(out.find(R"("finish_reason":"function_call")"), std::string::npos);
    EXPECT_EQ(out.find("tool_calls"), std::string::npos);
}

gen::TokenLogprob token(std::int32_t id, float logprob, std::string bytes) {
    return {id, logprob, std::move(bytes), {}};
}

TEST(ChatEncode, LogProbabilities) {
    using enum gen::EventKind;
    gen::Event a = event(text_delta, "A");
    a.logprobs = {token(1, -0.5F, "A")};
    a.logprobs[0].top = {token(1, -0.5F, "A"), token(2, -2.0F, "B\"")};
    gen::Event b = event(text_delta, "\xc3\xa9");
    b.logprobs = {token(3, -0.25F, "\xc3"),
                  token(4, -std::numeric_limits<float>::infinity(), "\xa9")};
    gen::RenderSpec s = spec(true);
    s.logprobs = true;
    const std::string first =
        R"({"token":"A","logprob":-0.5,"bytes":[65],"top_logprobs":[)"
        R"({"token":"A","logprob":-0.5,"bytes":[65]},{"token":"B\"","logprob":-2,"bytes":[66,34]}]})";
    const std::string second =
        R"({"token":"\\xc3","logprob":-0.25,"bytes":[195],"top_logprobs":[]},)"
        R"({"token":"\\xa9","logprob":-9999.0,"bytes":[169],"top_logprobs":[]})";
    const std::string out = encode(s, {a, b, event(finished)});
    EXPECT_NE(out.find(R"({"content":"A"},"logprobs":{"content":[)" + first +
                       R"(],"refusal":null},"finish_reason":null)"),
              std::string::npos)
        << out;
    EXPECT_NE(out.find(R"("logprobs":{"content":[)" + second + R"(],"refusal":null})"),
              std::string::npos)
        << out;
    EXPECT_NE(out.find(R"("delta":{},"logprobs":null,"finish_reason":"stop")"), std::string::npos);
    s.stream = false;
    EXPECT_NE(encode(s, {a, b, event(finished)})
                  .find(R"("logprobs":{"content":[)" + first + "," + second +
                        R"(],"refusal":null},"finish_reason":"stop")"),
              std::string::npos);
    s.logprobs = false;
    EXPECT_NE(encode(s, {a, b}).find(R"("logprobs":null)"), std::string::npos);
}

TEST(ChatEncode, ChoicesAreNumberedAndApart) {
    using enum gen::EventKind;
    const auto of = [](std::int32_t choice, gen::Event e) {
        e.choice = choice;
        return e;
    };
    const std::vector<gen::Event> events{
        of(1, event(text_delta, "b")), of(0, event(text_delta, "a")), of(1, event(finished)),
        tool(tool_begin, 0, "f", 0),   tool(tool_args, 0, "{}", 0),   of(0, event(finished))};
    const std::string out = encode(spec(true), events);
    EXPECT_NE(out.find(R"([{"index":1,"delta":{"role":"assistant","content":""})"),
              std::string::npos);
    EXPECT_NE(out.find(R"([{"index":0,"delta":{"role":"assistant","content":""})"),
              std::string::npos);
    const std::string body = encode(spec(false), events);
    const std::size_t a = body.find(R"({"index":0,"message":{"role":"assistant","content":"a")");
    const std::size_t b = body.find(R"({"index":1,"message":{"role":"assistant","content":"b")");
    ASSERT_NE(a, std::string::npos);
    ASSERT_NE(b, std::string::npos);
    EXPECT_LT(a, b);
}

TEST(ChatEncode, MetadataStandsOnTheLastChunk) {
    gen::RenderSpec s = spec(true);
    s.metadata = R"({"provider_id":"p"})";
    const std::string member = R"(,"metadata":{"provider_id":"p"}})";
    EXPECT_TRUE(encode(s, conversation()).ends_with(member + "\n\n"));
    s.include_usage = true;
    const std::string out = encode(s, conversation());
    EXPECT_TRUE(out.ends_with(member + "\n\n"));
    EXPECT_EQ(out.find(member), out.rfind(member));
    s.stream = false;
    EXPECT_TRUE(encode(s, conversation()).ends_with(member));
}

TEST(OpenAiError, AllFourMembers) {
    std::string out;
    append_openai_error(out, "no \"x\"", "invalid_request_error", "", "");
    EXPECT_EQ(out, R"({"error":{"message":"no \"x\"","type":"invalid_request_error","param":null,)"
                   R"("code":"invalid_request_error"}})");
}

} // namespace
} // namespace bloom::dialect
