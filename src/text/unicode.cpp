#include <algorithm>
#include <array>
#include <map>
#include <string>

#include <utf8proc.h>

#include <bloom/base/check.hpp>
#include <bloom/text/unicode.hpp>

namespace bloom::text {
namespace {

CharClass classify(char32_t cp) noexcept {
    // Controls that \s takes in; the other white space has its own categories.
    if ((cp >= 0x09 && cp <= 0x0d) || cp == 0x85) return CharClass::space;
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(cp))) {
    case UTF8PROC_CATEGORY_LU:
        return CharClass::upper;
    case UTF8PROC_CATEGORY_LT:
        return CharClass::title;
    case UTF8PROC_CATEGORY_LL:
        return CharClass::lower;
    case UTF8PROC_CATEGORY_LM:
        return CharClass::modifier;
    case UTF8PROC_CATEGORY_LO:
        return CharClass::letter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return CharClass::mark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CharClass::number;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return CharClass::punct;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return CharClass::symbol;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return CharClass::space;
    default:
        return CharClass::other;
    }
}

} // namespace

CharTable::CharTable() {
    constexpr std::size_t kPage = 256;
    std::map<std::array<std::uint8_t, kPage>, std::uint16_t> known;
    std::array<std::uint8_t, kPage> page{};
    index_.reserve(kCodePoints / kPage);
    for (char32_t first = 0; first < kCodePoints; first += kPage) {
        for (std::size_t i = 0; i < kPage; ++i) {
            page[i] = static_cast<std::uint8_t>(classify(first + static_cast<char32_t>(i)));
        }
        const auto [it, is_new] =
            known.try_emplace(page, static_cast<std::uint16_t>(pages_.size() / kPage));
        if (is_new) pages_.insert(pages_.end(), page.begin(), page.end());
        index_.push_back(it->second);
    }
}

const CharTable& CharTable::instance() {
    static const CharTable table;
    return table;
}

std::string_view unicode_version() noexcept {
    return utf8proc_unicode_version();
}

Char decode_char(std::string_view text, std::size_t at) noexcept {
    const auto byte = [&](std::size_t i) -> char32_t {
        return static_cast<unsigned char>(text[at + i]);
    };
    const char32_t lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    const std::size_t left = text.size() - at;
    const auto tail = [&](std::size_t i) { return i < left && (byte(i) & 0xc0) == 0x80; };
    if (lead >= 0xc2 && lead <= 0xdf && tail(1)) return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
    if (lead >= 0xe0 && lead <= 0xef && tail(1) && tail(2)) {
        const char32_t cp = (lead & 0xf) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
        if (cp >= 0x800 && (cp < 0xd800 || cp > 0xdfff)) return {cp, 3};
    }
    if (lead >= 0xf0 && lead <= 0xf4 && tail(1) && tail(2) && tail(3)) {
        const char32_t cp =
            (lead & 7) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
        if (cp >= 0x10000 && cp <= 0x10ffff) return {cp, 4};
    }
    return {kIllFormed, 1};
}

void append_utf8(std::string& out, char32_t cp) {
    BLOOM_DCHECK(cp <= 0x10ffff);
    const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
    if (cp < 0x80) {
        put(cp);
    } else if (cp < 0x800) {
        put(0xc0 | cp >> 6);
        put(0x80 | (cp & 0x3f));
    } else if (cp < 0x10000) {
        put(0xe0 | cp >> 12);
        put(0x80 | (cp >> 6 & 0x3f));
        put(0x80 | (cp & 0x3f));
    } else {
        put(0xf0 | cp >> 18);
        put(0x80 | (cp >> 12 & 0x3f));
        put(0x80 | (cp >> 6 & 0x3f));
        put(0x80 | (cp & 0x3f));
    }
}

} // namespace bloom::text
