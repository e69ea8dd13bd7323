#include <algorithm>
#include <cmath>
#include <functional>

#include "unit/compute/small_step.hpp"

/// The small operations between products: what each computes, and that neither fusion nor the
/// number of workers changes a bit of what a model made of all of them says.
namespace bloom::compute {
namespace {

using test::FileMatrix;

const kernels::KernelTable& fastest() {
    return *kernels::select_table(kernels::detect_cpu_features(), nullptr);
}

class BackwardTeam final : public Team {
public:
    explicit BackwardTeam(int size) : size_(size) {}

    int size() const noexcept override { return size_; }

    void run(FunctionRef<void(int worker)> work) override {
        for (int w = size_; w-- > 0;)
            work(w);
    }

    void run_phases(std::int32_t n_phases,
                    FunctionRef<void(std::int32_t phase, int worker)> work) override {
        phases += n_phases;
        Team::run_phases(n_phases, work);
    }

    std::int32_t phases = 0;

private:
    int size_;
};

// --- single operations
// ----------------------------------------------------------------------------

constexpr std::int64_t kCols = 35; // no multiple of a vector
constexpr std::int32_t kRows = 6;

/// Rows of a table, an operation on them written by `write`, and what the tensor that it returns
/// holds then.
class RowOps : public testing::TestWithParam<const kernels::KernelTable*> {
protected:
    RowOps() : backend_(make_cpu_backend({GetParam(), &team_, false, true})), plan_(kKey) {
        Rng rng(3);
        for (std::int64_t i = 0; i < kRows * kCols; ++i)
            values_.push_back(static_cast<float>(rng.below(4001)) * 1e-3F - 2.0F);
        table_ = *backend_->upload_matrix({kernels::WeightFormat::f32, kRows, kCols,
                                           reinterpret_cast<const std::uint8_t*>(values_.data()),
                                           nullptr, nullptr});
    }

    /// The table's rows.
    TensorId rows() {
        const TensorId out = plan_.tensor(kCols);
        plan_.add(EmbedOp{table_, out});
        return out;
    }

    std::vector<float> result(TensorId t) {
        const std::int64_t cols = plan_.desc(t).cols;
        const TensorId last = plan_.tensor(cols, RowKind::logits);
        plan_.add(GatherRowsOp{t, last});
        plan_.add(LogitsOp{last});
        const auto compiled = backend_->compile(plan_);
        EXPECT_TRUE(compiled);
        std::vector<std::int32_t> ids(kRows), zeros(kRows, 0);
        std::iota(ids.begin(), ids.end(), 0);
        EXPECT_TRUE(backend_->run(*compiled, {ids, ids, zeros, ids, 1, 0, {}}));
        std::vector<float> out;
        for (std::int32_t r = 0; r < kRows; ++r) {
            const auto row = backend_->read_logits(r);
            out.insert(out.end(), row.begin(), row.end());
        }
        return out;
    }

    void expect_near(const std::vector<float>& got,
                     const std::function<double(double x)>& wanted_of) {
        ASSERT_EQ(got.size(), values_.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
            const double want = wanted_of(static_cast<double>(values_[i]));
            ASSERT_NEAR(static_cast<double>(got[i]), want, 1e-5 * (1.0 + std::fabs(want))) << i;
        }
    }

