#pragma once

#include <expected>
#include <string>

namespace bloom::dialect {

/// Why a request body was not accepted (HTTP 400; `thread_not_found` is 404): one sentence, the
/// member it is about and a machine code, as the error envelopes want them. Empty `param`: the body
/// as a whole.
struct RequestError {
    std::string message;
    std::string param;
    std::string code = "invalid_value";
};

template <class T>
using Parsed = std::expected<T, RequestError>;

} // namespace bloom::dialect
