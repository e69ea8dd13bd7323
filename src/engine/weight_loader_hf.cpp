// The weights of Hugging Face and MLX directories. One model is spelled in many ways: text models
// stand alone or below language_model, experts are stacked, merged or single modules, MLX has
// transformed some values. The file decides everywhere.
#include <array>
#include <charconv>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

#include "engine/weight_loader.hpp"

namespace bloom::engine {

using kernels::WeightFormat;
using roles::Kind;
using roles::MatrixShape;
using roles::RoleInfo;

namespace {

constexpr std::string_view kModel = "model.";
constexpr std::string_view kDraft = "mtp.";

/// Where files put the experts of a layer.
constexpr std::string_view kExpertPlaces[] = {
    "mlp.switch_mlp",           "mlp.experts",        "block_sparse_moe.switch_mlp",
    "block_sparse_moe.experts", "experts.switch_glu", "experts",
};

/// What a projection of experts is called: by MLX and most releases, and by MiniMax.
struct Projection {
    std::string_view name;
    std::string_view short_name;
};

Projection projection_of(Role role) noexcept {
    switch (role) {
    case Role::w_gate_exps:
        return {"gate_proj", "w1"};
    case Role::w_up_exps:
        return {"up_proj", "w3"};
    default:
        return {"down_proj", "w2"};
    }
}

bool is_draft_role(Role role) noexcept {
    return role >= Role::mtp_fc && role <= Role::mtp_norm;
}

/// Parts of a multimodal model that a text engine passes over.
bool is_of_another_modality(std::string_view name) noexcept {
    if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
    constexpr std::string_view kTowers[] = {
        "vision_tower.", "visual.",      "vision_model.", "audio_tower.",
        "embed_vision.", "embed_audio.", "vision_embed.", "multi_modal_projector."};
    for (const std::string_view tower : kTowers) {
        if (name.starts_with(tower)) return true;
    }
    return false;
}

bool is_qwen35(Arch arch) noexcept {
    return arch == Arch::qwen35 || arch == Arch::qwen35_moe;
}

} // namespace

Result<> WeightLoader::index_hf_names() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        const std::string& name = tensors_[i].name;
        std::string canonical = canonical_module_path(name);
        if (canonical != name && canonical.starts_with(kModel) && text_prefix_.empty())
            text_prefix_ = name.substr(0, name.size() - canonical.size() + kModel.size());
        const auto [it, is_new] = by_name_.emplace(std::move(canonical), i);
        if (is_new) continue;
        return Error{Code::corrupt,
                     fmt::format("tensors {} and {} are the same part of the model",
                                 bloom::quoted(tensors_[it->second].name), bloom::quoted(name))};
    }
    return {};
}

// The original release of Qwen3.5 stores most norms less one, MLX does not; the axes of the
// convolution tell which of them wrote the file.
Result<> WeightLoader::find_hf_layout() {
    if (!is_qwen35(config_.arch)) return {};
    const std::int64_t channels = config_.linear.channels();
    const std::int64_t taps = config_.linear.conv_taps;
    const std::array raw{channels, std::int64_t{1}, taps};
    const std::array mlx{channels, taps, std::int64_t{1}};
    const TensorInfo* first = nullptr;
    for (std::int64_t i = 0; i < config_.n_layers; ++i) {
        if (!config_.is_linear(i)) continue;
        BLOOM_TRY(const TensorInfo* conv, take(hf_path("linear_attn.conv1d.weight", i)));
        const bool is_raw = std::ranges::equal(conv->shape(), raw);
        if (!is_raw && !std::ranges::equal(conv->shape(), mlx))
            return wrong_shape(*conv, fmt::format("{} or {}", shape_text(raw), shape_text(mlx)));
        if (first != nullptr && is_raw != raw_norms_) {
            return Error{Code::corrupt,
                         fmt::format("tensors {} and {} have the layouts of different programs",
                                     bloom::quoted(first->name), bloom::quoted(conv->name))};
        }
        first = conv;
        raw_norms_ = is_raw;
    }
    return {};
}

Result<Weights> WeightLoader::load_hf(const HfQuantization& quantization) {
    BLOOM_OK(index_hf_names());
    BLOOM_OK(find_hf_layout());
    BLOOM_TRY(Weights loaded, load_all([&](const RoleInfo& role, std::int64_t layer) {
                  return hf_view(role, layer, quantization);
              }));
    out_ = std::move(loaded);
    BLOOM_OK(check_vectors());
    std::erase_if(out_.unused_, [&](const std::string& name) {
        return is_expected_extra(canonical_module_path(name));
    });
    return std::move(out_);
}

/// Known and superfluous: other modalities, frequencies that the configuration gives, a head
/// beside a tied embedding, draft layers that the configuration does not have, whatever MiniMax M2
/// calls them.
bool WeightLoader::is_expected_extra(std::string_view name) const {
    if (config_.arch == Arch::minimax_m2 && (name.contains("mtp") || is_of_later_layer(name)))
        return true;
    return is_of_another_modality(name) || name.ends_with("rotary_emb.inv_freq") ||
           (config_.tied_output && name.starts_with("lm_head.")) ||
           (config_.n_draft_layers == 0 && name.starts_with(kDraft));
}