    static constexpr PlanKey kKey{Phase::prefill, kRows, kRows};
    SerialTeam team_{2};
    std::unique_ptr<Backend> backend_;
    Plan plan_;
    std::vector<float> values_;
    WeightId table_{};
};

double sigmoid(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}

TEST_P(RowOps, EmbeddingsHaveAFactor) {
    const TensorId x = plan_.tensor(kCols);
    plan_.add(EmbedOp{table_, x, 7.25F});
    expect_near(result(x), [](double v) { return 7.25 * v; });
}

TEST_P(RowOps, Scale) {
    const TensorId x = rows();
    plan_.add(ScaleOp{x, -0.3F});
    expect_near(result(x), [](double v) { return -0.3 * v; });
}

TEST_P(RowOps, Softcap) {
    const TensorId x = rows();
    plan_.add(SoftcapOp{x, 1.5F});
    expect_near(result(x), [](double v) { return 1.5 * std::tanh(v / 1.5); });
}

TEST_P(RowOps, GatesOfEachKind) {
    for (const auto activation :
         {GateActivation::silu, GateActivation::gelu_tanh, GateActivation::sigmoid}) {
        plan_ = Plan(kKey);
        const TensorId x = rows();
        const TensorId out = plan_.tensor(kCols);
        plan_.add(GatedMulOp{x, x, out, activation});
        expect_near(result(out), [&](double v) {
            const double u = 0.7978845608028654 * (v + 0.044715 * v * v * v);
            const double gate = activation == GateActivation::silu ? v * sigmoid(v)
                                : activation == GateActivation::sigmoid
                                    ? sigmoid(v)
                                    : 0.5 * v * (1 + std::tanh(u));
            return gate * v;
        });
    }
}

TEST_P(RowOps, SumsWithAGateForTheRow) {
    const TensorId x = rows();
    const TensorId from = rows();
    const TensorId gate = plan_.tensor(1);
    const std::vector<float> ones(kCols, 0.05F);
    const WeightId sum = *backend_->upload_matrix(
        {kernels::WeightFormat::f32, 1, kCols, reinterpret_cast<const std::uint8_t*>(ones.data()),
         nullptr, nullptr});
    plan_.add(MatmulOp{x, sum, WeightId::none, gate});
    plan_.add(AddOp{x, from, gate});
    const auto got = result(x);
    for (std::int64_t r = 0; r < kRows; ++r) {
        double z = 0;
        for (std::int64_t i = 0; i < kCols; ++i)
            z += 0.05 * static_cast<double>(values_[static_cast<std::size_t>(r * kCols + i)]);
        for (std::int64_t i = 0; i < kCols; ++i) {
            const auto at = static_cast<std::size_t>(r * kCols + i);
            ASSERT_NEAR(got[at], static_cast<double>(values_[at]) * (1.0 + sigmoid(z)), 1e-4);
        }
    }
}

TEST_P(RowOps, NormsWithoutWeightsInRuns) {
    const TensorId x = rows();
    const TensorId out = plan_.tensor(kCols);
    constexpr std::int64_t kWidth = 7;
    plan_.add(RmsNormOp{x, WeightId::none, 1e-6F, kWidth, out});
    const auto got = result(out);
    for (std::size_t at = 0; at < got.size(); at += kWidth) {
        double squares = 1e-6 * kWidth;
        for (std::size_t i = at; i < at + kWidth; ++i)
            squares += static_cast<double>(values_[i]) * static_cast<double>(values_[i]);
        for (std::size_t i = at; i < at + kWidth; ++i)
            ASSERT_NEAR(got[i], static_cast<double>(values_[i]) / std::sqrt(squares / kWidth),
                        1e-5);
    }
}

TEST_P(RowOps, ConcatPutsThemSideBySide) {
    const TensorId x = rows();
    const TensorId y = rows();
    const TensorId both = plan_.tensor(2 * kCols);
    plan_.add(ScaleOp{y, 2.0F});
    plan_.add(ConcatOp{x, y, both});
    const auto got = result(both);
    for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t i = 0; i < kCols; ++i) {
            ASSERT_EQ(got[r * 2 * kCols + i], values_[r * kCols + i]);
            ASSERT_EQ(got[r * 2 * kCols + kCols + i], 2.0F * values_[r * kCols + i]);
        }
    }
}

TEST_P(RowOps, RotationOfAPartOfEachHead) {
    RopeSpec spec{{0.5, 0.25}, 1.0};
    const RopeId rope = *backend_->add_rope(spec);
    const TensorId x = rows();
    plan_.add(RopeOp{x, rope, 5, 7}); // 5 heads of 7, of which 4 turn
    const auto got = result(x);
    for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t h = 0; h < 5; ++h) {
            const std::size_t at = r * kCols + h * 7;
            for (std::size_t j = 0; j < 2; ++j) {
                const double angle = static_cast<double>(r) * spec.inv_freq[j];
                const auto a = static_cast<double>(values_[at + j]);
                const auto b = static_cast<double>(values_[at + 2 + j]);
                ASSERT_NEAR(got[at + j], a * std::cos(angle) - b * std::sin(angle), 1e-5);
                ASSERT_NEAR(got[at + 2 + j], b * std::cos(angle) + a * std::sin(angle), 1e-5);
            }
            for (std::size_t j = 4; j < 7; ++j)
                ASSERT_EQ(got[at + j], values_[at + j]);
        }
    }
}

