#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/reference/reference.hpp"

#include "unit/compute/delta_model.hpp"

namespace bloom::compute {
namespace {

using test::DeltaModel;
using test::DeltaPart;
using test::DeltaShape;

const kernels::KernelTable& fastest() {
    return *kernels::select_table(kernels::detect_cpu_features(), nullptr);
}

/// All workers in falling order: shows one that reads, within a phase, what a lower one writes.
class BackwardTeam final : public Team {
public:
    explicit BackwardTeam(int size) : size_(size) {}

    int size() const noexcept override { return size_; }

    void run(FunctionRef<void(int worker)> work) override {
        for (int w = size_; w-- > 0;)
            work(w);
    }

private:
    int size_;
};

/// Everything about one sequence in double precision: outputs by row.
class Oracle {
public:
    Oracle(const DeltaModel& model) : m_(model), s_(model.shape().spec) {}

    std::vector<double> outputs(const std::vector<std::int32_t>& tokens) const {
        const std::size_t width = static_cast<std::size_t>(s_.n_v_heads * s_.v_dim);
        std::vector<double> out(tokens.size() * width, 0.0);
        for (const DeltaModel::Values& v : m_.values)
            add_layer(v, tokens, out);
        return out;
    }

private:
    std::vector<double> mixed(const DeltaModel::Values& v, const std::vector<std::int32_t>& tokens,
                              std::size_t t) const {
        std::vector<double> x;
        for (std::int64_t c = 0; c < s_.channels(); ++c) {
            double sum = 0.0;
            for (std::int32_t j = 0; j < s_.conv_taps; ++j) {
                const std::int64_t from = static_cast<std::int64_t>(t) - s_.conv_taps + 1 + j;
                if (from < 0) continue;
                const std::int64_t token = tokens[static_cast<std::size_t>(from)];
                sum +=
                    static_cast<double>(v.conv[static_cast<std::size_t>(c * s_.conv_taps + j)]) *
                    static_cast<double>(v.qkv[static_cast<std::size_t>(token * s_.channels() + c)]);
            }
            x.push_back(kernels::reference::silu(sum));
        }
        return x;
    }

    std::vector<float> head(const std::vector<double>& x, std::int64_t first, std::int64_t dim,
                            double scale) const {
        double sum = 1e-6;
        for (std::int64_t i = first; i < first + dim; ++i)
            sum += x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(i)];
        std::vector<float> out;
        for (std::int64_t i = first; i < first + dim; ++i) {
            out.push_back(static_cast<float>(x[static_cast<std::size_t>(i)] *
                                             (scale == 0.0 ? 1.0 : scale / std::sqrt(sum))));
        }
        return out;
    }

    void add_layer(const DeltaModel::Values& v, const std::vector<std::int32_t>& tokens,
                   std::vector<double>& out) const {
        const kernels::reference::DeltaShape shape{s_.k_dim, s_.v_dim};
        const std::int64_t ratio = s_.n_v_heads / s_.n_k_heads;
        for (std::int64_t h = 0; h < s_.n_v_heads; ++h) {
            const auto at = static_cast<std::size_t>(h);
            const std::int64_t key = m_.shape().tiled ? h % s_.n_k_heads : h / ratio;
            std::vector<double> state(static_cast<std::size_t>(s_.k_dim * s_.v_dim), 0.0);
            std::vector<double> o(static_cast<std::size_t>(s_.v_dim));
            for (std::size_t t = 0; t < tokens.size(); ++t) {
                const std::vector<double> x = mixed(v, tokens, t);
                const auto of_token = static_cast<std::size_t>(tokens[t] * s_.n_v_heads) + at;
                const auto q = head(x, key * s_.k_dim, s_.k_dim,
                                    1.0 / std::sqrt(static_cast<double>(s_.k_dim)));
                const auto k = head(x, (s_.n_k_heads + key) * s_.k_dim, s_.k_dim, 1.0);
                const auto value =
                    head(x, 2 * s_.n_k_heads * s_.k_dim + h * s_.v_dim, s_.v_dim, 0.0);
                const double g = static_cast<double>(v.decay[at]) *
                                 kernels::reference::softplus(
                                     static_cast<double>(v.alpha[of_token] + v.dt_bias[at]));
                const double b = 1.0 / (1.0 + std::exp(-static_cast<double>(v.beta[of_token])));
                kernels::reference::delta_rule(shape, q.data(), k.data(), value.data(), g, b,
                                               state.data(), o.data());
                add_normed(v, tokens[t], h, o, out.data() + t * o.size() * heads());
            }
        }
    }

