#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <bloom/base/function_ref.hpp>
#include <bloom/engine/arch.hpp>

/// What architectures are made of: loading (Uploader, Base, the weights of a block) and writing
/// (PlanWriter, blocks). An architecture is a struct Layer of such parts, a function that loads one
/// and a function that writes the plan; it uses the blocks' single steps where it puts something of
/// its own between them.
namespace bloom::engine::arch {

using compute::RopeId;
using compute::TensorId;
using compute::WeightId;

// --- loading
// ---------------------------------------------------------------------------------------

/// Brings weights to the backend one by one and sums up what steps will read and compute.
class Uploader {
public:
    Uploader(const ModelFile& file, compute::Backend& backend) : file_(file), backend_(backend) {}

    const ModelFile& file() const noexcept { return file_; }

    compute::Backend& backend() const noexcept { return backend_; }

    Result<WeightId> matrix(Role role, std::int64_t layer = -1);
    /// As f32 whatever the file has, so that its products see unrounded activations: routers.
    Result<WeightId> exact_matrix(Role role, std::int64_t layer);
    /// All experts of a layer.
    Result<WeightId> experts(Role role, std::int64_t layer);
    /// A vector, or none where the model has none.
    Result<WeightId> vector(Role role, std::int64_t layer = -1);

    /// A vector that there is, every element times `factor`.
    Result<WeightId> scaled_vector(Role role, std::int64_t layer, float factor);
    /// The only element of a vector that there is.
    Result<float> scalar(Role role, std::int64_t layer);

    /// Counts a matrix that every step multiplies with; uploads do so by themselves, the embedding
    /// apart.
    void count(const WeightView& view);

    const WeightTraffic& traffic() const noexcept { return traffic_; }

    std::int64_t macs_per_token() const noexcept { return macs_per_token_; }

private:
    const ModelFile& file_;
    compute::Backend& backend_;
    WeightTraffic traffic_;
    std::int64_t macs_per_token_ = 0;
    std::vector<std::uint8_t> scratch_;
    std::vector<float> values_;
};

/// Where a layer's keys and values are.
struct KvPlace {
    compute::KvPoolId pool = compute::KvPoolId::none;
    std::int32_t layer = 0; ///< within the pool's group
};

/// What every model has around its layers.
struct Base {
    ModelConfig config;
    StateSpec state;
    WeightId tok_embd = WeightId::none;
    WeightId output_norm = WeightId::none;
    WeightId output = WeightId::none; ///< tok_embd where tied
    WeightTraffic traffic;
    std::int64_t macs_per_token = 0;

    /// The next layer's place in the group of `spec`, which is made when it is the first
    /// (spec.n_layers does not matter).
    KvPlace place(const compute::KvGroupSpec& spec);
};

Result<Base> load_base(Uploader& up);
/// The rotation that the configuration describes.
Result<RopeId> load_rope(Uploader& up);
/// Keys and values of a layer: its heads, its window.
compute::KvGroupSpec kv_group(const ModelConfig& config, std::int64_t layer, kernels::KvType type);

/// Loads the first options.n_layers layers, or all. Traffic and work of the whole are in `base`
/// afterwards.
template <class Layer>
Result<std::vector<Layer>> load_layers(Uploader& up, const ArchOptions& options, Base& base,
                                       FunctionRef<Result<Layer>(std::int64_t)> load) {
    const std::int64_t all = base.config.n_layers;
    const std::int64_t wanted = options.n_layers > 0 ? options.n_layers : all;
    std::vector<Layer> layers;
    for (std::int64_t i = 0; i < std::min(wanted, all); ++i) {
        BLOOM_OK(up.file().begin_layer(i));
        BLOOM_TRY(Layer layer, load(i));
        up.file().end_layer(i);
        layers.push_back(std::move(layer));
    }
    base.traffic = up.traffic();
    base.macs_per_token = up.macs_per_token();
    return layers;
}

struct AttentionWeights {
    WeightId wq, wk, wv, wo; ///< wv none: values are made from keys
    WeightId bq, bk, bv, bo; ///< or none
    WeightId q_norm, k_norm; ///< or none
    WeightId gate;           ///< of the output, where the model has one; or none
};

Result<AttentionWeights> load_attention(Uploader& up, std::int64_t layer);

/// A gated feed-forward network.
struct FfnWeights {
    WeightId gate, up, down;
    WeightId b_gate, b_up, b_down; ///< or none
};

Result<FfnWeights> load_ffn(Uploader& up, std::int64_t layer);
/// The expert that every token uses.
Result<FfnWeights> load_shared_ffn(Uploader& up, std::int64_t layer);

struct ExpertWeights {
    WeightId router;
    WeightId selection_bias; ///< or none
    WeightId expert_scale;   ///< or none
    WeightId gate, up, down;
};

Result<ExpertWeights> load_experts(Uploader& up, std::int64_t layer);

// --- writing
// ---------------------------------------------------------------------------------------

/// Writes the operations of one plan. Tensors are made once and used again in every layer.
class PlanWriter {
public:
    PlanWriter(const Base& model, const compute::PlanKey& key);

    TensorId stream() const noexcept { return stream_; } ///< residual stream [n, D]

    TensorId input() const noexcept { return input_; } ///< what a block reads [n, D]

    TensorId branch() const noexcept { return branch_; } ///< what a block adds [n, D]

