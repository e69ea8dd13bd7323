#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr std::int64_t kLengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 200};
constexpr std::int64_t kRows[] = {1, 2, 63, 64, 65, 200};
/// Room between the operands of two rows, so that strides count.
constexpr std::int64_t kGap = 3;

std::size_t size_of_rows(std::int64_t n, std::int64_t width) {
    return static_cast<std::size_t>((n - 1) * (width + kGap) + width);
}

/// n rows of one head with random operands, each array right before a guard page.
struct Head {
    reference::DeltaShape shape;
    std::int64_t n;
    Guarded<float> q, k, v, decay, beta, delta, out;
    std::vector<double> g;

    Head(std::int64_t rows, std::int64_t k_dim, int n_panels, double g_min, Rng& rng)
        : shape{k_dim, n_panels * kDeltaPanel}, n(rows),
          q(random_floats(size_of_rows(n, k_dim), rng)),
          k(random_floats(size_of_rows(n, k_dim), rng)),
          v(random_floats(size_of_rows(n, shape.v_dim), rng)), decay(size_of_rows(n, 1)),
          beta(size_of_rows(n, 1)), delta(size_of_rows(n, shape.v_dim), -7.0F),
          out(size_of_rows(n, shape.v_dim), -7.0F) {
        for (std::int64_t t = 0; t < n; ++t) {
            normalise(q.data() + t * (k_dim + kGap), 1.0 / std::sqrt(static_cast<double>(k_dim)));
            normalise(k.data() + t * (k_dim + kGap), 1.0);
            // Mostly little decay, as models have, and all the way to g_min.
            const double u = rng.uniform();
            g.push_back(g_min * u * u * u);
            decay[gate(t)] = static_cast<float>(std::exp(g.back()));
            beta[gate(t)] = static_cast<float>(rng.uniform());
        }
    }

    void normalise(float* x, double size) const {
        double sum = 0.0;
        for (std::int64_t i = 0; i < shape.k_dim; ++i)
            sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        for (std::int64_t i = 0; i < shape.k_dim; ++i)
            x[i] = static_cast<float>(static_cast<double>(x[i]) * size / std::sqrt(sum));
    }

    static std::size_t gate(std::int64_t t) { return static_cast<std::size_t>(t * (1 + kGap)); }

    /// Rows [first, last), columns from panel `panel` on.
    DeltaRows rows(std::int64_t first, std::int64_t last, int panel = 0) {
        const std::int64_t wide = shape.v_dim + kGap;
        const std::int64_t column = panel * kDeltaPanel;
        return {last - first,
                shape.k_dim,
                q.data() + first * (shape.k_dim + kGap),
                k.data() + first * (shape.k_dim + kGap),
                shape.k_dim + kGap,
                v.data() + first * wide + column,
                wide,
                decay.data() + gate(first),
                beta.data() + gate(first),
                1 + kGap,
                delta.data() + first * wide + column,
                wide,
                out.data() + first * wide + column,
                wide};
    }

    int n_panels() const { return static_cast<int>(shape.v_dim / kDeltaPanel); }

    /// Row t without gaps, as the reference wants it.
    static std::vector<float> tight(const Guarded<float>& x, std::int64_t n, std::int64_t width) {
        std::vector<float> out;
        for (std::int64_t t = 0; t < n; ++t) {
            const float* const at = x.data() + t * (width + kGap);
            out.insert(out.end(), at, at + width);
        }
        return out;
    }
};

/// A state [k_dim, v_dim] as panels.
Guarded<float> as_panels(const std::vector<double>& state, const reference::DeltaShape& d) {
    Guarded<float> out(state.size());
    for (std::int64_t i = 0; i < d.k_dim; ++i) {
        for (std::int64_t c = 0; c < d.v_dim; ++c) {
            out[static_cast<std::size_t>((c / kDeltaPanel * d.k_dim + i) * kDeltaPanel +
                                         c % kDeltaPanel)] =
                static_cast<float>(state[static_cast<std::size_t>(i * d.v_dim + c)]);
        }
    }
    return out;
}

std::vector<double> random_state(const reference::DeltaShape& d, Rng& rng) {
    std::vector<double> out;
    for (std::int64_t i = 0; i < d.k_dim * d.v_dim; ++i)
        out.push_back(static_cast<double>(0.3F * normal(rng)));
    return out;
}

double largest_of(const std::vector<double>& x) {
    double out = 0.0;
    for (const double v : x)
        out = std::max(out, std::fabs(v));
    return out;
}

class Delta : public TableTest {
protected:
    struct Want {
        std::vector<double> out, state;
    };

