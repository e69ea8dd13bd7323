#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels/kernel_fixture.hpp"
#include "kernels/reference/reference.hpp"
#include <bloom/compute/backend_cpu.hpp>

namespace bloom::compute {
namespace {

using kernels::WeightFormat;
using kernels::test::make_matrix;
using kernels::test::normal;
using kernels::test::TestMatrix;

/// How the router's logits come about.
enum class Taste { random, all_the_same };

struct Case {
    std::int64_t d_model = 128;
    std::int64_t ffn = 192;
    std::int64_t n_experts = 8;
    std::int32_t top_k = 2;
    std::int64_t n = 5;
    WeightFormat gate = WeightFormat::q8_0;
    WeightFormat up = WeightFormat::q8_0;
    WeightFormat down = WeightFormat::q8_0;
    GateActivation activation = GateActivation::silu;
    RouteScore score = RouteScore::softmax;
    bool biased = false;
    bool precise = false;
    Taste taste = Taste::random;
};

struct Backing {
    const kernels::KernelTable* table;
    int workers = 2;
    bool fuse = true;
    bool spin = false;
};

/// Where a matrix's tensors are now: moving one leaves its own addresses behind.
kernels::SourceMatrix source_of(const TestMatrix& m) {
    kernels::SourceMatrix src = m.src;
    src.codes = m.codes.data();
    src.scales = m.scales.data();
    src.biases = m.biases.data();
    return src;
}

/// Inputs and weights of one layer of experts.
struct Layer {
    explicit Layer(const Case& layer, std::uint64_t seed) : c(layer) {
        Rng rng(seed);
        for (std::int64_t e = 0; e < c.n_experts; ++e) {
            gate.push_back(make_matrix(c.gate, c.ffn, c.d_model, rng));
            up.push_back(make_matrix(c.up, c.ffn, c.d_model, rng));
            down.push_back(make_matrix(c.down, c.d_model, c.ffn, rng));
        }
        x.resize(static_cast<std::size_t>(c.n * c.d_model));
        for (float& v : x)
            v = normal(rng);
        logits.resize(static_cast<std::size_t>(c.n * c.n_experts));
        for (std::size_t i = 0; i < logits.size(); ++i) {
            logits[i] = c.taste == Taste::random
                            ? normal(rng) * 2.0F
                            : static_cast<float>(i % static_cast<std::size_t>(c.n_experts)) * 0.1F;
        }
        bias.resize(static_cast<std::size_t>(c.n_experts));
        for (float& v : bias)
            v = normal(rng) * 0.2F;
    }

    static std::vector<kernels::SourceMatrix> sources(const std::vector<TestMatrix>& all) {
        std::vector<kernels::SourceMatrix> out;
        for (const TestMatrix& m : all)
            out.push_back(source_of(m));
        return out;
    }

    kernels::RouteRule rule() const {
        return {c.score == RouteScore::sigmoid, true, 1.5F, c.top_k};
    }

    Case c;
    std::vector<TestMatrix> gate;
    std::vector<TestMatrix> up;
    std::vector<TestMatrix> down;
    std::vector<float> x;
    std::vector<float> logits;
    std::vector<float> bias;
};

/// A back end holding the layer, and a plan whose "logits" are x + experts(x), or experts(x).
class Machine {
public:
    Machine(const Layer& layer, const Backing& backing, bool adds) : layer_(layer) {
        if (backing.spin) {
            team_ = std::make_unique<SpinTeam>(backing.workers);
        } else {
            team_ = std::make_unique<SerialTeam>(backing.workers);
        }
        backend_ = make_cpu_backend({backing.table, team_.get(), layer.c.precise, backing.fuse});
        const Case& c = layer.c;
        const auto rows = static_cast<std::int32_t>(c.n);
        Plan plan({Phase::prefill, rows, rows});
        const TensorId x = plan.tensor(c.d_model);
        const TensorId sum = plan.tensor(c.d_model);
        const TensorId logits = plan.tensor(c.n_experts);
        const TensorId ids = plan.tensor(c.top_k, RowKind::tokens, DType::i32);
        const TensorId weights = plan.tensor(c.top_k);
        const TensorId out = plan.tensor(c.d_model);
        const TensorId last = plan.tensor(c.d_model, RowKind::logits);
        const WeightId inputs = matrix(layer.x, c.n, c.d_model);
        plan.add(EmbedOp{inputs, x});
        plan.add(EmbedOp{inputs, sum});
        plan.add(EmbedOp{matrix(layer.logits, c.n, c.n_experts), logits});
        const WeightId bias =
            c.biased ? backend_->upload_vector(layer.bias).value() : WeightId::none;
        const kernels::RouteRule rule = layer.rule();
        plan.add(RouteOp{logits, bias, c.score, rule.normalise, rule.scale, c.top_k, ids, weights});
        const WeightId gate = backend_->upload_experts(Layer::sources(layer.gate)).value();
        const WeightId up = backend_->upload_experts(Layer::sources(layer.up)).value();
        const WeightId down = backend_->upload_experts(Layer::sources(layer.down)).value();
        plan.add(MoeOp{x, ids, weights, gate, up, down, c.activation, c.top_k, out});
        if (adds) plan.add(AddOp{sum, out});
        plan.add(GatherRowsOp{adds ? sum : out, last});
        plan.add(LogitsOp{last});
        compiled_ = backend_->compile(plan).value();
    }

