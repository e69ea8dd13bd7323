#include <charconv>
#include <cmath>

#include "text/jinja/interpreter.hpp"
#include "text/jinja/operations.hpp"
#include "text/jinja/python_text.hpp"
#include "text/jinja/string_ops.hpp"
#include "text/jinja/unicode.hpp"

/// Filters over text and numbers.
namespace bloom::text::jinja {
namespace {

constexpr std::size_t kMaxIndentBytes = 256; ///< of one level, in tojson and indent

template <Casing casing>
Result<Value> change(Interpreter& in, const Value& input, CallArguments&) {
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    BLOOM_OK(in.budget().spend_bytes(text.text().size()));
    return change_case(text, casing);
}

bool splits_words(char32_t c) noexcept {
    return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

/// Unlike str.title(): words begin after white space and opening brackets only.
Result<Value> filter_title(Interpreter& in, const Value& input, CallArguments&) {
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    const std::string_view bytes = text.text();
    BLOOM_OK(in.budget().spend_bytes(bytes.size()));
    StringBuilder out;
    for (std::size_t at = 0; at < bytes.size();) {
        std::size_t end = at;
        const bool gap = splits_words(decode(bytes, at).value);
        while (end < bytes.size() && splits_words(decode(bytes, end).value) == gap) {
            end += decode(bytes, end).n_bytes;
        }
        const Value word = substring(text, at, end);
        out.append(string_of(gap ? word : change_case(word, Casing::capitalize)));
        at = end;
    }
    return std::move(out).finish();
}

Result<Value> filter_trim(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"chars"};
    BLOOM_TRY(const auto bound, match_arguments(args, "trim", kNames));
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    BLOOM_OK(in.budget().spend_bytes(text.text().size()));
    const Value* chars = bound[0] != nullptr && bound[0]->is(Kind::none) ? nullptr : bound[0];
    if (chars != nullptr && !chars->is(Kind::string)) return failure("trim() takes a string");
    return strip(text, Side::both, chars);
}

Result<Value> filter_string(Interpreter& in, const Value& input, CallArguments&) {
    return to_string_value(input, in.budget());
}

Result<Value> filter_safe(Interpreter& in, const Value& input, CallArguments&) {
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    BLOOM_OK(in.budget().spend_bytes(text.text().size()));
    StringBuilder out;
    out.append(string_of(text));
    Value marked = std::move(out).finish();
    marked.as<StringObject>().markup = true;
    return marked;
}

Result<Value> filter_escape(Interpreter& in, const Value& input, CallArguments&) {
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    Value empty = Value::string("");
    empty.as<StringObject>().markup = true; // Markup + str escapes the str
    return add(in, empty, text);
}

Result<Value> filter_replace(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"old", "new", "count"};
    BLOOM_TRY(const auto bound, match_arguments(args, "replace", kNames, 2));
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    BLOOM_TRY(const Value old, to_string_value(*bound[0], in.budget()));
    BLOOM_TRY(const Value fresh, to_string_value(*bound[1], in.budget()));
    std::int64_t limit = -1;
    if (bound[2] != nullptr && !bound[2]->is(Kind::none)) {
        const auto given = small_integer(*bound[2]);
        if (!given) return failure("replace() takes an integer as count");
        limit = *given;
    }
    return replace(in, text, old, fresh, limit);
}

Result<Value> filter_indent(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"width", "first", "blank"};
    BLOOM_TRY(const auto bound, match_arguments(args, "indent", kNames));
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    std::string indent(4, ' ');
    if (bound[0] != nullptr) {
        if (bound[0]->is(Kind::string)) {
            indent = bound[0]->text();
        } else if (const auto width = small_integer(*bound[0])) {
            if (*width > static_cast<std::int64_t>(kMaxIndentBytes)) {
                return Error{Code::limit_reached, "indent() by more than 256 characters"};
            }
            indent.assign(static_cast<std::size_t>(*width < 0 ? 0 : *width), ' ');
        } else {
            return failure("indent() takes an integer or a string");
        }
    }
    if (indent.size() > kMaxIndentBytes) {
        return Error{Code::limit_reached, "indent() by more than 256 bytes"};
    }
    const bool first = bound[1] != nullptr && truthy(*bound[1]);
    const bool blank = bound[2] != nullptr && truthy(*bound[2]);
    BLOOM_OK(in.budget().spend(text.text().size()));
    std::vector<Value> lines = split_lines(text);
    // The filter adds a line end before it splits, so text that ends in one keeps an empty line.
    const std::string_view bytes = text.text();
    if (bytes.empty() || is_line_end(decode(bytes, previous(bytes, bytes.size())).value)) {
        lines.push_back(Value::string(""));
    }
    StringBuilder out;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const StringObject& line = string_of(lines[i]);
        BLOOM_OK(in.budget().grow(out.size(), line.text.size() + indent.size() + 1));
        if (i > 0) out.append('\n');
        if (i == 0 ? first : blank || !line.text.empty()) out.append(indent);
        out.append(line);
    }
    return std::move(out).finish();
}

