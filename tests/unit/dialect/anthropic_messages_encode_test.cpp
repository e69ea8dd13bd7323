#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/dialect/anthropic_messages.hpp>

#include "dialect/render.hpp"
#include "unit/dialect/allocation_counter.hpp"

namespace bloom::dialect {
namespace {

using gen::EventKind;

gen::RenderSpec spec(bool stream, bool thinking = false) {
    gen::RenderSpec s;
    s.dialect = gen::Dialect::anthropic_messages;
    s.response_id = "msg_1";
    s.model = "m";
    s.stream = stream;
    s.reasoning = thinking ? gen::ReasoningMode::parsed : gen::ReasoningMode::hidden;
    s.thinking_key = "key";
    return s;
}

gen::Event event(EventKind kind, std::string text = {}, std::int32_t tool = 0) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    e.tool_index = tool;
    return e;
}

gen::Event started() {
    gen::Event e = event(EventKind::started);
    e.usage = {12, 4, 0, 0};
    return e;
}

gen::Event finished(gen::Finish finish, std::string stop = {}) {
    gen::Event e = event(EventKind::finished, std::move(stop));
    e.finish = finish;
    return e;
}

gen::Event usage() {
    gen::Event e = event(EventKind::usage);
    e.usage = {12, 4, 34, 3};
    return e;
}

std::string encode(const gen::RenderSpec& s, const std::vector<gen::Event>& events) {
    const auto encoder = make_encoder(s);
    std::string out;
    for (const gen::Event& e : events)
        encoder->append(e, out);
    encoder->finish(out);
    out += encoder->end_of_stream();
    return out;
}

std::string sse(const std::string& type, const std::string& members = {}) {
    return "event: " + type + "\ndata: {\"type\":\"" + type + '"' + (members.empty() ? "" : ",") +
           members + "}\n\n";
}

std::string counts(int output, int thinking) {
    return R"("input_tokens":8,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,)"
           R"("output_tokens":)" +
           std::to_string(output) + R"(,"output_tokens_details":{"thinking_tokens":)" +
           std::to_string(thinking) + R"(},"server_tool_use":null)";
}

const std::string kUsageTail =
    R"(,"cache_creation":null,"inference_geo":null,"service_tier":"standard","speed":null})";

std::string message_start() {
    return sse("message_start",
               R"("message":{"id":"msg_1","type":"message","role":"assistant","model":"m",)"
               R"("content":[],"stop_reason":null,"stop_sequence":null,"stop_details":null,)"
               R"("container":null,"diagnostics":null,"usage":{)" +
                   counts(1, 0) + kUsageTail + "}");
}

std::string block_start(int index, const std::string& block) {
    return sse("content_block_start",
               "\"index\":" + std::to_string(index) + ",\"content_block\":" + block);
}

std::string delta(int index, const std::string& type, const std::string& member,
                  const std::string& json) {
    return sse("content_block_delta", "\"index\":" + std::to_string(index) +
                                          ",\"delta\":{\"type\":\"" + type + "\",\"" + member +
                                          "\":" + json + "}");
}

std::string block_stop(int index) {
    return sse("content_block_stop", "\"index\":" + std::to_string(index));
}

std::string message_end(const std::string& reason, const std::string& sequence = "null",
                        const std::string& more = {}) {
    return sse("message_delta", R"("delta":{"stop_reason":")" + reason + R"(","stop_sequence":)" +
                                    sequence + R"(,"stop_details":null,"container":null},)" +
                                    R"("usage":{)" + counts(34, 3) + "}" + more) +
           sse("message_stop");
}

const std::string kTextBlock = R"({"type":"text","text":"","citations":null})";

std::string signature(std::string_view thinking) {
    return to_base64(crypto::hmac_sha256(as_bytes("key"), as_bytes(thinking)));
}

TEST(MessagesEncode, TextStreamIsByteForByteTheContract) {
    EXPECT_EQ(
        encode(spec(true),
               {event(EventKind::accepted), started(), event(EventKind::reasoning_delta, "hm"),
                event(EventKind::text_delta, "a\"\n"), event(EventKind::text_delta, "é"),
                finished(gen::Finish::length), usage()}),
        message_start() + block_start(0, kTextBlock) +
            delta(0, "text_delta", "text", R"("a\"\n")") + delta(0, "text_delta", "text", "\"é\"") +
            block_stop(0) + message_end("max_tokens"));
}

