// Whatever a model brings in whatever order: the events of a stream form blocks one after another,
// and put together they are the message that is answered without streaming.
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/dialect/dialect.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/serialize.hpp>

namespace bloom::dialect {
namespace {

using gen::EventKind;

gen::Event event(EventKind kind, std::string text = {}, std::int32_t tool = 0) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    e.tool_index = tool;
    return e;
}

std::string word(Rng& rng) {
    static constexpr const char* kWords[] = {
        "", "a", "\n\n", "\"quoted\"", "\u00e9\u4e16", "\\", "\t", "event: x\ndata: {}"};
    return kWords[rng.below(std::size(kWords))];
}

/// What the engine may send: pieces of thinking and text in any order, calls one after another, the
/// last of them perhaps cut off.
gen::EventBatch random_answer(Rng& rng) {
    gen::EventBatch events = {event(EventKind::accepted), event(EventKind::started)};
    events.back().usage = {9, 3, 0, 0};
    std::int32_t n_calls = 0;
    bool cut = false;
    for (std::uint64_t n = rng.below(12); n > 0 && !cut; --n) {
        switch (rng.below(4)) {
        case 0:
            events.push_back(event(EventKind::reasoning_delta, word(rng)));
            break;
        case 1:
        case 2:
            events.push_back(event(EventKind::text_delta, word(rng)));
            break;
        default:
            events.push_back(event(EventKind::tool_begin, "f", n_calls));
            events.push_back(event(EventKind::tool_args, "{\"x\":", n_calls));
            cut = rng.below(8) == 0;
            if (cut) break;
            events.push_back(event(EventKind::tool_args, "[1, \"two\"]}", n_calls));
            events.push_back(event(EventKind::tool_end, {}, n_calls));
            ++n_calls;
            break;
        }
    }
    events.push_back(event(EventKind::finished));
    events.back().finish = cut ? gen::Finish::length : gen::Finish::stop;
    events.push_back(event(EventKind::usage));
    events.back().usage = {9, 3, 20, 5};
    return events;
}

std::string encode(bool stream, bool thinking, const gen::EventBatch& events) {
    gen::RenderSpec spec;
    spec.dialect = gen::Dialect::anthropic_messages;
    spec.response_id = "msg_1";
    spec.model = "m";
    spec.stream = stream;
    spec.reasoning = thinking ? gen::ReasoningMode::parsed : gen::ReasoningMode::hidden;
    spec.thinking_key = "key";
    const auto encoder = make_encoder(spec);
    std::string out;
    for (const gen::Event& e : events)
        encoder->append(e, out);
    encoder->finish(out);
    return out;
}

std::string text_of(const json::Object& object, std::string_view key) {
    const auto value = object.find(key);
    return value && value->is_string() ? std::string(*value->as_string()) : std::string();
}

/// A block as far as both shapes have it.
struct Block {
    std::string type;
    std::string text; ///< or thinking, or input
    std::string id;
    std::string signature;

    bool operator==(const Block&) const = default;
};

struct Message {
    std::vector<Block> blocks;
    std::string stop_reason;
    std::string output_tokens;

    bool operator==(const Message&) const = default;
};

/// The input of a call as its text; what is no object has none.
std::string input_of(const std::string& json) {
    json::Parser parser;
    const auto value = parser.parse(json);
    std::string out;
    if (value && value->is_object()) {
        json::append_value(out, *value);
    } else {
        out = "{}";
    }
    return out;
}

std::string member_text(const json::Object& object, std::string_view key) {
    std::string out;
    if (const auto value = object.find(key)) json::append_value(out, *value);
    return out;
}

Message read_body(const std::string& body) {
    json::Parser parser;
    const auto value = parser.parse(body);
    EXPECT_TRUE(value.has_value()) << body;
    Message out;
    if (!value) return out;
    const json::Object message = *value->as_object();
    const json::Array content = *message.find("content")->as_array();
    for (const json::Value element : content) {
        const json::Object block = *element.as_object();
        const std::string type = text_of(block, "type");
        const std::string text =
            type == "tool_use" ? member_text(block, "input") : text_of(block, type);
        out.blocks.push_back({type, text, text_of(block, "id"), text_of(block, "signature")});
    }
    out.stop_reason = text_of(message, "stop_reason");
    out.output_tokens = member_text(*message.find("usage")->as_object(), "output_tokens");
    return out;
}

/// Follows the rules of the protocol; every breach is a failure of the test.
class StreamReader {
public:
    Message read(std::string_view stream) {
        while (!stream.empty()) {
            const std::size_t end = stream.find("\n\n");
            const std::size_t line = stream.find('\n');
            EXPECT_TRUE(end != std::string_view::npos && line < end) << stream;
            if (end == std::string_view::npos) break;
            take(stream.substr(0, line), stream.substr(line + 1, end - line - 1));
            stream.remove_prefix(end + 2);
        }
        EXPECT_EQ(state_, State::stopped);
        return std::move(out_);
    }

private:
    enum class State { before, between, in_block, ended, stopped };

