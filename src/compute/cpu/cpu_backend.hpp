#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include <bloom/compute/backend_cpu.hpp>

#include "compute/cpu/memory.hpp"
#include "compute/cpu/moe.hpp"
#include "compute/cpu/regions.hpp"
#include "compute/cpu/states.hpp"

namespace bloom::compute::cpu {

/// Rotations of positions in blocks, so that growing moves nothing. The first kAtOnce positions are
/// made at load; a step that is the first to come further makes blocks of about 0.2 ms each.
struct RopeTable {
    static constexpr std::int32_t kBlock = 64; ///< positions
    static constexpr std::int32_t kAtOnce = 4096;

    RopeSpec spec;
    std::int64_t pairs = 0;
    /// Each block: cos [kBlock, pairs], then sin [kBlock, pairs].
    std::vector<std::unique_ptr<float[]>> blocks;

    void grow_to(std::int32_t position);
    void fill(std::size_t block);

    std::size_t block_values() const noexcept {
        return static_cast<std::size_t>(2 * kBlock * pairs);
    }

    const float* cos(std::int32_t position) const noexcept {
        const auto p = static_cast<std::size_t>(position);
        return blocks[p / kBlock].get() + static_cast<std::int64_t>(p % kBlock) * pairs;
    }

    const float* sin(std::int32_t position) const noexcept {
        return cos(position) + std::int64_t{kBlock} * pairs;
    }
};

/// All pages of one group. Page p: [n_layers] of {K [n_kv_heads, 16, dim], V [n_kv_heads, 16,
/// dim]}.
struct KvPool {
    KvGroupSpec spec;
    std::int64_t n_pages = 0;
    std::int64_t layer_bytes = 0;
    std::int64_t page_bytes = 0;
    std::size_t element_bytes = 0;
    Mapping memory;

    std::uint8_t* page(std::int32_t p, std::int32_t layer) const noexcept {
        return memory.data() + p * page_bytes + layer * layer_bytes;
    }
};

/// A weight: a packed matrix, or a vector of f32 in `data`.
struct Weight {
    kernels::PackedMatrix matrix{};
    bool is_vector = false;
    std::int64_t n_experts = 1;    ///< matrices of this shape, one after the other
    std::size_t expert_bytes = 0;  ///< from one to the next
    const float* by_tap = nullptr; ///< of a convolution's vector: [taps, channels]

    kernels::PackedMatrix expert(std::int64_t e) const noexcept {
        kernels::PackedMatrix one = matrix;
        one.data += static_cast<std::size_t>(e) * expert_bytes;
        return one;
    }

    const float* vector() const noexcept { return reinterpret_cast<const float*>(matrix.data); }
};

struct Buffer {
    std::size_t offset = 0; ///< into the scratch memory that all plans share
    std::int64_t stride = 0;
    RowKind rows = RowKind::tokens;
    std::int64_t cols = 0;
};

struct Compiled {
    PlanKey key;
    bool recurrent = false; ///< it has a DeltaRuleOp
    RegionList list;
    std::vector<Buffer> buffers;
    std::size_t chain_at = 0; ///< where slots of chains are in each worker's memory
};

/// Activations of one input in the forms that its weights want.
struct Activations {
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    kernels::QuantisedActivations q32{};
    kernels::QuantisedActivations q64{};
};

/// What all workers do between two barriers of a step.
struct StepPhase {
    enum class Kind : std::uint8_t {
        rows,             ///< a RowsRegion, or the operations before an attention
        prepare,          ///< a MatmulRegion's activations, each row once, shared by all
        multiply,         ///< its products, from what `prepare` left
        prepare_multiply, ///< both at once: few rows, which every worker prepares for itself
        attend_by_head,   ///< an AttentionRegion with its preparation, by (row, kv head)
        attend,           ///< an AttentionRegion alone, cut by cost at chunks
        attend_merge,     ///< what several workers have of one block, put together
        moe_prepare,      ///< a MoeRegion's choices and activations, each row once
        moe_gate_up,      ///< the chosen experts' first two products, activation, quantising
        moe_down,         ///< their last product and the weighted sums
        delta_mix,        ///< a DeltaRegion's convolution, norms and gates, by heads
        delta_heads,      ///< its delta rule by whole heads, with their norm where it is per head
        delta_panels,     ///< the same cut finer, without a norm
        delta_norm,       ///< the norm by rows
    };

