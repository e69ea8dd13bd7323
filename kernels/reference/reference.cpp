#include "kernels/reference/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/half.hpp"

namespace bloom::kernels::reference {
namespace {

float load_f32(const std::uint8_t* p) {
    float v = 0.0F;
    std::memcpy(&v, p, sizeof v);
    return v;
}

/// Element i of an array in the 16- or 32-bit type that `format` uses for values or scales.
double element(WeightFormat format, const std::uint8_t* base, std::int64_t i) {
    switch (format) {
    case WeightFormat::f32:
    case WeightFormat::affine8_f32:
        return static_cast<double>(load_f32(base + 4 * i));
    case WeightFormat::bf16:
    case WeightFormat::affine8_bf16:
        return static_cast<double>(bf16_to_f32(load_u16(base + 2 * i)));
    default:
        return static_cast<double>(f16_to_f32(load_u16(base + 2 * i)));
    }
}

/// A weight as its format defines it.
struct Parts {
    double product; ///< scale * code, or the element itself
    double bias;
};

Parts weight(const SourceMatrix& src, std::int64_t at) {
    switch (src.format) {
    case WeightFormat::q8_0: {
        const std::uint8_t* block = src.codes + at / 32 * 34;
        const auto code = static_cast<std::int8_t>(block[2 + at % 32]);
        return {static_cast<double>(f16_to_f32(load_u16(block))) * code, 0.0};
    }
    case WeightFormat::affine8_f16:
    case WeightFormat::affine8_bf16:
    case WeightFormat::affine8_f32:
        return {element(src.format, src.scales, at / 64) * src.codes[at],
                element(src.format, src.biases, at / 64)};
    default:
        return {element(src.format, src.codes, at), 0.0};
    }
}

double kv_element(KvType type, const void* base, std::int64_t i) {
    const auto* bytes = static_cast<const std::uint8_t*>(base);
    return element(type == KvType::f16 ? WeightFormat::f16 : WeightFormat::f32, bytes, i);
}

} // namespace

void weights(const SourceMatrix& src, std::int64_t row, double* out) {
    for (std::int64_t i = 0; i < src.k; ++i) {
        const Parts w = weight(src, row * src.k + i);
        out[i] = w.product + w.bias;
    }
}

void quantise(const float* x, std::int64_t k, int group, std::int8_t* q, float* scale) {
    for (std::int64_t g = 0; g < k / group; ++g) {
        const float* v = x + g * group;
        float amax = 0.0F;
        bool finite = true;
        for (int i = 0; i < group; ++i) {
            amax = std::max(amax, std::fabs(v[i]));
            finite = finite && std::isfinite(v[i]);
        }
        const bool zero = !finite || amax < 0x1p-119F;
        scale[g] = !finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0.0F : amax / 127.0F;
        for (int i = 0; i < group; ++i) {
            q[g * group + i] =
                zero ? std::int8_t{0}
                     : static_cast<std::int8_t>(std::nearbyintf(v[i] * (127.0F / amax)));
        }
    }
}

double dot(const SourceMatrix& src, std::int64_t row, const float* x, double* magnitude) {
    double sum = 0.0;
    double size = 0.0;
    for (std::int64_t i = 0; i < src.k; ++i) {
        const Parts w = weight(src, row * src.k + i);
        const double xi = static_cast<double>(x[i]);
        sum += (w.product + w.bias) * xi;
        size += (std::fabs(w.product) + std::fabs(w.bias)) * std::fabs(xi);
    }
    *magnitude = size;
    return sum;
}

double dot_q8(const SourceMatrix& src, std::int64_t row, const QuantisedActivations& x,
              std::int64_t t, double* magnitude) {
    const int group = group_size(src.format);
    double sum = 0.0;
    double size = 0.0;
    for (std::int64_t i = 0; i < src.k; ++i) {
        const Parts w = weight(src, row * src.k + i);
        const double scale = static_cast<double>(x.scale[t * x.group_stride + i / group]);
        const double xi = scale * x.q[t * x.q_stride + i];
        sum += (w.product + w.bias) * xi;
        size += (std::fabs(w.product) + std::fabs(w.bias)) * std::fabs(xi);
    }
    *magnitude = size;
    return sum;
}

void rms_norm(const float* x, const float* w, float eps, std::int64_t n, double* out) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; ++i)
        sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps));
    for (std::int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<double>(w[i]) * static_cast<double>(x[i]) * inverse;
    }
}

double silu(double x) {
    return x / (1.0 + std::exp(-x));
}

double gelu_tanh(double x) {
    const double u = std::sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + std::tanh(u));
}

void route_scores(const float* logits, std::int64_t n, bool sigmoid, double* s) {
    const double top = static_cast<double>(*std::max_element(logits, logits + n));
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(logits[i]);
        s[i] = sigmoid ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x - top);
        sum += s[i];
    }
    for (std::int64_t i = 0; i < n && !sigmoid; ++i)
        s[i] /= sum;
}

void route_weights(const double* s, const RouteRule& rule, const std::int32_t* ids,
                   double* weights) {
    double sum = 0.0;
    for (std::int32_t j = 0; j < rule.top_k; ++j)
        sum += s[ids[j]];
    for (std::int32_t j = 0; j < rule.top_k; ++j) {
        weights[j] = s[ids[j]] / (rule.normalise ? sum : 1.0) * static_cast<double>(rule.scale);
    }
}

void attention(const float* q, const KvPages& kv, int kv_head, std::int64_t begin, std::int64_t end,
               float scale, double* out) {
    const std::int64_t dim = kv.head_dim;
    const std::int64_t values = std::int64_t{kv.n_kv_heads} * kPageTokens * dim;
    const std::int64_t head = std::int64_t{kv_head} * kPageTokens * dim;
    const auto element_at = [&](std::int64_t t, std::int64_t in_page) {
        return kv_element(kv.type, kv.base + kv.table[t / kPageTokens] * kv.page_bytes, in_page);
    };
    std::vector<double> scores;
    double top = -std::numeric_limits<double>::infinity();
    for (std::int64_t t = begin; t < end; ++t) {
        double s = 0.0;
        for (std::int64_t d = 0; d < dim; ++d) {
            s +=
                static_cast<double>(q[d]) * element_at(t, head + d * kPageTokens + t % kPageTokens);
        }
        scores.push_back(s * static_cast<double>(scale));
        top = std::max(top, scores.back());
    }
    std::fill_n(out, dim, 0.0);
    double sum = 0.0;
    for (std::int64_t t = begin; t < end; ++t) {
        const double p = std::exp(scores[static_cast<std::size_t>(t - begin)] - top);
        sum += p;
        for (std::int64_t d = 0; d < dim; ++d) {
            out[d] += p * element_at(t, values + head + t % kPageTokens * dim + d);
        }
    }
    for (std::int64_t d = 0; d < dim && sum > 0.0; ++d)
        out[d] /= sum;
}

} // namespace bloom::kernels::reference
