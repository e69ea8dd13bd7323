#include "compute/cpu/regions.hpp"

#include <algorithm>

#include <bloom/base/check.hpp>

#include "compute/cpu/chain.hpp"

namespace bloom::compute::cpu {
namespace {

bool reads(const OpBody& body, TensorId t) {
    struct Visitor {
        TensorId t;

        bool operator()(const EmbedOp&) const { return false; }

        bool operator()(const RmsNormOp& op) const { return op.in == t; }

        bool operator()(const MatmulOp& op) const { return op.in == t; }

        bool operator()(const AddOp& op) const {
            return op.into == t || op.from == t || op.gate == t;
        }

        bool operator()(const ScaleOp& op) const { return op.x == t; }

        bool operator()(const SoftcapOp& op) const { return op.x == t; }

        bool operator()(const DeltaRuleOp& op) const {
            return op.qkv == t || op.alpha == t || op.beta == t;
        }

        bool operator()(const GatedNormOp& op) const { return op.in == t || op.gate == t; }

        bool operator()(const KeepRowsOp& op) const { return op.in == t; }

        bool operator()(const CarriedRowsOp&) const { return false; }

        bool operator()(const ConcatOp& op) const { return op.a == t || op.b == t; }

        bool operator()(const RopeOp& op) const { return op.x == t; }

        bool operator()(const KvStoreOp& op) const { return op.k == t || op.v == t; }

        bool operator()(const AttentionOp& op) const { return op.q == t; }

        bool operator()(const GatedMulOp& op) const { return op.gate == t || op.up == t; }

        bool operator()(const RouteOp& op) const { return op.logits == t; }

        bool operator()(const MoeOp& op) const {
            return op.in == t || op.ids == t || op.weights == t;
        }

        bool operator()(const GatherRowsOp& op) const { return op.in == t; }

        bool operator()(const LogitsOp& op) const { return op.in == t; }
    };

    return std::visit(Visitor{t}, body);
}

bool overwrites(const OpBody& body, TensorId t) {
    struct Visitor {
        TensorId t;

        bool operator()(const EmbedOp& op) const { return op.out == t; }

        bool operator()(const RmsNormOp& op) const { return op.out == t; }

        bool operator()(const MatmulOp& op) const { return op.out == t; }

        bool operator()(const AddOp&) const { return false; }

        bool operator()(const ScaleOp&) const { return false; }

        bool operator()(const SoftcapOp&) const { return false; }

        bool operator()(const DeltaRuleOp& op) const { return op.out == t; }

        bool operator()(const GatedNormOp& op) const { return op.out == t; }

        bool operator()(const KeepRowsOp&) const { return false; }

        bool operator()(const CarriedRowsOp& op) const { return op.out == t; }

        bool operator()(const ConcatOp& op) const { return op.out == t; }

        bool operator()(const RopeOp&) const { return false; }

        bool operator()(const KvStoreOp&) const { return false; }

        bool operator()(const AttentionOp& op) const { return op.out == t; }

        bool operator()(const GatedMulOp& op) const { return op.out == t; }

        bool operator()(const RouteOp& op) const { return op.ids == t || op.weights == t; }

        bool operator()(const MoeOp& op) const { return op.out == t; }

        bool operator()(const GatherRowsOp& op) const { return op.out == t; }

        bool operator()(const LogitsOp&) const { return false; }
    };

    return std::visit(Visitor{t}, body);
}

/// Whether somebody from op `from` on needs the value that t has there.
bool read_later(const std::vector<Op>& ops, std::size_t from, TensorId t) {
    for (std::size_t i = from; i < ops.size(); ++i) {
        if (reads(ops[i].body, t)) return true;
        if (overwrites(ops[i].body, t)) return false;
    }
    return false;
}

std::optional<RowOp> as_row_op(const OpBody& body) {
    return std::visit(
        [](const auto& op) -> std::optional<RowOp> {
            if constexpr (std::is_constructible_v<RowOp, decltype(op)>) {
                return RowOp{op};
            } else {
                return std::nullopt;
            }
        },
        body);
}

class Builder {
public:
    Builder(const Plan& plan, bool fuse) : plan_(plan), ops_(plan.ops()), fuse_(fuse) {
        twin_.assign(plan.tensors().size(), TensorId::none);
    }

