#include "parser.hpp"

#include <algorithm>
#include <new>

#include <llhttp.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>

#include "chars.hpp"

namespace bloom::http {
namespace {

/// Longest field name; real ones stay under 64 bytes.
constexpr std::size_t kHeaderNameBytesMax = 256;
/// A straddle buffer above this is given back between requests.
constexpr std::size_t kCarryKeptBytes = 4096;
/// 2^64 has 20 decimal digits; leading zeros beyond that are refused with the rest.
constexpr std::size_t kLengthDigitsMax = 20;

constexpr std::string_view kBadRequest = "bad_request";

llhttp_t* llhttp_of(std::byte* storage) noexcept {
    return std::launder(reinterpret_cast<llhttp_t*>(storage));
}

} // namespace

/// llhttp's callbacks note offsets and nothing else; -1 stops the parse.
struct HeadParser::Callbacks {
    static HeadParser& self(llhttp_t* p) noexcept { return *static_cast<HeadParser*>(p->data); }

    static std::uint32_t offset(const HeadParser& s, const char* at) noexcept {
        return s.part_offset_ + static_cast<std::uint32_t>(at - s.part_);
    }

    static int on_url(llhttp_t* p, const char* at, std::size_t n) noexcept {
        HeadParser& s = self(p);
        const std::uint32_t begin = offset(s, at);
        if (s.target_end_ == 0) s.target_begin_ = begin;
        s.target_end_ = begin + static_cast<std::uint32_t>(n);
        return 0;
    }

    static int on_url_complete(llhttp_t* p) noexcept {
        self(p).phase_ = Phase::fields;
        return 0;
    }

    static int on_version(llhttp_t* p, const char* at, std::size_t n) noexcept {
        HeadParser& s = self(p);
        const std::uint32_t begin = offset(s, at);
        if (s.version_end_ == 0) s.version_begin_ = begin;
        s.version_end_ = begin + static_cast<std::uint32_t>(n);
        return 0;
    }

    static int on_field(llhttp_t* p, const char* at, std::size_t n) noexcept {
        HeadParser& s = self(p);
        if (n == 0) return 0;
        const std::uint32_t begin = offset(s, at);
        if (!s.name_open_) s.open_.name = begin;
        s.name_open_ = true;
        s.open_name_end_ = begin + static_cast<std::uint32_t>(n);
        return 0;
    }

    static int on_field_complete(llhttp_t* p) noexcept {
        HeadParser& s = self(p);
        if (s.fields_.size() >= s.limits_->n_headers) {
            s.fail(Status::header_fields_too_large, "header_fields_too_large",
                   "the request has too many header fields");
            return -1;
        }
        if (!s.name_open_ || s.open_name_end_ - s.open_.name > kHeaderNameBytesMax) {
            s.fail(Status::header_fields_too_large, "header_fields_too_large",
                   "a header field name is empty or too long");
            return -1;
        }
        return 0;
    }

    static int on_value(llhttp_t* p, const char* at, std::size_t n) noexcept {
        HeadParser& s = self(p);
        if (n == 0) return 0;
        const std::uint32_t begin = offset(s, at);
        if (!s.value_open_) s.open_.value = begin;
        s.value_open_ = true;
        s.open_value_end_ = begin + static_cast<std::uint32_t>(n);
        return 0;
    }

    static int on_value_complete(llhttp_t* p) noexcept {
        HeadParser& s = self(p);
        Headers::Offsets& f = s.open_;
        f.name_bytes = static_cast<std::uint16_t>(s.open_name_end_ - f.name);
        if (!s.value_open_) f.value = s.open_value_end_ = s.open_name_end_ + 1;
        f.value_bytes = s.open_value_end_ - f.value;
        s.fields_.push_back(f);
        s.name_open_ = s.value_open_ = false;
        return 0;
    }

    static int on_headers_complete(llhttp_t* p) noexcept {
        self(p).phase_ = Phase::done;
        return HPE_PAUSED; // bodies are framed by our own code
    }

