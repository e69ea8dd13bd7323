#include "text/jinja/library.hpp"

#include <ctime>

#include "text/jinja/interpreter.hpp"
#include "text/jinja/operations.hpp"
#include "text/jinja/python_text.hpp"
#include "text/jinja/unicode.hpp"

/// Tests, global functions and the methods of lists, dicts and loops.
namespace bloom::text::jinja {
namespace {

// ---- tests

Result<const Value*> operand(const CallArguments& args, std::string_view test) {
    if (args.positional.size() != 1 || !args.named.empty()) {
        return failure(fmt::format("the test '{}' takes one operand", test));
    }
    return &args.positional[0];
}

template <Kind kind>
Result<bool> test_kind(Interpreter&, const Value& value, CallArguments&) {
    return value.is(kind);
}

Result<bool> test_defined(Interpreter&, const Value& value, CallArguments&) {
    return !value.is(Kind::undefined);
}

Result<bool> test_true(Interpreter&, const Value& value, CallArguments&) {
    return value.is(Kind::boolean) && value.as_boolean();
}

Result<bool> test_false(Interpreter&, const Value& value, CallArguments&) {
    return value.is(Kind::boolean) && !value.as_boolean();
}

Result<bool> test_integer(Interpreter&, const Value& value, CallArguments&) {
    return value.is(Kind::integer) || value.is(Kind::big_integer);
}

Result<bool> test_number(Interpreter&, const Value& value, CallArguments&) {
    return is_number(value); // booleans are numbers in Python
}

bool has_items(const Value& value) noexcept {
    return value.is(Kind::undefined) || value.is(Kind::string) || value.is(Kind::dict);
}

Result<bool> test_sequence(Interpreter&, const Value& value, CallArguments&) {
    if (value.is(Kind::sequence)) return value.as<SequenceObject>().form < Form::keys;
    return has_items(value);
}

Result<bool> test_iterable(Interpreter&, const Value& value, CallArguments&) {
    return has_items(value) || value.is(Kind::sequence) || value.is(Kind::generator) ||
           value.is(Kind::loop);
}

Result<bool> test_callable(Interpreter&, const Value& value, CallArguments&) {
    return value.is(Kind::callable) || value.is(Kind::undefined) || value.is(Kind::loop);
}

template <Op op>
Result<bool> test_compare(Interpreter& in, const Value& value, CallArguments& args) {
    BLOOM_TRY(const Value* const other, operand(args, "comparison"));
    return compare(in, op, value, *other);
}

Result<bool> test_same_as(Interpreter& in, const Value& value, CallArguments& args) {
    BLOOM_TRY(const Value* const other, operand(args, "sameas"));
    if (value.kind() != other->kind()) return false;
    if (value.is(Kind::sequence) || value.is(Kind::dict)) return value.object() == other->object();
    return equals(in, value, *other);
}

/// `value % by == rest`, which odd, even and divisibleby come down to.
Result<bool> has_rest(Interpreter& in, const Value& value, const Value& by, std::int64_t rest) {
    if (!is_number(value) && !value.is(Kind::undefined)) {
        return failure(fmt::format("this test wants a number, not '{}'", type_name(value)));
    }
    BLOOM_TRY(const Value remainder, binary(in, Op::mod, value, by));
    return equals(in, remainder, Value::integer(rest));
}

Result<bool> test_odd(Interpreter& in, const Value& value, CallArguments&) {
    return has_rest(in, value, Value::integer(2), 1);
}

Result<bool> test_even(Interpreter& in, const Value& value, CallArguments&) {
    return has_rest(in, value, Value::integer(2), 0);
}

Result<bool> test_divisible_by(Interpreter& in, const Value& value, CallArguments& args) {
    BLOOM_TRY(const Value* const by, operand(args, "divisibleby"));
    return has_rest(in, value, *by, 0);
}

/// str.isupper() and str.islower(): at least one cased letter and none of the other case.
bool all_case(std::string_view text, bool upper) noexcept {
    bool any = false;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint c = decode(text, at);
        if (upper ? is_lower(c.value) : is_upper(c.value)) return false;
        any = any || is_upper(c.value) || is_lower(c.value);
        at += c.n_bytes;
    }
    return any;
}

template <bool upper>
Result<bool> test_case(Interpreter& in, const Value& value, CallArguments&) {
    BLOOM_TRY(const Value text, to_string_value(value, in.budget()));
    return all_case(text.text(), upper);
}

Result<bool> test_filter(Interpreter&, const Value& value, CallArguments&) {
    return value.is(Kind::string) && find_filter(value.text()) != nullptr;
}

Result<bool> test_test(Interpreter&, const Value& value, CallArguments&) {
    return value.is(Kind::string) && find_test(value.text()) != nullptr;
}

constexpr NamedFn<TestFn> kTests[] = {
    {"defined", test_defined},
    {"undefined", test_kind<Kind::undefined>},
    {"none", test_kind<Kind::none>},
    {"boolean", test_kind<Kind::boolean>},
    {"string", test_kind<Kind::string>},
    {"mapping", test_kind<Kind::dict>},
    {"float", test_kind<Kind::floating>},
    {"integer", test_integer},
    {"number", test_number},
    {"true", test_true},
    {"false", test_false},
    {"sequence", test_sequence},
    {"iterable", test_iterable},
    {"callable", test_callable},
    {"eq", test_compare<Op::eq>},
    {"equalto", test_compare<Op::eq>},
    {"==", test_compare<Op::eq>},
    {"ne", test_compare<Op::ne>},
    {"!=", test_compare<Op::ne>},
    {"lt", test_compare<Op::lt>},
    {"lessthan", test_compare<Op::lt>},
    {"<", test_compare<Op::lt>},
    {"le", test_compare<Op::le>},
    {"<=", test_compare<Op::le>},
    {"gt", test_compare<Op::gt>},
    {"greaterthan", test_compare<Op::gt>},
    {">", test_compare<Op::gt>},
    {"ge", test_compare<Op::ge>},
    {">=", test_compare<Op::ge>},
    {"in", test_compare<Op::in>},
    {"sameas", test_same_as},
    {"odd", test_odd},
    {"even", test_even},
    {"divisibleby", test_divisible_by},
    {"upper", test_case<true>},
    {"lower", test_case<false>},
    {"filter", test_filter},
    {"test", test_test},
};

// ---- global functions

Result<Value> call_range(Interpreter& in, CallArguments& args) {
    if (args.positional.empty() || args.positional.size() > 3 || !args.named.empty()) {
        return failure("range() takes one to three arguments");
    }
    std::int64_t bounds[3] = {0, 0, 1};
    for (std::size_t i = 0; i < args.positional.size(); ++i) {
        const Value& value = args.positional[i];
        if (value.is(Kind::undefined)) return undefined_failure(value);
        const auto n = small_integer(value);
        if (!n) return failure(fmt::format("range() takes integers, not '{}'", type_name(value)));
        bounds[i] = *n;
    }
    if (args.positional.size() == 1) std::swap(bounds[0], bounds[1]);
    const auto [start, stop, step] = bounds;
    if (step == 0) return failure("range() arg 3 must not be zero");
    const __int128 span =
        step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
    const __int128 stride = step > 0 ? static_cast<__int128>(step) : -static_cast<__int128>(step);
    const __int128 n = span <= 0 ? 0 : (span + stride - 1) / stride;
    if (n > kMaxRange) {
        return Error{Code::limit_reached,
                     fmt::format("range() of more than {} elements", kMaxRange)};
    }
    BLOOM_OK(in.budget().spend(static_cast<std::uint64_t>(n)));
    std::vector<Value> items;
    items.reserve(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(n); ++i) {
        items.push_back(Value::integer(start + i * step));
    }
    return make_sequence(std::move(items), Form::range);
}

Result<std::vector<std::pair<Value, Value>>> members_from(Interpreter& in, CallArguments& args) {
    std::vector<std::pair<Value, Value>> members;
    if (args.positional.size() > 1) return failure("expected at most one positional argument");
    if (!args.positional.empty()) {
        const Value& from = args.positional[0];
        if (from.is(Kind::dict)) {
            members = from.as<DictObject>().members;
        } else {
            BLOOM_TRY(const std::vector<Value> pairs, iterate(in, from));
            for (const Value& pair : pairs) {
                BLOOM_TRY(const std::vector<Value> two, iterate(in, pair));
                if (two.size() != 2) return failure("expected pairs of key and value");
                members.emplace_back(two[0], two[1]);
            }
        }
    }
    BLOOM_OK(in.budget().spend(members.size() + args.named.size()));
    for (auto& [name, value] : args.named)
        members.emplace_back(Value::string(name), value);
    return members;
}

Result<Value> call_namespace(Interpreter& in, CallArguments& args) {
    BLOOM_TRY(auto members, members_from(in, args));
    auto space = std::make_shared<NamespaceObject>();
    for (auto& [key, value] : members)
        space->attributes.set(std::move(key), std::move(value));
    Value out(Kind::name_space, std::move(space));
    in.keep(out); // a namespace can come to hold itself
    return out;
}

Result<Value> call_dict(Interpreter& in, CallArguments& args) {
    BLOOM_TRY(auto members, members_from(in, args));
    return Value::dict(std::move(members));
}

Result<Value> call_raise(Interpreter& in, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"message"};
    BLOOM_TRY(const auto bound, match_arguments(args, "raise_exception", kNames, 1));
    BLOOM_TRY(const Value text, to_string_value(*bound[0], in.budget()));
    return Error{Code::invalid_argument, std::string(text.text())};
}

