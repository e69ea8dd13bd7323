#include "engine/roles.hpp"

#include <algorithm>

namespace bloom::engine::roles {
namespace {

constexpr RoleInfo kRoles[] = {
    {Role::tok_embd, "tok_embd", false, Kind::matrix},
    {Role::output_norm, "output_norm", false, Kind::vector},
    {Role::output, "output", false, Kind::matrix},
    {Role::rope_factors, "rope_factors", false, Kind::vector},
    {Role::attn_norm, "attn_norm", true, Kind::vector},
    {Role::wq, "wq", true, Kind::matrix},
    {Role::wk, "wk", true, Kind::matrix},
    {Role::wv, "wv", true, Kind::matrix},
    {Role::wo, "wo", true, Kind::matrix},
    {Role::bq, "bq", true, Kind::vector},
    {Role::bk, "bk", true, Kind::vector},
    {Role::bv, "bv", true, Kind::vector},
    {Role::bo, "bo", true, Kind::vector},
    {Role::q_norm, "q_norm", true, Kind::vector},
    {Role::k_norm, "k_norm", true, Kind::vector},
    {Role::ffn_norm, "ffn_norm", true, Kind::vector},
    {Role::w_gate, "w_gate", true, Kind::matrix},
    {Role::w_up, "w_up", true, Kind::matrix},
    {Role::w_down, "w_down", true, Kind::matrix},
    {Role::b_gate, "b_gate", true, Kind::vector},
    {Role::b_up, "b_up", true, Kind::vector},
    {Role::b_down, "b_down", true, Kind::vector},
    {Role::w_router, "w_router", true, Kind::matrix},
    {Role::w_gate_exps, "w_gate_exps", true, Kind::experts},
    {Role::w_up_exps, "w_up_exps", true, Kind::experts},
    {Role::w_down_exps, "w_down_exps", true, Kind::experts},
    {Role::attn_gate, "attn_gate", true, Kind::matrix},
    {Role::attn_post_norm, "attn_post_norm", true, Kind::vector},
    {Role::ffn_post_norm, "ffn_post_norm", true, Kind::vector},
    {Role::dense_post_norm, "dense_post_norm", true, Kind::vector},
    {Role::experts_norm, "experts_norm", true, Kind::vector},
    {Role::experts_post_norm, "experts_post_norm", true, Kind::vector},
    {Role::router_scale, "router_scale", true, Kind::vector},
    {Role::expert_scale, "expert_scale", true, Kind::vector},
    {Role::selection_bias, "selection_bias", true, Kind::vector},
    {Role::layer_scale, "layer_scale", true, Kind::vector},
    {Role::w_gate_shexp, "w_gate_shexp", true, Kind::matrix},
    {Role::w_up_shexp, "w_up_shexp", true, Kind::matrix},
    {Role::w_down_shexp, "w_down_shexp", true, Kind::matrix},
    {Role::w_shared_gate, "w_shared_gate", true, Kind::matrix},
    {Role::w_qkv, "w_qkv", true, Kind::matrix},
    {Role::w_z, "w_z", true, Kind::matrix},
    {Role::w_beta, "w_beta", true, Kind::matrix},
    {Role::w_alpha, "w_alpha", true, Kind::matrix},
    {Role::conv, "conv", true, Kind::vector},
    {Role::decay, "decay", true, Kind::vector},
    {Role::dt_bias, "dt_bias", true, Kind::vector},
    {Role::delta_norm, "delta_norm", true, Kind::vector},
    {Role::w_delta_out, "w_delta_out", true, Kind::matrix},
    {Role::mtp_fc, "mtp_fc", true, Kind::matrix},
    {Role::mtp_embd_norm, "mtp_embd_norm", true, Kind::vector},
    {Role::mtp_hidden_norm, "mtp_hidden_norm", true, Kind::vector},
    {Role::mtp_norm, "mtp_norm", true, Kind::vector},
};

constexpr bool roles_in_order() {
    for (int i = 0; i < kRoleCount; ++i) {
        if (static_cast<int>(kRoles[i].role) != i) return false;
    }
    return std::size(kRoles) == kRoleCount;
}

static_assert(roles_in_order(), "kRoles is indexed by Role");

/// By Role: the names of most families.
constexpr Names kNames[] = {
    {"token_embd.weight", "model.embed_tokens", "weight"},                // tok_embd
    {"output_norm.weight", "model.norm", "weight"},                       // output_norm
    {"output.weight", "lm_head", "weight"},                               // output
    {"rope_freqs.weight", "", ""},                                        // rope_factors
    {"attn_norm.weight", "input_layernorm", "weight"},                    // attn_norm
    {"attn_q.weight", "self_attn.q_proj", "weight"},                      // wq
    {"attn_k.weight", "self_attn.k_proj", "weight"},                      // wk
    {"attn_v.weight", "self_attn.v_proj", "weight"},                      // wv
    {"attn_output.weight", "self_attn.o_proj", "weight"},                 // wo
    {"attn_q.bias", "self_attn.q_proj", "bias"},                          // bq
    {"attn_k.bias", "self_attn.k_proj", "bias"},                          // bk
    {"attn_v.bias", "self_attn.v_proj", "bias"},                          // bv
    {"attn_output.bias", "self_attn.o_proj", "bias"},                     // bo
    {"attn_q_norm.weight", "self_attn.q_norm", "weight"},                 // q_norm
    {"attn_k_norm.weight", "self_attn.k_norm", "weight"},                 // k_norm
    {"ffn_norm.weight", "post_attention_layernorm", "weight"},            // ffn_norm
    {"ffn_gate.weight", "mlp.gate_proj", "weight"},                       // w_gate
    {"ffn_up.weight", "mlp.up_proj", "weight"},                           // w_up
    {"ffn_down.weight", "mlp.down_proj", "weight"},                       // w_down
    {"ffn_gate.bias", "mlp.gate_proj", "bias"},                           // b_gate
    {"ffn_up.bias", "mlp.up_proj", "bias"},                               // b_up
    {"ffn_down.bias", "mlp.down_proj", "bias"},                           // b_down
    {"ffn_gate_inp.weight", "mlp.gate", "weight"},                        // w_router
    {"ffn_gate_exps.weight", "mlp.switch_mlp.gate_proj", "weight"},       // w_gate_exps
    {"ffn_up_exps.weight", "mlp.switch_mlp.up_proj", "weight"},           // w_up_exps
    {"ffn_down_exps.weight", "mlp.switch_mlp.down_proj", "weight"},       // w_down_exps
    {"attn_gate.weight", "self_attn.gate_proj", "weight"},                // attn_gate
    {"post_attention_norm.weight", "post_attention_layernorm", "weight"}, // attn_post_norm
    {"post_ffw_norm.weight", "post_feedforward_layernorm", "weight"},     // ffn_post_norm
    {"post_ffw_norm_1.weight", "post_feedforward_layernorm_1", "weight"}, // dense_post_norm
    {"pre_ffw_norm_2.weight", "pre_feedforward_layernorm_2", "weight"},   // experts_norm
    {"post_ffw_norm_2.weight", "post_feedforward_layernorm_2", "weight"}, // experts_post_norm
    {"ffn_gate_inp.scale", "router.scale", ""},                           // router_scale
    {"ffn_down_exps.scale", "router.per_expert_scale", ""},               // expert_scale
    {"exp_probs_b.bias", "mlp.expert_bias", ""},                          // selection_bias
    {"layer_output_scale.weight", "layer_scalar", ""},                    // layer_scale
    {"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj", "weight"},   // w_gate_shexp
    {"ffn_up_shexp.weight", "mlp.shared_expert.up_proj", "weight"},       // w_up_shexp
    {"ffn_down_shexp.weight", "mlp.shared_expert.down_proj", "weight"},   // w_down_shexp
    {"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate", "weight"},    // w_shared_gate
    {"attn_qkv.weight", "linear_attn.in_proj_qkv", "weight"},             // w_qkv
    {"attn_gate.weight", "linear_attn.in_proj_z", "weight"},              // w_z
    {"ssm_beta.weight", "linear_attn.in_proj_b", "weight"},               // w_beta
    {"ssm_alpha.weight", "linear_attn.in_proj_a", "weight"},              // w_alpha
    {"ssm_conv1d.weight", "linear_attn.conv1d", "weight"},                // conv
    {"ssm_a", "linear_attn.A_log", ""},                                   // decay
    {"ssm_dt.bias", "linear_attn.dt_bias", ""},                           // dt_bias
    {"ssm_norm.weight", "linear_attn.norm", "weight"},                    // delta_norm
    {"ssm_out.weight", "linear_attn.out_proj", "weight"},                 // w_delta_out
    {"nextn.eh_proj.weight", "mtp.fc", "weight"},                         // mtp_fc
    {"nextn.enorm.weight", "mtp.pre_fc_norm_embedding", "weight"},        // mtp_embd_norm
    {"nextn.hnorm.weight", "mtp.pre_fc_norm_hidden", "weight"},           // mtp_hidden_norm
    {"nextn.shared_head_norm.weight", "mtp.norm", "weight"},              // mtp_norm
};

static_assert(std::size(kNames) == kRoleCount);

struct FamilyNames {
    Role role;
    Names names;
};

/// Qwen3.5, dense and with experts. The gate of the attention's output is the other half of q_proj.
constexpr FamilyNames kQwen35[] = {
    {Role::ffn_norm, {"post_attention_norm.weight", "post_attention_layernorm"}},
    {Role::attn_gate, {"attn_q.weight", "self_attn.q_proj"}},
};

constexpr FamilyNames kGemma4[] = {
    {Role::ffn_norm, {"ffn_norm.weight", "pre_feedforward_layernorm"}},
    {Role::w_router, {"ffn_gate_inp.weight", "router.proj"}},
    {Role::w_gate_exps, {"ffn_gate_exps.weight", "experts.switch_glu.gate_proj"}},
    {Role::w_up_exps, {"ffn_up_exps.weight", "experts.switch_glu.up_proj"}},
    {Role::w_down_exps, {"ffn_down_exps.weight", "experts.switch_glu.down_proj"}},
};

constexpr FamilyNames kAfmoe[] = {
    {Role::ffn_norm, {"ffn_norm.weight", "pre_mlp_layernorm"}},
    {Role::ffn_post_norm, {"post_ffw_norm.weight", "post_mlp_layernorm"}},
    {Role::w_router, {"ffn_gate_inp.weight", "mlp.router.gate"}},
    {Role::w_gate_exps, {"ffn_gate_exps.weight", "mlp.experts.gate_proj"}},
    {Role::w_up_exps, {"ffn_up_exps.weight", "mlp.experts.up_proj"}},
    {Role::w_down_exps, {"ffn_down_exps.weight", "mlp.experts.down_proj"}},
    {Role::w_gate_shexp, {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj"}},
    {Role::w_up_shexp, {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj"}},
    {Role::w_down_shexp, {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj"}},
};

constexpr FamilyNames kMinimaxM2[] = {
    {Role::w_router, {"ffn_gate_inp.weight", "block_sparse_moe.gate"}},
    {Role::selection_bias, {"exp_probs_b.bias", "block_sparse_moe.e_score_correction_bias", ""}},
    {Role::w_gate_exps, {"ffn_gate_exps.weight", "block_sparse_moe.switch_mlp.gate_proj"}},
    {Role::w_up_exps, {"ffn_up_exps.weight", "block_sparse_moe.switch_mlp.up_proj"}},
    {Role::w_down_exps, {"ffn_down_exps.weight", "block_sparse_moe.switch_mlp.down_proj"}},
};

std::span<const FamilyNames> own_names(Arch arch) noexcept {
    switch (arch) {
    case Arch::llama:
    case Arch::qwen2:
    case Arch::qwen3:
    case Arch::qwen3_moe:
        return {};
    case Arch::qwen35:
    case Arch::qwen35_moe:
        return kQwen35;
    case Arch::gemma4:
        return kGemma4;
    case Arch::afmoe:
        return kAfmoe;
    case Arch::minimax_m2:
        return kMinimaxM2;
    }
    return {};
}

/// Roles of one kind of layer.
bool is_linear_role(Role role) noexcept {
    return role >= Role::w_qkv && role <= Role::w_delta_out;
}

bool is_attention_role(Role role) noexcept {
    return (role >= Role::wq && role <= Role::k_norm) || role == Role::attn_gate;
}

} // namespace

std::span<const RoleInfo> all() noexcept {
    return kRoles;
}

const RoleInfo& info(Role role) noexcept {
    return kRoles[static_cast<std::size_t>(role)];
}

Names names(Role role, Arch arch) noexcept {
    const auto own = own_names(arch);
    const auto it = std::ranges::find(own, role, &FamilyNames::role);
    return it != own.end() ? it->names : kNames[static_cast<std::size_t>(role)];
}

bool is_wanted(Role role, const ModelConfig& c, std::int64_t layer) noexcept {
    const bool gemma = c.arch == Arch::gemma4;
    const bool experts = c.has_experts(layer);
    if (is_linear_role(role)) return c.is_linear(layer);
    if (is_attention_role(role) && c.is_linear(layer)) return false;
    switch (role) {
    case Role::output:
        return !c.tied_output;
    case Role::rope_factors:
        return c.rope_scaling.kind == RopeScalingKind::factors;
    case Role::wv:
        return !(c.global_k_is_v && c.is_global(layer));
    case Role::bq:
    case Role::bk:
    case Role::bv:
        return c.qkv_bias;
    case Role::bo:
        return c.attn_out_bias;
    case Role::q_norm:
    case Role::k_norm:
        return c.qk_norm;
    case Role::w_gate:
    case Role::w_up:
    case Role::w_down:
        return gemma || !experts;
    case Role::b_gate:
    case Role::b_up:
    case Role::b_down:
        return c.mlp_bias && !experts;
    case Role::w_router:
    case Role::w_gate_exps:
    case Role::w_up_exps:
    case Role::w_down_exps:
        return experts;
    case Role::attn_gate:
        return c.attn_gate;
    case Role::attn_post_norm:
    case Role::ffn_post_norm:
        return c.attn_post_norm;
    case Role::dense_post_norm:
    case Role::experts_norm:
    case Role::experts_post_norm:
    case Role::router_scale:
    case Role::expert_scale:
        return gemma && experts;
    case Role::layer_scale:
        return gemma;
    case Role::selection_bias:
        return experts && c.experts.selection_bias;
    case Role::w_gate_shexp:
    case Role::w_up_shexp:
    case Role::w_down_shexp:
        return experts && c.experts.shared_ffn_dim > 0;
    case Role::w_shared_gate:
        return experts && c.experts.shared_gate;
    case Role::mtp_fc:
    case Role::mtp_embd_norm:
    case Role::mtp_hidden_norm:
    case Role::mtp_norm:
        return layer >= c.n_layers;
    default:
        return true;
    }
}

namespace {

MatrixShape attention_shape(Role role, const ModelConfig& c, std::int64_t layer) noexcept {
    const std::int64_t head_dim = c.head_dim_of(layer);
    const std::int64_t q = c.n_heads * head_dim;
    const std::int64_t kv = c.kv_heads_of(layer) * head_dim;
    switch (role) {
    case Role::wq:
    case Role::attn_gate:
        return {q, c.d_model};
    case Role::wk:
    case Role::wv:
        return {kv, c.d_model};
    case Role::wo:
        return {c.d_model, q};
    case Role::bq:
        return {1, q};
    case Role::bk:
    case Role::bv:
        return {1, kv};
    case Role::q_norm:
        return {1, c.qk_norm_whole ? q : head_dim};
    case Role::k_norm:
        return {1, c.qk_norm_whole ? kv : head_dim};
    default: // bo
        return {1, c.d_model};
    }
}

MatrixShape linear_shape(Role role, const ModelConfig& c) noexcept {
    const LinearConfig& l = c.linear;
    switch (role) {
    case Role::w_qkv:
        return {l.channels(), c.d_model};
    case Role::w_z:
        return {l.v_width(), c.d_model};
    case Role::w_beta:
    case Role::w_alpha:
        return {l.n_v_heads, c.d_model};
    case Role::conv:
        return {1, l.channels() * l.conv_taps};
    case Role::decay:
    case Role::dt_bias:
        return {1, l.n_v_heads};
    case Role::delta_norm:
        return {1, l.v_dim};
    default: // w_delta_out
        return {c.d_model, l.v_width()};
    }
}

} // namespace

MatrixShape expected_shape(Role role, const ModelConfig& c, std::int64_t layer) noexcept {
    if (is_attention_role(role)) return attention_shape(role, c, layer);
    if (is_linear_role(role)) return linear_shape(role, c);
    switch (role) {
    case Role::tok_embd:
    case Role::output:
        return {c.vocab_rows, c.d_model};
    case Role::rope_factors:
        return {1, (c.global_head_dim > 0 ? c.global_head_dim : c.head_dim) / 2};
    case Role::w_gate:
    case Role::w_up:
        return {c.ffn_dim, c.d_model};
    case Role::w_down:
        return {c.d_model, c.ffn_dim};
    case Role::b_gate:
    case Role::b_up:
        return {1, c.ffn_dim};
    case Role::w_router:
        return {c.experts.n_experts, c.d_model};
    case Role::expert_scale:
    case Role::selection_bias:
        return {1, c.experts.n_experts};
    case Role::w_gate_exps:
    case Role::w_up_exps:
        return {c.experts.ffn_dim, c.d_model};
    case Role::w_down_exps:
        return {c.d_model, c.experts.ffn_dim};
    case Role::w_gate_shexp:
    case Role::w_up_shexp:
        return {c.experts.shared_ffn_dim, c.d_model};
    case Role::w_down_shexp:
        return {c.d_model, c.experts.shared_ffn_dim};
    case Role::w_shared_gate:
        return {1, c.d_model};
    case Role::layer_scale:
        return {1, 1};
    case Role::mtp_fc:
        return {c.d_model, 2 * c.d_model};
    default: // norms and biases of the stream
        return {1, c.d_model};
    }
}

} // namespace bloom::engine::roles
