#include <algorithm>
#include <charconv>

#include <bloom/base/text.hpp>

#include "text/jinja/interpreter.hpp"
#include "text/jinja/merge_sort.hpp"
#include "text/jinja/operations.hpp"
#include "text/jinja/python_text.hpp"
#include "text/jinja/string_ops.hpp"
#include "text/jinja/unicode.hpp"

/// Filters over sequences and mappings.
namespace bloom::text::jinja {
namespace {

/// An attribute path such as "function.name" or "0.id"; digits are indices.
Result<Value> follow(Interpreter& in, Value item, const Value& path, const Value* fallback) {
    if (!path.is(Kind::string)) {
        BLOOM_TRY(item, get_item(in, item, path));
        return item.is(Kind::undefined) && fallback != nullptr ? *fallback : item;
    }
    std::string_view rest = path.text();
    for (;;) {
        const std::size_t dot = rest.find('.');
        const std::string_view part = rest.substr(0, dot);
        std::int64_t index = 0;
        const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
        const bool number = !part.empty() && parsed.ec == std::errc{} &&
                            parsed.ptr == part.data() + part.size() && part.front() != '-';
        const Value key = number ? Value::integer(index) : Value::string(std::string(part));
        BLOOM_TRY(item, get_item(in, item, key));
        if (item.is(Kind::undefined) && fallback != nullptr) item = *fallback;
        if (dot == std::string_view::npos) return item;
        rest.remove_prefix(dot + 1);
    }
}

bool given(const Value* value) noexcept {
    return value != nullptr && !value->is(Kind::none);
}

/// What items are compared by: an attribute if named, lower case unless case matters.
Result<Value> sort_key(Interpreter& in, const Value& item, const Value* attribute,
                       bool case_sensitive) {
    Value key = item;
    if (given(attribute)) {
        BLOOM_TRY(key, follow(in, item, *attribute, nullptr));
    }
    if (!case_sensitive && key.is(Kind::string)) {
        BLOOM_OK(in.budget().spend_bytes(key.text().size()));
        return Value::string(lowered(key.text()));
    }
    return key;
}

struct Keyed {
    Value key;
    Value item;
};

Result<> sort_keyed(Interpreter& in, std::vector<Keyed>& items, bool reverse) {
    Result<> failed;
    // After a failure everything compares equal, which ends the sort soon and safely.
    merge_sort(items, [&](const Keyed& a, const Keyed& b) {
        if (!failed) return false;
        const auto sign = order(in, a.key, b.key);
        if (!sign) {
            failed = std::unexpected(sign.error());
            return false;
        }
        return reverse ? *sign > 0 : *sign < 0;
    });
    return failed;
}

Result<Value> filter_length(Interpreter& in, const Value& input, CallArguments&) {
    BLOOM_OK(in.budget().spend_bytes(input.text().size()));
    BLOOM_TRY(const std::int64_t n, length(input));
    return Value::integer(n);
}

Result<Value> filter_default(Interpreter&, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"default_value", "boolean"};
    BLOOM_TRY(const auto bound, match_arguments(args, "default", kNames));
    const bool by_truth = bound[1] != nullptr && truthy(*bound[1]);
    if (input.is(Kind::undefined) || (by_truth && !truthy(input))) {
        return bound[0] != nullptr ? *bound[0] : Value::string("");
    }
    return input;
}

Result<Value> filter_first(Interpreter& in, const Value& input, CallArguments&) {
    if (input.is(Kind::generator)) {
        auto& rest = input.as<GeneratorObject>();
        return rest.next < rest.items.size() ? rest.items[rest.next++] : Value();
    }
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    return items.empty() ? Value() : items.front();
}

Result<Value> filter_last(Interpreter& in, const Value& input, CallArguments&) {
    if (input.is(Kind::generator)) return failure("'generator' object is not reversible");
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    return items.empty() ? Value() : items.back();
}

Result<Value> filter_join(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"d", "attribute"};
    BLOOM_TRY(const auto bound, match_arguments(args, "join", kNames));
    BLOOM_TRY(std::vector<Value> items, iterate(in, input));
    if (given(bound[1])) {
        for (Value& item : items) {
            BLOOM_TRY(item, follow(in, item, *bound[1], nullptr));
        }
    }
    return join(in, items, bound[0] != nullptr ? *bound[0] : Value::string(""));
}

Result<Value> filter_list(Interpreter& in, const Value& input, CallArguments&) {
    BLOOM_TRY(std::vector<Value> items, iterate(in, input));
    return make_sequence(std::move(items), Form::list, true);
}

Result<Value> filter_items(Interpreter& in, const Value& input, CallArguments&) {
    if (input.is(Kind::undefined)) return make_generator({});
    if (!input.is(Kind::dict)) return failure("can only get item pairs from a mapping");
    BLOOM_OK(in.budget().spend(input.size()));
    std::vector<Value> pairs;
    pairs.reserve(input.size());
    for (const auto& [key, value] : input.as<DictObject>().members) {
        pairs.push_back(make_pair(key, value));
    }
    return make_generator(std::move(pairs));
}

