#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/rng.hpp>
#include <bloom/text/grammar/grammar.hpp>

/// Small random grammars, written down twice: for GrammarBuilder, and as plain data that an obvious
/// recogniser reads by backtracking.
namespace bloom::test {

/// Letters of a text: bytes, and tokens that stand for tags, kTagLetter and up.
using Letters = std::vector<int>;
inline constexpr int kTagLetter = 256;

inline Letters letters(std::string_view bytes) {
    Letters out;
    for (const char c : bytes)
        out.push_back(static_cast<unsigned char>(c));
    return out;
}

class RandomGrammar {
public:
    enum class Kind {
        empty,
        nothing,
        literal,
        bytes,
        characters,
        sequence,
        choice,
        repeat,
        dfa,
        tag,
        text_without,
        refer
    };

    struct Part {
        Kind kind;
        std::string text{};          ///< literal, tag
        int first = 0, last = 0;     ///< bytes, characters
        std::vector<int> children{}; ///< parts; for refer, the rule
        std::uint32_t least = 0, most = 0;
        std::vector<std::string> ends{};
        text::ByteDfa dfa{};
    };

    /// `tags`: texts that tag() may ask for.
    RandomGrammar(Rng& rng, std::vector<std::string> tags) : rng_(&rng), tags_(std::move(tags)) {
        n_rules_ = static_cast<int>(rng.below(4));
        for (int i = 0; i < n_rules_; ++i)
            rules_.push_back(random_part(4));
        start_ = random_part(5);
        find_productive();
    }

    text::GrammarNode build(text::GrammarBuilder& b) const {
        std::vector<text::GrammarRule> rules;
        for (int i = 0; i < n_rules_; ++i)
            rules.push_back(b.declare());
        std::vector<text::GrammarNode> nodes;
        for (const Part& part : parts_)
            nodes.push_back(build_part(b, part, nodes, rules));
        for (int i = 0; i < n_rules_; ++i)
            b.define(rules[at(i)], nodes[at(rules_[at(i)])]);
        return nodes[at(start_)];
    }

    bool productive() const { return productive_[at(start_)]; }

    struct Verdict {
        bool whole = false;  ///< a sentence
        bool prefix = false; ///< of some sentence, itself perhaps
    };

    /// `token_tags`: of the tags, those that are one letter (kTagLetter + index); the others are
    /// spelled out.
    Verdict judge(const Letters& text, const std::vector<bool>& token_tags) const {
        if (!productive()) return {};
        Reader reader{*this, text, token_tags, {}};
        const Reach& reach = reader.read(start_, 0);
        Verdict verdict;
        verdict.whole = reach.ends.contains(text.size());
        verdict.prefix = verdict.whole || reach.open;
        return verdict;
    }

    /// Whether a rule that matters begins with itself, for which there is no automaton.
    bool left_recursive() const {
        std::vector<int> colour(parts_.size(), 0);
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            if (reachable(static_cast<int>(i)) && circles(static_cast<int>(i), colour)) return true;
        }
        return false;
    }

    const std::vector<std::string>& tags() const { return tags_; }

    /// For messages: a line for every part.
    std::string describe() const {
        static constexpr std::string_view kNames[] = {
            "empty",  "nothing", "literal", "bytes", "characters",   "sequence",
            "choice", "repeat",  "dfa",     "tag",   "text_without", "refer"};
        std::string out;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            const Part& part = parts_[i];
            out += std::to_string(i) + ": ";
            out += kNames[static_cast<std::size_t>(part.kind)];
            for (const char c : part.text)
                out += ' ' + std::to_string(static_cast<unsigned char>(c));
            for (const int child : part.children)
                out += ' ' + std::to_string(child);
            if (part.kind == Kind::repeat) {
                out += " x " + std::to_string(part.least) + ".." + std::to_string(part.most);
            }
            out += '\n';
        }
        for (const int rule : rules_)
            out += "rule " + std::to_string(rule) + '\n';
        return out + "start " + std::to_string(start_) + '\n';
    }