    static Want by_rows(Head& h, std::vector<double> state) {
        const auto q = Head::tight(h.q, h.n, h.shape.k_dim);
        const auto k = Head::tight(h.k, h.n, h.shape.k_dim);
        const auto v = Head::tight(h.v, h.n, h.shape.v_dim);
        Want want{std::vector<double>(static_cast<std::size_t>(h.n * h.shape.v_dim)),
                  std::move(state)};
        for (std::int64_t t = 0; t < h.n; ++t) {
            reference::delta_rule(h.shape, q.data() + t * h.shape.k_dim,
                                  k.data() + t * h.shape.k_dim, v.data() + t * h.shape.v_dim,
                                  h.g[static_cast<std::size_t>(t)],
                                  static_cast<double>(h.beta[Head::gate(t)]), want.state.data(),
                                  want.out.data() + t * h.shape.v_dim);
        }
        return want;
    }

    static void expect_near(Head& h, const Guarded<float>& state, const Want& want,
                            double tolerance) {
        const auto out = Head::tight(h.out, h.n, h.shape.v_dim);
        const double out_bound = tolerance * largest_of(want.out);
        for (std::size_t i = 0; i < out.size(); ++i)
            ASSERT_NEAR(static_cast<double>(out[i]), want.out[i], out_bound) << h.n << " " << i;
        const Guarded<float> panels = as_panels(want.state, h.shape);
        const double state_bound = tolerance * largest_of(want.state);
        for (std::size_t i = 0; i < state.size(); ++i) {
            ASSERT_NEAR(static_cast<double>(state[i]), static_cast<double>(panels[i]), state_bound)
                << h.n << " " << i;
        }
    }
};

TEST_P(Delta, AgreesWithTheReferenceRowByRow) {
    Rng rng(81);
    for (const std::int64_t k_dim : {16, 48, 128, 256}) {
        for (const std::int64_t n : kRows) {
            if (k_dim != 128 && n > 63) continue;
            for (const int n_panels : {1, 2}) {
                Head h(n, k_dim, n_panels, -20.0, rng);
                const auto before = random_state(h.shape, rng);
                Guarded<float> state = as_panels(before, h.shape);
                table().delta_rule(h.rows(0, n), n_panels, state.data());
                expect_near(h, state, by_rows(h, before), 2e-6);
            }
        }
    }
}

TEST_P(Delta, AgreesWithTheChunkedForm) {
    Rng rng(82);
    for (const std::int64_t n : {1, 2, 63, 64}) {
        Head h(n, 64, 2, -20.0, rng);
        const auto before = random_state(h.shape, rng);
        Guarded<float> state = as_panels(before, h.shape);
        table().delta_rule(h.rows(0, n), 2, state.data());
        const auto q = Head::tight(h.q, n, h.shape.k_dim);
        const auto k = Head::tight(h.k, n, h.shape.k_dim);
        const auto v = Head::tight(h.v, n, h.shape.v_dim);
        std::vector<double> beta;
        for (std::int64_t t = 0; t < n; ++t)
            beta.push_back(static_cast<double>(h.beta[Head::gate(t)]));
        Want want{std::vector<double>(static_cast<std::size_t>(n * h.shape.v_dim)), before};
        reference::delta_chunk(h.shape, n, q.data(), k.data(), v.data(), h.g.data(), beta.data(),
                               want.state.data(), want.out.data());
        const Want rows = by_rows(h, before);
        for (std::size_t i = 0; i < want.out.size(); ++i)
            ASSERT_NEAR(want.out[i], rows.out[i], 1e-12); // the two references
        expect_near(h, state, want, 2e-6);
    }
}

TEST_P(Delta, CutsAndPanelsChangeNoBit) {
    Rng rng(83);
    const std::int64_t n = 65;
    Head whole(n, 128, 2, -3.0, rng);
    const auto before = random_state(whole.shape, rng);
    Guarded<float> state = as_panels(before, whole.shape);
    table().delta_rule(whole.rows(0, n), 2, state.data());
    const auto same = [&](const Guarded<float>& a, const Guarded<float>& b) {
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
    };
    for (const std::int64_t step : {1, 2, 7, 64}) {
        Rng again(83);
        Head cut(n, 128, 2, -3.0, again);
        Guarded<float> by_step = as_panels(before, cut.shape);
        for (std::int64_t t = 0; t < n; t += step) {
            const std::int64_t last = std::min(t + step, n);
            if (step == 7) { // one panel after the other
                table().delta_rule(cut.rows(t, last, 0), 1, by_step.data());
                table().delta_rule(cut.rows(t, last, 1), 1,
                                   by_step.data() + cut.shape.k_dim * kDeltaPanel);
            } else {
                table().delta_rule(cut.rows(t, last), 2, by_step.data());
            }
        }
        EXPECT_TRUE(same(by_step, state)) << step;
        EXPECT_TRUE(same(cut.out, whole.out)) << step;
        EXPECT_TRUE(same(cut.delta, whole.delta)) << step;
    }
    for (const std::int64_t replayed : {1, 6, 65}) {
        Guarded<float> again = as_panels(before, whole.shape);
        table().delta_replay(whole.rows(0, replayed), 2, again.data());
        if (replayed < n) {
            DeltaRows rest = whole.rows(replayed, n);
            rest.delta = nullptr; // not wanted
            table().delta_rule(rest, 2, again.data());
        }
        EXPECT_TRUE(same(again, state)) << replayed;
    }
}