TEST_P(RowOps, ExpertsHaveAScaleOfTheirOwnAfterTheSum) {
    const TensorId x = rows();
    std::vector<float> scales;
    for (int e = 0; e < kCols; ++e)
        scales.push_back(0.5F + 0.1F * static_cast<float>(e));
    const WeightId scale = *backend_->upload_vector(scales);
    const TensorId ids = plan_.tensor(3, RowKind::tokens, DType::i32);
    const TensorId weights = plan_.tensor(3);
    const TensorId plain = plan_.tensor(3);
    plan_.add(RouteOp{x, WeightId::none, RouteScore::softmax, true, 1.0F, 3, ids, plain});
    plan_.add(RouteOp{x, WeightId::none, RouteScore::softmax, true, 1.0F, 3, ids, weights, scale});
    const TensorId both = plan_.tensor(6);
    plan_.add(ConcatOp{plain, weights, both});
    const auto got = result(both);
    for (std::size_t r = 0; r < kRows; ++r) {
        std::vector<std::size_t> order(kCols);
        std::iota(order.begin(), order.end(), 0);
        std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
            const float va = values_[r * kCols + a], vb = values_[r * kCols + b];
            return va != vb ? va > vb : a < b;
        });
        for (std::size_t j = 0; j < 3; ++j)
            ASSERT_EQ(got[r * 6 + 3 + j], got[r * 6 + j] * scales[order[j]]) << r << " " << j;
    }
}

INSTANTIATE_TEST_SUITE_P(Tables, RowOps, testing::ValuesIn([] {
                             std::vector<const kernels::KernelTable*> out;
                             for (const auto* const* t = kernels::all_tables(); *t != nullptr;
                                  ++t) {
                                 if (((*t)->required & ~kernels::detect_cpu_features()) == 0)
                                     out.push_back(*t);
                             }
                             return out;
                         }()),
                         [](const auto& info) { return std::string(info.param->isa); });

// --- all together
// ---------------------------------------------------------------------------------

/// Two layers with everything that stands between products: norms behind the parts, a gate of the
/// attention's output, values from keys, a plain network beside experts whose router reads the
/// stream, a gated sum, a factor of the stream, and a cap of the logits.
class Sandwich {
public:
    static constexpr std::int64_t kWidth = 96;
    static constexpr std::int64_t kFfn = 64;
    static constexpr std::int32_t kHeads = 4, kKvHeads = 2, kHeadDim = 32, kExperts = 5;
    static constexpr std::int64_t kVocab = 200;
    static constexpr std::int32_t kPages = 4; // of a sequence
    static constexpr int kLayers = 2;

    Sandwich(const CpuBackendOptions& options, std::int32_t n_seqs)
        : backend_(make_cpu_backend(options)) {
        embed_ = matrix(kVocab, kWidth);
        for (int i = 0; i < kLayers; ++i) {
            Layer l{};
            for (WeightId* v : {&l.norm, &l.post, &l.ffn_norm, &l.dense_post, &l.router_norm,
                                &l.experts_norm, &l.experts_post, &l.ffn_post})
                *v = vector(kWidth);
            l.q_norm = vector(kHeadDim);
            l.q = matrix(kHeads * kHeadDim, kWidth);
            l.k = matrix(kKvHeads * kHeadDim, kWidth);
            l.gate = matrix(kHeads * kHeadDim, kWidth);
            l.o = matrix(kWidth, kHeads * kHeadDim);
            l.w_gate = matrix(kFfn, kWidth);
            l.w_up = matrix(kFfn, kWidth);
            l.w_down = matrix(kWidth, kFfn);
            l.router = matrix(kExperts, kWidth);
            l.shared_gate = matrix(1, kWidth);
            l.e_gate = experts(kFfn, kWidth);
            l.e_up = experts(kFfn, kWidth);
            l.e_down = experts(kWidth, kFfn);
            l.e_scale = vector(kExperts);
            layers_.push_back(l);
        }
        rope_ = *backend_->add_rope({{1.0, 0.5, 0.25, 0.0}, 1.0});
        for (const std::int32_t window : {0, 5}) {
            EXPECT_TRUE(backend_->allocate_kv(
                {1, kKvHeads, kHeadDim, kHeadDim, window, kernels::KvType::f16},
                std::int64_t{n_seqs} * kPages));
        }
        pages_.resize(static_cast<std::size_t>(n_seqs * kPages));
        std::iota(pages_.begin(), pages_.end(), 0);
        for (std::int32_t q = 0; q < n_seqs; ++q) {
            for (int pool = 0; pool < 2; ++pool)
                tables_.emplace_back(pages_.data() + q * kPages, kPages);
        }
    }

    Backend& backend() { return *backend_; }

