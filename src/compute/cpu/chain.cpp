#include "compute/cpu/chain.hpp"

#include <algorithm>
#include <array>

namespace bloom::compute::cpu {
namespace {

/// Tensors that an operation reads (none where fewer) and the one that it writes.
struct Touches {
    std::array<TensorId, 3> reads;
    TensorId writes;
};

std::optional<Touches> touches(const RowOp& any) {
    constexpr auto kNone = TensorId::none;
    if (const auto* norm = std::get_if<RmsNormOp>(&any))
        return Touches{{norm->in, kNone, kNone}, norm->out};
    if (const auto* add = std::get_if<AddOp>(&any))
        return Touches{{add->into, add->from, add->gate}, add->into};
    if (const auto* scale = std::get_if<ScaleOp>(&any))
        return Touches{{scale->x, kNone, kNone}, scale->x};
    if (const auto* mul = std::get_if<GatedMulOp>(&any))
        return Touches{{mul->gate, mul->up, kNone}, mul->out};
    return std::nullopt;
}

struct Renaming {
    TensorId from;
    TensorId to;

    template <class... Ids>
    void in(Ids&... ids) const {
        ((ids = ids == from ? to : ids), ...);
    }

    void operator()(EmbedOp& op) const { in(op.out); }

    void operator()(RmsNormOp& op) const { in(op.in, op.out); }

    void operator()(MatmulOp& op) const { in(op.in, op.out); }

    void operator()(AddOp& op) const { in(op.into, op.from, op.gate); }

    void operator()(ScaleOp& op) const { in(op.x); }

    void operator()(SoftcapOp& op) const { in(op.x); }

    void operator()(RopeOp& op) const { in(op.x); }

    void operator()(KvStoreOp& op) const { in(op.k, op.v); }

    void operator()(AttentionOp& op) const { in(op.q, op.out); }

    void operator()(GatedMulOp& op) const { in(op.gate, op.up, op.out); }

    void operator()(RouteOp& op) const { in(op.logits, op.ids, op.weights); }

    void operator()(MoeOp& op) const { in(op.in, op.ids, op.weights, op.out); }

    void operator()(DeltaRuleOp& op) const { in(op.qkv, op.alpha, op.beta, op.out); }

    void operator()(GatedNormOp& op) const { in(op.in, op.gate, op.out); }

    void operator()(KeepRowsOp& op) const { in(op.in); }

    void operator()(CarriedRowsOp& op) const { in(op.out); }

    void operator()(ConcatOp& op) const { in(op.a, op.b, op.out); }

    void operator()(GatherRowsOp& op) const { in(op.in, op.out); }

    void operator()(LogitsOp& op) const { in(op.in); }
};

} // namespace

std::optional<RowChain> chain_of(std::span<const RowOp> ops, const Plan& plan) {
    RowChain chain;
    for (const RowOp& op : ops) {
        const auto t = touches(op);
        if (!t) return std::nullopt;
        chain.ops.push_back(op);
        chain.stride = std::max(chain.stride, (plan.desc(t->writes).cols + 15) / 16 * 16);
        if (std::ranges::find(chain.slots, t->writes, &RowChain::Slot::tensor) ==
            chain.slots.end()) {
            chain.slots.push_back({t->writes, TensorId::none});
        }
    }
    if (chain.slots.size() > RowChain::kSlotsMax) return std::nullopt;
    return chain;
}

bool reads_shared(const RowChain& chain, TensorId t) {
    for (const RowOp& op : chain.ops) {
        const Touches touched = *touches(op);
        if (std::ranges::find(touched.reads, t) != touched.reads.end()) return true;
        if (touched.writes == t) return false;
    }
    return false;
}

void rename(OpBody& body, TensorId from, TensorId to) {
    std::visit(Renaming{from, to}, body);
}

} // namespace bloom::compute::cpu
