#include <algorithm>
#include <cstring>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"
#include "compute/cpu/limits.hpp"

namespace bloom::compute::cpu {
namespace {

kernels::QuantisedActivations rows_from(const kernels::QuantisedActivations& a, std::int64_t row) {
    return {a.q + row * a.q_stride,
            a.scale + row * a.group_stride,
            a.init + row * a.group_stride,
            a.sum + row * a.group_stride,
            a.q_stride,
            a.group_stride};
}

/// A format of each group size: the quantiser of activations looks at nothing else.
constexpr kernels::WeightFormat kAny32 = kernels::WeightFormat::q8_0;
constexpr kernels::WeightFormat kAny64 = kernels::WeightFormat::affine8_f32;

/// Rows that are quantised before they are brought into order: they stay in the caches meanwhile.
constexpr std::int64_t kOrderRows = 16;

} // namespace

Activations CpuBackend::lay_out(const MatmulRegion& region, std::uint8_t* at,
                                std::int64_t rows) const {
    const ActivationLayout l = activation_layout(buffer(region.in).cols, rows);
    Activations a;
    const bool makes_rows = region.norm || region.chain;
    a.x = makes_rows ? reinterpret_cast<const float*>(at + l.x) : row(region.in, 0);
    a.x_stride = makes_rows ? l.x_stride : buffer(region.in).stride;
    const auto f32 = [at](std::size_t offset) { return reinterpret_cast<float*>(at + offset); };
    const auto i32 = [at](std::size_t offset) {
        return reinterpret_cast<std::int32_t*>(at + offset);
    };
    for (const MatmulOp& t : region.targets) {
        const Weight& w = weight(t.weight);
        if (!quantised(w)) continue;
        if (kernels::group_size(w.matrix.format) == 32) {
            a.q32 = {reinterpret_cast<std::int8_t*>(at + l.q32),
                     f32(l.s32),
                     i32(l.i32),
                     f32(l.m32),
                     l.q_stride,
                     l.g32_stride,
                     nullptr,
                     at + l.o32};
        } else {
            a.q64 = {reinterpret_cast<std::int8_t*>(at + l.q64),
                     f32(l.s64),
                     i32(l.i64),
                     f32(l.m64),
                     l.q_stride,
                     l.g64_stride,
                     nullptr,
                     at + l.o64};
        }
    }
    return a;
}

Range CpuBackend::kept(const Preparer& by, std::int64_t cols) const noexcept {
    if (!by.redundant) return {0, cols};
    return split_range(cols, 16, by.worker, team_.size()); // in whole cache lines
}

const float* CpuBackend::source_row(const MatmulRegion& region, std::int64_t t, float* own,
                                    const Preparer& by) {
    if (region.chain) return run_chain(region, t, by);
    if (region.gather) {
        return row(region.gather->in, inputs_->logit_rows[static_cast<std::size_t>(t)]);
    }
    float* const in = row(region.in, t);
    if (!region.embed) return in;
    const Range keep = kept(by, buffer(region.in).cols);
    if (keep.end - keep.begin == buffer(region.in).cols) {
        look_up(*region.embed, t, in);
        return in;
    }
    look_up(*region.embed, t, own);
    if (keep.begin < keep.end) {
        std::memcpy(in + keep.begin, own + keep.begin,
                    static_cast<std::size_t>(keep.end - keep.begin) * sizeof(float));
    }
    return own;
}

void CpuBackend::prepare(const MatmulRegion& region, const Activations& a, std::int64_t n,
                         std::int64_t begin, std::int64_t end, const Preparer& by) {
    for (std::int64_t t = begin; t < end; t += kOrderRows)
        prepare_some(region, a, n, t, std::min(t + kOrderRows, end), by);
}

void CpuBackend::prepare_some(const MatmulRegion& region, const Activations& a, std::int64_t n,
                              std::int64_t begin, std::int64_t end, const Preparer& by) {
    const std::int64_t k = buffer(region.in).cols;
    if (region.norm || region.chain) {
        // a.x is this block's own memory then.
        auto* const x = const_cast<float*>(a.x);
        for (std::int64_t t = begin; t < end; ++t) {
            float* const out = x + t * a.x_stride;
            const float* const in = source_row(region, t, out, by);
            if (region.norm) {
                table_.rms_norm(in, norm_weight(*region.norm), region.norm->eps, k, out);
            } else {
                std::copy_n(in, k, out);
            }
        }
    }
    const auto quantise = [&](kernels::WeightFormat format,
                              const kernels::QuantisedActivations& q) {
        if (q.q == nullptr) return;
        table_.quantise(format, a.x + begin * a.x_stride, a.x_stride, end - begin, k,
                        rows_from(q, begin));
        // The place is this block's own memory.
        table_.order_activations(format, q, n, k, begin, end, 0, k,
                                 const_cast<std::uint8_t*>(q.in_order));
    };
    quantise(kAny32, a.q32);
    quantise(kAny64, a.q64);
}

void CpuBackend::multiply_rows(const MatmulOp& op, const Activations& a, std::int64_t n,
                               std::int64_t begin, std::int64_t end) {
    const Weight& w = weight(op.weight);
    float* const y = row(op.out, 0);
    const std::int64_t y_stride = buffer(op.out).stride;
    if (!quantised(w)) {
        table_.matmul_f32(w.matrix, a.x, a.x_stride, n, begin, end, y, y_stride);
    } else {
        const auto& q = kernels::group_size(w.matrix.format) == 32 ? a.q32 : a.q64;
        table_.matmul_q8(w.matrix, q, n, begin, end, y, y_stride);
    }
    if (op.bias == WeightId::none) return;
    const float* const bias = weight(op.bias).vector();
    for (std::int64_t t = 0; t < n; ++t)
        table_.add(y + t * y_stride + begin, bias + begin, end - begin);
}

void CpuBackend::finish_rows(const MatmulRegion& region, std::int64_t n, std::int64_t begin,
                             std::int64_t end) {
    const TensorId first = region.targets[0].out;
    const GateKernel multiply_gate = gate_kernel(region.activation);
    for (std::int64_t t = 0; t < n; ++t) {
        float* const out = row(region.epilogue_out, t) + begin;
        switch (region.epilogue) {
        case MatmulRegion::Epilogue::gated_mul:
            multiply_gate(row(first, t) + begin, row(region.targets[1].out, t) + begin, end - begin,
                          out);
            break;
        case MatmulRegion::Epilogue::add:
            table_.add(out, row(first, t) + begin, end - begin);
            break;
        case MatmulRegion::Epilogue::softcap:
            table_.softcap(out, region.cap, end - begin);
            break;
        case MatmulRegion::Epilogue::none:
            break;
        }
    }
}

void CpuBackend::multiply(const MatmulRegion& region, const Activations& a, std::int64_t n,
                          int worker) {
    const std::int64_t unit = table_.panel_rows;
    if (region.epilogue != MatmulRegion::Epilogue::none) {
        // Gate and up by the same rows, so that what follows needs no barrier.
        const Range r =
            split_range(weight(region.targets[0].weight).matrix.rows, unit, worker, team_.size());
        if (r.begin >= r.end) return;
        for (const MatmulOp& t : region.targets)
            multiply_rows(t, a, n, r.begin, r.end);
        finish_rows(region, n, r.begin, r.end);
        return;
    }
    // All panels of all products in one line, cut where their bytes are: products of one input may
    // have different formats.
    const auto panel_bytes = [&](const MatmulOp& t) {
        const kernels::PackedMatrix& w = weight(t.weight).matrix;
        return static_cast<std::int64_t>(table_.packed_bytes(w.format, unit, w.k));
    };
    const auto panels = [&](const MatmulOp& t) {
        return (weight(t.weight).matrix.rows + unit - 1) / unit;
    };
    std::int64_t total = 0;
    for (const MatmulOp& t : region.targets)
        total += panels(t) * panel_bytes(t);
    std::int64_t first = 0;
    for (const MatmulOp& t : region.targets) {
        const Range mine = part_of(first, panels(t), panel_bytes(t), total, worker, team_.size());
        const std::int64_t end = std::min(mine.end * unit, weight(t.weight).matrix.rows);
        if (mine.begin < mine.end) multiply_rows(t, a, n, mine.begin * unit, end);
        first += panels(t) * panel_bytes(t);
    }
}

void CpuBackend::add_matmul_phases(const Region& any) {
    const auto& region = std::get<MatmulRegion>(any);
    const std::int64_t n = count(buffer(region.in).rows);
    if (n == 0) return;
    if (n <= (region.chain ? kRedundantChainRows : kRedundantRows) && team_.size() > 1) {
        phases_.push_back({StepPhase::Kind::prepare_multiply, &any});
        return;
    }
    const Activations a = lay_out(region, prepared_.data(), n);
    if (region.norm || region.chain || a.q32.q != nullptr || a.q64.q != nullptr) {
        phases_.push_back({StepPhase::Kind::prepare, &any});
    }
    phases_.push_back({StepPhase::Kind::multiply, &any});
}

void CpuBackend::run_prepare(const MatmulRegion& region, int worker) {
    const std::int64_t n = count(buffer(region.in).rows);
    const Range r = split_range(n, 1, worker, team_.size());
    prepare(region, lay_out(region, prepared_.data(), n), n, r.begin, r.end, {worker, false});
}

void CpuBackend::run_multiply(const MatmulRegion& region, int worker) {
    const std::int64_t n = count(buffer(region.in).rows);
    multiply(region, lay_out(region, prepared_.data(), n), n, worker);
}

void CpuBackend::run_prepare_multiply(const MatmulRegion& region, int worker) {
    const std::int64_t n = count(buffer(region.in).rows);
    std::uint8_t* const own = workers_[static_cast<std::size_t>(worker)].memory.data();
    const Activations a = lay_out(region, own, n);
    prepare(region, a, n, 0, n, {worker, true});
    multiply(region, a, n, worker);
}

} // namespace bloom::compute::cpu
