#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/engine/model_config.hpp>
#include <bloom/engine/tensor_info.hpp>

namespace bloom::engine {

/// What a tensor does in the graph, whatever its file calls it. D = d_model, Q = n_heads *
/// head_dim, K = n_kv_heads * head_dim, F = ffn_dim, V = vocab_rows, E = n_experts, Fe = the width
/// of an expert.
enum class Role : std::uint8_t {
    tok_embd,        ///< [V, D]
    output_norm,     ///< [D]
    output,          ///< [V, D]; absent when tied
    rope_factors,    ///< [head_dim / 2], divisors of the frequencies; RopeScalingKind::factors only
    attn_norm,       ///< [D]
    wq,              ///< [Q, D]
    wk,              ///< [K, D]
    wv,              ///< [K, D]
    wo,              ///< [D, Q]
    bq,              ///< [Q]
    bk,              ///< [K]
    bv,              ///< [K]
    bo,              ///< [D]
    q_norm,          ///< [head_dim]
    k_norm,          ///< [head_dim]
    ffn_norm,        ///< [D]
    w_gate,          ///< [F, D]
    w_up,            ///< [F, D]
    w_down,          ///< [D, F]
    b_gate,          ///< [F]
    b_up,            ///< [F]
    b_down,          ///< [D]
    w_router,        ///< [E, D], in layers with experts, as the following ones
    w_gate_exps,     ///< E times [Fe, D]
    w_up_exps,       ///< E times [Fe, D]
    w_down_exps,     ///< E times [D, Fe]
    attn_gate,       ///< [Q, D]: the attention's output is multiplied by its sigmoid
    attn_post_norm,  ///< [D]: norm of the attention's output
    ffn_post_norm,   ///< [D]: norm of what the feed-forward part adds
    dense_post_norm, ///< [D]: norm of the plain network's output beside experts
    experts_norm,    ///< [D]: norm before the experts beside a plain network
    experts_post_norm, ///< [D]: norm of the experts' output beside a plain network
    router_scale,      ///< [D]: weight of the norm before the router, to be divided by sqrt(D)
    expert_scale,      ///< [E]: factor of each expert's weight
    selection_bias,    ///< [E]
    layer_scale,       ///< [1]: factor of the residual stream after the layer
    w_gate_shexp,      ///< [Fs, D]: the expert that every token uses
    w_up_shexp,        ///< [Fs, D]
    w_down_shexp,      ///< [D, Fs]
    w_shared_gate,     ///< [1, D]
    w_qkv,             ///< [C, D], C = channels of LinearConfig, as the following ones
    w_z,               ///< [Hv * Dv, D]: gate of the output
    w_beta,            ///< [Hv, D]
    w_alpha,           ///< [Hv, D]
    conv,              ///< [C * taps], the taps of a channel side by side
    decay,             ///< [Hv], -exp(A_log)
    dt_bias,           ///< [Hv]
    delta_norm,        ///< [Dv]
    w_delta_out,       ///< [D, Hv * Dv]
    mtp_fc,            ///< [D, 2 D]: draft layers, which are those from n_layers on
    mtp_embd_norm,     ///< [D]
    mtp_hidden_norm,   ///< [D]
    mtp_norm,          ///< [D]
};

inline constexpr int kRoleCount = static_cast<int>(Role::mtp_norm) + 1;

std::string_view to_string(Role role) noexcept;
/// True for the roles that exist once per layer.
bool is_layer_role(Role role) noexcept;
/// True for those whose tensor has one axis (norms, biases, factors).
bool is_vector_role(Role role) noexcept;
/// True for those that are one matrix for each expert.
bool is_expert_role(Role role) noexcept;

/// The order in which rows of a file become rows of the model. Rows move whole, so quantised blocks
/// stay valid.
struct RowOrder {
    enum class Kind : std::uint8_t {
        /// GGUF files of architecture `llama` keep q and k rows so that rotary pairs are
        /// neighbours, new[2j] = old[j], new[2j+1] = old[j + d/2] inside every head; the model
        /// wants them half-split, as everywhere else.
        rotary_pairs,
        /// Of heads in the file those with even numbers: the queries of Qwen3.5's q_proj.
        even_heads,
        odd_heads, ///< those with odd ones: the gates beside them
    };

    std::int64_t head_dim = 0; ///< 0: the file's order is the model's
    Kind kind = Kind::rotary_pairs;

    bool is_identity() const noexcept { return head_dim == 0; }

