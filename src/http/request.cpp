#include <array>

#include <bloom/base/text.hpp>
#include <bloom/http/request.hpp>

#include "chars.hpp"

namespace bloom::http {
namespace {

constexpr std::array<std::string_view, kMethodCount> kMethodNames = {
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

} // namespace

std::string_view to_string(Method method) noexcept {
    return kMethodNames[static_cast<std::size_t>(method)];
}

std::optional<Method> parse_method(std::string_view token) noexcept {
    for (std::size_t i = 0; i < kMethodNames.size(); ++i) {
        if (kMethodNames[i] == token) return static_cast<Method>(i);
    }
    return std::nullopt;
}

std::optional<std::string_view> Headers::find(std::string_view name) const noexcept {
    for (const Offsets& f : fields_) {
        if (f.name_bytes == name.size() && iequals({base_ + f.name, f.name_bytes}, name)) {
            return std::string_view(base_ + f.value, f.value_bytes);
        }
    }
    return std::nullopt;
}

std::size_t Headers::count(std::string_view name) const noexcept {
    std::size_t n = 0;
    for (const Offsets& f : fields_) {
        n += f.name_bytes == name.size() && iequals({base_ + f.name, f.name_bytes}, name);
    }
    return n;
}

bool Headers::has_token(std::string_view name, std::string_view token) const noexcept {
    for (std::size_t i = 0; i < size(); ++i) {
        const Header field = (*this)[i];
        if (field.name.size() != name.size() || !iequals(field.name, name)) continue;
        std::string_view rest = field.value;
        while (!rest.empty()) {
            const std::size_t comma = rest.find(',');
            if (iequals(trim_blanks(rest.substr(0, comma)), token)) return true;
            if (comma == std::string_view::npos) break;
            rest.remove_prefix(comma + 1);
        }
    }
    return false;
}

Result<std::string> percent_decode(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
        const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low < 0) return Error{Code::invalid_argument, "bad percent escape in " + quoted(text)};
        const int value = high * 16 + low;
        if (value == 0) return Error{Code::invalid_argument, "%00 in " + quoted(text)};
        out += static_cast<char>(value);
        i += 2;
    }
    if (!is_utf8(out)) {
        return Error{Code::invalid_argument, "not UTF-8 when decoded: " + quoted(text)};
    }
    return out;
}

std::optional<std::string_view> query_value(std::string_view query,
                                            std::string_view name) noexcept {
    while (!query.empty()) {
        const std::size_t end = query.find('&');
        const std::string_view pair = query.substr(0, end);
        const std::size_t eq = pair.find('=');
        if (pair.substr(0, eq) == name) {
            return eq == std::string_view::npos ? std::string_view() : pair.substr(eq + 1);
        }
        if (end == std::string_view::npos) break;
        query.remove_prefix(end + 1);
    }
    return std::nullopt;
}

} // namespace bloom::http
