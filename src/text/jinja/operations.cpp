#include "text/jinja/operations.hpp"

#include <cmath>
#include <cstdlib>
#include <limits>

#include <bloom/base/bytes.hpp>
#include <bloom/base/text.hpp>

#include "text/jinja/python_text.hpp"
#include "text/jinja/unicode.hpp"

namespace bloom::text::jinja {
namespace {

bool is_int_kind(const Value& v) noexcept {
    return v.is(Kind::boolean) || v.is(Kind::integer) || v.is(Kind::big_integer);
}

std::string digits_of(const Value& v) {
    return v.is(Kind::big_integer) ? std::string(v.text()) : fmt::format("{}", *small_integer(v));
}

int order_digits(const std::string& a, const std::string& b) {
    const bool minus_a = a.front() == '-';
    const bool minus_b = b.front() == '-';
    if (minus_a != minus_b) return minus_a ? -1 : 1;
    int sign = a.compare(b);
    if (a.size() != b.size()) sign = a.size() < b.size() ? -1 : 1;
    return minus_a ? -sign : sign;
}

/// Numbers of any kind. Comparisons with a big integer and a float go through the nearest double.
int order_numbers(const Value& a, const Value& b) {
    if (is_int_kind(a) && is_int_kind(b)) {
        if (a.is(Kind::big_integer) || b.is(Kind::big_integer)) {
            return order_digits(digits_of(a), digits_of(b));
        }
        const std::int64_t x = *small_integer(a);
        const std::int64_t y = *small_integer(b);
        return x < y ? -1 : x > y ? 1 : 0;
    }
    const auto wide = [](const Value& v) {
        const auto small = small_integer(v);
        return small ? static_cast<long double>(*small) : static_cast<long double>(to_double(v));
    };
    const long double x = wide(a);
    const long double y = wide(b);
    return x < y ? -1 : x > y ? 1 : 0;
}

bool is_nan(const Value& v) noexcept {
    return v.is(Kind::floating) && std::isnan(v.as_floating());
}

Error operand_failure(std::string_view op, const Value& a, const Value& b) {
    return failure(fmt::format("unsupported operand types for {}: '{}' and '{}'", op, type_name(a),
                               type_name(b)));
}

bool is_list(const Value& v) noexcept {
    return v.is(Kind::sequence) && v.as<SequenceObject>().form == Form::list;
}

bool is_tuple(const Value& v) noexcept {
    return v.is(Kind::sequence) && v.as<SequenceObject>().form == Form::tuple;
}

bool is_view(const Value& v) noexcept {
    return v.is(Kind::sequence) && v.as<SequenceObject>().form >= Form::keys;
}

Value loop_attribute(const Value& value, const std::string& name) {
    const LoopObject& loop = value.as<LoopObject>();
    const auto at = static_cast<std::int64_t>(loop.index);
    const auto n = static_cast<std::int64_t>(loop.items.size());
    if (name == "index") return Value::integer(at + 1);
    if (name == "index0") return Value::integer(at);
    if (name == "revindex") return Value::integer(n - at);
    if (name == "revindex0") return Value::integer(n - at - 1);
    if (name == "first") return Value::boolean(at == 0);
    if (name == "last") return Value::boolean(at + 1 == n);
    if (name == "length") return Value::integer(n);
    if (name == "depth") return Value::integer(loop.depth + 1);
    if (name == "depth0") return Value::integer(loop.depth);
    if (name == "previtem" && at > 0) return loop.items[loop.index - 1];
    if (name == "nextitem" && at + 1 < n) return loop.items[loop.index + 1];
    return Value::undefined(&name);
}

/// What a key that is no member may still name; undefined when nothing.
Value attribute_or_undefined(const Value& value, const std::string& name, bool members) {
    if (const MethodFn method = find_method(value, name)) {
        auto bound = std::make_shared<CallableObject>();
        bound->method = method;
        bound->self = value;
        bound->deepen(value);
        return {Kind::callable, std::move(bound)};
    }
    if (value.is(Kind::loop)) return loop_attribute(value, name);
    if (value.is(Kind::name_space)) {
        const Value* found = value.as<NamespaceObject>().attributes.find(name);
        return found != nullptr ? *found : Value::undefined(&name);
    }
    if (members) {
        if (const Value* found = value.find(name)) return *found;
    }
    return Value::undefined(&name);
}

Value string_at(const Value& text, std::int64_t index) {
    const std::string_view bytes = text.text();
    if (index < 0) index += static_cast<std::int64_t>(count_code_points(bytes));
    if (index < 0) return Value();
    const std::size_t at = byte_offset(bytes, static_cast<std::size_t>(index));
    if (at >= bytes.size()) return Value();
    return substring(text, at, at + decode(bytes, at).n_bytes);
}

std::vector<Value> characters(const Value& text) {
    std::vector<Value> out;
    const std::string_view bytes = text.text();
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t n = decode(bytes, at).n_bytes;
        out.push_back(substring(text, at, at + n));
        at += n;
    }
    return out;
}

struct SliceRange {
    std::int64_t start = 0;
    std::int64_t stop = 0;
    std::int64_t step = 1;
};

/// Python's slice.indices().
Result<SliceRange> slice_range(std::int64_t n, const Value& start, const Value& stop,
                               const Value& step) {
    SliceRange out;
    if (!step.is(Kind::none)) {
        const auto given = small_integer(step);
        if (!given) return failure("slice indices must be integers or None");
        if (*given == 0) return failure("slice step cannot be zero");
        out.step = *given;
    }
    const bool down = out.step < 0;
    auto bound = [&](const Value& given, std::int64_t fallback) -> Result<std::int64_t> {
        if (given.is(Kind::none)) return fallback;
        const auto at = small_integer(given);
        if (!at) return failure("slice indices must be integers or None");
        const std::int64_t lowest = down ? -1 : 0;
        const std::int64_t highest = down ? n - 1 : n;
        if (*at < 0) return *at + n < lowest ? lowest : *at + n;
        return *at > highest ? highest : *at;
    };
    BLOOM_TRY(out.start, bound(start, down ? n - 1 : 0));
    BLOOM_TRY(out.stop, bound(stop, down ? -1 : n));
    return out;
}

Value escape_markup(const Value& text) {
    const StringObject& from = string_of(text);
    if (from.markup) return text;
    StringBuilder out;
    MarkCursor marks(from);
    for (std::size_t i = 0; i < from.text.size(); ++i) {
        const char c = from.text[i];
        const std::string_view one(&from.text[i], 1);
        out.append(c == '&'    ? "&amp;"
                   : c == '<'  ? "&lt;"
                   : c == '>'  ? "&gt;"
                   : c == '"'  ? "&#34;"
                   : c == '\'' ? "&#39;"
                               : one,
                   marks.at(i));
    }
    return std::move(out).finish();
}

Result<Value> join_two(Interpreter& in, const Value& a, const Value& b) {
    const bool markup = string_of(a).markup || string_of(b).markup;
    const Value left = markup ? escape_markup(a) : a;
    const Value right = markup ? escape_markup(b) : b;
    const StringObject& x = string_of(left);
    const StringObject& y = string_of(right);
    BLOOM_OK(
        in.budget().spend_bytes(x.text.size() + y.text.size() + x.user.size() + y.user.size()));
    StringBuilder out;
    out.append(x);
    out.append(y);
    Value sum = std::move(out).finish();
    sum.as<StringObject>().markup = markup;
    return sum;
}

Result<Value> repeat(Interpreter& in, const Value& what, std::int64_t times) {
    const auto n = static_cast<std::uint64_t>(times < 0 ? 0 : times);
    if (what.is(Kind::string)) {
        const StringObject& text = string_of(what);
        const auto bytes = checked_mul<std::uint64_t>(n, text.text.size() + text.user.size());
        BLOOM_OK(
            in.budget().spend_bytes(bytes ? *bytes : std::numeric_limits<std::int64_t>::max()));
        StringBuilder out;
        if (!text.text.empty()) {
            for (std::uint64_t i = 0; i < n; ++i)
                out.append(text);
        }
        return std::move(out).finish();
    }
    const SequenceObject& from = what.as<SequenceObject>();
    const auto total = checked_mul<std::uint64_t>(n, from.items.size());
    BLOOM_OK(in.budget().spend(total && *total <= kMaxSteps ? *total : kMaxSteps + 1));
    std::vector<Value> items;
    if (!from.items.empty()) {
        for (std::uint64_t i = 0; i < n; ++i) {
            items.insert(items.end(), from.items.begin(), from.items.end());
        }
    }
    return make_sequence(std::move(items), from.form, from.form == Form::list);
}

Error overflow_failure() {
    return failure("integers beyond 64 bits cannot be calculated with");
}

Result<Value> integer_power(std::int64_t base, std::int64_t exponent) {
    std::int64_t out = 1;
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(out, base, &out))
            return overflow_failure();
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow_failure();
    }
    return Value::integer(out);
}

