#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/engine/mapped_file.hpp>
#include <bloom/engine/synthetic_model.hpp>

#include "engine/config/families.hpp"

namespace bloom::engine {
namespace {

struct BuiltInShape {
    std::string_view name;
    std::string_view text;
};

// Written by CMake from bench/shapes.
constexpr BuiltInShape kBuiltIn[] = {
#include "engine_shapes.inc"
};

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kBlank = " \t\r";
    const std::size_t first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

template <class T>
Result<> read_number(std::string_view key, std::string_view value, T& out) {
    const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), out);
    if (failure == std::errc() && end == value.data() + value.size()) return {};
    return Error{Code::invalid_argument,
                 fmt::format("{} is {}, which is not a number", key, bloom::quoted(value))};
}

/// What lines say that is not in the configuration as it stands.
struct Extra {
    std::int64_t dense_layers = 0;
    std::int64_t window = 0;
    std::int64_t full_every = 0;
};

bool has_linear_layers(Arch arch) noexcept {
    return arch == Arch::qwen35 || arch == Arch::qwen35_moe;
}

Result<> read_arch(std::string_view value, ModelConfig& c) {
    for (const Arch arch : {Arch::llama, Arch::qwen2, Arch::qwen3, Arch::qwen3_moe, Arch::qwen35,
                            Arch::qwen35_moe, Arch::gemma4, Arch::afmoe, Arch::minimax_m2}) {
        if (to_string(arch) != value) continue;
        c.arch = arch;
        c.qkv_bias = arch == Arch::qwen2;
        c.qk_norm = arch != Arch::llama && arch != Arch::qwen2;
        c.attn_gate = has_linear_layers(arch);
        c.experts.shared_gate = arch == Arch::qwen35_moe;
        return {};
    }
    return Error{Code::invalid_argument, fmt::format("arch is {}; llama, qwen2, qwen3, qwen3moe, "
                                                     "qwen35, qwen35moe, gemma4, afmoe and "
                                                     "minimax-m2 are possible",
                                                     bloom::quoted(value))};
}

Result<> read_pair(std::string_view key, std::string_view value, SyntheticShape& shape,
                   Extra& extra) {
    ModelConfig& c = shape.config;
    const std::pair<std::string_view, std::int64_t*> integers[] = {
        {"layers", &c.n_layers},
        {"d_model", &c.d_model},
        {"heads", &c.n_heads},
        {"kv_heads", &c.n_kv_heads},
        {"head_dim", &c.head_dim},
        {"ffn_dim", &c.ffn_dim},
        {"vocab", &c.vocab_rows},
        {"context", &c.ctx_len},
        {"experts", &c.experts.n_experts},
        {"top_k", &c.experts.top_k},
        {"expert_ffn_dim", &c.experts.ffn_dim},
        {"shared_ffn_dim", &c.experts.shared_ffn_dim},
        {"rotary_dim", &c.rotary_dim},
        {"linear_key_heads", &c.linear.n_k_heads},
        {"linear_value_heads", &c.linear.n_v_heads},
        {"linear_key_dim", &c.linear.k_dim},
        {"linear_value_dim", &c.linear.v_dim},
        {"conv_taps", &c.linear.conv_taps},
        {"draft_layers", &c.n_draft_layers},
        {"global_head_dim", &c.global_head_dim},
        {"global_kv_heads", &c.global_kv_heads},
        {"dense_layers", &extra.dense_layers},
        {"window", &extra.window},
        {"full_every", &extra.full_every},
    };
    for (const auto& [name, slot] : integers) {
        if (name == key) return read_number(key, value, *slot);
    }
    const std::pair<std::string_view, double*> reals[] = {
        {"rope_theta", &c.rope_theta},
        {"norm_eps", &c.norm_eps},
        {"expert_scale", &c.experts.scale},
        {"global_rope_theta", &c.global_rope_theta},
        {"global_rotary_factor", &c.global_rotary_factor},
        {"logit_softcap", &c.logit_softcap},
    };
    for (const auto& [name, slot] : reals) {
        if (name == key) return read_number(key, value, *slot);
    }
    if (key == "arch") return read_arch(value, c);
    if (key == "approximates") {
        shape.approximates = value;
        return {};
    }
    if (key == "tied") {
        c.tied_output = value == "yes";
        if (value == "yes" || value == "no") return {};
        return Error{Code::invalid_argument,
                     fmt::format("tied is {}; yes and no are possible", bloom::quoted(value))};
    }
    return Error{Code::invalid_argument, fmt::format("{} is not a key", bloom::quoted(key))};
}

