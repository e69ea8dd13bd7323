#include "text/grammar/json_schema_notation.hpp"

#include <algorithm>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::text::schema {
namespace {

/// Around strings in Gemma's notation; nothing inside them is escaped.
constexpr std::string_view kGemmaQuote = "<|\"|>";
/// Longest strings in Gemma's notation that are counted together with the search for the quote;
/// longer ones are kept clear of its first character instead.
constexpr std::uint64_t kMaxGemmaCounted = 2000;

/// Our own automata are small; they do not run out of anything.
constexpr std::uint64_t kOwnSteps = 1'000'000;

void edge(ByteDfa& dfa, std::size_t from, char first, char last, std::size_t to) {
    dfa.states[from].edges.push_back({static_cast<std::uint8_t>(first),
                                      static_cast<std::uint8_t>(last),
                                      static_cast<std::uint32_t>(to)});
}

void hex_edges(ByteDfa& dfa, std::size_t from, std::size_t to) {
    edge(dfa, from, '0', '9', to);
    edge(dfa, from, 'A', 'F', to);
    edge(dfa, from, 'a', 'f', to);
}

/// Lets every character be written as \uXXXX, those beyond U+FFFF as a pair of surrogates; lone
/// surrogates are not characters. `escape` is the state behind the backslash.
void add_unicode_escapes(ByteDfa& dfa, std::size_t escape, std::size_t target) {
    const std::size_t u = dfa.states.size();
    const std::size_t three = u + 1; // digits still to come
    const std::size_t two = u + 2;
    const std::size_t one = u + 3;
    const std::size_t after_d = u + 4;
    const std::size_t high = u + 5; // the last digits of a high surrogate, and what must follow
    dfa.states.resize(u + 11);
    std::erase_if(dfa.states[escape].edges, [](const ByteDfa::Edge& e) { return e.first == 'u'; });
    edge(dfa, escape, 'u', 'u', u);
    std::ranges::sort(dfa.states[escape].edges, {}, &ByteDfa::Edge::first);
    edge(dfa, u, '0', '9', three);
    edge(dfa, u, 'A', 'C', three);
    edge(dfa, u, 'D', 'D', after_d);
    edge(dfa, u, 'E', 'F', three);
    edge(dfa, u, 'a', 'c', three);
    edge(dfa, u, 'd', 'd', after_d);
    edge(dfa, u, 'e', 'f', three);
    hex_edges(dfa, three, two);
    hex_edges(dfa, two, one);
    hex_edges(dfa, one, target);
    edge(dfa, after_d, '0', '7', two);
    edge(dfa, after_d, '8', '9', high);
    edge(dfa, after_d, 'A', 'B', high);
    edge(dfa, after_d, 'a', 'b', high);
    hex_edges(dfa, high, high + 1);
    hex_edges(dfa, high + 1, high + 2);
    edge(dfa, high + 2, '\\', '\\', high + 3);
    edge(dfa, high + 3, 'u', 'u', high + 4);
    edge(dfa, high + 4, 'D', 'D', high + 5);
    edge(dfa, high + 4, 'd', 'd', high + 5);
    edge(dfa, high + 5, 'C', 'F', two);
    edge(dfa, high + 5, 'c', 'f', two);
}

/// All characters but the one that begins tags, to the state `target`.
std::vector<TextDfa::Edge> edges_without_angle(std::uint32_t target) {
    return {{0, U'<' - 1, target}, {U'<' + 1, 0x10ffff, target}};
}

/// The content of strings: of one character, or of any number.
ByteDfa json_content(bool one, bool tagged) {
    TextDfa chars;
    const std::uint32_t next = one ? 1 : 0;
    chars.states.push_back({{{0, 0x10ffff, next}}, !one});
    if (tagged) chars.states[0].edges = edges_without_angle(next);
    if (one) chars.states.push_back({{}, true});
    Budget budget(kOwnSteps);
    Result<ByteDfa> bytes = to_bytes(chars, TextForm::json, budget);
    BLOOM_CHECK(bytes.has_value());
    const auto& edges = bytes->states[0].edges;
    const auto backslash = std::ranges::find_if(
        edges, [](const ByteDfa::Edge& e) { return e.first <= '\\' && e.last >= '\\'; });
    BLOOM_CHECK(backslash != edges.end());
    add_unicode_escapes(*bytes, backslash->target, one ? 1 : 0);
    return *std::move(bytes);
}

/// The same between quotation marks.
ByteDfa between_quotes(ByteDfa content) {
    const std::size_t n = content.states.size();
    content.states.resize(n + 2);
    for (std::size_t s = 0; s < n; ++s) {
        if (!std::exchange(content.states[s].accepts, false)) continue;
        auto& edges = content.states[s].edges;
        const auto at = std::ranges::upper_bound(edges, '"', {}, &ByteDfa::Edge::first);
        edges.insert(at, {'"', '"', static_cast<std::uint32_t>(n)});
    }
    content.states[n].accepts = true;
    // The start has to be state 0.
    const auto start = static_cast<std::uint32_t>(n + 1);
    std::swap(content.states[0], content.states[start]);
    for (ByteDfa::State& state : content.states) {
        for (ByteDfa::Edge& e : state.edges) {
            if (e.target == 0) e.target = start;
        }
    }
    content.states[0].edges = {{'"', '"', start}};
    return content;
}

/// Names that Gemma's notation has bare.
bool is_bare(std::string_view name) {
    const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-' || c == '.' || c == '$';
    };
    return !name.empty() && std::ranges::all_of(name, good);
}

