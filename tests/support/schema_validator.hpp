#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/json_tree.hpp"

namespace bloom::test {

/// A small JSON Schema validator, written from the specification and apart from the grammars: it
/// walks values instead of schemas, compares numbers as long doubles and matches patterns with
/// std::wregex. References are local pointers, identifiers and anchors are left out; what it does
/// not know makes it answer nothing (nullopt).
class SchemaValidator {
public:
    explicit SchemaValidator(const JsonTree& root) : root_(root) {
        const JsonTree* name = root.find("$schema");
        draft7_ = name != nullptr && name->text.find("draft-07") != std::string::npos;
    }

    std::optional<bool> validate(const JsonTree& value) {
        unknown_ = false;
        depth_ = 0;
        const bool good = holds(root_, value);
        return unknown_ ? std::nullopt : std::optional(good);
    }

    bool holds(const JsonTree& schema, const JsonTree& value) {
        if (schema.kind == JsonTree::Kind::boolean) return schema.truth;
        if (depth_ > 200) unknown_ = true;
        if (unknown_) return false;
        ++depth_;
        const bool good = object_holds(schema, value);
        --depth_;
        return good;
    }

    /// The schema that a reference means; nullptr and `unknown` where it is not a local pointer.
    const JsonTree* target(const JsonTree& ref) {
        std::string_view text = ref.text;
        if (!text.starts_with('#') || (text.size() > 1 && text[1] != '/') || text.contains('%')) {
            unknown_ = true;
            return nullptr;
        }
        const JsonTree* at = &root_;
        text.remove_prefix(1);
        while (!text.empty() && at != nullptr) {
            text.remove_prefix(1);
            const std::size_t end = std::min(text.find('/'), text.size());
            std::string step(text.substr(0, end));
            text.remove_prefix(end);
            for (std::size_t i = step.find('~'); i != std::string::npos; i = step.find('~', i + 1))
                step.replace(i, 2, step[i + 1] == '1' ? "/" : "~");
            if (at->kind == JsonTree::Kind::array) {
                const auto i = static_cast<std::size_t>(std::atoll(step.c_str()));
                at = i < at->items.size() ? &at->items[i] : nullptr;
            } else {
                at = at->find(step);
            }
        }
        if (at == nullptr) unknown_ = true;
        return at;
    }

    bool matches(const std::string& pattern, const std::string& text) {
        try {
            auto& compiled = patterns_[pattern];
            if (compiled == nullptr) {
                for (const std::string_view odd : {"\\p", "\\P", "\\c", "\\u{"})
                    unknown_ = unknown_ || pattern.contains(odd);
                compiled = std::make_unique<std::wregex>(wide(pattern));
            }
            return std::regex_search(wide(text), *compiled);
        } catch (const std::regex_error&) {
            unknown_ = true;
            return false;
        }
    }

    bool draft7() const { return draft7_; }

    static bool same(const JsonTree& a, const JsonTree& b) {
        if (a.kind != b.kind) return false;
        switch (a.kind) {
        case JsonTree::Kind::null:
            return true;
        case JsonTree::Kind::boolean:
            return a.truth == b.truth;
        case JsonTree::Kind::number:
            return number(a) == number(b);
        case JsonTree::Kind::string:
            return a.text == b.text;
        case JsonTree::Kind::array:
            return std::ranges::equal(a.items, b.items, same);
        case JsonTree::Kind::object:
            return a.members.size() == b.members.size() &&
                   std::ranges::all_of(a.members, [&](const auto& m) {
                       const JsonTree* other = b.find(m.first);
                       return other != nullptr && same(m.second, *other);
                   });
        }
        return false;
    }

private:
    static std::wstring wide(std::string_view text) {
        std::wstring out;
        for (std::size_t i = 0; i < text.size();) {
            const text::Char c = text::decode_char(text, i);
            out += static_cast<wchar_t>(c.cp);
            i += c.bytes;
        }
        return out;
    }

    static long double number(const JsonTree& v) { return std::strtold(v.text.c_str(), nullptr); }

    static bool is_type(const std::string& name, const JsonTree& v) {
        switch (v.kind) {
        case JsonTree::Kind::null:
            return name == "null";
        case JsonTree::Kind::boolean:
            return name == "boolean";
        case JsonTree::Kind::number:
            return name == "number" || (name == "integer" && std::floor(number(v)) == number(v));
        case JsonTree::Kind::string:
            return name == "string";
        case JsonTree::Kind::array:
            return name == "array";
        case JsonTree::Kind::object:
            return name == "object";
        }
        return false;
    }

