#include <utility>

#include <bloom/sse/reader.hpp>

namespace bloom::sse {

Result<> Reader::feed(std::string_view bytes) {
    std::size_t at = 0;
    while (at < bytes.size()) {
        if (after_cr_ && bytes[at] == '\n') ++at; // the second half of a CRLF
        after_cr_ = false;
        const std::size_t end = bytes.find_first_of("\r\n", at);
        const std::size_t stop = end == std::string_view::npos ? bytes.size() : end;
        line_.append(bytes.substr(at, stop - at));
        if (line_.size() + open_.data.size() > event_bytes_max_) {
            return Error{Code::too_large, "an event of the stream is longer than the reader takes"};
        }
        at = stop;
        if (end == std::string_view::npos) break;
        after_cr_ = bytes[end] == '\r';
        ++at;
        take_line(line_);
        line_.clear();
    }
    return {};
}

void Reader::take_line(std::string_view line) {
    constexpr std::string_view kBom = "\xEF\xBB\xBF";
    if (std::exchange(at_start_, false) && line.starts_with(kBom)) line.remove_prefix(kBom.size());
    if (line.empty()) {
        if (has_data_) {
            if (open_.type.empty()) open_.type = "message";
            ready_.push_back({std::move(open_.type), std::move(open_.data), open_.id});
        }
        open_.type.clear();
        open_.data.clear();
        has_data_ = false;
        return;
    }
    const std::size_t colon = line.find(':');
    if (colon == 0) {
        ++n_comments_;
        last_comment_ = line.substr(1);
        return;
    }
    const std::string_view field = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "data") {
        if (has_data_) open_.data += '\n';
        open_.data += value;
        has_data_ = true;
    } else if (field == "event") {
        open_.type = value;
    } else if (field == "id" && value.find('\0') == std::string_view::npos) {
        open_.id = value;
    }
}

bool Reader::next(Event& out) {
    if (ready_.empty()) return false;
    out = std::move(ready_.front());
    ready_.pop_front();
    return true;
}

} // namespace bloom::sse