Result<Value> call_strftime(Interpreter& in, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"format"};
    static constexpr std::size_t kMaxFormatBytes = 256;
    BLOOM_TRY(const auto bound, match_arguments(args, "strftime_now", kNames, 1));
    if (!bound[0]->is(Kind::string)) return failure("strftime_now() takes a string");
    const std::string format(bound[0]->text());
    if (format.size() > kMaxFormatBytes) return failure("the format of strftime_now() is too long");
    const auto seconds = static_cast<std::time_t>(in.budget().limits().local_time_s);
    std::tm parts{};
    if (gmtime_r(&seconds, &parts) == nullptr) return failure("the time cannot be shown");
    std::array<char, 4096> buffer{};
    const std::size_t n = std::strftime(buffer.data(), buffer.size(), format.c_str(), &parts);
    return Value::string(std::string(buffer.data(), n));
}

constexpr NamedFn<FunctionFn> kFunctions[] = {
    {"range", call_range},           {"namespace", call_namespace},   {"dict", call_dict},
    {"raise_exception", call_raise}, {"strftime_now", call_strftime},
};

// ---- methods of dicts

Result<Value> dict_get(Interpreter&, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"key", "default"};
    BLOOM_TRY(const auto bound, match_arguments(args, "get", kNames, 1));
    const Value* found = self.as<DictObject>().find(*bound[0]);
    if (found != nullptr) return *found;
    return bound[1] != nullptr ? *bound[1] : Value::none();
}

