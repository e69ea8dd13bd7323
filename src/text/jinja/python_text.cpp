#include "text/jinja/python_text.hpp"

#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "text/jinja/unicode.hpp"

namespace bloom::text::jinja {
namespace {

Result<> too_deep() {
    return Error{Code::limit_reached, "the value is nested too deeply"};
}

Result<> append_escaped_repr(StringBuilder& out, const Value& value, Budget& budget) {
    const StringObject& from = string_of(value);
    BLOOM_OK(budget.grow(out.size(), from.text.size() + from.user.size()));
    const bool has_single = from.text.find('\'') != std::string::npos;
    const bool has_double = from.text.find('"') != std::string::npos;
    const char quote = has_single && !has_double ? '"' : '\'';
    out.append(quote);
    MarkCursor marks(from);
    for (std::size_t at = 0; at < from.text.size();) {
        const CodePoint c = decode(from.text, at);
        const Origin origin = marks.at(at);
        if (c.value == static_cast<unsigned char>(quote) || c.value == '\\') {
            const char pair[] = {'\\', static_cast<char>(c.value)};
            out.append({pair, 2}, origin);
        } else if (c.value == '\n') {
            out.append("\\n", origin);
        } else if (c.value == '\r') {
            out.append("\\r", origin);
        } else if (c.value == '\t') {
            out.append("\\t", origin);
        } else if (is_printable(c.value)) {
            out.append(std::string_view(from.text).substr(at, c.n_bytes), origin);
        } else if (c.value < 0x100) {
            out.append(fmt::format("\\x{:02x}", static_cast<std::uint32_t>(c.value)), origin);
        } else if (c.value < 0x10000) {
            out.append(fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c.value)), origin);
        } else {
            out.append(fmt::format("\\U{:08x}", static_cast<std::uint32_t>(c.value)), origin);
        }
        at += c.n_bytes;
    }
    out.append(quote);
    return {};
}

Result<> append_members(StringBuilder& out, const DictObject& dict, Budget& budget,
                        std::uint32_t depth) {
    out.append('{');
    bool first = true;
    for (const auto& [key, value] : dict.members) {
        if (!first) out.append(", ");
        first = false;
        BLOOM_OK(append_repr(out, key, budget, depth + 1));
        out.append(": ");
        BLOOM_OK(append_repr(out, value, budget, depth + 1));
    }
    out.append('}');
    return {};
}

Result<> append_items(StringBuilder& out, const SequenceObject& list, Budget& budget,
                      std::uint32_t depth) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kBrackets{{
        {"[", "]"},
        {"(", ")"},
        {"[", "]"},
        {"dict_keys([", "])"},
        {"dict_values([", "])"},
        {"dict_items([", "])"},
    }};
    const auto& [open, close] = kBrackets[static_cast<std::size_t>(list.form)];
    out.append(open);
    bool first = true;
    for (const Value& item : list.items) {
        if (!first) out.append(", ");
        first = false;
        BLOOM_OK(append_repr(out, item, budget, depth + 1));
    }
    if (list.form == Form::tuple && list.items.size() == 1) out.append(',');
    out.append(close);
    return {};
}

/// Python prints range(0, 3), not its elements.
void append_range(StringBuilder& out, const std::vector<Value>& items) {
    const std::int64_t first = items.empty() ? 0 : items.front().as_integer();
    const std::int64_t step = items.size() > 1 ? items[1].as_integer() - first : 1;
    const std::int64_t stop = items.empty() ? 0 : items.back().as_integer() + step;
    out.append(step == 1 ? fmt::format("range({}, {})", first, stop)
                         : fmt::format("range({}, {}, {})", first, stop, step));
}

} // namespace

