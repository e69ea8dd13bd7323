#include <charconv>
#include <cmath>

#include "text/jinja/operations.hpp"
#include "text/jinja/python_text.hpp"
#include "text/jinja/unicode.hpp"

/// Python's two ways of formatting: text % arguments and text.format(arguments).
namespace bloom::text::jinja {
namespace {

constexpr std::uint32_t kMaxWidth = 4096;    ///< of one field
constexpr std::uint32_t kMaxPrecision = 300; ///< digits or characters of one field

/// A field's wishes; the union of both languages.
struct Spec {
    std::string fill = " ";
    char align = 0; ///< < > ^ =, or 0 for the kind's own
    char sign = '-';
    bool alternate = false;
    bool zero = false;
    bool grouping = false;
    std::uint32_t width = 0;
    std::optional<std::uint32_t> precision;
    char type = 0;
};

Result<std::uint32_t> read_count(std::string_view text, std::size_t& at, std::uint32_t most) {
    std::uint32_t value = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
        value = value * 10 + static_cast<std::uint32_t>(text[at++] - '0');
        if (value > most) return Error{Code::limit_reached, "a formatted field is too wide"};
    }
    return value;
}

std::string group_thousands(std::string digits) {
    std::size_t end = digits.find_first_not_of("0123456789");
    if (end == std::string::npos) end = digits.size();
    for (std::size_t at = end; at > 3; at -= 3)
        digits.insert(at - 3, ",");
    return digits;
}

/// Digits of a number without sign, in the wanted notation.
Result<std::string> number_body(const Value& value, const Spec& spec) {
    const char type = spec.type;
    if (!is_number(value))
        return failure(fmt::format("format '{}' needs a number, not '{}'", type, type_name(value)));
    if (type == 'f' || type == 'F' || type == 'e' || type == 'E' || type == 'g' || type == 'G' ||
        type == '%') {
        const double number = std::fabs(to_double(value)) * (type == '%' ? 100.0 : 1.0);
        const std::uint32_t digits = spec.precision.value_or(6);
        if (std::isinf(number)) return std::string("inf");
        if (std::isnan(number)) return std::string("nan");
        if (type == 'e' || type == 'E') return fmt::format("{:.{}e}", number, digits);
        return type == 'g' || type == 'G' ? fmt::format("{:.{}g}", number, digits)
               : type == '%'              ? fmt::format("{:.{}f}%", number, digits)
                                          : fmt::format("{:.{}f}", number, digits);
    }
    if (value.is(Kind::big_integer)) {
        const std::string_view digits = value.text();
        return std::string(digits.starts_with('-') ? digits.substr(1) : digits);
    }
    std::int64_t number = 0;
    if (const auto small = small_integer(value)) {
        number = *small;
    } else {
        const double whole = std::trunc(value.as_floating());
        if (!(std::fabs(whole) < 9.2e18)) return failure("the float is too large for an integer");
        number = static_cast<std::int64_t>(whole);
    }
    const std::uint64_t magnitude =
        number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
    switch (type) {
    case 'x':
        return fmt::format("{}{:x}", spec.alternate ? "0x" : "", magnitude);
    case 'X':
        return fmt::format("{}{:X}", spec.alternate ? "0X" : "", magnitude);
    case 'o':
        return fmt::format("{}{:o}", spec.alternate ? "0o" : "", magnitude);
    case 'b':
        return fmt::format("{}{:b}", spec.alternate ? "0b" : "", magnitude);
    default:
        return fmt::format("{}", magnitude);
    }
}

bool is_negative(const Value& value) {
    if (value.is(Kind::floating)) return std::signbit(value.as_floating());
    if (value.is(Kind::big_integer)) return value.text().starts_with('-');
    return *small_integer(value) < 0;
}

/// Appends a body of `n_chars` code points, padded. `sign_bytes` stay in front of zeros.
void append_padded(StringBuilder& out, const Value& body, std::size_t sign_bytes, const Spec& spec,
                   char natural_align) {
    const StringObject& text = string_of(body);
    const std::size_t have = count_code_points(text.text);
    const std::size_t n = spec.width > have ? spec.width - have : 0;
    const char align = spec.align != 0 ? spec.align : spec.zero ? '=' : natural_align;
    const std::string_view fill = spec.zero && spec.align == 0 ? "0" : std::string_view(spec.fill);
    const std::size_t left = align == '<' ? 0 : align == '^' ? n / 2 : n;
    const std::size_t head = align == '=' ? sign_bytes : 0;
    out.append(text, 0, head);
    for (std::size_t i = 0; i < left; ++i)
        out.append(fill);
    out.append(text, head, text.text.size());
    for (std::size_t i = left; i < n; ++i)
        out.append(fill);
}

Result<> append_number(StringBuilder& out, const Value& value, const Spec& spec) {
    BLOOM_TRY(std::string body, number_body(value, spec));
    if (spec.grouping) body = group_thousands(std::move(body));
    const bool negative = is_negative(value);
    const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
    append_padded(out, Value::string(sign + body), sign.size(), spec, '>');
    return {};
}

Result<> append_text(StringBuilder& out, const Value& text, const Spec& spec, char natural_align) {
    Value body = text;
    if (spec.precision) body = substring(text, 0, byte_offset(text.text(), *spec.precision));
    append_padded(out, body, 0, spec, natural_align);
    return {};
}

// ---- text % arguments

class PercentFormat {
public:
    PercentFormat(Interpreter& in, const Value& format, const Value& arguments)
        : in_(in), format_(format), arguments_(arguments) {}

