#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

/// Keys and values of one sequence, each page its own guarded buffer.
class Pages {
public:
    Pages(KvType type, int n_kv_heads, int head_dim, std::int64_t tokens, Rng& rng)
        : type_(type), n_kv_heads_(n_kv_heads), head_dim_(head_dim) {
        const auto values = static_cast<std::size_t>(2 * n_kv_heads * kPageTokens * head_dim);
        for (std::int64_t p = 0; p < (tokens + kPageTokens - 1) / kPageTokens; ++p) {
            buffers_.emplace_back(values * bytes());
            addresses_.push_back(buffers_.back().data());
            for (std::size_t i = 0; i < values; ++i)
                put(static_cast<std::size_t>(p), i, normal(rng));
        }
    }

    KvPages view() const { return {addresses_.data(), type_, n_kv_heads_, head_dim_}; }

    std::size_t bytes() const { return type_ == KvType::f16 ? 2 : 4; }

    void put(std::size_t page, std::size_t i, float v) {
        put_value(type_ == KvType::f16 ? WeightFormat::f16 : WeightFormat::f32,
                  buffers_[page].data() + i * bytes(), v);
    }

    void put_key(std::int64_t token, int kv_head, int d, float v) {
        put(static_cast<std::size_t>(token / kPageTokens),
            static_cast<std::size_t>((kv_head * kPageTokens + token % kPageTokens) * head_dim_ + d),
            v);
    }

    /// Makes a page unreadable.
    void forbid(std::size_t page) { addresses_[page] = nullptr; }

private:
    KvType type_;
    int n_kv_heads_;
    int head_dim_;
    std::vector<Guarded<std::uint8_t>> buffers_;
    std::vector<const void*> addresses_;
};

class Attention : public TableTest {
protected:
    /// Scores carry an error of about (head_dim + 2) units of their size, which moves weights by as
    /// much; sums over tokens and pages add one unit per step. Values are of size 1.
    void check(KvType type, int n_heads, int n_kv_heads, int head_dim, std::int64_t begin,
               std::int64_t end, Rng& rng) {
        const Pages pages(type, n_kv_heads, head_dim, end, rng);
        const auto width = static_cast<std::size_t>(n_heads * head_dim);
        const Guarded<float> q = random_floats(width, rng);
        Guarded<float> out(width, 99.0F);
        const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
        table().attention(q.data(), pages.view(), n_heads, 0, n_heads, begin, end, scale,
                          out.data());
        std::vector<double> want(static_cast<std::size_t>(head_dim));
        const double bound =
            kUnit * (40.0 * head_dim + 8.0 * static_cast<double>(end - begin) + 100);
        for (int h = 0; h < n_heads; ++h) {
            reference::attention(q.data() + h * head_dim, pages.view(), h / (n_heads / n_kv_heads),
                                 begin, end, scale, want.data());
            for (int d = 0; d < head_dim; ++d) {
                ASSERT_NEAR(static_cast<double>(out[static_cast<std::size_t>(h * head_dim + d)]),
                            want[static_cast<std::size_t>(d)], bound)
                    << "heads " << n_heads << "/" << n_kv_heads << " dim " << head_dim << " tokens "
                    << begin << " to " << end << " head " << h << " at " << d;
            }
        }
    }
};

TEST_P(Attention, LengthsAndWindows) {
    Rng rng(61);
    for (const KvType type : {KvType::f32, KvType::f16}) {
        for (const std::int64_t end : {1, 2, 15, 16, 17, 31, 32, 33, 100}) {
            for (const std::int64_t begin : {std::int64_t{0}, std::int64_t{1}, std::int64_t{15},
                                             std::int64_t{16}, std::int64_t{30}, end - 1}) {
                if (begin < end) check(type, 4, 2, 24, begin, end, rng);
            }
        }
    }
}

TEST_P(Attention, HeadShapes) {
    Rng rng(62);
    const int shapes[][2] = {{1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 1}, {12, 2}, {9, 3}};
    for (const auto& shape : shapes) {
        for (const int dim : {1, 3, 8, 16, 20, 32, 48, 64, 80, 128}) {
            check(dim % 3 == 0 ? KvType::f32 : KvType::f16, shape[0], shape[1], dim, 0, 21, rng);
        }
    }
}

