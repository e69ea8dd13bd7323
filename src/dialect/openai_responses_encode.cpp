#include <bloom/base/check.hpp>
#include <bloom/dialect/openai_responses.hpp>
#include <bloom/json/writer.hpp>

#include "dialect/openai_responses.hpp"
#include "dialect/render.hpp"

namespace bloom::dialect {
namespace {

using Kind = ResponseItem::Kind;

/// Room for an answer's text before it has to grow; most fit.
constexpr std::size_t kUsualTextBytes = 4096;

/// An item of the output as it grows.
struct Item {
    Kind kind = Kind::message;
    std::string id;
    std::string text;            ///< of a message or of thinking; of a call, its arguments
    std::string logprobs = "[]"; ///< of a message, as JSON
    std::string name;
    std::string call_id;
    bool complete = false; ///< the model came to its end
};

/// Appends to the text of a JSON array, which stays one.
void append_logprobs(std::string& array, const std::vector<gen::TokenLogprob>& tokens) {
    if (tokens.empty()) return;
    const bool first = array == "[]";
    array.pop_back();
    const std::size_t at = array.size();
    json::Writer w(array);
    write_logprobs(w, tokens);
    if (first) {
        array.erase(at, 1);
    } else {
        array[at] = ',';
    }
}

void write_details(json::Writer& w, const gen::Usage& usage) {
    w.begin_object().key("input_tokens").integer(usage.prompt_tokens);
    w.key("input_tokens_details").begin_object();
    w.key("cached_tokens").integer(usage.cached_tokens);
    w.key("cache_write_tokens").integer(0).end_object();
    w.key("output_tokens").integer(usage.completion_tokens);
    w.key("output_tokens_details").begin_object();
    w.key("reasoning_tokens").integer(usage.reasoning_tokens).end_object();
    w.key("total_tokens").integer(usage.prompt_tokens + usage.completion_tokens).end_object();
}

/// Streams and collects alike: every stream event repeats at its end what the deltas said.
class ResponsesEncoder final : public Encoder {
public:
    explicit ResponsesEncoder(const gen::RenderSpec& spec) : spec_(spec) {
        constexpr std::string_view kPrefix = "resp_";
        job_ = spec.response_id.starts_with(kPrefix) ? spec.response_id.substr(kPrefix.size())
                                                     : spec.response_id;
    }

    void append(const gen::Event& event, std::string& out) override {
        switch (event.kind) {
        case gen::EventKind::started:
            usage_ = event.usage;
            break;
        case gen::EventKind::reasoning_delta:
            if (spec_.reasoning == gen::ReasoningMode::parsed) on_reasoning(event, out);
            break;
        case gen::EventKind::text_delta:
            on_text(event, out);
            break;
        case gen::EventKind::tool_begin:
            on_call(event, out);
            break;
        case gen::EventKind::tool_args:
            on_arguments(event, out);
            break;
        case gen::EventKind::tool_end:
            close_item(out, true);
            break;
        case gen::EventKind::finished:
            on_finished(event, out);
            break;
        case gen::EventKind::usage:
            usage_ = event.usage;
            if (spec_.stream) {
                ensure_begun(out);
                write_snapshot(out, cut_ ? "response.incomplete" : "response.completed",
                               final_status());
            }
            break;
        case gen::EventKind::failed:
            on_failed(event, out);
            break;
        default:
            break;
        }
    }

    void finish(std::string& out) override {
        if (spec_.stream) return;
        json::Writer w(out);
        write_response(out, w, final_status());
    }

    std::string_view end_of_stream() const override { return {}; }

    /// The whole body whatever the spec says of streaming.
    std::string body() const {
        std::string out;
        json::Writer w(out);
        write_response(out, w, final_status());
        return out;
    }

    const std::vector<Item>& items() const { return items_; }

private:
    std::string_view final_status() const { return cut_ ? "incomplete" : "completed"; }

    // --- the output -----------------------------------------------------------------------------

    void on_reasoning(const gen::Event& event, std::string& out) {
        Item& item = ensure_item(Kind::reasoning, out);
        item.text += event.text;
        if (!spec_.stream || !spec_.reasoning_summary) return;
        json::Writer w = begin_event(out, "response.reasoning_summary_text.delta");
        write_place(w, "summary_index");
        w.key("delta").string(event.text);
        end_event(w, out);
    }

    void on_text(const gen::Event& event, std::string& out) {
        Item& item = ensure_item(Kind::message, out);
        item.text += event.text;
        if (spec_.logprobs) append_logprobs(item.logprobs, event.logprobs);
        if (!spec_.stream) return;
        json::Writer w = begin_event(out, "response.output_text.delta");
        write_place(w, "content_index");
        w.key("delta").string(event.text).key("logprobs");
        if (spec_.logprobs) {
            write_logprobs(w, event.logprobs);
        } else {
            w.raw("[]");
        }
        end_event(w, out);
    }