/// Whether a tensor belongs to a layer behind those of the configuration.
bool WeightLoader::is_of_later_layer(std::string_view name) const {
    constexpr std::string_view kLayers = "model.layers.";
    if (!name.starts_with(kLayers)) return false;
    name.remove_prefix(kLayers.size());
    std::int64_t layer = -1;
    const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), layer);
    return failure == std::errc() && layer >= config_.n_layers;
}

/// Canonical path of a module of a layer; layer -1: one outside of layers.
std::string WeightLoader::hf_path(std::string_view path, std::int64_t layer) const {
    if (layer < 0 || path.starts_with(kDraft)) return std::string(path);
    if (layer >= config_.n_layers)
        return fmt::format("mtp.layers.{}.{}", layer - config_.n_layers, path);
    return fmt::format("model.layers.{}.{}", layer, path);
}

bool WeightLoader::has_module(std::string_view path) const {
    return find(path) != nullptr || find(fmt::format("{}.weight", path)) != nullptr ||
           find(fmt::format("{}.scales", path)) != nullptr;
}

/// The path as this file has it: newer releases of MiniMax M2 write mlp for block_sparse_moe.
std::string WeightLoader::spelled(std::string path) const {
    constexpr std::string_view kOld = "block_sparse_moe.";
    const std::size_t at = path.find(kOld);
    if (at == std::string::npos || has_module(path)) return path;
    std::string other = path;
    other.replace(at, kOld.size(), "mlp.");
    return has_module(other) ? other : path;
}

Result<WeightView> WeightLoader::hf_view(const RoleInfo& role, std::int64_t layer,
                                         const HfQuantization& quantization) {
    if (role.kind == Kind::experts) return hf_experts(role.role, layer, quantization);
    if (role.kind == Kind::vector) return hf_vector(role.role, layer);
    const std::string path = hf_path(roles::names(role.role, config_.arch).hf, layer);
    return hf_matrix(role.role, layer, spelled(path), quantization, matrix_cut(role.role));
}

Result<WeightView> WeightLoader::hf_vector(Role role, std::int64_t layer) {
    const roles::Names names = roles::names(role, config_.arch);
    std::string path = hf_path(names.hf, layer);
    if (!names.hf_suffix.empty()) path = fmt::format("{}.{}", path, names.hf_suffix);
    BLOOM_TRY(const TensorInfo* tensor, take(spelled(std::move(path))));
    BLOOM_TRY(WeightView view, plain_view(role, layer, *tensor, {}));
    view.values = hf_values(role, layer);
    return view;
}

/// How the values of a vector in the file become the model's.
ValueMap WeightLoader::hf_values(Role role, std::int64_t layer) const noexcept {
    if (!is_qwen35(config_.arch)) return ValueMap::as_stored;
    if (role == Role::decay) return ValueMap::minus_exp;
    const bool shifted = role == Role::output_norm || role == Role::attn_norm ||
                         role == Role::ffn_norm || role == Role::q_norm || role == Role::k_norm ||
                         is_draft_role(role);
    // Draft layers come from the original release even where the rest was converted.
    const bool raw = raw_norms_ || layer >= config_.n_layers;
    return shifted && raw ? ValueMap::plus_one : ValueMap::as_stored;
}

/// The experts of a layer: one stack of each projection, as MLX writes them; one stack of gate and
/// up together; or the modules of an original release, one for each expert.
Result<WeightView> WeightLoader::hf_experts(Role role, std::int64_t layer,
                                            const HfQuantization& quantization) {
    const Projection projection = projection_of(role);
    const std::int64_t n = config_.experts.n_experts;
    for (const std::string_view where : kExpertPlaces) {
        const std::string place = hf_path(where, layer);
        const std::string stack = fmt::format("{}.{}", place, projection.name);
        if (has_module(stack)) return hf_matrix(role, layer, stack, quantization, {.n_stacked = n});
        const std::string merged = place + ".gate_up_proj";
        if (role != Role::w_down_exps && has_module(merged)) {
            const Cut cut{.n_stacked = n, .parts = 2, .part = role == Role::w_up_exps ? 1 : 0};
            return hf_matrix(role, layer, merged, quantization, cut);
        }
        for (const std::string_view name : {projection.name, projection.short_name}) {
            if (has_module(fmt::format("{}.0.{}", place, name)))
                return hf_single_experts(role, layer, place, name, quantization);
        }
    }
    return missing(hf_path(roles::names(role, config_.arch).hf, layer) + ".weight");
}

