#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <bloom/dialect/request_error.hpp>
#include <bloom/dialect/responses_items.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

/// Pieces of the Responses dialect that its files share.
namespace bloom::dialect {

/// `input`: a string or an array of items.
Parsed<std::vector<ResponseItem>> parse_items(const json::Value& value, std::string_view model);

/// The messages of a conversation. Adjacent calls become one assistant message, joined with the
/// text in front of them; thinking goes to the message that follows it. Errors count items from
/// behind the first `n_earlier`, which are not the request's own.
Parsed<std::vector<gen::Message>> fold_items(std::string_view instructions,
                                             std::vector<ResponseItem> items,
                                             std::size_t n_earlier = 0);

// Parts of items that input lists and answers write alike.
void write_output_text(json::Writer& w, std::string_view text, std::string_view logprobs);
void write_typed_text(json::Writer& w, std::string_view type, std::string_view text);
void write_function_call(json::Writer& w, std::string_view id, std::string_view call_id,
                         std::string_view name, std::string_view arguments,
                         std::string_view status);

} // namespace bloom::dialect