    void on_call(const gen::Event& event, std::string& out) {
        close_item(out, true);
        items_.emplace_back();
        Item& item = items_.back();
        item.name = event.text;
        item.call_id = derived_id(spec_, "call_", event.choice, event.tool_index);
        open_item(Kind::function_call, out);
    }

    void on_arguments(const gen::Event& event, std::string& out) {
        if (!open_ || items_.back().kind != Kind::function_call) return;
        items_.back().text += event.text;
        if (!spec_.stream) return;
        json::Writer w = begin_event(out, "response.function_call_arguments.delta");
        write_place(w, {});
        w.key("delta").string(event.text);
        end_event(w, out);
    }

    void on_finished(const gen::Event& event, std::string& out) {
        cut_ = event.finish == gen::Finish::length;
        close_item(out, !cut_);
        // An empty answer still has its message, unless thinking took all there was.
        const bool said = !items_.empty() && (cut_ || items_.back().kind != Kind::reasoning);
        if (said) return;
        ensure_item(Kind::message, out);
        close_item(out, !cut_);
    }

    void on_failed(const gen::Event& event, std::string& out) {
        if (!spec_.stream) return; // an error takes the body's place
        ensure_begun(out);
        open_ = false;
        if (event.usage != gen::Usage{}) usage_ = event.usage;
        const PublicFailure failure = public_failure(event.failure);
        json::Writer w = begin_event(out, "error");
        const auto write_error = [&] {
            w.key("code").string(failure.type).key("message").string(failure.message);
            w.key("param").null();
        };
        write_error(); // OpenAI's clients read it here, those of Open Responses below
        w.key("error").begin_object().key("type").string(failure.type);
        write_error();
        w.end_object();
        end_event(w, out);
        failure_ = failure.message;
        write_snapshot(out, "response.failed", "failed");
    }

    /// The open item of this kind, opened if there is none.
    Item& ensure_item(Kind kind, std::string& out) {
        if (open_ && items_.back().kind == kind) return items_.back();
        close_item(out, true);
        items_.emplace_back();
        open_item(kind, out);
        return items_.back();
    }

    /// Announces the item that was put at the end.
    void open_item(Kind kind, std::string& out) {
        Item& item = items_.back();
        item.kind = kind;
        item.text.reserve(kUsualTextBytes);
        item.id = id_prefix(kind);
        item.id += job_;
        item.id += '_';
        json::append_uint(item.id, items_.size() - 1);
        open_ = true;
        if (!spec_.stream) return;
        ensure_begun(out);
        write_item_event(out, "response.output_item.added", "in_progress");
        if (kind == Kind::function_call || (kind == Kind::reasoning && !spec_.reasoning_summary))
            return;
        write_part_event(out, "added", {}, "[]");
    }

    void close_item(std::string& out, bool complete) {
        if (!open_) return;
        open_ = false;
        Item& item = items_.back();
        item.complete = complete;
        if (!spec_.stream) return;
        if (item.kind == Kind::message) {
            json::Writer w = begin_event(out, "response.output_text.done");
            write_place(w, "content_index");
            w.key("text").string(item.text).key("logprobs").raw(item.logprobs);
            end_event(w, out);
            write_part_event(out, "done", item.text, item.logprobs);
        } else if (item.kind == Kind::function_call) {
            json::Writer w = begin_event(out, "response.function_call_arguments.done");
            write_place(w, {});
            w.key("name").string(item.name).key("arguments").string(item.text);
            end_event(w, out);
        } else if (spec_.reasoning_summary) {
            json::Writer w = begin_event(out, "response.reasoning_summary_text.done");
            write_place(w, "summary_index");
            w.key("text").string(item.text);
            end_event(w, out);
            write_part_event(out, "done", item.text, "[]");
        }
        write_item_event(out, "response.output_item.done", complete ? "completed" : "incomplete");
    }

    // --- events ---------------------------------------------------------------------------------

    json::Writer begin_event(std::string& out, std::string_view type) {
        out += "event: ";
        out += type;
        out += "\ndata: ";
        json::Writer w(out);
        w.begin_object().key("type").string(type).key("sequence_number").integer(sequence_++);
        return w;
    }

    static void end_event(json::Writer& w, std::string& out) {
        w.end_object();
        out += "\n\n";
    }

    /// Which item, and which of its parts: it never has more than one.
    void write_place(json::Writer& w, std::string_view part) const {
        w.key("item_id").string(items_.back().id).key("output_index").integer(items_.size() - 1);
        if (!part.empty()) w.key(part).integer(0);
    }

    void write_item_event(std::string& out, std::string_view type, std::string_view status) {
        json::Writer w = begin_event(out, type);
        w.key("output_index").integer(items_.size() - 1).key("item");
        write_item(w, items_.back(), status);
        end_event(w, out);
    }

    /// `what`: added or done.
    void write_part_event(std::string& out, std::string_view what, std::string_view text,
                          std::string_view logprobs) {
        const bool added = what == "added";
        const bool message = items_.back().kind == Kind::message;
        const std::string_view type =
            message ? (added ? "response.content_part.added" : "response.content_part.done")
                    : (added ? "response.reasoning_summary_part.added"
                             : "response.reasoning_summary_part.done");
        json::Writer w = begin_event(out, type);
        write_place(w, message ? "content_index" : "summary_index");
        w.key("part");
        if (message) {
            write_output_text(w, text, logprobs);
        } else {
            write_typed_text(w, "summary_text", text);
        }
        end_event(w, out);
    }