Result<JsonStyle> json_style(const Bound<4>& bound) {
    JsonStyle style;
    style.ensure_ascii = bound[0] != nullptr && truthy(*bound[0]);
    if (bound[1] != nullptr && !bound[1]->is(Kind::none)) {
        style.pretty = true;
        style.item_separator = ",";
        if (bound[1]->is(Kind::string)) {
            style.indent = bound[1]->text();
        } else if (const auto width = small_integer(*bound[1])) {
            const std::int64_t most = kMaxIndentBytes + 1;
            style.indent.assign(static_cast<std::size_t>(std::clamp<std::int64_t>(*width, 0, most)),
                                ' ');
        } else {
            return failure("tojson() takes an integer or a string as indent");
        }
        if (style.indent.size() > kMaxIndentBytes) {
            return Error{Code::limit_reached, "tojson() indents by more than 256 bytes"};
        }
    }
    if (bound[2] != nullptr && !bound[2]->is(Kind::none)) {
        const bool pair = bound[2]->is(Kind::sequence) && bound[2]->size() == 2 &&
                          items_of(*bound[2])[0].is(Kind::string) &&
                          items_of(*bound[2])[1].is(Kind::string);
        if (!pair) return failure("tojson() takes a pair of strings as separators");
        style.item_separator = items_of(*bound[2])[0].text();
        style.key_separator = items_of(*bound[2])[1].text();
    }
    style.sort_keys = bound[3] != nullptr && truthy(*bound[3]);
    return style;
}

Result<Value> filter_tojson(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 4> kNames{"ensure_ascii", "indent", "separators",
                                                            "sort_keys"};
    BLOOM_TRY(const auto bound, match_arguments(args, "tojson", kNames));
    BLOOM_TRY(const JsonStyle style, json_style(bound));
    StringBuilder out;
    BLOOM_OK(append_json(out, input, style, in.budget()));
    return std::move(out).finish();
}

Result<Value> filter_format(Interpreter& in, const Value& input, CallArguments& args) {
    BLOOM_TRY(const Value text, to_string_value(input, in.budget()));
    if (!args.named.empty()) {
        if (!args.positional.empty())
            return failure("format() takes positional or named arguments");
        std::vector<std::pair<Value, Value>> members;
        for (auto& [name, value] : args.named)
            members.emplace_back(Value::string(name), value);
        return format_percent(in, text, Value::dict(std::move(members)));
    }
    return format_percent(in, text, make_sequence(args.positional, Form::tuple));
}

// ---- numbers

/// What int() makes of text: digits with a sign and single underscores, in white space.
std::optional<Value> parse_integer(std::string_view text, std::int64_t base) {
    text = strip_right(strip_left(text));
    std::string digits;
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (base == 16 && (text.starts_with("0x") || text.starts_with("0X"))) text.remove_prefix(2);
    if (base == 8 && (text.starts_with("0o") || text.starts_with("0O"))) text.remove_prefix(2);
    if (base == 2 && (text.starts_with("0b") || text.starts_with("0B"))) text.remove_prefix(2);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_') continue;
        digits += text[i];
    }
    if (digits.empty()) return std::nullopt;
    if (base == 10) {
        if (digits.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
        return Value::exact_integer((negative ? "-" : "") + digits);
    }
    std::int64_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, value, static_cast<int>(base));
    if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
    return Value::integer(negative ? -value : value);
}

std::optional<double> parse_float(std::string_view text) {
    text = strip_right(strip_left(text));
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.empty() || text.front() == '-' || text.front() == '+') return std::nullopt;
    double value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ptr != text.data() + text.size()) return std::nullopt;
    if (parsed.ec == std::errc::result_out_of_range) value = HUGE_VAL;
    if (parsed.ec == std::errc::invalid_argument) return std::nullopt;
    return negative ? -value : value;
}

