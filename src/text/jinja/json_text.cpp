#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

#include "text/jinja/merge_sort.hpp"
#include "text/jinja/python_text.hpp"
#include "text/jinja/unicode.hpp"

namespace bloom::text::jinja {
namespace {

void append_unit(StringBuilder& out, std::uint32_t unit, Origin origin) {
    out.append(fmt::format("\\u{:04x}", unit), origin);
}

/// One character of a JSON string; runs that need no escape are copied by the caller.
void append_json_char(StringBuilder& out, std::string_view raw, char32_t c, bool ensure_ascii,
                      Origin origin) {
    switch (c) {
    case '"':
        return out.append("\\\"", origin);
    case '\\':
        return out.append("\\\\", origin);
    case '\n':
        return out.append("\\n", origin);
    case '\r':
        return out.append("\\r", origin);
    case '\t':
        return out.append("\\t", origin);
    case '\b':
        return out.append("\\b", origin);
    case '\f':
        return out.append("\\f", origin);
    default:
        break;
    }
    if (c < 0x20 || (ensure_ascii && c >= 0x7f && c < 0x10000)) {
        append_unit(out, static_cast<std::uint32_t>(c), origin);
    } else if (ensure_ascii && c >= 0x10000) {
        const auto offset = static_cast<std::uint32_t>(c) - 0x10000;
        append_unit(out, 0xd800 + (offset >> 10), origin);
        append_unit(out, 0xdc00 + (offset & 0x3ff), origin);
    } else {
        out.append(raw, origin);
    }
}

Result<> append_json_string(StringBuilder& out, const Value& value, bool ensure_ascii,
                            Budget& budget) {
    const StringObject& from = string_of(value);
    BLOOM_OK(budget.grow(out.size(), from.text.size() + from.user.size()));
    out.append('"');
    MarkCursor marks(from);
    const std::string_view text = from.text;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint c = decode(text, at);
        append_json_char(out, text.substr(at, c.n_bytes), c.value, ensure_ascii, marks.at(at));
        at += c.n_bytes;
    }
    out.append('"');
    return {};
}

void new_line(StringBuilder& out, const JsonStyle& style, std::uint32_t depth) {
    if (!style.pretty) return;
    out.append('\n');
    for (std::uint32_t i = 0; i < depth; ++i)
        out.append(style.indent);
}

std::string json_float(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
}

Result<Value> json_key(const Value& key, Budget& budget) {
    switch (key.kind()) {
    case Kind::string:
        return key;
    case Kind::boolean:
        return Value::string(key.as_boolean() ? "true" : "false");
    case Kind::none:
        return Value::string("null");
    case Kind::floating:
        return Value::string(json_float(key.as_floating()));
    case Kind::integer:
    case Kind::big_integer:
        return to_string_value(key, budget);
    default:
        return Error{
            Code::unsupported,
            fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key))};
    }
}

Result<> append_json_dict(StringBuilder& out, const DictObject& dict, const JsonStyle& style,
                          Budget& budget, std::uint32_t depth) {
    if (dict.members.empty()) {
        out.append("{}");
        return {};
    }
    std::vector<const std::pair<Value, Value>*> order;
    order.reserve(dict.members.size());
    for (const auto& member : dict.members)
        order.push_back(&member);
    if (style.sort_keys) {
        merge_sort(order,
                   [](const auto* a, const auto* b) { return a->first.text() < b->first.text(); });
    }
    out.append('{');
    bool first = true;
    for (const auto* member : order) {
        if (!first) out.append(style.item_separator);
        first = false;
        new_line(out, style, depth + 1);
        BLOOM_TRY(const Value key, json_key(member->first, budget));
        BLOOM_OK(append_json_string(out, key, style.ensure_ascii, budget));
        out.append(style.key_separator);
        BLOOM_OK(append_json(out, member->second, style, budget, depth + 1));
    }
    new_line(out, style, depth);
    out.append('}');
    return {};
}

