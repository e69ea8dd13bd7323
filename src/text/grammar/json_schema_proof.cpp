#include <algorithm>
#include <utility>

#include <bloom/text/unicode.hpp>

#include "text/grammar/formats.hpp"
#include "text/grammar/json_schema_facts.hpp"

/// Whether values satisfy schemas, for `enum`; whether schemas exclude one another, for `oneOf`.
namespace bloom::text::schema {
namespace {

/// Values inside values, of an `enum` under schemas; deeper ones cannot be written in a schema.
constexpr int kMaxFitDepth = static_cast<int>(kMaxSchemaDepth) + 1;

std::uint64_t n_code_points(std::string_view text) {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

bool within(std::uint64_t n, std::uint64_t least, std::uint64_t most) {
    return n >= least && n <= most;
}

} // namespace

Result<bool> SchemaReader::fits(const Demand& demand, const Value& value, int depth) {
    if (depth > kMaxFitDepth) return too_complex();
    BLOOM_TRY(const Parts taken, parts(demand));
    return fits(taken, value, depth);
}

Result<bool> SchemaReader::fits(const Parts& parts, const Value& value, int depth) {
    if (parts.impossible) return false;
    if (parts.choices.empty()) {
        BLOOM_TRY(const Facts known, facts(parts));
        return fits_facts(parts, known, value, depth);
    }
    const Parts::Choice choice = parts.choices.front();
    std::size_t n = 0;
    for (const Value* option : choice.options->items) {
        BLOOM_TRY(const Parts next, with_option(parts, choice, *option));
        BLOOM_TRY(const bool good, fits(next, value, depth));
        n += good ? 1 : 0;
        if (good && !choice.one_of) return true;
    }
    return n == 1;
}

Result<bool> SchemaReader::fits_facts(const Parts& parts, const Facts& facts, const Value& value,
                                      int depth) {
    const TypeMask type = type_of(value);
    if ((facts.types & type) == 0) return false;
    if (!budget_.spend(facts.values ? facts.values->size() + 1 : 1)) return too_complex();
    if (facts.values &&
        std::ranges::none_of(*facts.values, [&](const Value* v) { return equal(*v, value); })) {
        return false;
    }
    for (const Facts::Refusal& r : facts.refusals) {
        if ((r.types & type) != 0) return refused(r);
    }
    switch (value.kind) {
    case ValueKind::number:
        return contains(facts.numbers, value.number);
    case ValueKind::string: {
        if (!within(n_code_points(value.text), facts.min_length, facts.max_length)) return false;
        if (!budget_.spend(value.text.size() * (facts.patterns.size() + facts.formats.size()))) {
            return too_complex();
        }
        for (const Value* text : facts.patterns) {
            BLOOM_TRY(const TextDfa* dfa, pattern(text->text, *text));
            if (!dfa->matches(value.text)) return false;
        }
        for (const Value* name : facts.formats) {
            BLOOM_TRY(const TextDfa* dfa, format(name->text));
            if (!dfa->matches(value.text)) return false;
        }
        return true;
    }
    case ValueKind::array:
        if (!within(value.items.size(), facts.min_items, facts.max_items)) return false;
        for (std::size_t i = 0; i < value.items.size(); ++i) {
            BLOOM_TRY(const Demand demand, item(parts, i));
            BLOOM_TRY(const bool good, fits(demand, *value.items[i], depth + 1));
            if (!good) return false;
        }
        return true;
    case ValueKind::object:
        return fits_object(parts, facts, value, depth);
    default:
        return true;
    }
}

Result<bool> SchemaReader::fits_object(const Parts& parts, const Facts& facts, const Value& value,
                                       int depth) {
    if (!within(value.members.size(), facts.min_properties, facts.max_properties)) return false;
    for (const std::string& name : facts.required) {
        if (value.find(name) == nullptr) return false;
    }
    for (const Value::Member& m : value.members) {
        if (!facts.names.schemas.empty()) {
            Value name;
            name.kind = ValueKind::string;
            name.text = m.key;
            BLOOM_TRY(const bool good, fits(facts.names, name, depth + 1));
            if (!good) return false;
        }
        BLOOM_TRY(const Demand demand, property(parts, m.key, false));
        BLOOM_TRY(const bool good, fits(demand, *m.value, depth + 1));
        if (!good) return false;
    }
    return true;
}

Result<bool> SchemaReader::contradicts(const Demand& demand, int depth) {
    if (depth > kMaxProofDepth) return false;
    BLOOM_TRY(const Parts taken, parts(demand));
    return contradicts(taken, depth);
}

Result<bool> SchemaReader::contradicts(const Parts& parts, int depth) {
    if (parts.impossible) return true;
    BLOOM_TRY(const Facts known, facts(parts));
    if (known.types == 0 || (known.values && known.values->empty())) return true;
    if (!parts.choices.empty()) {
        const Parts::Choice choice = parts.choices.front();
        for (const Value* option : choice.options->items) {
            BLOOM_TRY(const Parts next, with_option(parts, choice, *option));
            BLOOM_TRY(const bool dead, contradicts(next, depth));
            if (!dead) return false;
        }
        return true;
    }
    if (known.values) {
        Facts others = known;
        others.values.reset();
        for (const Value* value : *known.values) {
            // What cannot be decided counts as possible.
            const Result<bool> good = fits_facts(parts, others, *value, depth);
            if (!good || *good) return false;
        }
        return true;
    }
    for (const TypeMask type : {kNull, kBoolean, kNumber, kString, kArray, kObject}) {
        if ((known.types & type) == 0) continue;
        BLOOM_TRY(const bool dead, type_contradicts(parts, known, type, depth));
        if (!dead) return false;
    }
    return true;
}

Result<bool> SchemaReader::type_contradicts(const Parts& parts, const Facts& facts, TypeMask type,
                                            int depth) {
    switch (type) {
    case kNumber: {
        const NumberRange& range = facts.numbers;
        if (!range.least || !range.most) return false;
        const int c = compare(range.least->value, range.most->value);
        return c > 0 || (c == 0 && (range.least->exclusive || range.most->exclusive));
    }
    case kString: {
        if (facts.min_length > facts.max_length) return true;
        if (facts.patterns.size() + facts.formats.size() < 2) return false;
        const Result<std::optional<TextDfa>> allowed = texts(facts);
        return allowed && *allowed && (*allowed)->nothing();
    }
    case kArray:
        if (facts.min_items > facts.max_items) return true;
        for (std::size_t i = 0; i < std::min<std::uint64_t>(facts.min_items, 16); ++i) {
            BLOOM_TRY(const Demand demand, item(parts, i));
            BLOOM_TRY(const bool dead, contradicts(demand, depth + 1));
            if (dead) return true;
        }
        return false;
    case kObject:
        return object_contradicts(parts, facts, depth);
    default:
        return false;
    }
}

Result<bool> SchemaReader::object_contradicts(const Parts& parts, const Facts& facts, int depth) {
    if (facts.min_properties > facts.max_properties) return true;
    if (facts.required.size() > facts.max_properties) return true;
    for (const std::string& name : facts.required) {
        BLOOM_TRY(const Demand demand, property(parts, name, false));
        BLOOM_TRY(const bool dead, contradicts(demand, depth + 1));
        if (dead) return true;
    }
    return false;
}

} // namespace bloom::text::schema