    Kind kind;
    const Region* region;
};

/// What one worker needs for itself.
struct WorkerScratch {
    Mapping memory;    ///< prepared rows of small batches
    Mapping attention; ///< see AttentionScratch
    Mapping experts;   ///< order and tasks of a MoeRegion, blocks of results
    ExpertOrder order; ///< in it: from a region's first products to its last
};

/// How an attention is cut: into blocks of rows of one sequence times heads, and those into chunks.
/// Heads form groups, a part of one KV head's or all of several's. Blocks are laid end to end by
/// cost, all of a group before the next.
struct AttentionWork {
    const AttentionOp* op;
    const KvPool* pool;
    std::int32_t rows;     ///< of a block at most
    std::int32_t heads;    ///< of one KV head in a group at most
    std::int32_t kv_parts; ///< groups that share a KV head
    std::int32_t kv_heads; ///< of a group at most; 1 if kv_parts > 1
    std::int64_t group_cost;

    std::int64_t groups() const noexcept {
        return (pool->spec.n_kv_heads + kv_heads - 1) / kv_heads * std::int64_t{kv_parts};
    }

    std::int64_t total() const noexcept { return group_cost * groups(); }
};

/// Rows [row, row + n_rows) of the step: consecutive tokens of one sequence.
struct AttentionBlock {
    std::int64_t row;
    std::int32_t n_rows;
    std::int64_t first_chunk;
    std::int64_t last_chunk; ///< one past
    std::int64_t begin;      ///< first token that its first row sees
    std::int64_t end;        ///< one past the last that its last row sees
};

/// A worker's memory for attention, one after the other.
struct AttentionScratch {
    float* working; ///< the kernel's
    /// The part of the block at hand; at last of one that the next worker goes on with.
    float* folded;
    float* tail; ///< parts, chunk by chunk, of a block that an earlier worker began
};

/// silu_mul and its like.
using GateKernel = decltype(kernels::KernelTable::silu_mul);

class CpuBackend final : public Backend {
public:
    explicit CpuBackend(const CpuBackendOptions& options);

    std::string_view name() const noexcept override { return options_.table->isa; }

    Result<WeightId> upload_matrix(const kernels::SourceMatrix& source) override;
    Result<WeightId> upload_experts(std::span<const kernels::SourceMatrix> experts) override;
    Result<WeightId> upload_vector(std::span<const float> values) override;
    Result<RopeId> add_rope(RopeSpec spec) override;
    Result<KvPoolId> allocate_kv(const KvGroupSpec& spec, std::int64_t n_pages) override;
    void copy_page(KvPoolId pool, std::int32_t from, std::int32_t to) override;
    void read_page(KvPoolId pool, std::int32_t page, std::span<std::byte> out) override;
    void write_page(KvPoolId pool, std::int32_t page, std::span<const std::byte> in) override;
    Result<> allocate_states(const RecurrentSpec& spec, std::int64_t n_slots) override;
    void settle_state(std::int32_t slot, std::int32_t n_confirmed) override;
    void copy_state(std::int32_t from, std::int32_t to) override;
    void read_state(std::int32_t slot, std::span<std::byte> out) override;
    void write_state(std::int32_t slot, std::span<const std::byte> in) override;
    Result<CompiledId> compile(const Plan& plan) override;
    Result<> run(CompiledId plan, const StepInputs& inputs) override;
    void sample(std::span<const std::int32_t> rows, std::int32_t n_valid,
                std::span<std::int32_t> out) override;
    std::span<const float> read_logits(std::int32_t row) override;
    BackendMemory memory() const noexcept override;

private:
    // sample
    static std::int32_t best_of(std::span<const std::int32_t> parts, std::span<const float> logits);

