#pragma once

#include <algorithm>
#include <vector>

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {

/// Keys and values of one sequence: every page ends at an unreadable one, and so does what lies
/// before the first.
class Pages {
public:
    Pages(KvType type, int n_kv_heads, int head_dim, std::int64_t tokens, Rng& rng)
        : type_(type), n_kv_heads_(n_kv_heads), head_dim_(head_dim),
          n_pages_((tokens + kPageTokens - 1) / kPageTokens) {
        const std::size_t used = values() * bytes();
        page_bytes_ = (used + 4095) / 4096 * 4096 + 4096;
        mapped_ = page_bytes_ * static_cast<std::size_t>(n_pages_ + 1);
        void* base = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        BLOOM_CHECK(base != MAP_FAILED);
        base_ = static_cast<std::uint8_t*>(base);
        for (std::int64_t p = 0; p < n_pages_; ++p) {
            // Pages lie in memory in descending order: only the table says where.
            table_.push_back(static_cast<std::int32_t>(n_pages_ - 1 - p));
            std::uint8_t* const last = base_ + page_bytes_ * static_cast<std::size_t>(p + 2) - 4096;
            BLOOM_CHECK(mprotect(last - (page_bytes_ - 4096), page_bytes_ - 4096,
                                 PROT_READ | PROT_WRITE) == 0);
        }
        slack_ = page_bytes_ - 4096 - used;
        for (std::int64_t p = 0; p < n_pages_; ++p) {
            for (std::size_t i = 0; i < values(); ++i)
                put(p, i, normal(rng));
        }
    }

    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    ~Pages() { munmap(base_, mapped_); }

    KvPages view() const {
        return {base_ + page_bytes_ + slack_,
                table_.data(),
                static_cast<std::int64_t>(page_bytes_),
                type_,
                n_kv_heads_,
                head_dim_};
    }

    int head_dim() const { return head_dim_; }

    int n_kv_heads() const { return n_kv_heads_; }

    void put_key(std::int64_t token, int kv_head, int d, float v) {
        put(token / kPageTokens,
            static_cast<std::size_t>((kv_head * head_dim_ + d) * kPageTokens + token % kPageTokens),
            v);
    }

    void put_value(std::int64_t token, int kv_head, int d, float v) {
        put(token / kPageTokens,
            static_cast<std::size_t>(
                ((n_kv_heads_ + kv_head) * kPageTokens + token % kPageTokens) * head_dim_ + d),
            v);
    }

    /// Everything of a token becomes `v`.
    void fill_token(std::int64_t token, float v) {
        for (int h = 0; h < n_kv_heads_; ++h) {
            for (int d = 0; d < head_dim_; ++d) {
                put_key(token, h, d, v);
                put_value(token, h, d, v);
            }
        }
    }

    /// Points a page of the sequence to unreadable memory.
    void forbid(std::size_t page) { table_[page] = -1; }

private:
    std::size_t bytes() const { return type_ == KvType::f16 ? 2 : 4; }

    std::size_t values() const {
        return static_cast<std::size_t>(2 * n_kv_heads_ * kPageTokens * head_dim_);
    }

    void put(std::int64_t page, std::size_t i, float v) {
        const auto at = static_cast<std::size_t>(table_[static_cast<std::size_t>(page)]);
        test::put_value(type_ == KvType::f16 ? WeightFormat::f16 : WeightFormat::f32,
                        base_ + page_bytes_ * (at + 1) + slack_ + i * bytes(), v);
    }

    KvType type_;
    int n_kv_heads_;
    int head_dim_;
    std::int64_t n_pages_;
    std::size_t page_bytes_ = 0;
    std::size_t mapped_ = 0;
    std::size_t slack_ = 0;
    std::uint8_t* base_ = nullptr;
    std::vector<std::int32_t> table_;
};

/// Rows of a sequence that attend: q [n_rows, n_heads, head_dim] from `position` on.
struct Queries {
    std::int64_t position;
    int n_rows;
    int n_heads;
    std::int64_t window;
    float scale;
};

/// How the rows are given to the kernel.
struct Cut {
    int rows = kAttentionQueries;  ///< rows of a block at most
    int heads = kAttentionQueries; ///< heads of a block at most
    std::int64_t split_at = 0;     ///< chunks from here on as parts of their own; 0: none
    int kv_heads = 1;              ///< KV heads of a call, whole ones
};

/// Attention of one block; its queries in [begin, end) of (row, head).
inline void attend_block(const KernelTable& table, const Pages& pages, const AttentionRows& rows,
                         std::int64_t split_at, float* out, std::int64_t out_stride) {
    const int n = rows.n_kv * rows.n_rows * rows.n_heads;
    const int dim = pages.head_dim();
    const std::int64_t begin =
        rows.window > 0 ? std::max<std::int64_t>(rows.position + 1 - rows.window, 0) : 0;
    const std::int64_t first = begin / kAttentionChunk;
    const std::int64_t last = (rows.position + rows.n_rows + kAttentionChunk - 1) / kAttentionChunk;
    const auto part_floats = static_cast<std::size_t>(attention_part_floats(n, dim));
    Guarded<float> scratch(static_cast<std::size_t>(attention_scratch_floats(n, dim)), 7.0F);
    Guarded<float> folded(part_floats, 8.0F);
    const std::int64_t cut = split_at > first ? std::min(split_at, last) : last;
    table.attention(rows, pages.view(), first, cut, true, folded.data(), scratch.data());
    if (cut < last) {
        Guarded<float> parts(part_floats * static_cast<std::size_t>(last - cut), 9.0F);
        table.attention(rows, pages.view(), cut, last, false, parts.data(), scratch.data());
        for (std::int64_t c = 0; c < last - cut; ++c) {
            const float* const part = parts.data() + part_floats * static_cast<std::size_t>(c);
            table.attention_fold(n, dim, n / 2, n, folded.data(), part);
            table.attention_fold(n, dim, 0, n / 2, folded.data(), part);
        }
    }
    table.attention_finish(rows, dim, 0, n / 3, folded.data(), out, out_stride);
    table.attention_finish(rows, dim, n / 3, n, folded.data(), out, out_stride);
}

/// All rows and heads, cut as told; out like q.
inline Guarded<float> attend(const KernelTable& table, const Pages& pages, const Queries& what,
                             const float* q, const Cut& cut = {}) {
    const int dim = pages.head_dim();
    const std::int64_t stride = std::int64_t{what.n_heads} * dim;
    const int ratio = what.n_heads / pages.n_kv_heads();
    Guarded<float> out(static_cast<std::size_t>(what.n_rows * stride), 99.0F);
    for (int head = 0; head < what.n_heads;) {
        const int group_end = (head / ratio + 1) * ratio;
        const int heads = std::min({cut.heads, group_end - head, kAttentionQueries});
        const int n_kv = heads == ratio ? std::min(cut.kv_heads, (what.n_heads - head) / ratio) : 1;
        const int rows_max = std::min(cut.rows, kAttentionQueries / (heads * n_kv));
        for (int r = 0; r < what.n_rows; r += rows_max) {
            const int n_rows = std::min(rows_max, what.n_rows - r);
            const std::int64_t at = r * stride + std::int64_t{head} * dim;
            attend_block(table, pages,
                         {q + at, stride, n_rows, heads, head / ratio, n_kv, what.scale,
                          what.position + r, what.window},
                         cut.split_at, out.data() + at, stride);
        }
        head += heads * n_kv;
    }
    return out;
}

inline bool same_bits(const Guarded<float>& a, const Guarded<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

} // namespace bloom::kernels::test
