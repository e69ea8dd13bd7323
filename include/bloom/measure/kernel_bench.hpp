#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/compute/team.hpp>
#include <bloom/engine/synthetic_model.hpp>
#include <bloom/measure/paired.hpp>

namespace bloom::measure {

enum class KernelOp : std::uint8_t {
    dense,     ///< norm, quantise, one matrix product
    moe,       ///< norm, choice of experts, their gate, up and down products
    attention, ///< decode over a paged cache
    delta,     ///< convolution, gated delta rule and gated norm over one sequence's rows
};

std::string_view to_string(KernelOp op) noexcept;

/// One operation of one size.
struct KernelShape {
    KernelOp op = KernelOp::dense;
    kernels::WeightFormat format = kernels::WeightFormat::q8_0;
    std::int64_t k = 0; ///< dense, moe: inputs
    std::int64_t m = 0; ///< dense: outputs; moe: width of an expert
    std::int32_t n_experts = 0;
    std::int32_t top_k = 0;
    std::int32_t n_heads = 0; ///< attention
    std::int32_t n_kv_heads = 0;
    std::int32_t head_dim = 0;
    std::int32_t context = 0;   ///< tokens each sequence has
    std::int32_t n_k_heads = 0; ///< delta
    std::int32_t n_v_heads = 0;
    std::int32_t k_dim = 0;
    std::int32_t v_dim = 0;
    std::string name; ///< what it is in a model; may be empty

    friend bool operator==(const KernelShape&, const KernelShape&) = default;
};

// Bounds against nonsense on the command line.
inline constexpr std::int64_t kShapeSideMax = 1 << 20;
inline constexpr std::int32_t kShapeExpertsMax = 4096;
inline constexpr std::int32_t kShapeContextMax = 1 << 22;
inline constexpr std::int32_t kShapeDeltaDimMax = 256;
inline constexpr std::int32_t kShapeDeltaHeadsMax = 1024;
inline constexpr int kBenchRowsMax = 8192;

/// Reads `--shape`: "K,M" (dense), "K,M,experts,topk" (moe), "heads,kv_heads,head_dim" (attention),
/// "key_heads,value_heads,key_dim,value_dim" (delta).
/// Errors: invalid_argument, quoting the text and what was expected.
Result<KernelShape> parse_kernel_shape(KernelOp op, std::string_view text);
/// "q8_0" or "affine8" (groups of 64, scale and bias in bf16). Errors: invalid_argument.
Result<kernels::WeightFormat> parse_bench_format(std::string_view text);
/// The way parse_kernel_shape reads it.
std::string shape_text(const KernelShape& shape);

/// Errors: invalid_argument: a side that the format's group does not divide, more chosen experts
/// than there are, heads that kv or key heads do not divide, numbers outside the bounds.
Result<> check_shape(const KernelShape& shape);

/// Every matrix of a model of this shape, each kind once, named after the model and its role; its
/// experts; and each kind of its attention with the format-independent cache at `context` tokens,
/// or as many as the kind's window has.
std::vector<KernelShape> shapes_of_model(const engine::SyntheticShape& model,
                                         kernels::WeightFormat format, std::int32_t context);

struct KernelRow {
    KernelShape shape;
    int n = 1; ///< tokens; attention: sequences; delta: rows of one
    int threads = 1;
    Paired result;
};

struct KernelBenchOptions {
    int repetitions = 7;
    double seconds = 0;
    /// Weights (or cache) to go round in; 0: many times the last-level cache.
    std::int64_t working_set_bytes = 0;
};

/// Runs the back end's own code, as a step of a model runs it: plans of this one operation over
/// many equal layers, weights packed into the arena they always lie in, activations normed and
/// quantised inside, experts drawn anew in every repetition. One row per element of `n`.
/// Errors: those of check_shape; out_of_memory, naming what is missing.
Result<std::vector<KernelRow>> bench_kernel(compute::Team& team, const kernels::KernelTable& table,
                                            RoofSource& roofs, const KernelShape& shape,
                                            std::span<const int> n,
                                            const KernelBenchOptions& options);

} // namespace bloom::measure
