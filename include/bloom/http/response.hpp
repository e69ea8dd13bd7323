#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bloom::http {

/// Status codes this project sends or names; any three-digit number may be cast to it.
enum class Status : std::uint16_t {
    continue_ = 100,
    switching_protocols = 101,
    ok = 200,
    created = 201,
    accepted = 202,
    no_content = 204,
    partial_content = 206,
    moved_permanently = 301,
    found = 302,
    not_modified = 304,
    bad_request = 400,
    unauthorized = 401,
    payment_required = 402,
    forbidden = 403,
    not_found = 404,
    method_not_allowed = 405,
    not_acceptable = 406,
    request_timeout = 408,
    conflict = 409,
    gone = 410,
    length_required = 411,
    precondition_failed = 412,
    payload_too_large = 413,
    uri_too_long = 414,
    unsupported_media_type = 415,
    range_not_satisfiable = 416,
    expectation_failed = 417,
    unprocessable_entity = 422,
    upgrade_required = 426,
    too_many_requests = 429,
    header_fields_too_large = 431,
    internal_server_error = 500,
    not_implemented = 501,
    bad_gateway = 502,
    service_unavailable = 503,
    gateway_timeout = 504,
    http_version_not_supported = 505,
    overloaded = 529,
};

/// Reason phrase; empty for a code without a registered one.
std::string_view reason(Status status) noexcept;

inline int to_int(Status status) noexcept {
    return static_cast<int>(status);
}

/// Whether a response with this status can carry content (RFC 9110 6.4.1).
inline bool may_have_body(Status status) noexcept {
    const int code = to_int(status);
    return code >= 200 && code != 204 && code != 304;
}

/// Fields of a message that is being written, kept as wire lines in one reused buffer.
/// The server itself writes Date, Content-Length, Transfer-Encoding and Connection: do not add
/// them.
class HeaderList {
public:
    /// Appends `name: value`. A name or value that could break the framing (a line end, a control
    /// byte, a bad name character) is left out and false returned: such text only ever comes from
    /// outside.
    bool add(std::string_view name, std::string_view value);
    /// Like add, but replaces fields of that name.
    bool set(std::string_view name, std::string_view value);
    bool has(std::string_view name) const noexcept;
    void remove(std::string_view name);

    void clear() noexcept { lines_.clear(); }

    bool empty() const noexcept { return lines_.empty(); }

    /// The lines, each with its CRLF.
    std::string_view lines() const noexcept { return lines_; }

private:
    std::size_t find(std::string_view name) const noexcept;

    std::string lines_;
};

} // namespace bloom::http