template <Form form>
Result<Value> dict_view(Interpreter& in, const Value& self, CallArguments& args) {
    BLOOM_OK(match_arguments(args, "dict view", std::array<std::string_view, 0>{}));
    BLOOM_OK(in.budget().spend(self.size()));
    std::vector<Value> items;
    items.reserve(self.size());
    for (const auto& [key, value] : self.as<DictObject>().members) {
        items.push_back(form == Form::keys     ? key
                        : form == Form::values ? value
                                               : make_pair(key, value));
    }
    return make_sequence(std::move(items), form);
}

Result<Value> dict_copy(Interpreter&, const Value& self, CallArguments&) {
    return self;
}

constexpr NamedFn<MethodFn> kDictMethods[] = {
    {"get", dict_get},
    {"items", dict_view<Form::items>},
    {"keys", dict_view<Form::keys>},
    {"values", dict_view<Form::values>},
    {"copy", dict_copy},
};

// ---- methods of lists

Result<Value> list_index(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"value"};
    BLOOM_TRY(const auto bound, match_arguments(args, "index", kNames, 1));
    const std::vector<Value>& items = items_of(self);
    for (std::size_t i = 0; i < items.size(); ++i) {
        BLOOM_TRY(const bool same, equals(in, items[i], *bound[0]));
        if (same) return Value::integer(static_cast<std::int64_t>(i));
    }
    return failure("the value is not in the list");
}

Result<Value> list_count(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"value"};
    BLOOM_TRY(const auto bound, match_arguments(args, "count", kNames, 1));
    std::int64_t n = 0;
    for (const Value& item : items_of(self)) {
        BLOOM_TRY(const bool same, equals(in, item, *bound[0]));
        n += same ? 1 : 0;
    }
    return Value::integer(n);
}

/// The list, if the template made it itself. What the caller passed in stays as it is.
Result<SequenceObject*> writable(Interpreter& in, const Value& self) {
    auto& list = self.as<SequenceObject>();
    if (!list.is_mutable) return failure("this list cannot be changed");
    BLOOM_OK(in.budget().spend(1));
    in.keep(self); // it can come to hold itself
    return &list;
}