    TensorId tensor(std::int64_t cols, compute::DType dtype = compute::DType::f32) {
        return plan_.tensor(cols, compute::RowKind::tokens, dtype);
    }

    void add(compute::OpBody op) { plan_.add(op); }

    /// stream = rows of the embedding, times its scale.
    void embed();
    /// out = the norm of every run of `width` columns of `in`.
    void norm(TensorId in, WeightId weight, std::int64_t width, TensorId out);
    /// The same in place, where there is a weight.
    void norm_heads(TensorId x, WeightId weight, std::int64_t width);
    /// input = norm of the stream.
    void norm_stream(WeightId weight);
    void matmul(TensorId in, WeightId weight, WeightId bias, TensorId out);
    /// The norm of the branch, in place.
    void norm_branch(WeightId weight);
    /// stream += branch.
    void add_branch();
    /// Norm, head and logits of the rows that are asked for.
    compute::Plan finish() &&;
    /// The same with the norm of all rows, which are kept for a draft head: what it sees of the
    /// model, and of itself where it goes on from its own guess.
    compute::Plan finish_and_keep(WeightId norm_weight) &&;

private:
    /// Head and logits of `normed` [logits, D].
    void write_logits(TensorId normed);

    const Base& model_;
    compute::Plan plan_;
    TensorId stream_;
    TensorId input_;
    TensorId branch_;
};

/// Grouped-query attention with heads of one shape. `gated`: its output is multiplied by the
/// sigmoid of a projection of its input.
class AttentionBlock {
public:
    AttentionBlock(PlanWriter& plan, std::int64_t n_heads, std::int64_t n_kv_heads,
                   std::int64_t head_dim, bool gated = false);

    TensorId q() const noexcept { return q_; } ///< [n, n_heads * head_dim]

    TensorId k() const noexcept { return k_; } ///< [n, n_kv_heads * head_dim]

    TensorId v() const noexcept { return v_; }

    TensorId out() const noexcept { return out_; } ///< of attend(), [n, n_heads * head_dim]

    // The steps, in their usual order.
    void project(TensorId in, const AttentionWeights& w);
    void norm_heads(const AttentionWeights& w);
    void rotate(RopeId rope);
    void attend(const KvPlace& place, float scale);
    /// Gate, where there is one, and projection.
    void output(const AttentionWeights& w, TensorId to);

    /// All of them with a scale of 1/sqrt(head_dim).
    void write(TensorId in, const AttentionWeights& w, RopeId rope, const KvPlace& place,
               TensorId to);

private:
    PlanWriter& plan_;
    std::int32_t n_heads_;
    std::int32_t n_kv_heads_;
    std::int32_t head_dim_;
    TensorId q_, k_, v_, out_;
    TensorId gate_ = TensorId::none;
};

/// down(act(gate x) * up x).
class FfnBlock {
public:
    FfnBlock(PlanWriter& plan, std::int64_t ffn_dim,
             compute::GateActivation activation = compute::GateActivation::silu);

    void write(TensorId in, const FfnWeights& w, TensorId to);

private:
    PlanWriter& plan_;
    compute::GateActivation activation_;
    TensorId gate_, up_;
};

/// Router and chosen experts.
class ExpertsBlock {
public:
    struct Rule {
        compute::RouteScore score = compute::RouteScore::softmax;
        compute::GateActivation activation = compute::GateActivation::silu;
    };

    ExpertsBlock(PlanWriter& plan, const ExpertConfig& config, Rule rule);

    /// router_in is what the router reads, in what the experts do; the same in most families.
    void write(TensorId router_in, TensorId in, const ExpertWeights& w, TensorId to);

private:
    PlanWriter& plan_;
    const ExpertConfig& config_;
    Rule rule_;
    TensorId logits_, ids_, weights_;
};

// --- the graph
// -------------------------------------------------------------------------------------

/// A graph out of a base, layers and the function that writes their plan.
template <class Layer>
class LayeredGraph final : public Graph {
public:
    using Write = compute::Plan (*)(const Base&, std::span<const Layer>, const compute::PlanKey&);

    LayeredGraph(Base base, std::vector<Layer> layers, Write write)
        : base_(std::move(base)), layers_(std::move(layers)), write_(write) {}

    const StateSpec& state() const noexcept override { return base_.state; }

    std::int64_t vocab_rows() const noexcept override { return base_.config.vocab_rows; }

    compute::Plan plan(const compute::PlanKey& key) const override {
        return write_(base_, layers_, key);
    }

    const WeightTraffic& traffic() const noexcept override { return base_.traffic; }

    std::int64_t macs_per_token() const noexcept override { return base_.macs_per_token; }

private:
    Base base_;
    std::vector<Layer> layers_;
    Write write_;
};

/// Loads the layers, too, and makes the graph of them; `base` is used up. `load` may place layers
/// in it.
template <class Layer>
Result<std::unique_ptr<const Graph>> load_graph_of(Uploader& up, const ArchOptions& options,
                                                   Base& base,
                                                   FunctionRef<Result<Layer>(std::int64_t)> load,
                                                   typename LayeredGraph<Layer>::Write write) {
    BLOOM_TRY(std::vector<Layer> layers, load_layers<Layer>(up, options, base, load));
    return std::make_unique<const LayeredGraph<Layer>>(std::move(base), std::move(layers), write);
}

} // namespace bloom::engine::arch
