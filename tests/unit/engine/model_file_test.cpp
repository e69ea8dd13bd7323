#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/gguf.hpp>
#include <bloom/engine/gguf_model.hpp>
#include <bloom/engine/model_file.hpp>

#include "support/temp_dir.hpp"
#include "support/test_data.hpp"
#include "support/tiny_models.hpp"

namespace bloom::engine {
namespace {

using test::GgufWriter;
using test::SafetensorsWriter;
using test::TinyFileShape;

Result<ModelFile> open_image(const std::vector<std::uint8_t>& image) {
    return ModelFile::from_memory(image, "image");
}

// --- GGUF
// ------------------------------------------------------------------------------------------

TEST(ModelFileGguf, OpensALlama) {
    const auto image = test::tiny_gguf("llama", {}).build();
    const auto model = open_image(image);
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->container(), Container::gguf);
    EXPECT_EQ(model->name(), "tiny llama");
    EXPECT_EQ(model->file_bytes(), image.size());
    const ModelConfig& c = model->config();
    EXPECT_EQ(c.arch, Arch::llama);
    EXPECT_EQ(c.n_layers, 2);
    EXPECT_EQ(c.vocab_rows, 40);
    EXPECT_EQ(c.head_dim, 16);
    EXPECT_FALSE(c.tied_output);
    EXPECT_TRUE(model->weights().unused().empty());
    EXPECT_EQ(model->tensors().size(), 3U + 2U * 9U);
    EXPECT_EQ(model->weights().all().size(), 3U + 2U * 9U);
    const WeightView& down = model->weights().at(Role::w_down, 1);
    EXPECT_EQ(down.name, "blk.1.ffn_down.weight");
    EXPECT_EQ(down.matrix.format, kernels::WeightFormat::q8_0);
    EXPECT_EQ(down.matrix.rows, 64);
    EXPECT_EQ(down.matrix.k, 64);
    EXPECT_TRUE(down.order.is_identity());
    EXPECT_EQ(model->weights().find(Role::bq, 0), nullptr);
    EXPECT_EQ(model->weights().find(Role::wq, 2), nullptr);
    EXPECT_EQ(model->weights().find(Role::wq, -1), nullptr);
    const std::int64_t matrices = 2 * 40 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 64);
    EXPECT_EQ(model->n_parameters(), matrices + 64 + 2 * 2 * 64);
    EXPECT_FALSE(model->metadata().empty());
    EXPECT_TRUE(verify_finite(model->weights(), true));
}

TEST(ModelFileGguf, FamiliesHaveTheirTensors) {
    const auto qwen2 = test::tiny_gguf("qwen2", {.tied = true, .qkv_bias = true}).build();
    const auto a = open_image(qwen2);
    ASSERT_TRUE(a) << a.error().message();
    EXPECT_TRUE(a->config().qkv_bias);
    EXPECT_TRUE(a->config().tied_output);
    EXPECT_EQ(a->weights().at(Role::bk, 1).matrix.k, 32);
    EXPECT_EQ(a->weights().find(Role::output), nullptr);
    EXPECT_TRUE(a->weights().at(Role::wq, 0).order.is_identity());

    const auto qwen3 = test::tiny_gguf("qwen3", {.head_dim = 32, .qk_norm = true}).build();
    const auto b = open_image(qwen3);
    ASSERT_TRUE(b) << b.error().message();
    EXPECT_TRUE(b->config().qk_norm);
    EXPECT_EQ(b->config().q_dim(), 128); // not the width
    EXPECT_EQ(b->weights().at(Role::q_norm, 0).matrix.k, 32);
    EXPECT_TRUE(b->weights().at(Role::wk, 0).order.is_identity());
}

// The converter's order written out for one head of 8, and its inverse.
TEST(RowOrder, UndoesTheConvertersPermutation) {
    const RowOrder order{8};
    constexpr int kHalf = 4;
    for (std::int64_t head = 0; head < 3; ++head) {
        for (std::int64_t j = 0; j < kHalf; ++j) {
            EXPECT_EQ(order.source_row(head * 8 + j), head * 8 + 2 * j);
            EXPECT_EQ(order.source_row(head * 8 + j + kHalf), head * 8 + 2 * j + 1);
        }
    }
    EXPECT_EQ(RowOrder{}.source_row(5), 5);
}

