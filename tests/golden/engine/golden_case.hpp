#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/json/reader.hpp>

/// The models of tests/golden/engine/data, read.
namespace bloom::engine::golden {

namespace fs = std::filesystem;

struct PromptCase {
    std::vector<std::int32_t> ids;
    std::size_t n_positions = 0;
    std::vector<float> precise, int8; ///< [n_positions, vocab_rows]; int8 may be missing
    std::vector<std::int32_t> greedy_precise, greedy_int8;
};

/// One layer by itself in int8.
struct LayerCase {
    std::vector<std::int32_t> positions; ///< whose results are kept
    std::vector<std::uint16_t> in;       ///< halves [n, d_model]
    std::vector<float> out;              ///< [positions, d_model]
};

struct ModelCase {
    fs::path path;
    std::int64_t vocab_rows = 0;
    std::int64_t n_tokens = 0;
    double tolerance = 0;
    bool is_recurrent = false; ///< has layers of linear attention
    std::vector<PromptCase> prompts;
    std::vector<LayerCase> layers; ///< of the longest prompt
};

inline std::string read_text(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}

template <class T>
std::vector<T> read_numbers(const fs::path& path) {
    const std::string bytes = read_text(path);
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
    return out;
}

inline std::vector<std::int32_t> ids_of(const json::Object& o, std::string_view key) {
    std::vector<std::int32_t> out;
    for (const json::Value v : o.at(key).value().as_array().value())
        out.push_back(static_cast<std::int32_t>(v.as_int64().value()));
    return out;
}

inline fs::path data_dir() {
    return fs::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "engine" / "data";
}

inline ModelCase load_case(const std::string& name) {
    const fs::path dir = data_dir() / name;
    json::Parser parser;
    const json::Object o = parser.parse(read_text(dir / "golden.json")).value().as_object().value();
    ModelCase out;
    out.path = dir / o.at("model").value().as_string().value();
    out.vocab_rows = o.at("vocab_rows").value().as_int64().value();
    out.n_tokens = o.at("n_tokens").value().as_int64().value();
    out.tolerance = o.at("tolerance").value().as_double().value();
    out.is_recurrent = name.starts_with("qwen35");
    for (const json::Value v : o.at("prompts").value().as_array().value()) {
        const json::Object p = v.as_object().value();
        PromptCase c;
        c.ids = ids_of(p, "ids");
        c.n_positions =
            static_cast<std::size_t>(p.at("n_logits_positions").value().as_int64().value());
        const auto file = [&](const char* key) {
            return read_numbers<float>(dir / p.at(key).value().as_string().value());
        };
        c.precise = file("precise_logits_file");
        c.greedy_precise = ids_of(p, "greedy_precise");
        if (p.find("int8_logits_file")) {
            c.int8 = file("int8_logits_file");
            c.greedy_int8 = ids_of(p, "greedy_int8");
        }
        out.prompts.push_back(std::move(c));
    }
    const json::Object checks = o.at("layer_checks").value().as_object().value();
    for (const json::Value v : checks.at("layers").value().as_array().value()) {
        const json::Object l = v.as_object().value();
        LayerCase c;
        c.positions = ids_of(l, "positions");
        c.in = read_numbers<std::uint16_t>(dir / l.at("in_file").value().as_string().value());
        c.out = read_numbers<float>(dir / l.at("out_file").value().as_string().value());
        out.layers.push_back(std::move(c));
    }
    return out;
}

/// Names of all cases.
inline constexpr const char* kCases[] = {
    "llama-gguf-q8_0",      "llama-hf-bf16",       "llama-mlx-affine8",  "qwen2-gguf-f16",
    "qwen3-gguf-q8_0",      "qwen3-mlx-affine8",   "qwen3moe-gguf-q8_0", "qwen3moe-hf-bf16",
    "qwen3moe-mlx-affine8", "gemma4-gguf-q8_0",    "gemma4-hf-bf16",     "gemma4-mlx-affine8",
    "afmoe-gguf-q8_0",      "afmoe-hf-bf16",       "afmoe-mlx-affine8",  "minimax-gguf-q8_0",
    "minimax-hf-bf16",      "minimax-mlx-affine8", "qwen35-gguf-q8_0",   "qwen35-hf-bf16",
    "qwen35-mlx-affine8",   "qwen35moe-gguf-q8_0", "qwen35moe-hf-bf16",  "qwen35moe-mlx-affine8",
};

/// Those with a draft head.
inline constexpr const char* kDraftCases[] = {
    "qwen35-gguf-q8_0",
    "qwen35-hf-bf16",
    "qwen35moe-gguf-q8_0",
    "qwen35moe-hf-bf16",
};

} // namespace bloom::engine::golden