    Result<Value> run() {
        const std::string_view text = format_.text();
        BLOOM_OK(in_.budget().spend_bytes(text.size()));
        while (at_ < text.size()) {
            const std::size_t percent = std::min(text.find('%', at_), text.size());
            out_.append(string_of(format_), at_, percent);
            at_ = percent;
            if (at_ < text.size()) BLOOM_OK(field(text));
        }
        const bool tuple = is_tuple();
        if (!named_ && used_ < (tuple ? items_of(arguments_).size() : 1) &&
            !(arguments_.is(Kind::dict) || (!tuple && arguments_.is(Kind::sequence)))) {
            return failure("not all arguments converted during string formatting");
        }
        return std::move(out_).finish();
    }

private:
    bool is_tuple() const {
        return arguments_.is(Kind::sequence) && arguments_.as<SequenceObject>().form == Form::tuple;
    }

    Result<Value> argument() {
        if (is_tuple()) {
            if (used_ >= items_of(arguments_).size())
                return failure("not enough arguments for format string");
            return items_of(arguments_)[used_++];
        }
        if (used_++ > 0) return failure("not enough arguments for format string");
        return arguments_;
    }

    Result<> field(std::string_view text) {
        ++at_;
        Spec spec;
        std::optional<Value> value;
        if (at_ < text.size() && text[at_] == '(') {
            const std::size_t close = text.find(')', at_);
            if (close == std::string_view::npos) return failure("incomplete format key");
            const Value* found = arguments_.find(text.substr(at_ + 1, close - at_ - 1));
            if (found == nullptr) return failure("the format names a key that is missing");
            value = *found;
            named_ = true;
            at_ = close + 1;
        }
        for (; at_ < text.size() &&
               std::string_view("-+ #0").find(text[at_]) != std::string_view::npos;
             ++at_) {
            if (text[at_] == '-') spec.align = '<';
            if (text[at_] == '+') spec.sign = '+';
            if (text[at_] == ' ' && spec.sign != '+') spec.sign = ' ';
            if (text[at_] == '#') spec.alternate = true;
            if (text[at_] == '0') spec.zero = true;
        }
        BLOOM_TRY(spec.width, read_count(text, at_, kMaxWidth));
        if (at_ < text.size() && text[at_] == '.') {
            ++at_;
            BLOOM_TRY(spec.precision, read_count(text, at_, kMaxPrecision));
        }
        if (at_ >= text.size()) return failure("incomplete format");
        spec.type = text[at_++];
        if (spec.type == '%') {
            out_.append('%');
            return {};
        }
        if (!value) {
            BLOOM_TRY(value, argument());
        }
        BLOOM_OK(in_.budget().grow(out_.size(), spec.width + 1));
        return convert(*value, spec);
    }