TEST(ModelFileGguf, LlamaRowsComeBackInModelOrder) {
    const TinyFileShape shape;
    GgufWriter w = test::tiny_gguf("llama", shape);
    // Each row of q says its number in the model; the file has them permuted.
    std::vector<float> rows;
    for (std::int64_t head = 0; head < shape.n_heads; ++head) {
        for (std::int64_t j = 0; j < shape.head_dim / 2; ++j) {
            for (const std::int64_t old : {j, j + shape.head_dim / 2}) {
                rows.insert(rows.end(), 64, static_cast<float>(head * shape.head_dim + old));
            }
        }
    }
    GgufWriter::Tensor* q = w.find("blk.0.attn_q.weight");
    q->type = GgufWriter::kTensorF32;
    q->data.resize(rows.size() * 4);
    std::memcpy(q->data.data(), rows.data(), q->data.size());
    const auto image = w.build();
    const auto model = open_image(image);
    ASSERT_TRUE(model) << model.error().message();
    const WeightView& view = model->weights().at(Role::wq, 0);
    EXPECT_FALSE(view.order.is_identity());
    std::vector<std::uint8_t> scratch;
    const kernels::SourceMatrix ordered = in_model_order(view, scratch);
    std::vector<float> row(64);
    for (std::int64_t r = 0; r < view.matrix.rows; ++r) {
        EXPECT_EQ(load_le<float>(ordered.codes + static_cast<std::size_t>(r) * 256),
                  static_cast<float>(r));
        dequantise_row(view, r, row);
        EXPECT_EQ(row[63], static_cast<float>(r));
    }
    EXPECT_TRUE(model->weights().at(Role::wv, 0).order.is_identity());
    const kernels::SourceMatrix same = in_model_order(model->weights().at(Role::wv, 0), scratch);
    EXPECT_EQ(same.codes, model->weights().at(Role::wv, 0).matrix.codes);
}

TEST(ModelFileGguf, LlamaBiasesComeBackInModelOrder) {
    const TinyFileShape shape{.qkv_bias = true};
    GgufWriter w = test::tiny_gguf("llama", shape);
    std::vector<float> values;
    for (std::int64_t head = 0; head < shape.n_heads; ++head) {
        for (std::int64_t j = 0; j < 8; ++j) {
            values.push_back(static_cast<float>(head * 16 + j));
            values.push_back(static_cast<float>(head * 16 + j + 8));
        }
    }
    std::memcpy(w.find("blk.1.attn_q.bias")->data.data(), values.data(), values.size() * 4);
    const auto image = w.build();
    const auto model = open_image(image).value();
    std::vector<float> out(64);
    expand_vector(model.weights().at(Role::bq, 1), out);
    for (std::size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i], static_cast<float>(i));
}

TEST(ModelFileGguf, DecodesEveryFormat) {
    GgufWriter w = test::tiny_gguf("qwen2", {.qkv_bias = true});
    GgufWriter::Tensor* q8 = w.find("blk.0.attn_v.weight");
    q8->data[0] = 0x00; // scale 1.0
    q8->data[1] = 0x3c;
    q8->data[2] = 0x80; // -128
    q8->data[3] = 127;
    q8->data[34] = 0x01; // the smallest subnormal
    q8->data[35] = 0x00;
    q8->data[36] = 1;
    GgufWriter::Tensor* f16 = w.find("blk.0.attn_k.weight");
    f16->type = GgufWriter::kTensorF16;
    f16->data.assign(32 * 64 * 2, 0);
    f16->data[1] = 0xc0; // -2
    GgufWriter::Tensor* bf16 = w.find("blk.0.attn_q.weight");
    bf16->type = GgufWriter::kTensorBf16;
    bf16->data.assign(64 * 64 * 2, 0);
    bf16->data[0] = 0x40; // 3
    bf16->data[1] = 0x40;
    const auto image = w.build();
    const auto model = open_image(image);
    ASSERT_TRUE(model) << model.error().message();
    std::vector<float> row(64);
    dequantise_row(model->weights().at(Role::wv, 0), 0, row);
    EXPECT_EQ(row[0], -128.0F);
    EXPECT_EQ(row[1], 127.0F);
    EXPECT_EQ(row[32], 0x1p-24F);
    dequantise_row(model->weights().at(Role::wk, 0), 0, row);
    EXPECT_EQ(row[0], -2.0F);
    dequantise_row(model->weights().at(Role::wq, 0), 0, row);
    EXPECT_EQ(row[0], 3.0F);
}