    // upload
    void pack(std::span<const kernels::SourceMatrix> experts, std::size_t bytes,
              std::uint8_t* data);

    // compile
    Result<> reserve_scratch(std::size_t shared, std::size_t prepared, std::size_t per_worker);
    /// At least `bytes`, taken at once; what was in it is lost. Unchanged if memory is missing.
    static Result<> grow(Mapping& memory, std::size_t bytes);
    /// The same of every worker, the first `bytes_now` taken at once by itself.
    Result<> grow_each(Mapping WorkerScratch::* memory, std::size_t bytes, std::size_t bytes_now);
    std::size_t prepared_bytes(const Plan& plan, std::int64_t rows) const;
    static std::size_t chain_bytes(const RegionList& list);
    Result<> reserve_expert_scratch(const Plan& plan);
    Result<> reserve_expert_scratch(const Plan& plan, const MoeOp& op);

    Result<> prepare_delta(const Plan& plan);
    Result<> lay_out_taps(WeightId id);
    Result<> reserve_carried(const Plan& plan);

    // states
    void check_slot(std::int32_t slot) const;
    void check_settled(std::int32_t slot) const;
    void settle_layer(std::int32_t slot, std::int32_t layer, std::int32_t n_confirmed, int worker);
    void copy_shared(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes);

    // run
    void check_inputs(const Compiled& plan, const StepInputs& inputs);
    void add_phases(const Region& region);
    void add_matmul_phases(const Region& region);
    void add_attention_phases(const Region& region);
    void run_phase(const StepPhase& phase, int worker);
    void run_rows(const RowsRegion& region, int worker);
    void run_row(const RowOp& op, std::int64_t row);
    void norm_row(const RmsNormOp& op, const float* in, float* out) const;
    void add_row(const AddOp& op, float* into, const float* from, const float* gate) const;
    GateKernel gate_kernel(GateActivation activation) const noexcept;
    void run_prepare(const MatmulRegion& region, int worker);
    void run_multiply(const MatmulRegion& region, int worker);
    void run_prepare_multiply(const MatmulRegion& region, int worker);
    void attend_by_head(const AttentionRegion& region, int worker);
    void attend(const AttentionOp& op, int worker);
    void attend_merge(const AttentionOp& op, int worker);
    void prepare_head(const AttentionRegion& region, std::int64_t row, std::int32_t kv_head);
    void store_head(const KvStoreOp& op, std::int64_t row, std::int32_t kv_head);
    Result<> reserve_attention(const KvPool& pool);
    AttentionScratch attention_scratch(int worker, std::int32_t head_dim) const noexcept;
    AttentionWork whole_heads(const AttentionOp& op) const noexcept;
    AttentionWork attention_work(const AttentionOp& op) const noexcept;
    std::int64_t measure(AttentionWork& work) const noexcept;
    AttentionBlock block_at(const AttentionWork& work, std::int64_t row) const noexcept;
    std::int64_t attention_begin(const KvPool& pool, std::int32_t position) const noexcept;
    kernels::KvPages pages_of(const AttentionOp& op, std::int64_t row) const noexcept;
    kernels::AttentionRows rows_of(const AttentionWork& work, const AttentionBlock& block,
                                   std::int64_t group) const noexcept;
    void attend_chunks(const AttentionWork& work, const AttentionBlock& block,
                       const kernels::AttentionRows& rows, std::int64_t first, std::int64_t last,
                       int worker);
    void merge_block(const AttentionWork& work, const AttentionBlock& block, std::int64_t group,
                     std::int64_t start, int worker);
    bool runs_by_head(const AttentionWork& work) const noexcept;
    bool splits_a_block(const AttentionWork& work) const noexcept;