TEST(MessagesEncode, ThinkingTextAndCallsAreBlocksOneAfterAnother) {
    const gen::RenderSpec s = spec(true, true);
    const auto id = [&](int index) { return derived_id(s, "toolu_", 0, index); };
    const auto call = [&](int index, const std::string& name) {
        return R"({"type":"tool_use","id":")" + id(index) + R"(","name":")" + name +
               R"(","input":{},"caller":{"type":"direct"}})";
    };
    EXPECT_EQ(
        encode(s, {started(), event(EventKind::reasoning_delta, "let "),
                   event(EventKind::reasoning_delta, "me see"), event(EventKind::text_delta, "So:"),
                   event(EventKind::tool_begin, "f", 0), event(EventKind::tool_args, "{\"x\":", 0),
                   event(EventKind::tool_args, "1}", 0), event(EventKind::tool_end, {}, 0),
                   event(EventKind::tool_begin, "g", 1), event(EventKind::tool_args, "{}", 1),
                   event(EventKind::tool_end, {}, 1), finished(gen::Finish::tool_calls), usage()}),
        message_start() + block_start(0, R"({"type":"thinking","thinking":"","signature":""})") +
            delta(0, "thinking_delta", "thinking", R"("let ")") +
            delta(0, "thinking_delta", "thinking", R"("me see")") +
            delta(0, "signature_delta", "signature", '"' + signature("let me see") + '"') +
            block_stop(0) + block_start(1, kTextBlock) +
            delta(1, "text_delta", "text", R"("So:")") + block_stop(1) +
            block_start(2, call(0, "f")) +
            delta(2, "input_json_delta", "partial_json", R"("{\"x\":")") +
            delta(2, "input_json_delta", "partial_json", R"("1}")") + block_stop(2) +
            block_start(3, call(1, "g")) + delta(3, "input_json_delta", "partial_json", R"("{}")") +
            block_stop(3) + message_end("tool_use"));
    EXPECT_NE(id(0), id(1));
    EXPECT_EQ(id(0).size(), 30U);
}

TEST(MessagesEncode, WholeMessage) {
    const gen::RenderSpec s = spec(false, true);
    EXPECT_EQ(
        encode(s,
               {started(), event(EventKind::reasoning_delta, "h"),
                event(EventKind::reasoning_delta, "m"), event(EventKind::text_delta, "a"),
                event(EventKind::text_delta, "b"), event(EventKind::tool_begin, "f", 0),
                event(EventKind::tool_args, "{\"x\": ", 0), event(EventKind::tool_args, "[1]}", 0),
                event(EventKind::tool_end, {}, 0), finished(gen::Finish::tool_calls), usage()}),
        R"({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[)"
        R"({"type":"thinking","thinking":"hm","signature":")" +
            signature("hm") +
            R"("},{"type":"text","text":"ab","citations":null},)"
            R"({"type":"tool_use","id":")" +
            derived_id(s, "toolu_", 0, 0) +
            R"(","name":"f","input":{"x": [1]},"caller":{"type":"direct"}}],)"
            R"("stop_reason":"tool_use","stop_sequence":null,"stop_details":null,"container":null,)"
            R"("diagnostics":null,"usage":{)" +
            counts(34, 3) + kUsageTail + "}");
}

TEST(MessagesEncode, StopReasons) {
    for (const bool stream : {true, false}) {
        const auto end = [&](const gen::Event& e) {
            return encode(spec(stream), {started(), event(EventKind::text_delta, "a"), e, usage()});
        };
        EXPECT_NE(end(finished(gen::Finish::stop))
                      .find(R"("stop_reason":"end_turn","stop_sequence":null)"),
                  std::string::npos);
        EXPECT_NE(end(finished(gen::Finish::stop, "\"X"))
                      .find(R"("stop_reason":"stop_sequence","stop_sequence":"\"X")"),
                  std::string::npos);
        EXPECT_NE(end(finished(gen::Finish::length)).find(R"("stop_reason":"max_tokens")"),
                  std::string::npos);
    }
}

TEST(MessagesEncode, AnEmptyAnswerHasNoBlocks) {
    EXPECT_EQ(encode(spec(true), {started(), finished(gen::Finish::stop), usage()}),
              message_start() + message_end("end_turn"));
    EXPECT_NE(encode(spec(false), {started(), finished(gen::Finish::stop), usage()})
                  .find(R"("content":[],"stop_reason":"end_turn")"),
              std::string::npos);
}

TEST(MessagesEncode, HiddenThinkingLeavesNoTrace) {
    for (const bool stream : {true, false}) {
        const std::string out =
            encode(spec(stream),
                   {started(), event(EventKind::reasoning_delta, "secret"),
                    event(EventKind::text_delta, "a"), finished(gen::Finish::stop), usage()});
        EXPECT_EQ(out.find("secret"), std::string::npos);
        EXPECT_EQ(out.find(R"("type":"thinking")"), std::string::npos);
        EXPECT_NE(out.find(R"("thinking_tokens":3)"), std::string::npos) << "it is still counted";
    }
}

