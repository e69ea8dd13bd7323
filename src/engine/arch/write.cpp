#include <cmath>

#include "engine/arch/common.hpp"

namespace bloom::engine::arch {

// --- PlanWriter
// ------------------------------------------------------------------------------------

PlanWriter::PlanWriter(const Base& model, const compute::PlanKey& key)
    : model_(model), plan_(key), stream_(plan_.tensor(model.config.d_model)),
      input_(plan_.tensor(model.config.d_model)), branch_(plan_.tensor(model.config.d_model)) {}

void PlanWriter::embed() {
    plan_.add(
        compute::EmbedOp{model_.tok_embd, stream_, static_cast<float>(model_.config.embed_scale)});
}

void PlanWriter::norm(TensorId in, WeightId weight, std::int64_t width, TensorId out) {
    const auto eps = static_cast<float>(model_.config.norm_eps);
    plan_.add(compute::RmsNormOp{in, weight, eps, width, out});
}

void PlanWriter::norm_heads(TensorId x, WeightId weight, std::int64_t width) {
    if (weight != WeightId::none) norm(x, weight, width, x);
}

void PlanWriter::norm_stream(WeightId weight) {
    norm(stream_, weight, model_.config.d_model, input_);
}

void PlanWriter::matmul(TensorId in, WeightId weight, WeightId bias, TensorId out) {
    plan_.add(compute::MatmulOp{in, weight, bias, out});
}

void PlanWriter::norm_branch(WeightId weight) {
    norm(branch_, weight, model_.config.d_model, branch_);
}

void PlanWriter::add_branch() {
    plan_.add(compute::AddOp{stream_, branch_});
}

void PlanWriter::write_logits(TensorId normed) {
    const TensorId logits = plan_.tensor(model_.config.vocab_rows, compute::RowKind::logits);
    matmul(normed, model_.output, WeightId::none, logits); // [rows, V]
    if (model_.config.logit_softcap > 0.0)
        plan_.add(compute::SoftcapOp{logits, static_cast<float>(model_.config.logit_softcap)});
    plan_.add(compute::LogitsOp{logits});
}

compute::Plan PlanWriter::finish() && {
    constexpr auto kLogits = compute::RowKind::logits;
    const std::int64_t width = model_.config.d_model;
    const TensorId last = plan_.tensor(width, kLogits);
    const TensorId normed = plan_.tensor(width, kLogits);
    plan_.add(compute::GatherRowsOp{stream_, last});
    norm(last, model_.output_norm, width, normed);
    write_logits(normed);
    return std::move(plan_);
}

compute::Plan PlanWriter::finish_and_keep(WeightId norm_weight) && {
    const TensorId last = plan_.tensor(model_.config.d_model, compute::RowKind::logits);
    norm_stream(norm_weight);
    plan_.add(compute::KeepRowsOp{input_});
    plan_.add(compute::GatherRowsOp{input_, last});
    write_logits(last);
    return std::move(plan_);
}

// --- AttentionBlock
// --------------------------------------------------------------------------------

AttentionBlock::AttentionBlock(PlanWriter& plan, std::int64_t n_heads, std::int64_t n_kv_heads,
                               std::int64_t head_dim, bool gated)
    : plan_(plan), n_heads_(static_cast<std::int32_t>(n_heads)),
      n_kv_heads_(static_cast<std::int32_t>(n_kv_heads)),
      head_dim_(static_cast<std::int32_t>(head_dim)), q_(plan.tensor(n_heads * head_dim)),
      k_(plan.tensor(n_kv_heads * head_dim)), v_(plan.tensor(n_kv_heads * head_dim)),
      out_(plan.tensor(n_heads * head_dim)) {
    if (gated) gate_ = plan.tensor(n_heads * head_dim);
}

void AttentionBlock::project(TensorId in, const AttentionWeights& w) {
    plan_.matmul(in, w.wq, w.bq, q_);
    plan_.matmul(in, w.wk, w.bk, k_);
    if (w.wv != WeightId::none) plan_.matmul(in, w.wv, w.bv, v_);
    if (gate_ != TensorId::none) plan_.matmul(in, w.gate, WeightId::none, gate_);
}

void AttentionBlock::norm_heads(const AttentionWeights& w) {
    plan_.norm_heads(q_, w.q_norm, head_dim_);
    plan_.norm_heads(k_, w.k_norm, head_dim_);
}

void AttentionBlock::rotate(RopeId rope) {
    plan_.add(compute::RopeOp{q_, rope, n_heads_, head_dim_});
    plan_.add(compute::RopeOp{k_, rope, n_kv_heads_, head_dim_});
}

void AttentionBlock::attend(const KvPlace& place, float scale) {
    plan_.add(compute::KvStoreOp{k_, v_, place.pool, place.layer});
    plan_.add(compute::AttentionOp{q_, place.pool, place.layer, n_heads_, scale, out_});
}

void AttentionBlock::output(const AttentionWeights& w, TensorId to) {
    if (gate_ != TensorId::none)
        plan_.add(compute::GatedMulOp{gate_, out_, out_, compute::GateActivation::sigmoid});
    plan_.matmul(out_, w.wo, w.bo, to);
}

void AttentionBlock::write(TensorId in, const AttentionWeights& w, RopeId rope,
                           const KvPlace& place, TensorId to) {
    project(in, w);
    norm_heads(w);
    rotate(rope);
    attend(place, static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim_))));
    output(w, to);
}

// --- FfnBlock
// --------------------------------------------------------------------------------------

FfnBlock::FfnBlock(PlanWriter& plan, std::int64_t ffn_dim, compute::GateActivation activation)
    : plan_(plan), activation_(activation), gate_(plan.tensor(ffn_dim)), up_(plan.tensor(ffn_dim)) {
}

void FfnBlock::write(TensorId in, const FfnWeights& w, TensorId to) {
    plan_.matmul(in, w.gate, w.b_gate, gate_);
    plan_.matmul(in, w.up, w.b_up, up_);
    plan_.add(compute::GatedMulOp{gate_, up_, gate_, activation_});
    plan_.matmul(gate_, w.down, w.b_down, to);
}

// --- ExpertsBlock
// ----------------------------------------------------------------------------------

ExpertsBlock::ExpertsBlock(PlanWriter& plan, const ExpertConfig& config, Rule rule)
    : plan_(plan), config_(config), rule_(rule), logits_(plan.tensor(config.n_experts)),
      ids_(plan.tensor(config.top_k, compute::DType::i32)), weights_(plan.tensor(config.top_k)) {}

void ExpertsBlock::write(TensorId router_in, TensorId in, const ExpertWeights& w, TensorId to) {
    const auto top_k = static_cast<std::int32_t>(config_.top_k);
    plan_.matmul(router_in, w.router, WeightId::none, logits_);
    plan_.add(compute::RouteOp{logits_, w.selection_bias, rule_.score, config_.normalise,
                               static_cast<float>(config_.scale), top_k, ids_, weights_,
                               w.expert_scale});
    plan_.add(
        compute::MoeOp{in, ids_, weights_, w.gate, w.up, w.down, rule_.activation, top_k, to});
}

} // namespace bloom::engine::arch
