#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "text/grammar/regex.hpp"

/// Code points as the bytes that stand for them.
namespace bloom::text::schema {
namespace {

struct Bytes {
    std::uint8_t first;
    std::uint8_t last;

    auto operator<=>(const Bytes&) const = default;
};

/// Ranges of bytes one after another, and the state behind them.
struct Run {
    std::array<Bytes, 6> bytes;
    std::uint8_t n = 0;
    std::uint32_t target = 0;

    void push(std::uint8_t first, std::uint8_t last) { bytes[n++] = {first, last}; }

    void push(char c) { push(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c)); }
};

std::array<std::uint8_t, 4> utf8(char32_t cp, std::size_t n) {
    std::array<std::uint8_t, 4> out{};
    for (std::size_t i = n; i-- > 1;) {
        out[i] = static_cast<std::uint8_t>(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    constexpr std::array<std::uint8_t, 5> kLead{0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = static_cast<std::uint8_t>(kLead[n] | cp);
    return out;
}

/// Ranges of equally long UTF-8 sequences whose bytes vary independently of one another.
void add_utf8(std::vector<Run>& out, char32_t first, char32_t last, std::uint32_t target) {
    struct Limit {
        char32_t last;
        std::size_t n;
    };

    constexpr std::array<Limit, 4> kLimits{{{0x7f, 1}, {0x7ff, 2}, {0xffff, 3}, {0x10ffff, 4}}};
    std::vector<std::pair<char32_t, char32_t>> open{{first, last}};
    while (!open.empty()) {
        auto [lo, hi] = open.back();
        open.pop_back();
        if (lo > hi) continue;
        if (lo <= 0xdfff && hi >= 0xd800) { // surrogates are no characters
            if (hi > 0xdfff) open.emplace_back(0xe000, hi);
            if (lo < 0xd800) open.emplace_back(lo, 0xd7ff);
            continue;
        }
        const Limit limit = *std::ranges::find_if(kLimits, [&](Limit l) { return lo <= l.last; });
        if (hi > limit.last) {
            open.emplace_back(limit.last + 1, hi);
            hi = limit.last;
        }
        // Cut where a whole block of continuations begins or ends inside.
        for (std::size_t i = 1; i < limit.n; ++i) {
            const char32_t block = (char32_t{1} << 6 * i) - 1;
            if ((lo & ~block) == (hi & ~block)) continue;
            if ((lo & block) != 0) {
                open.emplace_back((lo | block) + 1, hi);
                hi = lo | block;
                i = 0;
            } else if ((hi & block) != block) {
                open.emplace_back(hi & ~block, hi);
                hi = (hi & ~block) - 1;
                i = 0;
            }
        }
        const auto a = utf8(lo, limit.n);
        const auto b = utf8(hi, limit.n);
        Run run;
        run.target = target;
        for (std::size_t i = 0; i < limit.n; ++i)
            run.push(a[i], b[i]);
        out.push_back(run);
    }
}

void add_escape(std::vector<Run>& out, char c, std::uint32_t target) {
    Run run;
    run.target = target;
    run.push('\\');
    run.push(c);
    out.push_back(run);
}

void add_control(std::vector<Run>& out, char32_t cp, std::uint32_t target) {
    constexpr std::string_view kShortNames("btn\0fr", 6); // from U+0008; U+000B has none
    if (cp >= 8 && cp - 8 < kShortNames.size() && kShortNames[cp - 8] != '\0') {
        add_escape(out, kShortNames[cp - 8], target);
    }
    constexpr std::string_view kLower = "0123456789abcdef";
    constexpr std::string_view kUpper = "0123456789ABCDEF";
    for (const std::string_view digits : {kLower, kUpper}) {
        if (digits == kUpper && (cp & 15) < 10) break;
        Run run;
        run.target = target;
        for (const char c : {'\\', 'u', '0', '0', digits[cp >> 4], digits[cp & 15]})
            run.push(c);
        out.push_back(run);
    }
}

/// As the content of a JSON string (RFC 8259 section 7).
void add_json(std::vector<Run>& out, char32_t first, char32_t last, std::uint32_t target) {
    for (char32_t cp = first; cp <= std::min<char32_t>(last, 0x1f); ++cp)
        add_control(out, cp, target);
    char32_t from = std::max<char32_t>(first, 0x20);
    for (const char32_t special : {U'"', U'\\'}) {
        if (special < from || special > last) continue;
        if (special > from) add_utf8(out, from, special - 1, target);
        add_escape(out, static_cast<char>(special), target);
        from = special + 1;
    }
    if (from <= last) add_utf8(out, from, last, target);
    if (first <= U'/' && last >= U'/') add_escape(out, '/', target);
}

class Converter {
public:
    Converter(const TextDfa& dfa, TextForm form, Budget& budget)
        : dfa_(dfa), form_(form), budget_(budget) {}

    Result<ByteDfa> convert() {
        out_.states.resize(dfa_.states.size());
        for (std::uint32_t s = 0; s < dfa_.states.size(); ++s) {
            out_.states[s].accepts = dfa_.states[s].accepts;
            std::vector<Run> runs;
            for (const TextDfa::Edge& e : dfa_.states[s].edges) {
                if (form_ == TextForm::json) {
                    add_json(runs, e.first, e.last, e.target);
                } else {
                    add_utf8(runs, e.first, e.last, e.target);
                }
            }
            std::vector<ByteDfa::Edge> edges = edges_of(runs, 0);
            out_.states[s].edges = std::move(edges);
            if (out_.states.size() > kMaxByteStates || !budget_.spend(runs.size() * 4 + 1)) {
                return Error{Code::too_large, "it needs too many states"};
            }
        }
        return std::move(out_);
    }

private:
    /// A quarter of a grammar's states.
    static constexpr std::size_t kMaxByteStates = kMaxGrammarStates / 4;

    std::vector<ByteDfa::Edge> edges_of(const std::vector<Run>& runs, std::size_t depth) {
        std::vector<unsigned> starts;
        for (const Run& run : runs) {
            starts.push_back(run.bytes[depth].first);
            starts.push_back(run.bytes[depth].last + 1U);
        }
        std::ranges::sort(starts);
        starts.erase(std::ranges::unique(starts).begin(), starts.end());
        std::vector<ByteDfa::Edge> edges;
        std::vector<Run> here;
        for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
            here.clear();
            for (const Run& run : runs) {
                if (run.bytes[depth].first <= starts[i] && run.bytes[depth].last >= starts[i]) {
                    here.push_back(run);
                }
            }
            if (here.empty()) continue;
            const auto first = static_cast<std::uint8_t>(starts[i]);
            const auto last = static_cast<std::uint8_t>(starts[i + 1] - 1);
            const std::uint32_t target =
                here[0].n == depth + 1 ? here[0].target : state_of(here, depth + 1);
            if (!edges.empty() && edges.back().target == target && edges.back().last + 1 == first) {
                edges.back().last = last;
            } else {
                edges.push_back({first, last, target});
            }
        }
        return edges;
    }

    /// The state that reads what remains of the runs; one for equal remainders.
    std::uint32_t state_of(const std::vector<Run>& runs, std::size_t depth) {
        std::string key;
        for (const Run& run : runs) {
            for (std::size_t i = depth; i < run.n; ++i) {
                key += static_cast<char>(run.bytes[i].first);
                key += static_cast<char>(run.bytes[i].last);
            }
            key += std::to_string(run.target) + ';' + std::to_string(run.n - depth) + ';';
        }
        const auto known = ids_.find(key);
        if (known != ids_.end()) return known->second;
        const auto id = static_cast<std::uint32_t>(out_.states.size());
        ids_.emplace(std::move(key), id);
        out_.states.emplace_back();
        std::vector<ByteDfa::Edge> edges = edges_of(runs, depth);
        out_.states[id].edges = std::move(edges);
        return id;
    }

    const TextDfa& dfa_;
    TextForm form_;
    Budget& budget_;
    ByteDfa out_;
    std::map<std::string, std::uint32_t> ids_;
};

} // namespace

Result<ByteDfa> to_bytes(const TextDfa& dfa, TextForm form, Budget& budget) {
    return Converter(dfa, form, budget).convert();
}

} // namespace bloom::text::schema
