#include "text/grammar/json_schema_value.hpp"

#include <algorithm>
#include <numeric>

#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::text::schema {

/// Copies a parsed text into a Document. Recursion is bounded by the parser's depth.
struct DocumentReader {
    std::deque<Value>& values;

    Result<const Value*> add(const json::Value& from, const Value* parent, std::string step) {
        if (values.size() >= kMaxSchemaValues) {
            return Error{Code::too_large, "the schema has more than " +
                                              std::to_string(kMaxSchemaValues) + " values"};
        }
        Value& to = values.emplace_back();
        to.id = static_cast<std::uint32_t>(values.size() - 1);
        to.parent = parent;
        to.step = std::move(step);
        BLOOM_OK(fill(to, from));
        return &to;
    }

private:
    Result<> fill(Value& to, const json::Value& from) {
        std::string digits;
        switch (from.kind()) {
        case json::Kind::null:
            return {};
        case json::Kind::boolean:
            to.kind = ValueKind::boolean;
            to.truth = *from.as_bool();
            return {};
        case json::Kind::integer:
            json::append_int(digits, *from.as_int64());
            break;
        case json::Kind::unsigned_integer:
            json::append_uint(digits, *from.as_uint64());
            break;
        case json::Kind::real:
            json::append_double(digits, *from.as_double());
            break;
        case json::Kind::string:
            to.kind = ValueKind::string;
            to.text = *from.as_string();
            return {};
        case json::Kind::array:
            return array(to, *from.as_array());
        case json::Kind::object:
            return object(to, *from.as_object());
        }
        to.kind = ValueKind::number;
        to.number = Decimal::parse(digits);
        return {};
    }

    Result<> array(Value& to, const json::Array& from) {
        to.kind = ValueKind::array;
        for (const json::Value v : from) {
            BLOOM_TRY(const Value* item, add(v, &to, std::to_string(to.items.size())));
            to.items.push_back(item);
        }
        return {};
    }

    Result<> object(Value& to, const json::Object& from) {
        to.kind = ValueKind::object;
        for (const json::Member m : from) {
            BLOOM_TRY(const Value* value, add(m.value, &to, std::string(m.key)));
            to.members.push_back({std::string(m.key), value});
        }
        to.by_key.resize(to.members.size());
        std::iota(to.by_key.begin(), to.by_key.end(), 0U);
        const auto key = [&](std::uint32_t i) -> const std::string& { return to.members[i].key; };
        // Of equal keys the later one comes last.
        std::ranges::sort(to.by_key, [&](std::uint32_t a, std::uint32_t b) {
            const int c = key(a).compare(key(b));
            return c != 0 ? c < 0 : a < b;
        });
        const bool twice = std::ranges::adjacent_find(to.by_key, {}, key) != to.by_key.end();
        if (twice) forget_earlier(to);
        return {};
    }

    static void forget_earlier(Value& to) {
        std::vector<bool> counts(to.members.size(), true);
        for (std::size_t i = 0; i + 1 < to.by_key.size(); ++i) {
            if (to.members[to.by_key[i]].key == to.members[to.by_key[i + 1]].key) {
                counts[to.by_key[i]] = false;
            }
        }
        std::vector<Value::Member> members;
        for (std::size_t i = 0; i < counts.size(); ++i) {
            if (counts[i]) members.push_back(std::move(to.members[i]));
        }
        to.members = std::move(members);
        to.by_key.resize(to.members.size());
        std::iota(to.by_key.begin(), to.by_key.end(), 0U);
        std::ranges::sort(to.by_key, {}, [&](std::uint32_t i) { return to.members[i].key; });
    }
};

const Value* Value::find(std::string_view key) const noexcept {
    const auto key_of = [&](std::uint32_t i) -> std::string_view { return members[i].key; };
    const auto it = std::ranges::lower_bound(by_key, key, {}, key_of);
    return it != by_key.end() && members[*it].key == key ? members[*it].value : nullptr;
}

bool equal(const Value& a, const Value& b) {
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case ValueKind::null:
        return true;
    case ValueKind::boolean:
        return a.truth == b.truth;
    case ValueKind::number:
        return a.number == b.number;
    case ValueKind::string:
        return a.text == b.text;
    case ValueKind::array:
        return std::ranges::equal(a.items, b.items,
                                  [](const Value* x, const Value* y) { return equal(*x, *y); });
    case ValueKind::object:
        return a.members.size() == b.members.size() &&
               std::ranges::all_of(a.members, [&](const Value::Member& m) {
                   const Value* other = b.find(m.key);
                   return other != nullptr && equal(*m.value, *other);
               });
    }
    return false;
}

namespace {

void append_canonical(std::string& out, const Value& value) {
    switch (value.kind) {
    case ValueKind::null:
        out += 'n';
        break;
    case ValueKind::boolean:
        out += value.truth ? 't' : 'f';
        break;
    case ValueKind::number:
        out += value.number.text();
        break;
    case ValueKind::string:
        json::append_string(out, value.text);
        break;
    case ValueKind::array:
        out += '[';
        for (const Value* item : value.items) {
            append_canonical(out, *item);
            out += ',';
        }
        out += ']';
        break;
    case ValueKind::object:
        out += '{';
        for (const std::uint32_t i : value.by_key) {
            json::append_string(out, value.members[i].key);
            append_canonical(out, *value.members[i].value);
            out += ',';
        }
        out += '}';
        break;
    }
}

/// RFC 6901 section 3. Names are cut so that a message stays a sentence.
std::string escaped(std::string_view step) {
    constexpr std::size_t kLongest = 64;
    std::string out;
    for (const char c : step.substr(0, kLongest)) {
        if (c == '~') {
            out += "~0";
        } else if (c == '/') {
            out += "~1";
        } else {
            out += c;
        }
    }
    return step.size() > kLongest ? out + ".." : out;
}

} // namespace

std::string canonical(const Value& value) {
    std::string out;
    append_canonical(out, value);
    return out;
}

std::string pointer_to(const Value& value) {
    std::string out;
    for (const Value* v = &value; v->parent != nullptr; v = v->parent)
        out.insert(0, '/' + escaped(v->step));
    return '#' + out;
}

std::string pointer_to(const Value& value, std::string_view key) {
    return pointer_to(value) + '/' + escaped(key);
}

Result<Document> Document::parse(std::string_view text) {
    if (text.size() > kMaxSchemaBytes) {
        return Error{Code::too_large,
                     "the schema is longer than " + std::to_string(kMaxSchemaBytes) + " bytes"};
    }
    json::Parser parser(kMaxSchemaDepth);
    Result<json::Value> root = parser.parse(text);
    if (!root) return std::move(root).error().with_context("the schema cannot be read");
    Document out;
    BLOOM_OK(DocumentReader{out.values_}.add(*root, nullptr, {}));
    return out;
}

} // namespace bloom::text::schema
