#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/dialect/anthropic_messages.hpp>
#include <bloom/dialect/error_body.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

#include "dialect/render.hpp"

namespace bloom::dialect {
namespace {

bool shows_thinking(const gen::RenderSpec& spec) {
    return spec.reasoning == gen::ReasoningMode::parsed;
}

/// What lets a thinking block be recognised as this node's, for this response.
std::string signature_of(const gen::RenderSpec& spec, std::string_view thinking) {
    return to_base64(crypto::hmac_sha256(as_bytes(spec.thinking_key), as_bytes(thinking)));
}

std::string call_id(const gen::RenderSpec& spec, const gen::Event& event) {
    return derived_id(spec, "toolu_", event.choice, event.tool_index);
}

/// `finished` carries the stop string that matched.
std::string_view stop_reason(const gen::Event& finished) noexcept {
    switch (finished.finish) {
    case gen::Finish::length:
        return "max_tokens";
    case gen::Finish::tool_calls:
        return "tool_use";
    case gen::Finish::stop:
        return finished.text.empty() ? "end_turn" : "stop_sequence";
    case gen::Finish::cancelled:
    case gen::Finish::none:
        break;
    }
    return "end_turn";
}

/// Anthropic's name for a failure in a stream (consumer API section 3.4).
std::string_view failure_type(gen::Failure failure) noexcept {
    const bool overloaded = failure == gen::Failure::timeout || failure == gen::Failure::overloaded;
    return overloaded ? "overloaded_error" : "api_error";
}

/// Why and on what the answer ended: members of the message and of `message_delta`.
struct Stop {
    std::string_view reason; ///< empty: not yet
    std::string sequence;
};

Stop stop_of(const gen::Event& finished) {
    Stop stop{stop_reason(finished), {}};
    if (stop.reason == "stop_sequence") stop.sequence = finished.text;
    return stop;
}

void write_stop(json::Writer& w, const Stop& stop) {
    w.key("stop_reason");
    if (stop.reason.empty()) {
        w.null();
    } else {
        w.string(stop.reason);
    }
    w.key("stop_sequence");
    if (stop.reason == "stop_sequence") {
        w.string(stop.sequence);
    } else {
        w.null();
    }
    w.key("stop_details").null().key("container").null();
}

/// The counts that both usage objects have. The prompt is the sum of what was read from the cache
/// and what was not.
void write_counts(json::Writer& w, const gen::Usage& usage) {
    w.key("input_tokens").integer(usage.prompt_tokens - usage.cached_tokens);
    w.key("cache_creation_input_tokens").integer(0);
    w.key("cache_read_input_tokens").integer(usage.cached_tokens);
    w.key("output_tokens").integer(usage.completion_tokens);
    w.key("output_tokens_details").begin_object();
    w.key("thinking_tokens").integer(usage.reasoning_tokens).end_object();
    w.key("server_tool_use").null();
}

/// A message up to its content, which the caller writes.
void begin_message(json::Writer& w, const gen::RenderSpec& spec) {
    w.begin_object().key("id").string(spec.response_id).key("type").string("message");
    w.key("role").string("assistant").key("model").string(spec.model).key("content");
}

/// The members behind the content.
void end_message(json::Writer& w, const gen::RenderSpec& spec, const Stop& stop,
                 const gen::Usage& usage) {
    write_stop(w, stop);
    w.key("diagnostics").null();
    if (!spec.echoed.empty()) w.key("context_management").raw(spec.echoed);
    w.key("usage").begin_object();
    write_counts(w, usage);
    w.key("cache_creation").null().key("inference_geo").null();
    w.key("service_tier").string("standard").key("speed").null().end_object();
    if (!spec.metadata.empty()) w.key("metadata").raw(spec.metadata);
    w.end_object();
}

enum class BlockKind : std::uint8_t { none, text, thinking, tool_use };

/// Streaming: each event becomes events by itself. Blocks follow one another, the next begins where
/// another kind of content does. Nothing is allocated for a token.
class EventEncoder final : public Encoder {
public:
    explicit EventEncoder(const gen::RenderSpec& spec) : spec_(spec) {
        if (shows_thinking(spec_)) thinking_.reserve(kThinkingBytes);
    }