Result<Value> integer_arithmetic(Op op, std::int64_t a, std::int64_t b) {
    std::int64_t out = 0;
    switch (op) {
    case Op::add:
        if (__builtin_add_overflow(a, b, &out)) return overflow_failure();
        return Value::integer(out);
    case Op::sub:
        if (__builtin_sub_overflow(a, b, &out)) return overflow_failure();
        return Value::integer(out);
    case Op::mul:
        if (__builtin_mul_overflow(a, b, &out)) return overflow_failure();
        return Value::integer(out);
    case Op::pow:
        if (b < 0) return Value::floating(std::pow(static_cast<double>(a), static_cast<double>(b)));
        return integer_power(a, b);
    default:
        break;
    }
    if (b == 0) return failure("division by zero");
    if (op == Op::div) return Value::floating(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) { // the one case in which the machine's division overflows
        if (op == Op::mod) return Value::integer(0);
        if (__builtin_sub_overflow(std::int64_t{0}, a, &out)) return overflow_failure();
        return Value::integer(out);
    }
    const std::int64_t rest = a % b;
    const bool adjust = rest != 0 && (rest < 0) != (b < 0);
    if (op == Op::mod) return Value::integer(adjust ? rest + b : rest);
    return Value::integer(adjust ? a / b - 1 : a / b);
}