TEST_P(Delta, SurvivesDecayToNothing) {
    Rng rng(84);
    Head h(70, 128, 2, -1.0, rng);
    for (std::int64_t t = 0; t < h.n; ++t) {
        h.g[static_cast<std::size_t>(t)] = -100.0;
        h.decay[Head::gate(t)] = std::exp(-100.0F);
    }
    h.decay[Head::gate(3)] = 0.0F;
    const auto before = random_state(h.shape, rng);
    Guarded<float> state = as_panels(before, h.shape);
    table().delta_rule(h.rows(0, h.n), 2, state.data());
    expect_near(h, state, by_rows(h, before), 2e-6);
}

TEST_P(Delta, TablesWithFusedMultiplyAddAgreeToTheLastBit) {
    const auto run = [](const KernelTable& t) {
        Rng rng(85);
        Head h(9, 128, 2, -3.0, rng);
        Guarded<float> state = as_panels(random_state(h.shape, rng), h.shape);
        t.delta_rule(h.rows(0, h.n), 2, state.data());
        std::vector<float> out = Head::tight(h.out, h.n, h.shape.v_dim);
        out.insert(out.end(), state.data(), state.data() + state.size());
        return out;
    };
    if (std::strcmp(table().isa, "scalar") == 0) return; // its sums are rounded twice
    EXPECT_EQ(run(table()), run(*runnable_tables().front()));
}

TEST_P(Delta, Convolution) {
    Rng rng(86);
    for (const std::int64_t n : kLengths) {
        for (const int n_taps : {1, 2, 4, 8}) {
            const std::int64_t first = 5;
            const std::int64_t stride = n + kGap;
            std::vector<Guarded<float>> x;
            const float* rows[8] = {};
            for (int j = 0; j < n_taps; ++j) {
                x.push_back(random_floats(static_cast<std::size_t>(first + n), rng));
                rows[j] = x.back().data();
            }
            const Guarded<float> taps =
                random_floats(static_cast<std::size_t>((n_taps - 1) * stride + n), rng);
            Guarded<float> out(static_cast<std::size_t>(n));
            table().conv_silu(rows, first, taps.data(), stride, n_taps, n, out.data());
            for (std::int64_t i = 0; i < n; ++i) {
                double sum = 0.0;
                double size = 0.0;
                for (int j = 0; j < n_taps; ++j) {
                    const double term =
                        static_cast<double>(taps[static_cast<std::size_t>(j * stride + i)]) *
                        static_cast<double>(rows[j][first + i]);
                    sum += term;
                    size += std::fabs(term);
                }
                const double bound = (10 + n_taps) * kUnit * size * 1.1 + 1e-44;
                ASSERT_NEAR(static_cast<double>(out[static_cast<std::size_t>(i)]),
                            reference::silu(sum), bound)
                    << n << " " << n_taps;
            }
        }
    }
}