    std::size_t heads() const { return static_cast<std::size_t>(s_.n_v_heads); }

    void add_normed(const DeltaModel::Values& v, std::int64_t token, std::int64_t h,
                    const std::vector<double>& o, double* row) const {
        double sum = 0.0;
        for (const double x : o)
            sum += x * x;
        const double rms = std::sqrt(sum / static_cast<double>(o.size()) + 1e-6);
        for (std::size_t i = 0; i < o.size(); ++i) {
            const std::int64_t column = h * s_.v_dim + static_cast<std::int64_t>(i);
            const double z = static_cast<double>(
                v.z[static_cast<std::size_t>(token * s_.n_v_heads * s_.v_dim + column)]);
            row[column] +=
                o[i] / rms * static_cast<double>(v.norm[i]) * kernels::reference::silu(z);
        }
    }

    const DeltaModel& m_;
    const RecurrentSpec& s_;
};

/// Outputs and states of one sequence, token by token in a backend of its own.
struct Alone {
    std::vector<std::int32_t> tokens;
    std::vector<std::vector<float>> outputs;
    std::vector<std::vector<std::byte>> states; ///< after so many tokens, from 1 on

    Alone(DeltaModel& model, CompiledId plan, std::size_t n, Rng& rng) {
        states.emplace_back();
        for (std::size_t t = 0; t < n; ++t) {
            tokens.push_back(static_cast<std::int32_t>(
                rng.below(static_cast<std::uint64_t>(model.shape().vocab))));
            RecurrentInput in;
            in.slot = 0;
            in.fresh = t == 0;
            in.n_certain = 1;
            const DeltaPart part{{tokens.back()}, in};
            EXPECT_TRUE(model.run(plan, {&part, 1}));
            outputs.push_back(model.output(0));
            states.push_back(model.state(0));
        }
    }
};

std::vector<DeltaShape> shapes() {
    return {{},
            {{1, 2, 4, 16, 16, 4}, true, 50},
            {{2, 1, 3, 48, 80, 2}, false, 50},
            {{1, 3, 3, 128, 128, 4}, true, 50},
            {{1, 1, 1, 256, 256, 1}, false, 50}};
}

TEST(DeltaRule, AgreesWithTheOracle) {
    for (const DeltaShape& shape : shapes()) {
        SerialTeam team(2);
        DeltaModel model({&fastest(), &team, false, true}, shape, 1);
        const auto plan = model.backend().compile(model.plan(32));
        ASSERT_TRUE(plan);
        Rng rng(5);
        DeltaPart part;
        for (int t = 0; t < 21; ++t)
            part.tokens.push_back(
                static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(shape.vocab))));
        part.in.slot = 0;
        part.in.fresh = true;
        part.in.n_certain = 21;
        ASSERT_TRUE(model.run(*plan, {&part, 1}));
        const std::vector<double> want = Oracle(model).outputs(part.tokens);
        std::size_t at = 0;
        for (std::int32_t t = 0; t < 21; ++t) {
            for (const float got : model.output(t))
                ASSERT_NEAR(static_cast<double>(got), want[at++], 2e-5) << t;
        }
    }
}

/// Sequences driven at random: plans of several sizes, cuts, guesses that hold or not, copies,
/// snapshots.
class Driver {
public:
    Driver(DeltaModel& model, std::vector<CompiledId> plans, const std::vector<Alone>& alone,
           Rng& rng)
        : m_(model), plans_(std::move(plans)), alone_(alone), rng_(rng) {
        for (std::size_t i = 0; i < alone.size(); ++i)
            runs_.push_back({i, static_cast<std::int32_t>(i)});
        for (std::int32_t s = 0; s < 3; ++s)
            spare_.push_back(static_cast<std::int32_t>(alone.size()) + s);
    }

    bool done() const {
        return std::ranges::all_of(runs_, [&](const Run& r) { return left(r) == 0; });
    }

