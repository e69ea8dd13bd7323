#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

#include "text/grammar/formats.hpp"
#include "text/grammar/json_schema_facts.hpp"

/// Keywords of a single schema and the values they may have.
namespace bloom::text::schema {
namespace {

struct TypeName {
    std::string_view name;
    TypeMask types;
};

constexpr std::array kTypes{
    TypeName{"null", kNull},     TypeName{"boolean", kBoolean}, TypeName{"integer", kInteger},
    TypeName{"number", kNumber}, TypeName{"string", kString},   TypeName{"array", kArray},
    TypeName{"object", kObject},
};

class Keywords {
public:
    Keywords(const Value& schema, Draft draft, Facts& facts)
        : schema_(schema), draft_(draft), facts_(facts) {}

    Result<> read() {
        BLOOM_OK(types());
        BLOOM_OK(values());
        BLOOM_OK(numbers());
        BLOOM_OK(strings());
        BLOOM_OK(arrays());
        BLOOM_OK(objects());
        refusals();
        return {};
    }

private:
    const Value* find(std::string_view keyword) const { return schema_.find(keyword); }

    Error wrong(std::string_view keyword, std::string_view what) const {
        return schema_fault(Code::invalid_argument, keyword, what, schema_);
    }

    Result<> types() {
        const Value* type = find("type");
        if (type == nullptr) return {};
        constexpr std::string_view kWanted =
            "must be null, boolean, integer, number, string, array, object or a list of these";
        TypeMask mask = 0;
        const auto add = [&](const Value& name) {
            const auto* it = std::ranges::find(kTypes, name.text, &TypeName::name);
            if (!name.is(ValueKind::string) || it == kTypes.end()) return false;
            mask |= it->types;
            return true;
        };
        if (type->is(ValueKind::array)) {
            for (const Value* name : type->items) {
                if (!add(*name)) return wrong("type", kWanted);
            }
        } else if (!add(*type)) {
            return wrong("type", kWanted);
        }
        facts_.types &= mask;
        return {};
    }

    void restrict_to(std::vector<const Value*> values) {
        if (!facts_.values) {
            facts_.values = std::move(values);
            return;
        }
        std::set<std::string> known;
        for (const Value* v : values)
            known.insert(canonical(*v));
        std::erase_if(*facts_.values,
                      [&](const Value* v) { return !known.contains(canonical(*v)); });
    }

    Result<> values() {
        if (const Value* list = find("enum")) {
            if (!list->is(ValueKind::array)) return wrong("enum", "must be a list");
            restrict_to(list->items);
        }
        if (const Value* value = find("const")) restrict_to({value});
        return {};
    }

    Result<> bound(std::string_view keyword, bool upper, bool exclusive) {
        const Value* value = find(keyword);
        if (value == nullptr) return {};
        if (!value->is(ValueKind::number)) return wrong(keyword, "must be a number");
        std::optional<NumberBound>& now = upper ? facts_.numbers.most : facts_.numbers.least;
        const int c = now ? compare(value->number, now->value) : 0;
        const bool tighter = !now || (upper ? c < 0 : c > 0) || (c == 0 && exclusive);
        if (tighter) now = NumberBound{value->number, exclusive};
        return {};
    }

    Result<> numbers() {
        BLOOM_OK(bound("minimum", false, false));
        BLOOM_OK(bound("exclusiveMinimum", false, true));
        BLOOM_OK(bound("maximum", true, false));
        BLOOM_OK(bound("exclusiveMaximum", true, true));
        const Value* step = find("multipleOf");
        if (step == nullptr) return {};
        if (!step->is(ValueKind::number) || step->number.negative || step->number.is_zero()) {
            return wrong("multipleOf", "must be a number above zero");
        }
        std::optional<Decimal>& now = facts_.numbers.step;
        if (!now || is_multiple(step->number, *now)) {
            now = step->number;
        } else if (!is_multiple(*now, step->number)) {
            refuse(kNumber, "multipleOf", "is combined with another that it does not divide");
        }
        return {};
    }

    Result<> at_least(std::string_view keyword, std::uint64_t& least) {
        const Value* value = find(keyword);
        if (value == nullptr) return {};
        if (!is_count(*value)) return wrong(keyword, "must be a non-negative integer");
        const auto count = value->number.count();
        if (!count) return schema_fault(Code::too_large, keyword, "is too large", schema_);
        least = std::max(least, *count);
        return {};
    }

