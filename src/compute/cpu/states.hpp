#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <bloom/compute/backend.hpp>

#include "compute/cpu/memory.hpp"

namespace bloom::compute::cpu {

/// Dimensions of keys and values that the kernels' panels and a worker's trial copy allow.
inline constexpr std::int32_t kDeltaDimMax = 256;
/// Rows that a convolution looks at, its own included.
inline constexpr std::int32_t kConvTapsMax = 8;

/// Recurrent states of all slots, f32. Slot s: [n_layers] of {the last conv_taps - 1 rows of qkv
/// [channels], oldest first; S [n_v_heads][v_dim / 16][k_dim][16]}: panels of 16 columns, so that a
/// kernel reads long runs and never adds across lanes, and heads or parts of them can be anybody's.
/// What a slot's last step left pending lies beside it and takes no memory before there is any:
/// [n_layers] of {qkv [channels], normalised keys [n_k_heads, k_dim], d [n_v_heads, v_dim], exp(g)
/// [n_v_heads rounded up to 16]} of kMaxPendingRows rows each. The state itself is not touched by
/// pending rows, so nothing has to be undone.
struct StatePool {
    RecurrentSpec spec;
    std::int64_t n_slots = 0;
    bool tiled = false; ///< which key head a value head uses; all layers agree
    bool tiled_known = false;
    Mapping memory;
    Mapping pending;
    std::vector<std::int32_t> n_pending; ///< by slot

    std::int64_t channels() const noexcept { return spec.channels(); }

    std::int64_t k_width() const noexcept { return std::int64_t{spec.n_k_heads} * spec.k_dim; }

    std::int64_t v_width() const noexcept { return std::int64_t{spec.n_v_heads} * spec.v_dim; }

    /// Floats between the gates of two rows.
    std::int64_t gate_stride() const noexcept { return (spec.n_v_heads + 15) / 16 * 16; }

    std::int32_t panels() const noexcept { return spec.v_dim / kernels::kDeltaPanel; }

    std::int64_t panel_floats() const noexcept {
        return std::int64_t{spec.k_dim} * kernels::kDeltaPanel;
    }

    std::int64_t history_floats() const noexcept { return (spec.conv_taps - 1) * channels(); }

    std::int64_t layer_floats() const noexcept { return history_floats() + v_width() * spec.k_dim; }

    std::int64_t slot_floats() const noexcept { return spec.n_layers * layer_floats(); }

    std::int64_t pending_row_floats() const noexcept {
        return channels() + k_width() + v_width() + gate_stride();
    }

    std::int64_t pending_floats() const noexcept {
        return spec.n_layers * kMaxPendingRows * pending_row_floats();
    }

    float* slot(std::int32_t s) const noexcept {
        return reinterpret_cast<float*>(memory.data()) + s * slot_floats();
    }

    float* history(std::int32_t s, std::int32_t layer) const noexcept {
        return slot(s) + layer * layer_floats();
    }

    float* panel(std::int32_t s, std::int32_t layer, std::int64_t head,
                 std::int64_t panel) const noexcept {
        return history(s, layer) + history_floats() + (head * panels() + panel) * panel_floats();
    }

    float* pending_x(std::int32_t s, std::int32_t layer) const noexcept {
        return reinterpret_cast<float*>(pending.data()) + s * pending_floats() +
               layer * kMaxPendingRows * pending_row_floats();
    }

    float* pending_k(std::int32_t s, std::int32_t layer) const noexcept {
        return pending_x(s, layer) + kMaxPendingRows * channels();
    }

    float* pending_delta(std::int32_t s, std::int32_t layer) const noexcept {
        return pending_k(s, layer) + kMaxPendingRows * k_width();
    }

    float* pending_decay(std::int32_t s, std::int32_t layer) const noexcept {
        return pending_delta(s, layer) + kMaxPendingRows * v_width();
    }

    std::int64_t key_head(std::int64_t head) const noexcept {
        return tiled ? head % spec.n_k_heads : head / (spec.n_v_heads / spec.n_k_heads);
    }
};

/// A sequence of the step being run that has recurrent state.
struct RecurrentStep {
    RecurrentInput in;
    std::int64_t row = 0; ///< its first in the step
    std::int64_t n_rows = 0;
    std::int64_t confirmed = 0; ///< its first among the confirmed rows of all sequences
};

/// Where the rows of a step lie between convolution and delta rule, in floats: by head, so that
/// each is one stream. q, k [n_k_heads, rows, k_dim], v [n_v_heads, rows, v_dim], gates [rows,
/// gate_stride]; of confirmed rows keys [n_k_heads, confirmed, k_dim] and decays; at first a row of
/// zeros for what lies before a sequence.
struct DeltaLayout {
    std::int64_t rows, confirmed;
    std::int64_t zeros, q, k, v, decay, beta, confirmed_k, confirmed_decay, end;
};

inline DeltaLayout delta_layout(const StatePool& pool, std::int64_t rows) noexcept {
    DeltaLayout l{};
    l.rows = rows;
    l.confirmed = std::min(rows, pool.n_slots) * kMaxPendingRows;
    l.zeros = 0; // in one place for all plans: none may write there
    l.q = (pool.channels() + 15) / 16 * 16;
    l.k = l.q + rows * pool.k_width();
    l.v = l.k + rows * pool.k_width();
    l.decay = l.v + rows * pool.v_width();
    l.beta = l.decay + rows * pool.gate_stride();
    l.confirmed_k = l.beta + rows * pool.gate_stride();
    l.confirmed_decay = l.confirmed_k + l.confirmed * pool.k_width();
    l.end = l.confirmed_decay + l.confirmed * pool.gate_stride();
    return l;
}

} // namespace bloom::compute::cpu
