#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/grammar/regex.hpp"
#include "text/grammar/regex_dfa.hpp"
#include "text/grammar/regex_syntax.hpp"

/// From a pattern's syntax to its automaton: a nondeterministic one first, then its subsets.
namespace bloom::text::schema {
namespace {

constexpr std::size_t kMaxNfaStates = std::size_t{1} << 16;
constexpr std::uint32_t kNone = 0xffff'ffff;

struct NfaState {
    enum class Kind : std::uint8_t { split, set, begin, end, found };
    Kind kind = Kind::split;
    std::uint32_t next = kNone;
    std::uint32_t other = kNone; ///< of split
    std::uint32_t set = 0;
};

/// Code points that all sets of a pattern treat alike.
struct Alphabet {
    struct Span {
        char32_t first;
        char32_t last;
        std::uint32_t symbol;
    };

    std::vector<Span> spans; ///< all code points, in order
    std::uint32_t n_symbols = 0;
    std::vector<std::vector<bool>> members; ///< [set][symbol]
};

class Nfa {
public:
    std::vector<NfaState> states;
    std::vector<CodePoints> sets;

    std::uint32_t add(NfaState state) {
        states.push_back(state);
        return static_cast<std::uint32_t>(states.size() - 1);
    }

    std::uint32_t set_of(const CodePoints& set) {
        std::string key(reinterpret_cast<const char*>(set.data()), set.size() * sizeof(set[0]));
        const auto [it, fresh] =
            known_.try_emplace(std::move(key), static_cast<std::uint32_t>(sets.size()));
        if (fresh) sets.push_back(set);
        return it->second;
    }

    /// The state from which `regex` and then `next` is read. Built from the end; gives up when
    /// there are too many states, which the caller checks.
    std::uint32_t build(const Regex& regex, std::uint32_t next) {
        if (states.size() > kMaxNfaStates) return next;
        switch (regex.kind) {
        case Regex::Kind::empty:
            return next;
        case Regex::Kind::set:
            return add({NfaState::Kind::set, next, kNone, set_of(regex.set)});
        case Regex::Kind::begin:
            return add({NfaState::Kind::begin, next});
        case Regex::Kind::end:
            return add({NfaState::Kind::end, next});
        case Regex::Kind::sequence:
            for (std::size_t i = regex.parts.size(); i-- > 0;)
                next = build(regex.parts[i], next);
            return next;
        case Regex::Kind::choice: {
            std::uint32_t entry = build(regex.parts.back(), next);
            for (std::size_t i = regex.parts.size() - 1; i-- > 0;)
                entry = add({NfaState::Kind::split, build(regex.parts[i], next), entry});
            return entry;
        }
        case Regex::Kind::repeat:
            return repeat(regex, next);
        }
        return next;
    }

private:
    std::uint32_t repeat(const Regex& regex, std::uint32_t next) {
        const Regex& body = regex.parts[0];
        std::uint32_t entry = next;
        if (regex.most == kUnbounded) {
            entry = add({NfaState::Kind::split, kNone, next});
            const std::uint32_t first = build(body, entry);
            states[entry].next = first;
        } else {
            for (std::uint32_t i = regex.least; i < regex.most; ++i) {
                if (states.size() > kMaxNfaStates) return next;
                entry = add({NfaState::Kind::split, build(body, entry), next});
            }
        }
        for (std::uint32_t i = 0; i < regex.least && states.size() <= kMaxNfaStates; ++i)
            entry = build(body, entry);
        return entry;
    }