    Result<> at_most(std::string_view keyword, std::uint64_t& most) {
        const Value* value = find(keyword);
        if (value == nullptr) return {};
        if (!is_count(*value)) return wrong(keyword, "must be a non-negative integer");
        most = std::min(most, value->number.count().value_or(kNoLimit));
        return {};
    }

    static bool is_count(const Value& value) {
        return value.is(ValueKind::number) && value.number.is_integer() && !value.number.negative;
    }

    Result<> strings() {
        BLOOM_OK(at_least("minLength", facts_.min_length));
        BLOOM_OK(at_most("maxLength", facts_.max_length));
        if (const Value* pattern = find("pattern")) {
            if (!pattern->is(ValueKind::string)) return wrong("pattern", "must be a string");
            facts_.patterns.push_back(pattern);
        }
        if (const Value* format = find("format")) {
            if (!format->is(ValueKind::string)) return wrong("format", "must be a string");
            if (is_known_format(format->text)) facts_.formats.push_back(format);
        }
        return {};
    }

    Result<> arrays() {
        BLOOM_OK(at_least("minItems", facts_.min_items));
        BLOOM_OK(at_most("maxItems", facts_.max_items));
        const Value* prefix = find("prefixItems");
        if (prefix != nullptr && draft_ == Draft::current && !prefix->is(ValueKind::array)) {
            return wrong("prefixItems", "must be a list of schemas");
        }
        if (const Value* unique = find("uniqueItems")) {
            if (!unique->is(ValueKind::boolean)) return wrong("uniqueItems", "must be a boolean");
            if (unique->truth) refuse(kArray, "uniqueItems", "cannot be enforced");
        }
        return {};
    }

    Result<> objects() {
        BLOOM_OK(at_least("minProperties", facts_.min_properties));
        BLOOM_OK(at_most("maxProperties", facts_.max_properties));
        for (const std::string_view keyword : {"properties", "patternProperties"}) {
            const Value* map = find(keyword);
            if (map != nullptr && !map->is(ValueKind::object)) {
                return wrong(keyword, "must be an object of schemas");
            }
        }
        if (const Value* names = find("propertyNames")) facts_.names.schemas.push_back(names);
        const Value* required = find("required");
        if (required == nullptr) return {};
        if (!required->is(ValueKind::array)) return wrong("required", "must be a list of names");
        for (const Value* name : required->items) {
            if (!name->is(ValueKind::string)) return wrong("required", "must be a list of names");
            facts_.required.push_back(name->text); // made unique by the reader
        }
        return {};
    }

    void refuse(TypeMask types, std::string_view keyword, std::string_view why) {
        facts_.refusals.push_back({types, keyword, &schema_, why});
    }

    /// Whether the keyword's schema asks for nothing.
    static bool is_idle(const Value& value) {
        if (value.is(ValueKind::boolean)) return value.truth;
        return value.is(ValueKind::object) && value.members.empty();
    }

    void refusals() {
        struct Rule {
            std::string_view keyword;
            TypeMask types;
            Draft since = Draft::draft7;
            bool unless_idle = false;
        };

        static constexpr std::array kRules{
            Rule{"not", kAnyType},
            Rule{"contains", kArray},
            Rule{"dependencies", kObject, Draft::draft7, true},
            Rule{"dependentRequired", kObject, Draft::current, true},
            Rule{"dependentSchemas", kObject, Draft::current, true},
            Rule{"unevaluatedItems", kArray, Draft::current, true},
            Rule{"unevaluatedProperties", kObject, Draft::current, true},
            Rule{"$dynamicRef", kAnyType, Draft::current},
            Rule{"$recursiveRef", kAnyType, Draft::current},
        };
        for (const Rule& rule : kRules) {
            const Value* value = find(rule.keyword);
            if (value == nullptr || (rule.since == Draft::current && draft_ != Draft::current)) {
                continue;
            }
            if (rule.unless_idle && is_idle(*value)) continue;
            refuse(rule.types, rule.keyword, "cannot be enforced");
        }
        if (find("if") == nullptr) return; // then and else mean nothing alone
        for (const std::string_view keyword : {"then", "else"}) {
            if (find(keyword) != nullptr) {
                refuse(kAnyType, "if", "cannot be enforced");
                return;
            }
        }
    }

    const Value& schema_;
    Draft draft_;
    Facts& facts_;
};

} // namespace

Result<> read_keywords(const Value& schema, Draft draft, Facts& facts) {
    return Keywords(schema, draft, facts).read();
}

} // namespace bloom::text::schema
