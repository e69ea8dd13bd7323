#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>

namespace bloom::sse {

/// One dispatched event.
struct Event {
    std::string type; ///< "message" when the stream names none
    std::string data; ///< lines joined by '\n'
    std::string id;   ///< last id seen
};

/// Reads an event stream piece by piece: CR, LF and CRLF line ends, several data lines, a BOM,
/// comments; an event without its empty line at the end of the stream is dropped. Source: WHATWG
/// HTML, 9.2.6 "Interpreting an event stream".  Thread: one.
class Reader {
public:
    static constexpr std::size_t kEventBytesMax = std::size_t{16} * 1024 * 1024;

    explicit Reader(std::size_t event_bytes_max = kEventBytesMax) noexcept
        : event_bytes_max_(event_bytes_max) {}

    /// Errors: too_large when one line or event grows past the bound.
    Result<> feed(std::string_view bytes);
    /// Moves the oldest complete event out; false when there is none.
    bool next(Event& out);

    std::uint64_t n_comments() const noexcept { return n_comments_; }

    /// Text of the newest comment, without the colon.
    const std::string& last_comment() const noexcept { return last_comment_; }

private:
    void take_line(std::string_view line);

    std::size_t event_bytes_max_;
    std::string line_;
    Event open_;
    bool has_data_ = false;
    bool after_cr_ = false;
    bool at_start_ = true;
    std::uint64_t n_comments_ = 0;
    std::string last_comment_;
    std::deque<Event> ready_;
};

} // namespace bloom::sse
