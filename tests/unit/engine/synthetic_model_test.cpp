#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>
#include <bloom/engine/synthetic_model.hpp>
#include <bloom/text/tokenizer.hpp>

#include "engine/float_bits.hpp"
#include "support/temp_dir.hpp"

namespace bloom::engine {
namespace {

using kernels::WeightFormat;

constexpr WeightFormat kFormats[] = {WeightFormat::q8_0, WeightFormat::affine8_bf16};

const std::string kSmall = R"(# a comment
arch = qwen3moe
layers = 3
d_model = 128   # in the line, too
heads = 4
kv_heads = 2
head_dim = 32
ffn_dim = 192
dense_layers = 1
experts = 8
top_k = 2
expert_ffn_dim = 64
vocab = 320
context = 512
window = 64
full_every = 3
rope_theta = 1e6
norm_eps = 1e-6
tied = no
)";

TEST(SyntheticShape, ReadsEveryKey) {
    const auto shape = parse_shape(kSmall, "small");
    ASSERT_TRUE(shape) << shape.error().message();
    const ModelConfig& c = shape->config;
    EXPECT_EQ(shape->name, "small");
    EXPECT_EQ(shape->approximates, "");
    EXPECT_EQ(c.arch, Arch::qwen3_moe);
    EXPECT_TRUE(c.qk_norm);
    EXPECT_FALSE(c.tied_output);
    EXPECT_EQ(c.d_model, 128);
    EXPECT_EQ(c.experts.top_k, 2);
    EXPECT_FALSE(c.has_experts(0));
    EXPECT_TRUE(c.has_experts(1));
    EXPECT_EQ(c.layer_windows, (std::vector<std::int64_t>{64, 64, 0}));
    EXPECT_EQ(c.rope_theta, 1e6);
    EXPECT_EQ(c.norm_eps, 1e-6);
}

TEST(SyntheticShape, LinearLayers) {
    const auto shape = parse_shape(R"(arch = qwen35moe
layers = 5
full_every = 3
d_model = 64
heads = 2
kv_heads = 1
head_dim = 32
rotary_dim = 8
linear_key_heads = 1
linear_value_heads = 2
linear_key_dim = 32
linear_value_dim = 16
conv_taps = 4
draft_layers = 1
experts = 4
top_k = 2
expert_ffn_dim = 64
shared_ffn_dim = 128
vocab = 320
context = 512
)",
                                   "hybrid");
    ASSERT_TRUE(shape) << shape.error().message();
    const ModelConfig& c = shape->config;
    EXPECT_EQ(c.linear.layers, (std::vector<std::uint8_t>{1, 1, 0, 1, 1}));
    EXPECT_EQ(c.linear.channels(), 96);
    EXPECT_EQ(c.rotary_dim, 8);
    EXPECT_TRUE(c.layer_windows.empty());
    EXPECT_TRUE(c.attn_gate);
    EXPECT_TRUE(c.experts.shared_gate);
    const ModelFile model = ModelFile::synthetic(*shape, WeightFormat::q8_0).value();
    EXPECT_EQ(model.weights().at(Role::w_shared_gate, 5).matrix.format, WeightFormat::f32);
    EXPECT_EQ(model.weights().at(Role::mtp_fc, 5).matrix.k, 128);
    std::vector<float> rates(2);
    model.vector(model.weights().at(Role::decay, 0), rates);
    EXPECT_LT(rates[1], 0.0F);
}

TEST(SyntheticShape, EveryFaultIsNamed) {
    const auto with = [](const std::string& from, const std::string& to) {
        std::string text = kSmall;
        text.replace(text.find(from), from.size(), to);
        return text;
    };
    const std::vector<std::pair<std::string, std::string>> faults = {
        {with("layers = 3", "layers = x"), "line 3: layers is \"x\", which is not a number"},
        {with("layers = 3", "layers = 3 4"), "line 3: layers is \"3 4\""},
        {with("layers = 3", "layers 3"), "line 3: key = value"},
        {with("layers = 3", "layer = 3"), "\"layer\" is not a key"},
        {with("layers = 3", "arch = qwen3"), "line 3: \"arch\" is there twice"},
        {with("arch = qwen3moe", "arch = gpt"), "line 2: arch is \"gpt\""},
        {with("arch = qwen3moe", "arch = qwen3"), "8 experts; the architecture qwen3 has none"},
        {with("tied = no", "tied = maybe"), "tied is \"maybe\""},
        {with("layers = 3", "layers = 2000"), "number of layers is 2000"},
        {with("ffn_dim = 192\n", ""), "feed-forward width is 0"},
        {with("rope_theta = 1e6", "rope_theta = nan"), "rope base"},
        {"", "number of layers is 0"},
    };
    for (const auto& [text, says] : faults) {
        const auto shape = parse_shape(text, "small");
        ASSERT_FALSE(shape) << says;
        EXPECT_NE(shape.error().message().find(says), std::string_view::npos)
            << shape.error().message();
        EXPECT_NE(shape.error().message().find("shape small"), std::string_view::npos)
            << shape.error().message();
    }
}

