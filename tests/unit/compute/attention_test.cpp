#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernel_table.hpp"
#include <bloom/base/rng.hpp>
#include <bloom/compute/backend_cpu.hpp>

namespace bloom::compute {
namespace {

constexpr std::int64_t kVocab = 97;
constexpr std::int32_t kPages = 400;

struct Shape {
    std::int32_t n_heads = 6;
    std::int32_t n_kv_heads = 2;
    std::int32_t dim = 20;
    std::int32_t window = 0;
    kernels::KvType type = kernels::KvType::f16;
    std::uint64_t seed = 1;
};

struct Config {
    int workers = 1;
    bool fuse = true;
};

using Rows = std::vector<std::vector<float>>;

/// A sequence: its tokens and where its pages are.
struct Sequence {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> pages;
};

/// Rows [begin, begin + n) of a sequence in one step.
struct Part {
    const Sequence* seq;
    std::int64_t begin;
    std::int64_t n;
};

/// Attention and nothing else: q, k and v of a token come out of tables, what is attended to goes
/// out as logits.
class Attender {
public:
    explicit Attender(const Shape& shape, const Config& config = {})
        : shape_(shape), team_(config.workers) {
        const kernels::KernelTable* table =
            kernels::select_table(kernels::detect_cpu_features(), nullptr);
        backend_ = make_cpu_backend({table, &team_, true, config.fuse});
        Rng rng(shape.seed);
        q_ = upload(shape.n_heads * shape.dim, q_values_, rng);
        k_ = upload(shape.n_kv_heads * shape.dim, k_values_, rng);
        v_ = upload(shape.n_kv_heads * shape.dim, v_values_, rng);
        auto pool = backend_->allocate_kv(
            {2, shape.n_kv_heads, shape.dim, shape.dim, shape.window, shape.type}, kPages);
        EXPECT_TRUE(pool);
        pool_ = *pool;
    }

    /// Tokens of its own and pages that nobody else has, scattered.
    Sequence sequence(std::int64_t n, std::uint64_t seed) {
        Sequence s;
        Rng rng(seed);
        for (std::int64_t i = 0; i < n; ++i)
            s.tokens.push_back(static_cast<std::int32_t>(rng.below(kVocab)));
        for (std::int64_t p = 0; p < (n + kPageTokens - 1) / kPageTokens; ++p)
            s.pages.push_back((next_page_++ * 7) % kPages);
        EXPECT_LE(next_page_, kPages);
        return s;
    }

    Rows step(const std::vector<Part>& parts) {
        std::vector<std::int32_t> tokens, positions, seqs, rows;
        std::vector<PageTable> tables;
        bool decode = true;
        for (const Part& p : parts) {
            decode = decode && p.n == 1;
            for (std::int64_t i = p.begin; i < p.begin + p.n; ++i) {
                tokens.push_back(p.seq->tokens[static_cast<std::size_t>(i)]);
                positions.push_back(static_cast<std::int32_t>(i));
                seqs.push_back(static_cast<std::int32_t>(tables.size()));
                rows.push_back(static_cast<std::int32_t>(rows.size()));
            }
            tables.push_back(p.seq->pages);
        }
        const CompiledId plan = compile(decode ? Phase::decode : Phase::prefill);
        const StepInputs inputs{
            tokens, positions, seqs, rows, static_cast<std::int32_t>(tables.size()), 1, tables};
        EXPECT_TRUE(backend_->run(plan, inputs));
        Rows out;
        for (const std::int32_t r : rows) {
            const auto row = backend_->read_logits(r);
            out.emplace_back(row.begin(), row.end());
        }
        return out;
    }

    /// Tokens [begin, end) of a sequence, at most `chunk` of them a step.
    Rows prefill(const Sequence& s, std::int64_t begin, std::int64_t end, std::int64_t chunk) {
        Rows out;
        for (std::int64_t at = begin; at < end; at += chunk) {
            Rows more = step({{&s, at, std::min(chunk, end - at)}});
            std::move(more.begin(), more.end(), std::back_inserter(out));
        }
        return out;
    }

