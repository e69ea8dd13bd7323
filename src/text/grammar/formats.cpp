#include "text/grammar/formats.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <bloom/base/check.hpp>

/// The formats of JSON Schema Validation section 7.3 that are enforced, as patterns.
namespace bloom::text::schema {
namespace {

struct Format {
    std::string_view name;
    std::string (*pattern)();
    std::uint32_t max_chars; ///< kUnbounded: the pattern bounds it, or nothing does
};

/// RFC 3339 full-date: days as their months have them, 29 February in leap years only.
std::string date() {
    const std::string long_month = "(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])";
    const std::string short_month = "(0[469]|11)-(0[1-9]|[12]\\d|30)";
    const std::string february = "02-(0[1-9]|1\\d|2[0-8])";
    const std::string leap = "(\\d\\d(0[48]|[2468][048]|[13579][26])|"
                             "([02468][048]|[13579][26])00)-02-29";
    return "(\\d{4}-(" + long_month + '|' + short_month + '|' + february + ")|" + leap + ')';
}

/// RFC 3339 full-time without leap seconds, which are valid at few moments only.
std::string time() {
    return "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?([Zz]|[+-]([01]\\d|2[0-3]):[0-5]\\d)";
}

std::string date_time() {
    return date() + "[Tt]" + time();
}

/// RFC 3339 appendix A: units go down without a gap.
std::string duration() {
    const std::string n = "\\d{1,9}";
    const std::string second = n + 'S';
    const std::string minute = n + "M(" + second + ")?";
    const std::string hour = n + "H(" + minute + ")?";
    const std::string clock = "T(" + hour + '|' + minute + '|' + second + ')';
    const std::string day = n + 'D';
    const std::string month = n + "M(" + day + ")?";
    const std::string year = n + "Y(" + month + ")?";
    return "P(" + clock + "|(" + day + '|' + month + '|' + year + ")(" + clock + ")?|" + n + "W)";
}

std::string uuid() {
    return "[\\da-fA-F]{8}(-[\\da-fA-F]{4}){3}-[\\da-fA-F]{12}";
}

std::string ipv4() {
    const std::string part = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
    return part + "(\\." + part + "){3}";
}

/// RFC 4291 2.2, forms 1 and 2; `::` stands for at least one group.
std::string ipv6() {
    const std::string h = "[\\da-fA-F]{1,4}";
    const auto groups = [&](int n) { return h + "(:" + h + "){0," + std::to_string(n - 1) + '}'; };
    std::string out = '(' + h + "(:" + h + "){7}|::|::" + groups(7);
    for (int before = 1; before <= 7; ++before) {
        out += '|' + h + "(:" + h + "){" + std::to_string(before - 1) + "}::";
        if (before < 7) out += '(' + groups(7 - before) + ")?";
    }
    return out + ')';
}

/// RFC 1123 labels. Two hyphens in a row are left out: they may begin an IDNA label, which has
/// rules of its own.
std::string hostname() {
    const std::string label = "[a-zA-Z\\d]+(-[a-zA-Z\\d]+)*";
    return label + "(\\." + label + ")*";
}

/// RFC 5321: a dot-string at a host name.
std::string email() {
    const std::string atom = "[a-zA-Z\\d!#$%&'*+/=?^_`{|}~-]+";
    return atom + "(\\." + atom + ")*@" + hostname();
}

/// RFC 3986 with a scheme; addresses in brackets are left out.
std::string uri() {
    const std::string unit = "([a-zA-Z\\d._~!$&'()*+,;=-]|%[\\da-fA-F]{2})";
    const std::string in_path = "([a-zA-Z\\d._~!$&'()*+,;=:@-]|%[\\da-fA-F]{2})";
    const std::string user = "([a-zA-Z\\d._~!$&'()*+,;=:-]|%[\\da-fA-F]{2})*@";
    const std::string behind = "([a-zA-Z\\d._~!$&'()*+,;=:@/?-]|%[\\da-fA-F]{2})*";
    const std::string path = "(/" + in_path + "*)*";
    return "[a-zA-Z][a-zA-Z\\d+.-]*:(//(" + user + ")?" + unit + "*(:\\d*)?" + path + "|/(" +
           in_path + '+' + path + ")?|" + in_path + '+' + path + ")?(\\?" + behind + ")?(#" +
           behind + ")?";
}

constexpr std::uint32_t kHostChars = 63;
constexpr std::uint32_t kEmailChars = 64;

constexpr std::array kFormats{
    Format{"date", date, kUnbounded},    Format{"date-time", date_time, kUnbounded},
    Format{"time", time, kUnbounded},    Format{"duration", duration, kUnbounded},
    Format{"uuid", uuid, kUnbounded},    Format{"ipv4", ipv4, kUnbounded},
    Format{"ipv6", ipv6, kUnbounded},    Format{"hostname", hostname, kHostChars},
    Format{"email", email, kEmailChars}, Format{"uri", uri, kUnbounded},
};

} // namespace

bool is_known_format(std::string_view name) noexcept {
    return std::ranges::find(kFormats, name, &Format::name) != kFormats.end();
}

Result<TextDfa> format_dfa(std::string_view name, Budget& budget) {
    const auto* format = std::ranges::find(kFormats, name, &Format::name);
    BLOOM_CHECK(format != kFormats.end());
    BLOOM_TRY(TextDfa dfa, pattern_dfa("^(?:" + format->pattern() + ")$", budget));
    if (format->max_chars == kUnbounded) return dfa;
    BLOOM_TRY(const TextDfa lengths, length_dfa(0, format->max_chars, budget));
    return intersection(dfa, lengths, budget);
}

} // namespace bloom::text::schema
