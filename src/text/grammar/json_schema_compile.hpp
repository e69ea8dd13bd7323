#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/json_schema.hpp>

#include "text/grammar/json_schema_facts.hpp"
#include "text/grammar/json_schema_notation.hpp"

namespace bloom::text::schema {

/// Different sets of schemas that one schema may lead to.
inline constexpr std::size_t kMaxDemands = std::size_t{1} << 13;
/// Options of anyOf and oneOf that are written out, all combinations counted.
inline constexpr std::size_t kMaxBranches = std::size_t{1} << 13;
/// Patterns of names in one object: every combination is an automaton.
inline constexpr std::size_t kMaxNamePatterns = 4;
/// Places in an object times properties that are counted, with minProperties or maxProperties.
inline constexpr std::size_t kMaxCountedPlaces = std::size_t{1} << 14;

struct TagNotation;

/// Turns the schemas of one document into nodes of a grammar: a rule for every set of schemas that
/// holds for some value, so that recursive schemas become recursive rules.
class SchemaCompiler {
public:
    SchemaCompiler(Notation& notation, SchemaReader& reader, bool strict)
        : notation_(notation), grammar_(notation.grammar()), reader_(reader), strict_(strict) {}

    Result<GrammarNode> compile(const Value& root);
    /// Arguments of a call in tags instead; constraint_parameters.cpp.
    Result<GrammarNode> tagged_members(const Value& root, const TagNotation& tags);

private:
    struct Entry {
        GrammarNode node; ///< name, colon and value
        bool required;
    };

    struct Pending {
        Demand demand;
        GrammarRule rule;
    };

    Result<> write_pending();
    Result<GrammarNode> tagged_value(const Parts& parts, const TagNotation& tags,
                                     std::uint8_t coerced);
    Result<GrammarNode> tagged_text(const Parts& parts, const Facts& facts, std::uint8_t coerced);
    Result<GrammarNode> tagged_literals(const Parts& parts, const Facts& facts,
                                        std::uint8_t coerced);

    /// What values of a demand look like; its rule is written later.
    Result<GrammarNode> node_for(Demand demand);
    Result<GrammarNode> whole(const Parts& parts);
    Result<> check_exclusive(const Parts& parts, const Parts::Choice& choice);
    Result<GrammarNode> values(const Parts& parts, const Facts& facts);
    Result<GrammarNode> literal(const Value& value, const Demand& demand);
    Result<GrammarNode> literal_object(const Value& value, const Parts& parts);
    Result<GrammarNode> typed(const Parts& parts, const Facts& facts, TypeMask type);

    Result<GrammarNode> number(const Parts& parts, const Facts& facts);
    Result<GrammarNode> string(const Parts& parts, const Facts& facts);
    Result<GrammarNode> array(const Parts& parts, const Facts& facts);
    Result<GrammarNode> elements(const Parts& parts, const Facts& facts, std::size_t n_prefix);

    // json_schema_objects.cpp
    Result<GrammarNode> object(const Parts& parts, const Facts& facts);
    Result<std::optional<TextDfa>> names(const Facts& facts);
    Result<GrammarNode> entry(GrammarNode key, Demand demand);
    /// A member that is not declared; nullopt where none may be.
    Result<std::optional<GrammarNode>> extra(const Parts& parts,
                                             const std::vector<std::string>& declared,
                                             const std::optional<TextDfa>& names);
    GrammarNode members(const std::vector<Entry>& entries, std::optional<GrammarNode> extra,
                        bool may_be_empty);
    Result<GrammarNode> counted_members(const Parts& parts, const std::vector<Entry>& entries,
                                        std::optional<GrammarNode> extra, const Facts& facts);

    Notation& notation_;
    GrammarBuilder& grammar_;
    SchemaReader& reader_;
    bool strict_;
    std::map<std::vector<std::uint32_t>, GrammarRule> rules_;
    std::deque<Pending> pending_;
    std::size_t n_branches_ = 0;
};

/// The bound as the builder's repeat has it; what no answer reaches counts as no bound.
std::uint32_t repeat_bound(std::uint64_t most) noexcept;

/// The first schema that has one of the keywords, for messages.
Error blame(const Parts& parts, std::initializer_list<std::string_view> keywords, Error error);

/// Whether `false` is among the schemas.
bool demands_nothing(const Demand& demand) noexcept;

} // namespace bloom::text::schema