    RegionList build() {
        while (at_ < ops_.size()) {
            if (const auto* logits = std::get_if<LogitsOp>(&ops_[at_].body)) {
                out_.logits = logits->in;
                ++at_;
            } else if (!take_matmul() && !take_attention() && !take_experts() && !take_delta()) {
                take_rows();
            }
        }
        out_.tensors = plan_.tensors();
        return std::move(out_);
    }

private:
    template <class T>
    const T* op_at(std::size_t i) const {
        return i < ops_.size() ? std::get_if<T>(&ops_[i].body) : nullptr;
    }

    bool take_matmul() {
        std::size_t i = at_;
        const RmsNormOp* norm = op_at<RmsNormOp>(i);
        if (norm != nullptr) ++i;
        const MatmulOp* first = op_at<MatmulOp>(i);
        if (first == nullptr) return false;
        MatmulRegion region;
        for (const MatmulOp* m = first; m != nullptr && m->in == first->in;
             m = op_at<MatmulOp>(i)) {
            BLOOM_CHECK(m->out != m->in);
            region.targets.push_back(*m);
            ++i;
            if (!fuse_) break;
        }
        region.in = first->in;
        if (norm != nullptr) {
            const bool whole_row = norm->width == plan_.desc(norm->in).cols;
            const auto overwrites_input = [&](const MatmulOp& m) { return m.out == norm->in; };
            if (!fuse_ || norm->out != first->in || norm->in == norm->out || !whole_row ||
                std::ranges::any_of(region.targets, overwrites_input) ||
                read_later(ops_, i, norm->out)) {
                return false; // the norm becomes rows of its own, the products come next time
            }
            region.norm = *norm;
            region.in = norm->in;
        }
        if (fuse_) take_epilogue(region, i);
        if (region.norm) take_source(region, i);
        if (fuse_ && !region.embed && !region.gather) take_chain(region, i);
        at_ = i;
        out_.regions.emplace_back(std::move(region));
        return true;
    }

    void take_epilogue(MatmulRegion& region, std::size_t& i) {
        const auto& targets = region.targets;
        if (const GatedMulOp* mul = op_at<GatedMulOp>(i); mul != nullptr && targets.size() == 2) {
            if (mul->gate == targets[0].out && mul->up == targets[1].out && mul->out != region.in) {
                region.epilogue = MatmulRegion::Epilogue::gated_mul;
                region.epilogue_out = mul->out;
                region.activation = mul->activation;
                ++i;
            }
        } else if (const SoftcapOp* cap = op_at<SoftcapOp>(i);
                   cap != nullptr && targets.size() == 1 && cap->x == targets[0].out) {
            region.epilogue = MatmulRegion::Epilogue::softcap;
            region.epilogue_out = cap->x;
            region.cap = cap->cap;
            ++i;
        } else if (const AddOp* add = op_at<AddOp>(i);
                   add != nullptr && add->gate == TensorId::none && targets.size() == 1) {
            // Others still read the input while this worker writes its rows.
            if (add->from == targets[0].out && add->into != region.in &&
                add->into != targets[0].in) {
                region.epilogue = MatmulRegion::Epilogue::add;
                region.epilogue_out = add->into;
                ++i;
            }
        }
    }

    /// Takes over the lookup or the gathering that made the norm's input, where that is all that
    /// the region before does. `next` is the first operation after the region.
    void take_source(MatmulRegion& region, std::size_t next) {
        if (out_.regions.empty()) return;
        const auto* before = std::get_if<RowsRegion>(&out_.regions.back());
        if (before == nullptr || before->ops.size() != 1) return;
        if (const auto* embed = std::get_if<EmbedOp>(&before->ops[0])) {
            if (embed->out != region.in) return;
            region.embed = *embed;
        } else if (const auto* gather = std::get_if<GatherRowsOp>(&before->ops[0])) {
            // Others still read the rows to gather while this worker writes its results.
            const auto writes_source = [&](const MatmulOp& m) { return m.out == gather->in; };
            if (gather->out != region.in || region.epilogue_out == gather->in ||
                std::ranges::any_of(region.targets, writes_source) ||
                read_later(ops_, next, gather->out)) {
                return;
            }
            region.gather = *gather;
        } else {
            return;
        }
        out_.regions.pop_back();
    }

