// The event streams in full are in tests/golden/dialect, where client tests hold them against the
// published schemas; DARKBLOOM_WRITE_GOLDEN=1 writes them anew.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include <bloom/dialect/openai_responses.hpp>

namespace bloom::dialect {
namespace {

using Events = std::vector<gen::Event>;

gen::RenderSpec spec(bool stream) {
    gen::RenderSpec s;
    s.dialect = gen::Dialect::openai_responses;
    s.response_id = "resp_0a1b";
    s.created = 1760000000;
    s.model = "m";
    s.stream = stream;
    json::Parser parser;
    const auto body = parser.parse(
        R"({"model":"m","input":"x","instructions":"Be brief.","metadata":{"k":"v"},"temperature":0.5,
        "tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]})");
    s.echoed = parse_openai_responses(*body)->generation.render.echoed;
    return s;
}

gen::Event event(gen::EventKind kind, std::string text = {}, std::int32_t tool = 0) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    e.tool_index = tool;
    return e;
}

Events begin() {
    gen::Event started = event(gen::EventKind::started);
    started.usage.prompt_tokens = 12;
    started.usage.cached_tokens = 4;
    return {event(gen::EventKind::accepted), started};
}

void end(Events& events, gen::Finish finish) {
    gen::Event finished = event(gen::EventKind::finished);
    finished.finish = finish;
    gen::Event usage = event(gen::EventKind::usage);
    usage.usage = {12, 4, 34, 3};
    events.push_back(finished);
    events.push_back(usage);
}

Events conversation(gen::Finish finish = gen::Finish::stop) {
    Events events = begin();
    events.push_back(event(gen::EventKind::reasoning_delta, "h"));
    events.push_back(event(gen::EventKind::reasoning_delta, "m"));
    events.push_back(event(gen::EventKind::text_delta, "a\"\n"));
    events.push_back(event(gen::EventKind::text_delta, "b"));
    end(events, finish);
    return events;
}

Events calls(gen::Finish finish) {
    Events events = begin();
    events.push_back(event(gen::EventKind::text_delta, "Let me see."));
    events.push_back(event(gen::EventKind::tool_begin, "f"));
    events.push_back(event(gen::EventKind::tool_args, "{\"x\":"));
    events.push_back(event(gen::EventKind::tool_args, "1}"));
    events.push_back(event(gen::EventKind::tool_end));
    events.push_back(event(gen::EventKind::tool_begin, "f", 1));
    events.push_back(event(gen::EventKind::tool_args, "{}", 1));
    if (finish != gen::Finish::length) events.push_back(event(gen::EventKind::tool_end, "", 1));
    end(events, finish);
    return events;
}

Events failing() {
    Events events = begin();
    events.push_back(event(gen::EventKind::text_delta, "a"));
    events.push_back(event(gen::EventKind::failed, "secret detail"));
    events.back().failure = gen::Failure::provider;
    return events;
}

Events with_logprobs() {
    Events events = begin();
    for (const char* const text : {"a", "\xc3\xa9"}) {
        gen::Event e = event(gen::EventKind::text_delta, text);
        e.logprobs.push_back({1, -0.5F, text, {{1, -0.5F, text, {}}, {2, -1.0F, "z", {}}}});
        events.push_back(e);
    }
    end(events, gen::Finish::stop);
    return events;
}

std::string encode(const gen::RenderSpec& s, const Events& events) {
    const auto encoder = make_encoder(s);
    std::string out;
    for (const gen::Event& e : events)
        encoder->append(e, out);
    encoder->finish(out);
    return out;
}

/// Whether `text` is what the file of that name has.
void expect_golden(const std::string& name, const std::string& text) {
    const auto file = std::filesystem::path(BLOOM_SOURCE_DIR) / "tests/golden/dialect" / name;
    if (std::getenv("DARKBLOOM_WRITE_GOLDEN") != nullptr) {
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file, std::ios::binary) << text;
    }
    std::ifstream in(file, std::ios::binary);
    std::stringstream expected;
    expected << in.rdbuf();
    EXPECT_EQ(text, expected.str()) << file;
}