constexpr std::string_view kBarePattern = "^[a-zA-Z0-9_.$-]+$";

} // namespace

GrammarNode Notation::null() {
    if (syntax_ == ValueSyntax::json) return grammar_.literal("null");
    return choice({grammar_.literal("null"), grammar_.literal("None")});
}

GrammarNode Notation::boolean(bool value) {
    return grammar_.literal(value ? "true" : "false");
}

GrammarNode Notation::number(const Decimal& value) {
    return grammar_.literal(value.text());
}

GrammarNode Notation::gemma_quote() {
    return grammar_.tag(kGemmaQuote);
}

GrammarNode Notation::quoted(GrammarNode content) {
    if (syntax_ == ValueSyntax::gemma) return sequence({gemma_quote(), content, gemma_quote()});
    return sequence({grammar_.literal("\""), content, grammar_.literal("\"")});
}

GrammarNode Notation::string(std::string_view text) {
    if (syntax_ == ValueSyntax::gemma) {
        // What contains the quote cannot be written.
        if (text.find(kGemmaQuote) != std::string_view::npos) return grammar_.nothing();
        return text.empty() ? sequence({gemma_quote(), gemma_quote()})
                            : quoted(grammar_.literal(text));
    }
    std::string out;
    json::append_string(out, text);
    for (std::size_t at = 0; tagged_ && (at = out.find('<', at)) != std::string::npos;)
        out.replace(at, 1, "\\u003c");
    return grammar_.literal(out);
}

GrammarNode Notation::automaton(ByteDfa dfa) {
    if (dfa.states[0].edges.empty() && !dfa.states[0].accepts) return grammar_.nothing();
    return grammar_.automaton(std::move(dfa));
}

GrammarNode Notation::any_number() {
    if (!any_number_) any_number_ = automaton(*number_dfa({}));
    return *any_number_;
}

GrammarNode Notation::any_integer() {
    if (!any_integer_) {
        NumberRange range;
        range.integer = true;
        any_integer_ = automaton(*number_dfa(range));
    }
    return *any_integer_;
}

GrammarNode Notation::any_string() {
    if (!any_string_) {
        const std::string_view quote = kGemmaQuote;
        any_string_ = syntax_ == ValueSyntax::gemma
                          ? quoted(grammar_.text_without(std::span(&quote, 1)))
                          : automaton(between_quotes(json_content(false, tagged_)));
    }
    return *any_string_;
}

GrammarNode Notation::json_char() {
    if (!json_char_) json_char_ = automaton(json_content(true, tagged_));
    return *json_char_;
}

Result<GrammarNode> Notation::string_of(std::uint64_t least, std::uint64_t most, Budget& budget) {
    if (least == 0 && most >= kMaxGrammarRepeat) return any_string();
    if (least > most) return grammar_.nothing();
    if (least > kMaxGrammarRepeat) {
        return Error{Code::too_large, "minLength is beyond " + std::to_string(kMaxGrammarRepeat)};
    }
    const std::uint32_t low = static_cast<std::uint32_t>(least);
    const std::uint32_t high =
        most >= kMaxGrammarRepeat ? kUnbounded : static_cast<std::uint32_t>(most);
    if (syntax_ == ValueSyntax::json) return quoted(grammar_.repeat(json_char(), low, high));
    if ((high == kUnbounded ? low : high) <= kMaxGemmaCounted) {
        BLOOM_TRY(const TextDfa lengths, length_dfa(low, high, budget));
        return string_in(lengths, budget);
    }
    constexpr CodePointRange kClear[] = {{0, '<' - 1}, {'<' + 1, 0x10ffff}};
    return quoted(grammar_.repeat(grammar_.characters(kClear), low, high));
}