Result<> append_json_list(StringBuilder& out, const std::vector<Value>& items,
                          const JsonStyle& style, Budget& budget, std::uint32_t depth) {
    if (items.empty()) {
        out.append("[]");
        return {};
    }
    out.append('[');
    bool first = true;
    for (const Value& item : items) {
        if (!first) out.append(style.item_separator);
        first = false;
        new_line(out, style, depth + 1);
        BLOOM_OK(append_json(out, item, style, budget, depth + 1));
    }
    new_line(out, style, depth);
    out.append(']');
    return {};
}

/// Strict RFC 8259 reader into values.
class JsonReader {
public:
    JsonReader(std::string_view text, Origin origin) : text_(text), origin_(origin) {}

    Result<Value> document() {
        BLOOM_TRY(Value value, read(1));
        skip_space();
        if (at_ != text_.size()) return fail("unexpected text after the value");
        return value;
    }

private:
    Error fail(std::string_view what) const {
        return {Code::invalid_argument, fmt::format("JSON, byte {}: {}", at_, what)};
    }

    void skip_space() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' ||
                                      text_[at_] == '\n' || text_[at_] == '\r')) {
            ++at_;
        }
    }

    bool eat(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    bool eat_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Result<Value> read(std::uint32_t depth) {
        if (depth >= kMaxValueDepth) {
            return Error{Code::limit_reached, "the JSON value is nested too deeply"};
        }
        skip_space();
        if (at_ >= text_.size()) return fail("a value is missing");
        switch (text_[at_]) {
        case '{':
            return read_dict(depth);
        case '[':
            return read_list(depth);
        case '"': {
            BLOOM_TRY(std::string text, read_string());
            return Value::string(std::move(text), origin_);
        }
        default:
            break;
        }
        if (eat_word("true")) return Value::boolean(true);
        if (eat_word("false")) return Value::boolean(false);
        if (eat_word("null")) return Value::none();
        return read_number();
    }

    Result<Value> read_dict(std::uint32_t depth) {
        ++at_;
        std::vector<std::pair<Value, Value>> members;
        skip_space();
        if (eat('}')) return Value::dict({});
        do {
            skip_space();
            if (at_ >= text_.size() || text_[at_] != '"') return fail("a member name is missing");
            BLOOM_TRY(std::string key, read_string());
            skip_space();
            if (!eat(':')) return fail("':' is missing");
            BLOOM_TRY(Value value, read(depth + 1));
            members.emplace_back(Value::string(std::move(key), origin_), std::move(value));
            skip_space();
        } while (eat(','));
        if (!eat('}')) return fail("',' or '}' is missing");
        return Value::dict(std::move(members));
    }

    Result<Value> read_list(std::uint32_t depth) {
        ++at_;
        std::vector<Value> items;
        skip_space();
        if (eat(']')) return Value::list({});
        do {
            BLOOM_TRY(Value value, read(depth + 1));
            items.push_back(std::move(value));
            skip_space();
        } while (eat(','));
        if (!eat(']')) return fail("',' or ']' is missing");
        return Value::list(std::move(items));
    }

    Result<std::uint32_t> read_unit() {
        if (text_.size() - at_ < 4) return fail("a \\u escape is cut off");
        std::uint32_t unit = 0;
        const char* const from = text_.data() + at_;
        const auto [end, error] = std::from_chars(from, from + 4, unit, 16);
        if (error != std::errc{} || end != from + 4) return fail("bad \\u escape");
        at_ += 4;
        return unit;
    }

    Result<> read_escape(std::string& out) {
        if (at_ >= text_.size()) return fail("an escape is cut off");
        static constexpr std::string_view kNames = "\"\\/bfnrt";
        static constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
        const char name = text_[at_++];
        if (const std::size_t i = kNames.find(name); i != std::string_view::npos) {
            out += kMeant[i];
            return {};
        }
        if (name != 'u') return fail("unknown escape");
        BLOOM_TRY(char32_t c, read_unit());
        if (c >= 0xd800 && c < 0xdc00) {
            if (!eat_word("\\u")) return fail("half of a surrogate pair");
            BLOOM_TRY(const std::uint32_t low, read_unit());
            if (low < 0xdc00 || low > 0xdfff) return fail("half of a surrogate pair");
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        } else if (c >= 0xdc00 && c <= 0xdfff) {
            return fail("half of a surrogate pair");
        }
        append_utf8(out, c);
        return {};
    }

    Result<std::string> read_string() {
        ++at_;
        std::string out;
        for (;;) {
            if (at_ >= text_.size()) return fail("a string is not closed");
            const char c = text_[at_++];
            if (c == '"') break;
            if (static_cast<unsigned char>(c) < 0x20) return fail("control character in a string");
            if (c == '\\') {
                BLOOM_OK(read_escape(out));
            } else {
                out += c;
            }
        }
        if (!is_utf8(out)) return fail("a string is not UTF-8");
        return out;
    }

    std::size_t digits() {
        const std::size_t from = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9')
            ++at_;
        return at_ - from;
    }

    Result<Value> read_number() {
        const std::size_t from = at_;
        eat('-');
        const std::size_t whole = at_;
        const std::size_t n_whole = digits();
        if (n_whole == 0) return fail("a value is missing");
        if (n_whole > 1 && text_[whole] == '0') return fail("a number begins with 0");
        bool floating = false;
        if (eat('.')) {
            floating = true;
            if (digits() == 0) return fail("digits are missing");
        }
        if (eat('e') || eat('E')) {
            floating = true;
            if (!eat('+')) eat('-');
            if (digits() == 0) return fail("digits are missing");
        }
        const std::string_view number = text_.substr(from, at_ - from);
        if (!floating) return Value::exact_integer(number);
        double value = 0;
        const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
        if (parsed.ec == std::errc::result_out_of_range) {
            // Too large reads as infinity and too small as zero, as Python does.
            const std::size_t e = number.find_first_of("eE");
            const bool tiny = e != std::string_view::npos && number[e + 1] == '-';
            value = tiny ? 0.0 : HUGE_VAL;
            if (number.front() == '-') value = -value;
        }
        return Value::floating(value);
    }

    std::string_view text_;
    Origin origin_;
    std::size_t at_ = 0;
};

} // namespace

