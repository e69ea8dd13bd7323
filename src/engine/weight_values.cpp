// What the bytes of a weight mean: expansion, row order, scan for non-finite values.
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include <bloom/base/bytes.hpp>
#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/weights.hpp>

#include "engine/float_bits.hpp"

namespace bloom::engine {
namespace {

using kernels::SourceMatrix;
using kernels::WeightFormat;

constexpr std::int64_t kQ8Group = 32;
constexpr std::int64_t kQ8BlockBytes = 34;
constexpr std::int64_t kAffineGroup = 64;

/// Element i of an array of plain floats at any alignment.
float plain_at(WeightFormat format, const std::uint8_t* base, std::int64_t i) noexcept {
    switch (format) {
    case WeightFormat::f16:
    case WeightFormat::affine8_f16:
        return half_to_float(load_le<std::uint16_t>(base + 2 * i));
    case WeightFormat::bf16:
    case WeightFormat::affine8_bf16:
        return bf16_to_float(load_le<std::uint16_t>(base + 2 * i));
    default:
        return load_le<float>(base + 4 * i);
    }
}

void expand_row(const SourceMatrix& m, std::int64_t row, std::span<float> out) noexcept {
    const std::uint8_t* codes = m.codes + row_bytes(m.format, m.k) * static_cast<std::size_t>(row);
    if (m.format == WeightFormat::q8_0) {
        for (std::int64_t i = 0; i < m.k; ++i) {
            const std::uint8_t* block = codes + i / kQ8Group * kQ8BlockBytes;
            const float scale = half_to_float(load_le<std::uint16_t>(block));
            out[static_cast<std::size_t>(i)] =
                scale * static_cast<float>(load_le<std::int8_t>(block + 2 + i % kQ8Group));
        }
        return;
    }
    const std::size_t side = scale_row_bytes(m.format, m.k);
    if (side == 0) {
        for (std::int64_t i = 0; i < m.k; ++i)
            out[static_cast<std::size_t>(i)] = plain_at(m.format, codes, i);
        return;
    }
    const std::uint8_t* scales = m.scales + side * static_cast<std::size_t>(row);
    const std::uint8_t* biases = m.biases + side * static_cast<std::size_t>(row);
    for (std::int64_t i = 0; i < m.k; ++i) {
        const float scale = plain_at(m.format, scales, i / kAffineGroup);
        const float bias = plain_at(m.format, biases, i / kAffineGroup);
        out[static_cast<std::size_t>(i)] = scale * static_cast<float>(codes[i]) + bias;
    }
}

/// Copies rows into the model's order and answers where the copy lies.
const std::uint8_t* gather(const std::uint8_t* from, std::size_t bytes, std::int64_t rows,
                           const RowOrder& order, std::uint8_t* to) noexcept {
    for (std::int64_t row = 0; row < rows; ++row) {
        std::memcpy(to + bytes * static_cast<std::size_t>(row),
                    from + bytes * static_cast<std::size_t>(order.source_row(row)), bytes);
    }
    return to;
}

float mapped(ValueMap map, float value) noexcept {
    switch (map) {
    case ValueMap::as_stored:
        return value;
    case ValueMap::plus_one:
        return 1.0F + value;
    case ValueMap::minus_exp:
        return static_cast<float>(-std::exp(static_cast<double>(value)));
    }
    return value;
}

Error not_finite(const WeightView& view, std::int64_t row, std::string_view what) {
    return {Code::corrupt, fmt::format("tensor {} has {} that is not finite in row {}",
                                       bloom::quoted(view.name), what, row)};
}

Result<> verify_matrix(const WeightView& view, const SourceMatrix& m) {
    const std::size_t bytes = row_bytes(m.format, m.k);
    const std::size_t side = scale_row_bytes(m.format, m.k);
    const bool moved = !is_vector_role(view.role) && view.experts.empty();
    for (std::int64_t row = 0; row < m.rows; ++row) {
        const auto at = static_cast<std::size_t>(moved ? view.order.source_row(row) : row);
        if (m.format == WeightFormat::q8_0) {
            for (std::int64_t g = 0; g < m.k / kQ8Group; ++g) {
                const std::uint8_t* block = m.codes + bytes * at + g * kQ8BlockBytes;
                if (!std::isfinite(half_to_float(load_le<std::uint16_t>(block))))
                    return not_finite(view, row, "a scale");
            }
        } else if (side != 0) {
            for (std::int64_t g = 0; g < m.k / kAffineGroup; ++g) {
                if (!std::isfinite(plain_at(m.format, m.scales + side * at, g)))
                    return not_finite(view, row, "a scale");
                if (!std::isfinite(plain_at(m.format, m.biases + side * at, g)))
                    return not_finite(view, row, "a bias");
            }
        } else {
            for (std::int64_t i = 0; i < m.k; ++i) {
                if (!std::isfinite(plain_at(m.format, m.codes + bytes * at, i)))
                    return not_finite(view, row, "a value");
            }
        }
    }
    return {};
}

} // namespace

std::size_t row_bytes(WeightFormat format, std::int64_t k) noexcept {
    const auto n = static_cast<std::size_t>(k);
    switch (format) {
    case WeightFormat::q8_0:
        return n / kQ8Group * kQ8BlockBytes;
    case WeightFormat::affine8_f16:
    case WeightFormat::affine8_bf16:
    case WeightFormat::affine8_f32:
        return n;
    case WeightFormat::f16:
    case WeightFormat::bf16:
        return 2 * n;
    case WeightFormat::f32:
        return 4 * n;
    }
    return 0;
}

std::size_t scale_row_bytes(WeightFormat format, std::int64_t k) noexcept {
    if (kernels::group_size(format) != kAffineGroup) return 0;
    const std::int64_t element = format == WeightFormat::affine8_f32 ? 4 : 2;
    return static_cast<std::size_t>(k / kAffineGroup * element);
}

SourceMatrix in_model_order(const WeightView& view, std::vector<std::uint8_t>& scratch) {
    SourceMatrix m = view.matrix;
    if (view.order.is_identity()) return m;
    const std::size_t code_bytes = row_bytes(m.format, m.k);
    const std::size_t side_bytes = scale_row_bytes(m.format, m.k);
    const auto rows = static_cast<std::size_t>(m.rows);
    scratch.resize(rows * (code_bytes + 2 * side_bytes));
    m.codes = gather(view.matrix.codes, code_bytes, m.rows, view.order, scratch.data());
    if (side_bytes != 0) {
        m.scales = gather(view.matrix.scales, side_bytes, m.rows, view.order,
                          scratch.data() + rows * code_bytes);
        m.biases = gather(view.matrix.biases, side_bytes, m.rows, view.order,
                          scratch.data() + rows * (code_bytes + side_bytes));
    }
    return m;
}

void expand_vector(const WeightView& view, std::span<float> out) {
    BLOOM_CHECK(is_vector_role(view.role));
    BLOOM_CHECK(out.size() == static_cast<std::size_t>(view.matrix.k));
    for (std::int64_t i = 0; i < view.matrix.k; ++i) {
        const float stored =
            plain_at(view.matrix.format, view.matrix.codes, view.order.source_row(i));
        out[static_cast<std::size_t>(i)] = mapped(view.values, stored);
    }
}

void dequantise_row(const WeightView& view, std::int64_t row, std::span<float> out) {
    BLOOM_CHECK(out.size() == static_cast<std::size_t>(view.matrix.k));
    BLOOM_CHECK(row >= 0);
    BLOOM_CHECK(row < view.matrix.rows * view.n_matrices());
    if (!view.experts.empty()) {
        expand_row(view.expert(row / view.matrix.rows), row % view.matrix.rows, out);
        return;
    }
    if (is_vector_role(view.role)) {
        expand_vector(view, out);
    } else {
        expand_row(view.matrix, view.order.source_row(row), out);
    }
}

void dequantise_row(const SourceMatrix& matrix, std::int64_t row, std::span<float> out) {
    BLOOM_CHECK(out.size() == static_cast<std::size_t>(matrix.k));
    BLOOM_CHECK(row >= 0);
    BLOOM_CHECK(row < matrix.rows);
    expand_row(matrix, row, out);
}

Result<> verify_finite(const Weights& weights, bool every_block) {
    for (const WeightView& view : weights.all()) {
        if (!every_block && !is_vector_role(view.role)) continue;
        if (view.experts.empty()) BLOOM_OK(verify_matrix(view, view.matrix));
        for (const SourceMatrix& expert : view.experts)
            BLOOM_OK(verify_matrix(view, expert));
    }
    return {};
}

} // namespace bloom::engine