    Plan plan(const PlanKey& key) const {
        constexpr auto kNone = WeightId::none;
        constexpr float kEps = 1e-6F;
        Plan p(key);
        const auto wide = [&] { return p.tensor(kWidth); };
        const TensorId h = wide(), in = wide(), branch = wide(), dense = wide(), r_in = wide(),
                       e_in = wide();
        const TensorId q = p.tensor(kHeads * kHeadDim), gate = p.tensor(kHeads * kHeadDim),
                       out = p.tensor(kHeads * kHeadDim);
        const TensorId k = p.tensor(kKvHeads * kHeadDim), v = p.tensor(kKvHeads * kHeadDim);
        const TensorId g = p.tensor(kFfn), u = p.tensor(kFfn);
        const TensorId logits = p.tensor(kExperts), one = p.tensor(1);
        const TensorId ids = p.tensor(2, RowKind::tokens, DType::i32), weights = p.tensor(2);
        const auto norm = [&](TensorId from, WeightId w, TensorId to) {
            p.add(RmsNormOp{from, w, kEps, kWidth, to});
        };
        p.add(EmbedOp{embed_, h, 3.0F});
        for (std::uint32_t i = 0; i < kLayers; ++i) {
            const Layer& l = layers_[i];
            norm(h, l.norm, in);
            p.add(MatmulOp{in, l.q, kNone, q});
            p.add(MatmulOp{in, l.k, kNone, k});
            p.add(MatmulOp{in, l.gate, kNone, gate});
            p.add(RmsNormOp{k, kNone, kEps, kHeadDim, v});
            p.add(RmsNormOp{q, l.q_norm, kEps, kHeadDim, q});
            p.add(RmsNormOp{k, l.q_norm, kEps, kHeadDim, k});
            p.add(RopeOp{q, rope_, kHeads, kHeadDim});
            p.add(RopeOp{k, rope_, kKvHeads, kHeadDim});
            p.add(KvStoreOp{k, v, KvPoolId{i}, 0});
            p.add(AttentionOp{q, KvPoolId{i}, 0, kHeads, 1.0F, out});
            p.add(GatedMulOp{gate, out, out, GateActivation::sigmoid});
            p.add(MatmulOp{out, l.o, kNone, branch});
            norm(branch, l.post, branch);
            p.add(AddOp{h, branch});
            norm(h, l.router_norm, r_in);
            norm(h, l.experts_norm, e_in);
            norm(h, l.ffn_norm, in);
            p.add(MatmulOp{in, l.w_gate, kNone, g});
            p.add(MatmulOp{in, l.w_up, kNone, u});
            p.add(GatedMulOp{g, u, g, GateActivation::gelu_tanh});
            p.add(MatmulOp{g, l.w_down, kNone, dense});
            p.add(MatmulOp{r_in, l.router, kNone, logits});
            p.add(RouteOp{logits, kNone, RouteScore::softmax, true, 1.0F, 2, ids, weights,
                          l.e_scale});
            p.add(MoeOp{e_in, ids, weights, l.e_gate, l.e_up, l.e_down, GateActivation::gelu_tanh,
                        2, branch});
            p.add(MatmulOp{r_in, l.shared_gate, kNone, one});
            norm(dense, l.dense_post, dense);
            norm(branch, l.experts_post, branch);
            p.add(AddOp{branch, dense, one});
            norm(branch, l.ffn_post, branch);
            p.add(AddOp{h, branch});
            p.add(ScaleOp{h, 0.9F});
        }
        const TensorId last = p.tensor(kWidth, RowKind::logits);
        const TensorId normed = p.tensor(kWidth, RowKind::logits);
        const TensorId all = p.tensor(kVocab, RowKind::logits);
        p.add(GatherRowsOp{h, last});
        norm(last, layers_[0].norm, normed);
        p.add(MatmulOp{normed, embed_, kNone, all});
        p.add(SoftcapOp{all, 2.0F});
        p.add(LogitsOp{all});
        return p;
    }

    /// Logits of all rows of a step of `n_rows` rows of each sequence from position `past` on.
    std::vector<float> run(CompiledId plan, std::int32_t n_seqs, std::int32_t past,
                           std::int32_t n_rows) {
        std::vector<std::int32_t> tokens, positions, seqs, logit_rows;
        for (std::int32_t q = 0; q < n_seqs; ++q) {
            for (std::int32_t i = 0; i < n_rows; ++i) {
                tokens.push_back(((past + i) * 37 + q * 11) % static_cast<std::int32_t>(kVocab));
                positions.push_back(past + i);
                seqs.push_back(q);
                logit_rows.push_back(static_cast<std::int32_t>(logit_rows.size()));
            }
        }
        EXPECT_TRUE(
            backend_->run(plan, {tokens, positions, seqs, logit_rows, n_seqs, 2,
                                 std::span(tables_).first(static_cast<std::size_t>(2 * n_seqs))}));
        std::vector<float> out;
        for (const std::int32_t r : logit_rows) {
            const auto row = backend_->read_logits(r);
            out.insert(out.end(), row.begin(), row.end());
        }
        return out;
    }

private:
    struct Layer {
        WeightId norm, q, k, gate, q_norm, o, post;
        WeightId ffn_norm, w_gate, w_up, w_down, dense_post;
        WeightId router_norm, router, experts_norm, e_gate, e_up, e_down, e_scale, experts_post;
        WeightId shared_gate, ffn_post;
    };