struct GgufFault {
    const char* name;
    std::function<void(GgufWriter&)> change;
    Code code;
    const char* says;
};

void set_u32(GgufWriter& w, const std::string& key, std::uint32_t value) {
    w.remove(key);
    w.put_u32(key, value);
}

TEST(ModelFileGguf, EveryFaultIsNamed) {
    const std::vector<GgufFault> faults = {
        {"no architecture", [](auto& w) { w.remove("general.architecture"); }, Code::not_found,
         "general.architecture"},
        {"architecture",
         [](auto& w) {
             w.remove("general.architecture");
             w.put_string("general.architecture", "mamba");
         },
         Code::unsupported, "\"mamba\""},
        {"no layers", [](auto& w) { w.remove("llama.block_count"); }, Code::not_found,
         "llama.block_count"},
        {"0 layers", [](auto& w) { set_u32(w, "llama.block_count", 0); }, Code::too_large,
         "block_count\" is 0"},
        {"1025 layers", [](auto& w) { set_u32(w, "llama.block_count", 1025); }, Code::too_large,
         "is 1025"},
        {"3 layers", [](auto& w) { set_u32(w, "llama.block_count", 3); }, Code::corrupt,
         "\"blk.2.attn_norm.weight\" is missing"},
        {"width", [](auto& w) { set_u32(w, "llama.embedding_length", 65'537); }, Code::too_large,
         "65537"},
        {"other width", [](auto& w) { set_u32(w, "llama.embedding_length", 96); }, Code::corrupt,
         "\"token_embd.weight\" has the shape [40, 64], the configuration asks for [40, 96]"},
        {"heads", [](auto& w) { set_u32(w, "llama.attention.head_count_kv", 3); }, Code::corrupt,
         "cannot share 3"},
        {"experts", [](auto& w) { w.put_u32("llama.expert_count", 8); }, Code::unsupported,
         "expert_count is 8"},
        {"no epsilon", [](auto& w) { w.remove("llama.attention.layer_norm_rms_epsilon"); },
         Code::not_found, "epsilon"},
        {"value length", [](auto& w) { set_u32(w, "llama.attention.value_length", 8); },
         Code::unsupported, "values of 8"},
        {"rope dims", [](auto& w) { w.put_u32("llama.rope.dimension_count", 8); },
         Code::unsupported, "rotating 8 of 16"},
        {"rope type", [](auto& w) { w.put_string("llama.rope.scaling.type", "longrope"); },
         Code::unsupported, "\"longrope\""},
        {"rope factor",
         [](auto& w) {
             w.put_string("llama.rope.scaling.type", "linear");
             w.put_f32("llama.rope.scaling.factor", 0.0F);
         },
         Code::corrupt, "factor is 0"},
        {"rope base NaN",
         [](auto& w) {
             w.remove("llama.rope.freq_base");
             w.put_f32("llama.rope.freq_base", std::numeric_limits<float>::quiet_NaN());
         },
         Code::corrupt, "freq_base"},
        {"heads by layer",
         [](auto& w) {
             w.remove("llama.attention.head_count_kv");
             w.template put_array<std::uint32_t>("llama.attention.head_count_kv", GgufWriter::kU32,
                                                 {2, 4});
         },
         Code::unsupported, "differs between layers"},
        {"heads list length",
         [](auto& w) {
             w.remove("llama.attention.head_count_kv");
             w.template put_array<std::uint32_t>("llama.attention.head_count_kv", GgufWriter::kU32,
                                                 {2, 2, 2});
         },
         Code::corrupt, "3 entries for 2 layers"},
        {"no embedding", [](auto& w) { w.find("token_embd.weight")->name = "other"; },
         Code::corrupt, "\"token_embd.weight\" is missing"},
        {"missing tensor", [](auto& w) { w.find("blk.1.ffn_up.weight")->name = "other"; },
         Code::corrupt, "\"blk.1.ffn_up.weight\" is missing"},
        {"norm shape",
         [](auto& w) {
             w.find("output_norm.weight")->ne = {32};
             w.find("output_norm.weight")->data.resize(128);
         },
         Code::corrupt,
         "\"output_norm.weight\" has the shape [32], the configuration asks for [64]"},
        {"norm rank", [](auto& w) { w.find("output_norm.weight")->ne = {64, 1}; }, Code::corrupt,
         "[1, 64]"},
        {"norm type",
         [](auto& w) {
             w.find("output_norm.weight")->type = GgufWriter::kTensorQ8_0;
             w.find("output_norm.weight")->data.resize(68);
         },
         Code::unsupported, "of type q8_0"},
        {"matrix type",
         [](auto& w) {
             w.find("blk.0.attn_q.weight")->type = 24;
             w.find("blk.0.attn_q.weight")->data.resize(64 * 64);
         },
         Code::unsupported, "of type i8"},
        {"divisors", [](auto& w) { w.add_f32("rope_freqs.weight", {8}, {1, 1, 1, 0, 1, 1, 1, 1}); },
         Code::corrupt, "the divisor 0"},
        {"divisor count", [](auto& w) { w.add_f32("rope_freqs.weight", {4}, {1, 1, 1, 1}); },
         Code::corrupt, "[4]"},
    };
    for (const GgufFault& fault : faults) {
        GgufWriter w = test::tiny_gguf("llama", {});
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

TEST(ModelFileGguf, ReadsRopeVariants) {
    GgufWriter w = test::tiny_gguf("llama", {});
    w.add_f32("rope_freqs.weight", {8}, {1, 1, 1, 2, 4, 8, 8, 8});
    auto image = w.build();
    const auto divisors = open_image(image);
    ASSERT_TRUE(divisors) << divisors.error().message();
    EXPECT_EQ(divisors->config().rope_scaling.kind, RopeScalingKind::factors);
    std::vector<float> factors(8);
    expand_vector(divisors->weights().at(Role::rope_factors), factors);
    EXPECT_EQ(factors[4], 4.0F);

    GgufWriter yarn = test::tiny_gguf("qwen3", {.qk_norm = true});
    yarn.put_string("qwen3.rope.scaling.type", "yarn");
    yarn.put_f32("qwen3.rope.scaling.factor", 4.0F);
    yarn.put_u32("qwen3.rope.scaling.original_context_length", 64);
    const auto yarn_image = yarn.build();
    const auto scaled = open_image(yarn_image);
    ASSERT_TRUE(scaled) << scaled.error().message();
    EXPECT_EQ(scaled->config().rope_scaling.kind, RopeScalingKind::yarn);
    EXPECT_EQ(scaled->config().rope_scaling.original_ctx_len, 64);

    GgufWriter array = test::tiny_gguf("llama", {});
    array.remove("llama.attention.head_count_kv");
    array.put_array<std::int32_t>("llama.attention.head_count_kv", GgufWriter::kI32, {2, 2});
    const auto array_image = array.build();
    EXPECT_EQ(open_image(array_image).value().config().n_kv_heads, 2);
}

TEST(ModelFileGguf, FindsValuesThatAreNotFinite) {
    GgufWriter w = test::tiny_gguf("llama", {});
    w.find("blk.1.ffn_down.weight")->data[34] = 0x00;
    w.find("blk.1.ffn_down.weight")->data[35] = 0x7c; // infinity in the second block
    const auto image = w.build();
    const auto model = open_image(image).value();
    EXPECT_TRUE(verify_finite(model.weights(), false));
    const auto scan = verify_finite(model.weights(), true);
    ASSERT_FALSE(scan);
    EXPECT_NE(scan.error().message().find("blk.1.ffn_down.weight"), std::string_view::npos);

    GgufWriter n = test::tiny_gguf("llama", {});
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(n.find("blk.0.ffn_norm.weight")->data.data() + 4, &nan, 4);
    const auto nan_image = n.build();
    EXPECT_FALSE(verify_finite(open_image(nan_image).value().weights(), false));
}

TEST(ModelFileGguf, NamesUnusedTensors) {
    GgufWriter w = test::tiny_gguf("llama", {});
    w.add_f32("extra", {2}, {1, 2});
    const auto image = w.build();
    const auto model = open_image(image).value();
    ASSERT_EQ(model.weights().unused().size(), 1U);
    ASSERT_EQ(model.warnings().size(), 1U);
    EXPECT_NE(model.warnings()[0].find("\"extra\""), std::string::npos);
}

TEST(ModelFileGguf, LayersAreReadAndLetGoWithoutChangingThem) {
    const test::TempDir dir;
    const auto path = dir.write("tiny.gguf", test::tiny_gguf("llama", {}).build());
    ModelFile model = ModelFile::open(path).value();
    std::vector<float> before(64);
    std::vector<float> after(64);
    dequantise_row(model.weights().at(Role::w_up, 1), 3, before);
    for (std::int64_t layer = -1; layer < 2; ++layer) {
        EXPECT_TRUE(model.begin_layer(layer));
        model.end_layer(layer);
    }
    const ModelFile moved = std::move(model);
    dequantise_row(moved.weights().at(Role::w_up, 1), 3, after);
    EXPECT_EQ(before, after);
    std::filesystem::resize_file(path, 4096);
    EXPECT_EQ(moved.begin_layer(0).error().code(), Code::corrupt);
}

// --- tokenizers in GGUF
// ----------------------------------------------------------------------------

TEST(GgufTokenizer, ReadsTheVocabulary) {
    GgufWriter w = test::tiny_gguf("llama", {});
    w.put_u32("tokenizer.ggml.bos_token_id", 0xffffffff);
    w.put_bool("tokenizer.ggml.add_bos_token", false);
    w.put_string("tokenizer.chat_template.tool_use", "tools");
    const auto image = w.build();
    const auto tokenizer = open_image(image).value().tokenizer();
    ASSERT_TRUE(tokenizer) << tokenizer.error().message();
    EXPECT_EQ(tokenizer->vocab.kind, text::VocabKind::byte_bpe);
    EXPECT_EQ(tokenizer->vocab.pre, "gpt-2");
    ASSERT_EQ(tokenizer->vocab.tokens.size(), 40U);
    EXPECT_EQ(tokenizer->vocab.tokens[0], "<|end|>");
    EXPECT_EQ(tokenizer->vocab.types[0], text::TokenType::control);
    EXPECT_EQ(tokenizer->vocab.eos_id, 0);
    EXPECT_EQ(tokenizer->vocab.bos_id, -1);
    EXPECT_EQ(tokenizer->vocab.add_bos, false);
    EXPECT_FALSE(tokenizer->vocab.add_eos.has_value());
    ASSERT_EQ(tokenizer->chat_templates.size(), 2U);
    EXPECT_EQ(tokenizer->chat_templates[0].name, "default");
    EXPECT_EQ(tokenizer->chat_templates[1].name, "tool_use");
}

TEST(GgufTokenizer, EveryFaultIsNamed) {
    const std::vector<GgufFault> faults = {
        {"no model", [](auto& w) { w.remove("tokenizer.ggml.model"); }, Code::not_found,
         "tokenizer.ggml.model"},
        {"kind",
         [](auto& w) {
             w.remove("tokenizer.ggml.model");
             w.put_string("tokenizer.ggml.model", "bert");
         },
         Code::unsupported, "bert"},
        {"no tokens", [](auto& w) { w.remove("tokenizer.ggml.tokens"); }, Code::not_found,
         "tokenizer.ggml.tokens"},
        {"type count",
         [](auto& w) {
             w.remove("tokenizer.ggml.token_type");
             w.template put_array<std::int32_t>("tokenizer.ggml.token_type", GgufWriter::kI32, {1});
         },
         Code::corrupt, "1 entries for 40"},
        {"type value",
         [](auto& w) {
             w.remove("tokenizer.ggml.token_type");
             w.template put_array<std::int32_t>("tokenizer.ggml.token_type", GgufWriter::kI32,
                                                std::vector<std::int32_t>(40, 7));
         },
         Code::corrupt, "unknown type 7"},
        {"score count",
         [](auto& w) {
             w.template put_array<float>("tokenizer.ggml.scores", GgufWriter::kF32, {1.0F});
         },
         Code::corrupt, "1 entries for 40"},
        {"id", [](auto& w) { set_u32(w, "tokenizer.ggml.eos_token_id", 40); }, Code::corrupt,
         "is 40"},
        {"more tokens than rows",
         [](auto& w) {
             w.remove("tokenizer.ggml.tokens");
             w.remove("tokenizer.ggml.token_type");
             w.put_strings("tokenizer.ggml.tokens", std::vector<std::string>(41, "a"));
         },
         Code::corrupt, "41 tokens, the embedding 40 rows"},
        {"token bytes",
         [](auto& w) {
             w.remove("tokenizer.ggml.tokens");
             w.put_strings("tokenizer.ggml.tokens", {"a", "\xff"});
         },
         Code::corrupt, "token 1"},
    };
    for (const GgufFault& fault : faults) {
        GgufWriter w = test::tiny_gguf("llama", {});
        fault.change(w);
        const auto image = w.build();
        const auto tokenizer = open_image(image).value().tokenizer();
        ASSERT_FALSE(tokenizer) << fault.name;
        EXPECT_EQ(tokenizer.error().code(), fault.code)
            << fault.name << ": " << tokenizer.error().message();
        EXPECT_NE(tokenizer.error().message().find(fault.says), std::string_view::npos)
            << fault.name << ": " << tokenizer.error().message();
    }
}

TEST(GgufTokenizer, ReadsThePublishedVocabularies) {
    BLOOM_REQUIRE_DATA("tokenizers");
    for (const char* name : {"gpt-2", "mpt", "llama-spm", "phi-3"}) {
        const auto path =
            test::data_dir() / "tokenizers" / (std::string("ggml-vocab-") + name + ".gguf");
        const auto file = GgufFile::open(path);
        ASSERT_TRUE(file) << file.error().message();
        const auto tokenizer = read_gguf_tokenizer(*file);
        ASSERT_TRUE(tokenizer) << name << ": " << tokenizer.error().message();
        EXPECT_EQ(tokenizer->vocab.tokens.size(), tokenizer->vocab.types.size());
        EXPECT_FALSE(ModelFile::open(path)); // no tensors: not a model
    }
}

// --- directories
// -----------------------------------------------------------------------------------

void write_model(const test::TempDir& dir, const TinyFileShape& shape, bool quantised,
                 const std::string& type = "llama", const std::string& extra = "") {
    dir.write("config.json", test::tiny_config_json(
                                 type, shape, (quantised ? test::kMlxQuantization : "") + extra));
    dir.write("model.safetensors", test::tiny_safetensors(shape, quantised).build());
}

TEST(ModelFileDirectory, OpensAnMlxModel) {
    const test::TempDir dir;
    write_model(dir, {}, true);
    const auto model = ModelFile::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->container(), Container::safetensors);
    EXPECT_EQ(model->name(), dir.path().filename().string());
    EXPECT_TRUE(model->warnings().empty());
    const WeightView& gate = model->weights().at(Role::w_gate, 1);
    EXPECT_EQ(gate.matrix.format, kernels::WeightFormat::affine8_bf16);
    EXPECT_EQ(gate.ranges.size(), 3U);
    EXPECT_EQ(gate.bytes(), 64U * 64U + 2U * 64U * 2U);
    EXPECT_TRUE(gate.order.is_identity());
    EXPECT_TRUE(model->weights().at(Role::wq, 0).order.is_identity()); // only GGUF permutes
    std::vector<float> row(64);
    dequantise_row(gate, 1, row);
    // code of element i is i * 37 mod 256; scale 2^-10, bias -2^-3
    EXPECT_EQ(row[2], static_cast<float>((64 + 2) * 37 % 256) * 0x1p-10F - 0.125F);
    EXPECT_TRUE(verify_finite(model->weights(), true));
    EXPECT_FALSE(model->metadata().empty());
}

TEST(ModelFileDirectory, OpensAPlainModelWithBiases) {
    const test::TempDir dir;
    write_model(dir, {.tied = true, .qkv_bias = true}, false, "qwen2");
    const auto model = ModelFile::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_TRUE(model->config().tied_output);
    EXPECT_EQ(model->weights().at(Role::wv, 0).matrix.format, kernels::WeightFormat::f16);
    EXPECT_EQ(model->weights().at(Role::bv, 0).matrix.format, kernels::WeightFormat::f32);
}

// `X.bias` belongs to the layer, `X.biases` to its quantisation.
TEST(ModelFileDirectory, KeepsBiasAndBiasesApart) {
    const test::TempDir dir;
    write_model(dir, {.qkv_bias = true}, true, "qwen2");
    const auto model = ModelFile::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->weights().at(Role::bq, 0).matrix.k, 64);
    EXPECT_EQ(model->weights().at(Role::wq, 0).ranges.size(), 3U);
    EXPECT_TRUE(model->weights().unused().empty());
}

TEST(ModelFileDirectory, IgnoresAHeadBesideATiedEmbedding) {
    const test::TempDir dir;
    write_model(dir, {}, true, "llama", R"(,"tie_word_embeddings":true)");
    const auto model = ModelFile::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->weights().find(Role::output), nullptr);
    EXPECT_TRUE(model->weights().unused().empty());
}

struct DirectoryFault {
    const char* name;
    std::function<void(SafetensorsWriter&, std::string&)> change; ///< tensors, config.json
    Code code;
    const char* says;
};

SafetensorsWriter::Tensor& tensor_of(SafetensorsWriter& w, const std::string& name) {
    for (SafetensorsWriter::Tensor& tensor : w.tensors) {
        if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name;
    return w.tensors.front();
}

void drop(SafetensorsWriter& w, const std::string& name) {
    std::erase_if(w.tensors, [&](const auto& tensor) { return tensor.name == name; });
}

TEST(ModelFileDirectory, EveryFaultIsNamed) {
    const std::string gate = "model.layers.1.mlp.gate_proj";
    const std::vector<DirectoryFault> faults = {
        {"missing norm", [](auto& w, auto&) { drop(w, "model.norm.weight"); }, Code::corrupt,
         "\"model.norm.weight\" is missing"},
        {"missing scales", [&](auto& w, auto&) { drop(w, gate + ".scales"); }, Code::corrupt,
         "gate_proj.scales\" is missing"},
        {"missing biases", [&](auto& w, auto&) { drop(w, gate + ".biases"); }, Code::corrupt,
         "gate_proj.biases\" is missing"},
        {"no settings", [](auto&, auto& config) { config = test::tiny_config_json("llama", {}); },
         Code::corrupt, "no quantization settings"},
        {"4 bits",
         [](auto&, auto& config) {
             config = test::tiny_config_json("llama", {},
                                             R"(,"quantization":{"group_size":64,"bits":4})");
         },
         Code::unsupported, "4 bits"},
        {"group 32",
         [](auto&, auto& config) {
             config = test::tiny_config_json("llama", {},
                                             R"(,"quantization":{"group_size":32,"bits":8})");
         },
         Code::unsupported, "groups of 32"},
        {"mode",
         [](auto&, auto& config) {
             config = test::tiny_config_json(
                 "llama", {}, R"(,"quantization":{"group_size":64,"bits":8,"mode":"mxfp8"})");
         },
         Code::unsupported, "\"mxfp8\""},
        {"one module in 4 bits",
         [](auto&, auto& config) {
             config = test::tiny_config_json(
                 "llama", {},
                 R"(,"quantization":{"group_size":64,"bits":8,"model.layers.1.mlp.gate_proj":{"bits":4}})");
         },
         Code::unsupported, "\"model.layers.1.mlp.gate_proj.weight\" is quantised"},
        {"denied module",
         [](auto&, auto& config) {
             config = test::tiny_config_json(
                 "llama", {}, R"(,"quantization":{"group_size":64,"bits":8,"lm_head":false})");
         },
         Code::corrupt, "\"lm_head\" is not quantised"},
        {"code type", [&](auto& w, auto&) { tensor_of(w, gate + ".weight").dtype = "I32"; },
         Code::unsupported, "of type i32"},
        {"scale type", [&](auto& w, auto&) { tensor_of(w, gate + ".scales").dtype = "F16"; },
         Code::corrupt, "f16 and bf16"},
        {"both of an odd type",
         [&](auto& w, auto&) {
             tensor_of(w, gate + ".scales").dtype = "U16";
             tensor_of(w, gate + ".biases").dtype = "U16";
         },
         Code::unsupported, "of type u16"},
        {"scale shape", [&](auto& w, auto&) { tensor_of(w, gate + ".scales").shape = {32, 2}; },
         Code::corrupt, "gate_proj.scales\" has the shape [32, 2]"},
        {"code shape", [&](auto& w, auto&) { tensor_of(w, gate + ".weight").shape = {32, 32}; },
         Code::corrupt, "gate_proj.weight\" has the shape [32, 32]"},
        {"plain type", [](auto& w, auto&) { tensor_of(w, "model.norm.weight").dtype = "I32"; },
         Code::unsupported, "\"model.norm.weight\" is of type i32"},
        {"no head",
         [](auto& w, auto& config) {
             drop(w, "lm_head.weight");
             drop(w, "lm_head.scales");
             drop(w, "lm_head.biases");
             config = test::tiny_config_json("llama", {},
                                             std::string(test::kMlxQuantization) +
                                                 R"(,"tie_word_embeddings":false)");
         },
         Code::corrupt, "\"lm_head.weight\" is missing"},
    };
    for (const DirectoryFault& fault : faults) {
        const test::TempDir dir;
        SafetensorsWriter w = test::tiny_safetensors({}, true);
        std::string config = test::tiny_config_json("llama", {}, test::kMlxQuantization);
        fault.change(w, config);
        dir.write("config.json", config);
        dir.write("model.safetensors", w.build());
        const auto model = ModelFile::open(dir.path());
        ASSERT_FALSE(model) << fault.name;
        EXPECT_EQ(model.error().code(), fault.code)
            << fault.name << ": " << model.error().message();
        EXPECT_NE(model.error().message().find(fault.says), std::string_view::npos)
            << fault.name << ": " << model.error().message();
    }
}

TEST(ModelFileDirectory, NamesWhatIsMissing) {
    const test::TempDir dir;
    EXPECT_EQ(ModelFile::open(dir.path() / "absent").error().code(), Code::not_found);
    const auto no_config = ModelFile::open(dir.path());
    ASSERT_FALSE(no_config);
    EXPECT_EQ(no_config.error().code(), Code::not_found);
    EXPECT_NE(no_config.error().message().find("config.json"), std::string_view::npos);
    write_model(dir, {}, true);
    EXPECT_EQ(ModelFile::open(dir.path()).value().tokenizer().error().code(), Code::not_found);
    EXPECT_EQ(ModelFile::open(dir.path() / "model.safetensors").error().code(),
              Code::invalid_argument);
    std::filesystem::remove(dir.path() / "model.safetensors");
    EXPECT_EQ(ModelFile::open(dir.path()).error().code(), Code::not_found);
}

} // namespace
} // namespace bloom::engine