TEST(SyntheticShape, EveryCatalogShapeIsAModel) {
    const auto names = shape_names();
    EXPECT_GE(names.size(), 8U);
    for (const std::string_view name : names) {
        const auto shape = find_shape(name);
        ASSERT_TRUE(shape) << shape.error().message();
        for (const WeightFormat format : kFormats) {
            const auto model = ModelFile::synthetic(*shape, format);
            ASSERT_TRUE(model) << name << ": " << model.error().message();
            // 8.5 bits a weight, vectors and Q8_0's routers in f32.
            const double bits = 8.0 * static_cast<double>(model->file_bytes()) /
                                static_cast<double>(model->n_parameters());
            EXPECT_NEAR(bits, 8.5, 0.05) << name;
        }
    }
    // Published sizes, in parameters.
    const auto parameters = [](std::string_view name) {
        return static_cast<double>(
            ModelFile::synthetic(find_shape(name).value(), kFormats[0]).value().n_parameters());
    };
    EXPECT_NEAR(parameters("qwen3-8b"), 8.19e9, 0.01e9);
    EXPECT_NEAR(parameters("qwen3-30b-a3b"), 30.53e9, 0.01e9);
    EXPECT_NEAR(parameters("qwen3.5-27b"), 26.896e9, 0.001e9);
    EXPECT_NEAR(parameters("qwen3.5-122b-a10b"), 122.11e9, 0.01e9);
    EXPECT_NEAR(parameters("minimax-m2.5"), 228.7e9, 0.1e9);
    EXPECT_NEAR(parameters("trinity-mini-26b"), 26.12e9, 0.01e9);
    EXPECT_NEAR(parameters("gemma-4-26b-a4b"), 25.233e9, 0.01e9);
}

TEST(SyntheticShape, FilesAndNames) {
    const test::TempDir dir;
    dir.write("mine.txt", kSmall);
    const auto shape = find_shape((dir.path() / "mine.txt").string());
    ASSERT_TRUE(shape) << shape.error().message();
    EXPECT_EQ(shape->name, "mine");
    const auto missing = find_shape("gpt-5");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code(), Code::not_found);
    EXPECT_NE(missing.error().message().find("qwen3-8b"), std::string_view::npos);
    dir.write("large.txt", std::string(kMaxShapeBytes + 1, '\n'));
    EXPECT_EQ(find_shape((dir.path() / "large.txt").string()).error().code(), Code::too_large);
}

double deviation_of(const kernels::SourceMatrix& m) {
    std::vector<float> row(static_cast<std::size_t>(m.k));
    double sum = 0, squares = 0;
    for (std::int64_t r = 0; r < m.rows; ++r) {
        dequantise_row(m, r, row);
        for (const float v : row) {
            sum += v;
            squares += static_cast<double>(v) * v;
        }
    }
    const auto n = static_cast<double>(m.rows * m.k);
    EXPECT_LT(std::abs(sum / n), 0.01);
    return std::sqrt(squares / n);
}

TEST(SyntheticModel, WeightsHaveTheRightSize) {
    const SyntheticShape shape = parse_shape(kSmall, "small").value();
    for (const WeightFormat format : kFormats) {
        const ModelFile model = ModelFile::synthetic(shape, format).value();
        EXPECT_EQ(model.container(), Container::synthetic);
        EXPECT_TRUE(model.tensors().empty());
        EXPECT_TRUE(model.warnings().empty());
        EXPECT_TRUE(model.begin_layer(0));
        std::vector<std::uint8_t> scratch, again;
        for (const WeightView& view : model.weights().all()) {
            if (is_vector_role(view.role) || is_expert_role(view.role)) continue;
            const auto m = model.matrix(view, scratch);
            // Scales vary by a quarter, so few groups are off by more.
            const auto n_groups = static_cast<double>(m.rows * m.k / kernels::group_size(m.format));
            EXPECT_NEAR(deviation_of(m) * std::sqrt(static_cast<double>(m.k)), 1.0,
                        0.03 + 0.6 / std::sqrt(n_groups))
                << to_string(view.role);
            const auto same = model.matrix(view, again);
            EXPECT_EQ(scratch, again);
            EXPECT_EQ(same.k, m.k);
        }
        const WeightView& router = model.weights().at(Role::w_router, 1);
        EXPECT_EQ(router.matrix.format, format == WeightFormat::q8_0 ? WeightFormat::f32 : format);
        std::vector<float> norm(128);
        model.vector(model.weights().at(Role::attn_norm, 2), norm);
        EXPECT_EQ(norm[127], 1.0F);
    }
}