    /// Rows of a step with the layer's tokens `tokens`.
    std::vector<float> run(const std::vector<std::int32_t>& tokens) {
        std::vector<std::int32_t> rows(tokens.size());
        std::iota(rows.begin(), rows.end(), 0);
        StepInputs in;
        in.tokens = tokens;
        in.positions = rows;
        in.row_seq = rows;
        in.logit_rows = rows;
        in.n_seqs = static_cast<std::int32_t>(tokens.size());
        EXPECT_TRUE(backend_->run(compiled_, in).has_value());
        std::vector<float> out;
        for (const std::int32_t r : rows) {
            const auto values = backend_->read_logits(r);
            out.insert(out.end(), values.begin(), values.end());
        }
        return out;
    }

    std::vector<float> run_all() {
        std::vector<std::int32_t> tokens(static_cast<std::size_t>(layer_.c.n));
        std::iota(tokens.begin(), tokens.end(), 0);
        return run(tokens);
    }

private:
    WeightId matrix(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
        return backend_
            ->upload_matrix({WeightFormat::f32, rows, cols,
                             reinterpret_cast<const std::uint8_t*>(values.data()), nullptr,
                             nullptr})
            .value();
    }

    const Layer& layer_;
    std::unique_ptr<Team> team_;
    std::unique_ptr<Backend> backend_;
    CompiledId compiled_{};
};

/// The choice of one token by the table.
struct Choice {
    std::vector<std::int32_t> ids;
    std::vector<float> weights;
};

Choice choose(const Layer& layer, const kernels::KernelTable& table, std::int64_t t) {
    const Case& c = layer.c;
    Choice out{std::vector<std::int32_t>(static_cast<std::size_t>(c.top_k)),
               std::vector<float>(static_cast<std::size_t>(c.top_k))};
    table.route(layer.logits.data() + t * c.n_experts, c.biased ? layer.bias.data() : nullptr,
                c.n_experts, layer.rule(), out.ids.data(), out.weights.data());
    return out;
}

/// One token, one expert, one product at a time, by the same table: the operation's definition.
class OneByOne {
public:
    OneByOne(const Layer& layer, const kernels::KernelTable& table)
        : layer_(layer), table_(table) {}

    std::vector<float> run(bool adds) {
        const Case& c = layer_.c;
        std::vector<float> out;
        for (std::int64_t t = 0; t < c.n; ++t) {
            const float* const x = layer_.x.data() + t * c.d_model;
            const Choice choice = choose(layer_, table_, t);
            std::map<std::int32_t, float> ascending; // weights by expert
            for (std::size_t j = 0; j < choice.ids.size(); ++j)
                ascending[choice.ids[j]] = choice.weights[j];
            std::vector<float> sum(static_cast<std::size_t>(c.d_model), 0.0F);
            for (const auto& [id, weight] : ascending) {
                const auto e = static_cast<std::size_t>(id);
                std::vector<float> gate = product(layer_.gate[e], x);
                const std::vector<float> up = product(layer_.up[e], x);
                const auto act =
                    c.activation == GateActivation::silu ? table_.silu_mul : table_.gelu_tanh_mul;
                act(gate.data(), up.data(), c.ffn, gate.data());
                const std::vector<float> y = product(layer_.down[e], gate.data());
                table_.add_scaled(sum.data(), y.data(), weight, c.d_model);
            }
            for (std::size_t i = 0; i < sum.size(); ++i)
                out.push_back(adds ? x[i] + sum[i] : sum[i]);
        }
        return out;
    }

private:
    std::vector<float> product(const TestMatrix& m, const float* x) const {
        const kernels::SourceMatrix src = source_of(m);
        const kernels::test::Packed packed(table_, src);
        std::vector<float> y(static_cast<std::size_t>(src.rows));
        if (layer_.c.precise || !kernels::is_quantised(src.format)) {
            table_.matmul_f32(packed.matrix(), x, src.k, 1, 0, src.rows, y.data(), src.rows);
        } else {
            kernels::test::Activations a(table_, src.format, x, 1, src.k);
            table_.matmul_q8(packed.matrix(), a.view(), 1, 0, src.rows, y.data(), src.rows);
        }
        return y;
    }

