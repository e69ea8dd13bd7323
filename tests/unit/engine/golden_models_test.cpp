#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/model_file.hpp>
#include <bloom/json/reader.hpp>

#include "support/temp_dir.hpp"

namespace bloom::engine {
namespace {

std::filesystem::path golden_dir() {
    return std::filesystem::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "engine" / "data";
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}

/// The number that golden.json keeps for each weight, and the sum of the sizes of what was added.
struct Check {
    double sum = 0;
    double magnitude = 0;
};

Check check_of(const WeightView& view) {
    Check check;
    std::vector<float> row(static_cast<std::size_t>(view.matrix.k));
    for (std::int64_t r = 0; r < view.matrix.rows * view.n_matrices(); ++r) {
        if (is_vector_role(view.role)) {
            expand_vector(view, row);
        } else {
            dequantise_row(view, r, row);
        }
        for (std::int64_t c = 0; c < view.matrix.k; ++c) {
            const double term = double{row[static_cast<std::size_t>(c)]} *
                                static_cast<double>((r * 31 + c * 17) % 97 + 1);
            check.sum += term;
            check.magnitude += std::abs(term);
        }
    }
    return check;
}

std::string golden_name(const WeightView& view) {
    const std::string role(to_string(view.role));
    return view.layer < 0 ? role : std::to_string(view.layer) + "." + role;
}

// Every weight of every golden model, in the model's order: formats, scales, permutations, names.
TEST(GoldenModels, WeightsAreWhatTheReferenceComputedFrom) {
    json::Parser index_parser;
    const std::string index = read_text(golden_dir() / "index.json");
    const json::Object root = index_parser.parse(index).value().as_object().value();
    int n_cases = 0;
    for (const json::Value name : root.at("cases").value().as_array().value()) {
        const std::filesystem::path dir = golden_dir() / name.as_string().value();
        json::Parser parser;
        const json::Object golden =
            parser.parse(read_text(dir / "golden.json")).value().as_object().value();
        const auto model = ModelFile::open(dir / golden.at("model").value().as_string().value());
        ASSERT_TRUE(model) << model.error().message();
        EXPECT_TRUE(model->warnings().empty()) << dir;
        EXPECT_EQ(model->config().vocab_rows, golden.at("vocab_rows").value().as_int64().value());
        EXPECT_TRUE(verify_finite(model->weights(), true));
        const json::Object checks = golden.at("weight_checks").value().as_object().value();
        std::size_t n_checked = 0;
        for (const WeightView& view : model->weights().all()) {
            if (view.role == Role::rope_factors) continue;
            const auto expected = checks.at(golden_name(view));
            ASSERT_TRUE(expected) << dir << " " << golden_name(view);
            const Check check = check_of(view);
            // Only affine values are rounded on the way, to f32.
            EXPECT_NEAR(check.sum, expected->as_double().value(), 1e-6 * check.magnitude)
                << dir << " " << view.name;
            ++n_checked;
        }
        EXPECT_EQ(n_checked, checks.size()) << dir;
        ++n_cases;
    }
    EXPECT_GE(n_cases, 9);
}

TEST(GoldenModels, ConfigurationsAreRead) {
    const auto config = [](const char* path) {
        return ModelFile::open(golden_dir() / path).value().config();
    };
    const ModelConfig gguf = config("llama-gguf-q8_0/model.gguf");
    EXPECT_EQ(gguf.rope_scaling.kind, RopeScalingKind::factors);
    const ModelConfig mlx = config("llama-mlx-affine8/model");
    EXPECT_EQ(mlx.rope_scaling.kind, RopeScalingKind::llama3);
    EXPECT_EQ(mlx.rope_scaling.original_ctx_len, 32);
    const ModelConfig hf = config("llama-hf-bf16/model");
    EXPECT_EQ(hf.rope_scaling.kind, RopeScalingKind::yarn);
    EXPECT_TRUE(hf.attn_out_bias);
    EXPECT_TRUE(hf.mlp_bias);
    EXPECT_EQ(hf.layer_windows, (std::vector<std::int64_t>{24, 0}));
    const ModelConfig qwen2 = config("qwen2-gguf-f16/model.gguf");
    EXPECT_EQ(qwen2.head_dim, 16);
    EXPECT_TRUE(qwen2.tied_output);
    const ModelConfig qwen3 = config("qwen3-gguf-q8_0/model.gguf");
    EXPECT_EQ(qwen3.q_dim(), 128);
    EXPECT_EQ(qwen3.d_model, 96);
    const ModelConfig moe = config("qwen3moe-gguf-q8_0/model.gguf");
    EXPECT_EQ(moe.arch, Arch::qwen3_moe);
    EXPECT_TRUE(moe.experts.normalise);
    EXPECT_FALSE(moe.has_dense_layers());
    const ModelConfig mlx_moe = config("qwen3moe-mlx-affine8/model");
    EXPECT_FALSE(mlx_moe.experts.normalise);
    EXPECT_FALSE(mlx_moe.has_experts(0)); // mlp_only_layers
    EXPECT_TRUE(mlx_moe.has_experts(1));
    const ModelConfig hf_moe = config("qwen3moe-hf-bf16/model");
    EXPECT_TRUE(hf_moe.experts.normalise);
    EXPECT_FALSE(hf_moe.has_experts(0)); // decoder_sparse_step
    EXPECT_TRUE(hf_moe.has_experts(1));
}

TEST(GoldenModels, DirectoryTokenizersAreRead) {
    for (const char* path :
         {"llama-mlx-affine8/model", "llama-hf-bf16/model", "qwen3-mlx-affine8/model"}) {
        const auto tokenizer = ModelFile::open(golden_dir() / path).value().tokenizer();
        ASSERT_TRUE(tokenizer) << path << ": " << tokenizer.error().message();
        EXPECT_EQ(tokenizer->vocab.tokens.size(), 300U);
        EXPECT_EQ(tokenizer->vocab.eos_id, 298);
        EXPECT_EQ(tokenizer->vocab.stop_ids, (std::vector<std::int32_t>{298, 299}));
        ASSERT_EQ(tokenizer->chat_templates.size(), 1U);
        EXPECT_EQ(tokenizer->chat_templates[0].name, "default");
    }
}

// The template file beside the weights wins over the entry of tokenizer_config.json.
TEST(GoldenModels, TemplateFileWins) {
    const test::TempDir dir;
    std::filesystem::copy(golden_dir() / "qwen3-mlx-affine8" / "model", dir.path() / "m");
    dir.write("m/chat_template.jinja", "from the file");
    const auto tokenizer = ModelFile::open(dir.path() / "m").value().tokenizer();
    ASSERT_TRUE(tokenizer) << tokenizer.error().message();
    EXPECT_EQ(tokenizer->chat_templates.at(0).source, "from the file");
}

TEST(GoldenModels, GgufTokenizersAreRead) {
    for (const char* path : {"llama-gguf-q8_0/model.gguf", "qwen2-gguf-f16/model.gguf",
                             "qwen3-gguf-q8_0/model.gguf"}) {
        const auto tokenizer = ModelFile::open(golden_dir() / path).value().tokenizer();
        ASSERT_TRUE(tokenizer) << tokenizer.error().message();
        EXPECT_EQ(tokenizer->vocab.tokens.size(), 304U);
        EXPECT_EQ(tokenizer->vocab.merges.size(), 40U);
        ASSERT_EQ(tokenizer->chat_templates.size(), 1U);
    }
}

} // namespace
} // namespace bloom::engine