    Activations lay_out(const MatmulRegion& region, std::uint8_t* at, std::int64_t rows) const;

    /// Who prepares rows, and what of the rows that others need later is this worker's to leave.
    struct Preparer {
        int worker;
        bool redundant; ///< all prepare all of them and leave their part of the columns each
    };

    void prepare(const MatmulRegion& region, const Activations& a, std::int64_t n,
                 std::int64_t begin, std::int64_t end, const Preparer& by);
    void prepare_some(const MatmulRegion& region, const Activations& a, std::int64_t n,
                      std::int64_t begin, std::int64_t end, const Preparer& by);
    Range kept(const Preparer& by, std::int64_t cols) const noexcept;
    /// The input row that the region's norm reads. A looked-up row goes to `own` and the kept
    /// columns of it to the region's input; all of it there at once when all are kept.
    const float* source_row(const MatmulRegion& region, std::int64_t t, float* own,
                            const Preparer& by);
    /// Runs the region's chain for one row; the row that it made of the region's input.
    const float* run_chain(const MatmulRegion& region, std::int64_t t, const Preparer& by);
    void look_up(const EmbedOp& op, std::int64_t row, float* out) const;
    void multiply(const MatmulRegion& region, const Activations& a, std::int64_t n, int worker);
    void multiply_rows(const MatmulOp& op, const Activations& a, std::int64_t n, std::int64_t begin,
                       std::int64_t end);
    void finish_rows(const MatmulRegion& region, std::int64_t n, std::int64_t begin,
                     std::int64_t end);

    struct MoeStep;
    MoeStep moe_step(const MoeRegion& region, int worker);
    void add_moe_phases(const Region& region);
    void run_moe_prepare(const MoeRegion& region, int worker);
    void run_moe_gate_up(const MoeRegion& region, int worker);
    void run_moe_down(const MoeRegion& region, int worker);
    void route_row(const RouteOp& op, std::int64_t row, std::int32_t* ids, float* weights) const;
    void quantise_inputs(const MoeStep& step, std::int64_t begin, std::int64_t end) const;
    void order_pairs(const MoeRegion& region, const MoeStep& step, int worker) const;
    void take_inputs(const MoeStep& step, std::int32_t expert,
                     kernels::QuantisedActivations (&inputs)[2]) const;
    void order_hidden(const MoeStep& step, std::int32_t expert, const float* h, std::int64_t stride,
                      Range columns, float* room) const;
    void gate_up_block(const MoeStep& step, std::int32_t expert, std::int64_t begin,
                       std::int64_t end, const std::uint8_t* next,
                       const kernels::QuantisedActivations (&inputs)[2]) const;
    void down_block(const MoeRegion& region, const MoeStep& step, std::int64_t begin,
                    std::int64_t end, std::int64_t next) const;

    /// A head of q, k or v between convolution and delta rule.
    struct MixedHead {
        std::int64_t channel; ///< its first
        std::int64_t dim;
        float scale; ///< after its norm; 0: it has none
        float* rows; ///< [rows of the plan, dim]
    };

