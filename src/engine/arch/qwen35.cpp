#include <optional>

#include "engine/arch/common.hpp"

/// Qwen3.5: layers of the gated delta rule with every fourth one of gated full attention, each with
/// a plain network or with experts beside a shared one that has a gate of its own. A draft head is
/// one more layer of full attention, over the model's final hidden states and the tokens that
/// follow them.
namespace bloom::engine {
namespace {

using namespace arch;

struct DeltaWeights {
    WeightId qkv, z, alpha, beta;
    WeightId conv, decay, dt_bias;
    WeightId norm, out;
    std::int32_t state_layer; ///< within the recurrent state
};

struct SharedExpert {
    FfnWeights ffn;
    WeightId gate; ///< [1, D]
};

struct Layer {
    WeightId attn_norm;
    std::optional<DeltaWeights> delta; ///< without: attention
    AttentionWeights attention;
    KvPlace kv;
    WeightId ffn_norm;
    std::optional<ExpertWeights> experts; ///< without: ffn
    SharedExpert shared;                  ///< beside experts
    FfnWeights ffn;
};

struct DraftHead {
    WeightId embd_norm, hidden_norm;
    WeightId fc; ///< [D, 2 D]
    Layer layer;
    WeightId norm;
};

// --- loading
// --------------------------------------------------------------------------------------

/// What the gates see decides what a state remembers: their products take unrounded activations.
Result<DeltaWeights> load_delta(Uploader& up, std::int64_t layer) {
    DeltaWeights w{};
    BLOOM_TRY(w.qkv, up.matrix(Role::w_qkv, layer));
    BLOOM_TRY(w.z, up.matrix(Role::w_z, layer));
    BLOOM_TRY(w.alpha, up.exact_matrix(Role::w_alpha, layer));
    BLOOM_TRY(w.beta, up.exact_matrix(Role::w_beta, layer));
    BLOOM_TRY(w.conv, up.vector(Role::conv, layer));
    BLOOM_TRY(w.decay, up.vector(Role::decay, layer));
    BLOOM_TRY(w.dt_bias, up.vector(Role::dt_bias, layer));
    BLOOM_TRY(w.norm, up.vector(Role::delta_norm, layer));
    BLOOM_TRY(w.out, up.matrix(Role::w_delta_out, layer));
    return w;
}

Result<SharedExpert> load_shared(Uploader& up, std::int64_t layer) {
    SharedExpert w{};
    BLOOM_TRY(w.gate, up.exact_matrix(Role::w_shared_gate, layer));
    BLOOM_TRY(w.ffn, load_shared_ffn(up, layer));
    return w;
}

compute::RecurrentSpec recurrent(const LinearConfig& l) {
    const auto i32 = [](std::int64_t v) { return static_cast<std::int32_t>(v); };
    return {0, i32(l.n_k_heads), i32(l.n_v_heads), i32(l.k_dim), i32(l.v_dim), i32(l.conv_taps)};
}

Result<Layer> load_layer(Uploader& up, Base& base, kernels::KvType kv_type, std::int64_t i) {
    const ModelConfig& c = base.config;
    Layer l{};
    BLOOM_TRY(l.attn_norm, up.vector(Role::attn_norm, i));
    if (c.is_linear(i)) {
        BLOOM_TRY(l.delta, load_delta(up, i));
        if (!base.state.recurrent) base.state.recurrent = recurrent(c.linear);
        l.delta->state_layer = base.state.recurrent->n_layers++;
    } else {
        BLOOM_TRY(l.attention, load_attention(up, i));
        l.kv = base.place(kv_group(c, i, kv_type));
    }
    BLOOM_TRY(l.ffn_norm, up.vector(Role::ffn_norm, i));
    if (c.has_experts(i)) {
        BLOOM_TRY(l.experts, load_experts(up, i));
        BLOOM_TRY(l.shared, load_shared(up, i));
    } else {
        BLOOM_TRY(l.ffn, load_ffn(up, i));
    }
    return l;
}

Result<DraftHead> load_draft(Uploader& up, Base& base, kernels::KvType kv_type) {
    const std::int64_t i = base.config.n_layers;
    BLOOM_OK(up.file().begin_layer(i));
    DraftHead head{};
    BLOOM_TRY(head.embd_norm, up.vector(Role::mtp_embd_norm, i));
    BLOOM_TRY(head.hidden_norm, up.vector(Role::mtp_hidden_norm, i));
    BLOOM_TRY(head.fc, up.matrix(Role::mtp_fc, i));
    BLOOM_TRY(head.layer, load_layer(up, base, kv_type, i));
    BLOOM_TRY(head.norm, up.vector(Role::mtp_norm, i));
    up.file().end_layer(i);
    return head;
}

// --- writing
// --------------------------------------------------------------------------------------

class DeltaBlock {
public:
    DeltaBlock(PlanWriter& plan, const ModelConfig& c)
        : plan_(plan), config_(c), qkv_(plan.tensor(c.linear.channels())),
          z_(plan.tensor(c.linear.v_width())), alpha_(plan.tensor(c.linear.n_v_heads)),
          beta_(plan.tensor(c.linear.n_v_heads)), out_(plan.tensor(c.linear.v_width())) {}

