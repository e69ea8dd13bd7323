#include <cmath>
#include <vector>

#include "kernels/reference/reference.hpp"

namespace bloom::kernels::reference {

double softplus(double x) {
    return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

void delta_rule(const DeltaShape& d, const float* q, const float* k, const float* v, double g,
                double beta, double* state, double* out) {
    for (std::int64_t i = 0; i < d.k_dim * d.v_dim; ++i)
        state[i] *= std::exp(g);
    for (std::int64_t c = 0; c < d.v_dim; ++c) {
        double predicted = 0.0;
        for (std::int64_t i = 0; i < d.k_dim; ++i)
            predicted += state[i * d.v_dim + c] * static_cast<double>(k[i]);
        const double delta = beta * (static_cast<double>(v[c]) - predicted);
        out[c] = 0.0;
        for (std::int64_t i = 0; i < d.k_dim; ++i) {
            state[i * d.v_dim + c] += static_cast<double>(k[i]) * delta;
            out[c] += state[i * d.v_dim + c] * static_cast<double>(q[i]);
        }
    }
}

void delta_chunk(const DeltaShape& d, std::int64_t n, const float* q, const float* k,
                 const float* v, const double* g, const double* beta, double* state, double* out) {
    const auto dot = [&](const float* a, const float* b) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < d.k_dim; ++i)
            sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        return sum;
    };
    const auto from_state = [&](const float* a, std::int64_t c) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < d.k_dim; ++i)
            sum += static_cast<double>(a[i]) * state[i * d.v_dim + c];
        return sum;
    };
    std::vector<double> total(static_cast<std::size_t>(n)); // G
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; ++i)
        total[static_cast<std::size_t>(i)] = sum += g[i];
    const auto between = [&](std::int64_t i, std::int64_t j) {
        return std::exp(total[static_cast<std::size_t>(i)] - total[static_cast<std::size_t>(j)]);
    };
    const auto from_start = [&](std::int64_t i) {
        return std::exp(total[static_cast<std::size_t>(i)]);
    };
    std::vector<double> x(static_cast<std::size_t>(n * d.v_dim));
    for (std::int64_t c = 0; c < d.v_dim; ++c) {
        const auto at = [&](std::int64_t i) -> double& {
            return x[static_cast<std::size_t>(i * d.v_dim + c)];
        };
        for (std::int64_t i = 0; i < n; ++i) {
            const float* const ki = k + i * d.k_dim;
            at(i) = beta[i] *
                    (static_cast<double>(v[i * d.v_dim + c]) - from_start(i) * from_state(ki, c));
            for (std::int64_t j = 0; j < i; ++j)
                at(i) -= beta[i] * dot(ki, k + j * d.k_dim) * between(i, j) * at(j);
        }
        for (std::int64_t i = 0; i < n; ++i) {
            const float* const qi = q + i * d.k_dim;
            double o = from_start(i) * from_state(qi, c);
            for (std::int64_t j = 0; j <= i; ++j)
                o += dot(qi, k + j * d.k_dim) * between(i, j) * at(j);
            out[i * d.v_dim + c] = o;
        }
    }
    for (std::int64_t i = 0; i < d.k_dim; ++i) {
        for (std::int64_t c = 0; c < d.v_dim; ++c) {
            double& s = state[i * d.v_dim + c];
            s *= from_start(n - 1);
            for (std::int64_t t = 0; t < n; ++t) {
                s += between(n - 1, t) * static_cast<double>(k[t * d.k_dim + i]) *
                     x[static_cast<std::size_t>(t * d.v_dim + c)];
            }
        }
    }
}

} // namespace bloom::kernels::reference
