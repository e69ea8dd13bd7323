#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/weights.hpp>

#include "engine/roles.hpp"

namespace bloom::engine {
namespace {

using kernels::WeightFormat;
using roles::info;
using roles::Kind;
using roles::MatrixShape;
using roles::RoleInfo;

Result<WeightFormat> plain_format(const TensorInfo& tensor) {
    switch (tensor.type) {
    case StorageType::f32:
        return WeightFormat::f32;
    case StorageType::f16:
        return WeightFormat::f16;
    case StorageType::bf16:
        return WeightFormat::bf16;
    default:
        return Error{Code::unsupported,
                     fmt::format("tensor {} is of type {}, which cannot be used there",
                                 bloom::quoted(tensor.name), to_string(tensor.type))};
    }
}

Error wrong_shape(const TensorInfo& tensor, std::string_view wanted) {
    return {Code::corrupt,
            fmt::format("tensor {} has the shape {}, the configuration asks for {}",
                        bloom::quoted(tensor.name), shape_text(tensor.shape()), wanted)};
}

Result<> check_shape(const TensorInfo& tensor, std::span<const std::int64_t> wanted) {
    const auto shape = tensor.shape();
    if (std::equal(shape.begin(), shape.end(), wanted.begin(), wanted.end())) return {};
    return wrong_shape(tensor, shape_text(wanted));
}

FileRange range_of(const TensorInfo& tensor) noexcept {
    return {tensor.file, tensor.offset, tensor.bytes};
}

/// Checks a tensor of matrices with `columns` elements a row: [rows, columns], or [n_stacked, rows,
/// columns] when it holds so many.
Result<> check_matrix_shape(const TensorInfo& tensor, std::int64_t n_stacked, std::int64_t rows,
                            std::int64_t columns) {
    if (n_stacked == 0) return check_shape(tensor, std::array{rows, columns});
    return check_shape(tensor, std::array{n_stacked, rows, columns});
}

/// Finds the matrices of a stack whose first is view.matrix.
void split_stack(WeightView& view, std::int64_t n_stacked) {
    kernels::SourceMatrix m = view.matrix;
    const auto rows = static_cast<std::size_t>(m.rows);
    const std::size_t code_bytes = row_bytes(m.format, m.k) * rows;
    const std::size_t side_bytes = scale_row_bytes(m.format, m.k) * rows;
    view.experts.reserve(static_cast<std::size_t>(n_stacked));
    for (std::int64_t e = 0; e < n_stacked; ++e) {
        view.experts.push_back(m);
        m.codes += code_bytes;
        if (side_bytes == 0) continue;
        m.scales += side_bytes;
        m.biases += side_bytes;
    }
}

} // namespace

// --- the loader
// ------------------------------------------------------------------------------------

/// Builds Weights from a list of tensors; one use.
class WeightLoader {
public:
    WeightLoader(const ModelConfig& config, std::span<const TensorInfo> tensors)
        : config_(config), tensors_(tensors) {
        for (std::size_t i = 0; i < tensors.size(); ++i)
            by_name_.emplace(tensors[i].name, i);
        used_.assign(tensors.size(), false);
        out_.index_.assign(
            static_cast<std::size_t>(config.n_layers + config.n_draft_layers + 1) * kRoleCount, -1);
    }

    Result<Weights> load_gguf();
    Result<Weights> without_file(WeightFormat format);
    Result<Weights> load_hf(const HfQuantization& quantization);

private:
    /// Marks the tensor as used. nullptr when the file has none of that name.
    const TensorInfo* take(std::string_view name) {
        const auto it = by_name_.find(name);
        if (it == by_name_.end()) return nullptr;
        used_[it->second] = true;
        return &tensors_[it->second];
    }

    template <class LoadOne>
    Result<Weights> load_all(LoadOne load_one);