    Result<> convert(const Value& value, Spec spec) {
        if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
            StringBuilder text;
            BLOOM_OK(spec.type == 's' ? append_str(text, value, in_.budget())
                                      : append_repr(text, value, in_.budget()));
            spec.zero = false;
            return append_text(out_, std::move(text).finish(), spec, '>');
        }
        if (spec.type == 'c') {
            if (value.is(Kind::string)) return append_text(out_, value, spec, '>');
            const auto code = small_integer(value);
            if (!code || *code < 0 || *code > 0x10ffff) return failure("%c takes a character");
            std::string one;
            append_utf8(one, static_cast<char32_t>(*code));
            return append_text(out_, Value::string(std::move(one)), spec, '>');
        }
        if (value.is(Kind::undefined)) return undefined_failure(value);
        if (std::string_view("diuxXoeEfFgG").find(spec.type) == std::string_view::npos) {
            return failure("unsupported format character");
        }
        if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
        return append_number(out_, value, spec);
    }

    Interpreter& in_;
    const Value& format_;
    const Value& arguments_;
    StringBuilder out_;
    std::size_t at_ = 0;
    std::size_t used_ = 0;
    bool named_ = false;
};

// ---- text.format(arguments)

Result<Spec> parse_brace_spec(std::string_view text) {
    Spec spec;
    std::size_t at = 0;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    if (!text.empty()) {
        const std::size_t n = decode(text, 0).n_bytes;
        if (n < text.size() && is_align(text[n])) {
            spec.fill = text.substr(0, n);
            spec.align = text[n];
            at = n + 1;
        } else if (is_align(text[0])) {
            spec.align = text[0];
            at = 1;
        }
    }
    if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' '))
        spec.sign = text[at++];
    if (at < text.size() && text[at] == '#') {
        spec.alternate = true;
        ++at;
    }
    if (at < text.size() && text[at] == '0') {
        spec.zero = true;
        ++at;
    }
    BLOOM_TRY(spec.width, read_count(text, at, kMaxWidth));
    if (at < text.size() && text[at] == ',') {
        spec.grouping = true;
        ++at;
    }
    if (at < text.size() && text[at] == '.') {
        ++at;
        BLOOM_TRY(spec.precision, read_count(text, at, kMaxPrecision));
    }
    if (at < text.size()) spec.type = text[at++];
    if (at < text.size()) return failure("invalid format specifier");
    return spec;
}

class BraceFormat {
public:
    BraceFormat(Interpreter& in, const Value& format, const CallArguments& args)
        : in_(in), format_(format), args_(args) {}

    Result<Value> run() {
        const std::string_view text = format_.text();
        BLOOM_OK(in_.budget().spend_bytes(text.size()));
        while (at_ < text.size()) {
            const std::size_t brace = std::min(text.find_first_of("{}", at_), text.size());
            out_.append(string_of(format_), at_, brace);
            at_ = brace;
            if (at_ >= text.size()) break;
            const char c = text[at_];
            if (at_ + 1 < text.size() && text[at_ + 1] == c) {
                out_.append(c);
                at_ += 2;
            } else if (c == '}') {
                return failure("single '}' encountered in format string");
            } else {
                BLOOM_OK(field(text));
            }
        }
        return std::move(out_).finish();
    }

private:
    Result<> field(std::string_view text) {
        const std::size_t close = text.find('}', at_);
        if (close == std::string_view::npos) return failure("expected '}' before end of string");
        std::string_view inside = text.substr(at_ + 1, close - at_ - 1);
        if (inside.find('{') != std::string_view::npos)
            return failure("nested fields are not supported");
        at_ = close + 1;
        const std::size_t colon = std::min(inside.find(':'), inside.size());
        std::string_view name = inside.substr(0, colon);
        const std::string_view wanted =
            colon < inside.size() ? inside.substr(colon + 1) : std::string_view();
        char conversion = 0;
        if (name.size() >= 2 && name[name.size() - 2] == '!') {
            conversion = name.back();
            name.remove_suffix(2);
        }
        BLOOM_TRY(const Spec spec, parse_brace_spec(wanted));
        BLOOM_TRY(Value value, find(name));
        BLOOM_OK(in_.budget().grow(out_.size(), spec.width + 1));
        if (conversion != 0) {
            StringBuilder converted;
            BLOOM_OK(conversion == 'r' ? append_repr(converted, value, in_.budget())
                                       : append_str(converted, value, in_.budget()));
            value = std::move(converted).finish();
        }
        return convert(value, spec);
    }

