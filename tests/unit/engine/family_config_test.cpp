#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/gguf_model.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/rope.hpp>

#include "support/gguf_writer.hpp"

/// Configurations of Gemma 4, AFMoE and MiniMax M2 in both containers: what is read, what the
/// families mean without saying it, and what is refused by name.
namespace bloom::engine {
namespace {

using test::GgufWriter;

// --- config.json
// ----------------------------------------------------------------------------------

const std::string kGemma = R"("model_type":"gemma4_text","hidden_size":2816,"num_hidden_layers":8,
"num_attention_heads":16,"num_key_value_heads":8,"head_dim":256,"global_head_dim":512,
"num_global_key_value_heads":2,"attention_k_eq_v":true,"intermediate_size":2112,
"hidden_size_per_layer_input":0,"enable_moe_block":true,"num_experts":128,"top_k_experts":8,
"moe_intermediate_size":704,"sliding_window":1024,"vocab_size":262144,
"max_position_embeddings":262144,"rms_norm_eps":1e-6,"final_logit_softcapping":30.0,
"use_bidirectional_attention":"vision","rope_parameters":{
"full_attention":{"rope_theta":1e6,"rope_type":"proportional","partial_rotary_factor":0.25},
"sliding_attention":{"rope_theta":1e4,"rope_type":"default"}})";

const std::string kAfmoe = R"("model_type":"afmoe","hidden_size":2048,"num_hidden_layers":6,
"num_attention_heads":32,"num_key_value_heads":4,"head_dim":128,"intermediate_size":6144,
"moe_intermediate_size":1024,"num_dense_layers":2,"num_experts":128,"num_experts_per_tok":8,
"num_shared_experts":1,"score_func":"sigmoid","route_norm":true,"route_scale":2.826,"n_group":1,
"topk_group":1,"sliding_window":2048,"global_attn_every_n_layers":4,"rope_theta":10000,
"rope_scaling":null,"max_position_embeddings":131072,"rms_norm_eps":1e-5,"mup_enabled":true,
"vocab_size":200192,"tie_word_embeddings":false)";

const std::string kMinimax = R"("model_type":"minimax_m2","hidden_size":3072,"num_hidden_layers":3,
"attn_type_list":[1,1,1],"num_attention_heads":48,"num_key_value_heads":8,"head_dim":128,
"rotary_dim":64,"rope_theta":5000000,"use_qk_norm":true,"qk_norm_type":"per_layer",
"intermediate_size":1536,"shared_intermediate_size":0,"num_local_experts":256,
"num_experts_per_tok":8,"scoring_func":"sigmoid","use_routing_bias":true,"rms_norm_eps":1e-6,
"max_position_embeddings":196608,"tie_word_embeddings":false,"vocab_size":200064)";

/// Later members win.
Result<HfConfig> read(const std::string& family, const std::string& extra = "") {
    return read_hf_config("{" + family + extra + "}", {.output_head = true});
}

ModelConfig model_of(const std::string& family, const std::string& extra = "") {
    const auto read_one = read(family, extra);
    EXPECT_TRUE(read_one) << read_one.error().message();
    return read_one ? read_one->model : ModelConfig{};
}

TEST(FamilyConfig, GemmaHasLayersOfTwoKinds) {
    const ModelConfig c = model_of(kGemma, R"(,"tie_word_embeddings":true)");
    EXPECT_EQ(c.arch, Arch::gemma4);
    EXPECT_EQ(c.layer_windows,
              (std::vector<std::int64_t>{1024, 1024, 1024, 1024, 1024, 0, 1024, 0}))
        << "every sixth, and the last";
    EXPECT_EQ(c.head_dim_of(0), 256);
    EXPECT_EQ(c.kv_heads_of(0), 8);
    EXPECT_EQ(c.head_dim_of(5), 512);
    EXPECT_EQ(c.kv_heads_of(5), 2);
    EXPECT_TRUE(c.global_k_is_v);
    EXPECT_EQ(c.ffn_dim, 2112);
    EXPECT_EQ(c.experts.n_experts, 128);
    EXPECT_EQ(c.experts.top_k, 8);
    EXPECT_EQ(c.experts.ffn_dim, 704);
    EXPECT_FALSE(c.experts.sigmoid);
    EXPECT_EQ(c.embed_scale, 53.0); // the root of 2816 is 53.066
    EXPECT_EQ(c.logit_softcap, 30.0);
    EXPECT_EQ(c.rope_theta, 1e4);
    EXPECT_EQ(c.global_rope_theta, 1e6);
    EXPECT_EQ(c.global_rotary_factor, 0.25);
    EXPECT_TRUE(c.qk_norm);
    EXPECT_TRUE(c.attn_post_norm);
    EXPECT_TRUE(c.tied_output);
}