    static const llhttp_settings_t* settings() noexcept {
        static const llhttp_settings_t kSettings = [] {
            llhttp_settings_t s;
            llhttp_settings_init(&s);
            s.on_url = on_url;
            s.on_url_complete = on_url_complete;
            s.on_version = on_version;
            s.on_header_field = on_field;
            s.on_header_field_complete = on_field_complete;
            s.on_header_value = on_value;
            s.on_header_value_complete = on_value_complete;
            s.on_headers_complete = on_headers_complete;
            return s;
        }();
        return &kSettings;
    }
};

/// What the fields of one head have said so far.
struct HeadParser::Seen {
    std::uint32_t n_host = 0, n_length = 0, n_transfer_encoding = 0, n_authorization = 0;
    bool chunked = false;
    bool close = false, keep_alive = false, upgrade_token = false, upgrade_field = false;
};

void HeadParser::reset() noexcept {
    phase_ = Phase::leading;
    after_cr_ = false;
    n_empty_lines_ = 0;
    n_method_ = 0;
    n_bytes_ = 0;
    target_begin_ = target_end_ = version_begin_ = version_end_ = 0;
    name_open_ = value_open_ = false;
    fields_.clear();
    if (carry_.capacity() > kCarryKeptBytes) {
        std::string().swap(carry_);
    } else {
        carry_.clear();
    }
    whole_ = {};
    head_ = RequestHead{};
    rejection_ = Rejection{};
}

void HeadParser::own() {
    BLOOM_CHECK(phase_ == Phase::done);
    if (!carry_.empty()) return;
    const char* from = whole_.data();
    carry_.assign(whole_);
    whole_ = carry_;
    const auto move = [&](std::string_view& view) {
        if (!view.empty() && view.data() >= from && view.data() < from + whole_.size()) {
            view = whole_.substr(static_cast<std::size_t>(view.data() - from), view.size());
        }
    };
    for (std::string_view* view : {&head_.target, &head_.path, &head_.query, &head_.host})
        move(*view);
    head_.headers = Headers(whole_.data(), fields_);
}

FeedResult HeadParser::feed(ByteSpan bytes) {
    BLOOM_CHECK(phase_ != Phase::done);
    BLOOM_CHECK(phase_ != Phase::failed);
    const std::string_view input = as_text(bytes);
    std::size_t at = 0;
    if (phase_ == Phase::leading) skip_empty_lines(input, at);
    const std::size_t begin = at; // first byte of this head in this input
    if (phase_ == Phase::method) take_method(input, at);
    if (phase_ == Phase::target || phase_ == Phase::fields) take_rest(input, at);
    if (phase_ == Phase::done) {
        std::string_view head = input.substr(begin, at - begin);
        if (!carry_.empty()) head = carry_.append(head);
        whole_ = head;
        finish_head(head);
    }
    if (phase_ == Phase::failed) return {Progress::rejected, at};
    if (phase_ == Phase::done) return {Progress::complete, at};
    carry_.append(input.substr(begin));
    return {Progress::need_more, input.size()};
}

void HeadParser::skip_empty_lines(std::string_view input, std::size_t& at) noexcept {
    for (; at < input.size(); ++at) {
        const char c = input[at];
        if (after_cr_) {
            after_cr_ = false;
            if (c != '\n' || ++n_empty_lines_ > kLeadingEmptyLinesMax) {
                fail_bad("the request does not begin with a request line");
                return;
            }
        } else if (c == '\r') {
            after_cr_ = true;
        } else {
            phase_ = Phase::method;
            return;
        }
    }
}

void HeadParser::take_method(std::string_view input, std::size_t& at) noexcept {
    while (at < input.size()) {
        const char c = input[at++];
        ++n_bytes_;
        if (c == ' ' && n_method_ > 0) {
            const std::optional<Method> method = parse_method({method_, n_method_});
            if (!method) {
                fail(Status::not_implemented, "method_not_implemented",
                     "the request method is not implemented here");
                return;
            }
            head_.method = *method;
            static_assert(sizeof(llhttp_) >= sizeof(llhttp_t));
            static_assert(alignof(llhttp_t) <= 8);
            llhttp_t* state = new (llhttp_) llhttp_t;
            llhttp_init(state, HTTP_REQUEST, Callbacks::settings());
            state->data = this;
            // The token was read above, so llhttp gets it from us, whole.
            method_[n_method_] = ' ';
            const llhttp_errno_t err = llhttp_execute(state, method_, n_method_ + 1U);
            BLOOM_CHECK(err == HPE_OK);
            phase_ = Phase::target;
            return;
        }
        if (!is_class(c, kToken)) {
            fail_bad("the request does not begin with a method");
            return;
        }
        if (n_method_ + 1U >= kMethodBytesMax) {
            fail(Status::not_implemented, "method_not_implemented",
                 "the request method is not implemented here");
            return;
        }
        method_[n_method_++] = c;
    }
}

void HeadParser::take_rest(std::string_view input, std::size_t& at) {
    const std::uint32_t target_begin = n_method_ + 1U;
    llhttp_t* state = llhttp_of(llhttp_);
    while (at < input.size()) {
        // Slices end where a limit bites, so that its verdict does not depend on the cuts.
        const bool in_target = phase_ == Phase::target;
        const std::uint32_t end =
            in_target ? target_begin + limits_->target_bytes + 1 : limits_->head_bytes;
        const std::string_view slice = input.substr(at, end - n_bytes_);
        part_ = slice.data();
        part_offset_ = n_bytes_;
        const llhttp_errno_t err = llhttp_execute(state, slice.data(), slice.size());
        if (err == HPE_PAUSED && phase_ == Phase::done) {
            const auto n = static_cast<std::size_t>(llhttp_get_error_pos(state) - slice.data());
            n_bytes_ += static_cast<std::uint32_t>(n);
            at += n;
            return;
        }
        if (err != HPE_OK) {
            reject_llhttp(err);
            return;
        }
        n_bytes_ += static_cast<std::uint32_t>(slice.size());
        at += slice.size();
        if (n_bytes_ < end) continue;
        if (phase_ == Phase::target) {
            fail(Status::uri_too_long, "uri_too_long", "the request target is too long");
            return;
        }
        if (n_bytes_ >= limits_->head_bytes) {
            fail(Status::header_fields_too_large, "header_fields_too_large",
                 "the request head is too large");
            return;
        }
    }
}

void HeadParser::reject_llhttp(int err) noexcept {
    if (err == HPE_INVALID_VERSION) {
        fail(Status::http_version_not_supported, "http_version_not_supported",
             "this server speaks HTTP/1.1 and HTTP/1.0");
    } else {
        fail_bad("the request head is malformed");
    }
}

bool HeadParser::fail(Status status, std::string_view code, std::string_view message) noexcept {
    if (phase_ != Phase::failed) rejection_ = {status, code, message};
    phase_ = Phase::failed;
    return false;
}

bool HeadParser::fail_bad(std::string_view message) noexcept {
    return fail(Status::bad_request, kBadRequest, message);
}

void HeadParser::finish_head(std::string_view bytes) noexcept {
    if (!check_tiling(bytes)) return;
    head_.headers = Headers(bytes.data(), fields_);
    head_.target = bytes.substr(target_begin_, target_end_ - target_begin_);
    if (!check_line(bytes)) return;
    Seen seen;
    for (std::size_t i = 0; i < fields_.size(); ++i) {
        if (!check_field(head_.headers[i], seen)) return;
    }
    if (!check_framing(seen)) return;
    head_.upgrade = seen.upgrade_token && seen.upgrade_field;
    // After an offered upgrade the next bytes may be of another protocol: never read them as a
    // request.
    head_.keep_alive = !seen.close && !seen.upgrade_token &&
                       (head_.version == Version::http_1_1 || seen.keep_alive);
}

bool HeadParser::check_tiling(std::string_view bytes) noexcept {
    constexpr std::string_view kBeforeVersion = " HTTP/";
    constexpr std::string_view kLineEnd = "\r\n";
    const bool line_ok = target_begin_ == n_method_ + 1U && target_end_ > target_begin_ &&
                         version_begin_ == target_end_ + kBeforeVersion.size() &&
                         version_end_ == version_begin_ + 3 &&
                         bytes.substr(target_end_, kBeforeVersion.size()) == kBeforeVersion &&
                         bytes.substr(version_end_, 2) == kLineEnd;
    if (!line_ok) return fail_bad("the request line is malformed");
    std::size_t next = version_end_ + kLineEnd.size();
    for (Headers::Offsets& f : fields_) {
        const std::size_t colon = std::size_t{f.name} + f.name_bytes;
        if (f.name != next || bytes[colon] != ':') return fail_bad("a header field is malformed");
        // The value as llhttp saw it, blanks around it removed.
        std::size_t begin = f.value;
        std::size_t end = begin + f.value_bytes;
        while (end > begin && (bytes[end - 1] == ' ' || bytes[end - 1] == '\t'))
            --end;
        next = end;
        while (bytes[next] == ' ' || bytes[next] == '\t')
            ++next; // a CRLF ends every head
        if (begin <= colon || !trim_blanks(bytes.substr(colon + 1, begin - colon - 1)).empty() ||
            bytes.substr(next, 2) != kLineEnd ||
            !all_class(bytes.substr(f.name, f.name_bytes), kToken) ||
            !all_class(bytes.substr(begin, end - begin), kFieldValue)) {
            return fail_bad("a header field is malformed");
        }
        f.value_bytes = static_cast<std::uint32_t>(end - begin);
        next += kLineEnd.size();
    }
    return bytes.substr(next) == kLineEnd || fail_bad("the request head is malformed");
}

bool HeadParser::check_line(std::string_view bytes) noexcept {
    const std::string_view version = bytes.substr(version_begin_, 3);
    if (version == "1.1") {
        head_.version = Version::http_1_1;
    } else if (version == "1.0") {
        head_.version = Version::http_1_0;
    } else {
        return fail(Status::http_version_not_supported, "http_version_not_supported",
                    "this server speaks HTTP/1.1 and HTTP/1.0");
    }
    if (!all_class(head_.target, kTargetChar)) {
        return fail_bad("the request target has a character that must be percent-encoded");
    }
    return check_target();
}

bool HeadParser::check_target() noexcept {
    std::string_view rest = head_.target;
    if (rest == "*") {
        head_.path = rest;
        return head_.method == Method::options || fail_bad("the target * is for OPTIONS only");
    }
    if (rest.front() != '/') { // absolute-form, RFC 9112 3.2.2
        const std::size_t scheme = iequals(rest.substr(0, 7), "http://")    ? 7
                                   : iequals(rest.substr(0, 8), "https://") ? 8
                                                                            : 0;
        if (scheme == 0) return fail_bad("the request target is neither a path nor a URL");
        rest.remove_prefix(scheme);
        head_.host = rest.substr(0, rest.find_first_of("/?"));
        if (!is_valid_authority(head_.host)) return fail_bad("the target names no valid host");
        rest.remove_prefix(head_.host.size());
    }
    const std::size_t mark = rest.find('?');
    head_.path = rest.substr(0, mark);
    if (mark != std::string_view::npos) head_.query = rest.substr(mark + 1);
    if (head_.path.empty()) head_.path = "/";
    return true;
}

bool HeadParser::check_field(const Header& field, Seen& seen) noexcept {
    const auto is = [&field](std::string_view name) { return iequals(field.name, name); };
    switch (field.name.size()) {
    case 4:
        if (is("host")) {
            ++seen.n_host;
            if (!is_valid_authority(field.value)) return fail_bad("the Host field is not a host");
            if (head_.host.empty()) head_.host = field.value;
        }
        break;
    case 6:
        if (is("expect") && head_.version == Version::http_1_1) {
            if (!iequals(field.value, "100-continue")) {
                return fail(Status::expectation_failed, "expectation_failed",
                            "the only expectation known here is 100-continue");
            }
            head_.expect_continue = true;
        }
        break;
    case 7:
        seen.upgrade_field |= is("upgrade");
        break;
    case 10:
        if (is("connection")) {
            std::string_view rest = field.value;
            while (!rest.empty()) {
                const std::size_t comma = std::min(rest.find(','), rest.size());
                const std::string_view token = trim_blanks(rest.substr(0, comma));
                seen.close |= iequals(token, "close");
                seen.keep_alive |= iequals(token, "keep-alive");
                seen.upgrade_token |= iequals(token, "upgrade");
                rest.remove_prefix(std::min(comma + 1, rest.size()));
            }
        }
        break;
    case 13:
        if (is("authorization") && ++seen.n_authorization > 1) {
            return fail_bad("more than one Authorization field");
        }
        break;
    case 14:
        if (is("content-length")) {
            if (++seen.n_length > 1) return fail_bad("more than one Content-Length field");
            return check_length(field.value);
        }
        break;
    case 16:
        if (is("content-encoding") && !iequals(field.value, "identity")) {
            return fail(Status::unsupported_media_type, "unsupported_content_encoding",
                        "compressed request bodies are not supported; send them plain");
        }
        break;
    case 17:
        if (is("transfer-encoding")) {
            if (++seen.n_transfer_encoding > 1) {
                return fail_bad("more than one Transfer-Encoding field");
            }
            seen.chunked = iequals(field.value, "chunked");
        }
        break;
    default:
        break;
    }
    return true;
}

bool HeadParser::check_length(std::string_view value) noexcept {
    if (value.empty() || value.size() > kLengthDigitsMax) {
        return fail_bad("the Content-Length is not a number");
    }
    std::uint64_t length = 0;
    for (const char c : value) {
        if (c < '0' || c > '9') return fail_bad("the Content-Length is not a number");
        if (__builtin_mul_overflow(length, std::uint64_t{10}, &length) ||
            __builtin_add_overflow(length, static_cast<std::uint64_t>(c - '0'), &length)) {
            return fail_bad("the Content-Length is too large");
        }
    }
    head_.content_length = length;
    return true;
}

bool HeadParser::check_framing(const Seen& seen) noexcept {
    if (seen.n_host > 1) return fail_bad("more than one Host field");
    if (seen.n_host == 0 && head_.version == Version::http_1_1) {
        return fail_bad("the Host field is missing");
    }
    if (seen.n_transfer_encoding > 0) {
        if (head_.version != Version::http_1_1) {
            return fail_bad("Transfer-Encoding needs HTTP/1.1");
        }
        if (seen.n_length > 0) return fail_bad("Content-Length together with Transfer-Encoding");
        if (!seen.chunked) {
            return fail(Status::not_implemented, "transfer_encoding_not_implemented",
                        "the only transfer coding known here is chunked");
        }
        head_.body = BodyKind::chunked;
    } else if (head_.content_length > 0) {
        if (head_.content_length > limits_->body_bytes) {
            return fail(Status::payload_too_large, "payload_too_large",
                        "the request body is larger than any request may be");
        }
        head_.body = BodyKind::length;
    }
    return true;
}

bool is_valid_authority(std::string_view text) noexcept {
    if (text.empty() || !all_class(text, kHostChar)) return false;
    std::string_view port;
    if (text.front() == '[') { // IP literal; its inside is only checked for its characters
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos || close < 2) return false;
        for (const char c : text.substr(1, close - 1)) {
            if (!is_class(c, kHexDigit) && c != ':' && c != '.') return false;
        }
        port = text.substr(close + 1);
        if (port.empty()) return true;
        if (port.front() != ':') return false;
    } else {
        const std::size_t colon = text.find(':');
        if (text.find_first_of("[]") != std::string_view::npos || colon == 0) return false;
        if (colon == std::string_view::npos) return true;
        port = text.substr(colon);
    }
    port.remove_prefix(1);
    constexpr std::size_t kPortDigitsMax = 5;
    return port.size() <= kPortDigitsMax &&
           std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

} // namespace bloom::http