    void step() {
        std::vector<std::size_t> order(runs_.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        for (std::size_t i = order.size(); i > 1; --i)
            std::swap(order[i - 1], order[rng_.below(i)]);
        std::vector<DeltaPart> parts;
        std::vector<Taken> taken;
        for (const std::size_t i : order) {
            if (left(runs_[i]) == 0 || rng_.below(4) == 0) continue;
            add(runs_[i], parts, taken);
        }
        if (parts.empty()) return;
        ASSERT_TRUE(m_.run(plans_[rng_.below(plans_.size())], parts));
        check(parts, taken);
        if (!testing::Test::HasFatalFailure()) between_steps();
    }

private:
    struct Run {
        std::size_t sequence;
        std::int32_t slot;
        std::size_t at = 0;           ///< tokens in the state
        std::int32_t n_confirmed = 0; ///< of the rows pending
    };

    struct Taken {
        Run* run;
        std::size_t first; ///< position of its first row
        std::size_t n_right;
        std::int32_t snapshot_slot;
        std::size_t snapshot_at;
    };

    std::size_t left(const Run& r) const {
        return tokens(r).size() - r.at - static_cast<std::size_t>(r.n_confirmed);
    }

    const std::vector<std::int32_t>& tokens(const Run& r) const {
        return alone_[r.sequence].tokens;
    }

    void add(Run& run, std::vector<DeltaPart>& parts, std::vector<Taken>& taken) {
        DeltaPart part;
        part.in.slot = run.slot;
        part.in.fresh = run.at == 0 && run.n_confirmed == 0;
        part.in.n_confirmed = run.n_confirmed;
        const std::size_t first = run.at + static_cast<std::size_t>(run.n_confirmed);
        const std::size_t most = rng_.below(5) == 0 ? 17 : 3;
        const std::size_t n_certain = std::min(left(run), rng_.below(most));
        const std::size_t n_drafts = std::max<std::size_t>(rng_.below(8), n_certain == 0 ? 1 : 0);
        part.in.n_certain = static_cast<std::int32_t>(n_certain);
        std::size_t n_right = std::min(left(run) - n_certain, rng_.below(n_drafts + 1));
        for (std::size_t i = 0; i < n_certain + n_drafts; ++i) {
            const bool right = i < n_certain + n_right;
            part.tokens.push_back(right ? tokens(run)[first + i]
                                        : static_cast<std::int32_t>(rng_.below(50)));
        }
        Taken t{&run, first, n_certain + n_right, -1, 0};
        if (n_certain > 0 && !spare_.empty() && rng_.below(2) == 0) {
            t.snapshot_slot = spare_.back();
            spare_.pop_back();
            t.snapshot_at = 1 + rng_.below(n_certain);
            part.in.snapshot_slot = t.snapshot_slot;
            part.in.snapshot_rows = static_cast<std::int32_t>(t.snapshot_at);
        }
        run.at = first + n_certain;
        run.n_confirmed = static_cast<std::int32_t>(n_right);
        parts.push_back(std::move(part));
        taken.push_back(t);
    }

    void check(const std::vector<DeltaPart>& parts, const std::vector<Taken>& taken) {
        std::int32_t row = 0;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const Alone& want = alone_[taken[i].run->sequence];
            for (std::size_t r = 0; r < taken[i].n_right; ++r) {
                ASSERT_EQ(m_.output(row + static_cast<std::int32_t>(r)),
                          want.outputs[taken[i].first + r])
                    << "sequence " << taken[i].run->sequence << " row " << taken[i].first + r;
            }
            row += static_cast<std::int32_t>(parts[i].tokens.size());
            if (taken[i].snapshot_slot < 0) continue;
            EXPECT_EQ(m_.state(taken[i].snapshot_slot),
                      want.states[taken[i].first + taken[i].snapshot_at]);
            spare_.push_back(taken[i].snapshot_slot);
        }
    }

