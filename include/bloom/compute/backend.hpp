#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/compute/plan.hpp>
#include <bloom/compute/tensor.hpp>

namespace bloom::compute {

/// Tokens a page holds, in every group and on every backend.
inline constexpr std::int32_t kPageTokens = kernels::kPageTokens;

/// Layers whose keys and values live together: one page table per sequence serves all of them.
struct KvGroupSpec {
    std::int32_t n_layers = 0;
    std::int32_t n_kv_heads = 0;
    std::int32_t k_dim = 0;
    std::int32_t v_dim = 0;
    std::int32_t window = 0; ///< tokens that can still be seen, the own one included; 0: all
    kernels::KvType type = kernels::KvType::f16;

    friend bool operator==(const KvGroupSpec&, const KvGroupSpec&) = default;
};

/// Bytes of one page: keys and values of kPageTokens tokens in every layer of the group.
std::int64_t page_bytes(const KvGroupSpec& spec) noexcept;

/// What layers of linear attention remember of a sequence, f32: for each layer the last
/// conv_taps - 1 rows of DeltaRuleOp's qkv and S [n_v_heads][k_dim, v_dim].
struct RecurrentSpec {
    std::int32_t n_layers = 0;
    std::int32_t n_k_heads = 0;
    std::int32_t n_v_heads = 0; ///< a multiple of n_k_heads
    std::int32_t k_dim = 0;
    std::int32_t v_dim = 0;
    std::int32_t conv_taps = 0;

    std::int64_t channels() const noexcept {
        return 2 * std::int64_t{n_k_heads} * k_dim + std::int64_t{n_v_heads} * v_dim;
    }

    friend bool operator==(const RecurrentSpec&, const RecurrentSpec&) = default;
};

/// Bytes of one sequence's recurrent state.
std::int64_t state_bytes(const RecurrentSpec& spec) noexcept;

/// Rows that a slot can keep unconfirmed, see RecurrentInput.
inline constexpr std::int32_t kMaxPendingRows = 7;

/// What a step does with a sequence's recurrent state. The rows that count for sure come first and
/// become part of the state; the rest, guesses, at most kMaxPendingRows, are computed but only kept
/// beside it, and the next step (or settle_state) says how many of them hold.
struct RecurrentInput {
    std::int32_t slot = -1;
    bool fresh = false;           ///< the sequence starts here: the slot's contents do not matter
    std::int32_t n_confirmed = 0; ///< of the rows that the slot's last step left pending
    std::int32_t n_certain = 0;   ///< rows of this step that count for sure
    std::int32_t snapshot_rows = -1; ///< after so many of them (1 to n_certain) the state is also
    std::int32_t snapshot_slot = -1; ///< written to this slot; -1: not
};

/// Rotations of one model: angle = position * inv_freq[j], cos and sin times `magnitude`.
/// Computed in f64 and rounded once; a backend extends its table as positions come.
struct RopeSpec {
    std::vector<double> inv_freq; ///< [pairs]
    double magnitude = 1.0;
};

/// Page numbers of one sequence in one pool by page of the sequence (token / kPageTokens); -1 where
/// the page fell behind the window.
using PageTable = std::span<const std::int32_t>;

/// What a step works on; borrowed for the call. Rows of one sequence are consecutive and ascending.
struct StepInputs {
    std::span<const std::int32_t> tokens;     ///< [n_rows]
    std::span<const std::int32_t> positions;  ///< [n_rows], absolute
    std::span<const std::int32_t> row_seq;    ///< [n_rows], index of the row's sequence
    std::span<const std::int32_t> logit_rows; ///< [n_logit_rows], rows whose logits are wanted
    std::int32_t n_seqs = 0;
    std::int32_t n_pools = 0;
    std::span<const PageTable> tables; ///< [n_seqs * n_pools], by sequence, pools in KvPoolId order
    std::span<const RecurrentInput> recurrent = {}; ///< [n_seqs] where the model has such layers
    std::span<const std::int32_t> carry_rows = {};  ///< [n_rows] for plans with a CarriedRowsOp
};

struct BackendMemory {
    std::int64_t weight_bytes = 0;  ///< packed, padding included
    std::int64_t kv_bytes = 0;      ///< reserved for pages
    std::int64_t state_bytes = 0;   ///< reserved for recurrent states
    std::int64_t scratch_bytes = 0; ///< intermediate tensors, rotations
};

/// Everything that runs a model on a device. Results leave only through sample() and read_logits().
/// Thread: one, the engine's. Lifetime: all handles die with the backend.
class Backend {
public:
    virtual ~Backend() = default;