TEST(FamilyConfig, GemmaSwitches) {
    const ModelConfig listed = model_of(
        kGemma, R"(,"num_hidden_layers":3,)"
                R"("layer_types":["full_attention","sliding_attention","sliding_attention"])");
    EXPECT_EQ(listed.layer_windows, (std::vector<std::int64_t>{0, 1024, 0}));
    // Fewer heads on full layers go with values that are keys.
    EXPECT_EQ(model_of(kGemma, R"(,"attention_k_eq_v":false)").global_kv_heads, 8);
    const ModelConfig dense = model_of(kGemma, R"(,"enable_moe_block":false)");
    EXPECT_EQ(dense.experts.n_experts, 0);
    EXPECT_TRUE(dense.has_dense_layers());
    EXPECT_EQ(model_of(kGemma, R"(,"final_logit_softcapping":null)").logit_softcap, 0.0);
    const auto nested = read_hf_config(
        R"({"model_type":"gemma4","vision_config":{"hidden_size":8},"text_config":{)" + kGemma +
            "}}",
        {.output_head = false});
    ASSERT_TRUE(nested) << nested.error().message();
    EXPECT_EQ(nested->model.d_model, 2816);
    EXPECT_TRUE(nested->model.tied_output);
}

TEST(FamilyConfig, AfmoeHasDenseLayersFirst) {
    const ModelConfig c = model_of(kAfmoe);
    EXPECT_EQ(c.arch, Arch::afmoe);
    EXPECT_EQ(c.experts.dense_layers, (std::vector<std::uint8_t>{1, 1, 0, 0, 0, 0}));
    EXPECT_EQ(c.layer_windows, (std::vector<std::int64_t>{2048, 2048, 2048, 0, 2048, 2048}));
    EXPECT_EQ(c.unrotated_layers, (std::vector<std::uint8_t>{0, 0, 0, 1, 0, 0}));
    EXPECT_EQ(c.experts.shared_ffn_dim, 1024);
    EXPECT_FALSE(c.experts.shared_gate);
    EXPECT_TRUE(c.experts.sigmoid);
    EXPECT_TRUE(c.experts.selection_bias);
    EXPECT_TRUE(c.experts.normalise);
    EXPECT_EQ(c.experts.scale, 2.826);
    EXPECT_TRUE(c.attn_gate);
    EXPECT_TRUE(c.attn_post_norm);
    EXPECT_NEAR(c.embed_scale, 45.254834, 1e-6);
    EXPECT_EQ(model_of(kAfmoe, R"(,"mup_enabled":false)").embed_scale, 1.0);
    EXPECT_FALSE(model_of(kAfmoe, R"(,"score_func":"softmax")").experts.sigmoid);
    EXPECT_EQ(model_of(kAfmoe, R"(,"num_shared_experts":2)").experts.shared_ffn_dim, 2048);
}

TEST(FamilyConfig, MinimaxTurnsAPartOfEachHead) {
    const ModelConfig c = model_of(kMinimax);
    EXPECT_EQ(c.arch, Arch::minimax_m2);
    EXPECT_EQ(c.head_dim, 128);
    EXPECT_EQ(c.rotary_dim, 64);
    EXPECT_EQ(c.rope_theta, 5e6);
    EXPECT_TRUE(c.qk_norm);
    EXPECT_TRUE(c.qk_norm_whole);
    EXPECT_EQ(c.experts.ffn_dim, 1536);
    EXPECT_TRUE(c.experts.sigmoid);
    EXPECT_TRUE(c.experts.selection_bias);
    EXPECT_TRUE(c.experts.normalise);
    EXPECT_EQ(c.ffn_dim, 0);
    const ModelConfig newer = model_of(
        kMinimax, R"(,"rotary_dim":null,"rope_theta":null,"rope_parameters":)"
                  R"({"rope_type":"default","rope_theta":1e6,"partial_rotary_factor":0.25})");
    EXPECT_EQ(newer.rotary_dim, 32);
    EXPECT_EQ(newer.rope_theta, 1e6);
}

struct Fault {
    const std::string& family;
    std::string extra;
    Code code;
    std::string says;
};

