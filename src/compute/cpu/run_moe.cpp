#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"
#include "compute/cpu/limits.hpp"
#include "compute/cpu/moe.hpp"

/// The chosen experts of a step, in two phases (three with many rows):
///
///   prepare   choices and quantised inputs, each row once; with few rows every worker does all of
///             them for itself at the beginning of the next phase
///   gate_up   pairs of (token, slot) sorted by expert, by every worker for itself; one list of
///             tasks (expert, rows of gate and up) for all of them, taken as they come. A task
///             multiplies act(gate) by up and quantises what it has for the next phase, in the
///             order in which the products there read it.
///   down      blocks of output rows, taken as they come. A block takes all experts one after the
///             other and adds what each gives to its tokens, times their weights: one fma chain a
///             token over its experts, ascending, from zero.
///
/// Which worker does what changes no bit: a product's sums depend on row and token alone, and a
/// token's sum on its own experts.
namespace bloom::compute::cpu {
namespace {

using kernels::PackedMatrix;
using kernels::QuantisedActivations;

/// Tokens whose f32 inputs are laid side by side for one product: enough to reuse what is read of a
/// weight, few enough to stay in the second-level cache.
constexpr std::int64_t kGatherRows = 32;

/// Activations of one expert in the order of its products: half of a second-level cache of 1 MiB.
/// Experts with more of them leave that to the products, which do it part by part.
constexpr std::size_t kOrderedBytes = std::size_t{512} << 10;

/// Byte offsets into a worker's memory for expert operations.
struct MoeLayout {
    std::size_t begin, active, token, place, tasks, ids, weights, factors, ordered, gather, block,
        end;
};

struct MoeShape {
    std::int64_t in_cols;
    std::int64_t out_cols;
    std::int64_t n_experts;
    std::int64_t rows_max;
    std::int32_t top_k;
    int n_workers;
};

std::int64_t rows_max(const PlanKey& key) noexcept {
    return std::max(key.max_rows, key.max_logit_rows);
}

MoeLayout moe_layout(const MoeShape& s) noexcept {
    std::size_t at = 0;
    const auto take = [&at](std::int64_t n, std::size_t size) {
        const std::size_t here = at;
        at += round_up(static_cast<std::size_t>(n) * size, kAlignment);
        return here;
    };
    const std::int64_t n_pairs = s.rows_max * s.top_k;
    MoeLayout l{};
    l.begin = take(s.n_experts + 1, sizeof(std::int32_t));
    l.active = take(s.n_experts, sizeof(std::int32_t));
    l.token = take(n_pairs, sizeof(std::int32_t));
    l.place = take(n_pairs, sizeof(std::int32_t));
    l.tasks = take(tasks_max(s.n_experts, s.n_workers), sizeof(ExpertTask));
    l.ids = take(kRedundantRows * s.top_k, sizeof(std::int32_t));
    l.weights = take(kRedundantRows * s.top_k, sizeof(float));
    l.factors = take(n_pairs, sizeof(float));
    l.ordered = take(static_cast<std::int64_t>(kOrderedBytes), 1);
    l.gather = take(kGatherRows * block_stride(s.in_cols), sizeof(float));
    l.block = take(
        std::max(gate_floats_max(s.rows_max), down_floats_max(s.out_cols, s.rows_max, s.n_workers)),
        sizeof(float));
    l.end = at;
    return l;
}

QuantisedActivations quantised_at(std::uint8_t* base, const ActivationLayout& l, int group) {
    const bool small = group == 32;
    return {reinterpret_cast<std::int8_t*>(base + (small ? l.q32 : l.q64)),
            reinterpret_cast<float*>(base + (small ? l.s32 : l.s64)),
            reinterpret_cast<std::int32_t*>(base + (small ? l.i32 : l.i64)),
            reinterpret_cast<float*>(base + (small ? l.m32 : l.m64)),
            l.q_stride,
            small ? l.g32_stride : l.g64_stride};
}

/// The same activations from row `row` and column `column` (whole groups) on.
QuantisedActivations part_of(const QuantisedActivations& a, std::int64_t row, std::int64_t column,
                             int group) {
    const std::int64_t g = row * a.group_stride + column / group;
    return {a.q + row * a.q_stride + column,
            a.scale + g,
            a.init + g,
            a.sum + g,
            a.q_stride,
            a.group_stride};
}

/// Rows [begin, end) of a packed matrix as a matrix; begin is a multiple of the unit.
PackedMatrix slice(const kernels::KernelTable& table, PackedMatrix w, std::int64_t begin,
                   std::int64_t end) {
    w.data += table.packed_bytes(w.format, begin, w.k);
    w.rows = end - begin;
    return w;
}

} // namespace

/// A MoeRegion with everything looked up for one worker.
struct CpuBackend::MoeStep {
    const Weight& gate;
    const Weight& up;
    const Weight& down;
    GateActivation activation;
    std::int64_t n;
    std::int64_t n_pairs;
    std::int64_t in_cols;
    std::int64_t ffn;
    std::int32_t top_k;
    bool redundant; ///< few rows: this worker routes and quantises all of them in its own memory

