#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include <bloom/compute/tensor.hpp>

/// A plan is one step of a model as a straight list of operations over opaque tensors. It is
/// written once per key and then run again and again: tokens, positions, page tables and row counts
/// are step inputs (StepInputs), so nothing in a plan branches on data and a device may record it
/// once.
namespace bloom::compute {

/// decode: every sequence has exactly one row. prefill: sequences may have several consecutive rows
/// beside others that have one.
enum class Phase : std::uint8_t { decode, prefill };

/// Where an operation runs; `any` leaves it to the backend.
enum class Placement : std::uint8_t { any, cpu, gpu };

struct PlanKey {
    Phase phase = Phase::decode;
    std::int32_t max_rows = 1;       ///< tokens of a step
    std::int32_t max_logit_rows = 1; ///< rows whose logits are wanted

    friend bool operator==(const PlanKey&, const PlanKey&) = default;
};

/// out[t] = scale * row tokens[t] of `table` [vocab, cols].
struct EmbedOp {
    WeightId table;
    TensorId out;
    float scale = 1.0F;
};

/// Each run of `width` columns on its own: out = weight * in / rms(in), weight [width] f32.
/// `width` == cols for a layer norm, head_dim for a norm per head. out may be in. Without a weight
/// (none) only divided.
struct RmsNormOp {
    TensorId in;
    WeightId weight;
    float eps;
    std::int64_t width;
    TensorId out;
};

/// out[t, r] = sum_k weight[r, k] * in[t, k] + bias[r]. bias may be none.
struct MatmulOp {
    TensorId in;
    WeightId weight;
    WeightId bias;
    TensorId out;
};

/// into += from, or into += sigmoid(gate) * from with one number per row in `gate` [1].
struct AddOp {
    TensorId into;
    TensorId from;
    TensorId gate = TensorId::none;
};

/// x *= factor, in place.
struct ScaleOp {
    TensorId x;
    float factor;
};

/// x = cap * tanh(x / cap), in place.
struct SoftcapOp {
    TensorId x;
    float cap;
};

/// Rotates the heads of x [n_heads * head_dim] in place by the row's position: with a table of P
/// pairs, dimensions j and j + P of a head for j < P; those from 2 P on stay.
struct RopeOp {
    TensorId x;
    RopeId table;
    std::int32_t n_heads;
    std::int32_t head_dim;
};

/// Writes k and v [n_kv_heads * dim] of every row to its sequence's page in `pool`.
struct KvStoreOp {
    TensorId k;
    TensorId v;
    KvPoolId pool;
    std::int32_t layer; ///< index within the pool's group
};

/// Causal attention of q [n_heads * k_dim] over the row's sequence up to and with its own position,
/// at most the pool's window; out [n_heads * v_dim].
struct AttentionOp {
    TensorId q;
    KvPoolId pool;
    std::int32_t layer;
    std::int32_t n_heads;
    float scale;
    TensorId out;
};

enum class GateActivation : std::uint8_t {
    silu,
    gelu_tanh, ///< 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    sigmoid,   ///< of gates of an attention's output; not of experts
};

/// out = act(gate) * up. out may be gate or up.
struct GatedMulOp {
    TensorId gate;
    TensorId up;
    TensorId out;
    GateActivation activation = GateActivation::silu;
};

enum class RouteScore : std::uint8_t {
    softmax, ///< over all experts
    sigmoid, ///< each on its own
};

/// Chooses the top_k experts of every row from the router's logits [n_experts], f32 throughout:
///   s = score(logits), chosen by s + selection_bias (where given), ties to the lower index
///   w = s of the chosen; divided by their sum with `normalise`; times `scale`, and times the
///   expert's own entry of `expert_scale` (where given)
/// ids [top_k] are i32 in descending order of what they were chosen by, weights [top_k] f32 beside
/// them. NaN logits choose deterministically and give NaN weights.
struct RouteOp {
    TensorId logits;
    WeightId selection_bias; ///< [n_experts] f32, or none
    RouteScore score;
    bool normalise;
    float scale;
    std::int32_t top_k;
    TensorId ids;
    TensorId weights;
    WeightId expert_scale = WeightId::none; ///< [n_experts] f32, or none
};

/// The chosen experts' feed-forward networks, weighted:
///   out[t] = sum over j < top_k, experts ascending, of weights[t, j] * down_e(act(gate_e in[t]) *
///   up_e in[t]), e = ids[t, j], one fma chain from zero.
/// gate and up are stacks [n_experts][ffn, cols(in)], down [n_experts][cols(out), ffn], made by
/// Backend::upload_experts. Only the weights of chosen experts are read.
struct MoeOp {
    TensorId in;
    TensorId ids;
    TensorId weights;
    WeightId gate;
    WeightId up;
    WeightId down;
    GateActivation activation;
    std::int32_t top_k;
    TensorId out;
};

/// Gated delta rule with its causal convolution, one row after the other of each sequence, on the
/// sequence's recurrent state (RecurrentInput, RecurrentSpec). With Hk key heads, Hv value heads
/// and C = 2 Hk Dk + Hv Dv channels, in f32 throughout:
///   x[c] = silu(sum over j < taps of conv[c][j] * qkv[t - taps + 1 + j][c]), zeros before the
///   start; q, k, v = the heads of x, in this order; q and k divided by sqrt(sum of squares +
///   1e-6), q by sqrt(Dk) as well; value head h uses key head h / (Hv / Hk), or h mod Hk where the
///   heads are `tiled`
///   g = decay[h] * softplus(alpha[h] + dt_bias[h]), b = sigmoid(beta[h])
///   S = exp(g) S;  d = b (v - S^T k);  S = S + k d^T;  out[h] = S^T q
/// One order of arithmetic however many rows a step has, so prefill, decoding and verification
/// agree bit for bit. Source: Yang et al., "Gated Delta Networks", arXiv 2412.06464.
struct DeltaRuleOp {
    TensorId qkv;   ///< [C]
    TensorId alpha; ///< [Hv]
    TensorId beta;  ///< [Hv]
    WeightId conv;  ///< [C * taps], the taps of a channel side by side, the last one the row's own
    WeightId decay; ///< [Hv], not positive
    WeightId dt_bias;   ///< [Hv]
    std::int32_t layer; ///< within the recurrent state
    bool tiled;
    TensorId out; ///< [Hv * Dv]
};

/// Each run of `width` columns on its own: out = weight * in / rms(in) * silu(gate). out may be in.
struct GatedNormOp {
    TensorId in;
    WeightId weight; ///< [width]
    TensorId gate;
    float eps;
    std::int64_t width;
    TensorId out;
};

/// Keeps the rows of `in` for a later plan: carried[t] = in[t]. One per plan.
struct KeepRowsOp {
    TensorId in;
};

/// out[t] = carried[carry_rows[t]], what the last plan with a KeepRowsOp kept.
struct CarriedRowsOp {
    TensorId out;
};

/// out[t] = a[t] and then b[t], side by side; cols(out) = cols(a) + cols(b).
struct ConcatOp {
    TensorId a;
    TensorId b;
    TensorId out;
};

/// out[i] = in[logit_rows[i]]: from all rows to the ones that matter.
struct GatherRowsOp {
    TensorId in;
    TensorId out;
};

/// Names the tensor that sample() and read_logits() look at after the run.
struct LogitsOp {
    TensorId in;
};

using OpBody =
    std::variant<EmbedOp, RmsNormOp, MatmulOp, AddOp, ScaleOp, SoftcapOp, RopeOp, KvStoreOp,
                 AttentionOp, GatedMulOp, RouteOp, MoeOp, DeltaRuleOp, GatedNormOp, KeepRowsOp,
                 CarriedRowsOp, ConcatOp, GatherRowsOp, LogitsOp>;

struct Op {
    OpBody body;
    Placement placement = Placement::any;
};

class Plan {
public:
    explicit Plan(PlanKey key) : key_(key) {}

    const PlanKey& key() const noexcept { return key_; }

    const std::vector<Op>& ops() const noexcept { return ops_; }

    const std::vector<TensorDesc>& tensors() const noexcept { return tensors_; }

    const TensorDesc& desc(TensorId id) const { return tensors_[index_of(id)]; }

    /// A new intermediate tensor, f32 or i32. Reuse handles between layers: each is a buffer.
    TensorId tensor(std::int64_t cols, RowKind rows = RowKind::tokens, DType dtype = DType::f32) {
        tensors_.push_back({dtype, rows, cols});
        return static_cast<TensorId>(tensors_.size() - 1);
    }

    void add(OpBody body, Placement placement = Placement::any) {
        ops_.push_back({body, placement});
    }

private:
    PlanKey key_;
    std::vector<Op> ops_;
    std::vector<TensorDesc> tensors_;
};

} // namespace bloom::compute