std::vector<std::string> types_of(const std::string& stream) {
    std::vector<std::string> types;
    std::istringstream in(stream);
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("event: ")) types.push_back(line.substr(7));
    }
    return types;
}

std::size_t count(const std::string& text, std::string_view what) {
    std::size_t n = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
        ++n;
    return n;
}

TEST(ResponsesEncode, WholeBody) {
    const std::string echoed = spec(false).echoed;
    EXPECT_EQ(
        encode(spec(false), conversation()),
        R"({"id":"resp_0a1b","object":"response","created_at":1760000000,"completed_at":null,)"
        R"("status":"completed","error":null,"incomplete_details":null,"model":"m","output":[)"
        R"({"type":"reasoning","id":"rs_0a1b_0","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],)"
        R"("status":"completed"},{"type":"message","id":"msg_0a1b_1","role":"assistant","content":[)"
        R"({"type":"output_text","text":"a\"\nb","annotations":[],"logprobs":[]}],"status":"completed"}],)" +
            echoed +
            R"(,"usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},)"
            R"("output_tokens":34,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":46}})");
    EXPECT_EQ(make_encoder(spec(false))->end_of_stream(), "");
}

TEST(ResponsesEncode, StreamsAreByteForByteTheContract) {
    gen::RenderSpec summarised = spec(true);
    summarised.reasoning_summary = true;
    gen::RenderSpec probable = spec(true);
    probable.logprobs = true;
    expect_golden("responses_text.sse", encode(spec(true), conversation()));
    expect_golden("responses_summary.sse", encode(summarised, conversation()));
    expect_golden("responses_incomplete.sse",
                  encode(spec(true), conversation(gen::Finish::length)));
    expect_golden("responses_calls.sse", encode(spec(true), calls(gen::Finish::tool_calls)));
    expect_golden("responses_cut_call.sse", encode(spec(true), calls(gen::Finish::length)));
    expect_golden("responses_failed.sse", encode(summarised, failing()));
    expect_golden("responses_logprobs.sse", encode(probable, with_logprobs()));
}

TEST(ResponsesEncode, EventsComeInTheContractsOrder) {
    gen::RenderSpec s = spec(true);
    s.reasoning_summary = true;
    EXPECT_EQ(
        types_of(encode(s, conversation())),
        (std::vector<std::string>{
            "response.created", "response.in_progress", "response.output_item.added",
            "response.reasoning_summary_part.added", "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done", "response.output_item.done",
            "response.output_item.added", "response.content_part.added",
            "response.output_text.delta", "response.output_text.delta", "response.output_text.done",
            "response.content_part.done", "response.output_item.done", "response.completed"}));
    EXPECT_EQ(
        types_of(encode(spec(true), calls(gen::Finish::tool_calls))),
        (std::vector<std::string>{
            "response.created", "response.in_progress", "response.output_item.added",
            "response.content_part.added", "response.output_text.delta",
            "response.output_text.done", "response.content_part.done", "response.output_item.done",
            "response.output_item.added", "response.function_call_arguments.delta",
            "response.function_call_arguments.delta", "response.function_call_arguments.done",
            "response.output_item.done", "response.output_item.added",
            "response.function_call_arguments.delta", "response.function_call_arguments.done",
            "response.output_item.done", "response.completed"}));
}

TEST(ResponsesEncode, SequenceNumbersCountFromZero) {
    const std::string out = encode(spec(true), calls(gen::Finish::tool_calls));
    const std::size_t n = types_of(out).size();
    for (std::size_t i = 0; i < n; ++i)
        EXPECT_EQ(count(out, "\"sequence_number\":" + std::to_string(i) + ","), 1U) << i;
}

TEST(ResponsesEncode, TheStreamEndsInTheWholeBody) {
    for (const Events& events : {conversation(), conversation(gen::Finish::length),
                                 calls(gen::Finish::tool_calls), calls(gen::Finish::length)}) {
        const std::string stream = encode(spec(true), events);
        const std::string whole = encode(spec(false), events);
        EXPECT_NE(stream.find("\"response\":" + whole + "}\n\n"), std::string::npos);
        EXPECT_TRUE(stream.ends_with(whole + "}\n\n"));
    }
}