    const float* x; ///< inputs
    std::int64_t x_stride;
    QuantisedActivations x32; ///< their forms, q null where no weight wants it
    QuantisedActivations x64;
    float* h; ///< between the products, by place in the order of experts, if they stay f32
    std::int64_t h_stride;
    std::uint8_t* h_ordered; ///< if they are quantised: each expert's in the order of its product

    ExpertOrder& order;
    ExpertTask* tasks;
    std::int32_t* ids;
    float* weights;
    float* factors; ///< a pair's weight, by place in the order of experts
    std::uint8_t* ordered;
    float* gather;
    float* block;

    const QuantisedActivations& inputs_for(const Weight& w) const noexcept {
        return kernels::group_size(w.matrix.format) == 32 ? x32 : x64;
    }
};

CpuBackend::MoeStep CpuBackend::moe_step(const MoeRegion& region, int worker) {
    const MoeOp& op = region.op;
    const Buffer& in = buffer(op.in);
    const std::int64_t n = count(in.rows);
    WorkerScratch& own = workers_[static_cast<std::size_t>(worker)];
    MoeStep s{.gate = weight(op.gate),
              .up = weight(op.up),
              .down = weight(op.down),
              .activation = op.activation,
              .n = n,
              .n_pairs = n * op.top_k,
              .in_cols = in.cols,
              .ffn = weight(op.gate).matrix.rows,
              .top_k = op.top_k,
              .redundant = n <= kRedundantRows,
              .x = row(op.in, 0),
              .x_stride = in.stride,
              .x32 = {},
              .x64 = {},
              .h = nullptr,
              .h_stride = 0,
              .h_ordered = nullptr,
              .order = own.order,
              .tasks = nullptr,
              .ids = nullptr,
              .weights = nullptr,
              .factors = nullptr,
              .ordered = nullptr,
              .gather = nullptr,
              .block = nullptr};
    const ActivationLayout xl = activation_layout(s.in_cols, n);
    std::uint8_t* const x_at = s.redundant ? own.memory.data() : prepared_.data();
    for (const Weight* w : {&s.gate, &s.up}) {
        if (!quantised(*w)) continue;
        const int group = kernels::group_size(w->matrix.format);
        (group == 32 ? s.x32 : s.x64) = quantised_at(x_at, xl, group);
    }
    const ActivationLayout hl = activation_layout(s.ffn, s.n_pairs);
    s.h = reinterpret_cast<float*>(hidden_.data() + hl.x);
    s.h_stride = hl.x_stride;
    s.h_ordered = hidden_.data();
    const MoeLayout l = moe_layout({s.in_cols, s.down.matrix.rows, s.gate.n_experts,
                                    rows_max(plan_->key), op.top_k, team_.size()});
    std::uint8_t* const at = own.experts.data();
    s.order.begin = reinterpret_cast<std::int32_t*>(at + l.begin);
    s.order.active = reinterpret_cast<std::int32_t*>(at + l.active);
    s.order.token = reinterpret_cast<std::int32_t*>(at + l.token);
    s.order.place = reinterpret_cast<std::int32_t*>(at + l.place);
    s.tasks = reinterpret_cast<ExpertTask*>(at + l.tasks);
    s.ids = reinterpret_cast<std::int32_t*>(at + l.ids);
    s.weights = reinterpret_cast<float*>(at + l.weights);
    s.factors = reinterpret_cast<float*>(at + l.factors);
    s.ordered = at + l.ordered;
    s.gather = reinterpret_cast<float*>(at + l.gather);
    s.block = reinterpret_cast<float*>(at + l.block);
    return s;
}

Result<> CpuBackend::reserve_expert_scratch(const Plan& plan) {
    for (const Op& op : plan.ops()) {
        if (const auto* route = std::get_if<RouteOp>(&op.body)) {
            const std::int64_t n = plan.desc(route->logits).cols;
            BLOOM_CHECK(route->top_k >= 1 && route->top_k <= n);
            BLOOM_CHECK(plan.desc(route->ids).dtype == DType::i32);
            BLOOM_CHECK(plan.desc(route->ids).cols >= route->top_k);
            BLOOM_CHECK(plan.desc(route->weights).cols >= route->top_k);
            if (n > kernels::kRouteExpertsMax) {
                return Error{Code::unsupported, fmt::format("{} experts in a layer, at most {}", n,
                                                            kernels::kRouteExpertsMax)};
            }
        } else if (const auto* moe = std::get_if<MoeOp>(&op.body)) {
            BLOOM_OK(reserve_expert_scratch(plan, *moe));
        }
    }
    return {};
}

Result<> CpuBackend::reserve_expert_scratch(const Plan& plan, const MoeOp& op) {
    const Weight& gate = weight(op.gate);
    const Weight& up = weight(op.up);
    const Weight& down = weight(op.down);
    const std::int64_t rows = rows_max(plan.key());
    BLOOM_CHECK(gate.n_experts == up.n_experts);
    BLOOM_CHECK(gate.n_experts == down.n_experts);
    BLOOM_CHECK(op.top_k >= 1 && op.top_k <= gate.n_experts);
    BLOOM_CHECK(gate.matrix.rows == up.matrix.rows);
    BLOOM_CHECK(gate.matrix.rows == down.matrix.k);
    BLOOM_CHECK(gate.matrix.k == plan.desc(op.in).cols);
    BLOOM_CHECK(up.matrix.k == plan.desc(op.in).cols);
    BLOOM_CHECK(down.matrix.rows == plan.desc(op.out).cols);
    BLOOM_CHECK(plan.desc(op.ids).dtype == DType::i32);
    const std::size_t hidden =
        quantised(down) ? table_.ordered_bytes(down.matrix.format, rows * op.top_k, down.matrix.k)
                        : activation_bytes(gate.matrix.rows, rows * op.top_k);
    BLOOM_OK(grow(hidden_, hidden));
    const std::size_t own =
        moe_layout({gate.matrix.k, down.matrix.rows, gate.n_experts, rows, op.top_k, team_.size()})
            .end;
    if (own <= expert_bytes_) return {};
    BLOOM_OK(grow_each(&WorkerScratch::experts, own, own));
    expert_bytes_ = own;
    return {};
}

void CpuBackend::add_moe_phases(const Region& any) {
    const auto& region = std::get<MoeRegion>(any);
    const std::int64_t n = count(buffer(region.op.in).rows);
    if (n == 0) return;
    if (n > kRedundantRows) phases_.push_back({StepPhase::Kind::moe_prepare, &any});
    phases_.push_back({StepPhase::Kind::moe_gate_up, &any});
    phases_.push_back({StepPhase::Kind::moe_down, &any});
}

void CpuBackend::route_row(const RouteOp& op, std::int64_t r, std::int32_t* ids,
                           float* weights) const {
    const float* const bias =
        op.selection_bias == WeightId::none ? nullptr : weight(op.selection_bias).vector();
    const kernels::RouteRule rule{op.score == RouteScore::sigmoid, op.normalise, op.scale,
                                  op.top_k};
    table_.route(row(op.logits, r), bias, buffer(op.logits).cols, rule, ids, weights);
    if (op.expert_scale == WeightId::none) return;
    const float* const scales = weight(op.expert_scale).vector();
    for (std::int32_t j = 0; j < op.top_k; ++j)
        weights[j] *= scales[ids[j]];
}

void CpuBackend::quantise_inputs(const MoeStep& s, std::int64_t begin, std::int64_t end) const {
    if (begin >= end) return;
    const float* const x = s.x + begin * s.x_stride;
    for (const Weight* w : {&s.gate, &s.up}) {
        if (!quantised(*w)) continue;
        const int group = kernels::group_size(w->matrix.format);
        table_.quantise(w->matrix.format, x, s.x_stride, end - begin, s.in_cols,
                        part_of(s.inputs_for(*w), begin, 0, group));
        // Once for both where they want the same.
        if (!quantised(s.up) || kernels::group_size(s.up.matrix.format) == group) return;
    }
}

void CpuBackend::run_moe_prepare(const MoeRegion& region, int worker) {
    const MoeStep s = moe_step(region, worker);
    const Range mine = split_range(s.n, 1, worker, team_.size());
    for (std::int64_t r = mine.begin; region.route && r < mine.end; ++r)
        route_row(*region.route, r, i32_row(region.op.ids, r), row(region.op.weights, r));
    quantise_inputs(s, mine.begin, mine.end);
}

void CpuBackend::order_pairs(const MoeRegion& region, const MoeStep& s, int worker) const {
    const std::int32_t* ids = i32_row(region.op.ids, 0);
    std::int64_t stride = buffer(region.op.ids).stride;
    if (s.redundant) quantise_inputs(s, 0, s.n);
    if (s.redundant && region.route) {
        for (std::int64_t r = 0; r < s.n; ++r) {
            std::int32_t* const chosen = s.ids + r * s.top_k;
            float* const weights = s.weights + r * s.top_k;
            route_row(*region.route, r, chosen, weights);
            if (worker != 0) continue;
            std::copy_n(chosen, s.top_k, i32_row(region.op.ids, r));
            std::copy_n(weights, s.top_k, row(region.op.weights, r));
        }
        ids = s.ids;
        stride = s.top_k;
    }
    sort_by_expert(ids, stride, s.n, s.top_k, s.gate.n_experts, s.order);
}

namespace {

/// One expert's product of rows [begin, end) for `n` tokens; `next` is what this worker reads next.
struct Product {
    const kernels::KernelTable& table;
    const Weight& w;
    std::int32_t expert;
    std::int64_t begin;
    std::int64_t end;
    std::int64_t n;
    float* y;
    std::int64_t y_stride;
    const std::uint8_t* next;
};

void multiply_quantised(const Product& p, const QuantisedActivations& x) {
    PackedMatrix w = slice(p.table, p.w.expert(p.expert), p.begin, p.end);
    w.next = p.next;
    p.table.matmul_q8(w, x, p.n, 0, w.rows, p.y, p.y_stride);
}

/// f32 inputs: token i is row rows[i] of x, or row i.
void multiply_f32(const Product& p, const float* x, std::int64_t x_stride, const std::int32_t* rows,
                  float* gather) {
    const PackedMatrix w = slice(p.table, p.w.expert(p.expert), p.begin, p.end);
    if (rows == nullptr) {
        p.table.matmul_f32(w, x, x_stride, p.n, 0, w.rows, p.y, p.y_stride);
        return;
    }
    const std::int64_t stride = block_stride(w.k);
    for (std::int64_t t = 0; t < p.n; t += kGatherRows) {
        const std::int64_t some = std::min(p.n - t, kGatherRows);
        for (std::int64_t i = 0; i < some; ++i) {
            std::memcpy(gather + i * stride, x + rows[t + i] * x_stride,
                        static_cast<std::size_t>(w.k) * sizeof(float));
        }
        p.table.matmul_f32(w, gather, stride, some, 0, w.rows, p.y + t * p.y_stride, p.y_stride);
    }
}

/// Where a packed expert's row `row` (a multiple of the unit) starts.
const std::uint8_t* row_address(const kernels::KernelTable& table, const Weight& w,
                                std::int32_t expert, std::int64_t row) {
    return slice(table, w.expert(expert), row, row).data;
}

} // namespace

/// An expert's inputs for gate and up, brought into the order of their products once for both and
/// for all blocks of rows.
void CpuBackend::take_inputs(const MoeStep& s, std::int32_t expert,
                             QuantisedActivations (&inputs)[2]) const {
    const std::int64_t n = s.order.count(expert);
    const auto order = [&](const Weight& w, QuantisedActivations& x) {
        if (!quantised(w)) return;
        x = s.inputs_for(w);
        x.rows = s.order.token + s.order.begin[expert];
    };
    order(s.gate, inputs[0]);
    order(s.up, inputs[1]);
    const kernels::WeightFormat format = s.gate.matrix.format;
    if (inputs[0].q == nullptr || inputs[0].q != inputs[1].q) return; // of different kinds
    if (table_.ordered_bytes(format, n, s.in_cols) > kOrderedBytes) return;
    table_.order_activations(format, inputs[0], n, s.in_cols, 0, n, 0, s.in_cols, s.ordered);
    for (QuantisedActivations& x : inputs)
        x.in_order = s.ordered;
}

/// Columns [begin, end) of an expert's inputs to the last product, n tokens `stride` apart, into
/// the order of that product; `room` is as large as they are.
void CpuBackend::order_hidden(const MoeStep& s, std::int32_t expert, const float* h,
                              std::int64_t stride, Range columns, float* room) const {
    const kernels::WeightFormat format = s.down.matrix.format;
    const std::int64_t n = s.order.count(expert);
    const std::int64_t groups = stride / kernels::group_size(format);
    const std::int64_t all = n * groups;
    auto* const scale = room;
    auto* const init = reinterpret_cast<std::int32_t*>(scale + all);
    auto* const sum = reinterpret_cast<float*>(init + all);
    const QuantisedActivations q{
        reinterpret_cast<std::int8_t*>(sum + all), scale, init, sum, stride, groups};
    table_.quantise(format, h, stride, n, columns.end - columns.begin, q);
    const auto before = static_cast<std::int64_t>(s.order.begin[expert]);
    table_.order_activations(format, q, n, s.ffn, 0, n, columns.begin, columns.end,
                             s.h_ordered + table_.ordered_bytes(format, before, s.ffn));
}

void CpuBackend::gate_up_block(const MoeStep& s, std::int32_t expert, std::int64_t begin,
                               std::int64_t end, const std::uint8_t* next,
                               const QuantisedActivations (&inputs)[2]) const {
    const std::int64_t n = s.order.count(expert);
    const std::int32_t first = s.order.begin[expert];
    const std::int64_t stride = block_stride(end - begin);
    float* const gate = s.block;
    float* const up = s.block + n * stride;
    const std::uint8_t* const up_at = row_address(table_, s.up, expert, begin);
    for (const bool is_up : {false, true}) {
        const Weight& w = is_up ? s.up : s.gate;
        const Product p{
            table_, w, expert, begin, end, n, is_up ? up : gate, stride, is_up ? next : up_at};
        if (quantised(w)) {
            multiply_quantised(p, inputs[is_up ? 1 : 0]);
        } else {
            multiply_f32(p, s.x, s.x_stride, s.order.token + first, s.gather);
        }
    }
    const GateKernel act = gate_kernel(s.activation);
    const bool keeps_f32 = !quantised(s.down);
    for (std::int64_t t = 0; t < n; ++t) {
        float* const out = keeps_f32 ? s.h + (first + t) * s.h_stride + begin : gate + t * stride;
        act(gate + t * stride, up + t * stride, end - begin, out);
    }
    if (!keeps_f32) order_hidden(s, expert, gate, stride, {begin, end}, up);
}

void CpuBackend::run_moe_gate_up(const MoeRegion& region, int worker) {
    if (worker == 0) down_next_.store(0, std::memory_order_relaxed);
    const MoeStep s = moe_step(region, worker);
    order_pairs(region, s, worker);
    const auto row_bytes = static_cast<std::int64_t>(
        (table_.packed_bytes(s.gate.matrix.format, kExpertRowUnit, s.in_cols) +
         table_.packed_bytes(s.up.matrix.format, kExpertRowUnit, s.in_cols)) /
        kExpertRowUnit);
    const std::int32_t n_tasks = cut_tasks(s.order, s.ffn, row_bytes, team_.size(), s.tasks);
    std::int32_t i = gate_next_.fetch_add(1, std::memory_order_relaxed);
    while (i < n_tasks) {
        const ExpertTask task = s.tasks[i];
        const std::int64_t rows = gate_block_rows(s.order.count(task.expert));
        QuantisedActivations inputs[2] = {}; // none where it is not quantised
        take_inputs(s, task.expert, inputs);
        for (std::int64_t at = task.begin; at < task.end; at += rows) {
            const std::int64_t end = std::min<std::int64_t>(at + rows, task.end);
            const std::uint8_t* next = nullptr;
            if (end < task.end) {
                next = row_address(table_, s.gate, task.expert, end);
            } else {
                // Taken before the last block, so that its end can fetch where it goes on.
                i = gate_next_.fetch_add(1, std::memory_order_relaxed);
                if (i < n_tasks) {
                    next = row_address(table_, s.gate, s.tasks[i].expert, s.tasks[i].begin);
                }
            }
            gate_up_block(s, task.expert, at, end, next, inputs);
        }
    }
}

void CpuBackend::down_block(const MoeRegion& region, const MoeStep& s, std::int64_t begin,
                            std::int64_t end, std::int64_t next_block) const {
    const std::int64_t stride = block_stride(end - begin);
    for (std::int64_t t = 0; t < s.n; ++t)
        std::fill_n(row(region.op.out, t) + begin, end - begin, 0.0F);
    for (std::int32_t i = 0; i < s.order.n_active; ++i) {
        const std::int32_t e = s.order.active[i];
        const std::int32_t first = s.order.begin[e];
        const std::int32_t n = s.order.count(e);
        const std::uint8_t* next = nullptr;
        if (i + 1 < s.order.n_active) {
            next = row_address(table_, s.down, s.order.active[i + 1], begin);
        } else if (next_block >= 0) {
            next = row_address(table_, s.down, s.order.active[0], next_block);
        }
        const Product p{table_, s.down, e, begin, end, n, s.block, stride, next};
        if (quantised(s.down)) {
            QuantisedActivations x{};
            x.in_order = s.h_ordered + table_.ordered_bytes(s.down.matrix.format, first, s.ffn);
            multiply_quantised(p, x);
        } else {
            multiply_f32(p, s.h + first * s.h_stride, s.h_stride, nullptr, nullptr);
        }
        for (std::int32_t j = 0; j < n; ++j) {
            table_.add_scaled(row(region.op.out, s.order.token[first + j]) + begin,
                              s.block + j * stride, s.factors[first + j], end - begin);
        }
    }
    if (region.add_into == TensorId::none) return;
    for (std::int64_t t = 0; t < s.n; ++t)
        table_.add(row(region.add_into, t) + begin, row(region.op.out, t) + begin, end - begin);
}

void CpuBackend::run_moe_down(const MoeRegion& region, int worker) {
    if (worker == 0) gate_next_.store(0, std::memory_order_relaxed);
    const MoeStep s = moe_step(region, worker);
    const std::int64_t rows = s.down.matrix.rows;
    for (std::int64_t t = 0; t < s.n; ++t) {
        const float* const weights = row(region.op.weights, t);
        for (std::int32_t j = 0; j < s.top_k; ++j)
            s.factors[s.order.place[t * s.top_k + j]] = weights[j];
    }
    const std::int64_t n_blocks = down_blocks(rows, s.n, team_.size());
    const auto block = [&](std::int64_t b) {
        return split_range(rows, kExpertRowUnit, static_cast<int>(b), static_cast<int>(n_blocks));
    };
    std::int32_t i = down_next_.fetch_add(1, std::memory_order_relaxed);
    while (i < n_blocks) {
        const Range r = block(i);
        i = down_next_.fetch_add(1, std::memory_order_relaxed);
        down_block(region, s, r.begin, r.end, i < n_blocks ? block(i).begin : -1);
    }
}

} // namespace bloom::compute::cpu
