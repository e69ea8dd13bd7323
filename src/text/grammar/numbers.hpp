#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

/// Numbers as decimals, exactly as they are written, and automata for the numbers within bounds.
namespace bloom::text::schema {

/// A decimal number of any size: digits times ten to the exponent.
struct Decimal {
    bool negative = false;
    std::string digits;        ///< without zeros at either end; empty: zero
    std::int32_t exponent = 0; ///< of the last digit

    /// `json`: a JSON number. Exponents beyond the range of doubles are clamped.
    static Decimal parse(std::string_view json);

    bool is_zero() const noexcept { return digits.empty(); }

    bool is_integer() const noexcept { return exponent >= 0; }

    /// Digits before the point, without leading zeros; may be empty.
    std::string whole() const;
    /// Digits behind the point, without trailing zeros; may be empty.
    std::string fraction() const;
    /// The one way in which grammars write this value: integers and short fractions plainly, with
    /// an exponent only what is very large or small.
    std::string text() const;
    /// As a count, for keywords such as minLength; nullopt for what is none.
    std::optional<std::uint64_t> count() const;

    bool operator==(const Decimal&) const = default;
};

/// Negative, zero or positive as a is less than, equal to or greater than b.
int compare(const Decimal& a, const Decimal& b);

/// Whether `value` is an integer times `step` (positive). Exact.
bool is_multiple(const Decimal& value, const Decimal& step);

/// Digits before and behind the point of numbers, where no bound asks for more: what a double and
/// an int64 keep.
inline constexpr std::uint32_t kNumberDigits = 18;
/// Digits that bounds may ask for: those of the largest double.
inline constexpr std::uint32_t kMaxNumberDigits = 340;
/// Largest step of multiples, after powers of ten have been taken out.
inline constexpr std::uint32_t kMaxMultiple = 1024;
inline constexpr std::size_t kMaxNumberStates = std::size_t{1} << 14;

struct NumberBound {
    Decimal value;
    bool exclusive = false;
};

struct NumberRange {
    bool integer = false;
    std::optional<NumberBound> least;
    std::optional<NumberBound> most;
    std::optional<Decimal> step; ///< only integers times this

    bool free() const noexcept { return !least && !most && !step; }
};

/// Whether the value lies in the range.
bool contains(const NumberRange& range, const Decimal& value);

/// All spellings of the numbers of a range. Without bounds numbers may have an exponent; integers
/// never have one. No leading zeros, no minus before zero. A range without numbers gives an
/// automaton without accepting states.
/// Errors: too_large (digits, states).
Result<ByteDfa> number_dfa(const NumberRange& range);

} // namespace bloom::text::schema