Result<Value> float_arithmetic(Op op, double a, double b) {
    switch (op) {
    case Op::add:
        return Value::floating(a + b);
    case Op::sub:
        return Value::floating(a - b);
    case Op::mul:
        return Value::floating(a * b);
    case Op::pow:
        return Value::floating(std::pow(a, b));
    default:
        break;
    }
    if (b == 0.0) return failure("division by zero");
    if (op == Op::div) return Value::floating(a / b);
    double rest = std::fmod(a, b);
    double quotient = (a - rest) / b;
    if (rest != 0.0 && (b < 0) != (rest < 0)) {
        rest += b;
        quotient -= 1.0;
    }
    if (op == Op::mod) return Value::floating(rest == 0.0 ? std::copysign(0.0, b) : rest);
    const double whole = std::floor(quotient);
    return Value::floating(quotient - whole > 0.5 ? whole + 1.0 : whole);
}

std::string_view symbol(Op op) noexcept {
    static constexpr std::string_view kSymbols[] = {
        "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
    return kSymbols[static_cast<std::size_t>(op)];
}

} // namespace

Error undefined_failure(const Value& value) {
    const std::string* name = value.undefined_name();
    return failure(name != nullptr ? fmt::format("'{}' is undefined", *name)
                                   : std::string("the value is undefined"));
}

bool truthy(const Value& value) noexcept {
    switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
        return false;
    case Kind::boolean:
        return value.as_boolean();
    case Kind::integer:
        return value.as_integer() != 0;
    case Kind::floating:
        return value.as_floating() != 0.0;
    case Kind::string:
        return !value.text().empty();
    case Kind::sequence:
    case Kind::dict:
        return value.size() != 0;
    default:
        return true;
    }
}

bool is_number(const Value& value) noexcept {
    return is_int_kind(value) || value.is(Kind::floating);
}