    /// Takes over the operations of the region before, where they can be a chain. What they change
    /// in place and others go on with gets another tensor from here on: a worker that is done with
    /// a row must not change what another still has to read. `next` is the first operation after
    /// the region.
    void take_chain(MatmulRegion& region, std::size_t next) {
        auto* before =
            out_.regions.empty() ? nullptr : std::get_if<RowsRegion>(&out_.regions.back());
        if (before == nullptr || before->rows != plan_.desc(region.in).rows) return;
        std::optional<RowChain> chain = chain_of(before->ops, plan_);
        if (!chain) return;
        const auto touched = [&](TensorId t) {
            return std::ranges::find(chain->slots, t, &RowChain::Slot::tensor) !=
                       chain->slots.end() ||
                   reads_shared(*chain, t);
        };
        const auto writes_touched = [&](const MatmulOp& m) { return touched(m.out); };
        if (std::ranges::any_of(region.targets, writes_touched)) return;
        if (region.epilogue != MatmulRegion::Epilogue::none && touched(region.epilogue_out)) return;
        for (RowChain::Slot& slot : chain->slots) {
            if (!read_later(ops_, next, slot.tensor)) continue;
            slot.publish = slot.tensor;
            if (!reads_shared(*chain, slot.tensor)) continue;
            slot.publish = twin_of(slot.tensor);
            for (std::size_t i = next; i < ops_.size(); ++i)
                rename(ops_[i].body, slot.tensor, slot.publish);
        }
        region.chain = std::move(chain);
        out_.regions.pop_back();
    }

    /// A tensor like `t` that nobody uses while `t` is.
    TensorId twin_of(TensorId t) {
        const std::size_t at = index_of(t);
        if (twin_[at] == TensorId::none) {
            const TensorDesc desc = plan_.desc(t);
            twin_[at] = plan_.tensor(desc.cols, desc.rows, desc.dtype);
            twin_.push_back(t);
        }
        return twin_[at];
    }

    bool take_attention() {
        std::size_t i = at_;
        AttentionRegion region;
        std::vector<RowOp> prepare;
        for (; fuse_ && i < ops_.size(); ++i) {
            if (op_at<RmsNormOp>(i) == nullptr && op_at<RopeOp>(i) == nullptr &&
                op_at<KvStoreOp>(i) == nullptr) {
                break;
            }
            prepare.push_back(*as_row_op(ops_[i].body));
        }
        const AttentionOp* attention = op_at<AttentionOp>(i);
        if (attention == nullptr) return false;
        if (!prepare.empty() && !by_head(prepare, *attention, region.k)) return false;
        region.op = *attention;
        region.prepare.ops = std::move(prepare);
        at_ = i + 1;
        out_.regions.emplace_back(std::move(region));
        return true;
    }

    bool take_experts() {
        std::size_t i = at_;
        MoeRegion region;
        if (const RouteOp* route = op_at<RouteOp>(i); fuse_ && route != nullptr) {
            region.route = *route;
            ++i;
        }
        const MoeOp* moe = op_at<MoeOp>(i);
        if (moe == nullptr) return false;
        BLOOM_CHECK(moe->out != moe->in);
        if (region.route &&
            (region.route->ids != moe->ids || region.route->weights != moe->weights)) {
            return false;
        }
        region.op = *moe;
        ++i;
        if (const AddOp* add = op_at<AddOp>(i);
            fuse_ && add != nullptr && add->gate == TensorId::none && add->from == moe->out) {
            region.add_into = add->into;
            ++i;
        }
        at_ = i;
        out_.regions.emplace_back(std::move(region));
        return true;
    }

