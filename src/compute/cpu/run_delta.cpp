#include <algorithm>
#include <cmath>
#include <cstring>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"

/// Layers of linear attention: convolution and gates by head, then the delta rule by head or panel.
namespace bloom::compute::cpu {
namespace {

constexpr float kL2Eps = 1e-6F;
/// What fetching panels and putting them back costs, in rows: about 16 KiB each way at 20 GB/s
/// against 130 ns a row.
constexpr std::int64_t kPanelCost = 8;

} // namespace

// --- compile

Result<> CpuBackend::prepare_delta(const Plan& plan) {
    bool any = false;
    for (const Op& op : plan.ops()) {
        const auto* delta = std::get_if<DeltaRuleOp>(&op.body);
        if (delta == nullptr) continue;
        any = true;
        BLOOM_CHECK(states_.n_slots > 0);
        BLOOM_CHECK(delta->layer >= 0 && delta->layer < states_.spec.n_layers);
        BLOOM_CHECK(plan.desc(delta->qkv).cols == states_.channels());
        BLOOM_CHECK(plan.desc(delta->out).cols == states_.v_width());
        BLOOM_CHECK(plan.desc(delta->alpha).cols == states_.spec.n_v_heads);
        BLOOM_CHECK(plan.desc(delta->beta).cols == states_.spec.n_v_heads);
        BLOOM_CHECK(!states_.tiled_known || states_.tiled == delta->tiled);
        states_.tiled = delta->tiled;
        states_.tiled_known = true;
        BLOOM_OK(lay_out_taps(delta->conv));
    }
    if (!any) return {};
    const std::int64_t rows = plan.key().max_rows;
    recurrent_.reserve(static_cast<std::size_t>(rows));
    return grow(delta_, static_cast<std::size_t>(delta_layout(states_, rows).end) * sizeof(float));
}

/// The convolution's weights tap by tap, as vectors of channels want them.
Result<> CpuBackend::lay_out_taps(WeightId id) {
    Weight& w = weights_[index_of(id)];
    if (w.by_tap != nullptr) return {};
    const std::int64_t channels = states_.channels();
    const std::int64_t taps = states_.spec.conv_taps;
    BLOOM_CHECK(w.is_vector);
    BLOOM_CHECK(w.matrix.k == channels * taps);
    BLOOM_TRY(std::uint8_t* const data,
              arena_.take(static_cast<std::size_t>(channels * taps) * sizeof(float)));
    auto* const out = reinterpret_cast<float*>(data);
    for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t j = 0; j < taps; ++j)
            out[j * channels + c] = w.vector()[c * taps + j];
    }
    w.by_tap = out;
    return {};
}

// --- step

/// Rows and slots of the step's sequences.
void CpuBackend::begin_recurrent(const StepInputs& in) {
    recurrent_.clear();
    BLOOM_CHECK(in.recurrent.size() == static_cast<std::size_t>(in.n_seqs));
    std::int64_t confirmed = 0;
    for (std::size_t r = 0; r < in.row_seq.size();) {
        RecurrentStep step;
        step.in = in.recurrent[static_cast<std::size_t>(in.row_seq[r])];
        step.row = static_cast<std::int64_t>(r);
        while (r < in.row_seq.size() &&
               in.row_seq[r] == in.row_seq[static_cast<std::size_t>(step.row)])
            ++r;
        step.n_rows = static_cast<std::int64_t>(r) - step.row;
        step.confirmed = confirmed;
        check_recurrent(step);
        confirmed += step.in.n_confirmed;
        recurrent_.push_back(step);
    }
}

void CpuBackend::check_recurrent(const RecurrentStep& step) const {
    const RecurrentInput& in = step.in;
    check_slot(in.slot);
    BLOOM_CHECK(in.n_confirmed >= 0);
    BLOOM_CHECK(in.n_confirmed <=
                (in.fresh ? 0 : states_.n_pending[static_cast<std::size_t>(in.slot)]));
    BLOOM_CHECK(in.n_certain >= 0);
    BLOOM_CHECK(in.n_certain <= step.n_rows);
    BLOOM_CHECK(step.n_rows - in.n_certain <= kMaxPendingRows);
    for (const RecurrentStep& other : recurrent_) {
        BLOOM_CHECK(other.in.slot != in.slot);
        BLOOM_CHECK(other.in.slot != in.snapshot_slot);
        BLOOM_CHECK(other.in.snapshot_slot != in.slot);
        BLOOM_CHECK(in.snapshot_slot < 0 || other.in.snapshot_slot != in.snapshot_slot);
    }
    if (in.snapshot_slot < 0) return;
    check_slot(in.snapshot_slot);
    BLOOM_CHECK(in.snapshot_slot != in.slot);
    BLOOM_CHECK(in.snapshot_rows >= 1);
    BLOOM_CHECK(in.snapshot_rows <= in.n_certain);
}