    /// What row `position` of a sequence should give, keys and values being exact.
    std::vector<double> want(const Sequence& s, std::int64_t position) const {
        const auto begin = static_cast<std::size_t>(
            shape_.window > 0 ? std::max<std::int64_t>(position + 1 - shape_.window, 0) : 0);
        const auto end = static_cast<std::size_t>(position) + 1;
        const auto dim = static_cast<std::size_t>(shape_.dim);
        std::vector<double> out(static_cast<std::size_t>(shape_.n_heads) * dim);
        const auto of = [&](const std::vector<float>& table, std::size_t t, std::size_t i) {
            const std::size_t width = table.size() / kVocab;
            return static_cast<double>(table[static_cast<std::size_t>(s.tokens[t]) * width + i]);
        };
        for (std::size_t h = 0; h < static_cast<std::size_t>(shape_.n_heads); ++h) {
            const std::size_t kv = h / static_cast<std::size_t>(shape_.n_heads / shape_.n_kv_heads);
            double sum = 0;
            for (std::size_t t = begin; t < end; ++t) {
                double score = 0;
                for (std::size_t d = 0; d < dim; ++d) {
                    score += of(q_values_, end - 1, h * dim + d) * of(k_values_, t, kv * dim + d);
                }
                const double p = std::exp(score * static_cast<double>(kScale));
                sum += p;
                for (std::size_t d = 0; d < dim; ++d)
                    out[h * dim + d] += p * of(v_values_, t, kv * dim + d);
            }
            for (std::size_t d = 0; d < dim; ++d)
                out[h * dim + d] /= sum;
        }
        return out;
    }

private:
    static constexpr float kScale = 0.25F;

    WeightId upload(std::int64_t cols, std::vector<float>& values, Rng& rng) {
        for (std::int64_t i = 0; i < kVocab * cols; ++i) // exact in f16
            values.push_back(static_cast<float>(static_cast<int>(rng.below(257)) - 128) / 64.0F);
        auto id = backend_->upload_matrix({kernels::WeightFormat::f32, kVocab, cols,
                                           reinterpret_cast<const std::uint8_t*>(values.data()),
                                           nullptr, nullptr});
        EXPECT_TRUE(id);
        return *id;
    }

    CompiledId compile(Phase phase) {
        CompiledId& plan = phase == Phase::decode ? decode_ : prefill_;
        if (plan != CompiledId::none) return plan;
        Plan p({phase, 2048, 2048});
        const TensorId q = p.tensor(shape_.n_heads * shape_.dim);
        const TensorId k = p.tensor(shape_.n_kv_heads * shape_.dim);
        const TensorId v = p.tensor(shape_.n_kv_heads * shape_.dim);
        const TensorId out = p.tensor(shape_.n_heads * shape_.dim);
        const TensorId wanted = p.tensor(shape_.n_heads * shape_.dim, RowKind::logits);
        p.add(EmbedOp{q_, q});
        p.add(EmbedOp{k_, k});
        p.add(EmbedOp{v_, v});
        p.add(KvStoreOp{k, v, pool_, 1});
        p.add(AttentionOp{q, pool_, 1, shape_.n_heads, kScale, out});
        p.add(GatherRowsOp{out, wanted});
        p.add(LogitsOp{wanted});
        auto id = backend_->compile(p);
        EXPECT_TRUE(id);
        plan = *id;
        return plan;
    }