TEST(SyntheticModel, ExpertsDiffer) {
    const SyntheticShape shape = parse_shape(kSmall, "small").value();
    for (const WeightFormat format : kFormats) {
        const ModelFile model = ModelFile::synthetic(shape, format).value();
        std::vector<std::uint8_t> scratch;
        const WeightView& view = model.weights().at(Role::w_down_exps, 2);
        const auto experts = model.experts(view, scratch);
        ASSERT_EQ(experts.size(), 8U);
        // One matrix and a row for each other expert is all the memory that they take.
        EXPECT_LT(scratch.size(), 2 * view.bytes() / 8);
        std::set<std::vector<float>> first_rows;
        for (const auto& expert : experts) {
            EXPECT_NEAR(deviation_of(expert) * 8.0, 1.0, 0.06); // sqrt(64)
            std::vector<float> row(64);
            dequantise_row(expert, 0, row);
            first_rows.insert(row);
        }
        EXPECT_EQ(first_rows.size(), 8U);
    }
}

TEST(SyntheticModel, RunsInAnEngine) {
    const SyntheticShape shape = parse_shape(kSmall, "small").value();
    for (const WeightFormat format : kFormats) {
        compute::SerialTeam team(2);
        auto made = Engine::create(ModelFile::synthetic(shape, format).value(),
                                   {.team = &team, .kv_budget_bytes = std::int64_t{16} << 20});
        ASSERT_TRUE(made) << made.error().message();
        Engine& engine = **made;
        EXPECT_EQ(engine.info().name, "small");
        EXPECT_EQ(engine.info().n_tokens, 257);
        EXPECT_EQ(engine.tokenize("Hi!").value().size(), 3U);
        EXPECT_EQ(engine.info().traffic.n_experts, 8);
        EXPECT_LT(engine.info().traffic.bytes_per_step(1), engine.info().traffic.bytes_per_step(4));
        ASSERT_TRUE(engine.run_synthetic(4, 0, 70));
        double squares = 0;
        std::int64_t n = 0;
        const std::vector<std::int32_t> ids = {1, 2, 3, 200, 5};
        ASSERT_TRUE(engine.logits(ids, [&](std::int64_t, std::span<const float> logits) {
            for (const float v : logits) {
                squares += static_cast<double>(v) * v;
                ++n;
            }
        }));
        const double rms = std::sqrt(squares / static_cast<double>(n));
        EXPECT_GT(rms, 0.3); // NaN fails, too
        EXPECT_LT(rms, 3.0);
    }
}

// A window takes as many pages as it has, however deep a benchmark goes.
TEST(SyntheticModel, RunsDeepBehindItsWindows) {
    const SyntheticShape shape = parse_shape(kSmall, "small").value();
    compute::SerialTeam team(2);
    auto made = Engine::create(ModelFile::synthetic(shape, WeightFormat::q8_0).value(),
                               {.team = &team, .kv_budget_bytes = 300'000, .prefill_tokens = 64});
    ASSERT_TRUE(made) << made.error().message();
    Engine& engine = **made;
    const std::int32_t depth = engine.info().ctx_len - 1;
    const StateSpec& state = engine.info().state;
    ASSERT_EQ(state.groups.size(), 2U);
    std::int64_t all = 0; // what it would take without windows
    for (const compute::KvGroupSpec& g : state.groups)
        all += compute::page_bytes(g) * (depth / compute::kPageTokens + 1);
    ASSERT_GT(all, engine.info().kv_bytes) << "the test is too small";
    EXPECT_TRUE(engine.fill_cache(1, depth + 1));
    EXPECT_TRUE(engine.run_synthetic(1, depth, 1));
    EXPECT_TRUE(engine.run_synthetic(1, depth - 63, 64));
    EXPECT_EQ(engine.pages_in_use(), 0);
}

TEST(SyntheticModel, WidthsThatTheFormatCannotHoldAreNamed) {
    std::string text = kSmall;
    text.replace(text.find("expert_ffn_dim = 64"), 19, "expert_ffn_dim = 96");
    const SyntheticShape shape = parse_shape(text, "odd").value();
    EXPECT_TRUE(ModelFile::synthetic(shape, WeightFormat::q8_0));
    const auto affine = ModelFile::synthetic(shape, WeightFormat::affine8_bf16);
    ASSERT_FALSE(affine);
    EXPECT_EQ(affine.error().code(), Code::unsupported);
    EXPECT_NE(affine.error().message().find("w_down_exps"), std::string_view::npos);
}

TEST(FloatBits, RoundTrips) {
    for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        ASSERT_EQ(float_to_half(half_to_float(half)), half);
        const auto negative = static_cast<std::uint16_t>(bits | 0x8000U);
        ASSERT_EQ(float_to_half(half_to_float(negative)), negative);
    }
    EXPECT_EQ(float_to_half(1.0F + 0x1p-11F), 0x3c00); // a tie goes to even
    EXPECT_EQ(float_to_half(1.0F + 0x3p-11F), 0x3c02);
    EXPECT_EQ(float_to_half(65'519.0F), 0x7bff);
    EXPECT_EQ(float_to_half(65'520.0F), 0x7c00);
    EXPECT_EQ(float_to_bf16(1.0F + 0x1p-8F), 0x3f80);
    EXPECT_EQ(float_to_bf16(1.0F + 0x3p-8F), 0x3f82);
    EXPECT_EQ(float_to_bf16(-2.0F), 0xc000);
}

} // namespace
} // namespace bloom::engine
