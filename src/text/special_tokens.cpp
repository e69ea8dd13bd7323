#include <algorithm>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/special_tokens.hpp>
#include <bloom/text/unicode.hpp>

namespace bloom::text {
namespace {

/// Start of the last character before `at`; ill-formed bytes stand alone.
std::size_t char_before(std::string_view text, std::size_t at) noexcept {
    for (std::size_t n = 1; n <= 4 && n <= at; ++n) {
        if (decode_char(text.substr(0, at), at - n).bytes == n) return at - n;
    }
    return at - 1;
}

ClassMask class_at(std::string_view text, std::size_t at) noexcept {
    const Char c = decode_char(text, at);
    return c.cp == kIllFormed ? mask(CharClass::other) : mask(CharTable::instance()[c.cp]);
}

/// \w as far as categories tell: letters, marks, numbers and the low line.
bool is_word(std::string_view text, std::size_t at) noexcept {
    return text[at] == '_' || (class_at(text, at) & (kLetters | kMarks | kNumbers)) != 0;
}

bool touches(std::span<const ByteRange> ranges, ByteRange range) noexcept {
    auto it = std::upper_bound(ranges.begin(), ranges.end(), range.begin,
                               [](std::size_t at, const ByteRange& r) { return at < r.end; });
    for (; it != ranges.end() && it->begin < range.end; ++it) {
        if (it->begin != it->end) return true; // an empty range marks nothing
    }
    return false;
}

} // namespace

SpecialTokens::SpecialTokens(std::span<const AddedToken> tokens) {
    // The trie is laid out breadth first over the sorted texts: a node is the range of texts that
    // share its path.
    std::vector<AddedToken> sorted(tokens.begin(), tokens.end());
    std::erase_if(sorted, [](const AddedToken& t) { return t.text.empty(); });
    std::sort(sorted.begin(), sorted.end(), [](const AddedToken& a, const AddedToken& b) {
        return std::pair(a.text, a.id) < std::pair(b.text, b.id);
    });
    const auto same = [](const AddedToken& a, const AddedToken& b) { return a.text == b.text; };
    sorted.erase(std::unique(sorted.begin(), sorted.end(), same), sorted.end());

    struct Span {
        std::size_t begin, end, depth;
    };

    std::vector<Span> spans{{0, sorted.size(), 0}};
    nodes_.emplace_back();
    for (std::size_t n = 0; n < spans.size(); ++n) {
        auto [begin, end, depth] = spans[n];
        Node node;
        if (begin != end && sorted[begin].text.size() == depth) {
            const AddedToken& t = sorted[begin++];
            node.token = static_cast<std::int32_t>(tokens_.size());
            tokens_.push_back({t.id, t.special, t.single_word, t.lstrip, t.rstrip});
        }
        node.first_edge = static_cast<std::uint32_t>(edges_.size());
        while (begin != end) {
            const char byte = sorted[begin].text[depth];
            std::size_t next = begin;
            while (next != end && sorted[next].text[depth] == byte)
                ++next;
            edges_.push_back(
                {static_cast<std::uint8_t>(byte), static_cast<std::uint32_t>(spans.size())});
            spans.push_back({begin, next, depth + 1});
            nodes_.emplace_back();
            begin = next;
        }
        node.n_edges = static_cast<std::uint32_t>(edges_.size()) - node.first_edge;
        nodes_[n] = node;
    }
    for (std::uint32_t i = 0; i < nodes_[0].n_edges; ++i)
        starts_[edges_[i].byte] = true;
}

const SpecialTokens::Edge* SpecialTokens::step(const Node& node, std::uint8_t byte) const noexcept {
    const auto first = edges_.begin() + node.first_edge;
    const auto last = first + node.n_edges;
    const auto it = std::lower_bound(first, last, byte,
                                     [](const Edge& e, std::uint8_t b) { return e.byte < b; });
    return it != last && it->byte == byte ? &*it : nullptr;
}

bool SpecialTokens::allowed(const Rule& rule, std::string_view text, ByteRange range,
                            const Filter& filter) const {
    if (rule.special && (!filter.parse_special || touches(filter.user_ranges, range))) return false;
    if (!rule.single_word) return true;
    if (range.begin > 0 && is_word(text, char_before(text, range.begin))) return false;
    return range.end == text.size() || !is_word(text, range.end);
}

std::optional<SpecialTokens::Match> SpecialTokens::find(std::string_view text, std::size_t from,
                                                        const Filter& filter) const {
    if (tokens_.empty()) return std::nullopt;
    for (std::size_t start = from; start < text.size(); ++start) {
        if (!starts_[static_cast<std::uint8_t>(text[start])]) continue;
        const Rule* best = nullptr;
        std::size_t best_end = start;
        const Node* node = &nodes_[0];
        for (std::size_t at = start; at < text.size(); ++at) {
            const Edge* edge = step(*node, static_cast<std::uint8_t>(text[at]));
            if (edge == nullptr) break;
            node = &nodes_[edge->node];
            if (node->token < 0) continue;
            const Rule& rule = tokens_[static_cast<std::size_t>(node->token)];
            if (allowed(rule, text, {start, at + 1}, filter)) {
                best = &rule;
                best_end = at + 1;
            }
        }
        if (best == nullptr) continue;
        Match match{best->id, {start, best_end}};
        while (best->lstrip && match.range.begin > from) {
            const std::size_t before = char_before(text, match.range.begin);
            if (before < from || (class_at(text, before) & kSpaces) == 0) break;
            match.range.begin = before;
        }
        while (best->rstrip && match.range.end < text.size() &&
               (class_at(text, match.range.end) & kSpaces) != 0) {
            match.range.end += decode_char(text, match.range.end).bytes;
        }
        return match;
    }
    return std::nullopt;
}

} // namespace bloom::text
