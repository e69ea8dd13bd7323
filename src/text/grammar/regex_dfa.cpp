#include "text/grammar/regex_dfa.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <bloom/text/unicode.hpp>

namespace bloom::text::schema {
namespace {

constexpr char32_t kLast = 0x10ffff;
constexpr std::uint32_t kNone = 0xffff'ffff;
/// Minimising is quadratic at worst; patterns are far below these.
constexpr std::size_t kMaxMinimised = 2048;
constexpr int kMaxRounds = 64;

Error too_many_states() {
    return Error{Code::too_large, "it needs too many states"};
}

bool too_large(const TextDfa& dfa, std::size_t n_edges) {
    return dfa.states.size() > kMaxPatternStates || n_edges > kMaxTextEdges;
}

} // namespace

void append_edge(TextDfa::State& state, TextDfa::Edge edge) {
    if (!state.edges.empty()) {
        TextDfa::Edge& last = state.edges.back();
        // No text has surrogates: ranges on both sides of them meet.
        const bool meets =
            last.last + 1 == edge.first || (last.last == 0xd7ff && edge.first == 0xe000);
        if (last.target == edge.target && meets) {
            last.last = edge.last;
            return;
        }
    }
    state.edges.push_back(edge);
}

void trim(TextDfa& dfa) {
    const std::size_t n = dfa.states.size();
    std::vector<std::vector<std::uint32_t>> from(n);
    std::vector<std::uint32_t> open;
    std::vector<bool> lives(n);
    for (std::uint32_t s = 0; s < n; ++s) {
        for (const TextDfa::Edge& e : dfa.states[s].edges)
            from[e.target].push_back(s);
        if (dfa.states[s].accepts) {
            lives[s] = true;
            open.push_back(s);
        }
    }
    while (!open.empty()) {
        const std::uint32_t s = open.back();
        open.pop_back();
        for (const std::uint32_t p : from[s]) {
            if (!lives[p]) open.push_back(p);
            lives[p] = true;
        }
    }
    std::vector<std::uint32_t> id(n, kNone);
    std::vector<std::uint32_t> order{0};
    id[0] = 0;
    TextDfa out;
    for (std::size_t i = 0; i < order.size(); ++i) {
        TextDfa::State& old = dfa.states[order[i]];
        TextDfa::State state;
        state.accepts = old.accepts;
        for (const TextDfa::Edge& e : old.edges) {
            if (!lives[e.target]) continue;
            if (id[e.target] == kNone) {
                id[e.target] = static_cast<std::uint32_t>(order.size());
                order.push_back(e.target);
            }
            append_edge(state, {e.first, e.last, id[e.target]});
        }
        out.states.push_back(std::move(state));
    }
    dfa = std::move(out);
}

void minimise(TextDfa& dfa, Budget& budget) {
    const std::size_t n = dfa.states.size();
    if (n > kMaxMinimised) return;
    std::vector<std::uint32_t> block(n);
    for (std::size_t s = 0; s < n; ++s)
        block[s] = dfa.states[s].accepts ? 1 : 0;
    std::size_t n_blocks = 0;
    for (int round = 0;; ++round) {
        if (round == kMaxRounds) return;
        std::map<std::vector<std::uint32_t>, std::uint32_t> blocks;
        std::vector<std::uint32_t> next(n);
        for (std::size_t s = 0; s < n; ++s) {
            TextDfa::State merged;
            for (const TextDfa::Edge& e : dfa.states[s].edges)
                append_edge(merged, {e.first, e.last, block[e.target]});
            std::vector<std::uint32_t> key{block[s]};
            for (const TextDfa::Edge& e : merged.edges)
                key.insert(key.end(), {e.first, e.last, e.target});
            if (!budget.spend(key.size())) return;
            next[s] = blocks.try_emplace(std::move(key), blocks.size()).first->second;
        }
        block = std::move(next);
        if (blocks.size() == n_blocks) break;
        n_blocks = blocks.size();
    }
    if (n_blocks == n) return;
    TextDfa out;
    out.states.resize(n_blocks);
    std::vector<bool> done(n_blocks);
    for (std::size_t s = 0; s < n; ++s) {
        if (done[block[s]]) continue;
        done[block[s]] = true;
        TextDfa::State& state = out.states[block[s]];
        state.accepts = dfa.states[s].accepts;
        for (const TextDfa::Edge& e : dfa.states[s].edges)
            append_edge(state, {e.first, e.last, block[e.target]});
    }
    dfa = std::move(out); // block 0 is that of state 0, the first seen
}

bool TextDfa::matches(std::string_view utf8) const {
    std::uint32_t at = 0;
    for (std::size_t i = 0; i < utf8.size();) {
        const Char c = decode_char(utf8, i);
        i += c.bytes;
        const std::vector<Edge>& edges = states[at].edges;
        auto it = std::ranges::upper_bound(edges, c.cp, {}, &Edge::first);
        if (it == edges.begin() || (--it)->last < c.cp) return false;
        at = it->target;
    }
    return states[at].accepts;
}

TextDfa any_text() {
    TextDfa dfa;
    dfa.states.push_back({{{0, kLast, 0}}, true});
    return dfa;
}

Result<TextDfa> length_dfa(std::uint64_t least, std::uint64_t most, Budget& budget) {
    const bool open = most == kUnbounded;
    const std::uint64_t last = open ? least : most;
    if (last >= kMaxPatternStates || !budget.spend(last)) return too_many_states();
    TextDfa dfa;
    dfa.states.resize(last + 1);
    for (std::uint32_t s = 0; s <= last; ++s) {
        dfa.states[s].accepts = s >= least;
        if (s < last) dfa.states[s].edges.push_back({0, kLast, s + 1});
    }
    if (open) dfa.states[last].edges.push_back({0, kLast, static_cast<std::uint32_t>(last)});
    if (least > most) dfa.states[0].edges.clear();
    trim(dfa);
    return dfa;
}

Result<TextDfa> words_dfa(std::span<const std::string> words, Budget& budget) {
    std::vector<std::map<char32_t, std::uint32_t>> nodes(1);
    std::vector<bool> ends(1);
    for (const std::string& word : words) {
        std::uint32_t at = 0;
        for (std::size_t i = 0; i < word.size();) {
            const Char c = decode_char(word, i);
            i += c.bytes;
            const auto [it, fresh] =
                nodes[at].try_emplace(c.cp, static_cast<std::uint32_t>(nodes.size()));
            at = it->second;
            if (!fresh) continue;
            nodes.emplace_back();
            ends.push_back(false);
            if (nodes.size() > kMaxPatternStates || !budget.spend(1)) return too_many_states();
        }
        ends[at] = true;
    }
    TextDfa dfa;
    for (std::size_t s = 0; s < nodes.size(); ++s) {
        TextDfa::State state;
        state.accepts = ends[s];
        for (const auto& [cp, target] : nodes[s])
            state.edges.push_back({cp, cp, target});
        dfa.states.push_back(std::move(state));
    }
    trim(dfa);
    return dfa;
}

Result<TextDfa> complement(const TextDfa& dfa, Budget& budget) {
    TextDfa out;
    const auto sink = static_cast<std::uint32_t>(dfa.states.size());
    for (const TextDfa::State& old : dfa.states) {
        if (!budget.spend(old.edges.size() + 1)) return too_many_states();
        TextDfa::State state;
        state.accepts = !old.accepts;
        char32_t next = 0;
        for (const TextDfa::Edge& e : old.edges) {
            if (e.first > next) append_edge(state, {next, e.first - 1, sink});
            append_edge(state, e);
            next = e.last + 1;
        }
        if (next <= kLast) append_edge(state, {next, kLast, sink});
        out.states.push_back(std::move(state));
    }
    out.states.push_back({{{0, kLast, sink}}, true});
    trim(out);
    return out;
}

Result<TextDfa> intersection(const TextDfa& a, const TextDfa& b, Budget& budget) {
    TextDfa out;
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> ids;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    std::size_t n_edges = 0;
    const auto id_of = [&](std::uint32_t x, std::uint32_t y) {
        const auto [it, fresh] = ids.try_emplace({x, y}, static_cast<std::uint32_t>(pairs.size()));
        if (fresh) {
            pairs.emplace_back(x, y);
            out.states.emplace_back();
            out.states.back().accepts = a.states[x].accepts && b.states[y].accepts;
        }
        return it->second;
    };
    id_of(0, 0);
    for (std::uint32_t at = 0; at < pairs.size(); ++at) {
        const auto& left = a.states[pairs[at].first].edges;
        const auto& right = b.states[pairs[at].second].edges;
        std::size_t i = 0;
        std::size_t j = 0;
        while (i < left.size() && j < right.size()) {
            const char32_t first = std::max(left[i].first, right[j].first);
            const char32_t last = std::min(left[i].last, right[j].last);
            if (first <= last) {
                const std::uint32_t target = id_of(left[i].target, right[j].target);
                append_edge(out.states[at], {first, last, target});
            }
            (left[i].last < right[j].last ? i : j) += 1;
        }
        n_edges += out.states[at].edges.size();
        if (too_large(out, n_edges) || !budget.spend(left.size() + right.size() + 1)) {
            return too_many_states();
        }
    }
    trim(out);
    return out;
}

Result<TextDfa> without(std::string_view word, Budget& budget) {
    if (!budget.spend(word.size() * word.size())) return too_many_states();
    TextDfa dfa;
    for (std::size_t n = 0; n < word.size(); ++n) {
        std::map<char32_t, std::uint32_t> special;
        for (const char c : word) {
            // The longest beginning of the word that the text now ends in.
            const std::string text = std::string(word.substr(0, n)) + c;
            std::size_t k = text.size();
            while (!std::string_view(text).ends_with(word.substr(0, k)))
                --k;
            special[static_cast<unsigned char>(c)] = static_cast<std::uint32_t>(k);
        }
        TextDfa::State state;
        state.accepts = true;
        char32_t next = 0;
        for (const auto& [c, target] : special) {
            if (c > next) append_edge(state, {next, c - 1, 0});
            if (target < word.size()) append_edge(state, {c, c, target});
            next = c + 1;
        }
        append_edge(state, {next, kLast, 0});
        dfa.states.push_back(std::move(state));
    }
    return dfa;
}

} // namespace bloom::text::schema
