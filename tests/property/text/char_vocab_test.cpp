// Character vocabularies against the definition, played out on strings: merges by rank, and
// SentencePiece merges by score. The texts are long enough that cutting at impossible joins, the
// heap and the word cache all take part.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::text {
namespace {

const std::string kMark = "\u2581";

struct Vocab {
    VocabSpec spec;
    std::map<std::string, std::int32_t> ids;

    void add(const std::string& token, float score) {
        if (!ids.emplace(token, static_cast<std::int32_t>(spec.tokens.size())).second) return;
        spec.tokens.push_back(token);
        spec.types.push_back(TokenType::normal);
        spec.scores.push_back(score);
    }
};

/// Letters, some of them missing for spm, and concatenations of what is there.
Vocab random_vocab(Rng& rng, VocabKind kind) {
    Vocab v;
    v.spec.kind = kind;
    v.spec.add_bos = false;
    v.spec.space_prefix = SpacePrefix::never;
    v.add("<unk>", 0);
    v.spec.types[0] = TokenType::unknown;
    v.spec.unk_id = 0;
    const std::string letters[] = {"a", "b", "c", "\u00e9", kMark};
    std::vector<std::string> parts(std::begin(letters), std::end(letters));
    for (const std::string& letter : letters) {
        if (kind == VocabKind::spm && rng.below(4) == 0) continue;
        v.add(letter, -100);
    }
    for (std::uint64_t n = 1 + rng.below(25); n > 0; --n) {
        const std::string left = parts[rng.below(parts.size())];
        const std::string right = parts[rng.below(parts.size())];
        const std::string whole = left + right;
        if (whole.size() > 24) continue;
        if (kind == VocabKind::char_bpe) v.spec.merges.push_back(left + " " + right);
        v.add(whole, -static_cast<float>(rng.below(6))); // equal scores are common
        parts.push_back(whole);
    }
    if (kind == VocabKind::char_bpe) v.spec.scores.clear();
    return v;
}

std::vector<std::string> characters(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at + 1;
        while (end < text.size() && (text[end] & 0xc0) == 0x80)
            ++end;
        out.push_back(text.substr(at, end - at) == " " ? kMark : text.substr(at, end - at));
        at = end;
    }
    return out;
}

/// The pair to merge next: lowest cost, leftmost.
template <class Cost>
std::vector<std::int32_t> merge_naively(const Vocab& v, const std::string& text, Cost cost) {
    std::vector<std::string> symbols = characters(text);
    for (;;) {
        std::size_t best = 0;
        double lowest = 1e9;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            const double c = cost(symbols[i], symbols[i + 1]);
            if (c < lowest) {
                lowest = c;
                best = i;
            }
        }
        if (lowest == 1e9) break;
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<std::int32_t> ids;
    for (const std::string& symbol : symbols) {
        const auto it = v.ids.find(symbol);
        const std::int32_t id = it == v.ids.end() ? 0 : it->second;
        if (id != 0 || ids.empty() || ids.back() != 0) ids.push_back(id); // unknowns fuse
    }
    return ids;
}

std::string random_text(Rng& rng) {
    const std::string units[] = {"a", "b", "c", "\u00e9", " ", "a", "ab"};
    std::string text;
    for (std::uint64_t n = rng.below(rng.below(4) == 0 ? 150 : 20); n > 0; --n) {
        text += units[rng.below(std::size(units))];
    }
    return text;
}

void compare(VocabKind kind, std::uint64_t seed) {
    Rng rng(seed);
    for (int round = 0; round < 400; ++round) {
        const Vocab v = random_vocab(rng, kind);
        std::map<std::pair<std::string, std::string>, std::size_t> ranks;
        for (std::size_t i = 0; i < v.spec.merges.size(); ++i) {
            const std::size_t space = v.spec.merges[i].find(' ', 1);
            ranks.emplace(
                std::pair(v.spec.merges[i].substr(0, space), v.spec.merges[i].substr(space + 1)),
                i);
        }
        const auto cost = [&](const std::string& left, const std::string& right) {
            if (kind == VocabKind::char_bpe) {
                const auto it = ranks.find({left, right});
                return it == ranks.end() ? 1e9 : static_cast<double>(it->second);
            }
            const auto it = v.ids.find(left + right);
            if (it == v.ids.end()) return 1e9;
            return -static_cast<double>(v.spec.scores[static_cast<std::size_t>(it->second)]);
        };
        const auto made = Tokenizer::create(v.spec);
        ASSERT_TRUE(made) << made.error().message();
        for (int i = 0; i < 12; ++i) {
            const std::string text = random_text(rng);
            std::vector<std::int32_t> ids;
            ASSERT_TRUE((*made)->encode(text, {}, ids));
            ASSERT_EQ(ids, merge_naively(v, text, cost)) << text;
        }
    }
}

TEST(CharVocabProperty, MergesByRank) {
    compare(VocabKind::char_bpe, 51);
}

TEST(CharVocabProperty, MergesByScore) {
    compare(VocabKind::spm, 52);
}

} // namespace
} // namespace bloom::text
