#include "text/grammar/json_schema_compile.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace bloom::text::schema {

std::uint32_t repeat_bound(std::uint64_t most) noexcept {
    return most >= kMaxGrammarRepeat ? kUnbounded : static_cast<std::uint32_t>(most);
}

bool demands_nothing(const Demand& demand) noexcept {
    return std::ranges::any_of(demand.schemas, [](const Value* schema) {
        return schema->is(ValueKind::boolean) && !schema->truth;
    });
}

Error blame(const Parts& parts, std::initializer_list<std::string_view> keywords, Error error) {
    for (const std::string_view keyword : keywords) {
        for (const Value* schema : parts.schemas) {
            if (schema->find(keyword) == nullptr) continue;
            std::string text(keyword);
            text.append(": ").append(error.message());
            text.append(" (at ").append(pointer_to(*schema, keyword)).append(")");
            return Error{error.code(), std::move(text)};
        }
    }
    return error;
}

Result<GrammarNode> SchemaCompiler::compile(const Value& root) {
    BLOOM_TRY(const GrammarNode start, node_for(Demand{{&root}}));
    BLOOM_OK(write_pending());
    return start;
}

/// The rules that nodes refer to so far, and those that they refer to.
Result<> SchemaCompiler::write_pending() {
    while (!pending_.empty()) {
        const Pending next = std::move(pending_.front());
        pending_.pop_front();
        BLOOM_TRY(const Parts parts, reader_.parts(next.demand));
        BLOOM_TRY(const GrammarNode body, whole(parts));
        grammar_.define(next.rule, body);
        if (grammar_.n_nodes() > kMaxGrammarNodes) {
            return Error{Code::too_large, "the schema needs more than " +
                                              std::to_string(kMaxGrammarNodes) +
                                              " nodes of a grammar"};
        }
    }
    return {};
}

Result<GrammarNode> SchemaCompiler::node_for(Demand demand) {
    BLOOM_TRY(demand, reader_.simplified(std::move(demand)));
    if (demand.schemas.empty() && !strict_) return notation_.any_value();
    if (demands_nothing(demand)) return grammar_.nothing();
    std::vector<std::uint32_t> key = demand.key();
    const auto known = rules_.find(key);
    if (known != rules_.end()) return grammar_.refer(known->second);
    if (rules_.size() >= kMaxDemands) return reader_.too_complex();
    const GrammarRule rule = grammar_.declare();
    rules_.emplace(std::move(key), rule);
    pending_.push_back({std::move(demand), rule});
    return grammar_.refer(rule);
}

Result<GrammarNode> SchemaCompiler::whole(const Parts& parts) {
    if (parts.impossible) return grammar_.nothing();
    if (!parts.choices.empty()) {
        const Parts::Choice choice = parts.choices.front();
        if (choice.one_of) BLOOM_OK(check_exclusive(parts, choice));
        std::vector<GrammarNode> options;
        for (const Value* option : choice.options->items) {
            if (++n_branches_ > kMaxBranches) {
                return schema_fault(Code::too_large, choice.one_of ? "oneOf" : "anyOf",
                                    "has too many options together with others", *choice.schema);
            }
            BLOOM_TRY(const Parts next, reader_.with_option(parts, choice, *option));
            BLOOM_TRY(const GrammarNode node, whole(next));
            options.push_back(node);
        }
        return grammar_.choice(options);
    }
    BLOOM_TRY(const Facts facts, reader_.facts(parts));
    if (facts.values) return values(parts, facts);
    std::vector<GrammarNode> options;
    for (const TypeMask type : {kObject, kArray, kString, kNumber, kBoolean, kNull}) {
        if ((facts.types & type) == 0) continue;
        for (const Facts::Refusal& refusal : facts.refusals) {
            if ((refusal.types & type) != 0) return refused(refusal);
        }
        BLOOM_TRY(const GrammarNode node, typed(parts, facts, type));
        options.push_back(node);
    }
    return options.empty() ? grammar_.nothing() : grammar_.choice(options);
}

