#include <algorithm>
#include <utility>

#include "text/grammar/json_schema_compile.hpp"

/// Objects: declared properties in order, each with its comma only where something stands before
/// it, then members that are not declared.
namespace bloom::text::schema {

Result<GrammarNode> SchemaCompiler::entry(GrammarNode key, Demand demand) {
    BLOOM_TRY(const GrammarNode value, node_for(std::move(demand)));
    return notation_.sequence({key, notation_.colon(), value});
}

/// What propertyNames allows; nullopt: every name.
Result<std::optional<TextDfa>> SchemaCompiler::names(const Facts& facts) {
    if (facts.names.schemas.empty()) return std::nullopt;
    Budget& budget = reader_.budget();
    BLOOM_TRY(const Parts parts, reader_.parts(facts.names));
    const auto fault = [&](std::string_view why) {
        return schema_fault(Code::unsupported, "propertyNames", why,
                            *facts.names.schemas[0]->parent);
    };
    if (!parts.choices.empty()) return fault("with anyOf or oneOf cannot be enforced");
    BLOOM_TRY(const Facts known, reader_.facts(parts));
    for (const Facts::Refusal& refusal : known.refusals) {
        if ((refusal.types & kString) != 0) return refused(refusal);
    }
    const std::vector<std::string> none;
    if (parts.impossible || (known.types & kString) == 0) return words_dfa(none, budget);
    if (known.values) {
        std::vector<std::string> words;
        for (const Value* value : *known.values) {
            if (!value->is(ValueKind::string)) continue;
            BLOOM_TRY(const bool good, reader_.fits(parts, *value, 0));
            if (good) words.push_back(value->text);
        }
        return words_dfa(words, budget);
    }
    BLOOM_TRY(std::optional<TextDfa> out, reader_.texts(known));
    if (known.min_length == 0 && known.max_length == kNoLimit) return out;
    Result<TextDfa> lengths = length_dfa(known.min_length, repeat_bound(known.max_length), budget);
    if (!lengths) return blame(parts, {"maxLength", "minLength"}, std::move(lengths).error());
    if (!out) return *std::move(lengths);
    return intersection(*out, *lengths, budget);
}

Result<GrammarNode> SchemaCompiler::object(const Parts& parts, const Facts& facts) {
    BLOOM_TRY(std::vector<std::string> declared, reader_.declared(parts));
    const std::size_t n_properties = declared.size();
    std::map<std::string_view, std::size_t> place;
    for (std::size_t i = 0; i < declared.size(); ++i)
        place.emplace(declared[i], i);
    std::vector<std::string> late; // required without being declared: behind those that are
    for (const std::string& name : facts.required) {
        if (!place.contains(name)) late.push_back(name);
    }
    declared.insert(declared.end(), late.begin(), late.end());
    BLOOM_TRY(const std::optional<TextDfa> allowed, names(facts));
    std::vector<std::string> required = facts.required;
    std::ranges::sort(required);
    std::vector<Entry> entries;
    for (std::size_t i = 0; i < declared.size(); ++i) {
        const std::string& name = declared[i];
        const bool needed = i >= n_properties || std::ranges::binary_search(required, name);
        BLOOM_TRY(Demand demand, reader_.property(parts, name, strict_));
        if (demands_nothing(demand) || (allowed && !allowed->matches(name))) {
            if (needed) return grammar_.nothing();
            continue;
        }
        BLOOM_TRY(const GrammarNode node, entry(notation_.key(name), std::move(demand)));
        entries.push_back({node, needed});
    }
    BLOOM_TRY(const std::optional<GrammarNode> more, extra(parts, declared, allowed));
    const std::size_t n_required = facts.required.size();
    const bool bounded = facts.max_properties < entries.size() ||
                         (more && facts.max_properties != kNoLimit) ||
                         facts.min_properties > std::max<std::size_t>(n_required, 1);
    const auto content = [&]() -> Result<GrammarNode> {
        if (bounded) return counted_members(parts, entries, more, facts);
        return members(entries, more, facts.min_properties == 0);
    };
    BLOOM_TRY(const GrammarNode inside, content());
    return notation_.sequence({grammar_.literal("{"), inside, grammar_.literal("}")});
}

Result<std::optional<GrammarNode>> SchemaCompiler::extra(const Parts& parts,
                                                         const std::vector<std::string>& declared,
                                                         const std::optional<TextDfa>& names) {
    Budget& budget = reader_.budget();
    BLOOM_TRY(const std::vector<const Value*> patterns, reader_.name_patterns(parts));
    if (patterns.size() > kMaxNamePatterns) {
        return schema_fault(Code::unsupported, "patternProperties",
                            "cannot be enforced beyond " + std::to_string(kMaxNamePatterns) +
                                " patterns",
                            *patterns[0]->parent->parent);
    }
    std::optional<TextDfa> base = names;
    const auto also = [&](std::optional<TextDfa>& all, TextDfa dfa) -> Result<> {
        if (!all) {
            all = std::move(dfa);
            return {};
        }
        Result<TextDfa> both = intersection(*all, dfa, budget);
        if (!both) {
            return blame(parts, {"patternProperties", "propertyNames", "properties"},
                         std::move(both).error());
        }
        all = *std::move(both);
        return {};
    };
    if (!declared.empty()) {
        const Result<TextDfa> words = words_dfa(declared, budget);
        Result<TextDfa> others = words ? complement(*words, budget) : words;
        if (!others) {
            return blame(parts, {"properties", "required"}, std::move(others).error());
        }
        BLOOM_OK(also(base, *std::move(others)));
    }
    std::vector<GrammarNode> options;
    for (std::size_t mask = 0; mask < std::size_t{1} << patterns.size(); ++mask) {
        std::optional<TextDfa> dfa = base;
        std::vector<std::string> matched;
        for (std::size_t p = 0; p < patterns.size(); ++p) {
            BLOOM_TRY(const TextDfa* found, reader_.pattern(patterns[p]->step, *patterns[p]));
            if ((mask >> p & 1) != 0) {
                matched.push_back(patterns[p]->step);
                BLOOM_OK(also(dfa, *found));
            } else {
                BLOOM_TRY(TextDfa other, complement(*found, budget));
                BLOOM_OK(also(dfa, std::move(other)));
            }
        }
        if (dfa && dfa->nothing()) continue;
        BLOOM_TRY(Demand demand, reader_.undeclared(parts, matched, strict_));
        if (demands_nothing(demand)) continue;
        GrammarNode key = grammar_.empty();
        if (dfa) {
            BLOOM_TRY(key, notation_.key_in(*dfa, budget));
        } else {
            key = notation_.any_key();
        }
        BLOOM_TRY(const GrammarNode node, entry(key, std::move(demand)));
        options.push_back(node);
    }
    if (options.empty()) return std::nullopt;
    return grammar_.choice(options);
}

/// From the last to the first: `after` is what may follow when something stands before, `start`
/// when nothing does. Suffixes are shared, so that n optional properties need O(n) nodes.
GrammarNode SchemaCompiler::members(const std::vector<Entry>& entries,
                                    std::optional<GrammarNode> extra, bool may_be_empty) {
    GrammarNode after = grammar_.empty();
    GrammarNode start = may_be_empty ? grammar_.empty() : grammar_.nothing();
    if (extra) {
        after = grammar_.repeat(notation_.sequence({notation_.comma(), *extra}), 0, kUnbounded);
        start = notation_.choice({start, notation_.sequence({*extra, after})});
    }
    for (std::size_t i = entries.size(); i-- > 0;) {
        const Entry& e = entries[i];
        const GrammarNode first = notation_.sequence({e.node, after});
        start = e.required ? first : notation_.choice({first, start});
        const GrammarNode next = notation_.sequence({notation_.comma(), e.node});
        const GrammarRule rule = grammar_.declare();
        grammar_.define(rule,
                        notation_.sequence({e.required ? next : grammar_.optional(next), after}));
        after = grammar_.refer(rule);
    }
    return start;
}

/// The same with a count. A name may come twice among members that are not declared, and then
/// counts once: they can make up for one missing property, not for more.
Result<GrammarNode> SchemaCompiler::counted_members(const Parts& parts,
                                                    const std::vector<Entry>& entries,
                                                    std::optional<GrammarNode> extra,
                                                    const Facts& facts) {
    const std::uint64_t least = facts.min_properties;
    const std::uint64_t most = facts.max_properties;
    const std::size_t n_required = facts.required.size();
    if (most < n_required || least > most) return grammar_.nothing();
    if (extra && least > n_required + 1) {
        return blame(parts, {"minProperties"},
                     Error{Code::unsupported, "cannot be enforced together with properties that "
                                              "are not declared"});
    }
    if (least > entries.size() + (extra ? 1 : 0)) return grammar_.nothing();
    const bool open = most == kNoLimit;
    const std::size_t top = std::min<std::uint64_t>(open ? least : most, entries.size());
    if ((entries.size() + 1) * (top + 1) > kMaxCountedPlaces) {
        return blame(parts, {"maxProperties", "minProperties"},
                     Error{Code::too_large, "too many properties to count"});
    }
    const auto rest = [&](std::size_t count) {
        const std::uint64_t missing = least > count ? least - count : 0;
        const std::uint64_t room = open ? kNoLimit : most - count;
        if (!extra || room == 0) return missing > 0 ? grammar_.nothing() : grammar_.empty();
        if (missing > 1) return grammar_.nothing();
        const GrammarNode next = notation_.sequence({notation_.comma(), *extra});
        const std::uint32_t high = repeat_bound(room);
        if (count > 0) return grammar_.repeat(next, static_cast<std::uint32_t>(missing), high);
        const GrammarNode all = notation_.sequence(
            {*extra, grammar_.repeat(next, 0, high == kUnbounded ? kUnbounded : high - 1)});
        return missing > 0 ? all : grammar_.optional(all);
    };
    std::vector<GrammarNode> row;
    for (std::size_t count = 0; count <= top; ++count)
        row.push_back(rest(count));
    for (std::size_t i = entries.size(); i-- > 0;) {
        std::vector<GrammarNode> next;
        for (std::size_t count = 0; count <= top; ++count) {
            std::vector<GrammarNode> options;
            if (!entries[i].required) options.push_back(row[count]);
            if (open || count < most) {
                const GrammarNode then = row[std::min(count + 1, top)];
                options.push_back(
                    count > 0 ? notation_.sequence({notation_.comma(), entries[i].node, then})
                              : notation_.sequence({entries[i].node, then}));
            }
            const GrammarRule rule = grammar_.declare();
            grammar_.define(rule, options.empty() ? grammar_.nothing() : grammar_.choice(options));
            next.push_back(grammar_.refer(rule));
        }
        row = std::move(next);
    }
    return row[0];
}

} // namespace bloom::text::schema