TEST_P(Delta, NormsOfHeads) {
    Rng rng(87);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        const Guarded<float> x = random_floats(size, rng);
        const Guarded<float> w = random_floats(size, rng);
        const Guarded<float> gate = random_floats(size, rng);
        Guarded<float> unit(size);
        Guarded<float> gated(size);
        table().l2_norm(x.data(), 0.25F, 1e-6F, n, unit.data());
        table().gated_norm(x.data(), w.data(), gate.data(), 1e-6F, n, gated.data());
        double sum = 0.0;
        for (std::size_t i = 0; i < size; ++i)
            sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        std::vector<double> normed(size);
        reference::rms_norm(x.data(), w.data(), 1e-6F, n, normed.data());
        const double slack = (static_cast<double>(n) / 2 + 14) * kUnit;
        for (std::size_t i = 0; i < size; ++i) {
            const double want = 0.25 * static_cast<double>(x[i]) / std::sqrt(sum + 1e-6);
            ASSERT_NEAR(static_cast<double>(unit[i]), want, slack * std::fabs(want));
            const double product = normed[i] * reference::silu(static_cast<double>(gate[i]));
            ASSERT_NEAR(static_cast<double>(gated[i]), product, slack * std::fabs(product));
        }
        Guarded<float> in_place = random_floats(size, rng);
        std::memcpy(in_place.data(), x.data(), size * sizeof(float));
        table().l2_norm(in_place.data(), 0.25F, 1e-6F, n, in_place.data());
        EXPECT_EQ(std::memcmp(in_place.data(), unit.data(), size * sizeof(float)), 0);
        std::memcpy(in_place.data(), x.data(), size * sizeof(float));
        table().gated_norm(in_place.data(), w.data(), gate.data(), 1e-6F, n, in_place.data());
        EXPECT_EQ(std::memcmp(in_place.data(), gated.data(), size * sizeof(float)), 0);
    }
    Guarded<float> zeros(16, 0.0F);
    table().l2_norm(zeros.data(), 1.0F, 1e-6F, 16, zeros.data());
    EXPECT_EQ(zeros[7], 0.0F);
}

TEST_P(Delta, Gates) {
    Rng rng(88);
    for (const std::int64_t n : kLengths) {
        const auto size = static_cast<std::size_t>(n);
        Guarded<float> alpha = random_floats(size, rng);
        Guarded<float> b = random_floats(size, rng);
        Guarded<float> rate = random_floats(size, rng);
        const Guarded<float> bias = random_floats(size, rng);
        for (std::size_t i = 0; i < size; ++i) {
            alpha[i] *= i % 3 == 0 ? 30.0F : 3.0F; // both ends of softplus
            b[i] *= i % 5 == 0 ? 30.0F : 2.0F;
            rate[i] = -std::fabs(rate[i]);
        }
        Guarded<float> decay(size);
        Guarded<float> beta(size);
        table().delta_gates(alpha.data(), b.data(), rate.data(), bias.data(), n, decay.data(),
                            beta.data());
        for (std::size_t i = 0; i < size; ++i) {
            const double x = static_cast<double>(alpha[i] + bias[i]);
            const double g = static_cast<double>(rate[i]) * reference::softplus(x);
            // The exponent's own rounding is multiplied by its size.
            ASSERT_NEAR(static_cast<double>(decay[i]), std::exp(g),
                        (1.0 + 6.0 * std::fabs(g)) * 3 * kUnit * std::exp(g) + 1e-44)
                << alpha[i];
            const double s = 1.0 / (1.0 + std::exp(-static_cast<double>(b[i])));
            ASSERT_NEAR(static_cast<double>(beta[i]), s, 8 * kUnit * s + 1e-44) << b[i];
        }
    }
}

TEST_P(Delta, GatesAtTheEnds) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    const float alpha[] = {-200.0F, 200.0F, -30.0F, 0.0F, 1e30F, kInf, NAN, -kInf};
    const float b[] = {-200.0F, 200.0F, kInf, -kInf, 0.0F, 0.0F, NAN, 0.0F};
    const float rate[] = {-1.0F, -0.5F, -1e6F, 0.0F, -1.0F, -1.0F, -1.0F, -1.0F};
    const float bias[8] = {};
    float decay[8];
    float beta[8];
    table().delta_gates(alpha, b, rate, bias, 8, decay, beta);
    EXPECT_EQ(decay[0], 1.0F);
    EXPECT_NEAR(decay[1] / std::exp(-100.0F), 1.0F, 1e-1F); // a subnormal number
    // softplus keeps its relative precision where it is tiny
    EXPECT_NEAR(static_cast<double>(decay[2]), std::exp(-1e6 * std::exp(-30.0)), 2e-7);
    EXPECT_EQ(decay[3], 1.0F);
    EXPECT_EQ(decay[4], 0.0F);
    EXPECT_EQ(decay[5], 0.0F);
    EXPECT_TRUE(std::isnan(decay[6]));
    EXPECT_EQ(decay[7], 1.0F);
    EXPECT_EQ(beta[0], 0.0F);
    EXPECT_EQ(beta[1], 1.0F);
    EXPECT_EQ(beta[2], 1.0F);
    EXPECT_EQ(beta[3], 0.0F);
    EXPECT_EQ(beta[4], 0.5F);
    EXPECT_TRUE(std::isnan(beta[6]));
}

BLOOM_FOR_EACH_TABLE(Delta);

} // namespace
} // namespace bloom::kernels::test