std::optional<std::int64_t> small_integer(const Value& value) noexcept {
    if (value.is(Kind::integer)) return value.as_integer();
    if (value.is(Kind::boolean)) return value.as_boolean() ? 1 : 0;
    return std::nullopt;
}

double to_double(const Value& number) noexcept {
    if (number.is(Kind::floating)) return number.as_floating();
    if (const auto small = small_integer(number)) return static_cast<double>(*small);
    return std::strtod(number.as<BigObject>().digits.c_str(), nullptr);
}

Result<Value> get_attribute(Interpreter& in, const Value& value, const std::string& name) {
    if (value.is(Kind::undefined)) return undefined_failure(value);
    BLOOM_OK(in.budget().spend(1));
    return attribute_or_undefined(value, name, true);
}

Result<Value> get_item(Interpreter& in, const Value& value, const Value& key) {
    if (value.is(Kind::undefined)) return undefined_failure(value);
    BLOOM_OK(in.budget().spend(1));
    if (value.is(Kind::dict)) {
        if (const Value* found = value.as<DictObject>().find(key)) return *found;
    } else if (const auto index = small_integer(key)) {
        if (value.is(Kind::string)) {
            BLOOM_OK(in.budget().spend_bytes(value.text().size()));
            return string_at(value, *index);
        }
        if (value.is(Kind::sequence) && !is_view(value)) {
            const auto n = static_cast<std::int64_t>(value.size());
            const std::int64_t at = *index < 0 ? *index + n : *index;
            return at >= 0 && at < n ? items_of(value)[static_cast<std::size_t>(at)] : Value();
        }
    }
    if (!key.is(Kind::string)) return Value();
    // The name in an undefined value must outlive it, so it is dropped here.
    Value found = attribute_or_undefined(value, string_of(key).text, false);
    return found.is(Kind::undefined) ? Value() : found;
}

Result<Value> get_slice(Interpreter& in, const Value& value, const Value& start, const Value& stop,
                        const Value& step) {
    if (value.is(Kind::undefined)) return undefined_failure(value);
    if (!value.is(Kind::string) && (!value.is(Kind::sequence) || is_view(value))) {
        return failure(fmt::format("'{}' object cannot be sliced", type_name(value)));
    }
    const bool text = value.is(Kind::string);
    const std::string_view bytes = value.text();
    BLOOM_OK(in.budget().spend_bytes(bytes.size()));
    const auto n = static_cast<std::int64_t>(text ? count_code_points(bytes) : value.size());
    BLOOM_TRY(const SliceRange range, slice_range(n, start, stop, step));
    if (text && range.step == 1) {
        const std::size_t from = byte_offset(bytes, static_cast<std::size_t>(range.start));
        const auto count =
            static_cast<std::size_t>(range.stop > range.start ? range.stop - range.start : 0);
        return substring(value, from, from + byte_offset(bytes.substr(from), count));
    }
    std::vector<Value> picked;
    const std::vector<Value> from = text ? characters(value) : items_of(value);
    BLOOM_OK(in.budget().spend(from.size()));
    for (std::int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop;) {
        picked.push_back(from[static_cast<std::size_t>(i)]);
        if (__builtin_add_overflow(i, range.step, &i)) break;
    }
    if (!text) {
        const Form form = value.as<SequenceObject>().form;
        return make_sequence(std::move(picked), form, form == Form::list);
    }
    StringBuilder out;
    for (const Value& character : picked)
        out.append(string_of(character));
    return std::move(out).finish();
}

Result<Value> negate(const Value& value) {
    if (value.is(Kind::undefined)) return undefined_failure(value);
    if (value.is(Kind::floating)) return Value::floating(-value.as_floating());
    if (value.is(Kind::big_integer)) {
        const std::string_view digits = value.text();
        return Value::exact_integer(digits.front() == '-' ? std::string(digits.substr(1))
                                                          : "-" + std::string(digits));
    }
    const auto small = small_integer(value);
    if (!small) return failure(fmt::format("bad operand type for unary -: '{}'", type_name(value)));
    if (*small == std::numeric_limits<std::int64_t>::min()) {
        return Value::exact_integer("9223372036854775808");
    }
    return Value::integer(-*small);
}