    std::map<std::string, std::uint32_t> known_;
};

std::optional<Alphabet> alphabet_of(const std::vector<CodePoints>& sets, Budget& budget) {
    std::vector<char32_t> starts{0, 0xd800, 0xe000};
    for (const CodePoints& set : sets) {
        for (const CodePointRange& r : set) {
            starts.push_back(r.first);
            if (r.last < kLastCodePoint) starts.push_back(r.last + 1);
        }
        if (!budget.spend(set.size())) return std::nullopt;
    }
    std::ranges::sort(starts);
    starts.erase(std::ranges::unique(starts).begin(), starts.end());
    if (!budget.spend(starts.size() * (sets.size() + 1))) return std::nullopt;
    // Which sets a span is in, as bits in the order of the sets.
    std::vector<std::string> rows(starts.size(), std::string((sets.size() + 7) / 8, '\0'));
    for (std::size_t s = 0; s < sets.size(); ++s) {
        for (const CodePointRange& r : sets[s]) {
            auto i = static_cast<std::size_t>(std::ranges::lower_bound(starts, r.first) -
                                              starts.begin());
            for (; i < starts.size() && starts[i] <= r.last; ++i)
                rows[i][s / 8] = static_cast<char>(rows[i][s / 8] | 1 << s % 8);
        }
    }
    Alphabet out;
    out.members.resize(sets.size());
    std::map<std::string, std::uint32_t> symbols;
    for (std::size_t i = 0; i < starts.size(); ++i) {
        const char32_t last = i + 1 < starts.size() ? starts[i + 1] - 1 : kLastCodePoint;
        if (starts[i] >= 0xd800 && last < 0xe000) continue; // no character
        const auto [it, fresh] = symbols.try_emplace(rows[i], out.n_symbols);
        if (fresh) {
            ++out.n_symbols;
            for (std::size_t s = 0; s < sets.size(); ++s)
                out.members[s].push_back((rows[i][s / 8] >> s % 8 & 1) != 0);
        }
        out.spans.push_back({starts[i], last, it->second});
    }
    return out;
}

class Subsets {
public:
    Subsets(const Nfa& nfa, const Alphabet& alphabet, Budget& budget)
        : nfa_(nfa), alphabet_(alphabet), budget_(budget), seen_(nfa.states.size(), 0) {}

    std::optional<TextDfa> build(std::uint32_t start) {
        std::vector<std::uint32_t> first = closure({start}, true, false);
        sets_.push_back(first);
        dfa_.states.emplace_back();
        dfa_.states[0].accepts = found(closure(std::move(first), true, true));
        for (std::uint32_t at = 0; at < sets_.size(); ++at) {
            if (!expand(at)) return std::nullopt;
        }
        return std::move(dfa_);
    }

private:
    bool expand(std::uint32_t at) {
        std::vector<std::uint32_t> target(alphabet_.n_symbols, kNone);
        for (std::uint32_t symbol = 0; symbol < alphabet_.n_symbols; ++symbol) {
            std::vector<std::uint32_t> next;
            for (const std::uint32_t s : sets_[at]) {
                const NfaState& state = nfa_.states[s];
                if (state.kind == NfaState::Kind::found) {
                    next.assign(1, s); // found stays found
                    break;
                }
                if (state.kind == NfaState::Kind::set && alphabet_.members[state.set][symbol]) {
                    next.push_back(state.next);
                }
            }
            if (!budget_.spend(sets_[at].size() + 1)) return false;
            if (next.empty()) continue;
            next = closure(std::move(next), false, false);
            if (found(next)) std::erase_if(next, [&](std::uint32_t s) { return !is_found(s); });
            const auto id = state_of(std::move(next));
            if (!id) return false;
            target[symbol] = *id;
        }
        if (!budget_.spend(alphabet_.spans.size())) return false;
        for (const Alphabet::Span& span : alphabet_.spans) {
            if (target[span.symbol] == kNone) continue;
            append_edge(dfa_.states[at], {span.first, span.last, target[span.symbol]});
        }
        n_edges_ += dfa_.states[at].edges.size();
        return n_edges_ <= kMaxTextEdges;
    }

    std::optional<std::uint32_t> state_of(std::vector<std::uint32_t> set) {
        const auto known = ids_.find(set);
        if (known != ids_.end()) return known->second;
        if (sets_.size() >= kMaxPatternStates) return std::nullopt;
        const auto id = static_cast<std::uint32_t>(sets_.size());
        dfa_.states.emplace_back();
        dfa_.states.back().accepts = found(closure(set, false, true));
        ids_.emplace(set, id);
        sets_.push_back(std::move(set));
        return id;
    }

    bool is_found(std::uint32_t s) const { return nfa_.states[s].kind == NfaState::Kind::found; }

    bool found(const std::vector<std::uint32_t>& set) const {
        return std::ranges::any_of(set, [&](std::uint32_t s) { return is_found(s); });
    }

    /// What can be reached without a character: sets, ends that still wait, and found.
    std::vector<std::uint32_t> closure(std::vector<std::uint32_t> open, bool at_begin,
                                       bool at_end) {
        ++round_;
        std::vector<std::uint32_t> out;
        while (!open.empty()) {
            const std::uint32_t s = open.back();
            open.pop_back();
            if (s == kNone || seen_[s] == round_) continue;
            seen_[s] = round_;
            budget_.spend(1);
            const NfaState& state = nfa_.states[s];
            switch (state.kind) {
            case NfaState::Kind::split:
                open.push_back(state.next);
                open.push_back(state.other);
                break;
            case NfaState::Kind::begin:
                if (at_begin) open.push_back(state.next);
                break;
            case NfaState::Kind::end:
                out.push_back(s);
                if (at_end) open.push_back(state.next);
                break;
            default:
                out.push_back(s);
            }
        }
        std::ranges::sort(out);
        return out;
    }