    Shape shape_;
    SerialTeam team_;
    std::unique_ptr<Backend> backend_;
    std::vector<float> q_values_, k_values_, v_values_;
    WeightId q_{}, k_{}, v_{};
    KvPoolId pool_{};
    CompiledId decode_ = CompiledId::none;
    CompiledId prefill_ = CompiledId::none;
    std::int32_t next_page_ = 0;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_same(const Rows& want, const Rows& got, const char* what) {
    ASSERT_EQ(want.size(), got.size()) << what;
    for (std::size_t r = 0; r < want.size(); ++r)
        ASSERT_TRUE(same_bits(want[r], got[r])) << what << ", row " << r;
}

TEST(CpuAttention, RowsAreWhatTheyShouldBe) {
    for (const auto type : {kernels::KvType::f32, kernels::KvType::f16}) {
        for (const std::int32_t window : {0, 100}) {
            Attender a({.window = window, .type = type}, {.workers = 2});
            const Sequence s = a.sequence(700, 9);
            const Rows rows = a.prefill(s, 0, 699, 300);
            const Rows last = a.prefill(s, 699, 700, 1);
            for (const std::int64_t r : {0, 1, 99, 100, 299, 300, 511, 512, 513, 698, 699}) {
                const auto& got = r == 699 ? last[0] : rows[static_cast<std::size_t>(r)];
                const std::vector<double> want = a.want(s, r);
                for (std::size_t i = 0; i < want.size(); ++i)
                    ASSERT_NEAR(static_cast<double>(got[i]), want[i], 1e-4) << r << " " << i;
            }
        }
    }
}

TEST(CpuAttention, NeitherCutsNorWorkersChangeBits) {
    for (const std::int32_t window : {0, 70}) {
        const Shape shape{.window = window};
        Attender one(shape);
        const Sequence s = one.sequence(1100, 5);
        const Rows want = one.prefill(s, 0, 1100, 1100);
        for (const int workers : {1, 2, 3, 7}) {
            for (const std::int64_t chunk : {1100, 512, 64, 37}) {
                Attender a(shape, {workers, chunk != 64});
                const Sequence same = a.sequence(1100, 5);
                expect_same(want, a.prefill(same, 0, 1100, chunk), "chunks");
            }
            // Row by row, as decode does it, over the edge of a chunk of tokens.
            Attender a(shape, {workers});
            const Sequence same = a.sequence(1100, 5);
            a.prefill(same, 0, 1000, 500);
            const Rows rows = a.prefill(same, 1000, 1100, 1);
            expect_same({want.begin() + 1000, want.end()}, rows, "rows");
        }
    }
}

TEST(CpuAttention, OneLongSequenceFeedsAllWorkers) {
    const std::int32_t heads[][2] = {{1, 1}, {5, 1}, {6, 3}};
    for (const auto& h : heads) {
        const Shape shape{.n_heads = h[0], .n_kv_heads = h[1], .dim = 8};
        Attender one(shape);
        const Sequence s = one.sequence(3000, 6);
        one.prefill(s, 0, 2998, 1000);
        const Rows want = one.prefill(s, 2998, 3000, 1);
        for (const int workers : {1, 2, 3, 5, 16}) {
            Attender a(shape, {workers});
            const Sequence same = a.sequence(3000, 6);
            a.prefill(same, 0, 2998, 1000);
            expect_same(want, a.prefill(same, 2998, 3000, 1), "decode");
            a.prefill(same, 0, 2998, 1000);
            expect_same(want, a.prefill(same, 2998, 3000, 2), "verification");
        }
    }
}

TEST(CpuAttention, WhatElseIsInTheBatchChangesNothing) {
    const std::int64_t lengths[] = {1, 3, 40, 513, 1030, 600, 17};
    // Without fusing, decode too is cut at chunks instead of heads.
    for (const Config& config : {Config{1, true}, Config{2, true}, Config{5, true},
                                 Config{1, false}, Config{2, false}, Config{5, false}}) {
        for (const std::int32_t window : {0, 33}) {
            const Shape shape{.window = window};
            Attender together(shape, config);
            Attender alone(shape);
            std::vector<Sequence> seqs, copies;
            std::vector<Part> decode, mixed;
            Rows want;
            for (const std::int64_t n : lengths) {
                const auto seed = static_cast<std::uint64_t>(n);
                seqs.push_back(together.sequence(n + 40, seed));
                copies.push_back(alone.sequence(n + 40, seed));
            }
            for (std::size_t i = 0; i < seqs.size(); ++i) {
                const std::int64_t n = lengths[i];
                together.prefill(seqs[i], 0, n, 700);
                alone.prefill(copies[i], 0, n, 700);
                decode.push_back({&seqs[i], n, 1});
                want.push_back(alone.prefill(copies[i], n, n + 1, 1)[0]);
            }
            expect_same(want, together.step(decode), "decode");
            want.clear();
            for (std::size_t i = 0; i < seqs.size(); ++i) {
                const std::int64_t n = i % 2 == 0 ? 1 : 39 - static_cast<std::int64_t>(i);
                mixed.push_back({&seqs[i], lengths[i] + 1, n});
                const Rows rows = alone.prefill(copies[i], lengths[i] + 1, lengths[i] + 1 + n, 11);
                want.insert(want.end(), rows.begin(), rows.end());
            }
            expect_same(want, together.step(mixed), "mixed");
        }
    }
}

TEST(CpuAttention, PagesBehindTheWindowMayBeGone) {
    const Shape shape{.window = 50};
    Attender a(shape, {.workers = 3});
    Sequence s = a.sequence(700, 8);
    a.prefill(s, 0, 620, 310);
    Attender b(shape);
    const Sequence whole = b.sequence(700, 8);
    b.prefill(whole, 0, 620, 310);
    // Row 620 sees tokens 571 to 620: everything before page 35 has been dropped.
    std::fill_n(s.pages.begin(), 571 / kPageTokens, -1);
    expect_same(b.prefill(whole, 620, 660, 40), a.prefill(s, 620, 660, 40), "prefill");
    expect_same(b.prefill(whole, 660, 700, 1), a.prefill(s, 660, 700, 1), "decode");
}

} // namespace
} // namespace bloom::compute
