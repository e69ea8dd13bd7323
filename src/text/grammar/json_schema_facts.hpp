#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

#include "text/grammar/json_schema_refs.hpp"
#include "text/grammar/json_schema_value.hpp"
#include "text/grammar/numbers.hpp"
#include "text/grammar/regex.hpp"

/// What schemas say, apart from how values are written.
namespace bloom::text::schema {

using TypeMask = std::uint8_t;
inline constexpr TypeMask kNull = 1;
inline constexpr TypeMask kBoolean = 2;
inline constexpr TypeMask kInteger = 4;
inline constexpr TypeMask kFraction = 8; ///< numbers that are no integers
inline constexpr TypeMask kNumber = kInteger | kFraction;
inline constexpr TypeMask kString = 16;
inline constexpr TypeMask kArray = 32;
inline constexpr TypeMask kObject = 64;
inline constexpr TypeMask kAnyType = 127;

inline constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

/// Schemas that may hold together for one value, references and `allOf` resolved.
inline constexpr std::size_t kMaxParts = 512;
/// Steps of reading one schema: every look at a schema, every state of a pattern's automaton.
inline constexpr std::uint64_t kMaxSchemaSteps = 10'000'000;
/// Levels that are searched for a contradiction when `oneOf` needs one.
inline constexpr int kMaxProofDepth = 6;

/// The schemas that all have to hold for one value; none: any value.
struct Demand {
    std::vector<const Value*> schemas;

    std::vector<std::uint32_t> key() const;
};

/// A Demand taken apart: schemas whose own keywords hold, and choices that are still open.
/// The order of `schemas`, which is the order of properties: a schema, what its `$ref` means, the
/// members of its `allOf`; options of `anyOf` and `oneOf` when they are chosen.
struct Parts {
    struct Step {
        const Value* schema;
        std::size_t from;
    };

    struct Choice {
        const Value* schema;
        const Value* options;
        bool one_of;
        std::size_t step;
    };

    std::vector<const Value*> schemas;
    std::vector<Choice> choices;
    std::vector<Step> steps; ///< how each schema was reached, to find those that reach themselves
    bool impossible = false; ///< `false` is among them
};

inline constexpr std::size_t kNoStep = ~std::size_t{0};

/// The keywords of Parts put together.
struct Facts {
    /// A keyword that cannot be enforced, for values of these types.
    struct Refusal {
        TypeMask types;
        std::string_view keyword;
        const Value* schema;
        std::string_view why;
    };

    TypeMask types = kAnyType;
    std::optional<std::vector<const Value*>> values; ///< of enum and const
    NumberRange numbers;
    std::uint64_t min_length = 0;
    std::uint64_t max_length = kNoLimit;
    std::vector<const Value*> patterns;
    std::vector<const Value*> formats;
    std::uint64_t min_items = 0;
    std::uint64_t max_items = kNoLimit;
    std::uint64_t min_properties = 0;
    std::uint64_t max_properties = kNoLimit;
    std::vector<std::string> required; ///< each once, in the order of the schemas
    Demand names;                      ///< of propertyNames
    std::vector<Refusal> refusals;
};

Error refused(const Facts::Refusal& refusal);

/// Reads schemas of one document. Thread: one.
class SchemaReader {
public:
    SchemaReader(References& refs, Budget& budget) : refs_(refs), budget_(budget) {}

    Budget& budget() noexcept { return budget_; }

    /// Takes a Demand apart. Errors: of references; invalid_argument (no schema, a reference to
    /// itself without progress); too_large.
    Result<Parts> parts(const Demand& demand);
    /// The same with one option of a choice taken.
    Result<Parts> with_option(const Parts& parts, const Parts::Choice& choice, const Value& option);
    /// Errors: invalid_argument (keywords with values they cannot have).
    Result<Facts> facts(const Parts& parts);

    /// Drops what demands nothing and follows what is only a reference.
    Result<Demand> simplified(Demand demand);
    /// What holds for element `i`; the same for all beyond n_prefix.
    Result<Demand> item(const Parts& parts, std::size_t i);
    Result<std::size_t> n_prefix(const Parts& parts);
    /// What holds for the property; `strict` as JsonSchemaOptions has it.
    Result<Demand> property(const Parts& parts, std::string_view name, bool strict);

    /// Names in `properties`, each once, in order.
    Result<std::vector<std::string>> declared(const Parts& parts);
    /// All keys of patternProperties.
    Result<std::vector<const Value*>> name_patterns(const Parts& parts);
    /// What holds for a property that is not declared and whose name matches `matched`.
    Result<Demand> undeclared(const Parts& parts, const std::vector<std::string>& matched,
                              bool strict);

    /// Whether a value of the document satisfies the demand. Errors: unsupported.
    Result<bool> fits(const Demand& demand, const Value& value, int depth = 0);
    Result<bool> fits(const Parts& parts, const Value& value, int depth);
    /// The same for Parts without choices and their facts.
    Result<bool> fits_facts(const Parts& parts, const Facts& facts, const Value& value, int depth);
    /// Whether no value can satisfy it, as far as that is easily seen.
    Result<bool> contradicts(const Demand& demand, int depth = 0);
    Result<bool> contradicts(const Parts& parts, int depth);

    Result<const TextDfa*> pattern(const std::string& text, const Value& at);
    Result<const TextDfa*> format(const std::string& name);
    /// The texts that satisfy patterns and formats; nullptr where there are none. Lengths aside.
    Result<std::optional<TextDfa>> texts(const Facts& facts);

    Error too_complex() const;

private:
    Result<> add(Parts& parts, const Value& schema, std::size_t from);
    Result<bool> fits_object(const Parts& parts, const Facts& facts, const Value& value, int depth);
    Result<bool> type_contradicts(const Parts& parts, const Facts& facts, TypeMask type, int depth);
    Result<bool> object_contradicts(const Parts& parts, const Facts& facts, int depth);
    const Value* prefix_of(const Value& schema) const;
    const Value* rest_of(const Value& schema) const;

    References& refs_;
    Budget& budget_;
    std::map<std::string, TextDfa, std::less<>> patterns_;
    std::map<std::string, TextDfa, std::less<>> formats_;
};

/// Reads the keywords of one schema into the facts; json_schema_keywords.cpp.
Result<> read_keywords(const Value& schema, Draft draft, Facts& facts);

/// The bit of the value's type.
TypeMask type_of(const Value& value) noexcept;

/// "`keyword` what (at #/pointer)".
Error schema_fault(Code code, std::string_view keyword, std::string_view what, const Value& schema);

/// The schema `false`.
const Value& no_value() noexcept;

} // namespace bloom::text::schema