void CpuBackend::end_recurrent() {
    for (const RecurrentStep& step : recurrent_) {
        states_.n_pending[static_cast<std::size_t>(step.in.slot)] =
            static_cast<std::int32_t>(step.n_rows - step.in.n_certain);
        if (step.in.snapshot_slot >= 0)
            states_.n_pending[static_cast<std::size_t>(step.in.snapshot_slot)] = 0;
    }
}

/// What one head of the state costs in a step, in rows of kDeltaPanels panels.
std::int64_t CpuBackend::delta_cost(const RecurrentStep& step) const noexcept {
    return step.n_rows + (step.in.n_confirmed + 1) / 2 + kPanelCost;
}

void CpuBackend::add_delta_phases(const Region& any) {
    const auto& region = std::get<DeltaRegion>(any);
    phases_.push_back({StepPhase::Kind::delta_mix, &any});
    // Whole heads where that is a fair cut: then who has a head norms it as well.
    std::int64_t total = 0;
    std::int64_t largest = 0;
    for (const RecurrentStep& step : recurrent_) {
        total += states_.spec.n_v_heads * delta_cost(step);
        largest = std::max(largest, delta_cost(step));
    }
    const int n = team_.size();
    const bool even = recurrent_.size() == 1 && states_.spec.n_v_heads % n == 0;
    if (n == 1 || even || 16 * largest * n <= total) {
        phases_.push_back({StepPhase::Kind::delta_heads, &any});
        if (!region.norm || norms_by_head(region)) return;
    } else {
        phases_.push_back({StepPhase::Kind::delta_panels, &any});
        if (!region.norm) return;
    }
    phases_.push_back({StepPhase::Kind::delta_norm, &any});
}

bool CpuBackend::norms_by_head(const DeltaRegion& region) const noexcept {
    return region.norm && region.norm->width == states_.spec.v_dim;
}

float* CpuBackend::delta_at(std::int64_t offset) const noexcept {
    return reinterpret_cast<float*>(delta_.data()) + offset;
}

// --- convolution, norms and gates

/// Row `at` of the sequence's qkv, counted from the first confirmed one; negative ones are history.
const float* CpuBackend::qkv_row(const DeltaRuleOp& op, const RecurrentStep& step,
                                 std::int64_t at) const noexcept {
    if (at >= step.in.n_confirmed) return row(op.qkv, step.row + at - step.in.n_confirmed);
    if (at >= 0) return states_.pending_x(step.in.slot, op.layer) + at * states_.channels();
    if (step.in.fresh) return delta_at(delta_layout(states_, plan_->key.max_rows).zeros);
    return states_.history(step.in.slot, op.layer) +
           (states_.spec.conv_taps - 1 + at) * states_.channels();
}

/// The channels of the history that a state has after `n_rows` of this step.
void CpuBackend::keep_history(const DeltaRuleOp& op, const RecurrentStep& step, std::int64_t n_rows,
                              const Range& channels, std::int32_t slot) const {
    const std::int64_t n = states_.spec.conv_taps - 1;
    for (std::int64_t i = 0; i < n; ++i) { // ascending: what is still to be read lies above
        const float* const from = qkv_row(op, step, step.in.n_confirmed + n_rows - n + i);
        float* const to = states_.history(slot, op.layer) + i * states_.channels();
        if (from != to) std::copy(from + channels.begin, from + channels.end, to + channels.begin);
    }
}

/// Head `unit` of q, k or v, in the order of their channels.
CpuBackend::MixedHead CpuBackend::mixed_head(const DeltaLayout& l,
                                             std::int64_t unit) const noexcept {
    const RecurrentSpec& s = states_.spec;
    const std::int64_t h = unit % s.n_k_heads;
    const std::int64_t size = l.rows * s.k_dim;
    if (unit < s.n_k_heads) {
        return {unit * s.k_dim, s.k_dim, 1.0F / std::sqrt(static_cast<float>(s.k_dim)),
                delta_at(l.q + h * size)};
    }
    if (unit < 2 * s.n_k_heads) return {unit * s.k_dim, s.k_dim, 1.0F, delta_at(l.k + h * size)};
    const std::int64_t v = unit - 2 * s.n_k_heads;
    return {2 * states_.k_width() + v * s.v_dim, s.v_dim, 0.0F,
            delta_at(l.v + v * l.rows * s.v_dim)};
}

