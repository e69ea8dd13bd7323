#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/layout.hpp"
#include <bloom/compute/team.hpp>

#include "compute/cpu/memory.hpp"

namespace bloom::compute::cpu {

/// Up to this many rows every worker prepares (norms, quantises) all of them for itself instead of
/// sharing: a row of 4096 takes about 1 us, what a barrier costs. Beyond, sharing wins.
inline constexpr std::int64_t kRedundantRows = 4;

/// The same where several operations on a row come before: it takes as long as they are many.
inline constexpr std::int64_t kRedundantChainRows = 1;

/// Logits that one worker looks through alone: at 64 KiB that takes about 1 us, what handing the
/// work out costs.
inline constexpr std::int64_t kSerialLogits = 16 * 1024;

/// Worker `worker`'s units of `n` that lie end to end from byte `first` on, `unit_bytes` each,
/// among things of `total` bytes in all: whole units, cut nearest to where equal parts of the bytes
/// end. Over all workers the parts cover every unit once, in order.
constexpr Range part_of(std::int64_t first, std::int64_t n, std::int64_t unit_bytes,
                        std::int64_t total, int worker, int n_workers) noexcept {
    const auto cut = [&](std::int64_t w) {
        const std::int64_t at = total * w / n_workers - first + unit_bytes / 2;
        return at <= 0 ? std::int64_t{0} : at / unit_bytes < n ? at / unit_bytes : n;
    };
    return {cut(worker), worker + 1 == n_workers ? n : cut(worker + 1)};
}

/// Byte offsets of the forms of n rows of k activations, in one block of memory.
struct ActivationLayout {
    std::int64_t x_stride;   ///< elements
    std::int64_t q_stride;   ///< elements
    std::int64_t g32_stride; ///< groups
    std::int64_t g64_stride;
    std::size_t x, q32, s32, i32, m32, o32, q64, s64, i64, m64, o64, end;
};

constexpr ActivationLayout activation_layout(std::int64_t k, std::int64_t rows) noexcept {
    const auto up = [](std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; };
    ActivationLayout l{};
    l.x_stride = up(k, 16);
    l.q_stride = up(k, 64);
    l.g32_stride = up(k / 32 + 1, 16);
    l.g64_stride = up(k / 64 + 1, 16);
    const auto bytes = [rows](std::int64_t stride, std::int64_t size) {
        return round_up(static_cast<std::size_t>(rows * stride * size), kAlignment);
    };
    const auto ordered = [rows, k](int group) {
        return round_up(static_cast<std::size_t>(rows * (k / group)) *
                            kernels::ordered_group_bytes_max(group),
                        kAlignment);
    };
    l.x = 0;
    l.q32 = l.x + bytes(l.x_stride, 4);
    l.s32 = l.q32 + bytes(l.q_stride, 1);
    l.i32 = l.s32 + bytes(l.g32_stride, 4);
    l.m32 = l.i32 + bytes(l.g32_stride, 4);
    l.o32 = l.m32 + bytes(l.g32_stride, 4);
    l.q64 = l.o32 + ordered(32);
    l.s64 = l.q64 + bytes(l.q_stride, 1);
    l.i64 = l.s64 + bytes(l.g64_stride, 4);
    l.m64 = l.i64 + bytes(l.g64_stride, 4);
    l.o64 = l.m64 + bytes(l.g64_stride, 4);
    l.end = l.o64 + ordered(64);
    return l;
}

constexpr std::size_t activation_bytes(std::int64_t k, std::int64_t rows) noexcept {
    return activation_layout(k, rows).end;
}

} // namespace bloom::compute::cpu