    /// Settles some, and moves some to another slot.
    void between_steps() {
        for (Run& run : runs_) {
            if (run.at + static_cast<std::size_t>(run.n_confirmed) == 0 || rng_.below(3) != 0)
                continue;
            m_.backend().settle_state(run.slot, run.n_confirmed);
            run.at += static_cast<std::size_t>(run.n_confirmed);
            run.n_confirmed = 0;
            if (run.at == 0) continue; // only guesses so far: it is still fresh
            EXPECT_EQ(m_.state(run.slot), alone_[run.sequence].states[run.at]);
            const std::int32_t to = spare_.front();
            if (rng_.below(2) == 0) {
                m_.backend().copy_state(run.slot, to);
            } else {
                const auto bytes = m_.state(run.slot);
                m_.backend().write_state(to, bytes);
            }
            EXPECT_EQ(m_.state(to), m_.state(run.slot));
            spare_.front() = run.slot;
            run.slot = to;
        }
    }

    DeltaModel& m_;
    std::vector<CompiledId> plans_;
    const std::vector<Alone>& alone_;
    Rng& rng_;
    std::vector<Run> runs_;
    std::vector<std::int32_t> spare_;
};

TEST(DeltaRule, CutsGuessesAndCompanyChangeNoBit) {
    for (const DeltaShape& shape : shapes()) {
        Rng rng(11);
        SerialTeam one;
        DeltaModel single({&fastest(), &one, false, false}, shape, 1);
        const auto small = single.backend().compile(single.plan(1));
        ASSERT_TRUE(small);
        std::vector<Alone> alone;
        for (const std::size_t n : {40U, 7U, 23U, 40U})
            alone.emplace_back(single, *small, n, rng);
        for (const int workers : {1, 2, 3, 16}) {
            BackwardTeam team(workers);
            DeltaModel model({&fastest(), &team, false, workers != 3}, shape, 7);
            // A smaller plan must not take what a larger one left in the memory they share.
            const auto plan = model.backend().compile(model.plan(100));
            const auto larger = model.backend().compile(model.plan(300));
            ASSERT_TRUE(plan && larger);
            Driver driver(model, {*plan, *larger}, alone, rng);
            for (int i = 0; i < 1000 && !driver.done(); ++i) {
                driver.step();
                if (HasFatalFailure()) return;
            }
            EXPECT_TRUE(driver.done());
        }
    }
}

TEST(DeltaRule, OneStepGivesWhatManyGive) {
    const DeltaShape shape;
    Rng rng(12);
    SerialTeam one;
    DeltaModel single({&fastest(), &one, false, false}, shape, 1);
    const auto small = single.backend().compile(single.plan(1));
    ASSERT_TRUE(small);
    std::vector<Alone> alone;
    for (const std::size_t n : {150U, 1U, 90U})
        alone.emplace_back(single, *small, n, rng);
    SpinTeam team(3);
    DeltaModel model({&fastest(), &team, false, true}, shape, 3);
    const auto plan = model.backend().compile(model.plan(241));
    ASSERT_TRUE(plan);
    std::vector<DeltaPart> parts;
    for (std::size_t i = 0; i < alone.size(); ++i) {
        DeltaPart part{alone[i].tokens, {}};
        part.in.slot = static_cast<std::int32_t>(2 - i);
        part.in.fresh = true;
        part.in.n_certain = static_cast<std::int32_t>(alone[i].tokens.size());
        parts.push_back(part);
    }
    for (int again = 0; again < 2; ++again) { // the second time over what the first left
        ASSERT_TRUE(model.run(*plan, parts));
        std::int32_t row = 0;
        for (std::size_t i = 0; i < alone.size(); ++i) {
            for (const auto& want : alone[i].outputs)
                ASSERT_EQ(model.output(row++), want);
            EXPECT_EQ(model.state(parts[i].in.slot), alone[i].states.back());
        }
    }
}

TEST(DeltaRule, AFreshSequenceSeesNothingOfALargerPlan) {
    const DeltaShape shape;
    SerialTeam team;
    DeltaModel model({&fastest(), &team, false, true}, shape, 2);
    const auto small = model.backend().compile(model.plan(1));
    const auto large = model.backend().compile(model.plan(40));
    ASSERT_TRUE(small && large);
    DeltaPart one{{17}, {}};
    one.in.slot = 0;
    one.in.fresh = true;
    one.in.n_certain = 1;
    ASSERT_TRUE(model.run(*small, {&one, 1}));
    const std::vector<float> want = model.output(0);
    DeltaPart many{std::vector<std::int32_t>(40, 3), {}};
    many.in.slot = 1;
    many.in.fresh = true;
    many.in.n_certain = 40;
    ASSERT_TRUE(model.run(*large, {&many, 1}));
    ASSERT_TRUE(model.run(*small, {&one, 1}));
    EXPECT_EQ(model.output(0), want);
}