void CpuBackend::run_delta_mix(const DeltaRuleOp& op, int worker) {
    const DeltaLayout l = delta_layout(states_, plan_->key.max_rows);
    const Range units =
        split_range(2 * states_.spec.n_k_heads + states_.spec.n_v_heads, 1, worker, team_.size());
    const Range heads = split_range(states_.spec.n_v_heads, 16, worker, team_.size());
    for (const RecurrentStep& step : recurrent_) {
        if (heads.begin < heads.end) make_gates(op, step, l, heads);
        if (units.begin < units.end) mix_heads(op, step, l, units);
    }
}

void CpuBackend::make_gates(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& l,
                            const Range& heads) const {
    const std::int64_t stride = states_.gate_stride();
    const std::int64_t n = heads.end - heads.begin;
    const auto bytes = static_cast<std::size_t>(n) * sizeof(float);
    float* const kept = states_.pending_decay(step.in.slot, op.layer) + heads.begin;
    float* const confirmed = delta_at(l.confirmed_decay + step.confirmed * stride) + heads.begin;
    for (std::int64_t i = 0; i < step.in.n_confirmed; ++i)
        std::memcpy(confirmed + i * stride, kept + i * stride, bytes);
    for (std::int64_t t = 0; t < step.n_rows; ++t) {
        const std::int64_t r = step.row + t;
        float* const decay = delta_at(l.decay + r * stride) + heads.begin;
        table_.delta_gates(row(op.alpha, r) + heads.begin, row(op.beta, r) + heads.begin,
                           weight(op.decay).vector() + heads.begin,
                           weight(op.dt_bias).vector() + heads.begin, n, decay,
                           delta_at(l.beta + r * stride) + heads.begin);
        if (t >= step.in.n_certain)
            std::memcpy(kept + (t - step.in.n_certain) * stride, decay, bytes);
    }
}

void CpuBackend::mix_heads(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& l,
                           const Range& units) const {
    const RecurrentSpec& s = states_.spec;
    const float* const taps = weight(op.conv).by_tap;
    const std::int64_t channels = states_.channels();
    const float* x[kConvTapsMax];
    for (std::int64_t t = 0; t < step.n_rows; ++t) {
        for (std::int32_t j = 0; j < s.conv_taps; ++j)
            x[j] = qkv_row(op, step, step.in.n_confirmed + t - s.conv_taps + 1 + j);
        for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
            const MixedHead head = mixed_head(l, unit);
            float* const out = head.rows + (step.row + t) * head.dim;
            table_.conv_silu(x, head.channel, taps + head.channel, channels, s.conv_taps, head.dim,
                             out);
            if (head.scale != 0.0F) table_.l2_norm(out, head.scale, kL2Eps, head.dim, out);
        }
    }
    for (std::int64_t unit = std::max<std::int64_t>(units.begin, s.n_k_heads);
         unit < std::min<std::int64_t>(units.end, 2 * s.n_k_heads); ++unit) {
        exchange_keys(op, step, l, unit - s.n_k_heads);
    }
    const auto begin_of = [&](std::int64_t unit) {
        return unit < 2 * s.n_k_heads + s.n_v_heads ? mixed_head(l, unit).channel : channels;
    };
    const Range mine{begin_of(units.begin), begin_of(units.end)};
    if (step.in.snapshot_slot >= 0)
        keep_history(op, step, step.in.snapshot_rows, mine, step.in.snapshot_slot);
    keep_history(op, step, step.in.n_certain, mine, step.in.slot);
    for (std::int64_t t = step.in.n_certain; t < step.n_rows; ++t) {
        const float* const from = row(op.qkv, step.row + t);
        std::copy(from + mine.begin, from + mine.end,
                  states_.pending_x(step.in.slot, op.layer) + (t - step.in.n_certain) * channels +
                      mine.begin);
    }
}