    bool object_holds(const JsonTree& schema, const JsonTree& value) {
        static const std::set<std::string> kUnknown{
            "$dynamicRef", "$dynamicAnchor",   "$recursiveRef",         "$id",
            "$anchor",     "unevaluatedItems", "unevaluatedProperties", "dependencies"};
        const JsonTree* ref = schema.find("$ref");
        if (ref != nullptr && draft7_) {
            const JsonTree* to = target(*ref);
            return to != nullptr && holds(*to, value);
        }
        for (const auto& [key, unused] : schema.members) {
            if (kUnknown.contains(key)) unknown_ = true;
        }
        if (ref != nullptr) {
            const JsonTree* to = target(*ref);
            if (to == nullptr || !holds(*to, value)) return false;
        }
        if (!general(schema, value) || !logic(schema, value)) return false;
        switch (value.kind) {
        case JsonTree::Kind::number:
            return numbers(schema, value);
        case JsonTree::Kind::string:
            return strings(schema, value);
        case JsonTree::Kind::array:
            return arrays(schema, value);
        case JsonTree::Kind::object:
            return objects(schema, value);
        default:
            return true;
        }
    }

    bool general(const JsonTree& schema, const JsonTree& value) {
        if (const JsonTree* type = schema.find("type")) {
            const bool good = type->kind == JsonTree::Kind::string
                                  ? is_type(type->text, value)
                                  : std::ranges::any_of(type->items, [&](const JsonTree& t) {
                                        return is_type(t.text, value);
                                    });
            if (!good) return false;
        }
        if (const JsonTree* list = schema.find("enum")) {
            if (std::ranges::none_of(list->items,
                                     [&](const JsonTree& v) { return same(v, value); })) {
                return false;
            }
        }
        const JsonTree* constant = schema.find("const");
        return constant == nullptr || same(*constant, value);
    }

    bool logic(const JsonTree& schema, const JsonTree& value) {
        const auto n_good = [&](const JsonTree& list) {
            return std::ranges::count_if(list.items,
                                         [&](const JsonTree& s) { return holds(s, value); });
        };
        if (const JsonTree* all = schema.find("allOf")) {
            if (n_good(*all) != std::ssize(all->items)) return false;
        }
        if (const JsonTree* any = schema.find("anyOf")) {
            if (n_good(*any) == 0) return false;
        }
        if (const JsonTree* one = schema.find("oneOf")) {
            if (n_good(*one) != 1) return false;
        }
        if (const JsonTree* no = schema.find("not")) {
            if (holds(*no, value)) return false;
        }
        if (const JsonTree* condition = schema.find("if")) {
            const JsonTree* branch = schema.find(holds(*condition, value) ? "then" : "else");
            if (branch != nullptr && !holds(*branch, value)) return false;
        }
        return true;
    }

    bool numbers(const JsonTree& schema, const JsonTree& value) {
        const long double v = number(value);
        const auto test = [&](std::string_view key, auto good) {
            const JsonTree* bound = schema.find(key);
            return bound == nullptr || good(number(*bound));
        };
        return test("minimum", [&](long double b) { return v >= b; }) &&
               test("maximum", [&](long double b) { return v <= b; }) &&
               test("exclusiveMinimum", [&](long double b) { return v > b; }) &&
               test("exclusiveMaximum", [&](long double b) { return v < b; }) &&
               test("multipleOf", [&](long double b) {
                   // Whole numbers of units that both have: exact.
                   const auto exact = multiple(value.text, schema.find("multipleOf")->text);
                   if (exact) return *exact;
                   const long double q = v / b;
                   if (std::abs(q) > 1e15L) unknown_ = true; // no digits left behind the point
                   return std::abs(q - std::round(q)) <= 1e-12L * std::max(1.0L, std::abs(q));
               });
    }

    /// nullopt for numbers with exponents or too many digits.
    static std::optional<bool> multiple(const std::string& value, const std::string& step) {
        std::size_t places = 0;
        for (const std::string* text : {&value, &step}) {
            if (text->find_first_of("eE") != std::string::npos) return std::nullopt;
            const std::size_t point = text->find('.');
            if (point != std::string::npos) places = std::max(places, text->size() - point - 1);
        }
        __int128 units[2] = {0, 0};
        for (int i = 0; i < 2; ++i) {
            const std::string& text = i == 0 ? value : step;
            const std::size_t point = std::min(text.find('.'), text.size());
            std::string digits = text.substr(0, point);
            if (point < text.size()) digits += text.substr(point + 1);
            digits.append(places - (point < text.size() ? text.size() - point - 1 : 0), '0');
            if (digits.size() > 36) return std::nullopt;
            for (const char c : digits) {
                if (c != '-') units[i] = units[i] * 10 + (c - '0');
            }
        }
        return units[0] % units[1] == 0;
    }

