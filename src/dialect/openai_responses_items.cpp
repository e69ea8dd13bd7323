#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bloom/base/check.hpp>
#include <bloom/dialect/openai_responses.hpp>

#include "dialect/openai_responses.hpp"
#include "dialect/tool_fields.hpp"

namespace bloom::dialect {
namespace {

using Kind = ResponseItem::Kind;

constexpr std::size_t kMaxItems = 65'536;
constexpr std::size_t kShownBytes = 64;
/// Between texts that were apart and become one message.
constexpr std::string_view kParagraph = "\n\n";

std::unexpected<RequestError> refuse_missing(const std::string& where) {
    return refuse(where, fmt::format("Missing required parameter: '{}'.", where),
                  "missing_required_parameter");
}

std::string_view type_of(const json::Object& members) {
    const auto type = members.find("type");
    return type && type->is_string() ? *type->as_string() : std::string_view();
}

/// The text of a part; any kind that is not text is refused by name.
Parsed<std::string> parse_part(const json::Value& value, const std::string& where,
                               std::string_view model) {
    const auto object = value.as_object();
    if (!object) return refuse_type(where, "an object", value);
    const std::string_view kind = type_of(*object);
    if (kind.empty()) return refuse_missing(where + ".type");
    // A refusal that the history holds is text to the model.
    const bool refusal = kind == "refusal";
    if (!refusal && kind != "input_text" && kind != "output_text" && kind != "text")
        return refuse_part(where + ".type", kind, model);
    const std::string at = where + (refusal ? ".refusal" : ".text");
    const auto text = object->find(refusal ? "refusal" : "text");
    if (!text) return refuse_missing(at);
    return read_string(*text, at);
}

/// A string or an array of parts.
Parsed<std::vector<std::string>> parse_content(const json::Value& value, const std::string& where,
                                               std::string_view model) {
    std::vector<std::string> texts;
    if (value.is_string()) {
        texts.emplace_back(*value.as_string());
        return texts;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type(where, "a string or an array of parts", value);
    for (const json::Value element : *array) {
        BLOOM_PARSE(std::string text, parse_part(element, path(where, texts.size()), model));
        texts.push_back(std::move(text));
    }
    return texts;
}

Parsed<ResponseItem> parse_message(const json::Object& members, const std::string& where,
                                   std::string_view model) {
    ResponseItem item;
    const auto role = members.find("role");
    if (role && !role->is_null()) {
        BLOOM_PARSE(const std::string name, read_string(*role, where + ".role"));
        item.developer = name == "developer";
        if (name == "assistant") {
            item.role = gen::Role::assistant;
        } else if (name == "system" || item.developer) {
            item.role = gen::Role::system;
        } else if (name != "user") {
            return refuse(where + ".role",
                          fmt::format("Invalid value: '{}'. Supported values are: 'assistant', "
                                      "'system', 'developer', and 'user'.",
                                      name.substr(0, kShownBytes)));
        }
    }
    const auto content = members.find("content");
    if (!content) return refuse_missing(where + ".content");
    BLOOM_PARSE(item.texts, parse_content(*content, where + ".content", model));
    return item;
}

Parsed<std::string> parse_call_id(const json::Object& members, const std::string& where) {
    auto id = members.find("call_id");
    if (!id || id->is_null()) id = members.find("id");
    if (!id || id->is_null()) return refuse_missing(where + ".call_id");
    BLOOM_PARSE(std::string text, read_string(*id, where + ".call_id"));
    if (text.empty()) return refuse_missing(where + ".call_id");
    return text;
}

Parsed<ResponseItem> parse_call(const json::Object& members, const std::string& where) {
    ResponseItem item;
    item.kind = Kind::function_call;
    BLOOM_PARSE(item.call_id, parse_call_id(members, where));
    const auto name = members.find("name");
    if (!name) return refuse_missing(where + ".name");
    BLOOM_PARSE(item.name, read_string(*name, where + ".name"));
    const auto arguments = members.find("arguments");
    if (!arguments) return refuse_missing(where + ".arguments");
    BLOOM_PARSE(item.arguments, read_arguments(*arguments, where + ".arguments"));
    return item;
}

Parsed<ResponseItem> parse_call_output(const json::Object& members, const std::string& where,
                                       std::string_view model) {
    ResponseItem item;
    item.kind = Kind::function_call_output;
    BLOOM_PARSE(item.call_id, parse_call_id(members, where));
    const auto output = members.find("output");
    if (!output) return refuse_missing(where + ".output");
    BLOOM_PARSE(item.texts, parse_content(*output, where + ".output", model));
    return item;
}

/// Thinking that came back: its own text, or the summary where there is no more. What is encrypted
/// is another server's.
Parsed<ResponseItem> parse_reasoning(const json::Object& members, const std::string& where) {
    ResponseItem item;
    item.kind = Kind::reasoning;
    for (const char* const member : {"content", "summary"}) {
        if (!item.texts.empty()) break;
        const auto parts = members.find(member);
        if (!parts || parts->is_null()) continue;
        const std::string at = fmt::format("{}.{}", where, member);
        const auto array = parts->as_array();
        if (!array) return refuse_type(at, "an array of parts", *parts);
        for (const json::Value part : *array) {
            const auto object = part.as_object();
            const auto text = object ? object->find("text") : std::nullopt;
            if (!text) return refuse_missing(path(at, item.texts.size(), "text"));
            BLOOM_PARSE(std::string read, read_string(*text, path(at, item.texts.size(), "text")));
            item.texts.push_back(std::move(read));
        }
    }
    return item;
}

Parsed<ResponseItem> parse_item(const json::Value& value, const std::string& where,
                                std::string_view model) {
    const auto object = value.as_object();
    if (!object) return refuse_type(where, "an object", value);
    const std::string_view type = type_of(*object);
    const auto id = object->find("id");
    const bool bare = type.empty() && (object->find("role") || object->find("content"));
    if (type == "message" || bare) return parse_message(*object, where, model);
    if (type == "function_call") return parse_call(*object, where);
    if (type == "function_call_output") return parse_call_output(*object, where, model);
    if (type == "reasoning") return parse_reasoning(*object, where);
    if (type == "item_reference" || (type.empty() && id)) {
        if (!id) return refuse_missing(where + ".id");
        ResponseItem item;
        item.kind = Kind::reference;
        BLOOM_PARSE(item.id, read_string(*id, where + ".id"));
        return item;
    }
    if (type.empty()) return refuse_missing(where + ".type");
    return refuse(where + ".type",
                  fmt::format("Invalid value: '{}'. This node takes items of the types 'message', "
                              "'function_call', 'function_call_output', 'reasoning' and "
                              "'item_reference'.",
                              type.substr(0, kShownBytes)));
}

std::string joined(const std::vector<std::string>& texts, std::string_view between) {
    return fmt::format("{}", fmt::join(texts, between));
}

gen::Message message_of(gen::Role role, std::vector<std::string> texts) {
    gen::Message message;
    message.role = role;
    for (std::string& text : texts)
        message.content.push_back({gen::Part::Kind::text, std::move(text)});
    return message;
}

/// Puts items together, one after the other.
class Folder {
public:
    void instruct(std::string_view text) {
        if (!text.empty()) add_system({std::string(text)});
    }

    Parsed<void> add(ResponseItem item, std::size_t index) {
        switch (item.kind) {
        case Kind::message:
            add_message(std::move(item));
            return {};
        case Kind::function_call:
            add_call(std::move(item));
            return {};
        case Kind::function_call_output:
            return add_output(std::move(item), index);
        case Kind::reasoning:
            if (!reasoning_.empty()) reasoning_ += kParagraph;
            reasoning_ += joined(item.texts, kParagraph);
            return {};
        case Kind::reference:
            break;
        }
        return refuse(path("input", index),
                      fmt::format("Item with id '{}' not found. Items are kept only of responses "
                                  "that were not created with 'store' set to false.",
                                  item.id.substr(0, kShownBytes)));
    }

    std::vector<gen::Message> take() { return std::move(messages_); }

private:
    /// Templates have one place for a system message, the first: several in front are one.
    void add_system(std::vector<std::string> texts) {
        if (messages_.size() == 1 && messages_.front().role == gen::Role::system) {
            messages_.front().content.front().text += kParagraph;
            messages_.front().content.front().text += joined(texts, kParagraph);
            return;
        }
        messages_.push_back(message_of(gen::Role::system, {joined(texts, kParagraph)}));
    }

    void add_message(ResponseItem item) {
        if (item.role == gen::Role::system) {
            reasoning_.clear();
            add_system(std::move(item.texts));
            return;
        }
        messages_.push_back(message_of(item.role, std::move(item.texts)));
        if (item.role == gen::Role::assistant)
            messages_.back().reasoning = std::exchange(reasoning_, {});
        reasoning_.clear();
    }

    void add_call(ResponseItem item) {
        called_.insert(item.call_id);
        const bool same_turn = !messages_.empty() && reasoning_.empty() &&
                               messages_.back().role == gen::Role::assistant;
        if (!same_turn) {
            messages_.push_back(message_of(gen::Role::assistant, {}));
            messages_.back().reasoning = std::exchange(reasoning_, {});
        }
        messages_.back().tool_calls.push_back(
            {std::move(item.call_id), std::move(item.name), std::move(item.arguments)});
    }

    Parsed<void> add_output(ResponseItem item, std::size_t index) {
        if (!called_.contains(item.call_id)) {
            return refuse(path("input", index, "call_id"),
                          fmt::format("No tool call found for function call output with call_id "
                                      "'{}'.",
                                      item.call_id.substr(0, kShownBytes)));
        }
        reasoning_.clear();
        messages_.push_back(message_of(gen::Role::tool, std::move(item.texts)));
        messages_.back().tool_call_id = std::move(item.call_id);
        return {};
    }

    std::vector<gen::Message> messages_;
    std::string reasoning_; // of the message that follows
    std::unordered_set<std::string> called_;
};

} // namespace

Parsed<std::vector<ResponseItem>> parse_items(const json::Value& value, std::string_view model) {
    std::vector<ResponseItem> items;
    if (value.is_string()) {
        ResponseItem item;
        item.texts.emplace_back(*value.as_string());
        items.push_back(std::move(item));
        return items;
    }
    const auto array = value.as_array();
    if (!array) return refuse_type("input", "a string or an array of items", value);
    for (const json::Value element : *array) {
        if (items.size() == kMaxItems)
            return refuse("input", fmt::format("Invalid 'input': more than {} items.", kMaxItems));
        BLOOM_PARSE(ResponseItem item, parse_item(element, path("input", items.size()), model));
        items.push_back(std::move(item));
    }
    return items;
}

Parsed<std::vector<gen::Message>>
fold_items(std::string_view instructions, std::vector<ResponseItem> items, std::size_t n_earlier) {
    Folder folder;
    folder.instruct(instructions);
    for (std::size_t i = 0; i < items.size(); ++i)
        BLOOM_PARSE_VOID(folder.add(std::move(items[i]), i < n_earlier ? i : i - n_earlier));
    std::vector<gen::Message> messages = folder.take();
    if (messages.empty())
        return refuse("input", "Invalid 'input': expected a text or at least one message.");
    return messages;
}

std::size_t bytes_of(const ResponseItem& item) noexcept {
    std::size_t n = sizeof(ResponseItem) + item.id.size() + item.call_id.size() + item.name.size() +
                    item.arguments.size();
    for (const std::string& text : item.texts)
        n += sizeof(std::string) + text.size();
    return n;
}

std::string_view id_prefix(ResponseItem::Kind kind) noexcept {
    switch (kind) {
    case Kind::function_call:
        return "fc_";
    case Kind::function_call_output:
        return "fco_";
    case Kind::reasoning:
        return "rs_";
    case Kind::message:
    case Kind::reference:
        break;
    }
    return "msg_";
}

void write_typed_text(json::Writer& w, std::string_view type, std::string_view text) {
    w.begin_object().key("type").string(type).key("text").string(text).end_object();
}

void write_output_text(json::Writer& w, std::string_view text, std::string_view logprobs) {
    w.begin_object().key("type").string("output_text").key("text").string(text);
    w.key("annotations").begin_array().end_array();
    w.key("logprobs").raw(logprobs).end_object();
}

void write_function_call(json::Writer& w, std::string_view id, std::string_view call_id,
                         std::string_view name, std::string_view arguments,
                         std::string_view status) {
    w.begin_object().key("type").string("function_call").key("id").string(id);
    w.key("call_id").string(call_id).key("name").string(name);
    w.key("arguments").string(arguments).key("status").string(status).end_object();
}

void append_item(std::string& out, const ResponseItem& item, std::string_view id) {
    BLOOM_CHECK(item.kind != Kind::reference); // replaced before anything is stored
    json::Writer w(out);
    if (item.kind == Kind::function_call) {
        write_function_call(w, id, item.call_id, item.name, item.arguments, "completed");
        return;
    }
    w.begin_object().key("type");
    if (item.kind == Kind::reasoning) {
        w.string("reasoning").key("id").string(id).key("summary").begin_array();
        for (const std::string& text : item.texts)
            write_typed_text(w, "summary_text", text);
        w.end_array();
    } else if (item.kind == Kind::function_call_output) {
        w.string("function_call_output").key("id").string(id);
        w.key("call_id").string(item.call_id).key("output");
        if (item.texts.size() == 1) {
            w.string(item.texts.front());
        } else {
            w.begin_array();
            for (const std::string& text : item.texts)
                write_typed_text(w, "input_text", text);
            w.end_array();
        }
    } else {
        const bool answer = item.role == gen::Role::assistant;
        const bool system = item.role == gen::Role::system;
        w.string("message").key("id").string(id).key("role");
        w.string(answer ? "assistant" : !system ? "user" : item.developer ? "developer" : "system");
        w.key("content").begin_array();
        for (const std::string& text : item.texts) {
            if (answer) {
                write_output_text(w, text, "[]");
            } else {
                write_typed_text(w, "input_text", text);
            }
        }
        w.end_array();
    }
    w.key("status").string("completed").end_object();
}

std::string response_of_item(std::string_view item_id, std::size_t& index) {
    const std::size_t prefix = item_id.find('_');
    const std::size_t last = item_id.rfind('_');
    if (prefix == std::string_view::npos || last == prefix) return {};
    index = 0;
    const std::string_view digits = item_id.substr(last + 1);
    if (digits.empty() || digits.size() > 6) return {}; // an answer has far fewer items
    for (const char c : digits) {
        if (c < '0' || c > '9') return {};
        index = index * 10 + static_cast<std::size_t>(c - '0');
    }
    return fmt::format("resp_{}", item_id.substr(prefix + 1, last - prefix - 1));
}

bool needs_stored(const Request& request) noexcept {
    const auto is_reference = [](const ResponseItem& item) { return item.kind == Kind::reference; };
    return !request.previous_response_id.empty() ||
           std::ranges::any_of(request.items, is_reference);
}

Parsed<void> continue_conversation(Request& request, std::span<const ResponseItem> earlier) {
    std::vector<ResponseItem> items(earlier.begin(), earlier.end());
    items.insert(items.end(), request.items.begin(), request.items.end());
    BLOOM_PARSE(request.generation.messages,
                fold_items(request.instructions, std::move(items), earlier.size()));
    return {};
}

} // namespace bloom::dialect
