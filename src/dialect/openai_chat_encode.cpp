#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/dialect/error_body.hpp>
#include <bloom/dialect/openai_chat.hpp>
#include <bloom/json/writer.hpp>

#include "dialect/render.hpp"

namespace bloom::dialect {
namespace {

/// What both objects of the dialect begin with, up to the list of choices.
std::string envelope(const gen::RenderSpec& spec, std::string_view object) {
    std::string out;
    json::Writer w(out);
    w.begin_object();
    w.key("id").string(spec.response_id).key("object").string(object);
    w.key("created").integer(spec.created).key("model").string(spec.model);
    w.key("system_fingerprint").string(spec.fingerprint);
    w.key("choices").begin_array();
    return out;
}

/// `logprobs` of a choice or of a chunk.
void append_logprobs(std::string& out, std::span<const gen::TokenLogprob> tokens) {
    out += R"({"content":)";
    json::Writer w(out);
    write_logprobs(w, tokens);
    out += R"(,"refusal":null})";
}

std::string_view finish_reason(const gen::RenderSpec& spec, gen::Finish finish) {
    if (spec.function_calls && finish == gen::Finish::tool_calls) return "function_call";
    return finish_name(finish);
}

/// Streaming: each event becomes chunks by itself. What all chunks begin with is written once, and
/// nothing is allocated for a token.
class ChunkEncoder final : public Encoder {
public:
    explicit ChunkEncoder(const gen::RenderSpec& spec)
        : spec_(spec), head_("data: " + envelope(spec, "chat.completion.chunk")) {}

    void append(const gen::Event& event, std::string& out) override {
        switch (event.kind) {
        case gen::EventKind::text_delta:
            append_text(event, "content", out);
            break;
        case gen::EventKind::reasoning_delta:
            if (spec_.reasoning == gen::ReasoningMode::parsed)
                append_text(event, "reasoning_content", out);
            break;
        case gen::EventKind::tool_begin:
            append_call(event, out);
            break;
        case gen::EventKind::tool_args:
            append_arguments(event, out);
            break;
        case gen::EventKind::finished:
            ensure_role(event.choice, out);
            begin_chunk(event.choice, out);
            end_choice({}, finish_reason(spec_, event.finish), out);
            // It stands on the last chunk, which is the usage where that was asked for.
            if (!spec_.include_usage) append_metadata(out);
            end_chunk(out);
            break;
        case gen::EventKind::usage:
            // Official samples index choices[0] on every chunk: an empty list only when asked for.
            if (spec_.include_usage) append_usage(event.usage, out);
            break;
        case gen::EventKind::failed: {
            const PublicFailure failure = public_failure(event.failure);
            out += "data: ";
            append_openai_error(out, failure.message, failure.type, {}, failure.type);
            out += "\n\n";
            break;
        }
        default:
            break;
        }
    }

    void finish(std::string& /*out*/) override {}

    std::string_view end_of_stream() const override { return "data: [DONE]\n\n"; }

private:
    /// Up to the members of the delta.
    void begin_chunk(std::int32_t choice, std::string& out) const {
        out += head_;
        out += R"({"index":)";
        json::append_int(out, choice);
        out += R"(,"delta":{)";
    }

    /// From behind the members of the delta to the end of the choices.
    void end_choice(std::span<const gen::TokenLogprob> logprobs, std::string_view finish,
                    std::string& out) const {
        out += R"(},"logprobs":)";
        if (spec_.logprobs && !logprobs.empty()) {
            append_logprobs(out, logprobs);
        } else {
            out += "null";
        }
        out += R"(,"finish_reason":)";
        if (finish.empty()) {
            out += "null";
        } else {
            json::append_string(out, finish);
        }
        out += "}]";
    }

    void append_metadata(std::string& out) const {
        if (spec_.metadata.empty()) return;
        out += R"(,"metadata":)";
        out += spec_.metadata;
    }

    static void end_chunk(std::string& out) { out += "}\n\n"; }

    /// The preamble goes out together with a choice's first content, never before (section 5.3).
    void ensure_role(std::int32_t choice, std::string& out) {
        BLOOM_CHECK(choice >= 0);
        const auto at = static_cast<std::size_t>(choice);
        if (at >= has_role_.size()) has_role_.resize(at + 1);
        if (has_role_[at]) return;
        has_role_[at] = true;
        begin_chunk(choice, out);
        out += R"("role":"assistant","content":"")";
        end_choice({}, {}, out);
        end_chunk(out);
    }

    void append_text(const gen::Event& event, std::string_view member, std::string& out) {
        ensure_role(event.choice, out);
        begin_chunk(event.choice, out);
        json::append_string(out, member);
        out += ':';
        json::append_string(out, event.text);
        const bool content = event.kind == gen::EventKind::text_delta;
        end_choice(content ? std::span(event.logprobs) : std::span<const gen::TokenLogprob>(), {},
                   out);
        end_chunk(out);
    }

    void append_call(const gen::Event& event, std::string& out) {
        ensure_role(event.choice, out);
        if (spec_.function_calls && event.tool_index > 0) return; // the shape has room for one
        begin_chunk(event.choice, out);
        if (spec_.function_calls) {
            out += R"("function_call":{"name":)";
            json::append_string(out, event.text);
            out += R"(,"arguments":""})";
        } else {
            out += R"("tool_calls":[{"index":)";
            json::append_int(out, event.tool_index);
            out += R"(,"id":)";
            json::append_string(out, derived_id(spec_, "call_", event.choice, event.tool_index));
            out += R"(,"type":"function","function":{"name":)";
            json::append_string(out, event.text);
            out += R"(,"arguments":""}}])";
        }
        end_choice({}, {}, out);
        end_chunk(out);
    }

