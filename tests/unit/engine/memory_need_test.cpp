#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/backend_cpu.hpp>
#include <bloom/engine/arch.hpp>
#include <bloom/engine/engine.hpp>
#include <bloom/engine/memory_need.hpp>
#include <bloom/engine/synthetic_model.hpp>
#include <bloom/json/reader.hpp>

#include "support/counts_allocations.hpp"
#include "support/gguf_writer.hpp"
#include "support/temp_dir.hpp"
#include "support/tiny_models.hpp"

namespace bloom::engine {
namespace {

namespace fs = std::filesystem;
using kernels::KvType;

ModelConfig shape(const char* more) {
    const std::string text = std::string("layers = 6\nd_model = 256\nheads = 4\nkv_heads = 2\n"
                                         "head_dim = 64\nffn_dim = 512\nvocab = 1024\n"
                                         "context = 4096\nrope_theta = 1e4\nnorm_eps = 1e-6\n"
                                         "tied = no\n") +
                             more;
    return parse_shape(text, "test").value().config;
}

TEST(MemoryNeed, GroupsAreTheShapesOfTheLayers) {
    const StateSpec plain = state_of(shape("arch = qwen3\n"), 0, KvType::f16);
    ASSERT_EQ(plain.groups.size(), 1U);
    EXPECT_EQ(plain.groups[0], (compute::KvGroupSpec{6, 2, 64, 64, 0, KvType::f16}));
    EXPECT_FALSE(plain.recurrent.has_value());
    const ModelConfig windowed = shape("arch = qwen3\nwindow = 128\nfull_every = 3\n");
    const StateSpec two = state_of(windowed, 0, KvType::f32);
    ASSERT_EQ(two.groups.size(), 2U);
    EXPECT_EQ(two.groups[0], (compute::KvGroupSpec{4, 2, 64, 64, 128, KvType::f32}));
    EXPECT_EQ(two.groups[1], (compute::KvGroupSpec{2, 2, 64, 64, 0, KvType::f32}));
    EXPECT_EQ(state_of(windowed, 2, KvType::f32).groups.size(), 1U);
    EXPECT_EQ(state_of(windowed, 99, KvType::f32).groups[1].n_layers, 2);
}

TEST(MemoryNeed, LinearLayersHaveAStateInsteadOfKeys) {
    ModelConfig c = shape("arch = qwen3\n");
    c.linear = {2, 4, 32, 32, 4, false, {1, 1, 1, 0, 1, 1}};
    const StateSpec state = state_of(c, 0, KvType::f16);
    ASSERT_EQ(state.groups.size(), 1U);
    EXPECT_EQ(state.groups[0].n_layers, 1);
    ASSERT_TRUE(state.recurrent.has_value());
    EXPECT_EQ(state.recurrent->n_layers, 5);
    EXPECT_EQ(state.recurrent->n_v_heads, 4);
    c.n_draft_layers = 1; // it stands behind the sixth layer and has keys of its own
    EXPECT_EQ(state_of(c, 0, KvType::f16).groups[0].n_layers, 2);
    EXPECT_EQ(state_of(c, 0, KvType::f16, false).groups[0].n_layers, 1);
    EXPECT_EQ(state_of(c, 3, KvType::f16).groups.size(), 0U);
}

TEST(MemoryNeed, GlobalLayersHaveTheirOwnHeads) {
    ModelConfig c = shape("arch = qwen3\nwindow = 128\nfull_every = 6\n");
    c.global_head_dim = 128;
    c.global_kv_heads = 1;
    const StateSpec state = state_of(c, 0, KvType::f16);
    ASSERT_EQ(state.groups.size(), 2U);
    EXPECT_EQ(state.groups[0], (compute::KvGroupSpec{5, 2, 64, 64, 128, KvType::f16}));
    EXPECT_EQ(state.groups[1], (compute::KvGroupSpec{1, 1, 128, 128, 0, KvType::f16}));
}

TEST(MemoryNeed, NumbersAreThoseOfTheFile) {
    const SyntheticShape synthetic{
        "test", {}, shape("arch = qwen3\nwindow = 128\nfull_every = 3\n")};
    const auto file = ModelFile::synthetic(synthetic, kernels::WeightFormat::q8_0).value();
    const MemoryNeed need = memory_need(file, 0, KvType::f16);
    EXPECT_NEAR(static_cast<double>(need.packed_bytes), static_cast<double>(file.file_bytes()),
                0.01 * static_cast<double>(file.file_bytes()));
    EXPECT_EQ(need.kv_bytes_per_token, 2 * 2 * 64 * 2 * 2); // K and V, heads, dim, f16, layers
    EXPECT_EQ(need.window_bytes, (128 + 2 * 64 + 32) * 2 * 2 * 64 * 2 * 4);
    EXPECT_EQ(need.recurrent_bytes, 0);
    EXPECT_GT(need.largest_bytes, 256 * 512 * 3);
    const MemoryNeed half = memory_need(file, 3, KvType::f16);
    EXPECT_LT(half.packed_bytes, need.packed_bytes);
    EXPECT_EQ(half.kv_bytes_per_token, need.kv_bytes_per_token / 2);
}

fs::path golden_dir() {
    return fs::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "engine" / "data";
}

std::string read_text(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}

// What is computed before loading is what the loaded graph declares, for every family.
TEST(MemoryNeed, AgreesWithEveryGoldenModelsGraph) {
    json::Parser parser;
    const json::Object root =
        parser.parse(read_text(golden_dir() / "index.json")).value().as_object().value();
    int n_checked = 0;
    compute::SerialTeam team;
    for (const json::Value name : root.at("cases").value().as_array().value()) {
        const fs::path dir = golden_dir() / name.as_string().value();
        const bool gguf = fs::exists(dir / "model.gguf");
        const auto file = ModelFile::open(gguf ? dir / "model.gguf" : dir / "model");
        ASSERT_TRUE(file) << file.error().message();
        auto backend = compute::make_cpu_backend(
            {kernels::select_table(0, "scalar"), &team, false, true, nullptr});
        const auto graph = load_graph(*file, *backend, {0, KvType::f16});
        ASSERT_TRUE(graph) << dir << graph.error().message();
        const MemoryNeed need = memory_need(*file, 0, KvType::f16);
        // Draft layers are in the graph where it was loaded with them.
        const StateSpec plain = state_of(file->config(), 0, KvType::f16, false);
        const bool drafts = (*graph)->state().groups != plain.groups;
        EXPECT_TRUE(!drafts || file->config().n_draft_layers > 0) << dir;
        EXPECT_EQ(drafts ? need.state.groups : plain.groups, (*graph)->state().groups) << dir;
        EXPECT_EQ(need.state.recurrent, (*graph)->state().recurrent) << dir;
        // Choices of one request have a state each, whatever the budget.
        if (need.state.recurrent)
            EXPECT_GT(need.least_state_bytes, kMaxChoices * need.recurrent_bytes) << dir;
        // Small matrices are padded to whole tiles; nothing is left out.
        const auto loaded = static_cast<double>(backend->memory().weight_bytes);
        EXPECT_GT(static_cast<double>(need.packed_bytes), 0.5 * loaded) << dir;
        if (file->config().n_draft_layers == 0)
            EXPECT_LT(static_cast<double>(need.packed_bytes), 1.05 * loaded) << dir;
        ++n_checked;
    }
    EXPECT_GE(n_checked, 9);
}

TEST(MemoryNeed, WhatCannotFitIsRefusedWithTheNumbers) {
    const auto image = test::tiny_gguf("llama", {}).build();
    const auto file = ModelFile::from_memory(image, "tiny").value();
    const MemoryNeed need = memory_need(file, 0, KvType::f16);
    EXPECT_TRUE(check_fits(file, 0, KvType::f16, 0)); // unknown
    EXPECT_TRUE(check_fits(file, 0, KvType::f16, need.least_bytes()));
    const auto refused = check_fits(file, 0, KvType::f16, need.least_bytes() - 1);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Code::out_of_memory);
    for (const char* part : {"tiny llama does not fit", "weights", "0.54 GB"})
        EXPECT_NE(refused.error().message().find(part), std::string_view::npos)
            << refused.error().message();
    // Through the engine, before anything is loaded.
    compute::SerialTeam team;
    EngineOptions options;
    options.team = &team;
    options.available_bytes = 1;
    const auto engine = Engine::create(ModelFile::from_memory(image, "tiny").value(), options);
    ASSERT_FALSE(engine.has_value());
    EXPECT_EQ(engine.error().code(), Code::out_of_memory);
}

#if BLOOM_TEST_COUNTS_ALLOCATIONS
constexpr std::int64_t kWidth = 1024;
constexpr std::int64_t kFfn = 2816;
constexpr std::int64_t kLayers = 12;

/// A model of 160 MB of zeros that takes no room on disk: a header and a hole.
fs::path write_large_model(const test::TempDir& dir) {
    test::GgufWriter w = test::tiny_gguf("llama", {.n_layers = kLayers,
                                                   .d_model = kWidth,
                                                   .n_heads = 8,
                                                   .n_kv_heads = 8,
                                                   .head_dim = 128,
                                                   .ffn_dim = kFfn});
    std::uint64_t at = 0;
    for (test::GgufWriter::Tensor& tensor : w.tensors) {
        constexpr std::uint64_t kAlignment = 32;
        tensor.offset = at;
        at += (tensor.data.size() + kAlignment - 1) / kAlignment * kAlignment;
        tensor.data.clear();
    }
    const auto header = w.build();
    const fs::path path = dir.write("large.gguf", header);
    fs::resize_file(path, header.size() + at);
    return path;
}

/// `VmHWM:  1234 kB` and its like, in bytes.
std::int64_t status_bytes(const char* key) {
    std::ifstream in("/proc/self/status");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with(key)) return std::strtoll(line.c_str() + 6, nullptr, 10) << 10;
    }
    return -1;
}