TEST_P(Attention, HeadSplitsGiveTheSameBits) {
    Rng rng(63);
    const int n_heads = 12;
    const int dim = 40;
    const Pages pages(KvType::f16, 2, dim, 37, rng);
    const Guarded<float> q = random_floats(n_heads * dim, rng);
    Guarded<float> whole(n_heads * dim, 1.0F);
    Guarded<float> split(n_heads * dim, 2.0F);
    table().attention(q.data(), pages.view(), n_heads, 0, n_heads, 2, 37, 0.2F, whole.data());
    const int cuts[] = {0, 1, 3, 8, 12};
    for (int i = 0; i < 4; ++i) {
        table().attention(q.data(), pages.view(), n_heads, cuts[i], cuts[i + 1], 2, 37, 0.2F,
                          split.data());
    }
    EXPECT_EQ(std::memcmp(whole.data(), split.data(), whole.size() * 4), 0);
}

TEST_P(Attention, PagesBehindTheWindowAreNotTouched) {
    Rng rng(64);
    Pages pages(KvType::f32, 1, 16, 64, rng);
    const Guarded<float> q = random_floats(16, rng);
    Guarded<float> want(16);
    Guarded<float> got(16);
    table().attention(q.data(), pages.view(), 1, 0, 1, 33, 48, 0.25F, want.data());
    pages.forbid(0);
    pages.forbid(1);
    pages.forbid(3);
    table().attention(q.data(), pages.view(), 1, 0, 1, 33, 48, 0.25F, got.data());
    EXPECT_EQ(std::memcmp(want.data(), got.data(), 64), 0);
}

TEST_P(Attention, NothingToAttendTo) {
    Rng rng(65);
    const Pages pages(KvType::f16, 1, 20, 16, rng);
    const Guarded<float> q = random_floats(20, rng);
    Guarded<float> out(20, 5.0F);
    table().attention(q.data(), pages.view(), 1, 0, 1, 3, 3, 1.0F, out.data());
    for (std::size_t i = 0; i < 20; ++i)
        EXPECT_EQ(out[i], 0.0F);
}

TEST_P(Attention, InfiniteScores) {
    const float inf = std::numeric_limits<float>::infinity();
    Rng rng(66);
    Pages pages(KvType::f32, 1, 16, 40, rng);
    Guarded<float> q(16, 1.0F);
    // Tokens 0 to 19 score -infinity: the first page has nothing, the second a part.
    for (std::int64_t t = 0; t < 20; ++t)
        pages.put_key(t, 0, 5, -inf);
    Guarded<float> got(16);
    Guarded<float> want(16);
    table().attention(q.data(), pages.view(), 1, 0, 1, 0, 40, 0.25F, got.data());
    table().attention(q.data(), pages.view(), 1, 0, 1, 20, 40, 0.25F, want.data());
    EXPECT_EQ(std::memcmp(got.data(), want.data(), 64), 0);
    table().attention(q.data(), pages.view(), 1, 0, 1, 0, 20, 0.25F, got.data());
    for (std::size_t i = 0; i < 16; ++i)
        EXPECT_EQ(got[i], 0.0F);
}

TEST_P(Attention, NanStaysInItsHead) {
    Rng rng(67);
    for (const std::int64_t at : {0, 7, 15, 16, 39}) {
        Pages pages(KvType::f32, 2, 16, 40, rng);
        pages.put_key(at, 1, 2, NAN);
        const Guarded<float> q = random_floats(4 * 16, rng);
        Guarded<float> out(4 * 16);
        table().attention(q.data(), pages.view(), 4, 0, 4, 0, 40, 0.25F, out.data());
        for (std::size_t i = 0; i < 64; ++i)
            ASSERT_EQ(std::isnan(out[i]), i >= 32) << at << " " << i;
    }
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
    Rng rng(68);
    const Pages pages(KvType::f32, 1, 16, 50, rng);
    Guarded<float> q = random_floats(16, rng);
    for (std::size_t i = 0; i < 16; ++i)
        q[i] *= 1e6F;
    Guarded<float> out(16);
    std::vector<double> want(16);
    table().attention(q.data(), pages.view(), 1, 0, 1, 0, 50, 1.0F, out.data());
    reference::attention(q.data(), pages.view(), 0, 0, 50, 1.0F, want.data());
    // Scores in the millions: one token has all the weight.
    for (std::size_t i = 0; i < 16; ++i)
        EXPECT_EQ(static_cast<double>(out[i]), want[i]);
}

BLOOM_FOR_EACH_TABLE(Attention);

} // namespace
} // namespace bloom::kernels::test