TEST(ResponsesEncode, NothingBeforeTheFirstContent) {
    const auto encoder = make_encoder(spec(true));
    std::string out;
    for (const gen::Event& e : begin())
        encoder->append(e, out);
    EXPECT_EQ(out, "");
}

TEST(ResponsesEncode, HiddenReasoningLeavesNoTrace) {
    for (const bool stream : {false, true}) {
        gen::RenderSpec s = spec(stream);
        s.reasoning = gen::ReasoningMode::hidden;
        const std::string out = encode(s, conversation());
        EXPECT_EQ(out.find("\"reasoning\",\"id\""), std::string::npos);
        EXPECT_NE(out.find("\"msg_0a1b_0\""), std::string::npos);
    }
}

TEST(ResponsesEncode, AnEmptyAnswerStillHasItsMessage) {
    Events events = begin();
    end(events, gen::Finish::stop);
    const std::string out = encode(spec(false), events);
    EXPECT_NE(out.find(R"("text":"","annotations")"), std::string::npos);
    EXPECT_EQ(types_of(encode(spec(true), events)).size(), 8U);

    Events thought = begin();
    thought.push_back(event(gen::EventKind::reasoning_delta, "hm"));
    Events cut = thought;
    end(thought, gen::Finish::stop);
    end(cut, gen::Finish::length);
    EXPECT_EQ(count(encode(spec(false), thought), R"("type":"message")"), 1U);
    const std::string body = encode(spec(false), cut);
    EXPECT_EQ(count(body, R"("type":"message")"), 0U) << "thinking took all there was";
    EXPECT_NE(body.find(R"("status":"incomplete"}])"), std::string::npos);
}

TEST(ResponsesEncode, AFailureSaysNothingOfTheProvidersOwn) {
    const std::string out = encode(spec(true), failing());
    EXPECT_EQ(out.find("secret"), std::string::npos);
    const auto types = types_of(out);
    ASSERT_GE(types.size(), 2U);
    EXPECT_EQ(types[types.size() - 2], "error");
    EXPECT_EQ(types.back(), "response.failed");
    // Before any content: what keep-alives committed begins and fails.
    Events early = begin();
    early.push_back(failing().back());
    EXPECT_EQ(types_of(encode(spec(true), early)),
              (std::vector<std::string>{"response.created", "response.in_progress", "error",
                                        "response.failed"}));
}

TEST(ResponsesEncode, BatchingDoesNotChangeBytes) {
    const Events events = calls(gen::Finish::tool_calls);
    const auto encoder = make_encoder(spec(true));
    std::string pieces;
    for (const gen::Event& e : events) {
        std::string piece;
        encoder->append(e, piece);
        pieces += piece;
    }
    EXPECT_EQ(pieces, encode(spec(true), events));
}

TEST(ResponseRecord, KeepsWhatWasSaid) {
    ResponseRecord record;
    record.begin(spec(true));
    record.append(event(gen::EventKind::text_delta, "of an attempt that failed"));
    record.begin(spec(true));
    for (const gen::Event& e : calls(gen::Finish::tool_calls))
        record.append(e);
    EXPECT_EQ(record.id(), "resp_0a1b");
    EXPECT_EQ(record.body(), encode(spec(false), calls(gen::Finish::tool_calls)));
    const std::vector<ResponseItem> output = record.output();
    ASSERT_EQ(output.size(), 3U);
    EXPECT_EQ(output[0].texts, (std::vector<std::string>{"Let me see."}));
    EXPECT_EQ(output[1].kind, ResponseItem::Kind::function_call);
    EXPECT_EQ(output[1].arguments, R"({"x":1})");
    EXPECT_TRUE(output[1].call_id.starts_with("call_"));
    EXPECT_NE(output[1].call_id, output[2].call_id);
    EXPECT_EQ(output[2].id, "fc_0a1b_2");
    std::size_t index = 0;
    EXPECT_EQ(response_of_item(output[2].id, index), "resp_0a1b");
    EXPECT_EQ(index, 2U);
}

} // namespace
} // namespace bloom::dialect