TEST(MessagesEncode, NothingIsSaidBeforeTheFirstContent) {
    const auto encoder = make_encoder(spec(true));
    std::string out;
    encoder->append(event(EventKind::accepted), out);
    encoder->append(started(), out);
    EXPECT_TRUE(out.empty());
}

TEST(MessagesEncode, AFailureInAStreamIsAnErrorEventWithoutProviderText) {
    const std::pair<gen::Failure, std::string> kFailures[] = {
        {gen::Failure::provider, "api_error"},
        {gen::Failure::timeout, "overloaded_error"},
        {gen::Failure::overloaded, "overloaded_error"}};
    for (const auto& [failure, type] : kFailures) {
        gen::Event failed = event(EventKind::failed, "secret detail");
        failed.failure = failure;
        const std::string out =
            encode(spec(true), {started(), event(EventKind::text_delta, "a"), failed});
        const std::string message(public_failure(failure).message);
        const std::string last =
            sse("error", R"("error":{"type":")" + type + R"(","message":")" + message + R"("})");
        EXPECT_TRUE(out.ends_with(last)) << out;
        EXPECT_EQ(out.find("message_stop"), std::string::npos);
        EXPECT_EQ(out.find("secret"), std::string::npos);
    }
}

TEST(MessagesEncode, ACallThatWasCutOffHasNoInput) {
    const std::string out = encode(spec(false), {started(), event(EventKind::tool_begin, "f", 0),
                                                 event(EventKind::tool_args, "{\"x\":\"unfin", 0),
                                                 finished(gen::Finish::length), usage()});
    EXPECT_NE(out.find(R"("name":"f","input":{},)"), std::string::npos) << out;
    const std::string streamed =
        encode(spec(true),
               {started(), event(EventKind::tool_begin, "f", 0),
                event(EventKind::tool_args, "{\"x\":", 0), finished(gen::Finish::length), usage()});
    EXPECT_TRUE(streamed.ends_with(block_stop(0) + message_end("max_tokens"))) << streamed;
}

TEST(MessagesEncode, WhatWasAskedForIsAnsweredInBothShapes) {
    for (const bool stream : {true, false}) {
        gen::RenderSpec s = spec(stream);
        s.echoed = R"({"applied_edits":[]})";
        s.metadata = R"({"job_id":"j"})";
        const std::string out = encode(s, {started(), finished(gen::Finish::stop), usage()});
        EXPECT_NE(out.find(R"("context_management":{"applied_edits":[]})"), std::string::npos);
        EXPECT_NE(out.find(R"("metadata":{"job_id":"j"})"), std::string::npos);
    }
}

TEST(MessagesEncode, ThinkingIsSignedForItsResponse) {
    const std::vector<gen::Event> events = {started(), event(EventKind::reasoning_delta, "hm"),
                                            finished(gen::Finish::stop), usage()};
    gen::RenderSpec other = spec(true, true);
    other.thinking_key = "another";
    EXPECT_NE(encode(spec(true, true), events), encode(other, events));
    EXPECT_EQ(encode(other, events), encode(other, events));
}

#if BLOOM_TEST_COUNTS_ALLOCATIONS
TEST(MessagesEncode, ATokenOfAStreamAllocatesNothing) {
    const auto encoder = make_encoder(spec(true, true));
    const gen::Event thinking = event(EventKind::reasoning_delta, "hm, a longer piece of thinking");
    const gen::Event text =
        event(EventKind::text_delta, "a longer piece of the answer, \"quoted\"");
    const gen::Event arguments = event(EventKind::tool_args, "{\"a longer\":\"piece of input\"");
    std::string out;
    out.reserve(1 << 16);
    encoder->append(started(), out);
    encoder->append(thinking, out); // the preamble
    const auto count = [&](const gen::Event& e) {
        const std::int64_t before = test::n_allocations();
        for (int i = 0; i < 100; ++i) {
            out.clear();
            encoder->append(e, out);
        }
        return test::n_allocations() - before;
    };
    EXPECT_EQ(count(thinking), 0);
    encoder->append(text, out); // another block begins
    EXPECT_EQ(count(text), 0);
    encoder->append(event(EventKind::tool_begin, "f"), out);
    EXPECT_EQ(count(arguments), 0);
}
#endif

} // namespace
} // namespace bloom::dialect
