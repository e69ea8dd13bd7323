#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/compute/plan.hpp>

/// What a plan becomes on a processor: regions, executed one after the other by the whole team.
namespace bloom::compute::cpu {

/// Work that needs only one row at a time: consecutive operations of this kind run row by row
/// without a barrier between them.
using RowOp =
    std::variant<EmbedOp, RmsNormOp, AddOp, ScaleOp, SoftcapOp, RopeOp, KvStoreOp, GatedMulOp,
                 RouteOp, GatedNormOp, KeepRowsOp, CarriedRowsOp, ConcatOp, GatherRowsOp>;

struct RowsRegion {
    std::vector<RowOp> ops;
    RowKind rows = RowKind::tokens;
};

/// Operations on rows that lie in a worker's own memory: one slot for each tensor that they write.
/// What others need of those goes to `publish`, by whoever's part of the columns it is; that is
/// never a tensor whose old rows somebody may still be reading.
struct RowChain {
    static constexpr std::size_t kSlotsMax = 8;

    struct Slot {
        TensorId tensor;
        TensorId publish; ///< none: nobody reads it later
    };

    std::vector<RowOp> ops;
    std::vector<Slot> slots;
    std::int64_t stride = 0; ///< floats from slot to slot
};

/// All products of one input. Workers own ranges of output rows.
struct MatmulRegion {
    enum class Epilogue : std::uint8_t { none, add, gated_mul, softcap };

    TensorId in = TensorId::none;  ///< the norm's input when there is a norm
    std::optional<RmsNormOp> norm; ///< its output exists only inside the region
    /// With a norm, where its input comes from while the rows are prepared: `embed` leaves it in
    /// `in` as well, which is the residual stream; of a `gather` nothing is left.
    std::optional<EmbedOp> embed;
    std::optional<GatherRowsOp> gather;
    std::optional<RowChain> chain; ///< done first; it makes the norm's input, or `in` itself
    std::vector<MatmulOp> targets;
    Epilogue epilogue = Epilogue::none;
    TensorId epilogue_out = TensorId::none;
    GateActivation activation = GateActivation::silu; ///< of a gated_mul
    float cap = 0.0F;                                 ///< of a softcap
};

/// Attention; `prepare` (norms per head, rotation, store) runs per (row, kv head) just before it
/// where every sequence has one row and whole heads are a fair and cheap cut, and as rows of its
/// own otherwise.
struct AttentionRegion {
    AttentionOp op{};
    RowsRegion prepare;
    TensorId k = TensorId::none; ///< with prepare: the stored tensors
};

/// The chosen experts' networks, with the choice before it and the sum after it.
struct MoeRegion {
    MoeOp op{};
    std::optional<RouteOp> route;       ///< makes op's ids and weights
    TensorId add_into = TensorId::none; ///< what op's result is added to, besides being stored
};

/// The delta rule with the convolution before it and the norm of its heads after it.
struct DeltaRegion {
    DeltaRuleOp op{};
    std::optional<GatedNormOp> norm;
};

using Region = std::variant<RowsRegion, MatmulRegion, AttentionRegion, MoeRegion, DeltaRegion>;

/// Groups the operations of a plan; with `fuse` false each becomes a region of its own.
/// `logits` is the tensor named by the plan's LogitsOp, or none.
struct RegionList {
    std::vector<Region> regions;
    TensorId logits = TensorId::none;
    std::vector<TensorDesc> tensors; ///< the plan's, then those that regions need beside them
};

RegionList build_regions(const Plan& plan, bool fuse);

} // namespace bloom::compute::cpu