/// oneOf is anyOf where no two options hold together; that has to be seen, or it is refused.
Result<> SchemaCompiler::check_exclusive(const Parts& parts, const Parts::Choice& choice) {
    const std::vector<const Value*>& options = choice.options->items;
    std::vector<std::pair<std::size_t, Parts>> possible;
    for (std::size_t i = 0; i < options.size(); ++i) {
        BLOOM_TRY(Parts alone, reader_.with_option(parts, choice, *options[i]));
        BLOOM_TRY(const bool dead, reader_.contradicts(alone, 0));
        if (!dead) possible.emplace_back(i, std::move(alone));
    }
    for (std::size_t a = 0; a < possible.size(); ++a) {
        for (std::size_t b = a + 1; b < possible.size(); ++b) {
            BLOOM_TRY(const Parts both,
                      reader_.with_option(possible[a].second, choice, *options[possible[b].first]));
            BLOOM_TRY(const bool dead, reader_.contradicts(both, 0));
            if (dead) continue;
            return schema_fault(Code::unsupported, "oneOf",
                                "cannot be enforced: options " + std::to_string(possible[a].first) +
                                    " and " + std::to_string(possible[b].first) +
                                    " may hold together; a type or a required constant has to "
                                    "tell them apart",
                                *choice.schema);
        }
    }
    return {};
}

Result<GrammarNode> SchemaCompiler::values(const Parts& parts, const Facts& facts) {
    std::vector<GrammarNode> options;
    const Demand demand{parts.schemas};
    Facts others = facts;
    others.values.reset();
    for (const Value* value : *facts.values) {
        BLOOM_TRY(const bool good, reader_.fits_facts(parts, others, *value, 0));
        if (!good) continue;
        BLOOM_TRY(const GrammarNode node, value->is(ValueKind::object)
                                              ? literal_object(*value, parts)
                                              : literal(*value, demand));
        options.push_back(node);
    }
    return options.empty() ? grammar_.nothing() : grammar_.choice(options);
}

Result<GrammarNode> SchemaCompiler::literal(const Value& value, const Demand& demand) {
    switch (value.kind) {
    case ValueKind::null:
        return notation_.null();
    case ValueKind::boolean:
        return notation_.boolean(value.truth);
    case ValueKind::number:
        return notation_.number(value.number);
    case ValueKind::string:
        return notation_.string(value.text);
    default:
        break;
    }
    BLOOM_TRY(const Parts parts, reader_.parts(demand));
    if (value.is(ValueKind::object)) return literal_object(value, parts);
    std::vector<GrammarNode> nodes{grammar_.literal("[")};
    for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) nodes.push_back(notation_.comma());
        BLOOM_TRY(const Demand inside, reader_.item(parts, i));
        BLOOM_TRY(const GrammarNode node, literal(*value.items[i], inside));
        nodes.push_back(node);
    }
    nodes.push_back(grammar_.literal("]"));
    return grammar_.sequence(nodes);
}

/// Members in the order in which they are declared, then as written.
Result<GrammarNode> SchemaCompiler::literal_object(const Value& value, const Parts& parts) {
    BLOOM_TRY(const std::vector<std::string> declared, reader_.declared(parts));
    std::vector<std::string_view> order;
    std::set<std::string_view> placed;
    for (const std::string& name : declared) {
        if (value.find(name) == nullptr) continue;
        order.push_back(name);
        placed.insert(name);
    }
    for (const Value::Member& m : value.members) {
        if (!placed.contains(m.key)) order.push_back(m.key);
    }
    std::vector<GrammarNode> nodes{grammar_.literal("{")};
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (i > 0) nodes.push_back(notation_.comma());
        BLOOM_TRY(const Demand inside, reader_.property(parts, order[i], false));
        BLOOM_TRY(const GrammarNode node, literal(*value.find(order[i]), inside));
        nodes.insert(nodes.end(), {notation_.key(order[i]), notation_.colon(), node});
    }
    nodes.push_back(grammar_.literal("}"));
    return grammar_.sequence(nodes);
}

Result<GrammarNode> SchemaCompiler::typed(const Parts& parts, const Facts& facts, TypeMask type) {
    switch (type) {
    case kObject:
        return object(parts, facts);
    case kArray:
        return array(parts, facts);
    case kString:
        return string(parts, facts);
    case kNumber:
        return number(parts, facts);
    case kBoolean:
        return notation_.choice({notation_.boolean(true), notation_.boolean(false)});
    default:
        return notation_.null();
    }
}