    // n_stacked: how many matrices the tensor holds; 0 where it is one.
    Result<WeightView> plain_view(Role role, std::int64_t layer, const std::string& name,
                                  std::int64_t n_stacked);
    Result<WeightView> hf_matrix(Role role, std::int64_t layer, const std::string& module,
                                 const HfQuantization& quantization, std::int64_t n_stacked);
    Result<WeightView> hf_experts(Role role, std::int64_t layer,
                                  const HfQuantization& quantization);
    Result<> check_settings(const TensorInfo& weight, const std::string& module,
                            const HfQuantization& quantization);
    Result<WeightView> affine_view(Role role, std::int64_t layer, const TensorInfo& weight,
                                   const std::string& module, std::int64_t n_stacked);
    Result<> check_rope_factors() const;

    const ModelConfig& config_;
    std::span<const TensorInfo> tensors_;
    std::unordered_map<std::string_view, std::size_t> by_name_;
    std::vector<bool> used_;
    Weights out_;
};

template <class LoadOne>
Result<Weights> WeightLoader::load_all(LoadOne load_one) {
    for (std::int64_t layer = -1; layer < config_.n_layers + config_.n_draft_layers; ++layer) {
        for (const RoleInfo& role : roles::all()) {
            if (role.per_layer != (layer >= 0) || !roles::is_wanted(role.role, config_, layer))
                continue;
            BLOOM_TRY(WeightView view, load_one(role, layer));
            view.role = role.role;
            view.layer = layer;
            const auto at = static_cast<std::size_t>(layer + 1) * kRoleCount +
                            static_cast<std::size_t>(role.role);
            out_.index_[at] = static_cast<std::int32_t>(out_.views_.size());
            out_.views_.push_back(std::move(view));
        }
    }
    BLOOM_OK(check_rope_factors());
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        if (!used_[i]) out_.unused_.push_back(tensors_[i].name);
    }
    return std::move(out_);
}

// The divisors are a handful of numbers and a zero among them would spoil every position, so they
// are read at once instead of waiting for a scan.
Result<> WeightLoader::check_rope_factors() const {
    const WeightView* view = out_.find(Role::rope_factors);
    if (view == nullptr) return {};
    std::vector<float> factors(static_cast<std::size_t>(view->matrix.k));
    expand_vector(*view, factors);
    constexpr float kMin = 1e-3F;
    constexpr float kMax = 65'536.0F;
    for (const float f : factors) {
        if (!(f >= kMin && f <= kMax)) {
            return Error{Code::corrupt, fmt::format("tensor {} contains the divisor {}",
                                                    bloom::quoted(view->name), f)};
        }
    }
    return {};
}

/// A vector, a matrix or a stack of them that is one tensor: Q8_0, F16, BF16 or F32.
Result<WeightView> WeightLoader::plain_view(Role role, std::int64_t layer, const std::string& name,
                                            std::int64_t n_stacked) {
    const TensorInfo* tensor = take(name);
    if (tensor == nullptr)
        return Error{Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(name))};
    const MatrixShape shape = roles::expected_shape(role, config_, layer);
    WeightView view;
    view.name = name;
    view.matrix.rows = shape.rows;
    view.matrix.k = shape.k;
    view.matrix.codes = tensor->data;
    view.ranges = {range_of(*tensor)};
    if (tensor->type == StorageType::q8_0 && !is_vector_role(role)) {
        view.matrix.format = WeightFormat::q8_0;
    } else {
        BLOOM_TRY(view.matrix.format, plain_format(*tensor));
    }
    if (is_vector_role(role)) {
        BLOOM_OK(check_shape(*tensor, std::array{shape.k}));
    } else {
        BLOOM_OK(check_matrix_shape(*tensor, n_stacked, shape.rows, shape.k));
    }
    split_stack(view, n_stacked);
    return view;
}

Result<Weights> WeightLoader::load_gguf() {
    return load_all([this](const RoleInfo& role, std::int64_t layer) -> Result<WeightView> {
        const std::string_view own = roles::names(role.role, config_.arch).gguf;
        const std::string name =
            layer < 0 ? std::string(own) : fmt::format("blk.{}.{}", layer, own);
        const std::int64_t n_stacked = role.kind == Kind::experts ? config_.experts.n_experts : 0;
        BLOOM_TRY(WeightView view, plain_view(role.role, layer, name, n_stacked));
        const bool rotated = role.role == Role::wq || role.role == Role::wk ||
                             role.role == Role::bq || role.role == Role::bk;
        if (rotated && config_.arch == Arch::llama) view.order.head_dim = config_.head_dim;
        return view;
    });
}

