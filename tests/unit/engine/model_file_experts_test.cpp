#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/model_file.hpp>

#include "support/temp_dir.hpp"
#include "support/tiny_models.hpp"

/// Models with experts, in every form in which files keep them.
namespace bloom::engine {
namespace {

using test::GgufWriter;
using test::SafetensorsWriter;
using test::TinyFileShape;

Result<ModelFile> open_image(const std::vector<std::uint8_t>& image) {
    return ModelFile::from_memory(image, "image");
}

const TinyFileShape kExperts{.qk_norm = true, .n_experts = 5, .top_k = 2, .expert_ffn = 32};

TEST(ModelFileExperts, GgufStacksAreCutIntoExperts) {
    const auto image = test::tiny_gguf("qwen3moe", kExperts).build();
    const auto model = open_image(image);
    ASSERT_TRUE(model) << model.error().message();
    const ModelConfig& c = model->config();
    EXPECT_EQ(c.arch, Arch::qwen3_moe);
    EXPECT_EQ(c.experts.n_experts, 5);
    EXPECT_EQ(c.experts.top_k, 2);
    EXPECT_EQ(c.experts.ffn_dim, 32);
    EXPECT_TRUE(c.experts.normalise); // GGUF has no word for it
    EXPECT_TRUE(c.qk_norm);
    EXPECT_TRUE(model->warnings().empty());
    EXPECT_TRUE(verify_finite(model->weights(), true));
    EXPECT_EQ(model->weights().find(Role::w_gate, 0), nullptr);
    const WeightView& router = model->weights().at(Role::w_router, 1);
    EXPECT_EQ(router.matrix.format, kernels::WeightFormat::f32);
    EXPECT_EQ(router.matrix.rows, 5);
    const WeightView& down = model->weights().at(Role::w_down_exps, 1);
    EXPECT_TRUE(is_expert_role(down.role));
    EXPECT_EQ(down.matrix.rows, 64);
    EXPECT_EQ(down.matrix.k, 32);
    ASSERT_EQ(down.n_matrices(), 5);
    EXPECT_EQ(down.n_elements(), 5 * 64 * 32);
    EXPECT_EQ(down.bytes(), 5U * 64 * 34);
    for (std::int64_t e = 0; e < 5; ++e) {
        EXPECT_EQ(down.expert(e).codes, down.matrix.codes + e * 64 * 34);
        EXPECT_EQ(down.expert(e).rows, 64);
    }
    // Block b of the stack has the codes (7 b + 5 i) mod 251: row r of expert e is block 64 e + r.
    std::vector<float> row(32);
    dequantise_row(down, 3 * 64 + 2, row);
    const auto code = static_cast<std::int8_t>((3 * 64 + 2) * 7 % 251);
    EXPECT_EQ(row[0], static_cast<float>(code) * 0x1p-7F);
    std::vector<std::uint8_t> scratch;
    EXPECT_EQ(model->experts(down, scratch).at(4).codes, down.expert(4).codes);
}

TEST(ModelFileExperts, GgufLayersWithoutThemAreFoundByTheirTensors) {
    TinyFileShape shape = kExperts;
    shape.dense_layers = {1};
    const auto image = test::tiny_gguf("qwen3moe", shape).build();
    const auto model = open_image(image);
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_TRUE(model->config().has_experts(0));
    EXPECT_FALSE(model->config().has_experts(1));
    EXPECT_EQ(model->weights().at(Role::w_gate, 1).matrix.rows, 64);
    EXPECT_EQ(model->weights().find(Role::w_gate_exps, 1), nullptr);
    EXPECT_EQ(model->weights().find(Role::w_gate, 0), nullptr);
}

struct ExpertFault {
    const char* name;
    std::function<void(GgufWriter&)> change;
    Code code;
    const char* says;
};

TEST(ModelFileExperts, EveryGgufFaultIsNamed) {
    const auto set = [](GgufWriter& w, const std::string& key, std::uint32_t value) {
        w.remove("qwen3moe." + key);
        w.put_u32("qwen3moe." + key, value);
    };
    const std::vector<ExpertFault> faults = {
        {"no count", [](auto& w) { w.remove("qwen3moe.expert_count"); }, Code::not_found,
         "expert_count"},
        {"count 0", [&](auto& w) { set(w, "expert_count", 0); }, Code::too_large, "is 0"},
        {"count 4097", [&](auto& w) { set(w, "expert_count", 4097); }, Code::too_large, "4097"},
        {"other count", [&](auto& w) { set(w, "expert_count", 6); }, Code::corrupt,
         "\"blk.0.ffn_gate_inp.weight\" has the shape [5, 64], the configuration asks for [6, 64]"},
        {"too many used", [&](auto& w) { set(w, "expert_used_count", 6); }, Code::corrupt,
         "is 6; 1 to 5"},
        {"width", [&](auto& w) { set(w, "expert_feed_forward_length", 64); }, Code::corrupt,
         "\"blk.0.ffn_gate_exps.weight\" has the shape [5, 32, 64], the configuration asks for "
         "[5, 64, 64]"},
        {"sigmoid", [&](auto& w) { set(w, "expert_gating_func", 2); }, Code::unsupported,
         "expert_gating_func is 2"},
        {"shared", [&](auto& w) { set(w, "expert_shared_count", 1); }, Code::unsupported,
         "shared experts"},
        {"no router", [](auto& w) { w.find("blk.1.ffn_gate_inp.weight")->name = "other"; },
         Code::corrupt, "\"blk.1.ffn_gate_inp.weight\" is missing"},
        {"not a stack",
         [](auto& w) {
             auto* t = w.find("blk.0.ffn_up_exps.weight");
             t->ne = {64, 32 * 5};
         },
         Code::corrupt, "[160, 64]"},
    };
    for (const ExpertFault& fault : faults) {
        GgufWriter w = test::tiny_gguf("qwen3moe", kExperts);
        fault.change(w);
        const auto image = w.build();
        const auto model = open_image(image);
        ASSERT_FALSE(model) << fault.name;
        EXPECT_EQ(model.error().code(), fault.code)
            << fault.name << ": " << model.error().message();
        EXPECT_NE(model.error().message().find(fault.says), std::string_view::npos)
            << fault.name << ": " << model.error().message();
    }
}

TEST(ModelFileExperts, FindsAnExpertThatIsNotFinite) {
    GgufWriter w = test::tiny_gguf("qwen3moe", kExperts);
    auto& data = w.find("blk.1.ffn_up_exps.weight")->data;
    data[data.size() - 33] = 0x7c; // the last block's scale becomes infinite
    const auto image = w.build();
    const auto scan = verify_finite(open_image(image).value().weights(), true);
    ASSERT_FALSE(scan);
    EXPECT_NE(scan.error().message().find("blk.1.ffn_up_exps.weight"), std::string_view::npos);
}

Result<ModelFile> open_experts(const test::TempDir& dir, const TinyFileShape& shape, bool quantised,
                               const std::function<void(SafetensorsWriter&)>& change = {}) {
    SafetensorsWriter w = test::tiny_safetensors(shape, quantised);
    if (change) change(w);
    const std::string extra = R"(,"norm_topk_prob":true)";
    dir.write("config.json",
              test::tiny_config_json("qwen3_moe", shape,
                                     quantised ? test::kMlxQuantization + extra : extra));
    dir.write("model.safetensors", w.build());
    return ModelFile::open(dir.path());
}

TEST(ModelFileExperts, MlxStacksAreCutIntoExperts) {
    const test::TempDir dir;
    TinyFileShape shape = kExperts;
    shape.expert_ffn = 64;
    shape.dense_layers = {0};
    const auto model = open_experts(dir, shape, true);
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_TRUE(model->warnings().empty());
    EXPECT_FALSE(model->config().has_experts(0));
    const WeightView& router = model->weights().at(Role::w_router, 1);
    EXPECT_EQ(router.matrix.format, kernels::WeightFormat::affine8_bf16);
    const WeightView& up = model->weights().at(Role::w_up_exps, 1);
    EXPECT_EQ(up.name, "model.layers.1.mlp.switch_mlp.up_proj.weight");
    ASSERT_EQ(up.n_matrices(), 5);
    EXPECT_EQ(up.ranges.size(), 3U);
    EXPECT_EQ(up.bytes(), 5U * 64 * (64 + 2 + 2));
    EXPECT_EQ(up.expert(3).codes, up.matrix.codes + 3 * 64 * 64);
    EXPECT_EQ(up.expert(3).scales, up.matrix.scales + 3 * 64 * 2);
    EXPECT_EQ(up.expert(3).biases, up.matrix.biases + 3 * 64 * 2);
}

TEST(ModelFileExperts, ExpertsAsModulesOfTheirOwn) {
    const test::TempDir dir;
    const auto model = open_experts(dir, kExperts, false);
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_TRUE(model->warnings().empty());
    const WeightView& gate = model->weights().at(Role::w_gate_exps, 0);
    EXPECT_EQ(gate.name, "model.layers.0.mlp.experts.0.gate_proj.weight");
    ASSERT_EQ(gate.n_matrices(), 5);
    EXPECT_EQ(gate.ranges.size(), 5U);
    EXPECT_EQ(gate.bytes(), 5U * 32 * 64 * 2);
    const auto tensors = model->tensors();
    for (const TensorInfo& t : tensors) {
        if (t.name == "model.layers.0.mlp.experts.4.gate_proj.weight")
            EXPECT_EQ(gate.expert(4).codes, t.data);
    }
}

TEST(ModelFileExperts, DirectoryFaultsAreNamed) {
    const std::string layer = "model.layers.1.mlp.";
    const auto drop_tensor = [](SafetensorsWriter& w, const std::string& name) {
        std::erase_if(w.tensors, [&](const auto& t) { return t.name == name; });
    };
    const auto find = [](SafetensorsWriter& w, const std::string& name) -> auto& {
        return *std::ranges::find_if(w.tensors, [&](const auto& t) { return t.name == name; });
    };
    const auto expect = [](const Result<ModelFile>& model, std::string_view says) {
        ASSERT_FALSE(model);
        EXPECT_NE(model.error().message().find(says), std::string_view::npos)
            << model.error().message();
    };
    TinyFileShape mlx = kExperts;
    mlx.expert_ffn = 64;
    expect(open_experts(test::TempDir(), kExperts, false,
                        [&](auto& w) { drop_tensor(w, layer + "experts.4.up_proj.weight"); }),
           "experts.4.up_proj.weight\" is missing");
    expect(
        open_experts(test::TempDir(), kExperts, false,
                     [&](auto& w) { find(w, layer + "experts.2.up_proj.weight").dtype = "BF16"; }),
        "in different formats");
    expect(open_experts(test::TempDir(), mlx, true,
                        [&](auto& w) { drop_tensor(w, layer + "switch_mlp.down_proj.biases"); }),
           "switch_mlp.down_proj.biases\" is missing");
    expect(open_experts(test::TempDir(), mlx, true,
                        [&](auto& w) {
                            find(w, layer + "switch_mlp.down_proj.weight").shape = {64, 5, 16};
                        }),
           "[64, 5, 16], the configuration asks for [5, 64, 16]");
    expect(open_experts(test::TempDir(), mlx, true,
                        [&](auto& w) { drop_tensor(w, layer + "gate.weight"); }),
           "mlp.gate.weight\" is missing");
}

} // namespace
} // namespace bloom::engine