    void write(TensorId in, const DeltaWeights& w, TensorId to) {
        plan_.matmul(in, w.qkv, WeightId::none, qkv_);
        plan_.matmul(in, w.z, WeightId::none, z_);
        plan_.matmul(in, w.alpha, WeightId::none, alpha_);
        plan_.matmul(in, w.beta, WeightId::none, beta_);
        plan_.add(compute::DeltaRuleOp{qkv_, alpha_, beta_, w.conv, w.decay, w.dt_bias,
                                       w.state_layer, config_.linear.tiled, out_});
        plan_.add(compute::GatedNormOp{out_, w.norm, z_, static_cast<float>(config_.norm_eps),
                                       config_.linear.v_dim, out_});
        plan_.matmul(out_, w.out, WeightId::none, to);
    }

private:
    PlanWriter& plan_;
    const ModelConfig& config_;
    TensorId qkv_, z_, alpha_, beta_, out_;
};

/// What layers are written with.
class Blocks {
public:
    Blocks(PlanWriter& plan, const ModelConfig& c, RopeId rope, bool with_delta)
        : plan_(plan), rope_(rope), attention_(plan, c.n_heads, c.n_kv_heads, c.head_dim, true) {
        if (with_delta) delta_.emplace(plan, c);
        if (c.experts.n_experts == 0) {
            ffn_.emplace(plan, c.ffn_dim);
            return;
        }
        experts_.emplace(plan, c.experts, ExpertsBlock::Rule{});
        ffn_.emplace(plan, c.experts.shared_ffn_dim);
        shared_ = plan.tensor(c.d_model);
        shared_gate_ = plan.tensor(1);
    }

    void write(const Layer& l) {
        plan_.norm_stream(l.attn_norm);
        if (l.delta) {
            delta_->write(plan_.input(), *l.delta, plan_.branch());
        } else {
            attention_.write(plan_.input(), l.attention, rope_, l.kv, plan_.branch());
        }
        plan_.add_branch();
        plan_.norm_stream(l.ffn_norm);
        if (l.experts) {
            // Beside the router: one pass for both.
            plan_.matmul(plan_.input(), l.shared.gate, WeightId::none, shared_gate_);
            experts_->write(plan_.input(), plan_.input(), *l.experts, plan_.branch());
            ffn_->write(plan_.input(), l.shared.ffn, shared_);
            plan_.add(compute::AddOp{plan_.branch(), shared_, shared_gate_});
        } else {
            ffn_->write(plan_.input(), l.ffn, plan_.branch());
        }
        plan_.add_branch();
    }

private:
    PlanWriter& plan_;
    RopeId rope_;
    AttentionBlock attention_;
    std::optional<DeltaBlock> delta_;
    std::optional<ExpertsBlock> experts_;
    std::optional<FfnBlock> ffn_; ///< the shared expert's beside experts
    TensorId shared_ = TensorId::none;
    TensorId shared_gate_ = TensorId::none;
};

class Qwen35Graph final : public Graph {
public:
    Qwen35Graph(Base base, RopeId rope, std::vector<Layer> layers, std::optional<DraftHead> draft)
        : base_(std::move(base)), rope_(rope), layers_(std::move(layers)),
          draft_(std::move(draft)) {}

    const StateSpec& state() const noexcept override { return base_.state; }

    std::int64_t vocab_rows() const noexcept override { return base_.config.vocab_rows; }

    compute::Plan plan(const compute::PlanKey& key) const override {
        PlanWriter plan(base_, key);
        Blocks blocks(plan, base_.config, rope_, true);
        plan.embed();
        for (const Layer& l : layers_)
            blocks.write(l);
        return draft_ ? std::move(plan).finish_and_keep(base_.output_norm)
                      : std::move(plan).finish();
    }

    bool has_draft_head() const noexcept override { return draft_.has_value(); }

    compute::Plan draft_plan(const compute::PlanKey& key) const override {
        const std::int64_t width = base_.config.d_model;
        PlanWriter plan(base_, key);
        Blocks blocks(plan, base_.config, rope_, false);
        const TensorId hidden = plan.tensor(width);
        const TensorId both = plan.tensor(2 * width);
        plan.embed();
        plan.norm(plan.stream(), draft_->embd_norm, width, plan.input());
        plan.add(compute::CarriedRowsOp{hidden});
        plan.norm(hidden, draft_->hidden_norm, width, hidden);
        plan.add(compute::ConcatOp{plan.input(), hidden, both});
        plan.matmul(both, draft_->fc, WeightId::none, plan.stream());
        blocks.write(draft_->layer);
        return std::move(plan).finish_and_keep(draft_->norm);
    }

    const WeightTraffic& traffic() const noexcept override { return base_.traffic; }

    std::int64_t macs_per_token() const noexcept override { return base_.macs_per_token; }

private:
    Base base_;
    RopeId rope_;
    std::vector<Layer> layers_;
    std::optional<DraftHead> draft_;
};

} // namespace

Result<std::unique_ptr<const Graph>> load_qwen35(const ModelFile& file, compute::Backend& backend,
                                                 const ArchOptions& options) {
    Uploader up(file, backend);
    BLOOM_TRY(Base base, load_base(up));
    BLOOM_TRY(const RopeId rope, load_rope(up));
    const auto load = [&](std::int64_t i) { return load_layer(up, base, options.kv_type, i); };
    BLOOM_TRY(std::vector<Layer> layers, load_layers<Layer>(up, options, base, load));
    // Traffic and work are the model's own from here on. The head guesses what the whole model
    // says, not a slice of it.
    std::optional<DraftHead> draft;
    const bool whole = static_cast<std::int64_t>(layers.size()) == base.config.n_layers;
    if (options.draft_head && whole && base.config.n_draft_layers > 0) {
        BLOOM_TRY(draft, load_draft(up, base, options.kv_type));
    }
    return std::make_unique<const Qwen35Graph>(std::move(base), rope, std::move(layers),
                                               std::move(draft));
}

} // namespace bloom::engine