    void append_arguments(const gen::Event& event, std::string& out) {
        if (spec_.function_calls && event.tool_index > 0) return;
        begin_chunk(event.choice, out);
        if (spec_.function_calls) {
            out += R"("function_call":{"arguments":)";
            json::append_string(out, event.text);
            out += '}';
        } else {
            out += R"("tool_calls":[{"index":)";
            json::append_int(out, event.tool_index);
            out += R"(,"function":{"arguments":)";
            json::append_string(out, event.text);
            out += "}}]";
        }
        end_choice({}, {}, out);
        end_chunk(out);
    }

    void append_usage(const gen::Usage& usage, std::string& out) const {
        out += head_;
        out += R"(],"usage":)";
        json::Writer w(out);
        write_usage(w, usage);
        append_metadata(out);
        end_chunk(out);
    }

    gen::RenderSpec spec_;
    std::string head_;
    std::vector<bool> has_role_; ///< of each choice: sent
};

/// Not streaming: collects, and writes the body at the end.
class BodyEncoder final : public Encoder {
public:
    explicit BodyEncoder(const gen::RenderSpec& spec) : spec_(spec) {}

    void append(const gen::Event& event, std::string& /*out*/) override {
        switch (event.kind) {
        case gen::EventKind::text_delta:
            collect_text(event);
            break;
        case gen::EventKind::reasoning_delta:
            if (spec_.reasoning == gen::ReasoningMode::parsed)
                choice(event).reasoning += event.text;
            break;
        case gen::EventKind::tool_begin:
            call(event).name = event.text;
            break;
        case gen::EventKind::tool_args:
            call(event).arguments += event.text;
            break;
        case gen::EventKind::finished:
            choice(event).finish = event.finish;
            break;
        case gen::EventKind::usage:
            usage_ = event.usage;
            break;
        default:
            break;
        }
    }

    void finish(std::string& out) override {
        if (choices_.empty()) choices_.resize(1);
        out += envelope(spec_, "chat.completion");
        for (std::size_t i = 0; i < choices_.size(); ++i) {
            if (i > 0) out += ',';
            write_choice(i, out);
        }
        out += R"(],"usage":)";
        json::Writer w(out);
        write_usage(w, usage_);
        if (!spec_.metadata.empty()) {
            out += R"(,"metadata":)";
            out += spec_.metadata;
        }
        out += '}';
    }

    std::string_view end_of_stream() const override { return {}; }

private:
    struct Call {
        std::string name;
        std::string arguments;
    };

    struct Choice {
        std::string content;
        std::string reasoning;
        std::vector<Call> calls;
        std::vector<gen::TokenLogprob> logprobs;
        gen::Finish finish = gen::Finish::none;
    };

    Choice& choice(const gen::Event& event) {
        BLOOM_CHECK(event.choice >= 0);
        const auto at = static_cast<std::size_t>(event.choice);
        if (at >= choices_.size()) choices_.resize(at + 1);
        return choices_[at];
    }

    Call& call(const gen::Event& event) {
        BLOOM_CHECK(event.tool_index >= 0);
        std::vector<Call>& calls = choice(event).calls;
        const auto at = static_cast<std::size_t>(event.tool_index);
        if (at >= calls.size()) calls.resize(at + 1);
        return calls[at];
    }

    void collect_text(const gen::Event& event) {
        Choice& c = choice(event);
        c.content += event.text;
        if (spec_.logprobs)
            c.logprobs.insert(c.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    }

    void write_choice(std::size_t index, std::string& out) const {
        const Choice& c = choices_[index];
        json::Writer w(out);
        w.begin_object().key("index").integer(index);
        w.key("message").begin_object().key("role").string("assistant").key("content");
        if (c.content.empty() && !c.calls.empty()) {
            w.null();
        } else {
            w.string(c.content);
        }
        if (!c.reasoning.empty()) w.key("reasoning_content").string(c.reasoning);
        if (!c.calls.empty()) write_calls(w, static_cast<std::int32_t>(index));
        w.key("refusal").null().end_object();
        w.key("logprobs");
        if (spec_.logprobs) {
            std::string logprobs;
            append_logprobs(logprobs, c.logprobs);
            w.raw(logprobs);
        } else {
            w.null();
        }
        w.key("finish_reason").string(finish_reason(spec_, c.finish)).end_object();
    }

    void write_calls(json::Writer& w, std::int32_t choice) const {
        const std::vector<Call>& calls = choices_[static_cast<std::size_t>(choice)].calls;
        if (spec_.function_calls) {
            w.key("function_call").begin_object().key("name").string(calls.front().name);
            w.key("arguments").string(calls.front().arguments).end_object();
            return;
        }
        w.key("tool_calls").begin_array();
        for (std::size_t i = 0; i < calls.size(); ++i) {
            const auto index = static_cast<std::int32_t>(i);
            w.begin_object().key("id").string(derived_id(spec_, "call_", choice, index));
            w.key("type").string("function").key("function").begin_object();
            w.key("name").string(calls[i].name).key("arguments").string(calls[i].arguments);
            w.end_object().end_object();
        }
        w.end_array();
    }

    gen::RenderSpec spec_;
    std::vector<Choice> choices_;
    gen::Usage usage_;
};

} // namespace

std::unique_ptr<Encoder> make_openai_chat_encoder(const gen::RenderSpec& spec) {
    if (spec.stream) return std::make_unique<ChunkEncoder>(spec);
    return std::make_unique<BodyEncoder>(spec);
}

std::string system_fingerprint(std::string_view build) {
    constexpr std::size_t kDigits = 12;
    return "fp_" + crypto::sha256_hex(build).substr(0, kDigits);
}

} // namespace bloom::dialect
