#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/bytes.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/engine/rope.hpp>

#include "support/temp_dir.hpp"
#include "support/tiny_qwen35.hpp"

/// Qwen3.5 in both containers: configuration, names, values that files store in other forms.
namespace bloom::engine {
namespace {

using test::GgufWriter;
using test::SafetensorsWriter;
using test::TinyQwen35;

Result<ModelFile> open_image(const std::vector<std::uint8_t>& image) {
    return ModelFile::from_memory(image, "image");
}

void expect_says(const Result<ModelFile>& model, std::string_view says, std::string_view what) {
    ASSERT_FALSE(model) << what;
    EXPECT_NE(model.error().message().find(says), std::string_view::npos)
        << what << ": " << model.error().message();
}

TEST(Qwen35Gguf, ReadsConfigurationAndWeights) {
    for (const bool experts : {false, true}) {
        const auto image = test::tiny_qwen35_gguf({.experts = experts}).build();
        const auto model = open_image(image);
        ASSERT_TRUE(model) << model.error().message();
        EXPECT_TRUE(model->warnings().empty());
        EXPECT_TRUE(verify_finite(model->weights(), true));
        const ModelConfig& c = model->config();
        EXPECT_EQ(c.arch, experts ? Arch::qwen35_moe : Arch::qwen35);
        EXPECT_EQ(c.n_layers, 2);
        EXPECT_EQ(c.n_draft_layers, 1);
        EXPECT_EQ(c.rotary_dim, 4);
        EXPECT_EQ(c.rope_theta, 1e7);
        EXPECT_TRUE(c.is_linear(0));
        EXPECT_FALSE(c.is_linear(1));
        EXPECT_FALSE(c.is_linear(2)); // the draft head's, though (2 + 1) mod 2 is not 0
        EXPECT_TRUE(c.linear.tiled);
        EXPECT_EQ(c.linear.channels(), 64);
        EXPECT_EQ(c.experts.shared_gate, experts);
        const Weights& w = model->weights();
        EXPECT_EQ(w.at(Role::conv, 0).matrix.k, 256);
        EXPECT_EQ(w.find(Role::wq, 0), nullptr);
        EXPECT_EQ(w.find(Role::conv, 1), nullptr);
        EXPECT_EQ(w.at(Role::mtp_fc, 2).matrix.k, 128);
        EXPECT_EQ(w.at(Role::wo, 2).name, "blk.2.attn_output.weight");
        if (!experts) continue;
        EXPECT_EQ(w.at(Role::w_shared_gate, 0).matrix.rows, 1);
        EXPECT_EQ(w.at(Role::w_down_shexp, 2).matrix.k, 96);
    }
}

// Rates are taken as they are, and norms are not shifted.
TEST(Qwen35Gguf, ValuesAreAsStored) {
    const auto image = test::tiny_qwen35_gguf({}).build();
    const ModelFile model = open_image(image).value();
    const auto values = [&](Role role, std::int64_t layer) {
        const WeightView& view = model.weights().at(role, layer);
        std::vector<float> out(static_cast<std::size_t>(view.matrix.k));
        expand_vector(view, out);
        return out;
    };
    EXPECT_EQ(values(Role::decay, 0), test::tiny_values("blk.0.ssm_a", 2, -0.5F));
    EXPECT_EQ(values(Role::attn_norm, 1), test::tiny_values("blk.1.attn_norm.weight", 64, 1.0F));
    EXPECT_EQ(values(Role::mtp_norm, 2),
              test::tiny_values("blk.2.nextn.shared_head_norm.weight", 64, 1.0F));
}

TEST(Qwen35Gguf, GatesAreTakenOutOfTheQueries) {
    const auto image = test::tiny_qwen35_gguf({}).build();
    const ModelFile model = open_image(image).value();
    const WeightView& q = model.weights().at(Role::wq, 1);
    const WeightView& gate = model.weights().at(Role::attn_gate, 1);
    EXPECT_EQ(q.matrix.rows, 32);
    EXPECT_EQ(gate.matrix.rows, 32);
    EXPECT_EQ(q.bytes() + gate.bytes(), 64U * 68);
    EXPECT_EQ(q.ranges[0].offset + q.ranges[0].bytes, gate.ranges[0].offset);
    std::vector<std::uint8_t> scratch, other;
    const kernels::SourceMatrix queries = model.matrix(q, scratch);
    const kernels::SourceMatrix gates = model.matrix(gate, other);
    for (std::int64_t row = 0; row < 32; ++row) {
        const std::int64_t file_row = row / 16 * 32 + row % 16;
        const auto same = [&](const std::uint8_t* a, std::int64_t at) {
            return std::equal(a, a + 68, q.matrix.codes + at * 68);
        };
        EXPECT_TRUE(same(queries.codes + row * 68, file_row));
        EXPECT_TRUE(same(gates.codes + row * 68, file_row + 16));
    }
}

TEST(Qwen35Gguf, OtherFormsOfTheSame) {
    const TinyQwen35 shape{.experts = true};
    // Gate and up rows in one tensor, a gate with two axes, layers by a list of bools.
    GgufWriter w = test::tiny_qwen35_gguf(shape);
    std::vector<std::uint8_t> both = test::tiny_q8_0(3 * 64, 64);
    w.find("blk.0.ffn_gate_exps.weight")->name = "blk.0.ffn_gate_up_exps.weight";
    w.find("blk.0.ffn_gate_up_exps.weight")->ne = {64, 64, 3};
    w.find("blk.0.ffn_gate_up_exps.weight")->data = both;
    std::erase_if(w.tensors, [](const auto& t) { return t.name == "blk.0.ffn_up_exps.weight"; });
    w.find("blk.1.ffn_gate_inp_shexp.weight")->ne = {64, 1};
    w.remove("qwen35moe.full_attention_interval");
    w.put_array<std::uint8_t>("qwen35moe.attention.recurrent_layers", GgufWriter::kBool, {1, 0, 0});
    w.remove("qwen35moe.attention.head_count_kv");
    w.put_array<std::uint32_t>("qwen35moe.attention.head_count_kv", GgufWriter::kU32, {0, 1, 1});
    const auto image = w.build();
    const auto model = open_image(image);
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_TRUE(model->warnings().empty());
    EXPECT_EQ(model->config().n_kv_heads, 1);
    const WeightView& gate = model->weights().at(Role::w_gate_exps, 0);
    const WeightView& up = model->weights().at(Role::w_up_exps, 0);
    const std::uint8_t* const first = gate.matrix.codes;
    for (std::int64_t e = 0; e < 3; ++e) {
        EXPECT_EQ(gate.expert(e).codes, first + e * 64 * 68);
        EXPECT_EQ(up.expert(e).codes, first + (e * 64 + 32) * 68);
        EXPECT_EQ(up.expert(e).rows, 32);
    }
    EXPECT_EQ(gate.bytes() + up.bytes(), both.size());
    // A draft block that was announced and left out.
    GgufWriter without = test::tiny_qwen35_gguf({});
    std::erase_if(without.tensors, [](const auto& t) { return t.name.starts_with("blk.2."); });
    const auto shorter = without.build();
    const auto second = open_image(shorter);
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(second->config().n_layers, 2);
    EXPECT_EQ(second->config().n_draft_layers, 0);
}

TEST(Qwen35Gguf, EveryFaultIsNamed) {
    const auto set = [](GgufWriter& w, const std::string& key, std::uint32_t value) {
        w.remove("qwen35." + key);
        w.put_u32("qwen35." + key, value);
    };

    struct Fault {
        std::function<void(GgufWriter&)> change;
        const char* says;
    };

    const std::vector<Fault> faults = {
        {[&](auto& w) { set(w, "ssm.group_count", 3); }, "2 linear value heads cannot share 3"},
        {[&](auto& w) { set(w, "ssm.inner_size", 33); }, "ssm.inner_size is 33"},
        {[&](auto& w) { set(w, "ssm.conv_kernel", 3); },
         "\"blk.0.ssm_conv1d.weight\" has the shape [64, 4], the configuration asks for [64, 3]"},
        {[&](auto& w) { set(w, "ssm.conv_kernel", 9); }, "length of the convolution is 9"},
        {[&](auto& w) { set(w, "ssm.state_size", 512); }, "linear key dimension is 512"},
        {[&](auto& w) { set(w, "rope.dimension_count", 32); }, "rotated part of a head is 32"},
        {[&](auto& w) { set(w, "rope.dimension_count", 5); }, "5 rotated dimensions"},
        {[&](auto& w) { set(w, "full_attention_interval", 1); }, "all layers are of one kind"},
        {[&](auto& w) { set(w, "nextn_predict_layers", 3); }, "nextn_predict_layers"},
        {[](auto& w) { w.find("blk.0.ssm_a")->data[3] = 0x3f; }, "\"blk.0.ssm_a\" contains"},
        {[](auto& w) {
             auto& data = w.find("blk.0.ssm_a")->data;
             data[2] = data[3] = 0xff; // NaN
         },
         "\"blk.0.ssm_a\" contains"},
        {[](auto& w) { w.find("blk.1.attn_q.weight")->name = "x"; },
         "\"blk.1.attn_q.weight\" is missing"},
        {[](auto& w) { w.find("blk.2.nextn.hnorm.weight")->name = "x"; },
         "\"blk.2.nextn.hnorm.weight\" is missing"},
        {[](auto& w) {
             w.remove("qwen35.attention.head_count_kv");
             w.template put_array<std::uint32_t>("qwen35.attention.head_count_kv", GgufWriter::kU32,
                                                 {1, 2, 1});
         },
         "head_count_kv differs between layers"},
    };
    for (const Fault& fault : faults) {
        GgufWriter w = test::tiny_qwen35_gguf({});
        fault.change(w);
        const auto image = w.build();
        expect_says(open_image(image), fault.says, fault.says);
    }
    // No size has a default.
    for (const char* key :
         {"block_count", "context_length", "embedding_length", "feed_forward_length",
          "attention.head_count", "attention.head_count_kv", "attention.key_length",
          "attention.layer_norm_rms_epsilon", "rope.dimension_count", "ssm.conv_kernel",
          "ssm.state_size", "ssm.group_count", "ssm.time_step_rank", "ssm.inner_size",
          "full_attention_interval"}) {
        GgufWriter w = test::tiny_qwen35_gguf({});
        w.remove(std::string("qwen35.") + key);
        const auto image = w.build();
        expect_says(open_image(image), key, key);
    }
}

Result<ModelFile> open_directory(const TinyQwen35& shape, const std::string& extra = "",
                                 const std::function<void(SafetensorsWriter&)>& change = {}) {
    const test::TempDir dir; // mappings stay when names go
    SafetensorsWriter w = test::tiny_qwen35_safetensors(shape);
    if (change) change(w);
    dir.write("config.json", test::tiny_qwen35_config(shape, extra));
    dir.write("model.safetensors", w.build());
    return ModelFile::open(dir.path());
}

std::vector<float> plus_one(std::vector<float> values) {
    for (float& v : values)
        v = 1.0F + v;
    return values;
}

TEST(Qwen35Directory, OriginalAndMlxValues) {
    for (const bool raw : {true, false}) {
        for (const bool experts : {false, true}) {
            const auto model = open_directory({.experts = experts, .raw = raw});
            ASSERT_TRUE(model) << model.error().message();
            EXPECT_TRUE(model->warnings().empty()) << model->warnings().front();
            EXPECT_TRUE(verify_finite(model->weights(), true));
            EXPECT_EQ(model->config().n_draft_layers, 1);
            EXPECT_EQ(model->config().rotary_dim, 4);
            EXPECT_FALSE(model->config().linear.tiled);
            const auto values = [&](Role role, std::int64_t layer) {
                const WeightView& view = model->weights().at(role, layer);
                std::vector<float> out(static_cast<std::size_t>(view.matrix.k));
                expand_vector(view, out);
                return out;
            };
            const std::string base = raw ? "model.language_model." : "language_model.model.";
            const std::string norm = base + "layers.1.self_attn.q_norm.weight";
            EXPECT_EQ(values(Role::q_norm, 1), raw ? plus_one(test::tiny_values(norm, 16))
                                                   : test::tiny_values(norm, 16, 1.0F));
            EXPECT_EQ(values(Role::q_norm, 2),
                      plus_one(test::tiny_values("mtp.layers.0.self_attn.q_norm.weight", 16)));
            EXPECT_EQ(values(Role::mtp_embd_norm, 2),
                      plus_one(test::tiny_values("mtp.pre_fc_norm_embedding.weight", 64)));
            const std::string gated = base + "layers.0.linear_attn.norm.weight";
            EXPECT_EQ(values(Role::delta_norm, 0), test::tiny_values(gated, 16, 1.0F));
            const auto logs = test::tiny_values(base + "layers.0.linear_attn.A_log", 2);
            EXPECT_EQ(values(Role::decay, 0)[1],
                      static_cast<float>(-std::exp(static_cast<double>(logs[1]))));
            EXPECT_EQ(model->weights().at(Role::output).name,
                      raw ? "lm_head.weight" : "language_model.lm_head.weight");
            if (!experts) continue;
            const WeightView& up = model->weights().at(Role::w_up_exps, 1);
            ASSERT_EQ(up.n_matrices(), 3);
            const WeightView& gate = model->weights().at(Role::w_gate_exps, 1);
            if (raw) {
                EXPECT_EQ(up.expert(1).codes, gate.expert(1).codes + 32 * 64 * 4);
                EXPECT_EQ(gate.expert(1).codes, gate.expert(0).codes + 64 * 64 * 4);
            } else {
                EXPECT_EQ(gate.expert(1).codes, gate.expert(0).codes + 32 * 64 * 4);
            }
        }
    }
}

TEST(Qwen35Directory, SwitchesAndLayers) {
    const auto listed =
        open_directory({}, R"(,"layer_types":["linear_attention","full_attention"])");
    ASSERT_TRUE(listed) << listed.error().message();
    const auto bare = open_directory({.draft = false}); // announced and left out
    ASSERT_TRUE(bare) << bare.error().message();
    EXPECT_EQ(bare->config().n_draft_layers, 0);
    const auto unwanted = open_directory({}, R"(,"mtp_num_hidden_layers":0)");
    ASSERT_TRUE(unwanted) << unwanted.error().message();
    EXPECT_EQ(unwanted->config().n_draft_layers, 0);
    EXPECT_TRUE(unwanted->warnings().empty());
    expect_says(open_directory({}, R"(,"layer_types":["linear_attention"])"), "1 entries for 2",
                "too few types");
    expect_says(open_directory({}, R"(,"layer_types":["linear_attention","mamba"])"), "\"mamba\"",
                "type");
    expect_says(open_directory({}, R"(,"attn_output_gate":false)"), "attn_output_gate", "gate");
    expect_says(open_directory({}, R"(,"attention_bias":true)"), "attention_bias", "bias");
    expect_says(open_directory({}, R"(,"hidden_act":"gelu")"), "gelu", "activation");
    expect_says(open_directory({}, R"(,"linear_num_key_heads":3)"), "2 linear value heads",
                "heads");
    expect_says(open_directory({}, R"(,"rope_parameters":{"partial_rotary_factor":0.3})"),
                "5 rotated dimensions", "factor");
    expect_says(open_directory({}, R"(,"rope_parameters":{"partial_rotary_factor":1.5})"),
                "partial_rotary_factor is 1.5", "factor");
    expect_says(open_directory({}, R"(,"rope_parameters":{"partial_rotary_factor":0.001})"),
                "partial_rotary_factor is 0.001", "factor");
    for (const char* key :
         {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
          "head_dim", "vocab_size", "max_position_embeddings", "linear_num_key_heads",
          "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim",
          "linear_conv_kernel_dim", "full_attention_interval", "intermediate_size"}) {
        const std::string denied = ",\"" + std::string(key) + "\":null";
        expect_says(open_directory({}, denied), key, key);
    }
}

TEST(Qwen35Directory, TensorFaultsAreNamed) {
    const auto find = [](SafetensorsWriter& w, const std::string& name) -> auto& {
        return *std::ranges::find_if(w.tensors, [&](const auto& t) { return t.name == name; });
    };
    const std::string layer = "model.language_model.layers.";
    const std::string conv = layer + "0.linear_attn.conv1d.weight";
    expect_says(open_directory({}, "", [&](auto& w) { find(w, conv).shape = {4, 64, 1}; }),
                "conv1d.weight\" has the shape [4, 64, 1], the configuration asks for [64, 1, 4] "
                "or [64, 4, 1]",
                "conv");
    expect_says(open_directory({}, "", [&](auto& w) { find(w, conv).shape = {64, 4}; }),
                "has the shape [64, 4]", "conv without a sign of its origin");
    expect_says(open_directory({}, "", [&](auto& w) { find(w, conv).name = "x"; }),
                '"' + conv + "\" is missing", "as the file would say");
    expect_says(
        open_directory(
            {}, "", [&](auto& w) { w.add("model.norm.weight", "F32", {1}, std::string(4, '\0')); }),
        "are the same part of the model", "two spellings");
    expect_says(
        open_directory(
            {}, "", [&](auto& w) { find(w, layer + "1.self_attn.v_proj.weight").dtype = "U32"; }),
        "v_proj.scales\" is missing", "quantised without scales");
    expect_says(open_directory({}, "",
                               [&](auto& w) {
                                   auto& t = find(w, layer + "1.self_attn.v_proj.weight");
                                   t.dtype = "F8_E4M3";
                                   t.data.resize(t.data.size() / 4);
                               }),
                "8-bit floats are not supported", "FP8");
    expect_says(open_directory({}, R"(},"quantization_config":{"quant_method":"fp8")"), "\"fp8\"",
                "FP8 by its settings");
}

// The long-context mode of the model card.
TEST(Qwen35Rope, YarnStretchesTheRotatedPart) {
    ModelConfig c;
    c.head_dim = 256;
    c.rotary_dim = 64;
    c.rope_theta = 1e7;
    c.rope_scaling = {.kind = RopeScalingKind::yarn,
                      .factor = 4.0,
                      .original_ctx_len = 262'144,
                      .attention_factor = 0.1 * std::log(4.0) + 1.0};
    const auto spec = make_rope(c, {});
    ASSERT_TRUE(spec);
    ASSERT_EQ(spec->inv_freq.size(), 32U);
    EXPECT_NEAR(spec->magnitude, 1.138629, 1e-6);
    const auto plain = [](int i) { return std::pow(1e7, -2.0 * i / 64.0); };
    const double lo = std::floor(64 * std::log(262'144 / (2 * M_PI * 32)) / (2 * std::log(1e7)));
    const double hi = std::ceil(64 * std::log(262'144 / (2 * M_PI)) / (2 * std::log(1e7)));
    EXPECT_EQ(lo, 14);
    EXPECT_EQ(hi, 22);
    for (int i = 0; i < 32; ++i) {
        const double ramp = std::clamp((i - lo) / (hi - lo), 0.0, 1.0);
        const double want = plain(i) * (1 - ramp) + plain(i) / 4 * ramp;
        EXPECT_NEAR(spec->inv_freq[static_cast<std::size_t>(i)] / want, 1.0, 1e-12) << i;
    }
}

} // namespace
} // namespace bloom::engine