TEST(FamilyConfig, EveryFaultIsNamed) {
    const std::vector<Fault> faults = {
        {kGemma, R"(,"hidden_size_per_layer_input":256)", Code::unsupported, "E2B"},
        {kGemma, R"(,"hidden_size_per_layer_input":null)", Code::corrupt,
         "\"hidden_size_per_layer_input\" is missing"},
        {kGemma, R"(,"num_kv_shared_layers":2)", Code::unsupported, "num_kv_shared_layers 2"},
        {kGemma, R"(,"use_double_wide_mlp":true)", Code::unsupported, "double_wide"},
        {kGemma, R"(,"use_bidirectional_attention":"all")", Code::unsupported, "\"all\""},
        {kGemma, R"(,"use_bidirectional_attention":true)", Code::unsupported, "bidirectional"},
        {kGemma, R"(,"hidden_activation":"silu")", Code::unsupported, "\"silu\""},
        {kGemma, R"(,"global_head_dim":null)", Code::corrupt, "\"global_head_dim\" is missing"},
        {kGemma, R"(,"global_head_dim":511)", Code::corrupt, "511 of full layers is odd"},
        {kGemma, R"(,"num_global_key_value_heads":3)", Code::corrupt, "cannot share 3"},
        {kGemma, R"(,"num_global_key_value_heads":0)", Code::corrupt, "full layers is 0"},
        {kGemma, R"(,"intermediate_size":0)", Code::corrupt, "feed-forward width is 0"},
        {kGemma, R"(,"rope_parameters":null)", Code::corrupt, "\"rope_parameters\" is missing"},
        {kGemma, R"(,"rope_parameters":{"sliding_attention":{"rope_theta":1e4}})", Code::corrupt,
         "\"full_attention\" is missing"},
        {kGemma,
         R"(,"rope_parameters":{"sliding_attention":{"rope_theta":1e4},"full_attention":)"
         R"({"rope_theta":1e6,"rope_type":"proportional","partial_rotary_factor":1.5}})",
         Code::corrupt, "rotated share"},
        {kGemma, R"(,"layer_types":["full_attention"])", Code::corrupt, "1 entries for 8"},
        {kGemma, R"(,"sliding_window":null)", Code::corrupt, "\"sliding_window\" is missing"},
        {kAfmoe, R"(,"global_attn_every_n_layers":null)", Code::corrupt,
         "global_attn_every_n_layers are missing"},
        {kAfmoe, R"(,"n_group":4)", Code::unsupported, "n_group 4"},
        {kAfmoe, R"(,"num_dense_layers":7)", Code::corrupt, "num_dense_layers is 7 of 6"},
        {kAfmoe, R"(,"num_dense_layers":null)", Code::corrupt, "\"num_dense_layers\" is missing"},
        {kAfmoe, R"(,"head_dim":null)", Code::corrupt, "\"head_dim\" is missing"},
        {kAfmoe, R"(,"score_func":"relu")", Code::unsupported, "\"relu\""},
        {kAfmoe, R"(,"num_shared_experts":-1)", Code::corrupt, "num_shared_experts is -1"},
        {kMinimax, R"(,"head_dim":null)", Code::corrupt, "\"head_dim\" is missing"},
        {kMinimax, R"(,"rotary_dim":null)", Code::corrupt, "one of them is needed"},
        {kMinimax, R"(,"rotary_dim":130)", Code::corrupt, "130"},
        {kMinimax, R"(,"rotary_dim":63)", Code::corrupt, "63"},
        {kMinimax, R"(,"attn_type_list":[1,0,1])", Code::unsupported, "layers of type 0"},
        {kMinimax, R"(,"shared_intermediate_size":512)", Code::unsupported, "512"},
        {kMinimax, R"(,"scoring_func":"softmax")", Code::unsupported, "\"softmax\""},
        {kMinimax, R"(,"qk_norm_type":"per_head")", Code::unsupported, "\"per_head\""},
    };
    for (const Fault& fault : faults) {
        const auto c = read(fault.family, fault.extra);
        ASSERT_FALSE(c) << fault.extra;
        EXPECT_EQ(c.error().code(), fault.code) << fault.extra << ": " << c.error().message();
        EXPECT_NE(c.error().message().find(fault.says), std::string_view::npos)
            << fault.extra << ": " << c.error().message();
    }
}

// --- rotations
// ------------------------------------------------------------------------------------