Result<Value> list_append(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"value"};
    BLOOM_TRY(const auto bound, match_arguments(args, "append", kNames, 1));
    BLOOM_TRY(SequenceObject* const list, writable(in, self));
    list->items.push_back(*bound[0]);
    list->deepen(*bound[0]);
    return Value::none();
}

Result<Value> list_extend(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"values"};
    BLOOM_TRY(const auto bound, match_arguments(args, "extend", kNames, 1));
    BLOOM_TRY(const std::vector<Value> more, iterate(in, *bound[0]));
    BLOOM_TRY(SequenceObject* const list, writable(in, self));
    for (const Value& item : more) {
        list->items.push_back(item);
        list->deepen(item);
    }
    return Value::none();
}

Result<Value> list_insert(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"index", "value"};
    BLOOM_TRY(const auto bound, match_arguments(args, "insert", kNames, 2));
    BLOOM_TRY(SequenceObject* const list, writable(in, self));
    const auto index = small_integer(*bound[0]);
    if (!index) return failure("insert() takes an integer");
    const auto n = static_cast<std::int64_t>(list->items.size());
    const std::int64_t at =
        *index < 0 ? std::max<std::int64_t>(*index + n, 0) : std::min(*index, n);
    BLOOM_OK(in.budget().spend(static_cast<std::uint64_t>(n - at)));
    list->items.insert(list->items.begin() + static_cast<std::ptrdiff_t>(at), *bound[1]);
    list->deepen(*bound[1]);
    return Value::none();
}

Result<Value> list_pop(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"index"};
    BLOOM_TRY(const auto bound, match_arguments(args, "pop", kNames));
    BLOOM_TRY(SequenceObject* const list, writable(in, self));
    const auto n = static_cast<std::int64_t>(list->items.size());
    const auto index =
        bound[0] == nullptr ? std::optional<std::int64_t>(-1) : small_integer(*bound[0]);
    if (!index) return failure("pop() takes an integer");
    const std::int64_t at = *index < 0 ? *index + n : *index;
    if (at < 0 || at >= n) return failure("pop index out of range");
    BLOOM_OK(in.budget().spend(static_cast<std::uint64_t>(n - at)));
    const auto position = list->items.begin() + static_cast<std::ptrdiff_t>(at);
    Value out = std::move(*position);
    list->items.erase(position);
    return out;
}

constexpr NamedFn<MethodFn> kListMethods[] = {
    {"index", list_index},   {"count", list_count},   {"append", list_append},
    {"extend", list_extend}, {"insert", list_insert}, {"pop", list_pop},
};

// ---- methods of loops

Result<Value> loop_cycle(Interpreter&, const Value& self, CallArguments& args) {
    if (args.positional.empty()) return failure("no items for cycling given");
    return args.positional[self.as<LoopObject>().index % args.positional.size()];
}

Result<Value> loop_changed(Interpreter& in, const Value& self, CallArguments& args) {
    auto& loop = self.as<LoopObject>();
    bool same = loop.changed.size() == args.positional.size() && !loop.changed.empty();
    for (std::size_t i = 0; same && i < loop.changed.size(); ++i) {
        BLOOM_TRY(same, equals(in, loop.changed[i], args.positional[i]));
    }
    if (same) return Value::boolean(false);
    in.keep(self); // it can come to hold itself
    loop.changed = args.positional;
    return Value::boolean(true);
}

constexpr NamedFn<MethodFn> kLoopMethods[] = {
    {"cycle", loop_cycle},
    {"changed", loop_changed},
};

} // namespace

TestFn find_test(std::string_view name) noexcept {
    return find_in(kTests, name);
}

FunctionFn find_function(std::string_view name) noexcept {
    return find_in(kFunctions, name);
}

FilterFn find_filter(std::string_view name) noexcept {
    const FilterFn found = find_text_filter(name);
    return found != nullptr ? found : find_sequence_filter(name);
}

MethodFn find_method(const Value& self, std::string_view name) noexcept {
    switch (self.kind()) {
    case Kind::string:
        return find_string_method(name);
    case Kind::dict:
        return find_in(kDictMethods, name);
    case Kind::sequence: {
        const Form form = self.as<SequenceObject>().form;
        if (form == Form::list) return find_in(kListMethods, name);
        if (form > Form::range) return nullptr;
        return name == "index" ? list_index : name == "count" ? list_count : nullptr;
    }
    case Kind::loop:
        return find_in(kLoopMethods, name);
    default:
        return nullptr;
    }
}

} // namespace bloom::text::jinja
