#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "attention_fixture.hpp"

namespace bloom::kernels::test {
namespace {

class Attention : public TableTest {
protected:
    /// Scores carry an error of about (head_dim + 2) units of their size, which moves weights by as
    /// much; sums over tokens add one unit per step. Values are of size 1.
    void check(const Pages& pages, const Queries& what, Rng& rng) {
        const int dim = pages.head_dim();
        const Guarded<float> q =
            random_floats(static_cast<std::size_t>(what.n_rows * what.n_heads * dim), rng);
        const Guarded<float> out = attend(table(), pages, what, q.data());
        std::vector<double> want(static_cast<std::size_t>(dim));
        for (int i = 0; i < what.n_rows * what.n_heads; ++i) {
            const int h = i % what.n_heads;
            const std::int64_t end = what.position + i / what.n_heads + 1;
            const std::int64_t begin =
                what.window > 0 ? std::max<std::int64_t>(end - what.window, 0) : 0;
            const double bound =
                kUnit * (40.0 * dim + 8.0 * static_cast<double>(end - begin) + 100);
            reference::attention(q.data() + i * dim, pages.view(),
                                 h / (what.n_heads / pages.n_kv_heads()), begin, end, what.scale,
                                 want.data());
            for (int d = 0; d < dim; ++d) {
                ASSERT_NEAR(static_cast<double>(out[static_cast<std::size_t>(i * dim + d)]),
                            want[static_cast<std::size_t>(d)], bound)
                    << "heads " << what.n_heads << "/" << pages.n_kv_heads() << " dim " << dim
                    << " tokens " << begin << " to " << end << " head " << h << " at " << d;
            }
        }
    }