    void begin_recurrent(const StepInputs& in);
    void check_recurrent(const RecurrentStep& step) const;
    void end_recurrent();
    std::int64_t delta_cost(const RecurrentStep& step) const noexcept;
    void add_delta_phases(const Region& region);
    bool norms_by_head(const DeltaRegion& region) const noexcept;
    float* delta_at(std::int64_t offset) const noexcept;
    const float* qkv_row(const DeltaRuleOp& op, const RecurrentStep& step,
                         std::int64_t at) const noexcept;
    void keep_history(const DeltaRuleOp& op, const RecurrentStep& step, std::int64_t n_rows,
                      const Range& channels, std::int32_t slot) const;
    MixedHead mixed_head(const DeltaLayout& layout, std::int64_t unit) const noexcept;
    void run_delta_mix(const DeltaRuleOp& op, int worker);
    void make_gates(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& layout,
                    const Range& heads) const;
    void mix_heads(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& layout,
                   const Range& units) const;
    void exchange_keys(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& layout,
                       std::int64_t head) const;
    void run_panels(const DeltaRuleOp& op, const RecurrentStep& step, const DeltaLayout& layout,
                    std::int64_t head, std::int64_t panel, int n_panels) const;
    template <class Work>
    void for_my_units(std::int64_t n_units, int worker, const Work& work) const;
    void run_delta_panels(const DeltaRuleOp& op, int worker);
    void run_delta_heads(const DeltaRegion& region, int worker);
    void run_delta_norm(const DeltaRegion& region, int worker);
    void gated_norm_row(const GatedNormOp& op, std::int64_t row) const;
    float* carried_row(std::int64_t row) const;
    void keep_row(const KeepRowsOp& op, std::int64_t row) const;
    void carry_row(const CarriedRowsOp& op, std::int64_t row) const;

    std::int64_t count(RowKind kind) const noexcept {
        return static_cast<std::int64_t>(kind == RowKind::tokens ? inputs_->tokens.size()
                                                                 : inputs_->logit_rows.size());
    }

    float* row(TensorId t, std::int64_t r) const noexcept {
        const Buffer& b = plan_->buffers[index_of(t)];
        return reinterpret_cast<float*>(shared_.data() + b.offset) + r * b.stride;
    }

    std::int32_t* i32_row(TensorId t, std::int64_t r) const noexcept {
        return reinterpret_cast<std::int32_t*>(row(t, r));
    }

    const Buffer& buffer(TensorId t) const noexcept { return plan_->buffers[index_of(t)]; }

    const Weight& weight(WeightId id) const noexcept { return weights_[index_of(id)]; }

    /// A norm's weight; null where it has none.
    const float* norm_weight(const RmsNormOp& op) const noexcept {
        return op.weight == WeightId::none ? nullptr : weight(op.weight).vector();
    }

    bool quantised(const Weight& w) const noexcept {
        return !options_.precise && kernels::is_quantised(w.matrix.format);
    }

    CpuBackendOptions options_;
    const kernels::KernelTable& table_;
    Team& team_;

    WeightArena arena_;
    std::vector<Weight> weights_;
    std::vector<RopeTable> ropes_;
    std::vector<KvPool> pools_;
    StatePool states_;
    std::deque<Compiled> compiled_; ///< plan_ stays while others are added

    Mapping shared_;   ///< intermediate tensors
    Mapping prepared_; ///< activations prepared once for all workers
    Mapping hidden_;   ///< what lies between the products of a MoeRegion, by pair
    Mapping delta_;    ///< see DeltaLayout
    Mapping carried_;  ///< [rows, carried_cols_], what the last KeepRowsOp kept
    std::int64_t carried_cols_ = 0;
    std::vector<WorkerScratch> workers_;
    std::size_t worker_bytes_ = 0;
    std::size_t expert_bytes_ = 0; ///< of each worker

    // The step being run; plan_ and n_logits_ stay for sample() and read_logits().
    const Compiled* plan_ = nullptr;
    const StepInputs* inputs_ = nullptr;
    std::vector<StepPhase> phases_;
    std::vector<RecurrentStep>
        recurrent_; ///< sequences of the step, where the plan has such layers
    std::int64_t n_logits_ = 0;
    std::vector<std::int32_t> best_; ///< [workers, rows]: sample()'s choice in each worker's part

    // The next task of a phase that workers share as they come. Each is set to zero by worker 0 in
    // the phase in which only the other one counts.
    alignas(64) std::atomic<std::int32_t> gate_next_{0};
    alignas(64) std::atomic<std::int32_t> down_next_{0};
};

} // namespace bloom::compute::cpu
