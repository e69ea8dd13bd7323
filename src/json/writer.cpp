#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>

#include <bloom/base/text.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::json {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// Bytes of the well-formed sequence at `at`; if there is none, 0 and `bad` = the bytes of the
/// maximal subpart to replace (Unicode 15, 3.9, table 3-7).
std::size_t sequence_bytes(std::string_view text, std::size_t at, std::size_t& bad) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(at);
    bad = 1;
    std::size_t more = 0;
    unsigned low = 0x80;
    unsigned high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
        more = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        more = 2;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        more = 3;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    for (std::size_t i = 1; i <= more; ++i) {
        if (at + i >= text.size() || byte(at + i) < low || byte(at + i) > high) return 0;
        bad = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return more + 1;
}

void append_escape(std::string& out, unsigned char c) {
    static constexpr std::string_view kHex = "0123456789abcdef";
    switch (c) {
    case '"':
        out += "\\\"";
        return;
    case '\\':
        out += "\\\\";
        return;
    case '\b':
        out += "\\b";
        return;
    case '\f':
        out += "\\f";
        return;
    case '\n':
        out += "\\n";
        return;
    case '\r':
        out += "\\r";
        return;
    case '\t':
        out += "\\t";
        return;
    default:
        out += "\\u00";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
}

template <class T>
void append_number(std::string& out, T value) {
    std::array<char, 32> text; // the longest shortest-form double has 24 characters
    const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
    BLOOM_CHECK(error == std::errc{});
    out.append(text.data(), end);
}

} // namespace

void append_escaped(std::string& out, std::string_view text) {
    std::size_t copied = 0; // everything before it is in `out`
    const auto flush = [&](std::size_t end) { out.append(text, copied, end - copied); };
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            ++i;
        } else if (c < 0x80) {
            flush(i);
            append_escape(out, c);
            copied = ++i;
        } else {
            std::size_t bad = 0;
            if (const std::size_t n = sequence_bytes(text, i, bad); n != 0) {
                i += n;
                continue;
            }
            flush(i);
            out += kReplacement;
            copied = i += bad;
        }
    }
    flush(text.size());
}

void append_string(std::string& out, std::string_view text) {
    out += '"';
    append_escaped(out, text);
    out += '"';
}

void append_int(std::string& out, std::int64_t value) {
    append_number(out, value);
}

void append_uint(std::string& out, std::uint64_t value) {
    append_number(out, value);
}

void append_double(std::string& out, double value) {
    if (!std::isfinite(value)) {
        out += "null";
        return;
    }
    const std::size_t start = out.size();
    append_number(out, value);
    if (out.find_first_of(".e", start) == std::string::npos) out += ".0";
}

void Writer::comma() {
    if (after_key_) {
        after_key_ = false;
        return;
    }
    const std::uint64_t bit = std::uint64_t{1} << (depth_ == 0 ? 0 : depth_ - 1);
    if (depth_ != 0 && (has_items_ & bit) != 0) out_ += ',';
    has_items_ |= bit;
}

Writer& Writer::open(char bracket) {
    comma();
    BLOOM_CHECK(depth_ < kMaxScopes);
    has_items_ &= ~(std::uint64_t{1} << depth_);
    ++depth_;
    out_ += bracket;
    return *this;
}

Writer& Writer::close(char bracket) {
    BLOOM_CHECK(depth_ > 0);
    BLOOM_CHECK(!after_key_);
    --depth_;
    out_ += bracket;
    return *this;
}

Writer& Writer::key(std::string_view name) {
    BLOOM_CHECK(!after_key_);
    comma();
    append_string(out_, name);
    out_ += ':';
    after_key_ = true;
    return *this;
}

Writer& Writer::string(std::string_view text) {
    comma();
    append_string(out_, text);
    return *this;
}

Writer& Writer::boolean(bool value) {
    return raw(value ? "true" : "false");
}

Writer& Writer::null() {
    return raw("null");
}

Writer& Writer::number(double value) {
    comma();
    append_double(out_, value);
    return *this;
}

Writer& Writer::raw(std::string_view json) {
    comma();
    out_ += json;
    return *this;
}

} // namespace bloom::json