    void take(std::string_view name, std::string_view data) {
        EXPECT_TRUE(data.starts_with("data: ") && data.find('\n') == std::string_view::npos);
        const auto value = parser_.parse(data.substr(6));
        EXPECT_TRUE(value.has_value()) << data;
        if (!value) return;
        const json::Object e = *value->as_object();
        const std::string type = text_of(e, "type");
        EXPECT_EQ(name, "event: " + type);
        if (type == "message_start") {
            expect(State::before, State::between);
        } else if (type == "content_block_start") {
            expect(State::between, State::in_block);
            EXPECT_EQ(member_text(e, "index"), std::to_string(out_.blocks.size()));
            const json::Object block = *e.find("content_block")->as_object();
            out_.blocks.push_back({text_of(block, "type"), {}, text_of(block, "id"), {}});
        } else if (type == "content_block_delta") {
            expect(State::in_block, State::in_block);
            take_delta(*e.find("delta")->as_object());
        } else if (type == "content_block_stop") {
            expect(State::in_block, State::between);
            Block& block = out_.blocks.back();
            if (block.type == "tool_use") block.text = input_of(block.text);
        } else if (type == "message_delta") {
            expect(State::between, State::ended);
            out_.stop_reason = text_of(*e.find("delta")->as_object(), "stop_reason");
            out_.output_tokens = member_text(*e.find("usage")->as_object(), "output_tokens");
        } else {
            EXPECT_EQ(type, "message_stop");
            expect(State::ended, State::stopped);
        }
    }

    void take_delta(const json::Object& delta) {
        Block& block = out_.blocks.back();
        const std::string type = text_of(delta, "type");
        if (type == "signature_delta") {
            EXPECT_EQ(block.type, "thinking");
            EXPECT_TRUE(block.signature.empty()) << "signed once";
            block.signature = text_of(delta, "signature");
            return;
        }
        EXPECT_TRUE(block.signature.empty()) << "signed when it is whole";
        const bool is_call = type == "input_json_delta";
        EXPECT_EQ(type, is_call ? type : block.type + "_delta");
        EXPECT_EQ(is_call, block.type == "tool_use");
        block.text += text_of(delta, is_call ? "partial_json" : block.type);
    }

    void expect(State now, State next) {
        EXPECT_EQ(state_, now);
        state_ = next;
    }

    json::Parser parser_;
    Message out_;
    State state_ = State::before;
};

TEST(AnthropicBlocks, AStreamPutTogetherIsTheMessage) {
    const char* const given = std::getenv("DARKBLOOM_SEED");
    const std::uint64_t seed = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
    Rng rng(seed);
    for (int i = 0; i < 2000; ++i) {
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + " answer " + std::to_string(i));
        const gen::EventBatch events = random_answer(rng);
        const bool thinking = rng.below(2) == 0;
        const std::string stream = encode(true, thinking, events);
        EXPECT_EQ(StreamReader().read(stream), read_body(encode(false, thinking, events)))
            << stream;
        if (testing::Test::HasFailure()) break; // the first says enough
    }
}

} // namespace
} // namespace bloom::dialect