    /// Row of the file that holds row `row` of the model.
    std::int64_t source_row(std::int64_t row) const noexcept {
        if (head_dim == 0) return row;
        const std::int64_t in_head = row % head_dim;
        const std::int64_t half = head_dim / 2;
        const std::int64_t first = row - in_head;
        if (kind == Kind::even_heads) return 2 * first + in_head;
        if (kind == Kind::odd_heads) return 2 * first + head_dim + in_head;
        return in_head < half ? first + 2 * in_head : first + 2 * (in_head - half) + 1;
    }
};

/// How the values of a vector in its file become the model's, in f32.
enum class ValueMap : std::uint8_t {
    as_stored,
    plus_one,  ///< norms that are stored less one
    minus_exp, ///< -exp(v): rates of decay that are stored as logarithms
};

/// A piece of a model file.
struct FileRange {
    std::uint32_t file = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

/// One weight in its file. Shape and sizes have been checked against the configuration.
/// Vectors: matrix.rows == 1, matrix.k == length, a plain format.
/// Experts: one weight for all of a layer, whether the file stacks them in one tensor or has one
/// for each; all have the first one's shape and format.
/// Lifetime: points into the mapping; valid as long as the ModelFile.
struct WeightView {
    Role role = Role::tok_embd;
    std::int64_t layer = -1;        ///< -1: once per model
    std::string name;               ///< in the file, without the quantisation's suffixes
    kernels::SourceMatrix matrix{}; ///< of experts the first one
    std::vector<kernels::SourceMatrix> experts; ///< of experts all, by number; otherwise empty
    RowOrder order;                             ///< of matrix rows, or of the elements of a vector
    ValueMap values = ValueMap::as_stored;      ///< of a vector
    /// Codes, then scales and biases where they are apart. Of a tensor that two roles share each
    /// has one half, so that sums are right and a layer's ranges are the layer.
    std::vector<FileRange> ranges;

    std::int64_t n_matrices() const noexcept {
        return experts.empty() ? 1 : static_cast<std::int64_t>(experts.size());
    }

    /// Matrix of expert i, in the file.
    const kernels::SourceMatrix& expert(std::int64_t i) const {
        return experts[static_cast<std::size_t>(i)];
    }

    std::int64_t n_elements() const noexcept { return n_matrices() * matrix.rows * matrix.k; }

    /// Bytes in the file.
    std::uint64_t bytes() const noexcept {
        std::uint64_t sum = 0;
        for (const FileRange& range : ranges)
            sum += range.bytes;
        return sum;
    }
};

/// Bytes of one row of `codes`.
std::size_t row_bytes(kernels::WeightFormat format, std::int64_t k) noexcept;
/// Bytes of one row of `scales`, and of `biases`; 0 where the format has none of its own.
std::size_t scale_row_bytes(kernels::WeightFormat format, std::int64_t k) noexcept;

/// The matrix with its rows in the model's order: view.matrix itself where the file has that order,
/// otherwise a copy in `scratch` (resized; it must outlive the use of the result). Packing reads
/// this. Experts never need it: see WeightView::expert.
kernels::SourceMatrix in_model_order(const WeightView& view, std::vector<std::uint8_t>& scratch);

/// Expands a vector weight to f32, in the model's order and with its values as the model wants
/// them. out.size() == matrix.k.
void expand_vector(const WeightView& view, std::span<float> out);

/// Row `row` (model's order) of any weight as f32 [k]: the meaning of the formats, for audits,
/// tests and small matrices; not fast. Rows of experts are counted through all of them.
/// out.size() == matrix.k.
void dequantise_row(const WeightView& view, std::int64_t row, std::span<float> out);
void dequantise_row(const kernels::SourceMatrix& matrix, std::int64_t row, std::span<float> out);

/// All weights of a model by role.
class Weights {
public:
    /// The weight, or nullptr where the model has none. `layer` is -1 for roles outside of layers.
    const WeightView* find(Role role, std::int64_t layer = -1) const noexcept;
    /// The weight; a missing one is the caller's bug. Everything that the configuration asks for is
    /// there once loading has succeeded.
    const WeightView& at(Role role, std::int64_t layer = -1) const;

    std::span<const WeightView> all() const noexcept { return views_; }

    /// Names of tensors in the file that the graph does not use.
    std::span<const std::string> unused() const noexcept { return unused_; }

    std::uint64_t total_bytes() const noexcept;

private:
    friend class WeightLoader;
    std::vector<WeightView> views_;
    std::vector<std::int32_t> index_; ///< [(layer + 1) * kRoleCount + role] -> views_, or -1
    std::vector<std::string> unused_;
};

/// Finds every weight of `config` among the tensors of a GGUF file, checks type and shape.
/// Errors: corrupt (missing or wrong shape), unsupported (type); the message names the tensor.
Result<Weights> load_gguf_weights(const ModelConfig& config, std::span<const TensorInfo> tensors);

struct HfQuantization;

/// The same for the tensors of a Hugging Face or MLX directory; `quantization` are the settings of
/// config.json (affine 8 bit, group 64, is what the engine runs).
Result<Weights> load_hf_weights(const ModelConfig& config, const HfQuantization& quantization,
                                std::span<const TensorInfo> tensors);

/// The weights of a model that has no file: shapes and sizes, no data. Matrices in `format`, which
/// is q8_0 or affine8_bf16, routers and vectors as files of that kind have them.
/// Errors: unsupported (a width that is not a multiple of the format's group).
Result<Weights> shape_weights(const ModelConfig& config, kernels::WeightFormat format);

/// Scans values that could turn every result into NaN: vectors always, the scales and biases of
/// quantised matrices and the elements of plain ones with `every_block` (one pass over the file).
/// Errors: corrupt, naming the tensor and the row.
Result<> verify_finite(const Weights& weights, bool every_block);

} // namespace bloom::engine
