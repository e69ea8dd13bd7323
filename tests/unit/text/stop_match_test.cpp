#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/stop_match.hpp>
#include <bloom/text/unicode.hpp>

namespace bloom::text {
namespace {

struct Outcome {
    std::string text;
    std::optional<std::size_t> matched;

    bool operator==(const Outcome&) const = default;
};

/// Earliest end, of those the longest, of those the first given.
Outcome search_naively(const std::vector<std::string>& stops, const std::string& text) {
    for (std::size_t end = 1; end <= text.size(); ++end) {
        std::optional<std::size_t> best;
        for (std::size_t i = 0; i < stops.size(); ++i) {
            const bool here = stops[i].size() <= end &&
                              text.compare(end - stops[i].size(), stops[i].size(), stops[i]) == 0;
            if (here && (!best || stops[i].size() > stops[*best].size())) best = i;
        }
        if (best) return {text.substr(0, end - stops[*best].size()), best};
    }
    return {text, std::nullopt};
}

Outcome run(const std::vector<std::string>& stops, const std::vector<std::string_view>& pieces) {
    StopMatcher matcher(*StopStrings::create(stops));
    Outcome outcome;
    for (const std::string_view piece : pieces) {
        matcher.push(piece, outcome.text);
        EXPECT_LE(matcher.held(), kMaxStopBytes + 3);
    }
    matcher.finish(outcome.text);
    outcome.matched = matcher.matched();
    return outcome;
}

TEST(StopMatch, HoldsBackAPrefixAndReleasesIt) {
    StopMatcher matcher(*StopStrings::create(std::vector<std::string>{"END", "stop"}));
    std::string out;
    EXPECT_EQ(matcher.push("one EN", out), std::nullopt);
    EXPECT_EQ(out, "one ");
    EXPECT_EQ(matcher.push("T EN", out), std::nullopt);
    EXPECT_EQ(out, "one ENT ");
    EXPECT_EQ(matcher.push("D and more", out), std::optional<std::size_t>(0));
    EXPECT_EQ(out, "one ENT ");
    EXPECT_EQ(matcher.push("later", out), std::optional<std::size_t>(0));
    matcher.finish(out);
    EXPECT_EQ(out, "one ENT ");
}

TEST(StopMatch, FinishReleases) {
    EXPECT_EQ(run({"END"}, {"text EN"}), (Outcome{"text EN", std::nullopt}));
    EXPECT_EQ(run({}, {"a", "b"}), (Outcome{"ab", std::nullopt}));
}

TEST(StopMatch, LongestOfThoseThatEndTogether) {
    EXPECT_EQ(run({"b", "ab"}, {"xa", "b"}), (Outcome{"x", 1}));
    EXPECT_EQ(run({"abcd", "bc"}, {"abcd"}), (Outcome{"a", 1})); // ends first
    EXPECT_EQ(run({"aa", "aa"}, {"aaa"}), (Outcome{"", 0}));
}

TEST(StopMatch, BoundsAreErrors) {
    EXPECT_EQ(StopStrings::create(std::vector<std::string>{"a", ""}).error().code(),
              Code::invalid_argument);
    EXPECT_EQ(StopStrings::create(std::vector<std::string>(17, "x")).error().code(),
              Code::limit_reached);
    EXPECT_EQ(StopStrings::create(std::vector<std::string>{std::string(513, 'x')}).error().code(),
              Code::too_large);
    EXPECT_TRUE(StopStrings::create(std::vector<std::string>(16, std::string(512, 'x'))));
}

// Texts are cut into whole characters everywhere; the emitted text must be whole characters too.
TEST(StopMatch, EveryCutEqualsNaiveSearch) {
    Rng rng(31);
    const std::string_view kUnits[] = {"a", "b", "ab", "\n", "\u00e9", "\u20ac", "\u20ad"};
    const auto random_text = [&](std::size_t n) {
        std::string text;
        for (; n > 0; --n)
            text += kUnits[rng.below(std::size(kUnits))];
        return text;
    };
    std::size_t n_matches = 0;
    for (int i = 0; i < 3000; ++i) {
        std::vector<std::string> stops(rng.below(4));
        for (auto& s : stops) {
            s = random_text(1 + rng.below(3));
            if (rng.below(5) == 0 && s.size() > 1) s.erase(0, 1); // may start inside a character
        }
        const std::string text = random_text(rng.below(12));
        const Outcome expected = search_naively(stops, text);
        n_matches += expected.matched.has_value();
        const std::string_view view = text;
        for (std::size_t cut = 0; cut <= text.size(); ++cut) {
            if (cut < text.size() && (text[cut] & 0xc0) == 0x80) continue;
            ASSERT_EQ(run(stops, {view.substr(0, cut), view.substr(cut)}), expected);
            std::string out;
            StopMatcher matcher(*StopStrings::create(stops));
            if (!matcher.push(view.substr(0, cut), out)) {
                ASSERT_TRUE(is_utf8(out));
            }
            // What is held is no longer than a stop string and the character it starts in.
            std::size_t longest = 0;
            for (const auto& s : stops)
                longest = std::max(longest, s.size());
            ASSERT_LE(matcher.held(), longest + 3);
        }
        std::vector<std::string_view> chars;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t n = decode_char(text, at).bytes;
            chars.push_back(view.substr(at, n));
            at += n;
        }
        ASSERT_EQ(run(stops, chars), expected);
    }
    EXPECT_GT(n_matches, 500u);
}

TEST(StopMatch, HoldsNoMoreThanNeeded) {
    const std::string stop(512, 'a');
    StopMatcher matcher(*StopStrings::create(std::vector<std::string>{stop}));
    std::string out;
    for (int i = 0; i < 511; ++i)
        matcher.push("a", out);
    EXPECT_EQ(out, "");
    matcher.push("b", out);
    EXPECT_EQ(out.size(), 512u);
    EXPECT_EQ(matcher.held(), 0u);
}

} // namespace
} // namespace bloom::text