Result<Weights> WeightLoader::load_hf(const HfQuantization& quantization) {
    Result<Weights> loaded = load_all([&](const RoleInfo& role,
                                          std::int64_t layer) -> Result<WeightView> {
        if (role.kind == Kind::experts) return hf_experts(role.role, layer, quantization);
        const roles::Names names = roles::names(role.role, config_.arch);
        const std::string module =
            layer < 0 ? std::string(names.hf) : fmt::format("model.layers.{}.{}", layer, names.hf);
        if (role.kind == Kind::matrix) return hf_matrix(role.role, layer, module, quantization, 0);
        return plain_view(
            role.role, layer,
            names.hf_suffix.empty() ? module : fmt::format("{}.{}", module, names.hf_suffix), 0);
    });
    if (!loaded) return loaded;
    // Known and superfluous: frequencies that the configuration gives, and a head beside a tied
    // embedding.
    std::erase_if(loaded->unused_, [&](const std::string& name) {
        return name.ends_with("self_attn.rotary_emb.inv_freq") ||
               (config_.tied_output && name.starts_with("lm_head."));
    });
    return loaded;
}

Result<Weights> WeightLoader::without_file(WeightFormat format) {
    return load_all([this, format](const RoleInfo& role, std::int64_t layer) -> Result<WeightView> {
        WeightView view;
        const MatrixShape shape = roles::expected_shape(role.role, config_, layer);
        const bool plain = role.kind == Kind::vector ||
                           (role.role == Role::w_router && format == WeightFormat::q8_0);
        view.name = role.name;
        view.matrix = {
            plain ? WeightFormat::f32 : format, shape.rows, shape.k, nullptr, nullptr, nullptr};
        if (shape.k % kernels::group_size(view.matrix.format) != 0) {
            return Error{Code::unsupported,
                         fmt::format("{} has rows of {} elements, not a multiple of {}", role.name,
                                     shape.k, kernels::group_size(format))};
        }
        if (role.kind == Kind::experts) {
            view.experts.assign(static_cast<std::size_t>(config_.experts.n_experts), view.matrix);
        }
        const std::size_t row = row_bytes(view.matrix.format, shape.k) +
                                2 * scale_row_bytes(view.matrix.format, shape.k);
        view.ranges = {{0, 0, static_cast<std::uint64_t>(view.n_matrices() * shape.rows) * row}};
        return view;
    });
}

/// The experts of a layer: one stack as MLX writes them, or the modules of the original release,
/// one for each expert. The file decides.
Result<WeightView> WeightLoader::hf_experts(Role role, std::int64_t layer,
                                            const HfQuantization& quantization) {
    const std::string_view stack = roles::names(role, config_.arch).hf;
    const std::string_view projection = stack.substr(stack.rfind('.') + 1);
    const auto module_of = [&](std::int64_t e) {
        return fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, e, projection);
    };
    if (!by_name_.contains(module_of(0) + ".weight")) {
        return hf_matrix(role, layer, fmt::format("model.layers.{}.{}", layer, stack), quantization,
                         config_.experts.n_experts);
    }
    WeightView all;
    for (std::int64_t e = 0; e < config_.experts.n_experts; ++e) {
        BLOOM_TRY(WeightView one, hf_matrix(role, layer, module_of(e), quantization, 0));
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
/// biases. The file decides.
Result<WeightView> WeightLoader::hf_matrix(Role role, std::int64_t layer, const std::string& module,
                                           const HfQuantization& quantization,
                                           std::int64_t n_stacked) {
    const std::string name = module + ".weight";
    if (!by_name_.contains(module + ".scales")) {
        const auto it = by_name_.find(name);
        if (it != by_name_.end() && tensors_[it->second].type == StorageType::u32) {
            return Error{Code::corrupt,
                         fmt::format("tensor {} is quantised but {} is missing",
                                     bloom::quoted(name), bloom::quoted(module + ".scales"))};
        }
        return plain_view(role, layer, name, n_stacked);
    }
    const TensorInfo* weight = take(name);
    if (weight == nullptr)
        return Error{Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(name))};
    BLOOM_OK(check_settings(*weight, module, quantization));
    return affine_view(role, layer, *weight, module, n_stacked);
}