Result<Value> Value::from_json(std::string_view json, Origin origin) {
    return JsonReader(json, origin).document();
}

Result<> append_json(StringBuilder& out, const Value& value, const JsonStyle& style, Budget& budget,
                     std::uint32_t depth) {
    if (depth > kMaxValueDepth) {
        return Error{Code::limit_reached, "the value is nested too deeply"};
    }
    BLOOM_OK(budget.grow(out.size(), (depth + 1) * (style.indent.size() + 1)));
    switch (value.kind()) {
    case Kind::none:
        out.append("null");
        return {};
    case Kind::boolean:
        out.append(value.as_boolean() ? "true" : "false");
        return {};
    case Kind::integer:
    case Kind::big_integer:
        return append_str(out, value, budget);
    case Kind::floating:
        out.append(json_float(value.as_floating()));
        return {};
    case Kind::string:
        return append_json_string(out, value, style.ensure_ascii, budget);
    case Kind::dict:
        return append_json_dict(out, value.as<DictObject>(), style, budget, depth);
    case Kind::sequence: {
        const auto& list = value.as<SequenceObject>();
        if (list.form == Form::list || list.form == Form::tuple) {
            return append_json_list(out, list.items, style, budget, depth);
        }
        break;
    }
    default:
        break;
    }
    return Error{Code::unsupported,
                 fmt::format("Object of type {} is not JSON serializable", type_name(value))};
}

} // namespace bloom::text::jinja
