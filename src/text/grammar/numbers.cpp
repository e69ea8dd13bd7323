#include "text/grammar/numbers.hpp"

#include <algorithm>
#include <charconv>

namespace bloom::text::schema {
namespace {

/// Far beyond doubles; keeps sums of exponents inside int32.
constexpr std::int32_t kMaxExponent = 100'000;
/// Plain digits up to this many zeros in front or behind; beyond, an exponent.
constexpr std::int32_t kPlainZeros = 24;

std::string_view strip_sign(std::string_view text, bool& negative) {
    negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    return text;
}

/// Digit i of the magnitude when the digit before the point is 0 and those behind are -1, -2, ..
char digit_at(const Decimal& d, std::int64_t place) {
    const std::int64_t from_end = place - d.exponent;
    if (from_end < 0 || from_end >= static_cast<std::int64_t>(d.digits.size())) return '0';
    return d.digits[d.digits.size() - 1 - static_cast<std::size_t>(from_end)];
}

/// The place of the first digit.
std::int64_t top_place(const Decimal& d) {
    return static_cast<std::int64_t>(d.digits.size()) + d.exponent - 1;
}

int compare_magnitude(const Decimal& a, const Decimal& b) {
    if (a.is_zero() || b.is_zero()) return int(!a.is_zero()) - int(!b.is_zero());
    const std::int64_t top = top_place(a);
    if (top != top_place(b)) return top < top_place(b) ? -1 : 1;
    const std::int64_t bottom = std::min(a.exponent, b.exponent);
    for (std::int64_t place = top; place >= bottom; --place) {
        const char x = digit_at(a, place);
        const char y = digit_at(b, place);
        if (x != y) return x < y ? -1 : 1;
    }
    return 0;
}

} // namespace

Decimal Decimal::parse(std::string_view json) {
    Decimal out;
    json = strip_sign(json, out.negative);
    std::int64_t exponent = 0;
    if (const std::size_t e = json.find_first_of("eE"); e != std::string_view::npos) {
        std::string_view tail = json.substr(e + 1);
        bool down = tail.starts_with('-');
        if (down || tail.starts_with('+')) tail.remove_prefix(1);
        std::int64_t value = kMaxExponent;
        std::from_chars(tail.data(), tail.data() + tail.size(), value);
        exponent = std::min<std::int64_t>(value, kMaxExponent) * (down ? -1 : 1);
        json = json.substr(0, e);
    }
    for (std::size_t i = 0; i < json.size(); ++i) {
        if (json[i] == '.') {
            exponent -= static_cast<std::int64_t>(json.size() - i - 1);
        } else if (json[i] != '0' || !out.digits.empty()) {
            out.digits += json[i];
        }
    }
    while (!out.digits.empty() && out.digits.back() == '0') {
        out.digits.pop_back();
        ++exponent;
    }
    if (out.digits.empty()) return {};
    out.exponent = static_cast<std::int32_t>(
        std::clamp<std::int64_t>(exponent, -2 * kMaxExponent, 2 * kMaxExponent));
    return out;
}

std::string Decimal::whole() const {
    if (exponent >= 0) return digits + std::string(static_cast<std::size_t>(exponent), '0');
    const std::int64_t n = static_cast<std::int64_t>(digits.size()) + exponent;
    return n > 0 ? digits.substr(0, static_cast<std::size_t>(n)) : std::string();
}

std::string Decimal::fraction() const {
    if (exponent >= 0) return {};
    const std::int64_t n = static_cast<std::int64_t>(digits.size()) + exponent;
    if (n > 0) return digits.substr(static_cast<std::size_t>(n));
    return std::string(static_cast<std::size_t>(-n), '0') + digits;
}

std::string Decimal::text() const {
    if (is_zero()) return "0";
    std::string out = negative ? "-" : "";
    const std::int64_t top = top_place(*this);
    if (exponent <= kPlainZeros && top >= -kPlainZeros) {
        const std::string before = whole();
        const std::string behind = fraction();
        out += before.empty() ? "0" : before;
        if (!behind.empty()) out += '.' + behind;
        return out;
    }
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += '.' + digits.substr(1);
    out += 'e' + std::to_string(top);
    return out;
}

std::optional<std::uint64_t> Decimal::count() const {
    if (negative || !is_integer() || digits.size() + static_cast<std::size_t>(exponent) > 18) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (const char c : whole())
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    return value;
}

int compare(const Decimal& a, const Decimal& b) {
    if (a.negative != b.negative) return a.negative ? -1 : 1;
    const int magnitude = compare_magnitude(a, b);
    return a.negative ? -magnitude : magnitude;
}

bool is_multiple(const Decimal& value, const Decimal& step) {
    if (value.is_zero()) return true;
    if (value.exponent < step.exponent && step.digits.size() == 1 && step.digits[0] == '1') {
        return false;
    }
    // Both as integers in units of the smaller exponent; the division goes digit by digit with the
    // step's digits as the divisor, which must fit.
    const std::int32_t unit = std::min(value.exponent, step.exponent);
    if (step.digits.size() > 17) return false;
    unsigned __int128 divisor = 0;
    for (const char c : step.digits)
        divisor = divisor * 10 + static_cast<unsigned>(c - '0');
    // 10^a * step | 10^b * value with a = 0 or b = 0: common powers of ten cancel.
    for (std::int32_t e = step.exponent; e > unit; --e) {
        if (divisor > (static_cast<unsigned __int128>(1) << 120) / 10) return false;
        divisor *= 10;
    }
    unsigned __int128 rest = 0;
    for (const char c : value.digits)
        rest = (rest * 10 + static_cast<unsigned>(c - '0')) % divisor;
    for (std::int32_t e = value.exponent; e > unit && rest != 0; --e)
        rest = rest * 10 % divisor;
    return rest == 0;
}

bool contains(const NumberRange& range, const Decimal& value) {
    if (range.integer && !value.is_integer()) return false;
    if (range.least) {
        const int c = compare(value, range.least->value);
        if (c < 0 || (c == 0 && range.least->exclusive)) return false;
    }
    if (range.most) {
        const int c = compare(value, range.most->value);
        if (c > 0 || (c == 0 && range.most->exclusive)) return false;
    }
    return !range.step || is_multiple(value, *range.step);
}

} // namespace bloom::text::schema
