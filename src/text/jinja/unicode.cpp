#include "text/jinja/unicode.hpp"

#include <utf8proc.h>

namespace bloom::text::jinja {
namespace {

constexpr char32_t kSharpS = 0xdf;

int category(char32_t c) noexcept {
    return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_continuation(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

} // namespace

CodePoint decode(std::string_view text, std::size_t at) noexcept {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) return {lead, 1};
    const std::uint32_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
    if (n == 1 || lead > 0xf4 || at + n > text.size()) return {lead, 1};
    char32_t value = lead & (0xffU >> (n + 1));
    for (std::uint32_t i = 1; i < n; ++i) {
        if (!is_continuation(text[at + i])) return {lead, 1};
        value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fU);
    }
    return {value, n};
}

std::size_t previous(std::string_view text, std::size_t at) noexcept {
    std::size_t begin = at - 1;
    while (begin > 0 && at - begin < 4 && is_continuation(text[begin]))
        --begin;
    return begin + decode(text, begin).n_bytes == at ? begin : at - 1;
}

void append_utf8(std::string& out, char32_t c) {
    if (c < 0x80) {
        out += static_cast<char>(c);
        return;
    }
    if (c < 0x800) {
        out += static_cast<char>(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        out += static_cast<char>(0xe0 | c >> 12);
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    } else {
        out += static_cast<char>(0xf0 | c >> 18);
        out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    }
    out += static_cast<char>(0x80 | (c & 0x3f));
}

std::size_t count_code_points(std::string_view text) noexcept {
    std::size_t n = 0;
    for (std::size_t at = 0; at < text.size(); at += decode(text, at).n_bytes)
        ++n;
    return n;
}

std::size_t byte_offset(std::string_view text, std::size_t n) noexcept {
    std::size_t at = 0;
    for (; n > 0 && at < text.size(); --n)
        at += decode(text, at).n_bytes;
    return at;
}

bool is_space(char32_t c) noexcept {
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_printable(char32_t c) noexcept {
    if (c < 0x7f) return c >= 0x20;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

bool is_alpha(char32_t c) noexcept {
    const int kind = category(c);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_digit(char32_t c) noexcept {
    return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_upper(char32_t c) noexcept {
    return category(c) == UTF8PROC_CATEGORY_LU;
}

bool is_lower(char32_t c) noexcept {
    return category(c) == UTF8PROC_CATEGORY_LL;
}

char32_t to_upper(char32_t c) noexcept {
    if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
    return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

char32_t to_lower(char32_t c) noexcept {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

bool is_line_end(char32_t c) noexcept {
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

std::string_view strip_left(std::string_view text) noexcept {
    std::size_t at = 0;
    while (at < text.size()) {
        const CodePoint c = decode(text, at);
        if (!is_space(c.value)) break;
        at += c.n_bytes;
    }
    return text.substr(at);
}

std::string_view strip_right(std::string_view text) noexcept {
    std::size_t end = text.size();
    while (end > 0) {
        const std::size_t begin = previous(text, end);
        if (!is_space(decode(text, begin).value)) break;
        end = begin;
    }
    return text.substr(0, end);
}

Value change_case(const Value& text, Casing casing) {
    const StringObject& from = string_of(text);
    StringBuilder out;
    MarkCursor marks(from);
    bool after_letter = false;
    std::string piece;
    for (std::size_t at = 0; at < from.text.size();) {
        const CodePoint c = decode(from.text, at);
        const bool raw = c.n_bytes == 1 && c.value >= 0x80;
        bool upper = casing == Casing::upper;
        if (casing == Casing::capitalize) upper = at == 0;
        if (casing == Casing::title) upper = !after_letter;
        if (casing == Casing::swap) upper = !is_upper(c.value);
        piece.clear();
        if (raw) {
            piece += from.text[at];
        } else if (upper && c.value == kSharpS) {
            piece = casing == Casing::upper || casing == Casing::swap ? "SS" : "Ss";
        } else {
            append_utf8(piece, upper ? to_upper(c.value) : to_lower(c.value));
        }
        after_letter = is_upper(c.value) || is_lower(c.value);
        out.append(piece, marks.at(at));
        at += c.n_bytes;
    }
    return std::move(out).finish();
}

std::string lowered(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint c = decode(text, at);
        if (c.n_bytes == 1) {
            out += static_cast<char>(c.value < 0x80 ? to_lower(c.value) : c.value);
        } else {
            append_utf8(out, to_lower(c.value));
        }
        at += c.n_bytes;
    }
    return out;
}

} // namespace bloom::text::jinja
