// Random grammars and vocabularies against a recogniser that backtracks over their description.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>

#include "support/grammar_vocab.hpp"
#include "support/random_grammar.hpp"
#include "text/grammar/bound.hpp"

namespace bloom::text {
namespace {

using test::Letters;
using test::RandomGrammar;
using test::SmallVocab;

std::uint64_t first_seed() {
    const char* const given = std::getenv("DARKBLOOM_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
}

std::uint64_t n_worlds() {
    const char* const given = std::getenv("DARKBLOOM_PROPERTY_CASES");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : 200;
}

bool is_set(std::span<const std::uint64_t> mask, std::int32_t id) {
    return (mask[static_cast<std::size_t>(id) / 64] >> id % 64 & 1) != 0;
}

const std::vector<std::string> kTags = {"<a>", "\"", "ab"};

/// A grammar, a vocabulary in which some tags are tokens, and what a token means to the recogniser.
struct World {
    RandomGrammar grammar;
    SmallVocab vocab;
    std::vector<bool> token_tags; ///< by index in kTags
    std::vector<Letters> letters; ///< by token; empty for the stop token
    std::shared_ptr<const Grammar> compiled;
    std::shared_ptr<BoundGrammar> bound;

    explicit World(Rng& rng) : grammar(rng, kTags) {
        vocab.all_bytes = rng.below(8) != 0;
        for (std::uint64_t n = rng.below(60); n > 0; --n) {
            std::string token;
            for (std::uint64_t length = 1 + rng.below(5); length > 0; --length)
                token += std::string_view("aab\"\xc3\xa9,<a>")[rng.below(10)];
            vocab.more.push_back(std::move(token));
        }
        vocab.more.push_back(std::string(20, 'a'));
        for (const std::string& tag : kTags) {
            token_tags.push_back(rng.below(2) == 0);
            if (token_tags.back()) vocab.tags.push_back(tag);
        }
        for (int b = 0; vocab.all_bytes && b < 256; ++b)
            letters.push_back({b});
        for (const std::string& token : vocab.more)
            letters.push_back(test::letters(token));
        for (std::size_t i = 0; i < kTags.size(); ++i) {
            if (token_tags[i]) letters.push_back({test::kTagLetter + static_cast<int>(i)});
        }
        letters.emplace_back();
    }

    /// False where there is no automaton, which must then be right, or where the recogniser would
    /// not end.
    bool compile() {
        GrammarBuilder builder;
        auto made = builder.build(grammar.build(builder));
        if (made) {
            EXPECT_TRUE(grammar.productive());
            compiled = *made;
            return !grammar.left_recursive();
        }
        EXPECT_EQ(made.error().code(), Code::invalid_argument);
        EXPECT_TRUE(!grammar.productive() || grammar.left_recursive()) << made.error().message();
        return false;
    }

    GrammarMatcher matcher() {
        bound = *BoundGrammar::create(compiled, vocab.vocab());
        return GrammarMatcher(bound);
    }

    /// Whether the text could be read in so many ways that some were dropped.
    bool dropped() const { return bound->impl().machine.n_dropped() > 0; }

    bool is_dull(std::int32_t id) const {
        const Letters& text = letters[static_cast<std::size_t>(id)];
        return text.size() == 1 && text[0] < test::kTagLetter &&
               std::string_view("ab\"\xc3\xa9,<>").find(static_cast<char>(text[0])) ==
                   std::string_view::npos;
    }

    std::int32_t n_tokens() const { return static_cast<std::int32_t>(letters.size()); }
};

template <class Body>
void for_worlds(Body&& body) {
    std::uint64_t n_compiled = 0;
    for (std::uint64_t i = 0; i < n_worlds(); ++i) {
        const std::uint64_t seed = first_seed() + i;
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed) + " DARKBLOOM_PROPERTY_CASES=1");
        Rng rng(seed);
        World world(rng);
        SCOPED_TRACE(world.grammar.describe());
        if (world.compile()) {
            ++n_compiled;
            body(world, rng);
        }
        if (testing::Test::HasFailure()) return;
    }
    if (n_worlds() > 100) EXPECT_GT(n_compiled, n_worlds() / 2);
}

std::int32_t pick(std::span<const std::uint64_t> mask, std::int32_t n_tokens, Rng& rng) {
    std::vector<std::int32_t> allowed;
    for (std::int32_t id = 0; id < n_tokens; ++id) {
        if (is_set(mask, id)) allowed.push_back(id);
    }
    return allowed.empty() ? -1 : allowed[rng.below(allowed.size())];
}

TEST(GrammarProperty, BytesAreAcceptedAsTheDescriptionSays) {
    const std::vector<bool> spelled(kTags.size(), false);
    for_worlds([&](World& world, Rng& rng) {
        GrammarMatcher start = world.matcher();
        for (int round = 0; round < 6; ++round) {
            GrammarMatcher matcher = start;
            Letters text;
            for (int i = 0; i < 14; ++i) {
                const auto judged = world.grammar.judge(text, spelled);
                if (world.dropped()) return;
                ASSERT_TRUE(judged.prefix);
                ASSERT_EQ(matcher.can_end(), judged.whole);
                // Mostly bytes that fit, so that texts grow long.
                bool moved = false;
                for (int attempt = 0; attempt < 8 && !moved; ++attempt) {
                    const int byte = static_cast<unsigned char>(
                        std::string_view("ab\"\xc3\xa9,<>")[rng.below(8)]);
                    Letters longer = text;
                    longer.push_back(byte);
                    const bool fits = world.grammar.judge(longer, spelled).prefix;
                    moved = matcher.accept_bytes(std::string(1, static_cast<char>(byte)));
                    if (world.dropped()) return;
                    ASSERT_EQ(moved, fits);
                    if (moved) text = std::move(longer);
                }
                if (!moved) break;
            }
        }
    });
}

TEST(GrammarProperty, MasksAreExact) {
    for_worlds([](World& world, Rng& rng) {
        GrammarMatcher matcher = world.matcher();
        Letters text;
        for (int i = 0; i < 10 && !matcher.ended(); ++i) {
            const auto mask = matcher.mask();
            const std::vector<std::uint64_t> before(mask.begin(), mask.end());
            const bool whole = world.grammar.judge(text, world.token_tags).whole;
            bool some = false;
            for (std::int32_t id = 0; id + 1 < world.n_tokens(); ++id) {
                // Most bytes behave alike; of those a few at random.
                if (world.is_dull(id) && rng.below(40) != 0) {
                    some |= is_set(before, id);
                    continue;
                }
                Letters longer = text;
                const Letters& more = world.letters[static_cast<std::size_t>(id)];
                longer.insert(longer.end(), more.begin(), more.end());
                const bool fits = world.grammar.judge(longer, world.token_tags).prefix;
                const bool accepted = GrammarMatcher(matcher).accept(id);
                if (is_set(before, id)) ASSERT_TRUE(accepted) << id;
                if (world.dropped()) return;
                ASSERT_EQ(accepted, fits) << "token " << id << " at " << i;
                ASSERT_EQ(is_set(before, id), fits) << "token " << id << " at " << i;
                some |= fits;
            }
            // Where nothing fits, the answer may end all the same.
            ASSERT_EQ(is_set(before, world.vocab.stop()), whole || !some);
            ASSERT_EQ(GrammarMatcher(matcher).accept(world.vocab.stop()), whole || !some);
            if (world.vocab.all_bytes) ASSERT_TRUE(whole || some);
            const auto again = matcher.mask();
            ASSERT_EQ(before, std::vector<std::uint64_t>(again.begin(), again.end()));
            const std::int32_t token = pick(before, world.n_tokens(), rng);
            ASSERT_TRUE(matcher.accept(token));
            const Letters& more = world.letters[static_cast<std::size_t>(token)];
            text.insert(text.end(), more.begin(), more.end());
        }
    });
}

TEST(GrammarProperty, WalksEndInSentences) {
    for_worlds([](World& world, Rng& rng) {
        if (!world.vocab.all_bytes) return;
        GrammarMatcher matcher = world.matcher();
        Letters text;
        for (int i = 0; i < 60; ++i) {
            const std::int32_t token = pick(matcher.mask(), world.n_tokens(), rng);
            ASSERT_GE(token, 0);
            ASSERT_TRUE(matcher.accept(token));
            const Letters& more = world.letters[static_cast<std::size_t>(token)];
            text.insert(text.end(), more.begin(), more.end());
            if (matcher.ended()) break;
        }
        const auto judged = world.grammar.judge(text, world.token_tags);
        ASSERT_TRUE(judged.prefix);
        if (world.dropped()) return;
        ASSERT_EQ(matcher.can_end(), judged.whole);
        if (matcher.ended()) ASSERT_EQ(pick(matcher.mask(), world.n_tokens(), rng), -1);
    });
}

TEST(GrammarProperty, RollbackAndCopiesEqualReplay) {
    for_worlds([](World& world, Rng& rng) {
        GrammarMatcher matcher = world.matcher();
        std::vector<std::int32_t> tokens;
        std::size_t can_go_back = 0;
        for (int i = 0; i < 40; ++i) {
            if (rng.below(4) == 0) {
                const std::size_t n = rng.below(can_go_back + 1);
                matcher.rollback(static_cast<std::int32_t>(n));
                tokens.resize(tokens.size() - n);
                can_go_back -= n;
            } else if (rng.below(6) == 0) {
                GrammarMatcher copy = matcher;
                matcher = copy;
            } else {
                const std::int32_t token = pick(matcher.mask(), world.n_tokens(), rng);
                if (token < 0) break;
                ASSERT_TRUE(matcher.accept(token));
                tokens.push_back(token);
                can_go_back = std::min<std::size_t>(can_go_back + 1, GrammarMatcher::kMaxRollback);
            }
            if (rng.below(3) != 0) continue;
            GrammarMatcher replay(world.bound);
            for (const std::int32_t token : tokens)
                ASSERT_TRUE(replay.accept(token));
            ASSERT_EQ(replay.can_end(), matcher.can_end());
            ASSERT_EQ(replay.must_end(), matcher.must_end());
            ASSERT_EQ(replay.ended(), matcher.ended());
            const auto mask = matcher.mask();
            const std::vector<std::uint64_t> here(mask.begin(), mask.end());
            const auto other = replay.mask();
            ASSERT_EQ(here, std::vector<std::uint64_t>(other.begin(), other.end()));
        }
    });
}

} // namespace
} // namespace bloom::text
