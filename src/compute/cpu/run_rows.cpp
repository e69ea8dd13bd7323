#include <algorithm>
#include <cstring>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"

namespace bloom::compute::cpu {

void CpuBackend::store_head(const KvStoreOp& op, std::int64_t r, std::int32_t kv_head) {
    const KvPool& pool = pools_[index_of(op.pool)];
    const auto at = static_cast<std::size_t>(r);
    const std::int32_t position = inputs_->positions[at];
    const auto seq = static_cast<std::size_t>(inputs_->row_seq[at]);
    const PageTable table = inputs_->tables[seq * pools_.size() + index_of(op.pool)];
    const auto slot = static_cast<std::size_t>(position / kPageTokens);
    BLOOM_DCHECK(slot < table.size());
    BLOOM_DCHECK(table[slot] >= 0 && table[slot] < pool.n_pages);
    std::uint8_t* const page = pool.page(table[slot], op.layer);
    const std::int64_t dim = pool.spec.k_dim;
    const auto bytes = static_cast<std::int64_t>(pool.element_bytes);
    const std::int64_t block = std::int64_t{kPageTokens} * dim * bytes;
    const std::int64_t token = position % kPageTokens;
    std::uint8_t* const keys = page + kv_head * block;
    std::uint8_t* const values = keys + pool.spec.n_kv_heads * block;
    // A key is a column of its block, a value a row.
    table_.store_key(pool.spec.type, row(op.k, r) + kv_head * dim, dim, keys + token * bytes);
    table_.store_kv(pool.spec.type, row(op.v, r) + kv_head * dim, dim,
                    values + token * dim * bytes);
}

GateKernel CpuBackend::gate_kernel(GateActivation activation) const noexcept {
    switch (activation) {
    case GateActivation::silu:
        return table_.silu_mul;
    case GateActivation::gelu_tanh:
        return table_.gelu_tanh_mul;
    case GateActivation::sigmoid:
        break;
    }
    return table_.sigmoid_mul;
}

void CpuBackend::norm_row(const RmsNormOp& op, const float* in, float* out) const {
    const float* const w = norm_weight(op);
    const std::int64_t cols = buffer(op.in).cols;
    for (std::int64_t at = 0; at < cols; at += op.width)
        table_.rms_norm(in + at, w, op.eps, op.width, out + at);
}

void CpuBackend::add_row(const AddOp& op, float* into, const float* from, const float* gate) const {
    const std::int64_t cols = buffer(op.into).cols;
    if (op.gate == TensorId::none) {
        table_.add(into, from, cols);
        return;
    }
    constexpr float kOne = 1.0F;
    float factor = 0.0F;
    table_.sigmoid_mul(gate, &kOne, 1, &factor);
    table_.add_scaled(into, from, factor, cols);
}

void CpuBackend::look_up(const EmbedOp& op, std::int64_t r, float* out) const {
    const auto token = inputs_->tokens[static_cast<std::size_t>(r)];
    const kernels::PackedMatrix& table = weight(op.table).matrix;
    BLOOM_CHECK(token >= 0 && token < table.rows);
    table_.unpack_row(table, token, out);
    if (op.scale != 1.0F) table_.scale(out, op.scale, table.k);
}

void CpuBackend::run_row(const RowOp& any, std::int64_t r) {
    struct Visitor {
        CpuBackend& b;
        std::int64_t r;

        void operator()(const EmbedOp& op) const { b.look_up(op, r, b.row(op.out, r)); }

        void operator()(const RmsNormOp& op) const {
            b.norm_row(op, b.row(op.in, r), b.row(op.out, r));
        }

        void operator()(const AddOp& op) const {
            const float* const gate = op.gate == TensorId::none ? nullptr : b.row(op.gate, r);
            b.add_row(op, b.row(op.into, r), b.row(op.from, r), gate);
        }

        void operator()(const ScaleOp& op) const {
            b.table_.scale(b.row(op.x, r), op.factor, b.buffer(op.x).cols);
        }

        void operator()(const SoftcapOp& op) const {
            b.table_.softcap(b.row(op.x, r), op.cap, b.buffer(op.x).cols);
        }

        void operator()(const RopeOp& op) const {
            const RopeTable& table = b.ropes_[index_of(op.table)];
            const std::int32_t p = b.inputs_->positions[static_cast<std::size_t>(r)];
            for (std::int32_t h = 0; h < op.n_heads; ++h) {
                b.table_.rope(b.row(op.x, r) + std::int64_t{h} * op.head_dim, table.cos(p),
                              table.sin(p), table.pairs);
            }
        }

        void operator()(const KvStoreOp& op) const {
            const std::int32_t n = b.pools_[index_of(op.pool)].spec.n_kv_heads;
            for (std::int32_t h = 0; h < n; ++h)
                b.store_head(op, r, h);
        }

        void operator()(const GatedMulOp& op) const {
            b.gate_kernel(op.activation)(b.row(op.gate, r), b.row(op.up, r), b.buffer(op.out).cols,
                                         b.row(op.out, r));
        }

        void operator()(const RouteOp& op) const {
            b.route_row(op, r, b.i32_row(op.ids, r), b.row(op.weights, r));
        }

        void operator()(const GatedNormOp& op) const { b.gated_norm_row(op, r); }

        void operator()(const KeepRowsOp& op) const { b.keep_row(op, r); }

        void operator()(const CarriedRowsOp& op) const { b.carry_row(op, r); }

        void operator()(const ConcatOp& op) const {
            const std::int64_t first = b.buffer(op.a).cols;
            std::copy_n(b.row(op.a, r), first, b.row(op.out, r));
            std::copy_n(b.row(op.b, r), b.buffer(op.b).cols, b.row(op.out, r) + first);
        }

        void operator()(const GatherRowsOp& op) const {
            const std::int64_t from = b.inputs_->logit_rows[static_cast<std::size_t>(r)];
            std::memcpy(b.row(op.out, r), b.row(op.in, from),
                        static_cast<std::size_t>(b.buffer(op.out).cols) * sizeof(float));
        }
    };

    std::visit(Visitor{*this, r}, any);
}

void CpuBackend::run_rows(const RowsRegion& region, int worker) {
    const Range mine = split_range(count(region.rows), 1, worker, team_.size());
    for (std::int64_t r = mine.begin; r < mine.end; ++r) {
        for (const RowOp& op : region.ops)
            run_row(op, r);
    }
}

const float* CpuBackend::run_chain(const MatmulRegion& region, std::int64_t t, const Preparer& by) {
    const RowChain& chain = *region.chain;
    std::uint8_t* const memory = workers_[static_cast<std::size_t>(by.worker)].memory.data();
    float* const slots = reinterpret_cast<float*>(memory + plan_->chain_at);
    bool written[RowChain::kSlotsMax] = {};
    const auto slot_of = [&](TensorId id) {
        const auto it = std::ranges::find(chain.slots, id, &RowChain::Slot::tensor);
        return static_cast<std::size_t>(it - chain.slots.begin());
    };
    const auto at = [&](std::size_t slot) {
        return slots + static_cast<std::int64_t>(slot) * chain.stride;
    };
    const auto source = [&](TensorId id) -> const float* {
        const std::size_t slot = slot_of(id);
        return slot < chain.slots.size() && written[slot] ? at(slot) : row(id, t);
    };
    const auto target = [&](TensorId id) {
        const std::size_t slot = slot_of(id);
        written[slot] = true;
        return at(slot);
    };
    const auto changed = [&](TensorId id) { // in place: what is there comes along
        const float* const from = source(id);
        float* const to = target(id);
        if (from != to) std::copy_n(from, buffer(id).cols, to);
        return to;
    };
    for (const RowOp& any : chain.ops) {
        if (const auto* norm = std::get_if<RmsNormOp>(&any)) {
            const float* const in = source(norm->in);
            norm_row(*norm, in, target(norm->out));
        } else if (const auto* add = std::get_if<AddOp>(&any)) {
            const float* const from = source(add->from);
            const float* const gate = add->gate == TensorId::none ? nullptr : source(add->gate);
            add_row(*add, changed(add->into), from, gate);
        } else if (const auto* scale = std::get_if<ScaleOp>(&any)) {
            table_.scale(changed(scale->x), scale->factor, buffer(scale->x).cols);
        } else {
            const auto& mul = std::get<GatedMulOp>(any);
            const float* const gate = source(mul.gate);
            const float* const up = source(mul.up);
            gate_kernel(mul.activation)(gate, up, buffer(mul.out).cols, target(mul.out));
        }
    }
    for (std::size_t i = 0; i < chain.slots.size(); ++i) {
        const RowChain::Slot& slot = chain.slots[i];
        if (slot.publish == TensorId::none) continue;
        const Range keep = kept(by, buffer(slot.publish).cols);
        std::copy(at(i) + keep.begin, at(i) + keep.end, row(slot.publish, t) + keep.begin);
    }
    return source(region.in);
}

} // namespace bloom::compute::cpu