    WeightId matrix(std::int64_t rows, std::int64_t k) {
        files_.emplace_back(kernels::WeightFormat::q8_0, rows, k, rng_);
        return *backend_->upload_matrix(files_.back().source);
    }

    WeightId experts(std::int64_t rows, std::int64_t k) {
        std::vector<kernels::SourceMatrix> all;
        for (int e = 0; e < kExperts; ++e) {
            files_.emplace_back(kernels::WeightFormat::q8_0, rows, k, rng_);
            all.push_back(files_.back().source);
        }
        return *backend_->upload_experts(all);
    }

    WeightId vector(std::int64_t n) {
        std::vector<float> values;
        for (std::int64_t i = 0; i < n; ++i)
            values.push_back(0.5F + static_cast<float>(rng_.below(1000)) * 1e-3F);
        return *backend_->upload_vector(values);
    }

    Rng rng_{11};
    std::deque<FileMatrix> files_;
    std::unique_ptr<Backend> backend_;
    WeightId embed_{};
    RopeId rope_{};
    std::vector<Layer> layers_;
    std::vector<std::int32_t> pages_;
    std::vector<PageTable> tables_;
};

/// Logits of a prompt of 7, then of two steps of one row.
std::vector<float> conversation(Team& team, bool fuse, std::int32_t n_seqs) {
    Sandwich model({&fastest(), &team, false, fuse}, n_seqs);
    const auto prefill =
        model.backend().compile(model.plan({Phase::prefill, n_seqs * 7, n_seqs * 7}));
    const auto decode = model.backend().compile(model.plan({Phase::decode, n_seqs, n_seqs}));
    EXPECT_TRUE(prefill && decode);
    std::vector<float> out;
    for (const auto& [plan, past, rows] :
         {std::tuple{*prefill, 0, 7}, std::tuple{*decode, 7, 1}, std::tuple{*decode, 8, 1}}) {
        const auto logits = model.run(plan, n_seqs, past, rows);
        out.insert(out.end(), logits.begin(), logits.end());
    }
    return out;
}

TEST(Sandwiched, FusionWorkersAndTheirOrderChangeNoBit) {
    for (const std::int32_t n_seqs : {1, 2, 5}) { // around what every worker prepares for itself
        SerialTeam one;
        const auto want = conversation(one, false, n_seqs);
        EXPECT_TRUE(std::ranges::all_of(want, [](float v) { return std::fabs(v) <= 2.0F; }));
        EXPECT_GT(*std::ranges::max_element(want), 0.1F);
        for (const int workers : {1, 2, 3, 7}) {
            SerialTeam forward(workers);
            BackwardTeam backward(workers);
            SpinTeam threads(workers);
            EXPECT_EQ(want, conversation(forward, true, n_seqs)) << n_seqs << " " << workers;
            EXPECT_EQ(want, conversation(backward, true, n_seqs)) << n_seqs << " " << workers;
            EXPECT_EQ(want, conversation(backward, false, n_seqs)) << n_seqs << " " << workers;
            EXPECT_EQ(want, conversation(threads, true, n_seqs)) << n_seqs << " " << workers;
        }
    }
}

// Projections, attention, its output; gate and up, down, router, both phases of experts, the shared
// gate. All sums, norms, gates and factors lie within the preparation of the next product; only
// those of the last layer are a phase of their own.
TEST(Sandwiched, DecodeOfOneRowTakesNinePhasesALayer) {
    BackwardTeam team(2);
    Sandwich model({&fastest(), &team, false, true}, 1);
    const auto plan = model.backend().compile(model.plan({Phase::decode, 1, 1}));
    ASSERT_TRUE(plan);
    team.phases = 0;
    model.run(*plan, 1, 0, 1);
    EXPECT_EQ(team.phases, 9 * Sandwich::kLayers + 2);
}

} // namespace
} // namespace bloom::compute