Result<WeightView> WeightLoader::hf_single_experts(Role role, std::int64_t layer,
                                                   const std::string& place, std::string_view name,
                                                   const HfQuantization& quantization) {
    WeightView all;
    for (std::int64_t e = 0; e < config_.experts.n_experts; ++e) {
        const std::string path = fmt::format("{}.{}.{}", place, e, name);
        BLOOM_TRY(WeightView one, hf_matrix(role, layer, path, quantization, {}));
        if (e == 0) {
            all.name = one.name;
            all.matrix = one.matrix;
        } else if (one.matrix.format != all.matrix.format) {
            return Error{Code::unsupported,
                         fmt::format("tensors {} and {} are stored in different formats",
                                     bloom::quoted(all.name), bloom::quoted(one.name))};
        }
        all.experts.push_back(one.matrix);
        all.ranges.insert(all.ranges.end(), one.ranges.begin(), one.ranges.end());
    }
    return all;
}

/// A linear layer, an embedding or a stack of experts: plain, or MLX's triple weight, scales,
/// biases. Stacks need not have a suffix.
Result<WeightView> WeightLoader::hf_matrix(Role role, std::int64_t layer, const std::string& path,
                                           const HfQuantization& quantization, const Cut& cut) {
    std::string name = path + ".weight";
    if (find(name) == nullptr && find(path) != nullptr) name = path;
    BLOOM_TRY(const TensorInfo* weight, take(name));
    if (find(path + ".scales") != nullptr) {
        BLOOM_OK(check_settings(*weight, path, quantization));
        return affine_view(role, layer, *weight, path, cut);
    }
    if (weight->type == StorageType::u32) {
        return Error{Code::corrupt, fmt::format("tensor {} is quantised but {} is missing",
                                                bloom::quoted(weight->name),
                                                bloom::quoted(in_file(path + ".scales")))};
    }
    return plain_view(role, layer, *weight, cut);
}

Result<> WeightLoader::check_settings(const TensorInfo& weight, const std::string& path,
                                      const HfQuantization& quantization) const {
    if (!quantization.present) {
        return Error{
            Code::corrupt,
            fmt::format("tensor {} is quantised but config.json has no quantization settings",
                        bloom::quoted(weight.name))};
    }
    const HfQuantization::Override how = quantization.lookup(path);
    if (!how.quantised) {
        return Error{Code::corrupt,
                     fmt::format("config.json says that {} is not quantised but {} exists",
                                 bloom::quoted(in_file(path)),
                                 bloom::quoted(in_file(path + ".scales")))};
    }
    const QuantizationSettings& s = how.settings;
    if (s.mode != "affine" || s.bits != 8 || s.group_size != 64) {
        return Error{Code::unsupported, fmt::format("tensor {} is quantised as {} with {} bits in "
                                                    "groups of {}; affine, 8 bits, groups of "
                                                    "64 is supported",
                                                    bloom::quoted(weight.name),
                                                    bloom::quoted(s.mode), s.bits, s.group_size)};
    }
    return {};
}

Result<WeightView> WeightLoader::affine_view(Role role, std::int64_t layer,
                                             const TensorInfo& weight, const std::string& path,
                                             const Cut& cut) {
    constexpr std::int64_t kGroup = 64;
    constexpr std::int64_t kCodesPerWord = 4;
    const MatrixShape shape = roles::expected_shape(role, config_, layer);
    if (shape.k % kGroup != 0) {
        return Error{Code::unsupported,
                     fmt::format("tensor {} has rows of {} elements, not a multiple of {}",
                                 bloom::quoted(weight.name), shape.k, kGroup)};
    }
    BLOOM_TRY(const TensorInfo* scales, take(path + ".scales"));
    BLOOM_TRY(const TensorInfo* biases, take(path + ".biases"));
    if (weight.type != StorageType::u32) {
        return Error{Code::unsupported,
                     fmt::format("tensor {} is of type {}; quantised weights are u32",
                                 bloom::quoted(weight.name), to_string(weight.type))};
    }
    BLOOM_OK(check_matrix_shape(weight, cut, shape.rows, shape.k / kCodesPerWord));
    BLOOM_OK(check_matrix_shape(*scales, cut, shape.rows, shape.k / kGroup));
    BLOOM_OK(check_matrix_shape(*biases, cut, shape.rows, shape.k / kGroup));
    if (scales->type != biases->type) {
        return Error{Code::corrupt,
                     fmt::format("tensors {} and {} are of types {} and {}",
                                 bloom::quoted(scales->name), bloom::quoted(biases->name),
                                 to_string(scales->type), to_string(biases->type))};
    }
    BLOOM_TRY(const WeightFormat side, plain_format(*scales));
    WeightView view;
    view.name = weight.name;
    view.matrix.format = side == WeightFormat::f16    ? WeightFormat::affine8_f16
                         : side == WeightFormat::bf16 ? WeightFormat::affine8_bf16
                                                      : WeightFormat::affine8_f32;
    view.matrix.rows = shape.rows;
    view.matrix.k = shape.k;
    view.matrix.codes = weight.data;
    view.matrix.scales = scales->data;
    view.matrix.biases = biases->data;
    view.ranges = {range_of(weight, cut), range_of(*scales, cut), range_of(*biases, cut)};
    place(view, cut);
    return view;
}

} // namespace bloom::engine