    bool take_delta() {
        const DeltaRuleOp* delta = op_at<DeltaRuleOp>(at_);
        if (delta == nullptr) return false;
        DeltaRegion region{*delta, std::nullopt};
        ++at_;
        if (const GatedNormOp* norm = op_at<GatedNormOp>(at_);
            fuse_ && norm != nullptr && norm->in == delta->out) {
            region.norm = *norm;
            ++at_;
        }
        out_.regions.emplace_back(region);
        return true;
    }

    /// Whether the operations before an attention touch nothing but its q and one stored k, v of
    /// its own layer, head by head. Values may be made from keys; all else is in place.
    bool by_head(const std::vector<RowOp>& prepare, const AttentionOp& attention,
                 TensorId& k) const {
        const auto* store = std::get_if<KvStoreOp>(&prepare.back());
        if (store == nullptr || store->pool != attention.pool || store->layer != attention.layer) {
            return false;
        }
        k = store->k;
        const std::int64_t q_width = plan_.desc(attention.q).cols / attention.n_heads;
        for (std::size_t i = 0; i + 1 < prepare.size(); ++i) {
            TensorId x = TensorId::none;
            if (const auto* norm = std::get_if<RmsNormOp>(&prepare[i])) {
                const bool v_from_k = norm->in == k && norm->out == store->v;
                if ((norm->in != norm->out && !v_from_k) || norm->width != q_width) return false;
                x = norm->out;
            } else if (const auto* rope = std::get_if<RopeOp>(&prepare[i])) {
                if (rope->head_dim != q_width) return false;
                x = rope->x;
            }
            if (x != attention.q && x != k && x != store->v) return false;
        }
        return true;
    }

    RowKind rows_of(const RowOp& op) const {
        return std::visit(
            [&](const auto& o) {
                using T = std::decay_t<decltype(o)>;
                if constexpr (std::is_same_v<T, RopeOp> || std::is_same_v<T, ScaleOp> ||
                              std::is_same_v<T, SoftcapOp>) {
                    return plan_.desc(o.x).rows;
                } else if constexpr (std::is_same_v<T, KvStoreOp>) {
                    return plan_.desc(o.k).rows;
                } else if constexpr (std::is_same_v<T, AddOp>) {
                    return plan_.desc(o.into).rows;
                } else if constexpr (std::is_same_v<T, RouteOp>) {
                    return plan_.desc(o.ids).rows;
                } else if constexpr (std::is_same_v<T, KeepRowsOp>) {
                    return plan_.desc(o.in).rows;
                } else {
                    return plan_.desc(o.out).rows;
                }
            },
            op);
    }

    void take_rows() {
        std::optional<RowOp> op = as_row_op(ops_[at_].body);
        BLOOM_CHECK(op.has_value());
        const RowKind rows = rows_of(*op);
        // A gather reads rows that other workers may still be writing: it starts a region. So do
        // rows carried over, and what is kept must not replace them while others read.
        auto* last = out_.regions.empty() ? nullptr : std::get_if<RowsRegion>(&out_.regions.back());
        const bool joins = fuse_ && last != nullptr && last->rows == rows &&
                           !std::holds_alternative<GatherRowsOp>(*op) &&
                           !std::holds_alternative<CarriedRowsOp>(*op) &&
                           !(std::holds_alternative<KeepRowsOp>(*op) &&
                             std::holds_alternative<CarriedRowsOp>(last->ops.front()));
        if (!joins) {
            out_.regions.emplace_back(RowsRegion{{}, rows});
            last = std::get_if<RowsRegion>(&out_.regions.back());
        }
        last->ops.push_back(*op);
        ++at_;
    }

    Plan plan_;
    std::vector<Op> ops_; ///< what is left of them has other names where chains gave some
    std::vector<TensorId> twin_;
    bool fuse_;
    std::size_t at_ = 0;
    RegionList out_;
};

} // namespace

RegionList build_regions(const Plan& plan, bool fuse) {
    return Builder(plan, fuse).build();
}

} // namespace bloom::compute::cpu