    /// The argument a field names: empty and digits count, then .attribute and [key].
    Result<Value> find(std::string_view name) {
        const std::size_t end = std::min(name.find_first_of(".["), name.size());
        const std::string_view first = name.substr(0, end);
        std::string_view path = name.substr(end);
        std::optional<Value> value;
        std::size_t index = next_;
        const auto parsed = std::from_chars(first.data(), first.data() + first.size(), index);
        if (first.empty() ||
            (parsed.ec == std::errc{} && parsed.ptr == first.data() + first.size())) {
            if (first.empty()) ++next_;
            if (index >= args_.positional.size()) return failure("replacement index out of range");
            value = args_.positional[index];
        } else {
            for (const auto& [known, candidate] : args_.named) {
                if (known == first) value = candidate;
            }
            if (!value) return failure("the format names an argument that is missing");
        }
        while (!path.empty()) {
            const bool bracket = path.front() == '[';
            const std::size_t stop =
                bracket ? path.find(']') : std::min(path.find_first_of(".[", 1), path.size());
            if (stop == std::string_view::npos) return failure("missing ']' in format string");
            const std::string key(path.substr(1, stop - 1));
            std::int64_t number = 0;
            const auto digits = std::from_chars(key.data(), key.data() + key.size(), number);
            const bool is_index =
                bracket && digits.ec == std::errc{} && digits.ptr == key.data() + key.size();
            BLOOM_TRY(value, get_item(in_, *value,
                                      is_index ? Value::integer(number) : Value::string(key)));
            path.remove_prefix(bracket ? stop + 1 : stop);
        }
        return *value;
    }

    Result<> convert(const Value& value, Spec spec) {
        const bool number = is_number(value) && !(value.is(Kind::boolean) && spec.type == 0);
        if (number && spec.type != 's') {
            if (spec.type == 0 && value.is(Kind::floating)) {
                if (spec.precision) {
                    spec.type = 'g';
                } else {
                    return append_text(out_, Value::string(float_repr(value.as_floating())), spec,
                                       '>');
                }
            }
            if (spec.type == 0) spec.type = 'd';
            if (spec.type == 'd' && value.is(Kind::floating)) {
                return failure("unknown format code 'd' for object of type 'float'");
            }
            if (std::string_view("dxXobeEfFgG%").find(spec.type) == std::string_view::npos) {
                return failure("unknown format code");
            }
            return append_number(out_, value, spec);
        }
        if (spec.type != 0 && spec.type != 's') {
            return failure(
                fmt::format("unknown format code for object of type '{}'", type_name(value)));
        }
        BLOOM_TRY(const Value text, to_string_value(value, in_.budget()));
        return append_text(out_, text, spec, '<');
    }

    Interpreter& in_;
    const Value& format_;
    const CallArguments& args_;
    StringBuilder out_;
    std::size_t at_ = 0;
    std::size_t next_ = 0;
};

} // namespace

Result<Value> format_percent(Interpreter& in, const Value& format, const Value& arguments) {
    return PercentFormat(in, format, arguments).run();
}

Result<Value> format_braces(Interpreter& in, const Value& format, const CallArguments& args) {
    return BraceFormat(in, format, args).run();
}

} // namespace bloom::text::jinja
