#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/compute/backend_cpu.hpp>

/// Layers of linear attention alone as a plan: what would come out of a model's products is looked
/// up by token instead.
namespace bloom::compute::test {

struct DeltaShape {
    RecurrentSpec spec{2, 2, 6, 32, 48, 4};
    bool tiled = false;
    std::int64_t vocab = 50;
};

/// What of one sequence a step takes.
struct DeltaPart {
    std::vector<std::int32_t> tokens;
    RecurrentInput in;
};

class DeltaModel {
public:
    struct Layer {
        WeightId qkv, alpha, beta, z, conv, decay, dt_bias, norm;
    };

    /// The weights of one layer, by token where they are inputs.
    struct Values {
        std::vector<float> qkv, alpha, beta, z, conv, decay, dt_bias, norm;
    };

    DeltaModel(const CpuBackendOptions& options, const DeltaShape& shape, std::int64_t n_slots)
        : s_(shape), backend_(make_cpu_backend(options)) {
        Rng rng(7);
        const RecurrentSpec& r = s_.spec;
        const std::int64_t heads = r.n_v_heads;
        for (int i = 0; i < r.n_layers; ++i) {
            Values v;
            v.qkv = random(s_.vocab * r.channels(), -1, 1, rng);
            v.alpha = random(s_.vocab * heads, -6, 3, rng);
            v.beta = random(s_.vocab * heads, -2, 2, rng);
            v.z = random(s_.vocab * heads * r.v_dim, -2, 2, rng);
            v.conv = random(r.channels() * r.conv_taps, -1, 1, rng);
            v.decay = random(heads, -2, 0, rng);
            v.dt_bias = random(heads, -1, 1, rng);
            v.norm = random(r.v_dim, 0.5, 1.5, rng);
            layers_.push_back({table(v.qkv), table(v.alpha), table(v.beta), table(v.z),
                               vector(v.conv), vector(v.decay), vector(v.dt_bias), vector(v.norm)});
            values.push_back(std::move(v));
        }
        const auto allocated = backend_->allocate_states(r, n_slots);
        EXPECT_TRUE(allocated) << allocated.error().message();
    }

    Backend& backend() { return *backend_; }

    const DeltaShape& shape() const { return s_; }

    /// Sum of all layers' outputs of every row as its logits.
    Plan plan(std::int32_t max_rows) const {
        const RecurrentSpec& r = s_.spec;
        const std::int64_t width = std::int64_t{r.n_v_heads} * r.v_dim;
        Plan p({Phase::prefill, max_rows, max_rows});
        const TensorId sum = p.tensor(width), out = p.tensor(width), z = p.tensor(width);
        const TensorId qkv = p.tensor(r.channels());
        const TensorId alpha = p.tensor(r.n_v_heads), beta = p.tensor(r.n_v_heads);
        for (std::int32_t i = 0; i < r.n_layers; ++i) {
            const Layer& l = layers_[static_cast<std::size_t>(i)];
            p.add(EmbedOp{l.qkv, qkv});
            p.add(EmbedOp{l.alpha, alpha});
            p.add(EmbedOp{l.beta, beta});
            p.add(EmbedOp{l.z, z});
            p.add(DeltaRuleOp{qkv, alpha, beta, l.conv, l.decay, l.dt_bias, i, s_.tiled, out});
            p.add(GatedNormOp{out, l.norm, z, 1e-6F, r.v_dim, i == 0 ? sum : out});
            if (i > 0) p.add(AddOp{sum, out});
        }
        const TensorId logits = p.tensor(width, RowKind::logits);
        p.add(GatherRowsOp{sum, logits});
        p.add(LogitsOp{logits});
        return p;
    }

    /// Runs the parts one after the other as sequences of their own; outputs are read_logits().
    Result<> run(CompiledId plan, std::span<const DeltaPart> parts) {
        tokens_.clear();
        positions_.clear();
        row_seq_.clear();
        logit_rows_.clear();
        inputs_.clear();
        for (const DeltaPart& part : parts) {
            for (const std::int32_t t : part.tokens) {
                logit_rows_.push_back(static_cast<std::int32_t>(tokens_.size()));
                tokens_.push_back(t);
                positions_.push_back(0);
                row_seq_.push_back(static_cast<std::int32_t>(inputs_.size()));
            }
            inputs_.push_back(part.in);
        }
        return backend_->run(plan, {tokens_,
                                    positions_,
                                    row_seq_,
                                    logit_rows_,
                                    static_cast<std::int32_t>(inputs_.size()),
                                    0,
                                    {},
                                    inputs_});
    }

    /// Output of row `r` of the last step.
    std::vector<float> output(std::int32_t r) {
        const auto row = backend_->read_logits(r);
        return {row.begin(), row.end()};
    }

    std::vector<std::byte> state(std::int32_t slot) {
        std::vector<std::byte> out(static_cast<std::size_t>(state_bytes(s_.spec)));
        backend_->read_state(slot, out);
        return out;
    }

    std::vector<Values> values; ///< by layer

private:
    static std::vector<float> random(std::int64_t n, double low, double high, Rng& rng) {
        std::vector<float> out;
        for (std::int64_t i = 0; i < n; ++i)
            out.push_back(static_cast<float>(low + (high - low) * rng.uniform()));
        return out;
    }

    WeightId table(const std::vector<float>& v) {
        return *backend_->upload_matrix(
            {kernels::WeightFormat::f32, s_.vocab, static_cast<std::int64_t>(v.size()) / s_.vocab,
             reinterpret_cast<const std::uint8_t*>(v.data()), nullptr, nullptr});
    }

    WeightId vector(const std::vector<float>& v) { return *backend_->upload_vector(v); }

    DeltaShape s_;
    std::unique_ptr<Backend> backend_;
    std::vector<Layer> layers_;
    std::vector<std::int32_t> tokens_, positions_, row_seq_, logit_rows_;
    std::vector<RecurrentInput> inputs_;
};

} // namespace bloom::compute::test
