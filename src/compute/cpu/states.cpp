#include "compute/cpu/states.hpp"

#include <cstring>

#include <fmt/format.h>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"

/// Recurrent states apart from steps: reserving, settling, copying.
namespace bloom::compute {

std::int64_t state_bytes(const RecurrentSpec& spec) noexcept {
    const std::int64_t conv = (spec.conv_taps - 1) * spec.channels();
    const std::int64_t memory = std::int64_t{spec.n_v_heads} * spec.k_dim * spec.v_dim;
    return spec.n_layers * (conv + memory) * static_cast<std::int64_t>(sizeof(float));
}

namespace cpu {
namespace {

/// Copies of at least this many bytes are shared by all workers.
constexpr std::size_t kSharedCopy = std::size_t{1} << 20;

Result<> check_spec(const RecurrentSpec& s) {
    const auto fits = [](std::int32_t dim) {
        return dim > 0 && dim % kernels::kDeltaPanel == 0 && dim <= kDeltaDimMax;
    };
    if (!fits(s.k_dim) || !fits(s.v_dim)) {
        return Error{Code::unsupported,
                     fmt::format("linear attention with keys of {} and values of {}: multiples of "
                                 "{} up to {} are supported",
                                 s.k_dim, s.v_dim, kernels::kDeltaPanel, kDeltaDimMax)};
    }
    if (s.n_k_heads < 1 || s.n_v_heads < 1 || s.n_v_heads % s.n_k_heads != 0) {
        return Error{Code::unsupported,
                     fmt::format("linear attention with {} value heads on {} key heads: a multiple "
                                 "is supported",
                                 s.n_v_heads, s.n_k_heads)};
    }
    if (s.conv_taps < 1 || s.conv_taps > kConvTapsMax) {
        return Error{Code::unsupported,
                     fmt::format("a convolution of {} rows before linear attention: 1 to {} are "
                                 "supported",
                                 s.conv_taps, kConvTapsMax)};
    }
    return {};
}

} // namespace

Result<> CpuBackend::allocate_states(const RecurrentSpec& spec, std::int64_t n_slots) {
    BLOOM_CHECK(states_.n_slots == 0);
    BLOOM_CHECK(spec.n_layers > 0);
    BLOOM_CHECK(n_slots > 0);
    BLOOM_OK(check_spec(spec));
    StatePool pool;
    pool.spec = spec;
    const auto bytes = [&](std::int64_t floats) -> Result<std::size_t> {
        std::int64_t total = 0;
        const auto each = floats * static_cast<std::int64_t>(sizeof(float));
        if (__builtin_mul_overflow(each, n_slots, &total)) {
            return Error{Code::out_of_memory, fmt::format("no memory for {} states", n_slots)};
        }
        return static_cast<std::size_t>(total);
    };
    BLOOM_TRY(const std::size_t certain, bytes(pool.slot_floats()));
    BLOOM_TRY(const std::size_t pending, bytes(pool.pending_floats()));
    BLOOM_TRY(pool.memory, Mapping::make(certain));
    BLOOM_OK(pool.memory.populate());
    BLOOM_TRY(pool.pending, Mapping::make(pending));
    pool.n_pending.assign(static_cast<std::size_t>(n_slots), 0);
    pool.n_slots = n_slots;
    states_ = std::move(pool);
    return {};
}

void CpuBackend::check_slot(std::int32_t slot) const {
    BLOOM_CHECK(slot >= 0);
    BLOOM_CHECK(slot < states_.n_slots);
}

void CpuBackend::check_settled(std::int32_t slot) const {
    check_slot(slot);
    BLOOM_CHECK(states_.n_pending[static_cast<std::size_t>(slot)] == 0);
}

void CpuBackend::settle_state(std::int32_t slot, std::int32_t n_confirmed) {
    check_slot(slot);
    std::int32_t& n_pending = states_.n_pending[static_cast<std::size_t>(slot)];
    BLOOM_CHECK(n_confirmed >= 0);
    BLOOM_CHECK(n_confirmed <= n_pending);
    n_pending = 0;
    if (n_confirmed == 0) return;
    team_.run([&](int worker) {
        for (std::int32_t layer = 0; layer < states_.spec.n_layers; ++layer)
            settle_layer(slot, layer, n_confirmed, worker);
    });
}

/// One worker's channels of the history and heads of the state.
void CpuBackend::settle_layer(std::int32_t slot, std::int32_t layer, std::int32_t n_confirmed,
                              int worker) {
    const StatePool& s = states_;
    const Range channels = split_range(s.channels(), 16, worker, team_.size());
    const std::int64_t n_history = s.spec.conv_taps - 1;
    for (std::int64_t i = 0; i < n_history; ++i) {
        const std::int64_t from = i + n_confirmed; // of the history and the pending rows after it
        const float* const source =
            from < n_history ? s.history(slot, layer) + from * s.channels()
                             : s.pending_x(slot, layer) + (from - n_history) * s.channels();
        std::copy(source + channels.begin, source + channels.end,
                  s.history(slot, layer) + i * s.channels() + channels.begin);
    }
    const Range heads = split_range(s.spec.n_v_heads, 1, worker, team_.size());
    for (std::int64_t h = heads.begin; h < heads.end; ++h) {
        kernels::DeltaRows rows{};
        rows.n = n_confirmed;
        rows.k_dim = s.spec.k_dim;
        rows.k = s.pending_k(slot, layer) + s.key_head(h) * s.spec.k_dim;
        rows.qk_stride = s.k_width();
        rows.decay = s.pending_decay(slot, layer) + h;
        rows.gate_stride = s.gate_stride();
        rows.delta = s.pending_delta(slot, layer) + h * s.spec.v_dim;
        rows.delta_stride = s.v_width();
        for (std::int32_t p = 0; p < s.panels(); ++p) {
            table_.delta_replay(rows, 1, s.panel(slot, layer, h, p));
            rows.delta += kernels::kDeltaPanel;
        }
    }
}

void CpuBackend::copy_shared(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
    if (bytes < kSharedCopy) {
        std::memcpy(to, from, bytes);
        return;
    }
    team_.run([&](int worker) {
        const Range mine =
            split_range(static_cast<std::int64_t>(bytes), 4096, worker, team_.size());
        if (mine.begin >= mine.end) return;
        std::memcpy(to + mine.begin, from + mine.begin,
                    static_cast<std::size_t>(mine.end - mine.begin));
    });
}

void CpuBackend::copy_state(std::int32_t from, std::int32_t to) {
    check_settled(from);
    check_slot(to);
    if (from == to) return;
    copy_shared(reinterpret_cast<std::uint8_t*>(states_.slot(to)),
                reinterpret_cast<const std::uint8_t*>(states_.slot(from)),
                static_cast<std::size_t>(state_bytes(states_.spec)));
    states_.n_pending[static_cast<std::size_t>(to)] = 0;
}

void CpuBackend::read_state(std::int32_t slot, std::span<std::byte> out) {
    check_settled(slot);
    BLOOM_CHECK(out.size() == static_cast<std::size_t>(state_bytes(states_.spec)));
    copy_shared(reinterpret_cast<std::uint8_t*>(out.data()),
                reinterpret_cast<const std::uint8_t*>(states_.slot(slot)), out.size());
}

void CpuBackend::write_state(std::int32_t slot, std::span<const std::byte> in) {
    check_slot(slot);
    BLOOM_CHECK(in.size() == static_cast<std::size_t>(state_bytes(states_.spec)));
    copy_shared(reinterpret_cast<std::uint8_t*>(states_.slot(slot)),
                reinterpret_cast<const std::uint8_t*>(in.data()), in.size());
    states_.n_pending[static_cast<std::size_t>(slot)] = 0;
}

} // namespace cpu
} // namespace bloom::compute