Result<GrammarNode> SchemaCompiler::number(const Parts& parts, const Facts& facts) {
    if (facts.numbers.free()) {
        return facts.numbers.integer ? notation_.any_integer() : notation_.any_number();
    }
    Result<ByteDfa> dfa = number_dfa(facts.numbers);
    if (!dfa) {
        return blame(parts,
                     {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
                     std::move(dfa).error());
    }
    if (!reader_.budget().spend(dfa->states.size())) return reader_.too_complex();
    return notation_.automaton(*std::move(dfa));
}

Result<GrammarNode> SchemaCompiler::string(const Parts& parts, const Facts& facts) {
    const std::uint64_t least = facts.min_length;
    const std::uint64_t most = facts.max_length;
    if (least > most) return grammar_.nothing();
    BLOOM_TRY(std::optional<TextDfa> texts, reader_.texts(facts));
    Budget& budget = reader_.budget();
    const auto limited = [&]() -> Result<GrammarNode> {
        if (!texts) return notation_.string_of(least, most, budget);
        if (least > 0 || most != kNoLimit) {
            BLOOM_TRY(const TextDfa lengths, length_dfa(least, repeat_bound(most), budget));
            BLOOM_TRY(texts, intersection(*texts, lengths, budget));
        }
        return notation_.string_in(*texts, budget);
    };
    Result<GrammarNode> node = limited();
    if (node) return node;
    return blame(parts, {"pattern", "format", "maxLength", "minLength"}, std::move(node).error());
}

Result<GrammarNode> SchemaCompiler::array(const Parts& parts, const Facts& facts) {
    BLOOM_TRY(const std::size_t n_prefix, reader_.n_prefix(parts));
    if (facts.min_items > kMaxGrammarRepeat) {
        return blame(parts, {"minItems"},
                     Error{Code::too_large, "beyond " + std::to_string(kMaxGrammarRepeat)});
    }
    BLOOM_TRY(const Demand rest, reader_.item(parts, n_prefix));
    const bool free = n_prefix == 0 && rest.schemas.empty() && facts.min_items == 0 &&
                      facts.max_items == kNoLimit && !strict_;
    if (free) return notation_.any_array();
    BLOOM_TRY(const GrammarNode content, elements(parts, facts, n_prefix));
    return notation_.sequence({grammar_.literal("["), content, grammar_.literal("]")});
}

Result<GrammarNode> SchemaCompiler::elements(const Parts& parts, const Facts& facts,
                                             std::size_t n_prefix) {
    std::uint64_t most = facts.max_items;
    std::vector<GrammarNode> items;
    for (std::size_t i = 0; i <= n_prefix && i < most; ++i) {
        BLOOM_TRY(Demand demand, reader_.item(parts, i));
        if (demands_nothing(demand)) {
            most = i;
            break;
        }
        BLOOM_TRY(const GrammarNode node, node_for(std::move(demand)));
        items.push_back(node);
    }
    if (facts.min_items > most) return grammar_.nothing();
    const auto least = static_cast<std::uint32_t>(facts.min_items);
    const auto n = static_cast<std::uint32_t>(std::min<std::uint64_t>(n_prefix, most));
    GrammarNode tail = grammar_.empty(); // what follows the elements that have schemas of their own
    if (most > n) {
        const std::uint32_t open = most == kNoLimit ? kUnbounded : repeat_bound(most - n);
        const std::uint32_t low = least > n ? least - n : 0;
        const GrammarNode next = notation_.sequence({notation_.comma(), items.back()});
        if (n > 0) {
            tail = grammar_.repeat(next, low, open);
        } else {
            const std::uint32_t more = open == kUnbounded ? kUnbounded : open - 1;
            const GrammarNode all = notation_.sequence(
                {items.back(), grammar_.repeat(next, low > 0 ? low - 1 : 0, more)});
            tail = low > 0 ? all : grammar_.optional(all);
        }
    }
    for (std::uint32_t i = n; i-- > 0;) {
        tail = i > 0 ? notation_.sequence({notation_.comma(), items[i], tail})
                     : notation_.sequence({items[i], tail});
        if (i >= least) tail = grammar_.optional(tail);
    }
    return tail;
}

} // namespace bloom::text::schema
