#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "nodes.hpp"

namespace bloom::text {
namespace {

constexpr char32_t kLastCodePoint = 0x10ffff;
constexpr char32_t kFirstSurrogate = 0xd800;
constexpr char32_t kLastSurrogate = 0xdfff;
/// The last code point that takes one, two and three bytes.
constexpr std::array<char32_t, 3> kLastOfLength = {0x7f, 0x7ff, 0xffff};

std::uint32_t encode(char32_t cp, std::uint8_t* out) {
    if (cp <= 0x7f) {
        out[0] = static_cast<std::uint8_t>(cp);
        return 1;
    }
    const std::uint32_t n = cp <= 0x7ff ? 2 : cp <= 0xffff ? 3 : 4;
    for (std::uint32_t i = n; i-- > 1; cp >>= 6)
        out[i] = static_cast<std::uint8_t>(0x80 | (cp & 0x3f));
    out[0] = static_cast<std::uint8_t>((0xf00 >> n & 0xf0) | cp);
    return n;
}

/// Cuts [first, last] where the forms differ in shape: puts the rest aside and returns the last of
/// the first piece, whose forms are one run per byte.
char32_t cut(char32_t first, char32_t last, std::vector<std::pair<char32_t, char32_t>>& rest) {
    const auto shorten = [&](char32_t to) {
        rest.emplace_back(to + 1, last);
        last = to;
    };
    for (const char32_t end : kLastOfLength) {
        if (first <= end && end < last) shorten(end);
    }
    if (last <= 0x7f) return last;
    for (unsigned i = 1; i < kMaxUtf8Bytes; ++i) {
        const char32_t low = (char32_t{1} << (6 * i)) - 1;
        if ((first & ~low) == (last & ~low)) continue;
        if ((first & low) != 0) {
            shorten(first | low);
        } else if ((last & low) != low) {
            shorten((last & ~low) - 1);
        }
    }
    return last;
}

// Places inside a character, after RFC 3629 section 4: how many continuation bytes are due, and
// which the next may be.
enum Place : std::uint32_t { between, due1, due2, due3, after_e0, after_ed, after_f0, after_f4 };

constexpr std::uint32_t kPlaces = 8;
constexpr std::uint32_t kDead = 0xffff'ffffU;

std::uint32_t utf8_step(std::uint32_t place, unsigned byte) {
    const auto in = [&](unsigned first, unsigned last) { return first <= byte && byte <= last; };
    switch (place) {
    case between:
        if (byte <= 0x7f) return between;
        if (in(0xc2, 0xdf)) return due1;
        if (byte == 0xe0) return after_e0;
        if (byte == 0xed) return after_ed;
        if (in(0xe1, 0xef)) return due2;
        if (byte == 0xf0) return after_f0;
        if (in(0xf1, 0xf3)) return due3;
        return byte == 0xf4 ? after_f4 : kDead;
    case due1:
        return in(0x80, 0xbf) ? between : kDead;
    case due2:
        return in(0x80, 0xbf) ? due1 : kDead;
    case due3:
        return in(0x80, 0xbf) ? due2 : kDead;
    case after_e0:
        return in(0xa0, 0xbf) ? due1 : kDead;
    case after_ed:
        return in(0x80, 0x9f) ? due1 : kDead;
    case after_f0:
        return in(0x90, 0xbf) ? due2 : kDead;
    default:
        return in(0x80, 0x8f) ? due2 : kDead;
    }
}

/// Searches for several strings at once (Aho and Corasick 1975), as a full table.
struct Search {
    std::vector<std::array<std::uint32_t, 256>> next;
    std::vector<bool> found;

    explicit Search(std::span<const std::string_view> words) {
        add_node();
        for (const std::string_view word : words) {
            std::uint32_t at = 0;
            for (const char c : word) {
                const auto byte = static_cast<std::uint8_t>(c);
                if (next[at][byte] == 0) {
                    const std::uint32_t made = add_node();
                    next[at][byte] = made;
                }
                at = next[at][byte];
            }
            found[at] = true;
        }
        link();
    }

private:
    std::uint32_t add_node() {
        next.emplace_back().fill(0);
        found.push_back(false);
        return static_cast<std::uint32_t>(next.size() - 1);
    }

