#pragma once

#include <optional>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/json_schema.hpp>

#include "text/grammar/json_schema_value.hpp"
#include "text/grammar/regex.hpp"

namespace bloom::text::schema {

/// How values are written, as nodes of one grammar. Nodes that every schema needs are made once.
/// Lifetime: of the builder.
class Notation {
public:
    /// `tagged`: JSON stands between tags that nothing inside may be taken for, so its strings have
    /// `<` as an escape only.
    Notation(GrammarBuilder& grammar, ValueSyntax syntax, bool tagged = false)
        : grammar_(grammar), syntax_(syntax), tagged_(tagged) {}

    GrammarBuilder& grammar() noexcept { return grammar_; }

    GrammarNode null();
    GrammarNode boolean(bool value);
    GrammarNode number(const Decimal& value);
    GrammarNode string(std::string_view text);
    /// Any value of the type.
    GrammarNode any_number();
    GrammarNode any_integer();
    GrammarNode any_string();
    GrammarNode any_array();
    GrammarNode any_object();
    GrammarNode any_value();
    /// Strings of so many code points. Errors: too_large.
    Result<GrammarNode> string_of(std::uint64_t least, std::uint64_t most, Budget& budget);
    /// Strings with these texts. Errors: too_large.
    Result<GrammarNode> string_in(const TextDfa& texts, Budget& budget);

    /// Names of members, without the colon.
    GrammarNode key(std::string_view name);
    GrammarNode any_key();
    Result<GrammarNode> key_in(const TextDfa& names, Budget& budget);

    /// Between a name and its value, between members or elements.
    GrammarNode colon() { return separator(':'); }

    GrammarNode comma() { return separator(','); }

    GrammarNode sequence(std::initializer_list<GrammarNode> parts) {
        return grammar_.sequence(std::span(parts.begin(), parts.size()));
    }

    GrammarNode choice(std::initializer_list<GrammarNode> options) {
        return grammar_.choice(std::span(options.begin(), options.size()));
    }

    /// `open` items separated by commas, any number of them, `close`.
    GrammarNode list(std::string_view open, GrammarNode item, std::string_view close);
    /// An automaton, or a dead end where it accepts nothing.
    GrammarNode automaton(ByteDfa dfa);

private:
    GrammarNode separator(char c);
    GrammarNode quoted(GrammarNode content);
    GrammarNode json_char();
    GrammarNode gemma_quote();
    GrammarRule value_rule();

    GrammarBuilder& grammar_;
    ValueSyntax syntax_;
    bool tagged_;
    std::optional<GrammarNode> any_number_;
    std::optional<GrammarNode> any_integer_;
    std::optional<GrammarNode> any_string_;
    std::optional<GrammarNode> json_char_;
    std::optional<GrammarRule> value_rule_;
    std::optional<GrammarNode> any_array_;
    std::optional<GrammarNode> any_object_;
};

} // namespace bloom::text::schema
