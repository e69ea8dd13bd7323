#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/weights.hpp>

namespace bloom::engine {
namespace {

using kernels::WeightFormat;

enum class Kind : std::uint8_t { vector, matrix, experts };

/// Names without layer prefix: `blk.N.<gguf>`, `model.layers.N.<hf>.<hf_suffix>`. Both families of
/// names hold for every architecture so far.
struct RoleInfo {
    Role role;
    std::string_view name;
    bool per_layer;
    Kind kind;
    std::string_view gguf; ///< with suffix
    std::string_view hf;   ///< module path
    std::string_view hf_suffix;
};

constexpr RoleInfo kRoles[kRoleCount] = {
    {Role::tok_embd, "tok_embd", false, Kind::matrix, "token_embd.weight", "model.embed_tokens",
     "weight"},
    {Role::output_norm, "output_norm", false, Kind::vector, "output_norm.weight", "model.norm",
     "weight"},
    {Role::output, "output", false, Kind::matrix, "output.weight", "lm_head", "weight"},
    {Role::rope_factors, "rope_factors", false, Kind::vector, "rope_freqs.weight", "", ""},
    {Role::attn_norm, "attn_norm", true, Kind::vector, "attn_norm.weight", "input_layernorm",
     "weight"},
    {Role::wq, "wq", true, Kind::matrix, "attn_q.weight", "self_attn.q_proj", "weight"},
    {Role::wk, "wk", true, Kind::matrix, "attn_k.weight", "self_attn.k_proj", "weight"},
    {Role::wv, "wv", true, Kind::matrix, "attn_v.weight", "self_attn.v_proj", "weight"},
    {Role::wo, "wo", true, Kind::matrix, "attn_output.weight", "self_attn.o_proj", "weight"},
    {Role::bq, "bq", true, Kind::vector, "attn_q.bias", "self_attn.q_proj", "bias"},
    {Role::bk, "bk", true, Kind::vector, "attn_k.bias", "self_attn.k_proj", "bias"},
    {Role::bv, "bv", true, Kind::vector, "attn_v.bias", "self_attn.v_proj", "bias"},
    {Role::bo, "bo", true, Kind::vector, "attn_output.bias", "self_attn.o_proj", "bias"},
    {Role::q_norm, "q_norm", true, Kind::vector, "attn_q_norm.weight", "self_attn.q_norm",
     "weight"},
    {Role::k_norm, "k_norm", true, Kind::vector, "attn_k_norm.weight", "self_attn.k_norm",
     "weight"},
    {Role::ffn_norm, "ffn_norm", true, Kind::vector, "ffn_norm.weight", "post_attention_layernorm",
     "weight"},
    {Role::w_gate, "w_gate", true, Kind::matrix, "ffn_gate.weight", "mlp.gate_proj", "weight"},
    {Role::w_up, "w_up", true, Kind::matrix, "ffn_up.weight", "mlp.up_proj", "weight"},
    {Role::w_down, "w_down", true, Kind::matrix, "ffn_down.weight", "mlp.down_proj", "weight"},
    {Role::b_gate, "b_gate", true, Kind::vector, "ffn_gate.bias", "mlp.gate_proj", "bias"},
    {Role::b_up, "b_up", true, Kind::vector, "ffn_up.bias", "mlp.up_proj", "bias"},
    {Role::b_down, "b_down", true, Kind::vector, "ffn_down.bias", "mlp.down_proj", "bias"},
    {Role::w_router, "w_router", true, Kind::matrix, "ffn_gate_inp.weight", "mlp.gate", "weight"},
    {Role::w_gate_exps, "w_gate_exps", true, Kind::experts, "ffn_gate_exps.weight",
     "mlp.switch_mlp.gate_proj", "weight"},
    {Role::w_up_exps, "w_up_exps", true, Kind::experts, "ffn_up_exps.weight",
     "mlp.switch_mlp.up_proj", "weight"},
    {Role::w_down_exps, "w_down_exps", true, Kind::experts, "ffn_down_exps.weight",
     "mlp.switch_mlp.down_proj", "weight"},
};

constexpr bool roles_in_order() {
    for (int i = 0; i < kRoleCount; ++i) {
        if (static_cast<int>(kRoles[i].role) != i) return false;
    }
    return true;
}

static_assert(roles_in_order(), "kRoles is indexed by Role");

const RoleInfo& info(Role role) noexcept {
    return kRoles[static_cast<std::size_t>(role)];
}

/// Whether a model of this configuration has the role; in layer `layer`, for roles of layers.
bool is_wanted(Role role, const ModelConfig& c, std::int64_t layer) noexcept {
    switch (role) {
    case Role::output:
        return !c.tied_output;
    case Role::rope_factors:
        return c.rope_scaling.kind == RopeScalingKind::factors;
    case Role::bq:
    case Role::bk:
    case Role::bv:
        return c.qkv_bias;
    case Role::bo:
        return c.attn_out_bias;
    case Role::q_norm:
    case Role::k_norm:
        return c.qk_norm;
    case Role::w_gate:
    case Role::w_up:
    case Role::w_down:
        return !c.has_experts(layer);
    case Role::b_gate:
    case Role::b_up:
    case Role::b_down:
        return c.mlp_bias && !c.has_experts(layer);
    case Role::w_router:
    case Role::w_gate_exps:
    case Role::w_up_exps:
    case Role::w_down_exps:
        return c.has_experts(layer);
    default:
        return true;
    }
}

struct MatrixShape {
    std::int64_t rows;
    std::int64_t k;
};

/// [rows, k] of a matrix role or of one expert, {1, length} of a vector role.
MatrixShape expected_shape(Role role, const ModelConfig& c) noexcept {
    switch (role) {
    case Role::tok_embd:
    case Role::output:
        return {c.vocab_rows, c.d_model};
    case Role::rope_factors:
        return {1, c.head_dim / 2};
    case Role::wq:
        return {c.q_dim(), c.d_model};
    case Role::wk:
    case Role::wv:
        return {c.kv_dim(), c.d_model};
    case Role::wo:
        return {c.d_model, c.q_dim()};
    case Role::bq:
        return {1, c.q_dim()};
    case Role::bk:
    case Role::bv:
        return {1, c.kv_dim()};
    case Role::q_norm:
    case Role::k_norm:
        return {1, c.head_dim};
    case Role::w_gate:
    case Role::w_up:
        return {c.ffn_dim, c.d_model};
    case Role::w_down:
        return {c.d_model, c.ffn_dim};
    case Role::b_gate:
    case Role::b_up:
        return {1, c.ffn_dim};
    case Role::w_router:
        return {c.experts.n_experts, c.d_model};
    case Role::w_gate_exps:
    case Role::w_up_exps:
        return {c.experts.ffn_dim, c.d_model};
    case Role::w_down_exps:
        return {c.d_model, c.experts.ffn_dim};
    case Role::output_norm:
    case Role::attn_norm:
    case Role::ffn_norm:
    case Role::bo:
    case Role::b_down:
        return {1, c.d_model};
    }
    return {0, 0};
}

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
        out_.index_.assign(static_cast<std::size_t>(config.n_layers + 1) * kRoleCount, -1);
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
    Result<WeightView> plain_view(Role role, const std::string& name, std::int64_t n_stacked);
    Result<WeightView> hf_matrix(Role role, const std::string& module,
                                 const HfQuantization& quantization, std::int64_t n_stacked);
    Result<WeightView> hf_experts(Role role, std::int64_t layer,
                                  const HfQuantization& quantization);
    Result<> check_settings(const TensorInfo& weight, const std::string& module,
                            const HfQuantization& quantization);
    Result<WeightView> affine_view(Role role, const TensorInfo& weight, const std::string& module,
                                   std::int64_t n_stacked);
    Result<> check_rope_factors() const;

