#include "text/grammar/json_schema_facts.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "text/grammar/formats.hpp"

namespace bloom::text::schema {

std::vector<std::uint32_t> Demand::key() const {
    std::vector<std::uint32_t> out;
    for (const Value* v : schemas)
        out.push_back(v->id);
    return out;
}

const Value& no_value() noexcept {
    static const Value kFalse = [] {
        Value v;
        v.kind = ValueKind::boolean;
        v.id = std::numeric_limits<std::uint32_t>::max();
        return v;
    }();
    return kFalse;
}

Error schema_fault(Code code, std::string_view keyword, std::string_view what,
                   const Value& schema) {
    std::string text(keyword);
    text.append(" ").append(what).append(" (at ").append(pointer_to(schema, keyword)).append(")");
    return {code, std::move(text)};
}

Error refused(const Facts::Refusal& refusal) {
    return schema_fault(Code::unsupported, refusal.keyword, refusal.why, *refusal.schema);
}

TypeMask type_of(const Value& value) noexcept {
    switch (value.kind) {
    case ValueKind::null:
        return kNull;
    case ValueKind::boolean:
        return kBoolean;
    case ValueKind::number:
        return value.number.is_integer() ? kInteger : kFraction;
    case ValueKind::string:
        return kString;
    case ValueKind::array:
        return kArray;
    case ValueKind::object:
        return kObject;
    }
    return 0;
}

Error SchemaReader::too_complex() const {
    return {Code::too_large, "the schema is too complex: its references, choices and patterns take "
                             "more than the steps that one schema may take"};
}

Result<Parts> SchemaReader::parts(const Demand& demand) {
    Parts out;
    for (const Value* schema : demand.schemas)
        BLOOM_OK(add(out, *schema, kNoStep));
    return out;
}

Result<Parts> SchemaReader::with_option(const Parts& parts, const Parts::Choice& choice,
                                        const Value& option) {
    Parts out = parts;
    if (!budget_.spend(parts.schemas.size() + 1)) return too_complex();
    std::erase_if(out.choices, [&](const Parts::Choice& c) { return c.options == choice.options; });
    BLOOM_OK(add(out, option, choice.step));
    return out;
}

Result<> SchemaReader::add(Parts& parts, const Value& schema, std::size_t from) {
    if (!budget_.spend(1)) return too_complex();
    if (schema.is(ValueKind::boolean)) {
        if (!schema.truth) parts.impossible = true;
        return {};
    }
    if (!schema.is(ValueKind::object)) {
        return Error{Code::invalid_argument,
                     "a schema must be an object or a boolean (at " + pointer_to(schema) + ')'};
    }
    for (std::size_t s = from; s != kNoStep; s = parts.steps[s].from) {
        if (parts.steps[s].schema == &schema) {
            return Error{Code::invalid_argument,
                         "$ref leads back to where it stands without a value in between (at " +
                             pointer_to(schema) + ')'};
        }
    }
    if (std::ranges::find(parts.schemas, &schema) != parts.schemas.end()) return {};
    if (parts.steps.size() >= kMaxParts) {
        return Error{Code::too_large, "more than " + std::to_string(kMaxParts) +
                                          " schemas hold for one value (at " + pointer_to(schema) +
                                          ')'};
    }
    const std::size_t step = parts.steps.size();
    parts.steps.push_back({&schema, from});
    const Value* ref = schema.find("$ref");
    const bool only_ref = ref != nullptr && refs_.draft() == Draft::draft7;
    if (!only_ref) parts.schemas.push_back(&schema);
    if (ref != nullptr) {
        BLOOM_TRY(const Value* target, refs_.resolve(schema));
        BLOOM_OK(add(parts, *target, step));
        if (only_ref) return {};
    }
    for (const std::string_view keyword : {"allOf", "anyOf", "oneOf"}) {
        const Value* list = schema.find(keyword);
        if (list == nullptr) continue;
        if (!list->is(ValueKind::array) || list->items.empty()) {
            return schema_fault(Code::invalid_argument, keyword, "must be a list of schemas",
                                schema);
        }
        if (keyword != "allOf") {
            parts.choices.push_back({&schema, list, keyword == "oneOf", step});
            continue;
        }
        for (const Value* member : list->items)
            BLOOM_OK(add(parts, *member, step));
    }
    return {};
}

namespace {

/// Looking up all keywords in one schema, in steps of the budget.
constexpr std::size_t kKeywordSteps = 50;

} // namespace

Result<Facts> SchemaReader::facts(const Parts& parts) {
    Facts out;
    for (const Value* schema : parts.schemas) {
        std::size_t cost = schema->members.size() + kKeywordSteps;
        for (const std::string_view keyword : {"enum", "required"}) {
            if (const Value* list = schema->find(keyword)) cost += list->items.size();
        }
        if (!budget_.spend(cost)) return too_complex();
        BLOOM_OK(read_keywords(*schema, refs_.draft(), out));
    }
    std::set<std::string_view> seen;
    std::vector<std::string> required;
    for (const std::string& name : out.required) {
        if (seen.insert(name).second) required.push_back(name);
    }
    out.required = std::move(required);
    if ((out.types & kFraction) == 0) out.numbers.integer = true;
    if (out.max_items <= 1) {
        std::erase_if(out.refusals,
                      [](const Facts::Refusal& r) { return r.keyword == "uniqueItems"; });
    }
    return out;
}

Result<Demand> SchemaReader::simplified(Demand demand) {
    constexpr int kMaxHops = 32;
    Demand out;
    for (const Value* schema : demand.schemas) {
        for (int hop = 0; hop < kMaxHops; ++hop) {
            const bool only_ref = schema->find("$ref") != nullptr &&
                                  (schema->members.size() == 1 || refs_.draft() == Draft::draft7);
            if (!only_ref) break;
            BLOOM_TRY(schema, refs_.resolve(*schema));
        }
        const bool idle = (schema->is(ValueKind::boolean) && schema->truth) ||
                          (schema->is(ValueKind::object) && schema->members.empty());
        if (idle || std::ranges::find(out.schemas, schema) != out.schemas.end()) continue;
        out.schemas.push_back(schema);
    }
    return out;
}

const Value* SchemaReader::prefix_of(const Value& schema) const {
    const Value* items = schema.find("items");
    if (items != nullptr && items->is(ValueKind::array)) return items;
    return refs_.draft() == Draft::current ? schema.find("prefixItems") : nullptr;
}

const Value* SchemaReader::rest_of(const Value& schema) const {
    const Value* items = schema.find("items");
    if (items != nullptr && items->is(ValueKind::array)) return schema.find("additionalItems");
    return items;
}

Result<std::size_t> SchemaReader::n_prefix(const Parts& parts) {
    std::size_t out = 0;
    for (const Value* schema : parts.schemas) {
        const Value* prefix = prefix_of(*schema);
        if (prefix != nullptr) out = std::max(out, prefix->items.size());
    }
    return out;
}

Result<Demand> SchemaReader::item(const Parts& parts, std::size_t i) {
    Demand out;
    for (const Value* schema : parts.schemas) {
        if (!budget_.spend(1)) return too_complex();
        const Value* prefix = prefix_of(*schema);
        if (prefix != nullptr && i < prefix->items.size()) {
            out.schemas.push_back(prefix->items[i]);
        } else if (const Value* rest = rest_of(*schema)) {
            out.schemas.push_back(rest);
        }
    }
    return simplified(std::move(out));
}

namespace {

bool any_says_additional(const Parts& parts) {
    return std::ranges::any_of(parts.schemas, [](const Value* schema) {
        return schema->find("additionalProperties") != nullptr;
    });
}

} // namespace

Result<Demand> SchemaReader::property(const Parts& parts, std::string_view name, bool strict) {
    Demand out;
    bool declared = false;
    for (const Value* schema : parts.schemas) {
        if (!budget_.spend(1)) return too_complex();
        bool hit = false;
        if (const Value* map = schema->find("properties")) {
            if (const Value* own = map->find(name)) {
                hit = true;
                out.schemas.push_back(own);
            }
        }
        if (const Value* map = schema->find("patternProperties")) {
            for (const Value::Member& m : map->members) {
                BLOOM_TRY(const TextDfa* dfa, pattern(m.key, *m.value));
                if (!budget_.spend(name.size() + 1)) return too_complex();
                if (!dfa->matches(name)) continue;
                hit = true;
                out.schemas.push_back(m.value);
            }
        }
        const Value* additional = schema->find("additionalProperties");
        if (!hit && additional != nullptr) out.schemas.push_back(additional);
        declared = declared || hit;
    }
    if (strict && !declared && !any_says_additional(parts)) out.schemas.push_back(&no_value());
    return simplified(std::move(out));
}

Result<std::vector<std::string>> SchemaReader::declared(const Parts& parts) {
    std::vector<std::string> out;
    std::set<std::string_view> seen;
    for (const Value* schema : parts.schemas) {
        const Value* map = schema->find("properties");
        if (map == nullptr) continue;
        if (!budget_.spend(map->members.size())) return too_complex();
        for (const Value::Member& m : map->members) {
            if (seen.insert(m.key).second) out.push_back(m.key);
        }
    }
    return out;
}

Result<std::vector<const Value*>> SchemaReader::name_patterns(const Parts& parts) {
    std::vector<const Value*> out;
    for (const Value* schema : parts.schemas) {
        const Value* map = schema->find("patternProperties");
        if (map == nullptr) continue;
        for (const Value::Member& m : map->members) {
            const bool known =
                std::ranges::any_of(out, [&](const Value* other) { return other->step == m.key; });
            if (!known) out.push_back(m.value);
            if (!budget_.spend(out.size())) return too_complex();
        }
    }
    return out;
}

Result<Demand> SchemaReader::undeclared(const Parts& parts, const std::vector<std::string>& matched,
                                        bool strict) {
    Demand out;
    for (const Value* schema : parts.schemas) {
        if (!budget_.spend(matched.size() + 1)) return too_complex();
        bool hit = false;
        if (const Value* map = schema->find("patternProperties")) {
            for (const std::string& key : matched) {
                if (const Value* own = map->find(key)) {
                    hit = true;
                    out.schemas.push_back(own);
                }
            }
        }
        const Value* additional = schema->find("additionalProperties");
        if (!hit && additional != nullptr) out.schemas.push_back(additional);
    }
    if (strict && matched.empty() && !any_says_additional(parts)) {
        out.schemas.push_back(&no_value());
    }
    return simplified(std::move(out));
}

Result<const TextDfa*> SchemaReader::pattern(const std::string& text, const Value& at) {
    const auto known = patterns_.find(text);
    if (known != patterns_.end()) return &known->second;
    Result<TextDfa> dfa = pattern_dfa(text, budget_);
    if (!dfa) {
        const bool named = at.parent != nullptr && at.parent->step == "patternProperties";
        std::string message = named ? "patternProperties: " : "pattern: ";
        message.append(dfa.error().message()).append(" (at ").append(pointer_to(at)).append(")");
        return Error{dfa.error().code(), std::move(message)};
    }
    return &patterns_.emplace(text, *std::move(dfa)).first->second;
}

Result<const TextDfa*> SchemaReader::format(const std::string& name) {
    const auto known = formats_.find(name);
    if (known != formats_.end()) return &known->second;
    Result<TextDfa> dfa = format_dfa(name, budget_);
    if (!dfa) return std::move(dfa).error().with_context("format " + name);
    return &formats_.emplace(name, *std::move(dfa)).first->second;
}

Result<std::optional<TextDfa>> SchemaReader::texts(const Facts& facts) {
    std::optional<TextDfa> out;
    const auto both = [&](const TextDfa& dfa, const Value& at) -> Result<> {
        if (!out) {
            out = dfa;
            return {};
        }
        Result<TextDfa> met = intersection(*out, dfa, budget_);
        if (!met) {
            return schema_fault(met.error().code(), at.step, "with others: too many states",
                                *at.parent);
        }
        out = *std::move(met);
        return {};
    };
    for (const Value* text : facts.patterns) {
        BLOOM_TRY(const TextDfa* dfa, pattern(text->text, *text));
        BLOOM_OK(both(*dfa, *text));
    }
    for (const Value* name : facts.formats) {
        BLOOM_TRY(const TextDfa* dfa, format(name->text));
        BLOOM_OK(both(*dfa, *name));
    }
    return out;
}

} // namespace bloom::text::schema
