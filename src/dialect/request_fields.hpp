#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/gen/generation.hpp>

#include "dialect/fields.hpp"

/// Request members that several dialects have, under whatever name each of them uses.
namespace bloom::dialect {

/// `messages[3]`, `messages[3].content`.
std::string path(std::string_view base, std::size_t index, std::string_view member = {});

/// A stop string or an array of them: 16 x 512 bytes at most (design decision 19).
Parsed<std::vector<std::string>> read_stop(const json::Value& value, std::string_view param);

/// Members that draw the next token: temperature, top_p, top_k, min_p, the penalties, seed,
/// logit_bias. True when the member was one.
Parsed<bool> read_sampling(const json::Member& m, gen::Sampling& s);

/// A reasoning effort, `none` to `max`.
Parsed<void> read_effort(const json::Value& value, std::string_view param,
                         gen::TemplateOptions& options);

/// provider_serial and provider_serials (consumer API section 4.10). True when the member was one.
Parsed<bool> read_routing(const json::Member& m, gen::Routing& routing);

/// How the answer is delivered: stream, stream_options, stop, and of reasoning how much there shall
/// be and where it goes. True when the member was one.
Parsed<bool> read_delivery(const json::Member& m, gen::Generation& g);

/// `n`: how many answers to one prompt, up to 8.
Parsed<std::int32_t> read_choices(const json::Value& value, std::string_view param);

/// A bound on tokens: what no model reaches is cut in silence; 0 means unset (consumer API sections
/// 4.2 and 4.3).
Parsed<std::int64_t> read_token_limit(const json::Member& m);

/// The bound that is in force when `asked` was read; 0: the default of 8192.
std::int32_t output_bound(std::int64_t asked);

/// A tool message must answer a call that an earlier assistant message made. `param` names the
/// array that the messages came from.
Parsed<void> check_tool_results(const std::vector<gen::Message>& messages, std::string_view param);

} // namespace bloom::dialect

/// For readers that return nothing: hands their error on.
#define BLOOM_PARSE_VOID(...)                                                                      \
    do {                                                                                           \
        auto bloom_parsed = (__VA_ARGS__);                                                         \
        if (!bloom_parsed) return ::std::unexpected(::std::move(bloom_parsed).error());            \
    } while (false)