Result<> WeightLoader::check_settings(const TensorInfo& weight, const std::string& module,
                                      const HfQuantization& quantization) {
    if (!quantization.present) {
        return Error{
            Code::corrupt,
            fmt::format("tensor {} is quantised but config.json has no quantization settings",
                        bloom::quoted(weight.name))};
    }
    const HfQuantization::Override how = quantization.lookup(module);
    if (!how.quantised) {
        return Error{Code::corrupt,
                     fmt::format("config.json says that {} is not quantised but {} exists",
                                 bloom::quoted(module), bloom::quoted(module + ".scales"))};
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
                                             const TensorInfo& weight, const std::string& module,
                                             std::int64_t n_stacked) {
    constexpr std::int64_t kGroup = 64;
    constexpr std::int64_t kCodesPerWord = 4;
    const MatrixShape shape = roles::expected_shape(role, config_, layer);
    if (shape.k % kGroup != 0) {
        return Error{Code::unsupported,
                     fmt::format("tensor {} has rows of {} elements, not a multiple of {}",
                                 bloom::quoted(weight.name), shape.k, kGroup)};
    }
    const TensorInfo* scales = take(module + ".scales");
    const TensorInfo* biases = take(module + ".biases");
    if (biases == nullptr) {
        return Error{Code::corrupt,
                     fmt::format("tensor {} is missing", bloom::quoted(module + ".biases"))};
    }
    if (weight.type != StorageType::u32) {
        return Error{Code::unsupported,
                     fmt::format("tensor {} is of type {}; quantised weights are u32",
                                 bloom::quoted(weight.name), to_string(weight.type))};
    }
    BLOOM_OK(check_matrix_shape(weight, n_stacked, shape.rows, shape.k / kCodesPerWord));
    BLOOM_OK(check_matrix_shape(*scales, n_stacked, shape.rows, shape.k / kGroup));
    BLOOM_OK(check_matrix_shape(*biases, n_stacked, shape.rows, shape.k / kGroup));
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
    view.ranges = {range_of(weight), range_of(*scales), range_of(*biases)};
    split_stack(view, n_stacked);
    return view;
}

// --- public
// ----------------------------------------------------------------------------------------

std::string_view to_string(Role role) noexcept {
    return info(role).name;
}

bool is_layer_role(Role role) noexcept {
    return info(role).per_layer;
}

bool is_vector_role(Role role) noexcept {
    return info(role).kind == Kind::vector;
}

bool is_expert_role(Role role) noexcept {
    return info(role).kind == Kind::experts;
}

const WeightView* Weights::find(Role role, std::int64_t layer) const noexcept {
    if (layer < -1) return nullptr;
    const auto at =
        static_cast<std::size_t>(layer + 1) * kRoleCount + static_cast<std::size_t>(role);
    if (at >= index_.size() || index_[at] < 0) return nullptr;
    return &views_[static_cast<std::size_t>(index_[at])];
}

const WeightView& Weights::at(Role role, std::int64_t layer) const {
    const WeightView* view = find(role, layer);
    BLOOM_CHECK(view != nullptr);
    return *view;
}

std::uint64_t Weights::total_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const WeightView& view : views_)
        sum += view.bytes();
    return sum;
}

Result<Weights> load_gguf_weights(const ModelConfig& config, std::span<const TensorInfo> tensors) {
    return WeightLoader(config, tensors).load_gguf();
}

Result<Weights> shape_weights(const ModelConfig& config, WeightFormat format) {
    return WeightLoader(config, {}).without_file(format);
}

Result<Weights> load_hf_weights(const ModelConfig& config, const HfQuantization& quantization,
                                std::span<const TensorInfo> tensors) {
    return WeightLoader(config, tensors).load_hf(quantization);
}

} // namespace bloom::engine