TEST(FamilyConfig, GemmaTurnsAQuarterOfThePairsOfFullLayers) {
    const ModelConfig c = model_of(kGemma);
    const auto rope = make_global_rope(c, {});
    ASSERT_TRUE(rope);
    ASSERT_EQ(rope->inv_freq.size(), 256U);
    EXPECT_EQ(rope->inv_freq[0], 1.0);
    EXPECT_NEAR(rope->inv_freq[63], 0.033376, 1e-6);
    for (std::size_t j = 64; j < 256; ++j)
        ASSERT_EQ(rope->inv_freq[j], 0.0);
    std::vector<float> divisors(256, 1e30F);
    std::fill_n(divisors.begin(), 64, 1.0F);
    const auto same = make_global_rope(c, divisors);
    ASSERT_TRUE(same);
    EXPECT_EQ(same->inv_freq, rope->inv_freq);
    divisors[1] = 2.0F;
    EXPECT_EQ(make_global_rope(c, divisors)->inv_freq[1], rope->inv_freq[1] / 2);
    divisors[2] = 0.0F;
    EXPECT_FALSE(make_global_rope(c, divisors));
    divisors.resize(255);
    EXPECT_FALSE(make_global_rope(c, divisors));
    EXPECT_NEAR(make_rope(c, {})->inv_freq[127], std::pow(1e4, -254.0 / 256), 1e-12);
}

// --- GGUF
// -----------------------------------------------------------------------------------------

/// Keys of one architecture and the tensors that a configuration looks at.
struct Gguf {
    std::string arch;
    std::vector<std::string> tensors;
    GgufWriter w;

    explicit Gguf(std::string name) : arch(std::move(name)) {
        w.put_string("general.architecture", arch);
    }

    void put(const std::string& key, std::uint32_t value) { w.put_u32(arch + "." + key, value); }

    void put(const std::string& key, float value) { w.put_f32(arch + "." + key, value); }

    void put(const std::string& key, const std::vector<std::uint32_t>& values) {
        w.put_array(arch + "." + key, GgufWriter::kU32, values);
    }

    Result<ModelConfig> config() {
        w.add_f32("token_embd.weight", {64, 40}, std::vector<float>(64 * 40, 0.0F));
        for (const std::string& name : tensors)
            w.add_f32(name, {1}, {1.0F});
        const auto image = w.build();
        const auto file = GgufFile::from_memory(image, "image");
        EXPECT_TRUE(file) << file.error().message();
        return read_gguf_config(*file);
    }
};

using Change = std::function<void(Gguf&)>;

void put_sizes(Gguf& g, std::uint32_t layers) {
    g.put("block_count", layers);
    g.put("context_length", 1024U);
    g.put("embedding_length", 64U);
    g.put("attention.head_count", 4U);
    g.put("attention.layer_norm_rms_epsilon", 1e-6F);
    g.put("expert_count", 8U);
    g.put("expert_used_count", 2U);
    g.put("expert_feed_forward_length", 32U);
}

Result<ModelConfig> gemma_gguf(const Change& change) {
    Gguf g("gemma4");
    put_sizes(g, 3);
    g.put("feed_forward_length", std::vector<std::uint32_t>{96, 96, 96});
    g.put("attention.head_count_kv", std::vector<std::uint32_t>{2, 1, 2});
    g.put("attention.key_length", 32U);
    g.put("attention.value_length", 32U);
    g.put("attention.key_length_swa", 16U);
    g.put("attention.value_length_swa", 16U);
    g.put("attention.sliding_window", 12U);
    g.put("attention.sliding_window_pattern", std::vector<std::uint32_t>{1, 0, 1});
    g.put("rope.freq_base", 1e6F);
    g.put("rope.freq_base_swa", 1e4F);
    g.put("rope.dimension_count", 32U);
    g.put("rope.dimension_count_swa", 16U);
    g.put("final_logit_softcapping", 30.0F);
    g.tensors = {"blk.0.attn_v.weight", "blk.2.attn_v.weight"};
    change(g);
    return g.config();
}

TEST(FamilyConfig, GemmaGguf) {
    const auto c = gemma_gguf([](Gguf&) {});
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->layer_windows, (std::vector<std::int64_t>{12, 0, 12}));
    EXPECT_EQ(c->head_dim, 16);
    EXPECT_EQ(c->n_kv_heads, 2);
    EXPECT_EQ(c->global_head_dim, 32);
    EXPECT_EQ(c->global_kv_heads, 1);
    EXPECT_TRUE(c->global_k_is_v);
    EXPECT_EQ(c->ffn_dim, 96);
    EXPECT_EQ(c->rope_theta, 1e4);
    EXPECT_EQ(c->global_rope_theta, 1e6);
    EXPECT_EQ(c->rope_scaling.kind, RopeScalingKind::factors);
    EXPECT_EQ(c->embed_scale, 8.0);
    EXPECT_EQ(c->logit_softcap, 30.0);
    EXPECT_EQ(c->vocab_rows, 40);
    EXPECT_TRUE(c->tied_output);
    const auto own = gemma_gguf([](Gguf& g) { g.tensors.push_back("blk.1.attn_v.weight"); });
    ASSERT_TRUE(own) << own.error().message();
    EXPECT_FALSE(own->global_k_is_v);
    const auto wide = gemma_gguf([](Gguf& g) { g.put("embedding_length_per_layer_input", 8U); });
    ASSERT_FALSE(wide);
    EXPECT_NE(wide.error().message().find("E4B"), std::string_view::npos);
    const auto shared = gemma_gguf([](Gguf& g) { g.put("attention.shared_kv_layers", 1U); });
    ASSERT_FALSE(shared);
    EXPECT_EQ(shared.error().code(), Code::unsupported);
}