/// Loads the model in a process of its own; by how much its memory grew at the most.
std::int64_t peak_growth(const fs::path& path) {
    int ends[2];
    if (::pipe(ends) != 0) return -1;
    const pid_t child = ::fork();
    if (child == 0) {
        const std::int64_t before = status_bytes("VmRSS:");
        compute::SerialTeam team;
        EngineOptions options;
        options.team = &team;
        options.kv_budget_bytes = std::int64_t{64} << 20;
        options.ctx_len = 256;
        options.max_seqs = 1;
        options.prefill_tokens = 64;
        auto file = ModelFile::open(path);
        const auto engine = file ? Engine::create(std::move(*file), options)
                                 : Result<std::unique_ptr<Engine>>(std::unexpected(file.error()));
        const std::int64_t grown = engine ? status_bytes("VmHWM:") - before : -1;
        static_cast<void>(!::write(ends[1], &grown, sizeof grown));
        ::_exit(0);
    }
    std::int64_t grown = -1;
    EXPECT_EQ(::read(ends[0], &grown, sizeof grown), static_cast<ssize_t>(sizeof grown));
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    return grown;
}

// Pages of the file leave memory layer by layer: the peak is the packed model and one layer.
TEST(MemoryNeed, LoadingTakesThePackedSizeAndOneLayer) {
    const test::TempDir dir;
    const fs::path path = write_large_model(dir);
    const auto file = ModelFile::open(path);
    ASSERT_TRUE(file) << file.error().message();
    const MemoryNeed need = memory_need(*file, 0, KvType::f16);
    ASSERT_GT(need.packed_bytes, std::int64_t{150} << 20);
    const std::int64_t grown = peak_growth(path);
    ASSERT_GT(grown, need.packed_bytes / 2) << "nothing was measured";
    constexpr std::int64_t kSpare = std::int64_t{64} << 20; // far below a second copy
    EXPECT_LE(grown, need.packed_bytes + need.largest_bytes + kSpare);
    EXPECT_LE(kSpare, kMemoryHeadroomBytes);
}
#else
TEST(MemoryNeed, LoadingTakesThePackedSizeAndOneLayer) {
    GTEST_SKIP() << "memory cannot be measured under a sanitizer";
}
#endif

} // namespace
} // namespace bloom::engine