    const ModelConfig& config_;
    std::span<const TensorInfo> tensors_;
    std::unordered_map<std::string_view, std::size_t> by_name_;
    std::vector<bool> used_;
    Weights out_;
};

template <class LoadOne>
Result<Weights> WeightLoader::load_all(LoadOne load_one) {
    for (std::int64_t layer = -1; layer < config_.n_layers; ++layer) {
        for (const RoleInfo& role : kRoles) {
            if (role.per_layer != (layer >= 0) || !is_wanted(role.role, config_, layer)) continue;
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
Result<WeightView> WeightLoader::plain_view(Role role, const std::string& name,
                                            std::int64_t n_stacked) {
    const TensorInfo* tensor = take(name);
    if (tensor == nullptr)
        return Error{Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(name))};
    const MatrixShape shape = expected_shape(role, config_);
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
        const std::string name =
            layer < 0 ? std::string(role.gguf) : fmt::format("blk.{}.{}", layer, role.gguf);
        const std::int64_t n_stacked = role.kind == Kind::experts ? config_.experts.n_experts : 0;
        BLOOM_TRY(WeightView view, plain_view(role.role, name, n_stacked));
        const bool rotated = role.role == Role::wq || role.role == Role::wk ||
                             role.role == Role::bq || role.role == Role::bk;
        if (rotated && config_.arch == Arch::llama) view.order.head_dim = config_.head_dim;
        return view;
    });
}

Result<Weights> WeightLoader::load_hf(const HfQuantization& quantization) {
    Result<Weights> loaded =
        load_all([&](const RoleInfo& role, std::int64_t layer) -> Result<WeightView> {
            if (role.kind == Kind::experts) return hf_experts(role.role, layer, quantization);
            const std::string module = layer < 0
                                           ? std::string(role.hf)
                                           : fmt::format("model.layers.{}.{}", layer, role.hf);
            if (role.kind == Kind::matrix) return hf_matrix(role.role, module, quantization, 0);
            return plain_view(role.role, fmt::format("{}.{}", module, role.hf_suffix), 0);
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
    return load_all([this, format](const RoleInfo& role, std::int64_t) -> Result<WeightView> {
        WeightView view;
        const MatrixShape shape = expected_shape(role.role, config_);
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
    const std::string_view stack = info(role).hf;
    const std::string_view projection = stack.substr(stack.rfind('.') + 1);
    const auto module_of = [&](std::int64_t e) {
        return fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, e, projection);
    };
    if (!by_name_.contains(module_of(0) + ".weight")) {
        return hf_matrix(role, fmt::format("model.layers.{}.{}", layer, stack), quantization,
                         config_.experts.n_experts);
    }
    WeightView all;
    for (std::int64_t e = 0; e < config_.experts.n_experts; ++e) {
        BLOOM_TRY(WeightView one, hf_matrix(role, module_of(e), quantization, 0));
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
Result<WeightView> WeightLoader::hf_matrix(Role role, const std::string& module,
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
        return plain_view(role, name, n_stacked);
    }
    const TensorInfo* weight = take(name);
    if (weight == nullptr)
        return Error{Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(name))};
    BLOOM_OK(check_settings(*weight, module, quantization));
    return affine_view(role, *weight, module, n_stacked);
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

Result<WeightView> WeightLoader::affine_view(Role role, const TensorInfo& weight,
                                             const std::string& module, std::int64_t n_stacked) {
    constexpr std::int64_t kGroup = 64;
    constexpr std::int64_t kCodesPerWord = 4;
    const MatrixShape shape = expected_shape(role, config_);
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