    const Layer& layer_;
    const kernels::KernelTable& table_;
};

/// The whole operation in double precision from the file's weights, nothing quantised but them.
std::vector<double> in_double(const Layer& layer, const kernels::KernelTable& table) {
    const Case& c = layer.c;
    const auto product = [](const TestMatrix& m, const std::vector<double>& x) {
        const kernels::SourceMatrix src = source_of(m);
        std::vector<double> w(static_cast<std::size_t>(src.k));
        std::vector<double> y;
        for (std::int64_t r = 0; r < src.rows; ++r) {
            kernels::reference::weights(src, r, w.data());
            y.push_back(std::inner_product(w.begin(), w.end(), x.begin(), 0.0));
        }
        return y;
    };
    std::vector<double> out;
    for (std::int64_t t = 0; t < c.n; ++t) {
        const std::vector<double> x(layer.x.begin() + t * c.d_model,
                                    layer.x.begin() + (t + 1) * c.d_model);
        const Choice choice = choose(layer, table, t);
        std::vector<double> s(static_cast<std::size_t>(c.n_experts));
        std::vector<double> weights(choice.ids.size());
        kernels::reference::route_scores(layer.logits.data() + t * c.n_experts, c.n_experts,
                                         c.score == RouteScore::sigmoid, s.data());
        kernels::reference::route_weights(s.data(), layer.rule(), choice.ids.data(),
                                          weights.data());
        std::vector<double> sum(static_cast<std::size_t>(c.d_model), 0.0);
        for (std::size_t j = 0; j < choice.ids.size(); ++j) {
            const auto e = static_cast<std::size_t>(choice.ids[j]);
            std::vector<double> h = product(layer.gate[e], x);
            const std::vector<double> up = product(layer.up[e], x);
            for (std::size_t i = 0; i < h.size(); ++i) {
                h[i] = up[i] * (c.activation == GateActivation::silu
                                    ? kernels::reference::silu(h[i])
                                    : kernels::reference::gelu_tanh(h[i]));
            }
            const std::vector<double> y = product(layer.down[e], h);
            for (std::size_t i = 0; i < sum.size(); ++i)
                sum[i] += weights[j] * y[i];
        }
        out.insert(out.end(), sum.begin(), sum.end());
    }
    return out;
}

double relative_rms(const std::vector<float>& got, const std::vector<double>& want) {
    double error = 0.0;
    double size = 0.0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        error += (static_cast<double>(got[i]) - want[i]) * (static_cast<double>(got[i]) - want[i]);
        size += want[i] * want[i];
    }
    return std::sqrt(error / size);
}

void expect_same_bits(const std::vector<float>& got, const std::vector<float>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
        ASSERT_TRUE(std::isfinite(want[i]));
        ASSERT_EQ(std::memcmp(&got[i], &want[i], sizeof(float)), 0)
            << i << ": " << got[i] << " " << want[i];
    }
}

constexpr WeightFormat kFormats[] = {WeightFormat::q8_0,         WeightFormat::affine8_f16,
                                     WeightFormat::affine8_bf16, WeightFormat::affine8_f32,
                                     WeightFormat::f16,          WeightFormat::bf16,
                                     WeightFormat::f32};

class MoeOpTest : public kernels::test::TableTest {};