/// A key head's confirmed rows go to where the delta rule finds them, its new pending ones into
/// their place.
void CpuBackend::exchange_keys(const DeltaRuleOp& op, const RecurrentStep& step,
                               const DeltaLayout& l, std::int64_t head) const {
    const std::int64_t dim = states_.spec.k_dim;
    const auto bytes = static_cast<std::size_t>(dim) * sizeof(float);
    float* const kept = states_.pending_k(step.in.slot, op.layer) + head * dim;
    float* const confirmed = delta_at(l.confirmed_k + (head * l.confirmed + step.confirmed) * dim);
    for (std::int64_t i = 0; i < step.in.n_confirmed; ++i)
        std::memcpy(confirmed + i * dim, kept + i * states_.k_width(), bytes);
    const float* const rows = delta_at(l.k + (head * l.rows + step.row) * dim);
    for (std::int64_t t = step.in.n_certain; t < step.n_rows; ++t) {
        std::memcpy(kept + (t - step.in.n_certain) * states_.k_width(), rows + t * dim, bytes);
    }
}

// --- delta rule

/// Panels [panel, panel + n_panels) of a head through all rows of a sequence.
void CpuBackend::run_panels(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& l,
                            std::int64_t head, std::int64_t panel, int n_panels) const {
    const RecurrentSpec& s = states_.spec;
    const RecurrentInput& in = step.in;
    const std::int64_t column = head * s.v_dim + panel * kernels::kDeltaPanel;
    const std::int64_t key = states_.key_head(head);
    float* const state = states_.panel(in.slot, op.layer, head, panel);
    const auto bytes = static_cast<std::size_t>(n_panels * states_.panel_floats()) * sizeof(float);
    kernels::DeltaRows rows{};
    rows.k_dim = s.k_dim;
    rows.qk_stride = s.k_dim;
    rows.v_stride = s.v_dim;
    rows.gate_stride = states_.gate_stride();
    rows.delta_stride = states_.v_width();
    rows.out_stride = buffer(op.out).stride;
    float* const kept = states_.pending_delta(in.slot, op.layer) + column;
    if (in.fresh) std::memset(state, 0, bytes);
    if (in.n_confirmed > 0) {
        rows.n = in.n_confirmed;
        rows.k = delta_at(l.confirmed_k + (key * l.confirmed + step.confirmed) * s.k_dim);
        rows.decay = delta_at(l.confirmed_decay + step.confirmed * rows.gate_stride + head);
        rows.delta = kept;
        table_.delta_replay(rows, n_panels, state);
    }
    const auto take = [&](std::int64_t first, std::int64_t last, float* delta, float* into) {
        const std::int64_t r = step.row + first;
        rows.n = last - first;
        rows.q = delta_at(l.q + (key * l.rows + r) * s.k_dim);
        rows.k = delta_at(l.k + (key * l.rows + r) * s.k_dim);
        rows.v = delta_at(l.v + (head * l.rows + r) * s.v_dim + panel * kernels::kDeltaPanel);
        rows.decay = delta_at(l.decay + r * rows.gate_stride + head);
        rows.beta = delta_at(l.beta + r * rows.gate_stride + head);
        rows.delta = delta;
        rows.out = row(op.out, r) + column;
        table_.delta_rule(rows, n_panels, into);
    };
    std::int64_t done = 0;
    if (in.snapshot_slot >= 0) {
        take(0, in.snapshot_rows, nullptr, state);
        std::memcpy(states_.panel(in.snapshot_slot, op.layer, head, panel), state, bytes);
        done = in.snapshot_rows;
    }
    if (done < in.n_certain) take(done, in.n_certain, nullptr, state);
    if (in.n_certain < step.n_rows) {
        alignas(64) float trial[kernels::kDeltaPanels * kDeltaDimMax * kernels::kDeltaPanel];
        std::memcpy(trial, state, bytes);
        take(in.n_certain, step.n_rows, kept, trial);
    }
}

/// All units (heads, or kDeltaPanels panels of them) of all sequences in one line by cost; a worker
/// has those that begin in its part.
template <class Work>
void CpuBackend::for_my_units(std::int64_t n_units, int worker, const Work& work) const {
    std::int64_t total = 0;
    for (const RecurrentStep& step : recurrent_)
        total += n_units * delta_cost(step);
    const Range mine = split_range(total, 1, worker, team_.size());
    std::int64_t at = 0;
    for (const RecurrentStep& step : recurrent_) {
        const std::int64_t cost = delta_cost(step);
        const auto from = [&](std::int64_t cut) {
            return std::clamp<std::int64_t>((cut - at + cost - 1) / cost, 0, n_units);
        };
        const std::int64_t last = from(std::max(mine.end, at));
        for (std::int64_t u = from(std::max(mine.begin, at)); u < last; ++u)
            work(step, u);
        at += n_units * cost;
    }
}

