#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/dialect/error_body.hpp>
#include <bloom/dialect/openai_chat.hpp>
#include <bloom/json/writer.hpp>

#include "dialect/render.hpp"

namespace bloom::dialect {
namespace {

void write_usage(json::Writer& w, const gen::Usage& usage) {
    w.begin_object();
    w.key("prompt_tokens").integer(usage.prompt_tokens);
    w.key("completion_tokens").integer(usage.completion_tokens);
    w.key("total_tokens").integer(usage.prompt_tokens + usage.completion_tokens);
    w.key("prompt_tokens_details")
        .begin_object()
        .key("cached_tokens")
        .integer(usage.cached_tokens)
        .end_object();
    w.key("completion_tokens_details").begin_object();
    w.key("reasoning_tokens").integer(usage.reasoning_tokens).end_object();
    w.end_object();
}

class OpenAiChatEncoder final : public Encoder {
public:
    explicit OpenAiChatEncoder(const gen::RenderSpec& spec) : spec_(spec) {}

    void append(const gen::Event& event, std::string& out) override {
        if (spec_.stream) {
            append_streamed(event, out);
        } else {
            collect(event);
        }
    }

    void finish(std::string& out) override {
        if (spec_.stream) return;
        if (choices_.empty()) choices_.resize(1);
        json::Writer w(out);
        begin_envelope(w, "chat.completion");
        w.key("choices").begin_array();
        for (std::size_t i = 0; i < choices_.size(); ++i)
            write_choice(w, i);
        w.end_array();
        w.key("usage");
        write_usage(w, usage_);
        w.end_object();
    }

    std::string_view end_of_stream() const override {
        return spec_.stream ? "data: [DONE]\n\n" : "";
    }

private:
    struct Choice {
        std::string content;
        std::string reasoning;
        gen::Finish finish = gen::Finish::none;
        bool role_sent = false;
    };

    Choice& choice(std::int32_t index) {
        BLOOM_CHECK(index >= 0);
        const auto at = static_cast<std::size_t>(index);
        if (at >= choices_.size()) choices_.resize(at + 1);
        return choices_[at];
    }

    bool shows_reasoning() const { return spec_.reasoning == gen::ReasoningMode::parsed; }

    void begin_envelope(json::Writer& w, std::string_view object) {
        w.begin_object();
        w.key("id").string(spec_.response_id).key("object").string(object);
        w.key("created").integer(spec_.created).key("model").string(spec_.model);
        w.key("system_fingerprint").string(spec_.fingerprint);
    }

    void write_choice(json::Writer& w, std::size_t index) {
        const Choice& c = choices_[index];
        w.begin_object().key("index").integer(index);
        w.key("message")
            .begin_object()
            .key("role")
            .string("assistant")
            .key("content")
            .string(c.content);
        if (!c.reasoning.empty()) w.key("reasoning_content").string(c.reasoning);
        w.key("refusal").null().end_object();
        w.key("logprobs").null();
        w.key("finish_reason").string(finish_name(c.finish)).end_object();
    }

    void collect(const gen::Event& event) {
        switch (event.kind) {
        case gen::EventKind::text_delta:
            choice(event.choice).content += event.text;
            break;
        case gen::EventKind::reasoning_delta:
            if (shows_reasoning()) choice(event.choice).reasoning += event.text;
            break;
        case gen::EventKind::finished:
            choice(event.choice).finish = event.finish;
            break;
        case gen::EventKind::usage:
            usage_ = event.usage;
            break;
        default:
            break;
        }
    }

    /// One chunk: `delta` is written by the caller's function.
    template <class Delta>
    void write_chunk(std::string& out, std::int32_t index, Delta&& delta, std::string_view finish) {
        out += "data: ";
        json::Writer w(out);
        begin_envelope(w, "chat.completion.chunk");
        w.key("choices").begin_array().begin_object().key("index").integer(index);
        w.key("delta").begin_object();
        delta(w);
        w.end_object().key("logprobs").null().key("finish_reason");
        if (finish.empty()) {
            w.null();
        } else {
            w.string(finish);
        }
        w.end_object().end_array().end_object();
        out += "\n\n";
    }

    /// The preamble goes out together with a choice's first content, never before (section 5.3).
    void ensure_role(std::int32_t index, std::string& out) {
        Choice& c = choice(index);
        if (c.role_sent) return;
        c.role_sent = true;
        write_chunk(
            out, index,
            [](json::Writer& w) { w.key("role").string("assistant").key("content").string(""); },
            {});
    }

    void write_usage_chunk(std::string& out, const gen::Usage& usage) {
        out += "data: ";
        json::Writer w(out);
        begin_envelope(w, "chat.completion.chunk");
        w.key("choices").begin_array().end_array().key("usage");
        write_usage(w, usage);
        w.end_object();
        out += "\n\n";
    }

    void append_streamed(const gen::Event& event, std::string& out) {
        switch (event.kind) {
        case gen::EventKind::text_delta:
            ensure_role(event.choice, out);
            write_chunk(out, event.choice,
                        [&](json::Writer& w) { w.key("content").string(event.text); }, {});
            break;
        case gen::EventKind::reasoning_delta:
            if (!shows_reasoning()) break;
            ensure_role(event.choice, out);
            write_chunk(out, event.choice,
                        [&](json::Writer& w) { w.key("reasoning_content").string(event.text); },
                        {});
            break;
        case gen::EventKind::finished:
            ensure_role(event.choice, out);
            write_chunk(out, event.choice, [](json::Writer&) {}, finish_name(event.finish));
            break;
        case gen::EventKind::usage:
            // Official samples index choices[0] on every chunk: an empty list only when asked for.
            if (spec_.include_usage) write_usage_chunk(out, event.usage);
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

    gen::RenderSpec spec_;
    std::vector<Choice> choices_;
    gen::Usage usage_;
};

} // namespace

std::unique_ptr<Encoder> make_openai_chat_encoder(const gen::RenderSpec& spec) {
    return std::make_unique<OpenAiChatEncoder>(spec);
}

std::string system_fingerprint(std::string_view build) {
    constexpr std::size_t kDigits = 12;
    return "fp_" + crypto::sha256_hex(build).substr(0, kDigits);
}

} // namespace bloom::dialect