    void append(const gen::Event& event, std::string& out) override {
        switch (event.kind) {
        case gen::EventKind::started:
            usage_ = event.usage;
            break;
        case gen::EventKind::text_delta:
            if (event.text.empty()) break;
            enter(BlockKind::text, out);
            append_delta("text_delta", "text", event.text, out);
            break;
        case gen::EventKind::reasoning_delta:
            if (!shows_thinking(spec_) || event.text.empty()) break;
            enter(BlockKind::thinking, out);
            thinking_ += event.text;
            append_delta("thinking_delta", "thinking", event.text, out);
            break;
        case gen::EventKind::tool_begin:
            begin_call(event, out);
            break;
        case gen::EventKind::tool_args:
            if (!event.text.empty())
                append_delta("input_json_delta", "partial_json", event.text, out);
            break;
        case gen::EventKind::tool_end:
            leave(out);
            break;
        case gen::EventKind::finished:
            ensure_start(out);
            leave(out);
            stop_ = stop_of(event);
            break;
        case gen::EventKind::usage:
            append_end(event.usage, out);
            break;
        case gen::EventKind::failed:
            out += "event: error\ndata: ";
            append_anthropic_error(out, public_failure(event.failure).message,
                                   failure_type(event.failure), {});
            out += "\n\n";
            break;
        default:
            break;
        }
    }

    void finish(std::string& /*out*/) override {}

    std::string_view end_of_stream() const override { return {}; }

private:
    /// Thinking is kept until its block is signed; most of it fits in here.
    static constexpr std::size_t kThinkingBytes = 16384;

    void ensure_start(std::string& out) {
        if (started_) return;
        started_ = true;
        out += R"(event: message_start
data: {"type":"message_start","message":)";
        gen::Usage usage = usage_;
        usage.completion_tokens = 1; // as Anthropic's begins; `message_delta` has the real count
        json::Writer w(out);
        begin_message(w, spec_);
        w.begin_array().end_array();
        end_message(w, spec_, {}, usage);
        out += "}\n\n";
    }

    /// Up to the block of a `content_block_start`.
    void begin_block(BlockKind kind, std::string& out) {
        ensure_start(out);
        leave(out);
        block_ = kind;
        out += R"(event: content_block_start
data: {"type":"content_block_start","index":)";
        json::append_int(out, index_);
        out += R"(,"content_block":)";
    }

    void enter(BlockKind kind, std::string& out) {
        if (block_ == kind) return;
        begin_block(kind, out);
        out += kind == BlockKind::text ? R"({"type":"text","text":"","citations":null})"
                                       : R"({"type":"thinking","thinking":"","signature":""})";
        out += "}\n\n";
    }

    void begin_call(const gen::Event& event, std::string& out) {
        begin_block(BlockKind::tool_use, out);
        out += R"({"type":"tool_use","id":")";
        out += call_id(spec_, event);
        out += R"(","name":)";
        json::append_string(out, event.text);
        out += R"(,"input":{},"caller":{"type":"direct"}}})"
               "\n\n";
    }