std::string float_repr(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    std::array<char, 40> buffer{};
    const auto done = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                    std::chars_format::scientific);
    const std::string_view text(buffer.data(), static_cast<std::size_t>(done.ptr - buffer.data()));
    const std::size_t e = text.find('e');
    std::string digits;
    const bool negative = text.front() == '-';
    for (const char c : text.substr(0, e)) {
        if (c >= '0' && c <= '9') digits += c;
    }
    int exponent = 0;
    const std::string_view power = text.substr(e + (text[e + 1] == '+' ? 2 : 1));
    std::from_chars(power.data(), power.data() + power.size(), exponent);

    std::string out = negative ? "-" : "";
    if (exponent < -4 || exponent >= 16) {
        out += digits[0];
        if (digits.size() > 1) out += "." + digits.substr(1);
        out += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
    } else if (exponent < 0) {
        out += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
    } else {
        const auto whole = static_cast<std::size_t>(exponent) + 1;
        if (digits.size() <= whole) {
            out += digits + std::string(whole - digits.size(), '0') + ".0";
        } else {
            out += digits.substr(0, whole) + "." + digits.substr(whole);
        }
    }
    return out;
}

std::string_view type_name(const Value& value) noexcept {
    switch (value.kind()) {
    case Kind::undefined:
        return "Undefined";
    case Kind::none:
        return "NoneType";
    case Kind::boolean:
        return "bool";
    case Kind::integer:
    case Kind::big_integer:
        return "int";
    case Kind::floating:
        return "float";
    case Kind::string:
        return "str";
    case Kind::sequence: {
        static constexpr std::array<std::string_view, 6> kForms{
            "list", "tuple", "range", "dict_keys", "dict_values", "dict_items"};
        return kForms[static_cast<std::size_t>(value.as<SequenceObject>().form)];
    }
    case Kind::dict:
        return "dict";
    case Kind::generator:
        return "generator";
    case Kind::name_space:
        return "Namespace";
    case Kind::callable:
        return "function";
    case Kind::loop:
        return "LoopContext";
    }
    return "object";
}

Result<> append_repr(StringBuilder& out, const Value& value, Budget& budget, std::uint32_t depth) {
    if (depth > kMaxValueDepth) return too_deep();
    BLOOM_OK(budget.grow(out.size(), 4));
    switch (value.kind()) {
    case Kind::string:
        return append_escaped_repr(out, value, budget);
    case Kind::sequence: {
        const auto& list = value.as<SequenceObject>();
        if (list.form != Form::range) return append_items(out, list, budget, depth);
        append_range(out, list.items);
        return {};
    }
    case Kind::dict:
        return append_members(out, value.as<DictObject>(), budget, depth);
    case Kind::name_space:
        out.append("<Namespace ");
        BLOOM_OK(append_members(out, value.as<NamespaceObject>().attributes, budget, depth));
        out.append('>');
        return {};
    case Kind::undefined:
        out.append("Undefined");
        return {};
    default:
        return append_str(out, value, budget);
    }
}

Result<> append_str(StringBuilder& out, const Value& value, Budget& budget) {
    switch (value.kind()) {
    case Kind::undefined:
        return {};
    case Kind::none:
        out.append("None");
        return {};
    case Kind::boolean:
        out.append(value.as_boolean() ? "True" : "False");
        return {};
    case Kind::integer:
        out.append(fmt::format("{}", value.as_integer()));
        return {};
    case Kind::floating:
        out.append(float_repr(value.as_floating()));
        return {};
    case Kind::big_integer:
        out.append(value.text());
        return {};
    case Kind::string: {
        const StringObject& from = string_of(value);
        BLOOM_OK(budget.grow(out.size(), from.text.size() + from.user.size()));
        out.append(from);
        return {};
    }
    case Kind::sequence:
    case Kind::dict:
    case Kind::name_space:
        return append_repr(out, value, budget);
    case Kind::generator:
    case Kind::callable:
    case Kind::loop:
        out.append(fmt::format("<{}>", type_name(value)));
        return {};
    }
    return {};
}

Result<Value> to_string_value(const Value& value, Budget& budget) {
    if (value.is(Kind::string)) return value;
    StringBuilder out;
    BLOOM_OK(append_str(out, value, budget));
    return std::move(out).finish();
}

} // namespace bloom::text::jinja