Result<> read_line(std::string_view line, std::set<std::string, std::less<>>& seen,
                   SyntheticShape& shape, Extra& extra) {
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) return {};
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos)
        return Error{Code::invalid_argument, "key = value is expected"};
    const std::string_view key = trimmed(line.substr(0, equals));
    if (!seen.emplace(key).second)
        return Error{Code::invalid_argument, fmt::format("{} is there twice", bloom::quoted(key))};
    return read_pair(key, trimmed(line.substr(equals + 1)), shape, extra);
}

/// What the family has in every model.
void assume_family(ModelConfig& c) {
    switch (c.arch) {
    case Arch::gemma4:
        c.global_k_is_v = true;
        config::assume_gemma4(c);
        break;
    case Arch::afmoe:
        c.embed_scale = std::sqrt(static_cast<double>(c.d_model));
        c.experts.sigmoid = true;
        config::assume_afmoe(c);
        break;
    case Arch::minimax_m2:
        c.experts.selection_bias = true;
        config::assume_minimax_m2(c);
        break;
    default:
        break;
    }
}

void apply(const Extra& extra, ModelConfig& c) {
    if (extra.dense_layers > 0) {
        c.experts.dense_layers.assign(static_cast<std::size_t>(c.n_layers), 0);
        std::fill_n(c.experts.dense_layers.begin(), std::min(extra.dense_layers, c.n_layers),
                    std::uint8_t{1});
    }
    for (std::int64_t i = 0; i < c.n_layers; ++i) {
        const bool full = extra.full_every > 0 && (i + 1) % extra.full_every == 0;
        if (has_linear_layers(c.arch)) c.linear.layers.push_back(full ? 0 : 1);
        if (extra.window > 0) c.layer_windows.push_back(full ? 0 : extra.window);
    }
    assume_family(c);
}

} // namespace

Result<SyntheticShape> parse_shape(std::string_view text, std::string_view name) {
    SyntheticShape shape;
    shape.name = name;
    Extra extra;
    std::set<std::string, std::less<>> seen;
    for (int number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        auto read = read_line(text.substr(0, end), seen, shape, extra);
        if (!read)
            return std::move(read).error().with_context(
                fmt::format("shape {}, line {}", name, number));
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
    const std::int64_t n_layers = shape.config.n_layers; // validate names a number that is not sane
    if (n_layers >= 1 && n_layers <= kMaxLayers) apply(extra, shape.config);
    if (auto valid = validate(shape.config); !valid)
        return std::move(valid).error().with_context(fmt::format("shape {}", name));
    return shape;
}

std::vector<std::string_view> shape_names() {
    std::vector<std::string_view> out;
    for (const BuiltInShape& shape : kBuiltIn)
        out.push_back(shape.name);
    return out;
}

Result<SyntheticShape> find_shape(std::string_view name_or_path) {
    for (const BuiltInShape& shape : kBuiltIn) {
        if (shape.name == name_or_path) return parse_shape(shape.text, shape.name);
    }
    const std::filesystem::path path(name_or_path);
    std::error_code failure;
    if (!std::filesystem::exists(path, failure)) {
        return Error{Code::not_found, fmt::format("shape {}: no such file, and none of {}",
                                                  bloom::quoted(name_or_path, 4096),
                                                  fmt::join(shape_names(), ", "))};
    }
    BLOOM_TRY(const MappedFile file, MappedFile::open(path));
    if (file.size() > kMaxShapeBytes) {
        return Error{Code::too_large,
                     fmt::format("shape {} has {} bytes; {} are possible",
                                 bloom::quoted(name_or_path, 4096), file.size(), kMaxShapeBytes)};
    }
    const ByteSpan bytes = file.bytes();
    return parse_shape({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                       path.stem().string());
}

} // namespace bloom::engine
