#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/gen/generation.hpp>

namespace bloom::dialect {

/// One item of a Responses conversation (consumer API section 6.1), from the input of a request or
/// from the output of an answer. Plain values: stored responses are made of them.
struct ResponseItem {
    enum class Kind : std::uint8_t {
        message,              ///< `role`, `texts`
        function_call,        ///< `call_id`, `name`, `arguments`
        function_call_output, ///< `call_id`, `texts`
        reasoning,            ///< `texts`
        reference,            ///< `id` of an item of a stored response
    };
    Kind kind = Kind::message;
    gen::Role role = gen::Role::user;
    bool developer = false;         ///< a system message that the client named so
    std::string id;                 ///< of output items and references; input items have none
    std::vector<std::string> texts; ///< one for each content part
    std::string call_id;
    std::string name;
    std::string arguments; ///< JSON text of an object
};

/// Memory that an item stands for, roughly.
std::size_t bytes_of(const ResponseItem& item) noexcept;

/// Appends an item as lists of input items show it, under the given id.
void append_item(std::string& out, const ResponseItem& item, std::string_view id);

/// What the id of such an item begins with: `msg_`, `fc_`, `fco_` or `rs_`.
std::string_view id_prefix(ResponseItem::Kind kind) noexcept;

} // namespace bloom::dialect
