#pragma once

#include <string>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/http/limits.hpp>
#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>

namespace bloom::http {

/// A response head as a client needs it. Views into the parser.
struct ResponseHead {
    Status status = Status::ok;
    bool keep_alive = false;
    bool until_close = false; ///< the body ends with the connection
    BodyKind body = BodyKind::none;
    std::uint64_t content_length = 0;
    Headers headers;
};

/// Collects a response head up to its empty line, then reads it strictly: CRLF line ends, no folds,
/// one Content-Length or `chunked`. Verdicts do not depend on how the bytes are cut.
class ResponseParser {
public:
    explicit ResponseParser(const Limits& limits) noexcept : limits_(&limits) {}

    /// Ready for a response to this method (HEAD has no body).
    void reset(Method method) noexcept;
    /// Consumes what belongs to the head; true when it is complete.
    /// Errors: protocol_error, too_large.
    Result<bool> feed(ByteSpan input, std::size_t& consumed);

    const ResponseHead& head() const noexcept { return head_; }

    bool started() const noexcept { return !bytes_.empty(); }

private:
    Result<> parse();
    Result<> parse_field(std::string_view line);
    Result<> frame();

    const Limits* limits_;
    Method method_ = Method::get;
    std::string bytes_;
    std::vector<Headers::Offsets> fields_;
    ResponseHead head_;
};

} // namespace bloom::http