private:
    static std::size_t at(int i) { return static_cast<std::size_t>(i); }

    struct Reach {
        std::set<std::size_t> ends;
        bool open = false; ///< the text ended inside and can go on
    };

    struct Reader {
        const RandomGrammar& g;
        const Letters& text;
        const std::vector<bool>& token_tags;
        std::map<std::pair<int, std::size_t>, Reach> known;

        const Reach& read(int part, std::size_t from) {
            const std::pair key(part, from);
            if (const auto found = known.find(key); found != known.end()) return found->second;
            Reach reach = g.productive_[at(part)] ? fresh(g.parts_[at(part)], from) : Reach{};
            return known[key] = std::move(reach);
        }

        Reach fixed(const Letters& wanted, std::size_t from) const {
            Reach out;
            std::size_t i = 0;
            while (i < wanted.size() && from + i < text.size() && text[from + i] == wanted[i])
                ++i;
            if (i == wanted.size()) {
                out.ends.insert(from + i);
            } else if (from + i == text.size()) {
                out.open = true;
            }
            return out;
        }

        static void add(Reach& out, const Reach& more) {
            out.ends.insert(more.ends.begin(), more.ends.end());
            out.open |= more.open;
        }

        Reach fresh(const Part& part, std::size_t from) {
            Reach out;
            switch (part.kind) {
            case Kind::empty:
                out.ends.insert(from);
                break;
            case Kind::nothing:
                break;
            case Kind::literal:
                return fixed(letters(part.text), from);
            case Kind::bytes:
                if (from == text.size()) {
                    out.open = true;
                } else if (part.first <= text[from] && text[from] <= part.last) {
                    out.ends.insert(from + 1);
                }
                break;
            case Kind::characters:
                for (int cp = part.first; cp <= part.last; ++cp)
                    add(out, fixed(letters(utf8(cp)), from));
                break;
            case Kind::sequence:
                return sequence(part.children, from);
            case Kind::choice:
                for (const int child : part.children)
                    add(out, read(child, from));
                break;
            case Kind::repeat:
                return repeat(part, from);
            case Kind::dfa:
                return dfa(part.dfa, from);
            case Kind::tag:
                return tag(part, from);
            case Kind::text_without:
                return text_without(part, from);
            case Kind::refer:
                return read(g.rules_[at(part.children[0])], from);
            }
            return out;
        }

        Reach sequence(const std::vector<int>& children, std::size_t from) {
            Reach out;
            out.ends.insert(from);
            for (const int child : children) {
                std::set<std::size_t> starts;
                starts.swap(out.ends);
                for (const std::size_t start : starts)
                    add(out, read(child, start));
            }
            return out;
        }

        Reach repeat(const Part& part, std::size_t from) {
            Reach out;
            std::set<std::size_t> now = {from};
            const bool productive = g.productive_[at(part.children[0])];
            // Rounds without progress change nothing, so as many rounds as there are letters
            // suffice beyond `least`.
            const std::uint64_t rounds =
                std::min<std::uint64_t>(part.most, part.least + text.size() + 1);
            for (std::uint64_t i = 0; i <= rounds && !now.empty(); ++i) {
                if (i >= part.least) out.ends.insert(now.begin(), now.end());
                if (i == rounds || !productive) break;
                std::set<std::size_t> next;
                for (const std::size_t start : now) {
                    const Reach& once = read(part.children[0], start);
                    next.insert(once.ends.begin(), once.ends.end());
                    out.open |= once.open;
                }
                now.swap(next);
            }
            return out;
        }

        Reach dfa(const text::ByteDfa& automaton, std::size_t from) {
            Reach out;
            std::uint32_t state = 0;
            for (std::size_t i = from;; ++i) {
                if (automaton.states[state].accepts) out.ends.insert(i);
                if (i == text.size()) {
                    out.open = true; // random_dfa() makes no dead ends
                    return out;
                }
                bool moved = false;
                for (const auto& edge : automaton.states[state].edges) {
                    if (edge.first <= text[i] && text[i] <= edge.last) {
                        state = edge.target;
                        moved = true;
                        break;
                    }
                }
                if (!moved) return out;
            }
        }

        Reach tag(const Part& part, std::size_t from) const {
            const auto index = static_cast<std::size_t>(
                std::find(g.tags_.begin(), g.tags_.end(), part.text) - g.tags_.begin());
            if (!token_tags[index]) return fixed(letters(part.text), from);
            return fixed({kTagLetter + static_cast<int>(index)}, from);
        }

        Reach text_without(const Part& part, std::size_t from) const {
            Reach out;
            std::string soft;
            for (std::size_t i = from;; ++i) {
                if (characters_due(soft) == 0) out.ends.insert(i);
                if (i == text.size()) {
                    out.open = true;
                    return out;
                }
                if (text[i] >= kTagLetter) return out;
                soft.push_back(static_cast<char>(text[i]));
                if (characters_due(soft) < 0) return out;
                for (const std::string& end : part.ends) {
                    if (soft.ends_with(end)) return out;
                }
            }
        }

        /// Bytes that the last character lacks; -1 when the text is not UTF-8.
        static int characters_due(const std::string& text) {
            int due = 0;
            unsigned cp = 0;
            unsigned least = 0; // what the length at hand is for
            for (const char c : text) {
                const auto byte = static_cast<unsigned char>(c);
                if (due > 0) {
                    if (byte < 0x80 || byte > 0xbf) return -1;
                    cp = cp << 6 | (byte & 0x3fU);
                    --due;
                    const unsigned low = cp << 6 * due;
                    const unsigned high = low | ((1U << 6 * due) - 1);
                    if (high < least || low > 0x10ffff) return -1;
                    if (low >= 0xd800 && high <= 0xdfff) return -1;
                } else if (byte >= 0x80) {
                    if (byte < 0xc2 || byte > 0xf4) return -1;
                    due = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
                    cp = byte & (0x3fU >> due);
                    least = due == 1 ? 0x80 : due == 2 ? 0x800 : 0x10000;
                }
            }
            return due;
        }
    };

    static std::string utf8(int cp) {
        if (cp < 0x80) return std::string(1, static_cast<char>(cp));
        return {static_cast<char>(0xc0 | cp >> 6), static_cast<char>(0x80 | (cp & 0x3f))};
    }

    int add(Part part) {
        parts_.push_back(std::move(part));
        return static_cast<int>(parts_.size() - 1);
    }

    std::string random_text(std::size_t most) {
        static constexpr std::string_view kLetters = "aab\"\xc3\xa9,";
        std::string out;
        for (std::uint64_t n = 1 + rng_->below(most); n > 0; --n)
            out += kLetters[rng_->below(kLetters.size())];
        return out;
    }

    int random_list(Kind kind, int depth) {
        std::vector<int> children;
        for (std::uint64_t n = 1 + rng_->below(3); n > 0; --n)
            children.push_back(random_part(depth - 1));
        return add({.kind = kind, .children = std::move(children)});
    }

    int random_repeat(int depth) {
        const int child = random_part(depth - 1);
        const auto least = static_cast<std::uint32_t>(rng_->below(4));
        std::uint32_t most = least + static_cast<std::uint32_t>(rng_->below(4));
        if (rng_->below(3) == 0) most = text::kUnbounded;
        // Beyond what is written out, so that counters are used.
        if (rng_->below(3) == 0) most = 70 + static_cast<std::uint32_t>(rng_->below(10));
        return add({.kind = Kind::repeat, .children = {child}, .least = least, .most = most});
    }

    int random_dfa() {
        text::ByteDfa dfa;
        const std::size_t n = 1 + rng_->below(3);
        for (std::size_t i = 0; i < n; ++i) {
            text::ByteDfa::State state;
            state.accepts = i + 1 == n || rng_->below(3) == 0;
            const auto next = static_cast<std::uint32_t>(std::min(i + 1, n - 1));
            state.edges.push_back({'a', static_cast<std::uint8_t>('a' + rng_->below(2)), next});
            state.edges.push_back(
                {0xa9, 0xc3, static_cast<std::uint32_t>(rng_->below(2) == 0 ? i : next)});
            dfa.states.push_back(std::move(state));
        }
        return add({.kind = Kind::dfa, .dfa = std::move(dfa)});
    }

    int random_leaf() {
        switch (rng_->below(8)) {
        case 0:
            return add({.kind = rng_->below(4) == 0 ? Kind::nothing : Kind::empty});
        case 1:
            return add({.kind = Kind::bytes, .first = 'a', .last = 'b'});
        case 2:
            return add({.kind = Kind::characters, .first = 0x61, .last = 0x61 + 0x100});
        case 3:
            if (tags_.empty()) break;
            return add({.kind = Kind::tag, .text = tags_[rng_->below(tags_.size())]});
        case 4:
            if (rng_->below(2) == 0) return random_dfa();
            return add(
                {.kind = Kind::text_without, .ends = {rng_->below(2) == 0 ? "ab" : "\"", "bb"}});
        case 5:
        case 6:
            if (n_rules_ == 0) break;
            return add({.kind = Kind::refer,
                        .children = {
                            static_cast<int>(rng_->below(static_cast<std::uint64_t>(n_rules_)))}});
        default:
            break;
        }
        return add({.kind = Kind::literal, .text = random_text(3)});
    }

    int random_part(int depth) {
        if (!parts_.empty() && rng_->below(6) == 0) { // used again
            return static_cast<int>(rng_->below(parts_.size()));
        }
        if (depth == 0) return random_leaf();
        switch (rng_->below(5)) {
        case 0:
        case 1:
            return random_list(Kind::sequence, depth);
        case 2:
            return random_list(Kind::choice, depth);
        case 3:
            return random_repeat(depth);
        default:
            return random_leaf();
        }
    }

    bool makes_text(const Part& part) const {
        const auto ok = [&](int child) { return bool{productive_[at(child)]}; };
        switch (part.kind) {
        case Kind::nothing:
            return false;
        case Kind::sequence:
            return std::all_of(part.children.begin(), part.children.end(), ok);
        case Kind::choice:
            return std::any_of(part.children.begin(), part.children.end(), ok);
        case Kind::repeat:
            return part.least == 0 || ok(part.children[0]);
        case Kind::refer:
            return ok(rules_[at(part.children[0])]);
        default:
            return true;
        }
    }

    bool makes_empty(const Part& part) const {
        const auto ok = [&](int child) { return bool{nullable_[at(child)]}; };
        switch (part.kind) {
        case Kind::empty:
        case Kind::text_without:
            return true;
        case Kind::sequence:
            return std::all_of(part.children.begin(), part.children.end(), ok);
        case Kind::choice:
            return std::any_of(part.children.begin(), part.children.end(), ok);
        case Kind::repeat:
            return part.least == 0 || ok(part.children[0]);
        case Kind::dfa:
            return part.dfa.states[0].accepts;
        case Kind::refer:
            return ok(rules_[at(part.children[0])]);
        default:
            return false;
        }
    }

    void find_productive() {
        productive_.assign(parts_.size(), false);
        nullable_.assign(parts_.size(), false);
        for (std::size_t round = 0; round <= parts_.size(); ++round) {
            for (std::size_t i = 0; i < parts_.size(); ++i) {
                productive_[i] = makes_text(parts_[i]);
                nullable_[i] = makes_empty(parts_[i]);
            }
        }
    }

    /// Parts that take part in some sentence.
    bool reachable(int wanted) const {
        std::vector<int> queue = {start_};
        std::vector<bool> seen(parts_.size(), false);
        while (!queue.empty()) {
            const int part = queue.back();
            queue.pop_back();
            if (seen[at(part)] || !productive_[at(part)]) continue;
            seen[at(part)] = true;
            if (parts_[at(part)].kind == Kind::refer) {
                queue.push_back(rules_[at(parts_[at(part)].children[0])]);
            } else {
                queue.insert(queue.end(), parts_[at(part)].children.begin(),
                             parts_[at(part)].children.end());
            }
        }
        return seen[at(wanted)];
    }

    std::vector<int> first_parts(const Part& part) const {
        if (part.kind == Kind::refer) return {rules_[at(part.children[0])]};
        if (part.kind != Kind::sequence) return part.children;
        std::vector<int> out;
        for (const int child : part.children) {
            out.push_back(child);
            if (!nullable_[at(child)]) break;
        }
        return out;
    }

    bool circles(int part, std::vector<int>& colour) const {
        if (colour[at(part)] == 1) return true;
        if (colour[at(part)] == 2 || !productive_[at(part)]) return false;
        colour[at(part)] = 1;
        for (const int child : first_parts(parts_[at(part)])) {
            if (circles(child, colour)) return true;
        }
        colour[at(part)] = 2;
        return false;
    }

    static text::GrammarNode build_part(text::GrammarBuilder& b, const Part& part,
                                        const std::vector<text::GrammarNode>& nodes,
                                        const std::vector<text::GrammarRule>& rules) {
        std::vector<text::GrammarNode> children;
        if (part.kind != Kind::refer) {
            for (const int child : part.children)
                children.push_back(nodes[at(child)]);
        }
        switch (part.kind) {
        case Kind::empty:
            return b.empty();
        case Kind::nothing:
            return b.nothing();
        case Kind::literal:
            return b.literal(part.text);
        case Kind::bytes:
            return b.byte_range(static_cast<std::uint8_t>(part.first),
                                static_cast<std::uint8_t>(part.last));
        case Kind::characters: {
            const text::CodePointRange range{static_cast<char32_t>(part.first),
                                             static_cast<char32_t>(part.last)};
            return b.characters(std::span(&range, 1));
        }
        case Kind::sequence:
            return b.sequence(children);
        case Kind::choice:
            return b.choice(children);
        case Kind::repeat:
            return b.repeat(children[0], part.least, part.most);
        case Kind::dfa:
            return b.automaton(part.dfa);
        case Kind::tag:
            return b.tag(part.text);
        case Kind::text_without: {
            const std::vector<std::string_view> ends(part.ends.begin(), part.ends.end());
            return b.text_without(ends);
        }
        case Kind::refer:
            return b.refer(rules[at(part.children[0])]);
        }
        return b.nothing();
    }

    Rng* rng_;
    std::vector<std::string> tags_;
    int n_rules_ = 0;
    std::vector<Part> parts_; ///< children before parents
    std::vector<int> rules_;  ///< the part of each
    int start_ = 0;
    std::vector<bool> productive_;
    std::vector<bool> nullable_;
};

} // namespace bloom::test
