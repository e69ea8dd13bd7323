#pragma once

#include <cstdint>

#include "kernels/kernel_table.hpp"

/// The oracle: every operation in double precision, written to be obviously right and nothing else.
/// It reads weights in file order, so it knows nothing of packing. May allocate.
namespace bloom::kernels::reference {

/// Row `row` of a matrix in file order as f64 [k], by the format's definition.
void weights(const SourceMatrix& src, std::int64_t row, double* out);

/// One row of k values to int8 with one scale per group: scale = amax / 127 in f32, codes rounded
/// to nearest even from x * (127 / amax).
void quantise(const float* x, std::int64_t k, int group, std::int8_t* q, float* scale);

/// sum_k w[row, k] * x[k]. `magnitude` becomes the sum of the sizes of everything added on the way
/// (|scale * code * x| and |bias * x| apart): rounding errors are bounded by multiples of it.
double dot(const SourceMatrix& src, std::int64_t row, const float* x, double* magnitude);

/// The same for token `t` of quantised activations: the integer sums are exact.
double dot_q8(const SourceMatrix& src, std::int64_t row, const QuantisedActivations& x,
              std::int64_t t, double* magnitude);

void rms_norm(const float* x, const float* w, float eps, std::int64_t n, double* out);

double silu(double x);

double gelu_tanh(double x);

/// Scores [n] of router logits, and the weights [rule.top_k] of experts chosen elsewhere.
void route_scores(const float* logits, std::int64_t n, bool sigmoid, double* s);
void route_weights(const double* s, const RouteRule& rule, const std::int32_t* ids,
                   double* weights);

/// One head's attention over tokens [begin, end); keys and values through `kv`. out [head_dim].
void attention(const float* q, const KvPages& kv, int kv_head, std::int64_t begin, std::int64_t end,
               float scale, double* out);

double softplus(double x);

struct DeltaShape {
    std::int64_t k_dim;
    std::int64_t v_dim;
};

/// One row of the gated delta rule on one head's state [k_dim, v_dim]; out [v_dim].
void delta_rule(const DeltaShape& d, const float* q, const float* k, const float* v, double g,
                double beta, double* state, double* out);
/// n rows at once in the chunked form (arXiv 2412.06464, section 3.3): the same values by another
/// way. q, k [n, k_dim], v, out [n, v_dim].
void delta_chunk(const DeltaShape& d, std::int64_t n, const float* q, const float* k,
                 const float* v, const double* g, const double* beta, double* state, double* out);

} // namespace bloom::kernels::reference