Result<Value> filter_dictsort(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"case_sensitive", "by", "reverse"};
    BLOOM_TRY(const auto bound, match_arguments(args, "dictsort", kNames));
    if (input.is(Kind::undefined)) return undefined_failure(input);
    if (!input.is(Kind::dict)) {
        return failure(fmt::format("'{}' object has no attribute 'items'", type_name(input)));
    }
    const bool sensitive = bound[0] != nullptr && truthy(*bound[0]);
    const std::string_view by = bound[1] == nullptr ? "key" : bound[1]->text();
    if (by != "key" && by != "value") return failure("dictsort() sorts by key or value");
    BLOOM_OK(in.budget().spend(input.size()));
    std::vector<Keyed> order_of;
    for (const auto& [key, value] : input.as<DictObject>().members) {
        BLOOM_TRY(Value sort_by, sort_key(in, by == "key" ? key : value, nullptr, sensitive));
        order_of.push_back({std::move(sort_by), make_pair(key, value)});
    }
    BLOOM_OK(sort_keyed(in, order_of, bound[2] != nullptr && truthy(*bound[2])));
    std::vector<Value> out;
    for (Keyed& keyed : order_of)
        out.push_back(std::move(keyed.item));
    return make_sequence(std::move(out), Form::list, true);
}

Result<Value> filter_sort(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"reverse", "case_sensitive",
                                                            "attribute"};
    BLOOM_TRY(const auto bound, match_arguments(args, "sort", kNames));
    const bool sensitive = bound[1] != nullptr && truthy(*bound[1]);
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    std::vector<Keyed> order_of;
    for (const Value& item : items) {
        Value key;
        if (given(bound[2]) && bound[2]->is(Kind::string)) {
            // "a,b" sorts by a, then by b.
            std::vector<Value> keys;
            std::string_view rest = bound[2]->text();
            for (;;) {
                const std::size_t comma = rest.find(',');
                const Value path = Value::string(std::string(rest.substr(0, comma)));
                BLOOM_TRY(Value part, sort_key(in, item, &path, sensitive));
                keys.push_back(std::move(part));
                if (comma == std::string_view::npos) break;
                rest.remove_prefix(comma + 1);
            }
            key = make_sequence(std::move(keys), Form::list);
        } else {
            BLOOM_TRY(key, sort_key(in, item, bound[2], sensitive));
        }
        order_of.push_back({std::move(key), item});
    }
    BLOOM_OK(sort_keyed(in, order_of, bound[0] != nullptr && truthy(*bound[0])));
    std::vector<Value> out;
    for (Keyed& keyed : order_of)
        out.push_back(std::move(keyed.item));
    return make_sequence(std::move(out), Form::list, true);
}

Result<Value> filter_unique(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"case_sensitive", "attribute"};
    BLOOM_TRY(const auto bound, match_arguments(args, "unique", kNames));
    const bool sensitive = bound[0] != nullptr && truthy(*bound[0]);
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    std::vector<Value> seen;
    std::vector<Value> out;
    for (const Value& item : items) {
        BLOOM_TRY(Value key, sort_key(in, item, bound[1], sensitive));
        bool fresh = true;
        for (std::size_t i = 0; fresh && i < seen.size(); ++i) {
            BLOOM_TRY(const bool same, equals(in, seen[i], key));
            fresh = !same;
        }
        if (!fresh) continue;
        seen.push_back(std::move(key));
        out.push_back(item);
    }
    return make_generator(std::move(out));
}

template <bool largest>
Result<Value> filter_extreme(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"case_sensitive", "attribute"};
    BLOOM_TRY(const auto bound, match_arguments(args, largest ? "max" : "min", kNames));
    const bool sensitive = bound[0] != nullptr && truthy(*bound[0]);
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    Value best;
    Value best_key;
    for (std::size_t i = 0; i < items.size(); ++i) {
        BLOOM_TRY(Value key, sort_key(in, items[i], bound[1], sensitive));
        if (i > 0) {
            BLOOM_TRY(const int sign, order(in, key, best_key));
            if (largest ? sign <= 0 : sign >= 0) continue;
        }
        best = items[i];
        best_key = std::move(key);
    }
    return best;
}

Result<Value> filter_sum(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"attribute", "start"};
    BLOOM_TRY(const auto bound, match_arguments(args, "sum", kNames));
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    Value total = bound[1] != nullptr ? *bound[1] : Value::integer(0);
    for (const Value& item : items) {
        Value part = item;
        if (given(bound[0])) {
            BLOOM_TRY(part, follow(in, item, *bound[0], nullptr));
        }
        BLOOM_TRY(total, binary(in, Op::add, total, part));
    }
    return total;
}