Result<GrammarNode> Notation::string_in(const TextDfa& texts, Budget& budget) {
    if (texts.nothing()) return grammar_.nothing();
    if (syntax_ == ValueSyntax::json && tagged_) {
        TextDfa plain;
        plain.states.push_back({edges_without_angle(0), true});
        BLOOM_TRY(const TextDfa both, intersection(texts, plain, budget));
        if (both.nothing()) return grammar_.nothing();
        BLOOM_TRY(ByteDfa bytes, to_bytes(both, TextForm::json, budget));
        return automaton(between_quotes(std::move(bytes)));
    }
    if (syntax_ == ValueSyntax::json) {
        BLOOM_TRY(ByteDfa bytes, to_bytes(texts, TextForm::json, budget));
        return automaton(between_quotes(std::move(bytes)));
    }
    BLOOM_TRY(const TextDfa clear, without(kGemmaQuote, budget));
    BLOOM_TRY(const TextDfa both, intersection(texts, clear, budget));
    BLOOM_TRY(ByteDfa bytes, to_bytes(both, TextForm::raw, budget));
    return quoted(automaton(std::move(bytes)));
}

GrammarNode Notation::key(std::string_view name) {
    if (syntax_ == ValueSyntax::gemma && is_bare(name)) return grammar_.literal(name);
    return string(name);
}

GrammarNode Notation::any_key() {
    if (syntax_ == ValueSyntax::json) return any_string();
    Budget budget(kOwnSteps);
    const Result<TextDfa> bare = pattern_dfa(kBarePattern, budget);
    BLOOM_CHECK(bare.has_value());
    Result<ByteDfa> bytes = to_bytes(*bare, TextForm::raw, budget);
    BLOOM_CHECK(bytes.has_value());
    return choice({automaton(*std::move(bytes)), any_string()});
}

Result<GrammarNode> Notation::key_in(const TextDfa& names, Budget& budget) {
    BLOOM_TRY(const GrammarNode marked, string_in(names, budget));
    if (syntax_ == ValueSyntax::json) return marked;
    BLOOM_TRY(const TextDfa bare, pattern_dfa(kBarePattern, budget));
    BLOOM_TRY(const TextDfa both, intersection(names, bare, budget));
    BLOOM_TRY(ByteDfa bytes, to_bytes(both, TextForm::raw, budget));
    return choice({automaton(std::move(bytes)), marked});
}

GrammarNode Notation::separator(char c) {
    const std::string text(1, c);
    if (syntax_ == ValueSyntax::gemma) return grammar_.literal(text);
    // One space may follow, as most models write it.
    return sequence({grammar_.literal(text), grammar_.optional(grammar_.literal(" "))});
}

GrammarNode Notation::list(std::string_view open, GrammarNode item, std::string_view close) {
    const GrammarNode more = grammar_.repeat(sequence({comma(), item}), 0, kUnbounded);
    return sequence({grammar_.literal(open), grammar_.optional(sequence({item, more})),
                     grammar_.literal(close)});
}

GrammarRule Notation::value_rule() {
    if (value_rule_) return *value_rule_;
    value_rule_ = grammar_.declare();
    grammar_.define(*value_rule_, choice({any_object(), any_array(), any_string(), any_number(),
                                          boolean(true), boolean(false), null()}));
    return *value_rule_;
}

GrammarNode Notation::any_value() {
    return grammar_.refer(value_rule());
}

GrammarNode Notation::any_array() {
    if (!any_array_) {
        const GrammarNode value = any_value(); // may have made this one
        if (!any_array_) any_array_ = list("[", value, "]");
    }
    return *any_array_;
}

GrammarNode Notation::any_object() {
    if (!any_object_) {
        const GrammarNode value = any_value();
        if (!any_object_) any_object_ = list("{", sequence({any_key(), colon(), value}), "}");
    }
    return *any_object_;
}

} // namespace bloom::text::schema
