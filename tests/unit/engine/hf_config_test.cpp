#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/hf_config.hpp>

#include "support/tiny_models.hpp"

namespace bloom::engine {
namespace {

std::string config(const std::string& type, const std::string& extra) {
    return test::tiny_config_json(type, {}, extra);
}

Result<HfConfig> read(const std::string& type, const std::string& extra, bool head = true) {
    return read_hf_config(config(type, extra), {.output_head = head});
}

TEST(HfConfig, ReadsTheShape) {
    const auto c = read("llama", "");
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->model.arch, Arch::llama);
    EXPECT_EQ(c->model.n_layers, 2);
    EXPECT_EQ(c->model.d_model, 64);
    EXPECT_EQ(c->model.n_heads, 4);
    EXPECT_EQ(c->model.n_kv_heads, 2);
    EXPECT_EQ(c->model.head_dim, 16);
    EXPECT_EQ(c->model.ffn_dim, 64);
    EXPECT_EQ(c->model.vocab_rows, 40);
    EXPECT_EQ(c->model.ctx_len, 256);
    EXPECT_EQ(c->model.norm_eps, 1e-5);
    EXPECT_EQ(c->model.rope_theta, 10000.0);
    EXPECT_EQ(c->model.rope_scaling.kind, RopeScalingKind::none);
    EXPECT_FALSE(c->model.qkv_bias);
    EXPECT_FALSE(c->model.tied_output);
    EXPECT_TRUE(c->model.layer_windows.empty());
    EXPECT_FALSE(c->quantization.present);
}

TEST(HfConfig, FamiliesDifferInTheirSwitches) {
    const auto qwen2 = read("qwen2", "").value().model;
    EXPECT_TRUE(qwen2.qkv_bias);
    EXPECT_FALSE(qwen2.attn_out_bias);
    EXPECT_FALSE(qwen2.qk_norm);
    const auto qwen3 = read("qwen3", "").value().model;
    EXPECT_FALSE(qwen3.qkv_bias);
    EXPECT_TRUE(qwen3.qk_norm);
    const auto biased = read("llama", R"(,"attention_bias":true,"mlp_bias":true)").value().model;
    EXPECT_TRUE(biased.qkv_bias);
    EXPECT_TRUE(biased.attn_out_bias);
    EXPECT_TRUE(biased.mlp_bias);
}

TEST(HfConfig, HeadDimFollowsTheFamily) {
    EXPECT_EQ(read("qwen3", R"(,"head_dim":32)").value().model.head_dim,
              32); // the last of two wins
    EXPECT_EQ(read("qwen3", R"(,"head_dim":null)").value().model.head_dim, 128);
    EXPECT_EQ(read("llama", R"(,"head_dim":null)").value().model.head_dim, 16);
    EXPECT_EQ(read("qwen2", R"(,"head_dim":32)").value().model.head_dim, 16); // ignored there
}

TEST(HfConfig, TiedHeadIsDecidedByKeyThenByFile) {
    EXPECT_TRUE(read("llama", R"(,"tie_word_embeddings":true)", true).value().model.tied_output);
    EXPECT_FALSE(read("llama", R"(,"tie_word_embeddings":false)", false).value().model.tied_output);
    EXPECT_TRUE(read("llama", "", false).value().model.tied_output);
    EXPECT_FALSE(read("llama", "", true).value().model.tied_output);
}

TEST(HfConfig, ReadsRopeScalingInEveryForm) {
    const std::string llama3 = R"("factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
                               R"("original_max_position_embeddings":64)";
    for (const std::string& extra :
         {R"(,"rope_scaling":{"rope_type":"llama3",)" + llama3 + "}",
          R"(,"rope_scaling":{"type":"llama3",)" + llama3 + "}",
          R"(,"rope_parameters":{"rope_theta":5e5,"rope_type":"llama3",)" + llama3 + "}"}) {
        const auto c = read("llama", extra);
        ASSERT_TRUE(c) << c.error().message();
        const RopeScaling& s = c->model.rope_scaling;
        EXPECT_EQ(s.kind, RopeScalingKind::llama3);
        EXPECT_EQ(s.factor, 8.0);
        EXPECT_EQ(s.low_freq_factor, 1.0);
        EXPECT_EQ(s.high_freq_factor, 4.0);
        EXPECT_EQ(s.original_ctx_len, 64);
    }
    EXPECT_EQ(read("llama", R"(,"rope_parameters":{"rope_theta":5e5,"rope_type":"default"})")
                  .value()
                  .model.rope_theta,
              5e5);
    const auto linear = read("llama", R"(,"rope_scaling":{"type":"linear","factor":2.0})")
                            .value()
                            .model.rope_scaling;
    EXPECT_EQ(linear.kind, RopeScalingKind::linear);
    EXPECT_EQ(linear.factor, 2.0);
    const auto yarn =
        read(
            "qwen3",
            R"(,"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":64})")
            .value()
            .model.rope_scaling;
    EXPECT_EQ(yarn.kind, RopeScalingKind::yarn);
    EXPECT_EQ(yarn.original_ctx_len, 64);
    EXPECT_EQ(yarn.beta_fast, 32.0);
    EXPECT_EQ(yarn.beta_slow, 1.0);
    EXPECT_DOUBLE_EQ(yarn.attention_factor, 0.1 * std::log(4.0) + 1.0);
    EXPECT_EQ(read("llama", R"(,"rope_scaling":null)").value().model.rope_scaling.kind,
              RopeScalingKind::none);
}

TEST(HfConfig, ReadsAttentionWindows) {
    using Windows = std::vector<std::int64_t>;
    EXPECT_EQ(read("mistral", R"(,"sliding_window":32)").value().model.layer_windows,
              (Windows{32, 32}));
    EXPECT_EQ(read("mistral", R"(,"sliding_window":null)").value().model.layer_windows, Windows{});
    EXPECT_EQ(read("llama",
                   R"(,"sliding_window":32,"layer_types":["sliding_attention","full_attention"])")
                  .value()
                  .model.layer_windows,
              (Windows{32, 0}));
    EXPECT_EQ(read("qwen2", R"(,"sliding_window":32,"use_sliding_window":false)")
                  .value()
                  .model.layer_windows,
              Windows{});
    EXPECT_EQ(
        read("qwen2", R"(,"sliding_window":32,"use_sliding_window":true,"max_window_layers":1)")
            .value()
            .model.layer_windows,
        (Windows{0, 32}));
    EXPECT_EQ(
        read("qwen3", R"(,"sliding_window":32,"layer_types":["full_attention","full_attention"])")
            .value()
            .model.layer_windows,
        Windows{});
}

TEST(HfConfig, ReadsQuantizationSettings) {
    const auto q =
        read("llama", R"(,"quantization":{"group_size":64,"bits":8,"mode":"affine",)"
                      R"("model.layers.0.mlp.gate_proj":{"bits":4},"lm_head":false,)"
                      R"("language_model.model.layers.1.mlp.up_proj":{"group_size":32},)"
                      R"("model.embed_tokens":true},"quantization_config":{"quant_method":"gptq"})")
            .value()
            .quantization;
    EXPECT_TRUE(q.present);
    EXPECT_EQ(q.lookup("model.layers.1.self_attn.q_proj").settings.bits, 8);
    EXPECT_EQ(q.lookup("model.layers.0.mlp.gate_proj").settings.bits, 4);
    EXPECT_EQ(q.lookup("model.layers.0.mlp.gate_proj").settings.group_size, 64);
    EXPECT_EQ(q.lookup("model.layers.1.mlp.up_proj").settings.group_size, 32);
    EXPECT_FALSE(q.lookup("language_model.lm_head").quantised);
    EXPECT_TRUE(q.lookup("model.embed_tokens").quantised);
}

TEST(HfConfig, CanonicalPaths) {
    EXPECT_EQ(canonical_module_path("language_model.model.layers.0"), "model.layers.0");
    EXPECT_EQ(canonical_module_path("model.language_model.layers.0"), "model.layers.0");
    EXPECT_EQ(canonical_module_path("language_model.lm_head"), "lm_head");
    EXPECT_EQ(canonical_module_path("model.visual.patch"), "vision_tower.patch");
    EXPECT_EQ(canonical_module_path("model.visually"), "model.visually");
    EXPECT_EQ(canonical_module_path("model.layers.0"), "model.layers.0");
}

TEST(HfConfig, ReadsExperts) {
    const std::string sizes =
        R"(,"num_experts":8,"num_experts_per_tok":2,"moe_intermediate_size":32)";
    const auto c = read("qwen3_moe", sizes).value().model;
    EXPECT_EQ(c.arch, Arch::qwen3_moe);
    EXPECT_TRUE(c.qk_norm);
    EXPECT_EQ(c.experts.n_experts, 8);
    EXPECT_EQ(c.experts.top_k, 2);
    EXPECT_EQ(c.experts.ffn_dim, 32);
    EXPECT_FALSE(c.experts.normalise); // what the family means without the key
    EXPECT_EQ(c.experts.scale, 1.0);
    EXPECT_TRUE(c.has_experts(0));
    EXPECT_TRUE(c.has_experts(1));
    EXPECT_FALSE(c.has_dense_layers());
    EXPECT_TRUE(
        read("qwen3_moe", sizes + R"(,"norm_topk_prob":true)").value().model.experts.normalise);
    EXPECT_EQ(read("qwen3_moe", sizes + R"(,"intermediate_size":null)").value().model.ffn_dim, 0);

    const auto mlp_only = read("qwen3_moe", sizes + R"(,"mlp_only_layers":[0])").value().model;
    EXPECT_FALSE(mlp_only.has_experts(0));
    EXPECT_TRUE(mlp_only.has_experts(1));
    EXPECT_TRUE(mlp_only.has_dense_layers());
    const auto sparse = read("qwen3_moe", sizes + R"(,"decoder_sparse_step":2)").value().model;
    EXPECT_FALSE(sparse.has_experts(0));
    EXPECT_TRUE(sparse.has_experts(1));
    const auto none = read("llama", sizes).value().model; // another family ignores the keys
    EXPECT_EQ(none.experts.n_experts, 0);
    EXPECT_FALSE(none.has_experts(0));
}

TEST(HfConfig, EveryFaultOfExpertsIsNamed) {
    const std::string sizes =
        R"(,"num_experts":8,"num_experts_per_tok":2,"moe_intermediate_size":32)";
    const std::vector<std::pair<std::string, std::string>> faults = {
        {R"(,"num_experts":0)", "number of experts is 0"},
        {R"(,"num_experts":4097)", "number of experts is 4097"},
        {R"(,"num_experts_per_tok":0)", "experts of a token is 0"},
        {R"(,"num_experts_per_tok":9)", "experts of a token is 9; 1 to 8"},
        {R"(,"num_experts":256,"num_experts_per_tok":65)", "1 to 64"},
        {R"(,"moe_intermediate_size":0)", "width of an expert is 0"},
        {R"(,"moe_intermediate_size":null)", "\"moe_intermediate_size\" is missing"},
        {R"(,"decoder_sparse_step":0)", "decoder_sparse_step is 0"},
        {R"(,"mlp_only_layers":[2])", "names layer 2 of 2"},
        {R"(,"mlp_only_layers":[-1])", "names layer -1"},
        {R"(,"mlp_only_layers":["0"])", "mlp_only_layers"},
        {R"(,"mlp_only_layers":0)", "mlp_only_layers"},
        {R"(,"mlp_only_layers":[1],"intermediate_size":null)", "feed-forward width is 0"},
        {R"(,"norm_topk_prob":1)", "\"norm_topk_prob\""},
    };
    for (const auto& [extra, says] : faults) {
        const auto c = read("qwen3_moe", sizes + extra);
        ASSERT_FALSE(c) << extra;
        EXPECT_EQ(c.error().code(), Code::corrupt) << extra << ": " << c.error().message();
        EXPECT_NE(c.error().message().find(says), std::string_view::npos)
            << extra << ": " << c.error().message();
    }
}

struct Fault {
    std::string type;
    std::string extra;
    Code code;
    std::string says;
};

TEST(HfConfig, EveryFaultIsNamed) {
    const std::vector<Fault> faults = {
        {"gemma3", "", Code::unsupported, "\"gemma3\""},
        {"qwen3_moe", "", Code::corrupt, "\"num_experts\" is missing"},
        {"", "", Code::unsupported, "model_type \"\""},
        {"llama", R"(,"num_hidden_layers":null)", Code::corrupt,
         "\"num_hidden_layers\" is missing"},
        {"llama", R"(,"num_hidden_layers":"2")", Code::corrupt, "\"num_hidden_layers\""},
        {"llama", R"(,"num_hidden_layers":2.5)", Code::corrupt, "\"num_hidden_layers\""},
        {"llama", R"(,"num_hidden_layers":0)", Code::corrupt, "number of layers is 0"},
        {"llama", R"(,"num_hidden_layers":1025)", Code::corrupt, "number of layers is 1025"},
        {"llama", R"(,"num_hidden_layers":9223372036854775807)", Code::corrupt, "number of layers"},
        {"llama", R"(,"hidden_size":65537)", Code::corrupt, "width is 65537"},
        {"llama", R"(,"vocab_size":4194305)", Code::corrupt, "rows is 4194305"},
        {"llama", R"(,"num_attention_heads":0,"head_dim":null)", Code::corrupt, "0 heads"},
        {"llama", R"(,"num_attention_heads":5,"head_dim":null)", Code::corrupt, "5 heads"},
        {"llama", R"(,"num_key_value_heads":3)", Code::corrupt, "cannot share 3"},
        {"llama", R"(,"head_dim":15)", Code::corrupt, "15 is odd"},
        {"llama", R"(,"head_dim":-2)", Code::corrupt, "head dimension is -2"},
        {"llama", R"(,"rms_norm_eps":0)", Code::corrupt, "epsilon is 0"},
        {"llama", R"(,"rms_norm_eps":-1e-5)", Code::corrupt, "epsilon"},
        {"llama", R"(,"rope_theta":0)", Code::corrupt, "rope base is 0"},
        {"llama", R"(,"max_position_embeddings":0)", Code::corrupt, "context length is 0"},
        {"llama", R"(,"hidden_act":"gelu")", Code::unsupported, "\"gelu\""},
        {"llama", R"(,"partial_rotary_factor":0.5)", Code::unsupported, "0.5"},
        {"llama", R"(,"rope_scaling":{"type":"dynamic","factor":2})", Code::unsupported,
         "\"dynamic\""},
        {"llama", R"(,"rope_scaling":{"rope_type":"longrope"})", Code::unsupported, "\"longrope\""},
        {"llama", R"(,"rope_scaling":{"factor":2})", Code::unsupported, "rope type \"\""},
        {"llama", R"(,"rope_scaling":{"type":"linear"})", Code::corrupt, "\"factor\" is missing"},
        {"llama", R"(,"rope_scaling":{"type":"linear","factor":0})", Code::corrupt,
         "scaling factor is 0"},
        {"llama", R"(,"rope_scaling":{"type":"yarn","factor":-1})", Code::corrupt,
         "scaling factor is -1"},
        {"llama", R"(,"rope_scaling":{"type":"yarn","factor":4,"mscale":1})", Code::unsupported,
         "mscale"},
        {"llama", R"(,"rope_scaling":[])", Code::corrupt, "\"rope_scaling\""},
        {"llama",
         R"(,"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,)"
         R"("original_max_position_embeddings":64})",
         Code::corrupt, "not above"},
        {"llama", R"(,"rope_parameters":{"full_attention":{"rope_type":"default"}})",
         Code::unsupported, "single layer types"},
        {"llama", R"(,"layer_types":["full_attention"])", Code::corrupt, "1 entries for 2"},
        {"llama", R"(,"layer_types":["full_attention","linear_attention"])", Code::unsupported,
         "\"linear_attention\""},
        {"llama", R"(,"layer_types":["sliding_attention","full_attention"])", Code::corrupt,
         "\"sliding_window\" is missing"},
        {"llama", R"(,"layer_types":["sliding_attention","full_attention"],"sliding_window":-4)",
         Code::corrupt, "window is -4"},
        {"llama", R"(,"quantization_config":{"quant_method":"awq","bits":4})", Code::unsupported,
         "\"awq\""},
        {"llama", R"(,"quantization":5)", Code::corrupt, "\"quantization\""},
        {"llama", R"(,"tie_word_embeddings":"yes")", Code::corrupt, "\"tie_word_embeddings\""},
    };
    for (const Fault& fault : faults) {
        const auto c = read(fault.type, fault.extra);
        ASSERT_FALSE(c) << fault.type << fault.extra;
        EXPECT_EQ(c.error().code(), fault.code) << fault.extra << ": " << c.error().message();
        EXPECT_NE(c.error().message().find(fault.says), std::string_view::npos)
            << fault.extra << ": " << c.error().message();
    }
    EXPECT_EQ(read_hf_config("{", {}).error().code(), Code::corrupt);
    EXPECT_EQ(read_hf_config("[]", {}).error().code(), Code::corrupt);
}

} // namespace
} // namespace bloom::engine
