#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/compute/backend_cpu.hpp>

/// A transformer of a few thousand weights as a plan, for tests of how a step is run.
namespace bloom::compute::test {

/// A random matrix in a file's form.
struct FileMatrix {
    std::vector<std::uint8_t> bytes;
    kernels::SourceMatrix source{};

    FileMatrix(kernels::WeightFormat format, std::int64_t rows, std::int64_t k, Rng& rng) {
        if (format == kernels::WeightFormat::q8_0) {
            constexpr std::uint16_t kScale = 0x2000; // 2^-7 as f16
            for (std::int64_t block = 0; block < rows * k / 32; ++block) {
                bytes.push_back(kScale & 0xff);
                bytes.push_back(kScale >> 8);
                for (int i = 0; i < 32; ++i)
                    bytes.push_back(static_cast<std::uint8_t>(rng.below(255)));
            }
        } else {
            for (std::int64_t i = 0; i < rows * k; ++i) {
                const float value = static_cast<float>(rng.below(2001)) * 1e-3F - 1.0F;
                std::uint8_t raw[sizeof value];
                std::memcpy(raw, &value, sizeof value);
                bytes.insert(bytes.end(), raw, raw + sizeof value);
            }
        }
        source = {format, rows, k, bytes.data(), nullptr, nullptr};
    }
};

struct SmallShape {
    std::int64_t d = 96;
    std::int64_t ffn = 160;
    std::int64_t vocab = 300;
    std::int32_t n_heads = 6;
    std::int32_t n_kv_heads = 3;
    std::int32_t head_dim = 32;
    int n_layers = 2;
};

/// The small model in one backend, with pages for `n_seqs` sequences of 64 tokens.
class SmallModel {
public:
    static constexpr std::int32_t kPagesPerSeq = 4;

    SmallModel(const CpuBackendOptions& options, const SmallShape& shape, std::int32_t n_seqs)
        : s_(shape), rng_(7), backend_(make_cpu_backend(options)) {
        using kernels::WeightFormat;
        embed_ = matrix(WeightFormat::q8_0, s_.vocab, s_.d);
        for (int i = 0; i < s_.n_layers; ++i) {
            Layer l{};
            l.norm1 = vector(s_.d);
            l.q = matrix(WeightFormat::q8_0, std::int64_t{s_.n_heads} * s_.head_dim, s_.d);
            l.k = matrix(WeightFormat::f32, std::int64_t{s_.n_kv_heads} * s_.head_dim, s_.d);
            l.v = matrix(WeightFormat::q8_0, std::int64_t{s_.n_kv_heads} * s_.head_dim, s_.d);
            l.o = matrix(WeightFormat::q8_0, s_.d, std::int64_t{s_.n_heads} * s_.head_dim);
            l.norm2 = vector(s_.d);
            l.gate = matrix(WeightFormat::q8_0, s_.ffn, s_.d);
            l.up = matrix(WeightFormat::q8_0, s_.ffn, s_.d);
            l.down = matrix(WeightFormat::q8_0, s_.d, s_.ffn);
            layers_.push_back(l);
        }
        last_norm_ = vector(s_.d);
        RopeSpec rope;
        for (int j = 0; j < s_.head_dim / 2; ++j)
            rope.inv_freq.push_back(1.0 / (1.0 + j));
        rope_ = *backend_->add_rope(std::move(rope));
        EXPECT_TRUE(backend_->allocate_kv(
            {s_.n_layers, s_.n_kv_heads, s_.head_dim, s_.head_dim, 0, kernels::KvType::f16},
            std::int64_t{n_seqs} * kPagesPerSeq));
        for (std::int32_t p = 0; p < n_seqs * kPagesPerSeq; ++p)
            pages_.push_back(p);
        for (std::int32_t q = 0; q < n_seqs; ++q)
            tables_.emplace_back(pages_.data() + q * kPagesPerSeq, kPagesPerSeq);
    }

    Backend& backend() { return *backend_; }

    const SmallShape& shape() const { return s_; }