TEST_P(MoeOpTest, IsWhatOneTokenAndOneExpertAtATimeGive) {
    Rng rng(7);
    std::uint64_t seed = 100;
    for (int round = 0; round < 24; ++round) {
        Case c;
        c.d_model = 64 * static_cast<std::int64_t>(1 + rng.below(3));
        c.ffn = 64 * static_cast<std::int64_t>(1 + rng.below(4));
        c.n_experts = static_cast<std::int64_t>(1 + rng.below(round % 6 == 0 ? 128 : 12));
        c.top_k = static_cast<std::int32_t>(
            1 + rng.below(static_cast<std::uint64_t>(std::min<std::int64_t>(c.n_experts, 8))));
        c.n = static_cast<std::int64_t>(1 + rng.below(round % 3 == 0 ? 70 : 9));
        c.gate = c.up = c.down = kFormats[round % 7];
        if (round % 5 == 0) c.up = kFormats[rng.below(7)];
        if (round % 4 == 0) c.down = kFormats[rng.below(7)];
        c.activation = round % 2 == 0 ? GateActivation::silu : GateActivation::gelu_tanh;
        c.score = round % 3 == 0 ? RouteScore::sigmoid : RouteScore::softmax;
        c.biased = round % 3 == 1;
        c.precise = round % 8 == 7;
        c.taste = round % 9 == 8 ? Taste::all_the_same : Taste::random;
        const Layer layer(c, ++seed);
        const bool adds = round % 2 == 1;
        SCOPED_TRACE(testing::Message() << "round " << round);
        const std::vector<float> want = OneByOne(layer, table()).run(adds);
        const Backing backing{&table(), 1 + round % 5, round % 4 != 2, false};
        expect_same_bits(Machine(layer, backing, adds).run_all(), want);
    }
}

TEST_P(MoeOpTest, GroupsThatAreNotWholeUnits) {
    for (const std::int64_t ffn : {32, 96, 160}) {
        Case c;
        c.ffn = ffn;
        c.d_model = ffn;
        c.n = 11;
        const Layer layer(c, 5);
        expect_same_bits(Machine(layer, {&table(), 3}, false).run_all(),
                         OneByOne(layer, table()).run(false));
    }
}

TEST_P(MoeOpTest, AgreesWithDoublePrecision) {
    std::uint64_t seed = 500;
    for (const WeightFormat format : kFormats) {
        for (const bool precise : {false, true}) {
            Case c;
            c.gate = c.up = c.down = format;
            c.precise = precise;
            c.n_experts = 12;
            c.top_k = 4;
            c.n = 9;
            c.activation = seed % 2 == 0 ? GateActivation::silu : GateActivation::gelu_tanh;
            const Layer layer(c, ++seed);
            const std::vector<float> got = Machine(layer, {&table(), 2}, false).run_all();
            // Eight-bit activations are good to about 0.5 % per product, three of which follow each
            // other here; f32 sums of a few hundred terms to a few units each.
            const double bound = precise || !kernels::is_quantised(format) ? 2e-6 : 0.02;
            EXPECT_LE(relative_rms(got, in_double(layer, table())), bound)
                << static_cast<int>(format) << precise;
        }
    }
}

BLOOM_FOR_EACH_TABLE(MoeOpTest);

class MoeWorkers : public testing::Test {
protected:
    const kernels::KernelTable& table_ = *kernels::select_table(kernels::detect_cpu_features(), "");
};

TEST_F(MoeWorkers, ATokenIsTheSameInEveryBatch) {
    for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_bf16}) {
        Case c;
        c.gate = c.up = c.down = format;
        c.n_experts = 24;
        c.top_k = 6;
        c.n = 48;
        const Layer layer(c, 9);
        Machine machine(layer, {&table_, 2}, true);
        const std::vector<float> all = machine.run_all();
        const auto width = static_cast<std::size_t>(c.d_model);
        Rng rng(10);
        for (const std::size_t size : {1UZ, 2UZ, 4UZ, 5UZ, 13UZ, 40UZ}) {
            std::vector<std::int32_t> tokens;
            for (std::size_t i = 0; i < size; ++i)
                tokens.push_back(static_cast<std::int32_t>(rng.below(48)));
            const std::vector<float> some = machine.run(tokens);
            for (std::size_t i = 0; i < size; ++i) {
                const float* const a = some.data() + i * width;
                const float* const b = all.data() + static_cast<std::size_t>(tokens[i]) * width;
                ASSERT_EQ(std::memcmp(a, b, width * sizeof(float)), 0) << size << " " << i;
            }
        }
    }
}

