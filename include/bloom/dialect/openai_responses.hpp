#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/encoder.hpp>
#include <bloom/dialect/request_error.hpp>
#include <bloom/dialect/responses_items.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/json/reader.hpp>

namespace bloom::dialect {

/// Reads the body of `POST /v1/responses` (consumer API section 6.1). The messages are made at once
/// where the body is enough for that; see needs_stored. Members are walked in order, the last
/// duplicate wins, unknown ones are ignored. Lifetime: keeps nothing of the document.
Parsed<Request> parse_openai_responses(const json::Value& body);

/// Whether the messages can only be made with what was stored: a previous response or items of one.
bool needs_stored(const Request& request) noexcept;

/// Makes the messages of such a request from the items of the conversation so far and its own,
/// whose references have been replaced. Instructions come first and are not inherited. Errors: a
/// reference that is left, the result of a call that nobody made, no message at all.
Parsed<void> continue_conversation(Request& request, std::span<const ResponseItem> earlier);

/// Encoder for the `response` object and its events (sections 6.2 to 6.4).
std::unique_ptr<Encoder> make_openai_responses_encoder(const gen::RenderSpec& spec);

/// Keeps what one response becomes while its events go by, whether it is streamed or not.
class ResponseRecord {
public:
    ResponseRecord();
    ~ResponseRecord();

    /// Another attempt: forgets what was recorded.
    void begin(const gen::RenderSpec& spec);
    void append(const gen::Event& event);

    const std::string& id() const noexcept { return id_; }

    /// The whole response as an answer that is not streamed has it.
    std::string body() const;
    /// Its output items, with their ids.
    std::vector<ResponseItem> output() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
    std::string id_;
};

/// `resp_..` of the response whose output has an item of this id, and the item's index there;
/// empty: no id of an output item.
std::string response_of_item(std::string_view item_id, std::size_t& index);

} // namespace bloom::dialect
