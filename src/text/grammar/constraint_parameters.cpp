#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/text/grammar/json_schema.hpp>

#include "text/grammar/constraint_calls.hpp"
#include "text/grammar/json_schema_compile.hpp"
#include "text/output/coerce.hpp"
#include "text/output/grammar.hpp"

/// Arguments in tags: <parameter=name> and the value, strings as they are, anything else as JSON.
/// How the parser reads such a text depends on what types it may have, see coerce_parameter(): a
/// string that would be read as something else cannot be written.
namespace bloom::text {
namespace {

constexpr std::string_view kClose = "</parameter>";

/// A value's text between the tags.
GrammarNode in_tags(GrammarBuilder& g, std::string_view name, GrammarNode value, bool framed) {
    const GrammarNode parts[] = {g.literal(framed ? fmt::format("<parameter={}>\n", name)
                                                  : fmt::format("<parameter name=\"{}\">", name)),
                                 value, g.literal(framed ? "\n</parameter>\n" : "</parameter>\n")};
    return g.sequence(parts);
}

/// Whether the parser finds the name again.
bool can_be_tagged(std::string_view name) noexcept {
    constexpr std::size_t kMost = 256;
    return !name.empty() && name.size() <= kMost &&
           name.find_first_of("<>\"'\n\r\t ") == std::string_view::npos;
}

GrammarNode free_text(GrammarBuilder& g) {
    return g.text_without(std::span(&kClose, 1));
}

} // namespace

namespace schema {

/// What is known about one function's parameters.
struct TagNotation {
    bool framed;
    const gen::ToolDefinition* tool;
    const ParameterTypes* types;
};

namespace {

/// Texts that the parser does not take for a value of the other types, whatever their validity.
Result<std::optional<TextDfa>> plain_strings(TypeSet coerced, Budget& budget) {
    std::string starts;
    std::string words;
    const auto add = [&](std::string_view more) {
        words += words.empty() ? "" : "|";
        words += more;
    };
    if ((coerced & (kTypeInteger | kTypeNumber)) != 0) starts += "0-9-";
    if ((coerced & kTypeArray) != 0) starts += "\\[";
    if ((coerced & kTypeObject) != 0) starts += "{";
    if ((coerced & kTypeBoolean) != 0) add("true|false|True|False|0|1");
    if ((coerced & kTypeNull) != 0) add("null|None");
    if (starts.empty() && words.empty()) return std::nullopt;
    std::string pattern = "^[ \\t\\r\\n]*(";
    if (!starts.empty()) pattern += "[" + starts + "]";
    if (!words.empty()) pattern += (starts.empty() ? "(" : "|(") + words + ")[ \\t\\r\\n]*$";
    BLOOM_TRY(const TextDfa others, pattern_dfa(pattern + ")", budget));
    BLOOM_TRY(TextDfa out, complement(others, budget));
    return out;
}

} // namespace

Result<GrammarNode> SchemaCompiler::tagged_text(const Parts& parts, const Facts& facts,
                                                std::uint8_t coerced) {
    const std::uint64_t least = facts.min_length;
    const std::uint64_t most = facts.max_length;
    if (least > most) return grammar_.nothing();
    Budget& budget = reader_.budget();
    BLOOM_TRY(std::optional<TextDfa> texts, reader_.texts(facts));
    BLOOM_TRY(const std::optional<TextDfa> plain, plain_strings(coerced, budget));
    const bool any_length = least == 0 && most == kNoLimit;
    if (!texts && !plain) {
        if (any_length) return free_text(grammar_);
        // Counting is cheap where the end of the value cannot begin inside of it.
        constexpr CodePointRange kClear[] = {{0, '<' - 1}, {'<' + 1, 0x10ffff}};
        return grammar_.repeat(grammar_.characters(kClear), repeat_bound(least),
                               repeat_bound(most));
    }
    const auto limited = [&]() -> Result<GrammarNode> {
        BLOOM_TRY(TextDfa all, without(kClose, budget));
        for (const std::optional<TextDfa>* more : {&std::as_const(texts), &plain}) {
            if (!*more) continue;
            BLOOM_TRY(all, intersection(all, **more, budget));
        }
        if (!any_length) {
            BLOOM_TRY(const TextDfa lengths, length_dfa(least, repeat_bound(most), budget));
            BLOOM_TRY(all, intersection(all, lengths, budget));
        }
        if (all.nothing()) return grammar_.nothing();
        BLOOM_TRY(ByteDfa bytes, to_bytes(all, TextForm::raw, budget));
        return notation_.automaton(std::move(bytes));
    };
    Result<GrammarNode> node = limited();
    if (node) return node;
    return blame(parts, {"pattern", "format", "maxLength", "minLength"}, std::move(node).error());
}

Result<GrammarNode> SchemaCompiler::tagged_literals(const Parts& parts, const Facts& facts,
                                                    std::uint8_t coerced) {
    std::vector<GrammarNode> options;
    for (const Value* value : *facts.values) {
        BLOOM_TRY(const bool good, reader_.fits(parts, *value, 0));
        if (!good) continue;
        if (!value->is(ValueKind::string)) {
            if (coerced == kTypeString) continue; // it would be read as a string
            BLOOM_TRY(const GrammarNode node, literal(*value, Demand{parts.schemas}));
            options.push_back(node);
            continue;
        }
        std::string json = "\"";
        append_json_escaped(json, value->text);
        const bool same =
            coerced == kTypeString || coerce_parameter(value->text, coerced) == json + '"';
        if (same && value->text.find(kClose) == std::string::npos)
            options.push_back(value->text.empty() ? grammar_.empty()
                                                  : grammar_.literal(value->text));
    }
    return options.empty() ? grammar_.nothing() : grammar_.choice(options);
}

/// `coerced`: the types that the parser knows the parameter to have.
Result<GrammarNode> SchemaCompiler::tagged_value(const Parts& parts, const TagNotation& tags,
                                                 std::uint8_t coerced) {
    if (parts.impossible) return grammar_.nothing();
    std::vector<GrammarNode> options;
    if (!parts.choices.empty()) {
        const Parts::Choice choice = parts.choices.front();
        if (choice.one_of) BLOOM_OK(check_exclusive(parts, choice));
        for (const Value* option : choice.options->items) {
            if (++n_branches_ > kMaxBranches) return reader_.too_complex();
            BLOOM_TRY(const Parts next, reader_.with_option(parts, choice, *option));
            BLOOM_TRY(const GrammarNode node, tagged_value(next, tags, coerced));
            options.push_back(node);
        }
        return grammar_.choice(options);
    }
    BLOOM_TRY(const Facts facts, reader_.facts(parts));
    if (facts.values) return tagged_literals(parts, facts, coerced);
    static constexpr std::pair<TypeMask, TypeSet> kTypes[] = {
        {kObject, kTypeObject},   {kArray, kTypeArray},
        {kString, kTypeString},   {kNumber, kTypeInteger | kTypeNumber},
        {kBoolean, kTypeBoolean}, {kNull, kTypeNull}};
    for (const auto& [type, known] : kTypes) {
        if ((facts.types & type) == 0) continue;
        if (type != kString && (coerced & known) == 0) continue; // it would be read as a string
        for (const Facts::Refusal& refusal : facts.refusals) {
            if ((refusal.types & type) != 0) return refused(refusal);
        }
        BLOOM_TRY(const GrammarNode node,
                  type == kString ? tagged_text(parts, facts, coerced) : typed(parts, facts, type));
        options.push_back(node);
    }
    return options.empty() ? grammar_.nothing() : grammar_.choice(options);
}

Result<GrammarNode> SchemaCompiler::tagged_members(const Value& root, const TagNotation& tags) {
    const auto refuse = [&](std::string_view what) {
        return Error{Code::unsupported,
                     fmt::format("the parameters of {}: {} cannot be enforced in the way in which "
                                 "this model writes calls",
                                 quoted(tags.tool->name), what)};
    };
    BLOOM_TRY(const Parts parts, reader_.parts(Demand{{&root}}));
    if (!parts.choices.empty()) return refuse("anyOf and oneOf around all of them");
    BLOOM_TRY(const Facts facts, reader_.facts(parts));
    if (parts.impossible || (facts.types & kObject) == 0) return grammar_.nothing();
    if (facts.values) return refuse("enum and const around all of them");
    for (const Facts::Refusal& refusal : facts.refusals) {
        if ((refusal.types & kObject) != 0) return refused(refusal);
    }
    BLOOM_TRY(std::vector<std::string> names, reader_.declared(parts));
    for (const std::string& name : facts.required) {
        if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
    BLOOM_TRY(const std::optional<TextDfa> allowed, this->names(facts));
    const bool counted =
        facts.min_properties > facts.required.size() || facts.max_properties < names.size();
    if (counted) return refuse("minProperties and maxProperties");
    std::vector<GrammarNode> members;
    for (const std::string& name : names) {
        const bool needed = std::ranges::find(facts.required, name) != facts.required.end();
        BLOOM_TRY(const Demand demand, reader_.property(parts, name, strict_));
        const bool possible = !demands_nothing(demand) && (!allowed || allowed->matches(name));
        if (possible && !can_be_tagged(name)) {
            if (needed) return refuse(fmt::format("a parameter named {}", quoted(name)));
            continue;
        }
        if (!possible && needed) return grammar_.nothing();
        if (!possible) continue;
        BLOOM_TRY(const Parts inside, reader_.parts(demand));
        BLOOM_TRY(const GrammarNode value,
                  tagged_value(inside, tags, tags.types->of(tags.tool->name, name)));
        const GrammarNode member = in_tags(grammar_, name, value, tags.framed);
        members.push_back(needed ? member : grammar_.optional(member));
    }
    BLOOM_OK(write_pending());
    return grammar_.sequence(members);
}

} // namespace schema

namespace {

/// Any of the declared parameters, in their order; where none is declared, any at all.
Result<GrammarNode> add_free_parameters(GrammarBuilder& g, const gen::ToolDefinition& tool,
                                        bool framed) {
    std::vector<GrammarNode> members;
    const std::string text = arguments_schema(tool);
    if (const auto document = schema::Document::parse(text)) {
        const schema::Value* declared = document->root().find("properties");
        if (declared != nullptr) {
            for (const schema::Value::Member& m : declared->members) {
                if (can_be_tagged(m.key))
                    members.push_back(g.optional(in_tags(g, m.key, free_text(g), framed)));
            }
        }
    }
    return g.sequence(members);
}

} // namespace

Result<GrammarNode> add_parameters(GrammarBuilder& g, const Callable& f, bool framed) {
    if (!f.enforced) return add_free_parameters(g, *f.tool, framed);
    const std::string text = arguments_schema(*f.tool);
    BLOOM_TRY(const schema::Document document, schema::Document::parse(text));
    BLOOM_TRY(schema::References refs, schema::References::index(document.root()));
    schema::Budget budget(schema::kMaxSchemaSteps);
    schema::SchemaReader reader(refs, budget);
    schema::Notation notation(g, ValueSyntax::json, true);
    const ParameterTypes types({*f.tool});
    return schema::SchemaCompiler(notation, reader, f.tool->strict)
        .tagged_members(document.root(), {framed, f.tool, &types});
}

} // namespace bloom::text
