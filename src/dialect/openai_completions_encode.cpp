#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/dialect/error_body.hpp>
#include <bloom/dialect/openai_completions.hpp>
#include <bloom/json/writer.hpp>

#include "dialect/render.hpp"

namespace bloom::dialect {
namespace {

/// Tokens of one choice in the four parallel lists of this dialect, kept as the JSON inside of
/// them.
class TokenLists {
public:
    void add(std::span<const gen::TokenLogprob> tokens) {
        for (const gen::TokenLogprob& token : tokens) {
            for (std::string* list : {&tokens_, &logprobs_, &top_, &offsets_}) {
                if (!list->empty()) *list += ',';
            }
            TokenTextBuffer buffer;
            json::append_string(tokens_, token_text(token.bytes, kBytes, buffer));
            json::Writer logprob(logprobs_);
            write_logprob(logprob, token.logprob);
            add_top(token);
            json::append_int(offsets_, n_characters_);
            for (const char c : token.bytes)
                n_characters_ += starts_character(c) ? 1 : 0;
        }
    }

    void append_to(std::string& out) const {
        out += R"({"tokens":[)";
        out += tokens_;
        out += R"(],"token_logprobs":[)";
        out += logprobs_;
        out += R"(],"top_logprobs":[)";
        out += top_;
        out += R"(],"text_offset":[)";
        out += offsets_;
        out += "]}";
    }

    /// Keeps the memory and the place in the text.
    void clear() {
        for (std::string* list : {&tokens_, &logprobs_, &top_, &offsets_})
            list->clear();
    }

private:
    static constexpr std::string_view kBytes = "bytes:";

    static bool starts_character(char c) noexcept {
        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    }

    /// The likeliest tokens and, where it is not among them, the one that was drawn. Names are
    /// unique: of two tokens with the same bytes the likelier one stays.
    void add_top(const gen::TokenLogprob& token) {
        json::Writer w(top_);
        w.begin_object();
        bool drawn = false;
        for (std::size_t i = 0; i < token.top.size(); ++i) {
            bool again = false;
            for (std::size_t j = 0; j < i; ++j)
                again |= token.top[j].bytes == token.top[i].bytes;
            if (again) continue;
            drawn |= token.top[i].bytes == token.bytes;
            write_entry(w, token.top[i]);
        }
        if (!drawn) write_entry(w, token);
        w.end_object();
    }

    static void write_entry(json::Writer& w, const gen::TokenLogprob& token) {
        TokenTextBuffer buffer;
        w.key(token_text(token.bytes, kBytes, buffer));
        write_logprob(w, token.logprob);
    }

    std::string tokens_;
    std::string logprobs_;
    std::string top_;
    std::string offsets_;
    std::int64_t n_characters_ = 0; ///< of the text so far
};

/// What both ways of answering begin with, up to the list of choices.
std::string envelope(const gen::RenderSpec& spec) {
    std::string out;
    json::Writer w(out);
    w.begin_object();
    w.key("id").string(spec.response_id).key("object").string("text_completion");
    w.key("created").integer(spec.created).key("model").string(spec.model);
    w.key("system_fingerprint").string(spec.fingerprint);
    w.key("choices").begin_array();
    return out;
}

/// Text that was asked for as it is cannot end in a call: there is no template to call by.
std::string_view finish_reason(gen::Finish finish) {
    return finish == gen::Finish::tool_calls ? "stop" : finish_name(finish);
}

void append_choice(std::string& out, std::int32_t index, std::string_view text,
                   const TokenLists* logprobs, std::string_view finish) {
    out += R"({"index":)";
    json::append_int(out, index);
    out += R"(,"text":)";
    json::append_string(out, text);
    out += R"(,"logprobs":)";
    if (logprobs != nullptr) {
        logprobs->append_to(out);
    } else {
        out += "null";
    }
    out += R"(,"finish_reason":)";
    if (finish.empty()) {
        out += "null";
    } else {
        json::append_string(out, finish);
    }
    out += '}';
}

/// One element for each choice that has been seen, in their order.
template <class T>
T& of_choice(std::vector<T>& choices, const gen::Event& event) {
    BLOOM_CHECK(event.choice >= 0);
    const auto at = static_cast<std::size_t>(event.choice);
    if (at >= choices.size()) choices.resize(at + 1);
    return choices[at];
}

/// Streaming: each event becomes a chunk by itself; nothing is allocated for a token.
class ChunkEncoder final : public Encoder {
public:
    explicit ChunkEncoder(const gen::RenderSpec& spec)
        : spec_(spec), head_("data: " + envelope(spec)) {}