    const Nfa& nfa_;
    const Alphabet& alphabet_;
    Budget& budget_;
    TextDfa dfa_;
    std::vector<std::vector<std::uint32_t>> sets_;
    std::map<std::vector<std::uint32_t>, std::uint32_t> ids_;
    std::vector<std::uint32_t> seen_;
    std::uint32_t round_ = 0;
    std::size_t n_edges_ = 0;
};

/// Walks over a pattern, seeing escapes, classes and groups as such.
struct Scan {
    std::string_view pattern;
    std::size_t at = 0;
    int depth = 0;

    void step() {
        const char c = pattern[at];
        if (c == '\\') {
            ++at;
        } else if (c == '[') {
            for (++at; at < pattern.size() && pattern[at] != ']'; ++at)
                at += pattern[at] == '\\' ? 1 : 0;
        } else if (c == '(') {
            ++depth;
        } else if (c == ')') {
            --depth;
        }
        ++at;
    }
};

/// The place behind the group that begins at `at`; npos where it does not end.
std::size_t behind_group(std::string_view pattern, std::size_t at) {
    Scan scan{pattern, at};
    do {
        scan.step();
    } while (scan.depth > 0 && scan.at < pattern.size());
    return scan.depth == 0 && scan.at <= pattern.size() ? scan.at : std::string_view::npos;
}

bool has_choice(std::string_view pattern) {
    for (Scan scan{pattern}; scan.at < pattern.size(); scan.step()) {
        if (scan.depth == 0 && pattern[scan.at] == '|') return true;
    }
    return false;
}

bool is_guarded(std::string_view pattern) {
    return pattern.starts_with("^(?=") || pattern.starts_with("^(?!");
}

Result<TextDfa> unguarded_dfa(std::string_view pattern, Budget& budget) {
    BLOOM_TRY(const Regex regex, parse_regex(pattern));
    Nfa nfa;
    const CodePoints all{{0, kLastCodePoint}};
    const std::uint32_t found = nfa.add({NfaState::Kind::found});
    const std::uint32_t entry = nfa.build(regex, found);
    // Anything may stand before what is looked for.
    const std::uint32_t start = nfa.add({NfaState::Kind::split, entry, kNone});
    nfa.states[start].other = nfa.add({NfaState::Kind::set, start, kNone, nfa.set_of(all)});
    if (nfa.states.size() > kMaxNfaStates) {
        return Error{Code::too_large, "its counts need too many states"};
    }
    const std::optional<Alphabet> alphabet = alphabet_of(nfa.sets, budget);
    std::optional<TextDfa> dfa;
    if (alphabet) dfa = Subsets(nfa, *alphabet, budget).build(start);
    if (!dfa) return Error{Code::too_large, "it needs too many states"};
    trim(*dfa);
    minimise(*dfa, budget);
    return std::move(*dfa);
}

} // namespace

/// Lookahead right behind a leading `^` is a condition on the whole text: an automaton of its own.
Result<TextDfa> pattern_dfa(std::string_view pattern, Budget& budget) {
    if (pattern.size() > kMaxPatternBytes) {
        return Error{Code::too_large, "longer than " + std::to_string(kMaxPatternBytes) + " bytes"};
    }
    if (!is_guarded(pattern)) return unguarded_dfa(pattern, budget);

    struct Guard {
        std::string_view pattern;
        bool negative;
    };

    std::vector<Guard> guards;
    std::string rest(pattern);
    std::size_t at = 1;
    while (is_guarded("^" + rest.substr(at, 3))) {
        const std::size_t end = behind_group(pattern, at);
        if (end == std::string_view::npos) {
            return Error{Code::invalid_argument, "a '(' without its ')'"};
        }
        guards.push_back({pattern.substr(at + 3, end - at - 4), pattern[at + 2] == '!'});
        at = end;
    }
    rest = "^" + rest.substr(at);
    if (has_choice(rest)) return Error{Code::unsupported, "lookahead before a choice"};
    BLOOM_TRY(TextDfa out, unguarded_dfa(rest, budget));
    for (const Guard& guard : guards) {
        BLOOM_TRY(TextDfa dfa, unguarded_dfa("^(?:" + std::string(guard.pattern) + ")", budget));
        if (guard.negative) {
            BLOOM_TRY(dfa, complement(dfa, budget));
        }
        BLOOM_TRY(out, intersection(out, dfa, budget));
    }
    minimise(out, budget);
    return out;
}

} // namespace bloom::text::schema
