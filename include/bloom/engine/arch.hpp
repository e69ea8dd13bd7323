#pragma once

#include <cstdint>
#include <memory>

#include <bloom/base/result.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/compute/plan.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/engine/state.hpp>
#include <bloom/engine/weight_traffic.hpp>

namespace bloom::engine {

struct ArchOptions {
    std::int32_t n_layers = 0; ///< only the first so many; 0: all
    kernels::KvType kv_type = kernels::KvType::f16;
    bool draft_head = true; ///< loaded too, where the file has one and all layers are
};

/// A model family's graph over weights that are in a backend already. Page pool i of the backend
/// belongs to group i of state(). Immutable.
class Graph {
public:
    virtual ~Graph() = default;

    virtual const StateSpec& state() const noexcept = 0;
    /// Logits per position; the surplus over the tokenizer's ids must be masked.
    virtual std::int64_t vocab_rows() const noexcept = 0;
    /// The model as a plan for steps up to the key's sizes.
    virtual compute::Plan plan(const compute::PlanKey& key) const = 0;
    /// What steps read: the roof of decoding.
    virtual const WeightTraffic& traffic() const noexcept = 0;
    /// Multiplications of matrix elements per token, only the chosen experts' and the head apart:
    /// the roof of prefill is twice it.
    virtual std::int64_t macs_per_token() const noexcept = 0;

    /// Whether the model guesses the token after the next one. plan() then keeps what the head
    /// sees of every row: carried[t] is the final hidden state of row t.
    virtual bool has_draft_head() const noexcept { return false; }

    /// The head as a plan. Row t pairs the carried row carry_rows[t], the state after some token at
    /// position p, with tokens[t], the token at p + 1; positions[t] is p, and its keys and values
    /// lie at p in the same pages as the model's. Logits are those of the token at p + 2. It keeps
    /// its own rows in turn, from which the next step guesses further with the token just guessed.
    /// Only where has_draft_head().
    virtual compute::Plan draft_plan(const compute::PlanKey& key) const;
};

/// Packs the weights of a dense model (llama, qwen2, qwen3) layer by layer and builds its graph.
/// Errors: those of the backend and the file; unsupported for other families.
Result<std::unique_ptr<const Graph>> load_dense(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options);

/// The same for Qwen3 with experts.
Result<std::unique_ptr<const Graph>>
load_qwen3_moe(const ModelFile& file, compute::Backend& backend, const ArchOptions& options);

/// The same for Qwen3.5, dense and with experts.
Result<std::unique_ptr<const Graph>> load_qwen35(const ModelFile& file, compute::Backend& backend,
                                                 const ArchOptions& options);

/// The same for Gemma 4, for AFMoE and for MiniMax M2.
Result<std::unique_ptr<const Graph>> load_gemma4(const ModelFile& file, compute::Backend& backend,
                                                 const ArchOptions& options);
Result<std::unique_ptr<const Graph>> load_afmoe(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options);
Result<std::unique_ptr<const Graph>>
load_minimax_m2(const ModelFile& file, compute::Backend& backend, const ArchOptions& options);

/// Chooses by the file's architecture.
Result<std::unique_ptr<const Graph>> load_graph(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options);

} // namespace bloom::engine