    void append(const gen::Event& event, std::string& out) override {
        switch (event.kind) {
        case gen::EventKind::text_delta:
            append_text(event, out);
            break;
        case gen::EventKind::finished:
            out += head_;
            append_choice(out, event.choice, {}, nullptr, finish_reason(event.finish));
            out += "]}\n\n";
            break;
        case gen::EventKind::usage:
            if (spec_.include_usage) append_usage(event.usage, out);
            break;
        case gen::EventKind::failed: {
            const PublicFailure failure = public_failure(event.failure);
            out += "data: ";
            append_openai_error(out, failure.message, failure.type, {}, failure.type);
            out += "\n\n";
            break;
        }
        default: // thinking is not part of the text
            break;
        }
    }

    void finish(std::string& /*out*/) override {}

    std::string_view end_of_stream() const override { return "data: [DONE]\n\n"; }

private:
    void append_text(const gen::Event& event, std::string& out) {
        const TokenLists* logprobs = nullptr;
        if (spec_.logprobs && !event.logprobs.empty()) {
            TokenLists& lists = of_choice(logprobs_, event);
            lists.clear();
            lists.add(event.logprobs);
            logprobs = &lists;
        }
        out += head_;
        append_choice(out, event.choice, event.text, logprobs, {});
        out += "]}\n\n";
    }

    void append_usage(const gen::Usage& usage, std::string& out) const {
        out += head_;
        out += R"(],"usage":)";
        json::Writer w(out);
        write_usage(w, usage);
        out += "}\n\n";
    }

    gen::RenderSpec spec_;
    std::string head_;
    std::vector<TokenLists> logprobs_; ///< of each choice
};

/// Not streaming: collects, and writes the body at the end.
class BodyEncoder final : public Encoder {
public:
    explicit BodyEncoder(const gen::RenderSpec& spec) : spec_(spec) {}

    void append(const gen::Event& event, std::string& /*out*/) override {
        switch (event.kind) {
        case gen::EventKind::text_delta: {
            Choice& choice = of_choice(choices_, event);
            choice.text += event.text;
            if (spec_.logprobs) choice.logprobs.add(event.logprobs);
            break;
        }
        case gen::EventKind::finished:
            of_choice(choices_, event).finish = event.finish;
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
        out += envelope(spec_);
        for (std::size_t i = 0; i < choices_.size(); ++i) {
            if (i > 0) out += ',';
            const Choice& choice = choices_[i];
            append_choice(out, static_cast<std::int32_t>(i), choice.text,
                          spec_.logprobs ? &choice.logprobs : nullptr,
                          finish_reason(choice.finish));
        }
        out += R"(],"usage":)";
        json::Writer w(out);
        write_usage(w, usage_);
        out += '}';
    }

    std::string_view end_of_stream() const override { return {}; }

private:
    struct Choice {
        std::string text;
        TokenLists logprobs;
        gen::Finish finish = gen::Finish::none;
    };

    gen::RenderSpec spec_;
    std::vector<Choice> choices_;
    gen::Usage usage_;
};

} // namespace

std::unique_ptr<Encoder> make_openai_completions_encoder(const gen::RenderSpec& spec) {
    if (spec.stream) return std::make_unique<ChunkEncoder>(spec);
    return std::make_unique<BodyEncoder>(spec);
}

} // namespace bloom::dialect