    void check(KvType type, int n_heads, int n_kv_heads, int dim, std::int64_t position, int n_rows,
               std::int64_t window, Rng& rng) {
        const Pages pages(type, n_kv_heads, dim, position + n_rows, rng);
        check(pages, {position, n_rows, n_heads, window, 1.0F / std::sqrt(static_cast<float>(dim))},
              rng);
    }
};

TEST_P(Attention, LengthsAndWindows) {
    Rng rng(61);
    for (const KvType type : {KvType::f32, KvType::f16}) {
        for (const std::int64_t end : {1, 2, 15, 16, 17, 31, 32, 33, 100, 129}) {
            for (const std::int64_t window : {0, 1, 2, 15, 16, 17, 40})
                check(type, 4, 2, 24, end - 1, 1, window, rng);
        }
    }
}

TEST_P(Attention, HeadShapes) {
    Rng rng(62);
    const int shapes[][2] = {{1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 1}, {12, 2}, {9, 3}, {7, 1}};
    for (const auto& shape : shapes) {
        for (const int dim : {1, 3, 8, 16, 20, 32, 48, 64, 80, 128}) {
            check(dim % 3 == 0 ? KvType::f32 : KvType::f16, shape[0], shape[1], dim, 20, 1, 0, rng);
        }
    }
    for (const int n_heads : {8, 10, 11, 13, 16, 20, 30, 48, 60})
        check(KvType::f16, n_heads, 1, 36, 40, 1, 0, rng);
    for (const int dim : {112, 160, 200, 256, 512})
        check(KvType::f16, 8, 2, dim, 30, 2, 0, rng);
}

TEST_P(Attention, BlocksOfRows) {
    Rng rng(63);
    for (const int rows : {2, 3, 5, 12, 13, 16, 17, 47, 48, 130}) {
        for (const int heads : {1, 2, 3, 5, 6, 8, 16}) {
            const std::int64_t position = (rows * heads) % 37;
            check(KvType::f16, heads, 1, 20, position, rows, 0, rng);
            check(KvType::f32, heads, 1, 17, position, rows, 10, rng);
        }
    }
}

TEST_P(Attention, ChunkEdges) {
    Rng rng(64);
    constexpr std::int64_t kEdge = kAttentionChunk;
    for (const KvType type : {KvType::f32, KvType::f16}) {
        const Pages pages(type, 1, 8, 3 * kEdge + 2, rng);
        for (const std::int64_t end : {kEdge - 1, kEdge, kEdge + 1, 2 * kEdge - 1, 2 * kEdge + 1,
                                       3 * kEdge, 3 * kEdge + 1}) {
            for (const std::int64_t window : {std::int64_t{0}, kEdge - 1, kEdge, kEdge + 1})
                check(pages, {end - 1, 1, 2, window, 0.3F}, rng);
        }
        check(pages, {2 * kEdge - 5, 10, 3, 0, 0.3F}, rng);
        check(pages, {2 * kEdge - 5, 10, 3, kEdge, 0.3F}, rng);
    }
}

TEST_P(Attention, CuttingAPromptGivesTheSameBits) {
    Rng rng(65);
    for (const KvType type : {KvType::f32, KvType::f16}) {
        const int dim = type == KvType::f32 ? 24 : 40;
        // The second range crosses a chunk.
        for (const std::int64_t position : {std::int64_t{0}, std::int64_t{kAttentionChunk - 90}}) {
            const Pages pages(type, 2, dim, position + 200, rng);
            for (const std::int64_t window : {0, 50}) {
                const Queries what{position, 200, 6, window, 0.2F};
                const Guarded<float> q =
                    random_floats(static_cast<std::size_t>(200 * 6 * dim), rng);
                const Guarded<float> whole = attend(table(), pages, what, q.data());
                for (const Cut cut :
                     {Cut{.rows = 1}, Cut{.rows = 5}, Cut{.rows = 7, .heads = 1},
                      Cut{.rows = 1, .heads = 2}, Cut{.rows = 1, .heads = 1, .split_at = 1},
                      Cut{.rows = 3, .kv_heads = 2},
                      Cut{.rows = 1, .split_at = 1, .kv_heads = 2}}) {
                    EXPECT_TRUE(same_bits(whole, attend(table(), pages, what, q.data(), cut)))
                        << cut.rows << " rows, " << cut.heads << " heads, split at " << cut.split_at
                        << ", from " << position << ", window " << window;
                }
            }
        }
    }
}

TEST_P(Attention, SplittingASequenceGivesTheSameBits) {
    Rng rng(66);
    const int dim = 12;
    const Pages pages(KvType::f16, 3, dim, 5 * kAttentionChunk + 10, rng);
    for (const std::int64_t position : {1022, 1023, 1024, 1025, 2500}) {
        for (const std::int64_t window : {0, 700}) {
            const Queries what{position, 4, 21, window, 0.3F};
            const Guarded<float> q = random_floats(4 * 21 * dim, rng);
            const Guarded<float> whole = attend(table(), pages, what, q.data());
            for (std::int64_t at = 1; at <= 5; ++at) {
                const Cut cut{.split_at = at, .kv_heads = at % 2 == 0 ? 3 : 1};
                EXPECT_TRUE(same_bits(whole, attend(table(), pages, what, q.data(), cut)))
                    << position << " " << window << " " << at;
            }
        }
    }
}

TEST_P(Attention, PagesThatNobodySeesAreNotTouched) {
    Rng rng(67);
    Pages pages(KvType::f32, 1, 16, 96, rng);
    const Guarded<float> q = random_floats(3 * 16, rng);
    const Queries what{48, 3, 1, 15, 0.25F}; // tokens 34 to 50
    const Guarded<float> want = attend(table(), pages, what, q.data());
    for (const std::size_t page : {0U, 1U, 4U, 5U})
        pages.forbid(page);
    EXPECT_TRUE(same_bits(want, attend(table(), pages, what, q.data())));
}

TEST_P(Attention, NothingComesFromTokensARowDoesNotSee) {
    Rng rng(68);
    for (const float junk :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 6e4F}) {
        for (const KvType type : {KvType::f32, KvType::f16}) {
            Pages pages(type, 2, 20, 80, rng);
            const Guarded<float> q = random_floats(40 * 4 * 20, rng);
            const Queries what{20, 40, 4, 12, 0.25F};
            const Guarded<float> want = attend(table(), pages, what, q.data());
            for (const std::int64_t bad : {3, 47, 63}) { // row 27 is the first to see token 47
                pages.fill_token(bad, junk);
            }
            const Guarded<float> got = attend(table(), pages, what, q.data());
            EXPECT_EQ(std::memcmp(want.data(), got.data(), std::size_t{27} * 80 * 4), 0);
            // Row 39 (position 59) is the first that has left token 47 behind.
            EXPECT_EQ(std::memcmp(want.data() + 39 * 80, got.data() + 39 * 80, 80 * 4), 0);
            EXPECT_NE(std::memcmp(want.data() + 27 * 80, got.data() + 27 * 80, 80 * 4), 0);
        }
    }
}

TEST_P(Attention, InfiniteScores) {
    const float inf = std::numeric_limits<float>::infinity();
    Rng rng(69);
    Pages pages(KvType::f32, 1, 16, 600, rng);
    const Guarded<float> q(16, 1.0F);
    // Tokens 0 to 19 score -infinity: the first page has nothing, the second a part.
    for (std::int64_t t = 0; t < 20; ++t)
        pages.put_key(t, 0, 5, -inf);
    EXPECT_TRUE(same_bits(attend(table(), pages, {39, 1, 1, 0, 0.25F}, q.data()),
                          attend(table(), pages, {39, 1, 1, 20, 0.25F}, q.data())));
    const Guarded<float> nothing = attend(table(), pages, {19, 1, 1, 0, 0.25F}, q.data());
    for (std::size_t i = 0; i < 16; ++i)
        EXPECT_EQ(nothing[i], 0.0F);
    // A whole chunk of them, before and after something that counts.
    for (std::int64_t t = 20; t < kAttentionChunk; ++t)
        pages.put_key(t, 0, 5, -inf);
    const Queries late{kAttentionChunk + 30, 1, 1, 0, 0.25F};
    const Queries late_only{kAttentionChunk + 30, 1, 1, 31, 0.25F};
    EXPECT_TRUE(same_bits(attend(table(), pages, late, q.data()),
                          attend(table(), pages, late_only, q.data())));
    pages.put_key(7, 0, 5, 0.0F);
    for (std::int64_t t = kAttentionChunk; t < 600; ++t)
        pages.put_key(t, 0, 5, -inf);
    const Guarded<float> one = attend(table(), pages, late, q.data());
    const Guarded<float> early = attend(table(), pages, {20, 1, 1, 0, 0.25F}, q.data());
    EXPECT_TRUE(same_bits(one, early));
    EXPECT_NE(one[0], 0.0F);
}

TEST_P(Attention, NanStaysInItsHead) {
    Rng rng(70);
    constexpr std::int64_t kTokens = kAttentionChunk + 20;
    const Guarded<float> q = random_floats(4 * 16, rng);
    for (const std::int64_t at :
         {std::int64_t{0}, std::int64_t{7}, std::int64_t{15}, std::int64_t{16}, kTokens - 1}) {
        Pages pages(KvType::f32, 2, 16, kTokens, rng);
        pages.put_key(at, 1, 2, NAN);
        const Guarded<float> out = attend(table(), pages, {kTokens - 1, 1, 4, 0, 0.25F}, q.data());
        for (std::size_t i = 0; i < 64; ++i)
            ASSERT_EQ(std::isnan(out[i]), i >= 32) << at << " " << i;
    }
    Pages pages(KvType::f32, 1, 16, kTokens, rng); // nothing but NaN
    for (std::int64_t t = 0; t < kTokens; ++t)
        pages.put_key(t, 0, 2, NAN);
    const Guarded<float> out = attend(table(), pages, {kTokens - 1, 1, 1, 0, 0.25F}, q.data());
    for (std::size_t i = 0; i < 16; ++i)
        EXPECT_TRUE(std::isnan(out[i]));
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
    Rng rng(71);
    const Pages pages(KvType::f32, 1, 16, 600, rng);
    Guarded<float> q = random_floats(16, rng);
    for (std::size_t i = 0; i < 16; ++i)
        q[i] *= 1e6F;
    for (const std::int64_t end : {50, 600}) {
        const Guarded<float> out = attend(table(), pages, {end - 1, 1, 1, 0, 1.0F}, q.data());
        std::vector<double> want(16);
        reference::attention(q.data(), pages.view(), 0, 0, end, 1.0F, want.data());
        // Scores in the millions: one token has all the weight.
        for (std::size_t i = 0; i < 16; ++i)
            EXPECT_EQ(static_cast<double>(out[i]), want[i]);
    }
}

TEST_P(Attention, KeysAreStoredAsColumns) {
    Rng rng(72);
    for (const int n : {1, 3, 4, 8, 15, 16, 17, 40}) {
        const auto size = static_cast<std::size_t>(n);
        const Guarded<float> x = random_floats(size, rng);
        Guarded<float> whole((size - 1) * kPageTokens + 1, 5.0F);
        Guarded<std::uint16_t> half((size - 1) * kPageTokens + 1, std::uint16_t{5});
        table().store_key(KvType::f32, x.data(), n, whole.data());
        table().store_key(KvType::f16, x.data(), n, half.data());
        for (std::size_t i = 0; i < whole.size(); ++i) {
            const bool mine = i % kPageTokens == 0;
            ASSERT_EQ(whole[i], mine ? x[i / kPageTokens] : 5.0F) << n << " " << i;
            ASSERT_EQ(half[i], mine ? f32_to_f16(x[i / kPageTokens]) : 5) << n << " " << i;
        }
    }
}

BLOOM_FOR_EACH_TABLE(Attention);

} // namespace
} // namespace bloom::kernels::test