Result<Value> add(Interpreter& in, const Value& a, const Value& b) {
    if (a.is(Kind::string) && b.is(Kind::string)) return join_two(in, a, b);
    if ((is_list(a) && is_list(b)) || (is_tuple(a) && is_tuple(b))) {
        BLOOM_OK(in.budget().spend(a.size() + b.size()));
        std::vector<Value> items = items_of(a);
        items.insert(items.end(), items_of(b).begin(), items_of(b).end());
        return make_sequence(std::move(items), a.as<SequenceObject>().form, is_list(a));
    }
    return operand_failure("+", a, b);
}

Result<Value> binary(Interpreter& in, Op op, const Value& a, const Value& b) {
    if (op == Op::mod && a.is(Kind::string)) return format_percent(in, a, b);
    if (a.is(Kind::undefined)) return undefined_failure(a);
    if (b.is(Kind::undefined)) return undefined_failure(b);
    if (is_number(a) && is_number(b)) {
        if (a.is(Kind::floating) || b.is(Kind::floating)) {
            return float_arithmetic(op, to_double(a), to_double(b));
        }
        const auto x = small_integer(a);
        const auto y = small_integer(b);
        if (!x || !y) return overflow_failure();
        return integer_arithmetic(op, *x, *y);
    }
    if (op == Op::add) return add(in, a, b);
    if (op == Op::mul) {
        const auto repeatable = [](const Value& v) {
            return v.is(Kind::string) || is_list(v) || is_tuple(v);
        };
        if (const auto n = small_integer(b); n && repeatable(a)) return repeat(in, a, *n);
        if (const auto n = small_integer(a); n && repeatable(b)) return repeat(in, b, *n);
    }
    return operand_failure(symbol(op), a, b);
}

Result<bool> equals(Interpreter& in, const Value& a, const Value& b, std::uint32_t depth) {
    if (depth > kMaxValueDepth) return Error{Code::limit_reached, "values are nested too deeply"};
    BLOOM_OK(in.budget().spend(1));
    if (is_number(a) && is_number(b)) {
        return !is_nan(a) && !is_nan(b) && order_numbers(a, b) == 0;
    }
    if (a.kind() != b.kind()) return false;
    switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
        return true;
    case Kind::string:
        BLOOM_OK(in.budget().spend_bytes(std::min(a.text().size(), b.text().size())));
        return a.text() == b.text();
    case Kind::sequence: {
        const auto& x = a.as<SequenceObject>();
        const auto& y = b.as<SequenceObject>();
        if (x.form != y.form || x.items.size() != y.items.size()) return false;
        for (std::size_t i = 0; i < x.items.size(); ++i) {
            BLOOM_TRY(const bool same, equals(in, x.items[i], y.items[i], depth + 1));
            if (!same) return false;
        }
        return true;
    }
    case Kind::dict: {
        const auto& x = a.as<DictObject>();
        const auto& y = b.as<DictObject>();
        if (x.members.size() != y.members.size()) return false;
        for (const auto& [key, value] : x.members) {
            const Value* other = y.find(key);
            if (other == nullptr) return false;
            BLOOM_TRY(const bool same, equals(in, value, *other, depth + 1));
            if (!same) return false;
        }
        return true;
    }
    default:
        return a.object() == b.object();
    }
}

Result<int> order(Interpreter& in, const Value& a, const Value& b, std::uint32_t depth) {
    if (depth > kMaxValueDepth) return Error{Code::limit_reached, "values are nested too deeply"};
    BLOOM_OK(in.budget().spend(1));
    if (a.is(Kind::undefined)) return undefined_failure(a);
    if (b.is(Kind::undefined)) return undefined_failure(b);
    if (is_number(a) && is_number(b)) return order_numbers(a, b);
    if (a.is(Kind::string) && b.is(Kind::string)) {
        BLOOM_OK(in.budget().spend_bytes(std::min(a.text().size(), b.text().size())));
        const int sign = a.text().compare(b.text()); // UTF-8 sorts as its code points do
        return sign < 0 ? -1 : sign > 0 ? 1 : 0;
    }
    if ((is_list(a) && is_list(b)) || (is_tuple(a) && is_tuple(b))) {
        const std::size_t n = std::min(a.size(), b.size());
        for (std::size_t i = 0; i < n; ++i) {
            BLOOM_TRY(const bool same, equals(in, items_of(a)[i], items_of(b)[i], depth + 1));
            if (!same) return order(in, items_of(a)[i], items_of(b)[i], depth + 1);
        }
        return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
    }
    return failure(fmt::format("'<' not supported between instances of '{}' and '{}'", type_name(a),
                               type_name(b)));
}

