#include "response_parser.hpp"

#include <algorithm>
#include <charconv>

#include <bloom/base/text.hpp>

#include "chars.hpp"

namespace bloom::http {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";

Error bad(std::string_view what) {
    return Error{Code::protocol_error, "the response head is malformed: " + std::string(what)};
}

} // namespace

void ResponseParser::reset(Method method) noexcept {
    method_ = method;
    bytes_.clear();
    fields_.clear();
    head_ = ResponseHead{};
}

Result<bool> ResponseParser::feed(ByteSpan input, std::size_t& consumed) {
    const std::string_view text = as_text(input);
    const std::size_t before = bytes_.size();
    const std::size_t room =
        limits_->head_bytes - std::min<std::size_t>(before, limits_->head_bytes);
    bytes_.append(text.substr(0, room));
    const std::size_t from = before < kHeadEnd.size() ? 0 : before - (kHeadEnd.size() - 1);
    const std::size_t end = bytes_.find(kHeadEnd, from);
    if (end == std::string::npos) {
        consumed = text.size();
        if (bytes_.size() >= limits_->head_bytes) {
            return Error{Code::too_large, "the response head is larger than the client takes"};
        }
        return false;
    }
    bytes_.resize(end + kHeadEnd.size());
    consumed = bytes_.size() - before;
    BLOOM_OK(parse());
    return true;
}

Result<> ResponseParser::parse() {
    std::string_view rest = bytes_;
    const std::string_view line = rest.substr(0, rest.find("\r\n"));
    // HTTP/1.x SP 3DIGIT [SP reason]
    constexpr std::size_t kLineBytesMin = 12;
    if (line.size() < kLineBytesMin || !line.starts_with("HTTP/1.") || line[8] != ' ' ||
        (line[7] != '0' && line[7] != '1') || (line.size() > kLineBytesMin && line[12] != ' ') ||
        !all_class(line, kFieldValue)) {
        return bad("status line");
    }
    unsigned code = 0;
    const char* digits = line.data() + 9;
    const auto [end, err] = std::from_chars(digits, digits + 3, code);
    if (err != std::errc() || end != digits + 3 || code < 100) return bad("status code");
    head_.status = static_cast<Status>(code);
    rest.remove_prefix(line.size() + 2);
    while (rest != "\r\n") {
        const std::string_view field = rest.substr(0, rest.find("\r\n"));
        if (fields_.size() >= limits_->n_headers) {
            return Error{Code::too_large, "the response has more fields than the client takes"};
        }
        BLOOM_OK(parse_field(field));
        rest.remove_prefix(field.size() + 2);
    }
    head_.headers = Headers(bytes_.data(), fields_);
    const bool close = head_.headers.has_token("connection", "close");
    const bool keep = head_.headers.has_token("connection", "keep-alive");
    head_.keep_alive = !close && (line[7] == '1' || keep);
    return frame();
}

Result<> ResponseParser::parse_field(std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0 || colon > 0xffff ||
        !all_class(line.substr(0, colon), kToken) ||
        !all_class(line.substr(colon + 1), kFieldValue)) {
        return bad("field");
    }
    const std::string_view value = trim_blanks(line.substr(colon + 1));
    const char* value_at = value.empty() ? line.data() + colon + 1 : value.data();
    fields_.push_back({static_cast<std::uint32_t>(line.data() - bytes_.data()),
                       static_cast<std::uint32_t>(value_at - bytes_.data()),
                       static_cast<std::uint32_t>(value.size()),
                       static_cast<std::uint16_t>(colon)});
    return {};
}

/// Length of the body, RFC 9112 6.3.
Result<> ResponseParser::frame() {
    if (method_ == Method::head || !may_have_body(head_.status)) return {};
    const std::size_t n_codings = head_.headers.count("transfer-encoding");
    const std::size_t n_lengths = head_.headers.count("content-length");
    if (n_codings > 0) {
        if (n_codings > 1 || n_lengths > 0 ||
            !iequals(*head_.headers.find("transfer-encoding"), "chunked")) {
            return bad("Transfer-Encoding");
        }
        head_.body = BodyKind::chunked;
        return {};
    }
    if (n_lengths == 0) {
        head_.until_close = true;
        head_.keep_alive = false;
        return {};
    }
    const std::string_view length = *head_.headers.find("content-length");
    const char* end = length.data() + length.size();
    const auto [at, err] = std::from_chars(length.data(), end, head_.content_length);
    if (n_lengths > 1 || err != std::errc() || at != end) return bad("Content-Length");
    head_.body = head_.content_length > 0 ? BodyKind::length : BodyKind::none;
    return {};
}

} // namespace bloom::http