TEST_F(MoeWorkers, AnyNumberOfWorkersGivesTheSameBits) {
    for (const std::int64_t n : {1, 3, 8, 70}) {
        for (const Taste taste : {Taste::random, Taste::all_the_same}) {
            Case c;
            c.n = n;
            c.n_experts = 32;
            c.top_k = 8;
            c.d_model = 256;
            c.ffn = 320;
            c.taste = taste;
            const Layer layer(c, 11);
            const std::vector<float> want = OneByOne(layer, table_).run(true);
            for (int workers = 1; workers <= 5; ++workers)
                expect_same_bits(Machine(layer, {&table_, workers}, true).run_all(), want);
        }
    }
}

TEST_F(MoeWorkers, ThreadsTakeTasksAsTheyComeAndAgree) {
    for (const std::int64_t n : {2, 33}) {
        Case c;
        c.n = n;
        c.n_experts = 40;
        c.top_k = 8;
        c.d_model = 192;
        const Layer layer(c, 12);
        const std::vector<float> want = OneByOne(layer, table_).run(true);
        Machine machine(layer, {&table_, 3, true, true}, true);
        for (int i = 0; i < 20; ++i)
            expect_same_bits(machine.run_all(), want);
    }
}

TEST_F(MoeWorkers, LayersFollowEachOtherInOneStep) {
    // Two operations in one plan share scratch and counters.
    Case c;
    c.n = 6;
    const Layer layer(c, 13);
    SerialTeam team(2);
    auto backend = make_cpu_backend({&table_, &team, false, true});
    const auto values = [](const std::vector<float>& v) {
        return reinterpret_cast<const std::uint8_t*>(v.data());
    };
    const WeightId gate = backend->upload_experts(Layer::sources(layer.gate)).value();
    const WeightId up = backend->upload_experts(Layer::sources(layer.up)).value();
    const WeightId down = backend->upload_experts(Layer::sources(layer.down)).value();
    const WeightId inputs =
        backend
            ->upload_matrix({WeightFormat::f32, c.n, c.d_model, values(layer.x), nullptr, nullptr})
            .value();
    const WeightId scores = backend
                                ->upload_matrix({WeightFormat::f32, c.n, c.n_experts,
                                                 values(layer.logits), nullptr, nullptr})
                                .value();
    Plan plan({Phase::prefill, 6, 6});
    const TensorId x = plan.tensor(c.d_model);
    const TensorId logits = plan.tensor(c.n_experts);
    const TensorId ids = plan.tensor(c.top_k, RowKind::tokens, DType::i32);
    const TensorId weights = plan.tensor(c.top_k);
    const TensorId first = plan.tensor(c.d_model);
    const TensorId second = plan.tensor(c.d_model);
    const TensorId last = plan.tensor(c.d_model, RowKind::logits);
    const kernels::RouteRule rule = layer.rule();
    plan.add(EmbedOp{inputs, x});
    plan.add(EmbedOp{scores, logits});
    plan.add(RouteOp{logits, WeightId::none, c.score, rule.normalise, rule.scale, c.top_k, ids,
                     weights});
    plan.add(MoeOp{x, ids, weights, gate, up, down, c.activation, c.top_k, first});
    plan.add(MoeOp{x, ids, weights, gate, up, down, c.activation, c.top_k, second});
    plan.add(AddOp{first, second});
    plan.add(GatherRowsOp{first, last});
    plan.add(LogitsOp{last});
    const CompiledId id = backend->compile(plan).value();
    std::vector<std::int32_t> rows(6);
    std::iota(rows.begin(), rows.end(), 0);
    StepInputs in;
    in.tokens = in.positions = in.row_seq = in.logit_rows = rows;
    in.n_seqs = 6;
    ASSERT_TRUE(backend->run(id, in).has_value());
    const std::vector<float> want = OneByOne(layer, table_).run(false);
    for (std::int32_t r = 0; r < 6; ++r) {
        for (std::int64_t i = 0; i < c.d_model; ++i) {
            const float one = want[static_cast<std::size_t>(r * c.d_model + i)];
            ASSERT_EQ(backend->read_logits(r)[static_cast<std::size_t>(i)], one + one);
        }
    }
}

} // namespace
} // namespace bloom::compute
