#include <array>
#include <bit>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>

#include "support/grammar_vocab.hpp"
#include "text/grammar/bound.hpp"

namespace bloom::text {
namespace {

using test::SmallVocab;

std::shared_ptr<const Grammar> built(GrammarBuilder& b, GrammarNode start) {
    auto made = b.build(start);
    EXPECT_TRUE(made) << (made ? "" : made.error().message());
    return made ? *made : nullptr;
}

GrammarNode seq(GrammarBuilder& b, std::vector<GrammarNode> parts) {
    return b.sequence(parts);
}

std::shared_ptr<BoundGrammar> bind(std::shared_ptr<const Grammar> grammar, const SmallVocab& v) {
    return *BoundGrammar::create(std::move(grammar), v.vocab());
}

std::vector<std::int32_t> allowed(GrammarMatcher& matcher) {
    std::vector<std::int32_t> out;
    const auto mask = matcher.mask();
    for (std::size_t i = 0; i < mask.size(); ++i) {
        for (std::uint64_t word = mask[i]; word != 0; word &= word - 1)
            out.push_back(static_cast<std::int32_t>(i * 64) + std::countr_zero(word));
    }
    return out;
}

using Ids = std::vector<std::int32_t>;

TEST(GrammarMatcher, TokensThatFit) {
    const SmallVocab v{.more = {"ca", "cat", "car", "cart", "at", "c"}, .tags = {}};
    GrammarBuilder b;
    const std::array options = {b.literal("cat"), b.literal("cars")};
    GrammarMatcher matcher(bind(built(b, b.choice(options)), v));
    EXPECT_EQ(allowed(matcher), (Ids{'c', 256, 257, 258, 261}));
    EXPECT_FALSE(matcher.accept('a'));
    EXPECT_FALSE(matcher.accept(v.stop()));
    EXPECT_TRUE(matcher.accept('c'));
    EXPECT_EQ(allowed(matcher), (Ids{'a', 260}));
    EXPECT_TRUE(matcher.accept(260));
    EXPECT_EQ(allowed(matcher), (Ids{v.stop()}));
    EXPECT_TRUE(matcher.can_end());
    EXPECT_TRUE(matcher.must_end());
    EXPECT_FALSE(matcher.ended());
    EXPECT_TRUE(matcher.accept(v.stop()));
    EXPECT_TRUE(matcher.ended());
    EXPECT_TRUE(allowed(matcher).empty());
    EXPECT_FALSE(matcher.accept('a'));
    matcher.rollback(3);
    EXPECT_FALSE(matcher.ended());
    EXPECT_EQ(allowed(matcher), (Ids{'c', 256, 257, 258, 261}));
    EXPECT_FALSE(matcher.accept(-1));
    EXPECT_FALSE(matcher.accept(v.stop() + 1));
}

TEST(GrammarMatcher, TagsThatAreTokens) {
    const SmallVocab v{.more = {"<t>x"}, .tags = {"<t>", "<u>"}};
    GrammarBuilder b;
    GrammarMatcher matcher(
        bind(built(b, seq(b, {b.tag("<t>"), b.text_without({}), b.tag("<u>"), b.tag("<v>")})), v));
    EXPECT_EQ(allowed(matcher), Ids{v.first_tag()});
    EXPECT_FALSE(matcher.accept('<'));
    EXPECT_TRUE(matcher.accept(v.first_tag()));
    const Ids text = allowed(matcher);
    // Every byte that can begin a character, the ordinary token, the tag that ends it all.
    EXPECT_EQ(text.size(), 128U + 51U + 2U);
    EXPECT_TRUE(matcher.accept(256));
    EXPECT_FALSE(matcher.accept(v.first_tag()));
    EXPECT_TRUE(matcher.accept(v.first_tag() + 1));
    // The third tag is no token here, so it is spelled.
    EXPECT_EQ(allowed(matcher), Ids{'<'});
    for (const char c : {'<', 'v', '>'})
        EXPECT_TRUE(matcher.accept(c));
    EXPECT_TRUE(matcher.must_end());
}

TEST(GrammarMatcher, TextAfterATemplate) {
    const SmallVocab v{.more = {}, .tags = {"<t>"}};
    GrammarBuilder b;
    GrammarMatcher matcher(bind(built(b, seq(b, {b.tag("<t>"), b.literal("x")})), v));
    EXPECT_TRUE(matcher.accept_bytes("<t>"));
    EXPECT_EQ(allowed(matcher), Ids{'x'});
    EXPECT_FALSE(matcher.accept_bytes("xy"));
    EXPECT_TRUE(matcher.accept_bytes("x"));
    EXPECT_TRUE(matcher.must_end());
}

TEST(GrammarMatcher, ControlTokensAreNotText) {
    const SmallVocab v;
    GrammarBuilder b;
    GrammarMatcher matcher(bind(built(b, seq(b, {b.text_without({}), b.literal("!")})), v));
    const Ids ids = allowed(matcher);
    EXPECT_TRUE(std::find(ids.begin(), ids.end(), v.stop()) == ids.end());
    EXPECT_FALSE(matcher.accept(v.stop()));
    EXPECT_TRUE(matcher.accept_bytes("<|end|>!"));
    EXPECT_TRUE(matcher.accept(v.stop()));
}

TEST(GrammarMatcher, VocabularyWithoutTheBytes) {
    const SmallVocab v{.more = {"a", "b"}, .tags = {}, .all_bytes = false};
    GrammarBuilder b;
    GrammarMatcher matcher(bind(built(b, b.literal("ax")), v));
    EXPECT_EQ(allowed(matcher), Ids{0});
    EXPECT_TRUE(matcher.accept(0));
    EXPECT_EQ(allowed(matcher), Ids{v.stop()});
    EXPECT_FALSE(matcher.can_end());
    EXPECT_TRUE(matcher.accept(v.stop()));
    EXPECT_TRUE(matcher.ended());
}

TEST(GrammarMatcher, RowsBeyondTheVocabulary) {
    const SmallVocab v;
    const auto vocab = *GrammarVocab::create(*v.tokenizer(), {}, 1000);
    EXPECT_EQ(vocab->n_rows(), 1000);
    GrammarBuilder b;
    GrammarMatcher matcher(*BoundGrammar::create(built(b, b.text_without({})), vocab));
    EXPECT_EQ(matcher.mask().size(), 16U);
    EXPECT_LE(allowed(matcher).back(), v.stop());
    EXPECT_EQ(GrammarVocab::create(*v.tokenizer(), {}, 100).error().code(), Code::invalid_argument);
}

TEST(GrammarMatcher, CountersNearTheirBounds) {
    const SmallVocab v{.more = {"aa", "aaaa", "aaaa.", "aa."}, .tags = {}};
    GrammarBuilder b;
    const auto bound =
        bind(built(b, seq(b, {b.repeat(b.literal("a"), 100, 200), b.literal(".")})), v);
    for (int n = 0; n <= 200; ++n) {
        GrammarMatcher matcher(bound);
        ASSERT_TRUE(matcher.accept_bytes(std::string(static_cast<std::size_t>(n), 'a')));
        Ids expected;
        if (n >= 100) expected.push_back('.');
        if (n < 200) expected.push_back('a');
        for (const auto& [id, more, ends] :
             {std::tuple(256, 2, false), {257, 4, false}, {258, 4, true}, {259, 2, true}}) {
            if (n + more <= 200 && (!ends || n + more >= 100)) expected.push_back(id);
        }
        ASSERT_EQ(allowed(matcher), expected) << n;
    }
}

TEST(GrammarMatcher, FramesAreCollected) {
    const SmallVocab v;
    GrammarBuilder b;
    const GrammarNode item =
        seq(b, {b.literal("\""), b.repeat(b.byte_range('a', 'b'), 0, 100000), b.literal("\"")});
    const auto bound = bind(built(b, b.repeat(item, 0, 200)), v);
    GrammarMatcher matcher(bound);
    GrammarMatcher other(bound);
    ASSERT_TRUE(other.accept_bytes("\"abab"));
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(matcher.accept('"'));
        for (int k = 0; k < 60000; ++k)
            ASSERT_TRUE(matcher.accept('a'));
        ASSERT_TRUE(matcher.accept('"'));
        EXPECT_LT(bound->impl().machine.stacks().size(), 2 * kFramesBeforeCollection);
        EXPECT_EQ(allowed(matcher), (Ids{'"', v.stop()}));
    }
    EXPECT_EQ(allowed(other), (Ids{'"', 'a', 'b'}));
    EXPECT_TRUE(other.accept('"'));
}

TEST(GrammarMatcher, AmbiguousCountsStayFew) {
    GrammarBuilder b;
    const GrammarNode once = b.repeat(b.literal("a"), 0, 100);
    const GrammarNode twice = b.repeat(once, 0, 100);
    const auto grammar = built(b, b.repeat(twice, 0, 100));
    GrammarMatcher matcher = test::byte_matcher(grammar);
    EXPECT_TRUE(matcher.accept_bytes(std::string(5000, 'a')));
    EXPECT_TRUE(matcher.can_end());
}

TEST(GrammarMatcher, LongTokensAreLeftOut) {
    const SmallVocab v{.more = {std::string(kMaxGrammarTokenBytes, ' '),
                                std::string(kMaxGrammarTokenBytes + 1, ' ')},
                       .tags = {}};
    GrammarBuilder b;
    GrammarMatcher matcher(bind(built(b, b.text_without({})), v));
    EXPECT_TRUE(GrammarMatcher(matcher).accept(256));
    EXPECT_FALSE(matcher.accept(257));
    const Ids ids = allowed(matcher);
    EXPECT_EQ(ids.at(ids.size() - 2), 256);
}

TEST(GrammarMatcher, CopiesAndRollbackAreBounded) {
    const SmallVocab v;
    GrammarBuilder b;
    const auto bound = bind(built(b, b.repeat(b.byte_range('a', 'z'), 0, kUnbounded)), v);
    auto matcher = std::make_unique<GrammarMatcher>(bound);
    for (int i = 0; i < 100; ++i)
        ASSERT_TRUE(matcher->accept('a' + i % 26));
    GrammarMatcher copy = *matcher;
    matcher.reset();
    copy.rollback(GrammarMatcher::kMaxRollback);
    EXPECT_TRUE(copy.can_end());
    EXPECT_TRUE(copy.accept(v.stop()));
    GrammarMatcher assigned(bound);
    assigned = copy;
    EXPECT_TRUE(assigned.ended());
    GrammarMatcher moved = std::move(assigned);
    moved.rollback(1);
    EXPECT_FALSE(moved.ended());
}

} // namespace
} // namespace bloom::text