    Plan plan(const PlanKey& key) const {
        Plan p(key);
        const TensorId h = p.tensor(s_.d), a = p.tensor(s_.d);
        const TensorId q = p.tensor(std::int64_t{s_.n_heads} * s_.head_dim);
        const TensorId k = p.tensor(std::int64_t{s_.n_kv_heads} * s_.head_dim);
        const TensorId v = p.tensor(std::int64_t{s_.n_kv_heads} * s_.head_dim);
        const TensorId o = p.tensor(std::int64_t{s_.n_heads} * s_.head_dim), x = p.tensor(s_.d);
        const TensorId gate = p.tensor(s_.ffn), up = p.tensor(s_.ffn);
        constexpr auto kNone = WeightId::none;
        p.add(EmbedOp{embed_, h});
        for (std::int32_t i = 0; i < s_.n_layers; ++i) {
            const Layer& l = layers_[static_cast<std::size_t>(i)];
            p.add(RmsNormOp{h, l.norm1, 1e-5F, s_.d, a});
            p.add(MatmulOp{a, l.q, kNone, q});
            p.add(MatmulOp{a, l.k, kNone, k});
            p.add(MatmulOp{a, l.v, kNone, v});
            p.add(RopeOp{q, rope_, s_.n_heads, s_.head_dim});
            p.add(RopeOp{k, rope_, s_.n_kv_heads, s_.head_dim});
            p.add(KvStoreOp{k, v, KvPoolId{0}, i});
            p.add(AttentionOp{q, KvPoolId{0}, i, s_.n_heads, 0.2F, o});
            p.add(MatmulOp{o, l.o, kNone, x});
            p.add(AddOp{h, x});
            p.add(RmsNormOp{h, l.norm2, 1e-5F, s_.d, a});
            p.add(MatmulOp{a, l.gate, kNone, gate});
            p.add(MatmulOp{a, l.up, kNone, up});
            p.add(GatedMulOp{gate, up, gate});
            p.add(MatmulOp{gate, l.down, kNone, x});
            p.add(AddOp{h, x});
        }
        const TensorId last = p.tensor(s_.d, RowKind::logits);
        const TensorId normed = p.tensor(s_.d, RowKind::logits);
        const TensorId logits = p.tensor(s_.vocab, RowKind::logits);
        p.add(GatherRowsOp{h, last});
        p.add(RmsNormOp{last, last_norm_, 1e-5F, s_.d, normed});
        p.add(MatmulOp{normed, embed_, kNone, logits});
        p.add(LogitsOp{logits});
        return p;
    }

    /// Runs `n_rows` rows of each sequence from position `past` on; logits of each one's last.
    Result<> run(CompiledId plan, std::int32_t n_seqs, std::int32_t past, std::int32_t n_rows) {
        tokens_.clear();
        positions_.clear();
        row_seq_.clear();
        logit_rows_.clear();
        for (std::int32_t q = 0; q < n_seqs; ++q) {
            for (std::int32_t i = 0; i < n_rows; ++i) {
                tokens_.push_back(static_cast<std::int32_t>((past + i) * 37 + q * 11) %
                                  static_cast<std::int32_t>(s_.vocab));
                positions_.push_back(past + i);
                row_seq_.push_back(q);
            }
            logit_rows_.push_back(static_cast<std::int32_t>(tokens_.size()) - 1);
        }
        return backend_->run(plan, {tokens_, positions_, row_seq_, logit_rows_, n_seqs, 1,
                                    std::span(tables_).first(static_cast<std::size_t>(n_seqs))});
    }

private:
    struct Layer {
        WeightId norm1, q, k, v, o, norm2, gate, up, down;
    };

    WeightId matrix(kernels::WeightFormat format, std::int64_t rows, std::int64_t k) {
        files_.emplace_back(format, rows, k, rng_);
        const auto id = backend_->upload_matrix(files_.back().source);
        EXPECT_TRUE(id) << id.error().message();
        return *id;
    }

    WeightId vector(std::int64_t n) {
        std::vector<float> values;
        for (std::int64_t i = 0; i < n; ++i)
            values.push_back(0.5F + static_cast<float>(rng_.below(1000)) * 1e-3F);
        return *backend_->upload_vector(values);
    }

    SmallShape s_;
    Rng rng_;
    std::deque<FileMatrix> files_;
    std::unique_ptr<Backend> backend_;
    WeightId embed_{}, last_norm_{};
    RopeId rope_{};
    std::vector<Layer> layers_;
    std::vector<std::int32_t> pages_;
    std::vector<PageTable> tables_;
    std::vector<std::int32_t> tokens_, positions_, row_seq_, logit_rows_;
};

} // namespace bloom::compute::test