    void ensure_begun(std::string& out) {
        if (begun_) return;
        begun_ = true;
        // Before the first item: the snapshots have none yet.
        std::vector<Item> later = std::move(items_);
        items_.clear();
        write_snapshot(out, "response.created", "in_progress");
        write_snapshot(out, "response.in_progress", "in_progress");
        items_ = std::move(later);
    }

    void write_snapshot(std::string& out, std::string_view type, std::string_view status) {
        json::Writer w = begin_event(out, type);
        w.key("response");
        write_response(out, w, status);
        end_event(w, out);
    }

    // --- objects --------------------------------------------------------------------------------

    void write_item(json::Writer& w, const Item& item, std::string_view status) const {
        if (item.kind == Kind::function_call) {
            write_function_call(w, item.id, item.call_id, item.name, item.text, status);
            return;
        }
        const bool said = status != "in_progress"; // when it is, the text is still to come
        w.begin_object().key("type");
        if (item.kind == Kind::message) {
            w.string("message").key("id").string(item.id).key("role").string("assistant");
            w.key("content").begin_array();
            if (said) write_output_text(w, item.text, item.logprobs);
        } else {
            w.string("reasoning").key("id").string(item.id).key("summary").begin_array();
            if (said && spec_.reasoning_summary) write_typed_text(w, "summary_text", item.text);
            if (!spec_.reasoning_summary) {
                w.end_array().key("content").begin_array();
                if (said) write_typed_text(w, "reasoning_text", item.text);
            }
        }
        w.end_array().key("status").string(status).end_object();
    }

    /// The response object. `out` is what `w` writes to.
    void write_response(std::string& out, json::Writer& w, std::string_view status) const {
        w.begin_object().key("id").string(spec_.response_id).key("object").string("response");
        w.key("created_at").integer(spec_.created);
        // Encoders have no clock, and what is not known is null.
        w.key("completed_at").null().key("status").string(status).key("error");
        if (failure_.empty()) {
            w.null();
        } else {
            // The closed list of codes has this one for all that is the server's fault.
            w.begin_object().key("code").string("server_error");
            w.key("message").string(failure_).end_object();
        }
        w.key("incomplete_details");
        if (status == "incomplete") {
            w.begin_object().key("reason").string("max_output_tokens").end_object();
        } else {
            w.null();
        }
        w.key("model").string(spec_.model).key("output").begin_array();
        for (const Item& item : items_)
            write_item(w, item, item.complete ? "completed" : "incomplete");
        w.end_array();
        if (!spec_.echoed.empty()) {
            out += ',';
            out += spec_.echoed;
        }
        // While it runs: what is known so far.
        w.key("usage");
        write_details(w, usage_);
        w.end_object();
    }

    gen::RenderSpec spec_;
    std::string job_; ///< what the ids of items are made of
    std::vector<Item> items_;
    gen::Usage usage_;
    std::int64_t sequence_ = 0;
    std::string_view failure_;
    bool begun_ = false;
    bool open_ = false; ///< the last item still grows
    bool cut_ = false;  ///< ended by its bound
};

} // namespace

std::unique_ptr<Encoder> make_openai_responses_encoder(const gen::RenderSpec& spec) {
    return std::make_unique<ResponsesEncoder>(spec);
}

struct ResponseRecord::Impl {
    ResponsesEncoder encoder;
    std::string unused; // nothing is appended before the end
};

ResponseRecord::ResponseRecord() = default;
ResponseRecord::~ResponseRecord() = default;

void ResponseRecord::begin(const gen::RenderSpec& spec) {
    gen::RenderSpec whole = spec;
    whole.stream = false;
    impl_ = std::make_unique<Impl>(Impl{ResponsesEncoder(whole), {}});
    id_ = spec.response_id;
}

void ResponseRecord::append(const gen::Event& event) {
    BLOOM_CHECK(impl_ != nullptr);
    impl_->encoder.append(event, impl_->unused);
}

std::string ResponseRecord::body() const {
    BLOOM_CHECK(impl_ != nullptr);
    return impl_->encoder.body();
}

std::vector<ResponseItem> ResponseRecord::output() const {
    BLOOM_CHECK(impl_ != nullptr);
    std::vector<ResponseItem> out;
    for (const Item& item : impl_->encoder.items()) {
        ResponseItem& kept = out.emplace_back();
        kept.kind = item.kind;
        kept.role = gen::Role::assistant;
        kept.id = item.id;
        if (item.kind == Kind::function_call) {
            kept.call_id = item.call_id;
            kept.name = item.name;
            kept.arguments = item.text;
        } else {
            kept.texts.push_back(item.text);
        }
    }
    return out;
}

} // namespace bloom::dialect
