#include <charconv>
#include <limits>

#include <bloom/base/check.hpp>

#include "text/jinja/objects.hpp"

namespace bloom::text::jinja {
namespace {

constexpr std::size_t kIndexFrom = 24; // members; below, a scan is faster than a tree

/// Equality of dict keys: numbers by value (True is 1), the rest by kind and content.
bool same_key(const Value& a, const Value& b) noexcept {
    const auto number = [](const Value& v) { return v.is(Kind::boolean) || v.is(Kind::integer); };
    if (number(a) && number(b)) {
        const std::int64_t x = a.is(Kind::boolean) ? a.as_boolean() : a.as_integer();
        const std::int64_t y = b.is(Kind::boolean) ? b.as_boolean() : b.as_integer();
        return x == y;
    }
    if (a.kind() != b.kind()) return false;
    switch (a.kind()) {
    case Kind::none:
    case Kind::undefined:
        return true;
    case Kind::floating:
        return a.as_floating() == b.as_floating();
    case Kind::string:
    case Kind::big_integer:
        return a.text() == b.text();
    default:
        return a.object() == b.object();
    }
}

} // namespace

Value Value::undefined(const std::string* name) noexcept {
    Value out;
    out.scalar_.name = name;
    return out;
}

Value Value::none() noexcept {
    Value out;
    out.kind_ = Kind::none;
    return out;
}

Value Value::boolean(bool value) noexcept {
    Value out;
    out.kind_ = Kind::boolean;
    out.scalar_.boolean = value;
    return out;
}

Value Value::integer(std::int64_t value) noexcept {
    Value out;
    out.kind_ = Kind::integer;
    out.scalar_.integer = value;
    return out;
}

Value Value::floating(double value) noexcept {
    Value out;
    out.kind_ = Kind::floating;
    out.scalar_.floating = value;
    return out;
}

Value Value::exact_integer(std::string_view digits) {
    const bool negative = digits.starts_with('-');
    std::string_view magnitude = digits.substr(negative ? 1 : 0);
    while (magnitude.size() > 1 && magnitude.front() == '0')
        magnitude.remove_prefix(1);
    std::string canonical = negative && magnitude != "0" ? "-" : "";
    canonical += magnitude;
    std::int64_t small = 0;
    const auto [end, error] =
        std::from_chars(canonical.data(), canonical.data() + canonical.size(), small);
    if (error == std::errc{} && end == canonical.data() + canonical.size()) return integer(small);
    auto big = std::make_shared<BigObject>();
    big->digits = std::move(canonical);
    return {Kind::big_integer, std::move(big)};
}

Value Value::string(std::string text, Origin origin) {
    auto object = std::make_shared<StringObject>();
    BLOOM_CHECK(text.size() < std::numeric_limits<std::uint32_t>::max());
    object->text = std::move(text);
    if (origin == Origin::user && !object->text.empty()) {
        object->user.push_back({0, static_cast<std::uint32_t>(object->text.size())});
    }
    return {Kind::string, std::move(object)};
}

Value Value::list(std::vector<Value> items) {
    return make_sequence(std::move(items), Form::list);
}

Value Value::dict(std::vector<std::pair<Value, Value>> members) {
    auto object = std::make_shared<DictObject>();
    object->members.reserve(members.size());
    for (auto& [key, value] : members)
        object->set(std::move(key), std::move(value));
    return {Kind::dict, std::move(object)};
}

std::string_view Value::text() const noexcept {
    if (kind_ == Kind::string) return as<StringObject>().text;
    if (kind_ == Kind::big_integer) return as<BigObject>().digits;
    return {};
}

const Value* Value::find(std::string_view key) const noexcept {
    return kind_ == Kind::dict ? as<DictObject>().find(key) : nullptr;
}

std::size_t Value::size() const noexcept {
    if (kind_ == Kind::sequence) return as<SequenceObject>().items.size();
    if (kind_ == Kind::dict) return as<DictObject>().members.size();
    return 0;
}

std::uint32_t Value::depth() const noexcept {
    return object_ ? object_->depth : 1;
}

const Value* DictObject::find(std::string_view key) const noexcept {
    if (!index.empty()) {
        const auto at = index.find(key);
        return at == index.end() ? nullptr : &members[at->second].second;
    }
    for (const auto& [name, value] : members) {
        if (name.is(Kind::string) && name.text() == key) return &value;
    }
    return nullptr;
}

const Value* DictObject::find(const Value& key) const noexcept {
    if (key.is(Kind::string)) return find(key.text());
    for (const auto& [name, value] : members) {
        if (same_key(name, key)) return &value;
    }
    return nullptr;
}

void DictObject::set(Value key, Value value) {
    deepen(value);
    deepen(key);
    if (const Value* old = find(key)) {
        *const_cast<Value*>(old) = std::move(value); // ours: `find` is const for the readers' sake
        return;
    }
    members.emplace_back(std::move(key), std::move(value));
    if (members.size() == kIndexFrom) {
        for (std::size_t i = 0; i < members.size(); ++i) {
            if (members[i].first.is(Kind::string)) index.emplace(members[i].first.text(), i);
        }
    } else if (members.size() > kIndexFrom && members.back().first.is(Kind::string)) {
        index.emplace(members.back().first.text(), members.size() - 1);
    }
}

void StringBuilder::mark(std::size_t begin, std::size_t end) {
    if (begin >= end) return;
    const auto first = static_cast<std::uint32_t>(begin);
    const auto last = static_cast<std::uint32_t>(end);
    if (!user_.empty() && user_.back().end >= first) {
        if (last > user_.back().end) user_.back().end = last;
        return;
    }
    user_.push_back({first, last});
}

void StringBuilder::append(const StringObject& from, std::size_t begin, std::size_t end) {
    const std::size_t base = text_.size();
    text_.append(from.text, begin, end - begin);
    for (const ByteRange& range : from.user) {
        const std::size_t first = range.begin > begin ? range.begin : begin;
        const std::size_t last = range.end < end ? range.end : end;
        if (first < last) mark(base + first - begin, base + last - begin);
    }
}

Value StringBuilder::finish() && {
    auto object = std::make_shared<StringObject>();
    object->text = std::move(text_);
    object->user = std::move(user_);
    return {Kind::string, std::move(object)};
}

void StringBuilder::take(std::string& text, std::vector<ByteRange>& user) && {
    text = std::move(text_);
    user = std::move(user_);
}

Value make_sequence(std::vector<Value> items, Form form, bool is_mutable) {
    auto object = std::make_shared<SequenceObject>();
    object->items = std::move(items);
    object->form = form;
    object->is_mutable = is_mutable;
    for (const Value& item : object->items)
        object->deepen(item);
    return {Kind::sequence, std::move(object)};
}

Value make_generator(std::vector<Value> items) {
    auto object = std::make_shared<GeneratorObject>();
    object->items = std::move(items);
    for (const Value& item : object->items)
        object->deepen(item);
    return {Kind::generator, std::move(object)};
}

Value make_pair(Value first, Value second) {
    std::vector<Value> items;
    items.reserve(2);
    items.push_back(std::move(first));
    items.push_back(std::move(second));
    return make_sequence(std::move(items), Form::tuple);
}

Value substring(const Value& text, std::size_t begin, std::size_t end) {
    const StringObject& from = string_of(text);
    if (begin == 0 && end == from.text.size()) return text;
    StringBuilder out;
    out.append(from, begin, end);
    return std::move(out).finish();
}

} // namespace bloom::text::jinja
