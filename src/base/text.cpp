#include <array>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

namespace bloom {
namespace {

int hex_value(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_value(char c) noexcept {
    const std::size_t at = kBase64.find(c);
    return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

} // namespace

std::string to_hex(ByteSpan bytes) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const std::uint8_t b : bytes) {
        out += kDigits[b >> 4];
        out += kDigits[b & 15];
    }
    return out;
}

std::optional<std::vector<std::uint8_t>> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::vector<std::uint8_t> out;
    out.reserve(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = hex_value(text[i]);
        const int low = hex_value(text[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        out.push_back(static_cast<std::uint8_t>(high << 4 | low));
    }
    return out;
}

std::string to_base64(ByteSpan bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t n = bytes.size() - i < 3 ? bytes.size() - i : 3;
        std::uint32_t word = std::uint32_t{bytes[i]} << 16;
        if (n > 1) word |= std::uint32_t{bytes[i + 1]} << 8;
        if (n > 2) word |= bytes[i + 2];
        out += kBase64[word >> 18 & 63];
        out += kBase64[word >> 12 & 63];
        out += n > 1 ? kBase64[word >> 6 & 63] : '=';
        out += n > 2 ? kBase64[word & 63] : '=';
    }
    return out;
}

std::optional<std::vector<std::uint8_t>> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::vector<std::uint8_t> out;
    out.reserve(text.size() / 4 * 3);
    for (std::size_t i = 0; i < text.size(); i += 4) {
        const bool last = i + 4 == text.size();
        const int pad =
            last ? (text[i + 3] == '=') + (text[i + 3] == '=' && text[i + 2] == '=') : 0;
        std::uint32_t word = 0;
        for (int k = 0; k < 4; ++k) {
            const int value =
                k >= 4 - pad ? 0 : base64_value(text[i + static_cast<std::size_t>(k)]);
            if (value < 0) return std::nullopt;
            word = word << 6 | static_cast<std::uint32_t>(value);
        }
        if ((pad == 1 && (word & 0xff) != 0) || (pad == 2 && (word & 0xffff) != 0)) {
            return std::nullopt;
        }
        out.push_back(static_cast<std::uint8_t>(word >> 16));
        if (pad < 2) out.push_back(static_cast<std::uint8_t>(word >> 8));
        if (pad < 1) out.push_back(static_cast<std::uint8_t>(word));
    }
    return out;
}

std::string to_base64url(ByteSpan bytes) {
    std::string out = to_base64(bytes);
    while (out.ends_with('='))
        out.pop_back();
    for (char& c : out) {
        if (c == '+') c = '-';
        if (c == '/') c = '_';
    }
    return out;
}

std::optional<std::vector<std::uint8_t>> from_base64url(std::string_view text) {
    std::string plain(text);
    for (char& c : plain) {
        if (c == '+' || c == '/' || c == '=') return std::nullopt;
        if (c == '-') c = '+';
        if (c == '_') c = '/';
    }
    if (plain.size() % 4 == 1) return std::nullopt;
    while (plain.size() % 4 != 0)
        plain += '=';
    return from_base64(plain);
}

std::string to_base32(ByteSpan bytes) {
    static constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
    std::string out;
    out.reserve((bytes.size() * 8 + 4) / 5);
    std::uint32_t word = 0;
    unsigned n_bits = 0;
    for (const std::uint8_t byte : bytes) {
        word = (word << 8 | byte) & 0xfff; // at most 4 old bits are still wanted
        n_bits += 8;
        for (; n_bits >= 5; n_bits -= 5)
            out += kAlphabet[word >> (n_bits - 5) & 31];
    }
    if (n_bits > 0) out += kAlphabet[word << (5 - n_bits) & 31];
    return out;
}

bool is_utf8(std::string_view text) noexcept {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data());
    const auto* const end = at + text.size();
    while (at != end) {
        const unsigned lead = *at++;
        if (lead < 0x80) continue;
        unsigned low = 0x80;
        unsigned high = 0xbf;
        int more = 0;
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
            return false;
        }
        for (; more > 0; --more) {
            if (at == end || *at < low || *at > high) return false;
            ++at;
            low = 0x80;
            high = 0xbf;
        }
    }
    return true;
}

std::string quoted(std::string_view text, std::size_t max_bytes) {
    std::string out = "\"";
    const bool cut = text.size() > max_bytes;
    for (const char c : text.substr(0, max_bytes)) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte >= 0x7f) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += c;
        }
    }
    out += cut ? "...\"" : "\"";
    return out;
}

char to_lower_ascii(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool iequals(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (to_lower_ascii(a[i]) != to_lower_ascii(b[i])) return false;
    }
    return true;
}

} // namespace bloom
