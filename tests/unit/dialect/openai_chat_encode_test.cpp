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

TEST(OpenAiError, AllFourMembers) {
    std::string out;
    append_openai_error(out, "no \"x\"", "invalid_request_error", "", "");
    EXPECT_EQ(out, R"({"error":{"message":"no \"x\"","type":"invalid_request_error","param":null,)"
                   R"("code":"invalid_request_error"}})");
}

} // namespace
} // namespace bloom::dialect