TEST(DeltaRule, RefusesDimensionsByName) {
    SerialTeam team;
    const auto refusal = [&](const RecurrentSpec& spec) {
        const auto backend = make_cpu_backend({&fastest(), &team, false, true});
        const auto result = backend->allocate_states(spec, 2);
        EXPECT_FALSE(result);
        if (result) return std::string();
        EXPECT_EQ(result.error().code(), Code::unsupported);
        return std::string(result.error().message());
    };
    EXPECT_NE(refusal({1, 2, 4, 24, 128, 4}).find("keys of 24"), std::string::npos);
    EXPECT_NE(refusal({1, 2, 4, 128, 272, 4}).find("values of 272"), std::string::npos);
    EXPECT_NE(refusal({1, 2, 4, 0, 128, 4}).find("keys of 0"), std::string::npos);
    EXPECT_NE(refusal({1, 3, 4, 128, 128, 4}).find("4 value heads on 3"), std::string::npos);
    EXPECT_NE(refusal({1, 2, 4, 128, 128, 9}).find("of 9 rows"), std::string::npos);
}

TEST(DeltaRule, MemoryIsCounted) {
    SerialTeam team;
    const DeltaShape shape{{3, 16, 32, 128, 128, 4}, false, 8};
    DeltaModel model({&fastest(), &team, false, true}, shape, 2);
    EXPECT_EQ(state_bytes(shape.spec), 3 * (3 * 8192 + 32 * 128 * 128) * 4);
    EXPECT_GE(model.backend().memory().state_bytes, 2 * state_bytes(shape.spec));
}

TEST(CarriedRows, SurviveFromPlanToPlan) {
    for (const int workers : {1, 3}) {
        BackwardTeam team(workers);
        const auto backend = make_cpu_backend({&fastest(), &team, false, true});
        std::vector<float> values(20 * 5);
        std::iota(values.begin(), values.end(), 0.0F);
        const auto table = backend->upload_matrix(
            {kernels::WeightFormat::f32, 20, 5,
             reinterpret_cast<const std::uint8_t*>(values.data()), nullptr, nullptr});
        ASSERT_TRUE(table);
        Plan keeps({Phase::prefill, 6, 1});
        const TensorId x = keeps.tensor(5);
        keeps.add(EmbedOp{*table, x});
        keeps.add(KeepRowsOp{x});
        // Takes rows in another order and keeps those again.
        Plan turns({Phase::prefill, 9, 9});
        const TensorId y = turns.tensor(5);
        const TensorId logits = turns.tensor(5, RowKind::logits);
        turns.add(CarriedRowsOp{y});
        turns.add(KeepRowsOp{y});
        turns.add(GatherRowsOp{y, logits});
        turns.add(LogitsOp{logits});
        const auto first = backend->compile(keeps);
        ASSERT_TRUE(first);
        const std::vector<std::int32_t> tokens{3, 1, 4, 15, 9, 2}, zeros(6, 0);
        ASSERT_TRUE(backend->run(*first, {tokens, zeros, zeros, {}, 1, 0, {}}));
        const auto second = backend->compile(turns); // larger: what is kept stays
        ASSERT_TRUE(second);
        std::vector<std::int32_t> want = tokens;
        const std::vector<std::int32_t> rows{0, 1, 2, 3, 4, 5};
        for (const auto& order : {std::vector<std::int32_t>{5, 4, 3, 2, 1, 0},
                                  std::vector<std::int32_t>{1, 2, 3, 4, 5, 0}}) {
            StepInputs in{tokens, zeros, zeros, rows, 1, 0, {}};
            in.carry_rows = order;
            ASSERT_TRUE(backend->run(*second, in));
            std::vector<std::int32_t> turned;
            for (const std::int32_t r : order)
                turned.push_back(want[static_cast<std::size_t>(r)]);
            want = turned;
            for (std::int32_t r = 0; r < 6; ++r) {
                const float expected = static_cast<float>(want[static_cast<std::size_t>(r)] * 5);
                EXPECT_EQ(backend->read_logits(r)[0], expected) << r;
            }
        }
    }
}

} // namespace
} // namespace bloom::compute