    virtual std::string_view name() const noexcept = 0;

    /// Copies a matrix, its rows in the model's order, from the (mapped) file into the device's own
    /// layout. The source may go after the call.
    /// Errors: out_of_memory, unsupported (k not a multiple of the group).
    virtual Result<WeightId> upload_matrix(const kernels::SourceMatrix& source) = 0;
    /// The matrices of one role of all experts of a layer, all of the first one's shape and format.
    /// Errors: as upload_matrix; unsupported when shapes or formats differ.
    virtual Result<WeightId> upload_experts(std::span<const kernels::SourceMatrix> experts) = 0;
    /// A vector (norm weight, bias), kept in f32.
    virtual Result<WeightId> upload_vector(std::span<const float> values) = 0;
    virtual Result<RopeId> add_rope(RopeSpec spec) = 0;

    /// Reserves pages for one group; page numbers are [0, n_pages). Contents start undefined.
    /// Errors: out_of_memory, unsupported.
    virtual Result<KvPoolId> allocate_kv(const KvGroupSpec& spec, std::int64_t n_pages) = 0;
    /// Copies one page in all layers of the group, after everything run so far.
    virtual void copy_page(KvPoolId pool, std::int32_t from, std::int32_t to) = 0;
    /// Copies one page, page_bytes(spec) bytes, out of its pool or back, after everything run so
    /// far. The bytes mean something to the same pool only.
    virtual void read_page(KvPoolId pool, std::int32_t page, std::span<std::byte> out) = 0;
    virtual void write_page(KvPoolId pool, std::int32_t page, std::span<const std::byte> in) = 0;

    /// Reserves slots [0, n_slots) for recurrent states; at most once, and before plans that use
    /// them are compiled. Contents start undefined.
    /// Errors: out_of_memory, unsupported (dimensions).
    virtual Result<> allocate_states(const RecurrentSpec& spec, std::int64_t n_slots) = 0;
    /// Makes the first n_confirmed pending rows of a slot part of its state and forgets the others.
    virtual void settle_state(std::int32_t slot, std::int32_t n_confirmed) = 0;
    /// Copies a settled state, after everything run so far.
    virtual void copy_state(std::int32_t from, std::int32_t to) = 0;
    /// A settled state, state_bytes(spec) bytes, out of its slot or back.
    virtual void read_state(std::int32_t slot, std::span<std::byte> out) = 0;
    virtual void write_state(std::int32_t slot, std::span<const std::byte> in) = 0;

    /// Makes a plan ready. A malformed plan is a caller bug.  Errors: out_of_memory, unsupported.
    virtual Result<CompiledId> compile(const Plan& plan) = 0;
    /// Runs one step; when it returns, results can be asked for. Errors: io_error (device lost).
    virtual Result<> run(CompiledId plan, const StepInputs& inputs) = 0;

    /// Greedy choice for each of `rows` (indices into logit_rows) among ids [0, n_valid): the
    /// lowest id among equals. out[i] belongs to rows[i].
    virtual void sample(std::span<const std::int32_t> rows, std::int32_t n_valid,
                        std::span<std::int32_t> out) = 0;
    /// Logits [vocab] of one row, valid until the next run or compile.
    virtual std::span<const float> read_logits(std::int32_t row) = 0;

    virtual BackendMemory memory() const noexcept = 0;
};

} // namespace bloom::compute