Result<Value> filter_reverse(Interpreter& in, const Value& input, CallArguments&) {
    if (input.is(Kind::string)) {
        return get_slice(in, input, Value::none(), Value::none(), Value::integer(-1));
    }
    BLOOM_TRY(std::vector<Value> items, iterate(in, input));
    std::reverse(items.begin(), items.end());
    return make_generator(std::move(items));
}

Result<Value> filter_map(Interpreter& in, const Value& input, CallArguments& args) {
    BLOOM_TRY(std::vector<Value> items, iterate(in, input));
    if (args.positional.empty() && !args.named.empty()) {
        static constexpr std::array<std::string_view, 2> kNames{"attribute", "default"};
        BLOOM_TRY(const auto bound, match_arguments(args, "map", kNames, 1));
        const Value* fallback = given(bound[1]) ? bound[1] : nullptr;
        for (Value& item : items) {
            BLOOM_TRY(item, follow(in, item, *bound[0], fallback));
        }
        return make_generator(std::move(items));
    }
    if (args.positional.empty()) return failure("map requires a filter argument");
    const Value name = args.positional.front();
    for (Value& item : items) {
        CallArguments rest{{args.positional.begin() + 1, args.positional.end()}, args.named};
        BLOOM_TRY(item, in.apply_filter(name, item, rest));
    }
    return make_generator(std::move(items));
}

/// select, reject, selectattr and rejectattr.
template <bool keep_matches, bool by_attribute>
Result<Value> filter_select(Interpreter& in, const Value& input, CallArguments& args) {
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    if (by_attribute && args.positional.empty())
        return failure("missing parameter for attribute name");
    const std::size_t skip = by_attribute ? 1 : 0;
    std::vector<Value> out;
    for (const Value& item : items) {
        Value subject = item;
        if (by_attribute) {
            BLOOM_TRY(subject, follow(in, item, args.positional[0], nullptr));
        }
        bool holds = truthy(subject);
        if (args.positional.size() > skip) {
            const auto from = args.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1;
            CallArguments rest{{from, args.positional.end()}, args.named};
            BLOOM_TRY(holds, in.apply_test(args.positional[skip], subject, rest));
        }
        BLOOM_OK(in.budget().spend(1));
        if (holds == keep_matches) out.push_back(item);
    }
    return make_generator(std::move(out));
}

Result<Value> filter_attr(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"name"};
    BLOOM_TRY(const auto bound, match_arguments(args, "attr", kNames, 1));
    if (input.is(Kind::undefined)) return undefined_failure(input);
    if (!bound[0]->is(Kind::string)) return Value();
    // Attributes only: the member of a mapping does not count here.
    if (input.is(Kind::dict) && find_method(input, bound[0]->text()) == nullptr) return Value();
    const std::string name(bound[0]->text());
    BLOOM_TRY(Value found, get_attribute(in, input, name));
    return found.is(Kind::undefined) ? Value() : found; // `name` does not outlive this call
}

Result<Value> filter_batch(Interpreter& in, const Value& input, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"linecount", "fill_with"};
    BLOOM_TRY(const auto bound, match_arguments(args, "batch", kNames, 1));
    const auto n = small_integer(*bound[0]);
    if (!n || *n < 1 || *n > kMaxRange) return failure("batch() takes a positive integer");
    BLOOM_TRY(const std::vector<Value> items, iterate(in, input));
    std::vector<Value> out;
    for (std::size_t at = 0; at < items.size(); at += static_cast<std::size_t>(*n)) {
        const std::size_t end = std::min(items.size(), at + static_cast<std::size_t>(*n));
        std::vector<Value> line(items.begin() + static_cast<std::ptrdiff_t>(at),
                                items.begin() + static_cast<std::ptrdiff_t>(end));
        if (given(bound[1])) line.resize(static_cast<std::size_t>(*n), *bound[1]);
        BLOOM_OK(in.budget().spend(line.size()));
        out.push_back(make_sequence(std::move(line), Form::list, true));
    }
    return make_generator(std::move(out));
}

constexpr NamedFn<FilterFn> kSequenceFilters[] = {
    {"length", filter_length},
    {"count", filter_length},
    {"default", filter_default},
    {"d", filter_default},
    {"first", filter_first},
    {"last", filter_last},
    {"join", filter_join},
    {"list", filter_list},
    {"items", filter_items},
    {"dictsort", filter_dictsort},
    {"sort", filter_sort},
    {"unique", filter_unique},
    {"min", filter_extreme<false>},
    {"max", filter_extreme<true>},
    {"sum", filter_sum},
    {"reverse", filter_reverse},
    {"map", filter_map},
    {"select", filter_select<true, false>},
    {"reject", filter_select<false, false>},
    {"selectattr", filter_select<true, true>},
    {"rejectattr", filter_select<false, true>},
    {"attr", filter_attr},
    {"batch", filter_batch},
};

} // namespace

FilterFn find_sequence_filter(std::string_view name) noexcept {
    return find_in(kSequenceFilters, name);
}

} // namespace bloom::text::jinja
