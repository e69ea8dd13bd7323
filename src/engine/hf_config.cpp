#include <cmath>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/json/reader.hpp>

#include "engine/config/families.hpp"
#include "engine/hf_fields.hpp"

namespace bloom::engine {
namespace {

/// Objects in objects that config.json may have; vision configurations nest, ours do not.
constexpr std::size_t kMaxConfigDepth = 16;

using hf::corrupt;
using hf::Fields;
using hf::unsupported;

Result<Arch> parse_model_type(std::string_view type) {
    if (type == "llama" || type == "mistral") return Arch::llama;
    if (type == "qwen2") return Arch::qwen2;
    if (type == "qwen3") return Arch::qwen3;
    if (type == "qwen3_moe") return Arch::qwen3_moe;
    if (type == "qwen3_5" || type == "qwen3_5_text") return Arch::qwen35;
    if (type == "qwen3_5_moe" || type == "qwen3_5_moe_text") return Arch::qwen35_moe;
    if (type == "gemma4" || type == "gemma4_text") return Arch::gemma4;
    if (type == "afmoe") return Arch::afmoe;
    if (type == "minimax_m2") return Arch::minimax_m2;
    return unsupported("model_type {} is not supported; llama, mistral, qwen2, qwen3, qwen3_moe, "
                       "qwen3_5, qwen3_5_moe, gemma4, afmoe and minimax_m2 are",
                       bloom::quoted(type));
}

// --- shape
// -----------------------------------------------------------------------------------------

Result<> read_shape(const Fields& f, ModelConfig& c) {
    BLOOM_TRY(c.n_layers, f.integer("num_hidden_layers"));
    BLOOM_TRY(c.d_model, f.integer("hidden_size"));
    BLOOM_TRY(c.n_heads, f.integer("num_attention_heads"));
    BLOOM_TRY(c.n_kv_heads, f.integer_or("num_key_value_heads", c.n_heads));
    const bool dense = c.arch != Arch::qwen3_moe;
    BLOOM_TRY(c.ffn_dim,
              dense ? f.integer("intermediate_size") : f.integer_or("intermediate_size", 0));
    BLOOM_TRY(c.vocab_rows, f.integer("vocab_size"));
    BLOOM_TRY(c.ctx_len, f.integer("max_position_embeddings"));
    BLOOM_TRY(c.norm_eps, f.real_or("rms_norm_eps", 1e-6));
    // Qwen2 ignores a head_dim in its file; for Qwen3 it is not the quotient.
    const bool quotient = c.arch == Arch::qwen2 || !f.find("head_dim");
    if (!quotient) {
        BLOOM_TRY(c.head_dim, f.integer("head_dim"));
        return {};
    }
    if (c.arch == Arch::qwen3) {
        c.head_dim = 128; // that family's default, whatever the width
        return {};
    }
    if (c.n_heads < 1 || c.d_model % c.n_heads != 0) {
        return corrupt("config.json: {} heads do not divide a hidden_size of {}", c.n_heads,
                       c.d_model);
    }
    c.head_dim = c.d_model / c.n_heads;
    return {};
}

Result<> read_switches(const Fields& f, bool has_output_head, ModelConfig& c) {
    BLOOM_TRY(const std::string act, f.text_or("hidden_act", "silu"));
    if (act != "silu" && act != "swish")
        return unsupported("hidden_act {} is not supported; silu is", bloom::quoted(act));
    BLOOM_TRY(const double rotary, f.real_or("partial_rotary_factor", 1.0));
    if (rotary != 1.0)
        return unsupported("partial_rotary_factor {} is not supported; 1 is", rotary);
    BLOOM_TRY(const bool attention_bias, f.boolean_or("attention_bias", false));
    c.qkv_bias = c.arch == Arch::qwen2 || attention_bias;
    c.attn_out_bias = c.arch != Arch::qwen2 && attention_bias;
    BLOOM_TRY(const bool mlp_bias, f.boolean_or("mlp_bias", false));
    c.mlp_bias = c.arch == Arch::llama && mlp_bias;
    c.qk_norm = c.arch == Arch::qwen3 || c.arch == Arch::qwen3_moe;
    BLOOM_TRY(c.tied_output, f.boolean_or("tie_word_embeddings", !has_output_head));
    return {};
}

// --- experts
// ---------------------------------------------------------------------------------------

/// Layer i has experts when decoder_sparse_step divides i + 1 and mlp_only_layers does not list i.
Result<> read_experts(const Fields& f, ModelConfig& c) {
    if (c.arch != Arch::qwen3_moe) return {};
    ExpertConfig& e = c.experts;
    BLOOM_TRY(e.n_experts, f.integer("num_experts"));
    BLOOM_TRY(e.top_k, f.integer("num_experts_per_tok"));
    BLOOM_TRY(e.ffn_dim, f.integer("moe_intermediate_size"));
    BLOOM_TRY(e.normalise, f.boolean_or("norm_topk_prob", false)); // the family's default
    BLOOM_TRY(const std::int64_t step, f.integer_or("decoder_sparse_step", 1));
    if (step < 1) return corrupt("config.json: decoder_sparse_step is {}", step);
    if (c.n_layers < 1 || c.n_layers > kMaxLayers) return {}; // validate names it
    for (std::int64_t i = 0; i < c.n_layers; ++i)
        e.dense_layers.push_back((i + 1) % step == 0 ? 0 : 1);
    if (const auto list = f.find("mlp_only_layers")) {
        const auto layers = list->as_array();
        if (!layers) return corrupt("config.json: mlp_only_layers: {}", layers.error().message());
        for (const json::Value value : *layers) {
            const auto layer = value.as_int64();
            if (!layer) return corrupt("config.json: mlp_only_layers: {}", layer.error().message());
            if (*layer < 0 || *layer >= c.n_layers) {
                return corrupt("config.json: mlp_only_layers names layer {} of {}", *layer,
                               c.n_layers);
            }
            e.dense_layers[static_cast<std::size_t>(*layer)] = 1;
        }
    }
    if (!c.has_dense_layers()) e.dense_layers.clear();
    return {};
}

// --- attention windows
// -----------------------------------------------------------------------------

Result<> read_layer_types(const Fields& f, const json::Value& value, ModelConfig& c) {
    const auto types = value.as_array();
    if (!types) return corrupt("config.json: layer_types: {}", types.error().message());
    if (types->size() != static_cast<std::size_t>(c.n_layers)) {
        return corrupt("config.json: layer_types has {} entries for {} layers", types->size(),
                       c.n_layers);
    }
    bool any = false;
    for (const json::Value type_value : *types) {
        const auto type = type_value.as_string();
        if (!type) return corrupt("config.json: layer_types: {}", type.error().message());
        if (*type != "full_attention" && *type != "sliding_attention") {
            return unsupported(
                "layer type {} is not supported; full_attention and sliding_attention are",
                bloom::quoted(*type));
        }
        const bool sliding = *type == "sliding_attention";
        any = any || sliding;
        c.layer_windows.push_back(sliding ? 1 : 0);
    }
    if (!any) {
        c.layer_windows.clear();
        return {};
    }
    BLOOM_TRY(const std::int64_t window, f.integer("sliding_window"));
    for (std::int64_t& layer : c.layer_windows)
        layer = layer == 0 ? 0 : window;
    return {};
}

/// Which layers see only a window. An explicit list wins; otherwise mistral means all layers and
/// qwen the layers from max_window_layers on, if it uses windows at all.
Result<> read_windows(const Fields& f, std::string_view model_type, ModelConfig& c) {
    if (c.n_layers < 1 || c.n_layers > kMaxLayers) return {}; // validate names it
    if (const auto types = f.find("layer_types")) return read_layer_types(f, *types, c);
    if (!f.find("sliding_window")) return {};
    std::int64_t first = 0;
    if (c.arch != Arch::llama) {
        BLOOM_TRY(const bool used, f.boolean_or("use_sliding_window", false));
        if (!used) return {};
        BLOOM_TRY(first, f.integer_or("max_window_layers", 28));
    } else if (model_type != "mistral") {
        return {}; // llama has no such switch without layer_types
    }
    BLOOM_TRY(const std::int64_t window, f.integer("sliding_window"));
    if (window < 1) return corrupt("config.json: sliding_window is {}", window);
    for (std::int64_t layer = 0; layer < c.n_layers; ++layer)
        c.layer_windows.push_back(layer >= first ? window : 0);
    if (first >= c.n_layers) c.layer_windows.clear();
    return {};
}

// --- quantisation
// ----------------------------------------------------------------------------------

Result<QuantizationSettings> read_settings(const Fields& f, const QuantizationSettings& defaults) {
    QuantizationSettings s = defaults;
    BLOOM_TRY(s.bits, f.integer_or("bits", s.bits));
    BLOOM_TRY(s.group_size, f.integer_or("group_size", s.group_size));
    BLOOM_TRY(s.mode, f.text_or("mode", s.mode));
    return s;
}

Result<HfQuantization> read_quantization(const Fields& f) {
    HfQuantization out;
    BLOOM_TRY(auto settings, f.object("quantization"));
    if (!settings) {
        BLOOM_TRY(settings, f.object("quantization_config"));
        if (!settings) return out;
        if (const auto method = settings->find("quant_method")) {
            const auto name = method->as_string();
            return unsupported(
                "quantization_config names the method {}; MLX affine 8 bit is supported",
                name ? bloom::quoted(*name) : std::string("(not a string)"));
        }
    }
    out.present = true;
    BLOOM_TRY(out.defaults, read_settings(*settings, {}));
    for (const json::Member member : settings->raw()) {
        HfQuantization::Override override{.quantised = true, .settings = out.defaults};
        if (member.value.is_object()) {
            BLOOM_TRY(const json::Object object, member.value.as_object());
            BLOOM_TRY(override.settings, read_settings(Fields(object, member.key), out.defaults));
        } else if (member.value.kind() == json::Kind::boolean) {
            BLOOM_TRY(override.quantised, member.value.as_bool());
        } else {
            continue; // bits, group_size, mode
        }
        out.overrides.insert_or_assign(canonical_module_path(member.key), std::move(override));
    }
    return out;
}

/// The members that the family has, from the whole file.
Result<> read_family(const Fields& fields, std::string_view model_type, const HfParts& parts,
                     ModelConfig& c) {
    switch (c.arch) {
    case Arch::llama:
    case Arch::qwen2:
    case Arch::qwen3:
    case Arch::qwen3_moe:
        BLOOM_OK(read_shape(fields, c));
        BLOOM_OK(read_experts(fields, c));
        BLOOM_OK(read_switches(fields, parts.output_head, c));
        BLOOM_OK(read_windows(fields, model_type, c));
        return config::read_hf_rope(fields, c);
    case Arch::qwen35:
    case Arch::qwen35_moe:
        return config::read_hf_qwen35(fields, parts, c);
    case Arch::gemma4:
        return config::read_hf_gemma4(fields, parts, c);
    case Arch::afmoe:
        return config::read_hf_afmoe(fields, parts, c);
    case Arch::minimax_m2:
        return config::read_hf_minimax_m2(fields, parts, c);
    }
    return unsupported("model_type {} is not supported", bloom::quoted(model_type));
}

} // namespace

std::string canonical_module_path(std::string_view path) {
    constexpr std::string_view kOuter = "language_model.";
    constexpr std::string_view kInner = "model.language_model.";
    constexpr std::string_view kVisual = "model.visual";
    if (path.starts_with(kOuter)) return std::string(path.substr(kOuter.size()));
    if (path.starts_with(kInner)) return "model." + std::string(path.substr(kInner.size()));
    if (path == kVisual || path.starts_with("model.visual.")) {
        return "vision_tower" + std::string(path.substr(kVisual.size()));
    }
    return std::string(path);
}

HfQuantization::Override HfQuantization::lookup(std::string_view module_path) const {
    const auto it = overrides.find(canonical_module_path(module_path));
    return it == overrides.end() ? Override{.quantised = true, .settings = defaults} : it->second;
}

HfParts find_hf_parts(std::span<const TensorInfo> tensors) {
    HfParts out;
    for (const TensorInfo& tensor : tensors) {
        const std::string name = canonical_module_path(tensor.name);
        out.output_head = out.output_head || name == "lm_head.weight";
        out.draft_head = out.draft_head || name == "mtp.fc.weight";
    }
    return out;
}

Result<HfConfig> read_hf_config(std::string_view json_text, const HfParts& parts) {
    json::Parser parser(kMaxConfigDepth);
    const auto root = parser.parse(json_text);
    if (!root) return corrupt("config.json: {}", root.error().message());
    const auto object = root->as_object();
    if (!object) return corrupt("config.json: {}", object.error().message());
    const Fields fields(*object, "config.json");
    HfConfig out;
    BLOOM_TRY(out.model_type, fields.text_or("model_type", ""));
    BLOOM_TRY(out.model.arch, parse_model_type(out.model_type));
    BLOOM_OK(read_family(fields, out.model_type, parts, out.model));
    BLOOM_TRY(out.quantization, read_quantization(fields));
    BLOOM_OK(validate(out.model));
    return out;
}

} // namespace bloom::engine
