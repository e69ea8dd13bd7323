#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>

namespace bloom::http {

/// How the end of a response body is told.
enum class ResponseFraming : std::uint8_t {
    none,        ///< no content possible, no Content-Length either (1xx, 204, 304)
    length,      ///< Content-Length
    chunked,     ///< HTTP/1.1 streams
    until_close, ///< HTTP/1.0 streams
};

struct ResponseMeta {
    Status status = Status::ok;
    ResponseFraming framing = ResponseFraming::length;
    std::uint64_t content_length = 0;
    bool close = false;          ///< say Connection: close
    bool say_keep_alive = false; ///< say Connection: keep-alive (HTTP/1.0 clients, event streams)
    std::string_view date = {};  ///< IMF-fixdate
};

/// Appends status line, fields of the server, `fields`, and the empty line.
void append_head(std::string& out, const ResponseMeta& meta, const HeaderList& fields);

/// Appends the framing of one chunk in front of `n` bytes; the caller appends those and "\r\n".
void append_chunk_size(std::string& out, std::uint64_t n);

/// "Sun, 06 Nov 1994 08:49:37 GMT", RFC 9110 5.6.7. `seconds` since 1970, not negative.
using HttpDate = std::array<char, 29>;
HttpDate format_date(std::int64_t seconds) noexcept;

/// The Date of responses, formatted once a second.
class DateCache {
public:
    std::string_view at(std::int64_t seconds) noexcept {
        if (seconds != seconds_) {
            seconds_ = seconds;
            text_ = format_date(seconds);
        }
        return {text_.data(), text_.size()};
    }

private:
    std::int64_t seconds_ = -1;
    HttpDate text_{};
};

} // namespace bloom::http