    /// Nodes in order of depth: whatever a node lacks, its longest proper suffix has.
    void link() {
        std::vector<std::uint32_t> suffix(next.size(), 0);
        std::vector<std::uint32_t> queue;
        for (const std::uint32_t child : next[0]) {
            if (child != 0) queue.push_back(child);
        }
        for (std::size_t i = 0; i < queue.size(); ++i) {
            const std::uint32_t node = queue[i];
            if (found[suffix[node]]) found[node] = true;
            for (std::size_t byte = 0; byte < 256; ++byte) {
                std::uint32_t& child = next[node][byte];
                const std::uint32_t other = next[suffix[node]][byte];
                if (child == 0) {
                    child = other;
                } else {
                    suffix[child] = other;
                    queue.push_back(child);
                }
            }
        }
    }
};

} // namespace

std::vector<CodePointRange> normalised(std::span<const CodePointRange> ranges) {
    std::vector<CodePointRange> cut_up;
    for (CodePointRange range : ranges) {
        range.last = std::min(range.last, kLastCodePoint);
        if (range.first > range.last) continue;
        if (range.first < kFirstSurrogate) {
            cut_up.push_back({range.first, std::min<char32_t>(range.last, kFirstSurrogate - 1)});
        }
        if (range.last > kLastSurrogate) {
            cut_up.push_back({std::max<char32_t>(range.first, kLastSurrogate + 1), range.last});
        }
    }
    std::sort(cut_up.begin(), cut_up.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<CodePointRange> out;
    for (const CodePointRange range : cut_up) {
        if (!out.empty() && range.first <= out.back().last + 1) {
            out.back().last = std::max(out.back().last, range.last);
        } else {
            out.push_back(range);
        }
    }
    return out;
}

std::vector<Utf8Form> utf8_forms(char32_t first, char32_t last) {
    std::vector<Utf8Form> out;
    std::vector<std::pair<char32_t, char32_t>> rest = {{first, last}};
    while (!rest.empty()) {
        const auto [from, to] = rest.back();
        rest.pop_back();
        const char32_t end = cut(from, to, rest);
        std::uint8_t low[kMaxUtf8Bytes];
        std::uint8_t high[kMaxUtf8Bytes];
        Utf8Form& form = out.emplace_back();
        form.n = encode(from, low);
        encode(end, high);
        for (std::uint32_t i = 0; i < form.n; ++i)
            form.bytes[i] = {low[i], high[i]};
    }
    return out;
}

ByteDfa dfa_without(std::span<const std::string_view> ends) {
    const Search search(ends);
    ByteDfa dfa;
    std::vector<std::uint32_t> pairs; // node * kPlaces + place of every state
    std::map<std::uint32_t, std::uint32_t> state_of;
    const auto state = [&](std::uint32_t pair) {
        const auto [it, fresh] =
            state_of.try_emplace(pair, static_cast<std::uint32_t>(pairs.size()));
        if (fresh) pairs.push_back(pair);
        return it->second;
    };
    state(0);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const std::uint32_t node = pairs[i] / kPlaces;
        const std::uint32_t place = pairs[i] % kPlaces;
        ByteDfa::State made;
        made.accepts = place == between;
        for (unsigned byte = 0; byte < 256; ++byte) {
            const std::uint32_t next_place = utf8_step(place, byte);
            if (next_place == kDead) continue;
            const std::uint32_t next_node = search.next[node][byte];
            if (search.found[next_node]) continue;
            const std::uint32_t target = state(next_node * kPlaces + next_place);
            if (!made.edges.empty() && made.edges.back().target == target &&
                made.edges.back().last + 1U == byte) {
                made.edges.back().last = static_cast<std::uint8_t>(byte);
            } else {
                made.edges.push_back(
                    {static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(byte), target});
            }
        }
        dfa.states.push_back(std::move(made));
    }
    return dfa;
}

} // namespace bloom::text