Result<ModelConfig> afmoe_gguf(const Change& change) {
    Gguf g("afmoe");
    put_sizes(g, 5);
    g.put("feed_forward_length", 96U);
    g.put("attention.head_count_kv", 2U);
    g.put("attention.key_length", 32U);
    g.put("attention.sliding_window", 12U);
    g.put("rope.freq_base", 1e4F);
    g.put("expert_shared_count", 1U);
    g.put("leading_dense_block_count", 1U);
    g.put("expert_weights_scale", 2.5F);
    g.tensors = {"output.weight"};
    change(g);
    return g.config();
}

TEST(FamilyConfig, AfmoeGguf) {
    const auto c = afmoe_gguf([](Gguf&) {});
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->layer_windows, (std::vector<std::int64_t>{12, 12, 12, 0, 12})); // every fourth
    EXPECT_EQ(c->unrotated_layers, (std::vector<std::uint8_t>{0, 0, 0, 1, 0}));
    EXPECT_EQ(c->experts.dense_layers, (std::vector<std::uint8_t>{1, 0, 0, 0, 0}));
    EXPECT_TRUE(c->experts.sigmoid) << "where the file does not say";
    EXPECT_EQ(c->experts.scale, 2.5);
    EXPECT_EQ(c->experts.shared_ffn_dim, 32);
    EXPECT_EQ(c->embed_scale, 8.0) << "no key says it: always";
    EXPECT_FALSE(c->tied_output);
    const auto listed = afmoe_gguf([](Gguf& g) {
        g.put("attention.sliding_window_pattern", std::vector<std::uint32_t>{1, 0, 1, 1, 0});
        g.put("expert_gating_func", 1U);
        g.put("rope.freq_base_swa", 5e4F);
    });
    ASSERT_TRUE(listed) << listed.error().message();
    EXPECT_EQ(listed->layer_windows, (std::vector<std::int64_t>{12, 0, 12, 12, 0}));
    EXPECT_FALSE(listed->experts.sigmoid);
    EXPECT_EQ(listed->rope_theta, 5e4);
    const auto every = afmoe_gguf([](Gguf& g) { g.put("attention.sliding_window_pattern", 2U); });
    ASSERT_TRUE(every) << every.error().message();
    EXPECT_EQ(every->layer_windows, (std::vector<std::int64_t>{12, 0, 12, 0, 12}));
    const auto groups = afmoe_gguf([](Gguf& g) { g.put("expert_group_count", 4U); });
    ASSERT_FALSE(groups);
    EXPECT_EQ(groups.error().code(), Code::unsupported);
}

TEST(FamilyConfig, MinimaxGguf) {
    const auto read_with = [](const Change& change) {
        Gguf g("minimax-m2");
        put_sizes(g, 2);
        g.put("feed_forward_length", 32U);
        g.put("attention.head_count_kv", 2U);
        g.put("attention.key_length", 32U);
        g.put("rope.freq_base", 5e6F);
        g.tensors = {"output.weight", "blk.0.exp_probs_b.bias", "blk.0.attn_q_norm.weight"};
        change(g);
        return g.config();
    };
    const auto c = read_with([](Gguf& g) { g.put("rope.dimension_count", 16U); });
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->rotary_dim, 16);
    EXPECT_TRUE(c->qk_norm);
    EXPECT_TRUE(c->qk_norm_whole);
    EXPECT_TRUE(c->experts.sigmoid);
    EXPECT_TRUE(c->experts.selection_bias);
    EXPECT_EQ(c->experts.ffn_dim, 32);
    const auto missing = read_with([](Gguf&) {});
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().message().find("rope.dimension_count"), std::string_view::npos);
}

} // namespace
} // namespace bloom::engine