Result<bool> compare(Interpreter& in, Op op, const Value& a, const Value& b) {
    switch (op) {
    case Op::eq:
        return equals(in, a, b);
    case Op::ne: {
        BLOOM_TRY(const bool same, equals(in, a, b));
        return !same;
    }
    case Op::in:
        return contains(in, b, a);
    case Op::not_in: {
        BLOOM_TRY(const bool found, contains(in, b, a));
        return !found;
    }
    default:
        break;
    }
    BLOOM_TRY(const int sign, order(in, a, b));
    if (is_nan(a) || is_nan(b)) return false;
    switch (op) {
    case Op::lt:
        return sign < 0;
    case Op::le:
        return sign <= 0;
    case Op::gt:
        return sign > 0;
    default:
        return sign >= 0;
    }
}

Result<bool> contains(Interpreter& in, const Value& container, const Value& item) {
    if (container.is(Kind::string)) {
        if (!item.is(Kind::string)) {
            return failure(fmt::format("'in <string>' requires string as left operand, not {}",
                                       type_name(item)));
        }
        BLOOM_OK(in.budget().spend_bytes(container.text().size()));
        return container.text().find(item.text()) != std::string_view::npos;
    }
    if (container.is(Kind::dict)) {
        if (item.is(Kind::dict) || is_list(item)) {
            return failure(fmt::format("unhashable type: '{}'", type_name(item)));
        }
        return container.as<DictObject>().find(item) != nullptr;
    }
    if (container.is(Kind::generator)) {
        auto& rest = container.as<GeneratorObject>();
        while (rest.next < rest.items.size()) {
            BLOOM_TRY(const bool same, equals(in, rest.items[rest.next++], item));
            if (same) return true;
        }
        return false;
    }
    BLOOM_TRY(const std::vector<Value> items, iterate(in, container));
    for (const Value& candidate : items) {
        BLOOM_TRY(const bool same, equals(in, candidate, item));
        if (same) return true;
    }
    return false;
}

Result<std::vector<Value>> iterate(Interpreter& in, const Value& value) {
    std::vector<Value> out;
    switch (value.kind()) {
    case Kind::undefined:
        return out;
    case Kind::string:
        BLOOM_OK(in.budget().spend(value.text().size()));
        return characters(value);
    case Kind::sequence:
        BLOOM_OK(in.budget().spend(value.size()));
        return items_of(value);
    case Kind::dict:
        BLOOM_OK(in.budget().spend(value.size()));
        out.reserve(value.size());
        for (const auto& member : value.as<DictObject>().members)
            out.push_back(member.first);
        return out;
    case Kind::generator: {
        auto& rest = value.as<GeneratorObject>();
        BLOOM_OK(in.budget().spend(rest.items.size()));
        out.assign(rest.items.begin() + static_cast<std::ptrdiff_t>(rest.next), rest.items.end());
        rest.next = rest.items.size();
        return out;
    }
    default:
        return failure(fmt::format("'{}' object is not iterable", type_name(value)));
    }
}

Result<std::int64_t> length(const Value& value) {
    switch (value.kind()) {
    case Kind::undefined:
        return 0;
    case Kind::string:
        return static_cast<std::int64_t>(count_code_points(value.text()));
    case Kind::sequence:
    case Kind::dict:
        return static_cast<std::int64_t>(value.size());
    case Kind::loop:
        return static_cast<std::int64_t>(value.as<LoopObject>().items.size());
    default:
        return failure(fmt::format("object of type '{}' has no len()", type_name(value)));
    }
}

} // namespace bloom::text::jinja
