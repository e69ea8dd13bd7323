#include "engine/weight_loader.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

namespace bloom::engine {

using kernels::WeightFormat;
using roles::Kind;
using roles::MatrixShape;
using roles::RoleInfo;

namespace {

/// The rest of a shape without axes of length 1.
std::vector<std::int64_t> squeezed(std::span<const std::int64_t> shape) {
    std::vector<std::int64_t> out;
    std::ranges::copy_if(shape, std::back_inserter(out), [](std::int64_t dim) { return dim != 1; });
    return out;
}

/// Vectors are what the model calls so; files have some of them with further axes of length 1, and
/// convolutions by channel and tap.
Result<> check_vector_shape(const TensorInfo& tensor, Role role, std::int64_t length,
                            const ModelConfig& config) {
    if (role == Role::conv) {
        const std::array wanted{config.linear.channels(), config.linear.conv_taps};
        if (squeezed(tensor.shape()) == squeezed(wanted)) return {};
        return wrong_shape(tensor, shape_text(wanted));
    }
    const std::array wanted{length};
    const bool may_squeeze = role == Role::layer_scale;
    if (may_squeeze ? squeezed(tensor.shape()) == squeezed(wanted)
                    : std::ranges::equal(tensor.shape(), wanted))
        return {};
    return wrong_shape(tensor, shape_text(wanted));
}

void skip_rows(kernels::SourceMatrix& m, std::int64_t rows) noexcept {
    const auto n = static_cast<std::size_t>(rows);
    m.codes += row_bytes(m.format, m.k) * n;
    const std::size_t side_bytes = scale_row_bytes(m.format, m.k) * n;
    if (side_bytes == 0) return;
    m.scales += side_bytes;
    m.biases += side_bytes;
}

bool has_gate_in_q(const ModelConfig& c) noexcept {
    return c.attn_gate && (c.arch == Arch::qwen35 || c.arch == Arch::qwen35_moe);
}

} // namespace

Result<WeightFormat> plain_format(const TensorInfo& tensor) {
    switch (tensor.type) {
    case StorageType::f32:
        return WeightFormat::f32;
    case StorageType::f16:
        return WeightFormat::f16;
    case StorageType::bf16:
        return WeightFormat::bf16;
    case StorageType::f8_e4m3:
    case StorageType::f8_e5m2:
        return Error{Code::unsupported,
                     fmt::format("tensor {} is of type {}; 8-bit floats are not supported, an MLX "
                                 "8-bit or GGUF Q8_0 conversion of the model is",
                                 bloom::quoted(tensor.name), to_string(tensor.type))};
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

Result<> check_matrix_shape(const TensorInfo& tensor, const Cut& cut, std::int64_t rows,
                            std::int64_t columns) {
    const std::array wanted{cut.n_stacked, rows * cut.parts, columns};
    const auto shape = std::span(wanted).subspan(cut.n_stacked == 0 ? 1 : 0);
    if (std::ranges::equal(tensor.shape(), shape)) return {};
    // A single row may be a vector.
    if (cut.n_stacked == 0 && rows * cut.parts == 1 &&
        std::ranges::equal(squeezed(tensor.shape()), std::array{columns}))
        return {};
    return wrong_shape(tensor, shape_text(shape));
}

WeightLoader::WeightLoader(const ModelConfig& config, std::span<const TensorInfo> tensors)
    : config_(config), tensors_(tensors), used_(tensors.size(), false) {
    out_.index_.assign(
        static_cast<std::size_t>(config.n_layers + config.n_draft_layers + 1) * kRoleCount, -1);
}

const TensorInfo* WeightLoader::find(std::string_view name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

Result<const TensorInfo*> WeightLoader::take(std::string_view name) {
    const auto it = by_name_.find(name);
    if (it == by_name_.end()) return missing(name);
    used_[it->second] = true;
    return &tensors_[it->second];
}

std::string WeightLoader::in_file(std::string_view name) const {
    constexpr std::string_view kModel = "model.";
    if (text_prefix_.empty() || !name.starts_with(kModel)) return std::string(name);
    return text_prefix_ + std::string(name.substr(kModel.size()));
}

Error WeightLoader::missing(std::string_view name) const {
    return {Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(in_file(name)))};
}

Result<Weights> WeightLoader::load_all(const Load& load_one) {
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
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        if (!used_[i]) out_.unused_.push_back(tensors_[i].name);
    }
    return std::move(out_);
}

// Some vectors are a handful of numbers one of which can spoil every position, so they are read at
// once instead of waiting for a scan: divisors of frequencies, and rates of decay, which would be
// of growth.
Result<> WeightLoader::check_vectors() const {
    std::vector<float> values;
    for (const WeightView& view : out_.views_) {
        if (view.role != Role::rope_factors && view.role != Role::decay) continue;
        values.resize(static_cast<std::size_t>(view.matrix.k));
        expand_vector(view, values);
        constexpr float kMinDivisor = 1e-3F;
        constexpr float kMaxDivisor = 65'536.0F;
        constexpr float kNoRotation = 1e20F; // from there on Gemma means a frequency of 0
        for (const float v : values) {
            if (view.role == Role::decay) {
                if (v <= 0.0F && std::isfinite(v)) continue;
                return Error{Code::corrupt,
                             fmt::format("tensor {} contains the rate of decay {}, which must not "
                                         "be positive",
                                         bloom::quoted(view.name), v)};
            }
            const bool stands = config_.arch == Arch::gemma4 && v >= kNoRotation;
            if ((v >= kMinDivisor && v <= kMaxDivisor) || (stands && std::isfinite(v))) continue;
            return Error{Code::corrupt, fmt::format("tensor {} contains the divisor {}",
                                                    bloom::quoted(view.name), v)};
        }
    }
    return {};
}

FileRange WeightLoader::range_of(const TensorInfo& tensor, const Cut& cut) noexcept {
    // Of a tensor that roles share, each answers for one part: together they are the whole, and
    // whole layers are what ranges are used for.
    const auto parts = static_cast<std::uint64_t>(cut.parts);
    const std::uint64_t bytes = tensor.bytes / parts;
    return {tensor.file, tensor.offset + bytes * static_cast<std::uint64_t>(cut.part), bytes};
}

void WeightLoader::place(WeightView& view, const Cut& cut) const {
    if (cut.by_heads) {
        view.order = {config_.head_dim,
                      cut.part == 0 ? RowOrder::Kind::even_heads : RowOrder::Kind::odd_heads};
        return;
    }
    skip_rows(view.matrix, cut.part * view.matrix.rows);
    kernels::SourceMatrix m = view.matrix;
    view.experts.reserve(static_cast<std::size_t>(cut.n_stacked));
    for (std::int64_t e = 0; e < cut.n_stacked; ++e) {
        view.experts.push_back(m);
        skip_rows(m, cut.parts * m.rows);
    }
}

Cut WeightLoader::matrix_cut(Role role) const noexcept {
    if (!has_gate_in_q(config_) || (role != Role::wq && role != Role::attn_gate)) return {};
    return {.parts = 2, .part = role == Role::attn_gate ? 1 : 0, .by_heads = true};
}

Result<WeightView> WeightLoader::plain_view(Role role, std::int64_t layer, const TensorInfo& tensor,
                                            const Cut& cut) {
    const MatrixShape shape = roles::expected_shape(role, config_, layer);
    WeightView view;
    view.name = tensor.name;
    view.matrix.rows = shape.rows;
    view.matrix.k = shape.k;
    view.matrix.codes = tensor.data;
    view.ranges = {range_of(tensor, cut)};
    if (tensor.type == StorageType::q8_0 && !is_vector_role(role)) {
        view.matrix.format = WeightFormat::q8_0;
    } else {
        BLOOM_TRY(view.matrix.format, plain_format(tensor));
    }
    if (is_vector_role(role)) {
        BLOOM_OK(check_vector_shape(tensor, role, shape.k, config_));
    } else {
        BLOOM_OK(check_matrix_shape(tensor, cut, shape.rows, shape.k));
    }
    place(view, cut);
    return view;
}

// --- GGUF
// -----------------------------------------------------------------------------------------

Result<WeightView> WeightLoader::gguf_view(const RoleInfo& role, std::int64_t layer) {
    const std::string_view own = roles::names(role.role, config_.arch).gguf;
    std::string name = layer < 0 ? std::string(own) : fmt::format("blk.{}.{}", layer, own);
    Cut cut = matrix_cut(role.role);
    if (role.kind == Kind::experts) {
        cut.n_stacked = config_.experts.n_experts;
        // One tensor may have the rows of gate and up, gate first.
        std::string merged = fmt::format("blk.{}.ffn_gate_up_exps.weight", layer);
        const bool shared = role.role == Role::w_gate_exps || role.role == Role::w_up_exps;
        if (shared && find(name) == nullptr && find(merged) != nullptr) {
            name = std::move(merged);
            cut.parts = 2;
            cut.part = role.role == Role::w_up_exps ? 1 : 0;
        }
    }
    BLOOM_TRY(const TensorInfo* tensor, take(name));
    BLOOM_TRY(WeightView view, plain_view(role.role, layer, *tensor, cut));
    const bool rotated = role.role == Role::wq || role.role == Role::wk || role.role == Role::bq ||
                         role.role == Role::bk;
    if (rotated && config_.arch == Arch::llama) view.order.head_dim = config_.head_dim;
    return view;
}

Result<Weights> WeightLoader::load_gguf() {
    for (std::size_t i = 0; i < tensors_.size(); ++i)
        by_name_.emplace(tensors_[i].name, i);
    BLOOM_TRY(Weights loaded, load_all([this](const RoleInfo& role, std::int64_t layer) {
                  return gguf_view(role, layer);
              }));
    out_ = std::move(loaded);
    BLOOM_OK(check_vectors());
    return std::move(out_);
}

// --- without a file
// -------------------------------------------------------------------------------

Result<Weights> WeightLoader::without_file(WeightFormat format) {
    return load_all([this, format](const RoleInfo& role, std::int64_t layer) -> Result<WeightView> {
        WeightView view;
        const MatrixShape shape = roles::expected_shape(role.role, config_, layer);
        const bool router = role.role == Role::w_router || role.role == Role::w_shared_gate;
        const bool plain = role.kind == Kind::vector || (router && format == WeightFormat::q8_0);
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

} // namespace bloom::engine