    bool between(const JsonTree& schema, std::string_view least, std::string_view most,
                 std::size_t n) {
        const JsonTree* low = schema.find(least);
        const JsonTree* high = schema.find(most);
        const auto size = static_cast<long double>(n);
        return (low == nullptr || size >= number(*low)) &&
               (high == nullptr || size <= number(*high));
    }

    bool strings(const JsonTree& schema, const JsonTree& value) {
        if (!between(schema, "minLength", "maxLength", wide(value.text).size())) return false;
        const JsonTree* pattern = schema.find("pattern");
        return pattern == nullptr || matches(pattern->text, value.text);
    }

    bool arrays(const JsonTree& schema, const JsonTree& value) {
        if (!between(schema, "minItems", "maxItems", value.items.size())) return false;
        const JsonTree* items = schema.find("items");
        const JsonTree* prefix = draft7_ ? nullptr : schema.find("prefixItems");
        if (items != nullptr && items->kind == JsonTree::Kind::array) {
            prefix = items;
            items = schema.find("additionalItems");
        }
        for (std::size_t i = 0; i < value.items.size(); ++i) {
            const bool own = prefix != nullptr && i < prefix->items.size();
            const JsonTree* s = own ? &prefix->items[i] : items;
            if (s != nullptr && !holds(*s, value.items[i])) return false;
        }
        if (const JsonTree* contains = schema.find("contains")) {
            const auto n = static_cast<std::size_t>(std::ranges::count_if(
                value.items, [&](const JsonTree& v) { return holds(*contains, v); }));
            const bool counted = !draft7_ && schema.find("minContains") != nullptr;
            if (!counted && n == 0) return false;
            if (!draft7_ && !between(schema, "minContains", "maxContains", n)) return false;
        }
        const JsonTree* unique = schema.find("uniqueItems");
        if (unique == nullptr || !unique->truth) return true;
        for (std::size_t i = 0; i < value.items.size(); ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                if (same(value.items[i], value.items[j])) return false;
            }
        }
        return true;
    }

    bool objects(const JsonTree& schema, const JsonTree& value) {
        std::set<std::string> names;
        for (const auto& [key, unused] : value.members)
            names.insert(key);
        if (!between(schema, "minProperties", "maxProperties", names.size())) return false;
        if (const JsonTree* required = schema.find("required")) {
            for (const JsonTree& name : required->items) {
                if (!names.contains(name.text)) return false;
            }
        }
        const JsonTree* properties = schema.find("properties");
        const JsonTree* patterns = schema.find("patternProperties");
        const JsonTree* others = schema.find("additionalProperties");
        for (const std::string& key : names) {
            const JsonTree& member = *value.find(key);
            bool known = false;
            if (properties != nullptr && properties->find(key) != nullptr) {
                known = true;
                if (!holds(*properties->find(key), member)) return false;
            }
            if (patterns != nullptr) {
                for (const auto& [pattern, s] : patterns->members) {
                    if (!matches(pattern, key)) continue;
                    known = true;
                    if (!holds(s, member)) return false;
                }
            }
            if (!known && others != nullptr && !holds(*others, member)) return false;
        }
        return names_hold(schema, value, names);
    }

    bool names_hold(const JsonTree& schema, const JsonTree& value,
                    const std::set<std::string>& names) {
        if (const JsonTree* rule = schema.find("propertyNames")) {
            for (const std::string& key : names) {
                JsonTree name;
                name.kind = JsonTree::Kind::string;
                name.text = key;
                if (!holds(*rule, name)) return false;
            }
        }
        if (draft7_) return true;
        if (const JsonTree* lists = schema.find("dependentRequired")) {
            for (const auto& [key, list] : lists->members) {
                if (!names.contains(key)) continue;
                for (const JsonTree& other : list.items) {
                    if (!names.contains(other.text)) return false;
                }
            }
        }
        if (const JsonTree* schemas = schema.find("dependentSchemas")) {
            for (const auto& [key, s] : schemas->members) {
                if (names.contains(key) && !holds(s, value)) return false;
            }
        }
        return true;
    }

    const JsonTree& root_;
    bool draft7_ = false;
    bool unknown_ = false;
    int depth_ = 0;
    std::map<std::string, std::unique_ptr<std::wregex>> patterns_;
};

} // namespace bloom::test