std::optional<Value> truncate(double value) {
    if (!std::isfinite(value)) return std::nullopt;
    const std::string digits = fmt::format("{:.0f}", std::trunc(value));
    return Value::exact_integer(digits);
}

Result<Value> filter_int(Interpreter&, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"default", "base"};
    BLOOM_TRY(const auto bound, match_arguments(args, "int", kNames));
    const Value fallback = bound[0] != nullptr ? *bound[0] : Value::integer(0);
    const auto base =
        bound[1] == nullptr ? std::optional<std::int64_t>(10) : small_integer(*bound[1]);
    if (!base || *base < 2 || *base > 36) return failure("int() takes a base from 2 to 36");
    if (input.is(Kind::undefined)) return undefined_failure(input);
    if (input.is(Kind::big_integer)) return input;
    if (const auto small = small_integer(input)) return Value::integer(*small);
    std::optional<Value> out;
    if (input.is(Kind::floating)) {
        out = truncate(input.as_floating());
    } else if (input.is(Kind::string)) {
        out = parse_integer(input.text(), *base);
        if (!out) {
            if (const auto number = parse_float(input.text())) out = truncate(*number);
        }
    }
    return out ? *std::move(out) : fallback;
}

Result<Value> filter_float(Interpreter&, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"default"};
    BLOOM_TRY(const auto bound, match_arguments(args, "float", kNames));
    if (input.is(Kind::undefined)) return undefined_failure(input);
    if (is_number(input)) return Value::floating(to_double(input));
    if (input.is(Kind::string)) {
        if (const auto number = parse_float(input.text())) return Value::floating(*number);
    }
    return bound[0] != nullptr ? *bound[0] : Value::floating(0.0);
}

Result<Value> filter_abs(Interpreter&, const Value& input, CallArguments&) {
    if (input.is(Kind::undefined)) return undefined_failure(input);
    if (!is_number(input))
        return failure(fmt::format("bad operand type for abs(): '{}'", type_name(input)));
    if (input.is(Kind::floating)) return Value::floating(std::fabs(input.as_floating()));
    const bool negative =
        input.is(Kind::big_integer) ? input.text().starts_with('-') : *small_integer(input) < 0;
    if (negative) return negate(input);
    return input.is(Kind::boolean) ? Value::integer(*small_integer(input)) : input;
}

Result<Value> filter_round(Interpreter&, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"precision", "method"};
    static constexpr std::int64_t kMaxPrecision = 300;
    BLOOM_TRY(const auto bound, match_arguments(args, "round", kNames));
    if (input.is(Kind::undefined)) return undefined_failure(input);
    if (!is_number(input)) return failure("round() takes a number");
    const auto precision =
        bound[0] == nullptr ? std::optional<std::int64_t>(0) : small_integer(*bound[0]);
    if (!precision || *precision > kMaxPrecision || *precision < -kMaxPrecision) {
        return failure("round() takes a small integer as precision");
    }
    const std::string_view method = bound[1] == nullptr ? "common" : bound[1]->text();
    if (method != "common" && method != "ceil" && method != "floor") {
        return failure("method must be common, ceil or floor");
    }
    const double value = to_double(input);
    if (method == "common") {
        if (input.is(Kind::integer) && *precision >= 0) return input;
        if (*precision > 0) {
            // Decimal digits of the exact value, half to even, as Python rounds.
            return Value::floating(
                std::strtod(fmt::format("{:.{}f}", value, *precision).c_str(), nullptr));
        }
    }
    const double scale = std::pow(10.0, static_cast<double>(*precision));
    const double scaled = value * scale;
    const double whole = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);
    if (method == "common" && input.is(Kind::integer)) return *truncate(whole / scale);
    return Value::floating(whole / scale);
}

constexpr NamedFn<FilterFn> kTextFilters[] = {
    {"trim", filter_trim},
    {"upper", change<Casing::upper>},
    {"lower", change<Casing::lower>},
    {"capitalize", change<Casing::capitalize>},
    {"title", filter_title},
    {"string", filter_string},
    {"safe", filter_safe},
    {"escape", filter_escape},
    {"e", filter_escape},
    {"replace", filter_replace},
    {"indent", filter_indent},
    {"tojson", filter_tojson},
    {"format", filter_format},
    {"int", filter_int},
    {"float", filter_float},
    {"abs", filter_abs},
    {"round", filter_round},
};

} // namespace

FilterFn find_text_filter(std::string_view name) noexcept {
    return find_in(kTextFilters, name);
}

} // namespace bloom::text::jinja
