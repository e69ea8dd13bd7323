#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"

/// The packed form of a weight matrix, in the order in which the kernels read it.
///
/// Rows are cut into panels of P = KernelTable::panel_rows; the last panel is filled up with rows
/// of zero weight. A panel is one linear stream, panels follow each other without gaps:
///
///   quantised, per group of G (32 or 64) columns:
///     codes   [G / S][P][S]  u8   S = columns one dot instruction takes of a row (4, 2 or 16)
///     scales  [P]            the file's type (f16, bf16, f32)
///     biases  [P]            the same type; affine formats only
///   plain, per column:
///     values  [P]            the file's type
///
/// With rows % P == 0 the packed form is as large as the matrix in its file.
namespace bloom::kernels {

/// Bytes of one row's scale and bias in one group.
static constexpr std::size_t group_extra_bytes(WeightFormat format) noexcept {
    switch (format) {
    case WeightFormat::q8_0:
        return 2;
    case WeightFormat::affine8_f16:
    case WeightFormat::affine8_bf16:
        return 4;
    case WeightFormat::affine8_f32:
        return 8;
    default:
        return 0;
    }
}

/// Bytes of one element of a plain format, 0 for the quantised ones.
static constexpr std::size_t plain_bytes(WeightFormat format) noexcept {
    switch (format) {
    case WeightFormat::f16:
    case WeightFormat::bf16:
        return 2;
    case WeightFormat::f32:
        return 4;
    default:
        return 0;
    }
}

/// Bytes of one row over one group (quantised) or one column (plain), packed and in the file.
static constexpr std::size_t row_unit_bytes(WeightFormat format) noexcept {
    const std::size_t plain = plain_bytes(format);
    if (plain != 0) return plain;
    return static_cast<std::size_t>(group_size(format)) + group_extra_bytes(format);
}

static constexpr std::size_t packed_size(WeightFormat format, std::int64_t rows, std::int64_t k,
                                         int panel_rows) noexcept {
    const std::int64_t panels = (rows + panel_rows - 1) / panel_rows;
    return static_cast<std::size_t>(panels * panel_rows * (k / group_size(format))) *
           row_unit_bytes(format);
}

/// What a token's group takes at most in KernelTable::order_activations, in any table: codes
/// widened to 16 bit, scale, start of the dot product, sum.
[[maybe_unused]] static constexpr std::size_t ordered_group_bytes_max(int group) noexcept {
    return 2 * static_cast<std::size_t>(group) + 12;
}

/// A GGUF Q8_0 block in its file: f16 scale, then 32 int8.
inline constexpr std::size_t kQ80BlockBytes = 34;

static_assert(row_unit_bytes(WeightFormat::q8_0) == kQ80BlockBytes);
static_assert(row_unit_bytes(WeightFormat::affine8_f16) == 68);
static_assert(row_unit_bytes(WeightFormat::affine8_bf16) == 68);
static_assert(row_unit_bytes(WeightFormat::affine8_f32) == 72);
static_assert(32 * row_unit_bytes(WeightFormat::q8_0) == 17 * 64, "whole cache lines a group");
static_assert(32 * row_unit_bytes(WeightFormat::affine8_bf16) == 34 * 64);
static_assert(packed_size(WeightFormat::q8_0, 64, 4096, 32) == 64 * 128 * kQ80BlockBytes);
static_assert(packed_size(WeightFormat::f16, 33, 10, 32) == 64 * 10 * 2);

} // namespace bloom::kernels