    void append_delta(std::string_view type, std::string_view member, std::string_view text,
                      std::string& out) const {
        out += R"(event: content_block_delta
data: {"type":"content_block_delta","index":)";
        json::append_int(out, index_);
        out += R"(,"delta":{"type":")";
        out += type;
        out += R"(",")";
        out += member;
        out += R"(":)";
        json::append_string(out, text);
        out += "}}\n\n";
    }

    /// Closes the block that is open.
    void leave(std::string& out) {
        if (block_ == BlockKind::none) return;
        if (block_ == BlockKind::thinking) {
            append_delta("signature_delta", "signature", signature_of(spec_, thinking_), out);
            thinking_.clear();
        }
        out += R"(event: content_block_stop
data: {"type":"content_block_stop","index":)";
        json::append_int(out, index_);
        out += "}\n\n";
        block_ = BlockKind::none;
        ++index_;
    }

    void append_end(const gen::Usage& usage, std::string& out) {
        out += R"(event: message_delta
data: {"type":"message_delta","delta":)";
        json::Writer w(out);
        w.begin_object();
        write_stop(w, stop_);
        w.end_object();
        out += R"(,"usage":)";
        json::Writer counts(out);
        counts.begin_object();
        write_counts(counts, usage);
        counts.end_object();
        if (!spec_.echoed.empty()) {
            out += R"(,"context_management":)";
            out += spec_.echoed;
        }
        if (!spec_.metadata.empty()) {
            out += R"(,"metadata":)";
            out += spec_.metadata;
        }
        out += "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    }

    gen::RenderSpec spec_;
    gen::Usage usage_; ///< of the prompt
    Stop stop_;
    std::string thinking_; ///< of the block that is open
    std::int64_t index_ = 0;
    BlockKind block_ = BlockKind::none;
    bool started_ = false;
};

/// Not streaming: collects, and writes the message at the end.
class BodyEncoder final : public Encoder {
public:
    explicit BodyEncoder(const gen::RenderSpec& spec) : spec_(spec) {}

    void append(const gen::Event& event, std::string& /*out*/) override {
        switch (event.kind) {
        case gen::EventKind::text_delta:
            collect(BlockKind::text, event.text);
            break;
        case gen::EventKind::reasoning_delta:
            if (shows_thinking(spec_)) collect(BlockKind::thinking, event.text);
            break;
        case gen::EventKind::tool_begin:
            blocks_.push_back({BlockKind::tool_use, {}, event.text, call_id(spec_, event)});
            break;
        case gen::EventKind::tool_args:
            if (!blocks_.empty()) blocks_.back().text += event.text;
            break;
        case gen::EventKind::finished:
            stop_ = stop_of(event);
            break;
        case gen::EventKind::usage:
            usage_ = event.usage;
            break;
        default:
            break;
        }
    }

    void finish(std::string& out) override {
        json::Writer w(out);
        begin_message(w, spec_);
        w.begin_array();
        for (const Block& block : blocks_)
            write_block(w, block);
        w.end_array();
        end_message(w, spec_, stop_, usage_);
    }

    std::string_view end_of_stream() const override { return {}; }

private:
    struct Block {
        BlockKind kind = BlockKind::none;
        std::string text; ///< tool_use: the input as JSON
        std::string name;
        std::string id;
    };

    void collect(BlockKind kind, std::string_view text) {
        if (text.empty()) return;
        if (blocks_.empty() || blocks_.back().kind != kind) blocks_.push_back({kind, {}, {}, {}});
        blocks_.back().text += text;
    }

    void write_block(json::Writer& w, const Block& block) const {
        w.begin_object().key("type");
        switch (block.kind) {
        case BlockKind::thinking:
            w.string("thinking").key("thinking").string(block.text);
            w.key("signature").string(signature_of(spec_, block.text));
            break;
        case BlockKind::tool_use:
            w.string("tool_use").key("id").string(block.id).key("name").string(block.name);
            w.key("input").raw(input_of(block)).key("caller").begin_object();
            w.key("type").string("direct").end_object();
            break;
        case BlockKind::text:
        case BlockKind::none:
            w.string("text").key("text").string(block.text).key("citations").null();
            break;
        }
        w.end_object();
    }

    /// A call that the bound on tokens cut off has no input that could be shown.
    static std::string_view input_of(const Block& block) {
        json::Parser parser;
        const auto input = parser.parse(block.text);
        return input && input->is_object() ? std::string_view(block.text) : "{}";
    }

    gen::RenderSpec spec_;
    std::vector<Block> blocks_;
    gen::Usage usage_;
    Stop stop_;
};

} // namespace

std::unique_ptr<Encoder> make_anthropic_messages_encoder(const gen::RenderSpec& spec) {
    if (spec.stream) return std::make_unique<EventEncoder>(spec);
    return std::make_unique<BodyEncoder>(spec);
}

} // namespace bloom::dialect