void CpuBackend::run_delta_panels(const DeltaRuleOp& op, int worker) {
    const DeltaLayout l = delta_layout(states_, plan_->key.max_rows);
    const std::int64_t groups =
        (states_.panels() + kernels::kDeltaPanels - 1) / kernels::kDeltaPanels;
    for_my_units(states_.spec.n_v_heads * groups, worker,
                 [&](const RecurrentStep& step, std::int64_t unit) {
                     const std::int64_t first = unit % groups * kernels::kDeltaPanels;
                     const auto n = static_cast<int>(
                         std::min<std::int64_t>(kernels::kDeltaPanels, states_.panels() - first));
                     run_panels(op, step, l, unit / groups, first, n);
                 });
}

void CpuBackend::run_delta_heads(const DeltaRegion& region, int worker) {
    const DeltaLayout l = delta_layout(states_, plan_->key.max_rows);
    const std::int64_t dim = states_.spec.v_dim;
    const bool norms = norms_by_head(region);
    for_my_units(states_.spec.n_v_heads, worker, [&](const RecurrentStep& step, std::int64_t head) {
        for (std::int32_t p = 0; p < states_.panels(); p += kernels::kDeltaPanels) {
            run_panels(region.op, step, l, head, p,
                       std::min(kernels::kDeltaPanels, states_.panels() - p));
        }
        if (!norms) return;
        const GatedNormOp& norm = *region.norm;
        for (std::int64_t r = step.row; r < step.row + step.n_rows; ++r) {
            table_.gated_norm(row(norm.in, r) + head * dim, weight(norm.weight).vector(),
                              row(norm.gate, r) + head * dim, norm.eps, dim,
                              row(norm.out, r) + head * dim);
        }
    });
}

void CpuBackend::run_delta_norm(const DeltaRegion& region, int worker) {
    const Range mine = split_range(count(RowKind::tokens), 1, worker, team_.size());
    for (std::int64_t r = mine.begin; r < mine.end; ++r)
        gated_norm_row(*region.norm, r);
}

void CpuBackend::gated_norm_row(const GatedNormOp& op, std::int64_t r) const {
    const float* const w = weight(op.weight).vector();
    for (std::int64_t at = 0; at < buffer(op.in).cols; at += op.width) {
        table_.gated_norm(row(op.in, r) + at, w, row(op.gate, r) + at, op.eps, op.width,
                          row(op.out, r) + at);
    }
}

// --- rows carried from plan to plan

/// Makes room for what the plan keeps; rows carried so far stay.
Result<> CpuBackend::reserve_carried(const Plan& plan) {
    for (const Op& op : plan.ops()) {
        const auto* keep = std::get_if<KeepRowsOp>(&op.body);
        if (keep == nullptr) continue;
        const TensorDesc& d = plan.desc(keep->in);
        BLOOM_CHECK(d.rows == RowKind::tokens);
        BLOOM_CHECK(carried_cols_ == 0 || carried_cols_ == d.cols);
        carried_cols_ = d.cols;
        const auto bytes =
            static_cast<std::size_t>(plan.key().max_rows * carried_cols_) * sizeof(float);
        if (bytes <= carried_.size()) continue;
        BLOOM_TRY(Mapping larger, Mapping::make(bytes));
        BLOOM_OK(larger.populate());
        if (carried_.size() > 0) std::memcpy(larger.data(), carried_.data(), carried_.size());
        carried_ = std::move(larger);
    }
    return {};
}

float* CpuBackend::carried_row(std::int64_t r) const {
    const auto at = static_cast<std::size_t>(r * carried_cols_) * sizeof(float);
    BLOOM_CHECK(at + static_cast<std::size_t>(carried_cols_) * sizeof(float) <= carried_.size());
    return reinterpret_cast<float*>(carried_.data() + at);
}

void CpuBackend::keep_row(const KeepRowsOp& op, std::int64_t r) const {
    std::copy_n(row(op.in, r), carried_cols_, carried_row(r));
}

void CpuBackend::carry_row(const CarriedRowsOp& op, std::int64_t r) const {
    BLOOM_CHECK(buffer(op.out).cols == carried_cols_);
    BLOOM_CHECK(static_cast<std::size_t>(r) < inputs_->carry_rows.size());
    const std::int32_t from = inputs_->carry_rows[static_cast<std::size_t>(r)];
    BLOOM_CHECK(from >= 0);
    std::copy_n(carried_row(from), carried_cols_, row(op.out, r));
}

} // namespace bloom::compute::cpu
