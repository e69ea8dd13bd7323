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

/// Names without layer prefix and suffix: `blk.N.<gguf>.weight`, `model.layers.N.<hf>.weight`. Both
/// families of names hold for every architecture of the dense family.
struct RoleInfo {
    Role role;
    std::string_view name;
    bool per_layer;
    bool vector;
    std::string_view gguf; ///< with suffix
    std::string_view hf;   ///< module path
    std::string_view hf_suffix;
};

constexpr RoleInfo kRoles[kRoleCount] = {
    {Role::tok_embd, "tok_embd", false, false, "token_embd.weight", "model.embed_tokens", "weight"},
    {Role::output_norm, "output_norm", false, true, "output_norm.weight", "model.norm", "weight"},
    {Role::output, "output", false, false, "output.weight", "lm_head", "weight"},
    {Role::rope_factors, "rope_factors", false, true, "rope_freqs.weight", "", ""},
    {Role::attn_norm, "attn_norm", true, true, "attn_norm.weight", "input_layernorm", "weight"},
    {Role::wq, "wq", true, false, "attn_q.weight", "self_attn.q_proj", "weight"},
    {Role::wk, "wk", true, false, "attn_k.weight", "self_attn.k_proj", "weight"},
    {Role::wv, "wv", true, false, "attn_v.weight", "self_attn.v_proj", "weight"},
    {Role::wo, "wo", true, false, "attn_output.weight", "self_attn.o_proj", "weight"},
    {Role::bq, "bq", true, true, "attn_q.bias", "self_attn.q_proj", "bias"},
    {Role::bk, "bk", true, true, "attn_k.bias", "self_attn.k_proj", "bias"},
    {Role::bv, "bv", true, true, "attn_v.bias", "self_attn.v_proj", "bias"},
    {Role::bo, "bo", true, true, "attn_output.bias", "self_attn.o_proj", "bias"},
    {Role::q_norm, "q_norm", true, true, "attn_q_norm.weight", "self_attn.q_norm", "weight"},
    {Role::k_norm, "k_norm", true, true, "attn_k_norm.weight", "self_attn.k_norm", "weight"},
    {Role::ffn_norm, "ffn_norm", true, true, "ffn_norm.weight", "post_attention_layernorm",
     "weight"},
    {Role::w_gate, "w_gate", true, false, "ffn_gate.weight", "mlp.gate_proj", "weight"},
    {Role::w_up, "w_up", true, false, "ffn_up.weight", "mlp.up_proj", "weight"},
    {Role::w_down, "w_down", true, false, "ffn_down.weight", "mlp.down_proj", "weight"},
    {Role::b_gate, "b_gate", true, true, "ffn_gate.bias", "mlp.gate_proj", "bias"},
    {Role::b_up, "b_up", true, true, "ffn_up.bias", "mlp.up_proj", "bias"},
    {Role::b_down, "b_down", true, true, "ffn_down.bias", "mlp.down_proj", "bias"},
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

/// Whether a model of this configuration has the role.
bool is_wanted(Role role, const ModelConfig& c) noexcept {
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
    case Role::b_gate:
    case Role::b_up:
    case Role::b_down:
        return c.mlp_bias;
    default:
        return true;
    }
}

struct MatrixShape {
    std::int64_t rows;
    std::int64_t k;
};

/// [rows, k] of a matrix role, {1, length} of a vector role.
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

    Result<WeightView> plain_view(Role role, const std::string& name);
    Result<WeightView> hf_matrix(Role role, const std::string& module,
                                 const HfQuantization& quantization);
    Result<> check_settings(const TensorInfo& weight, const std::string& module,
                            const HfQuantization& quantization);
    Result<WeightView> affine_view(Role role, const TensorInfo& weight, const std::string& module);
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
            if (role.per_layer != (layer >= 0) || !is_wanted(role.role, config_)) continue;
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

/// A matrix or vector that is one tensor: Q8_0, F16, BF16 or F32.
Result<WeightView> WeightLoader::plain_view(Role role, const std::string& name) {
    const TensorInfo* tensor = take(name);
    if (tensor == nullptr)
        return Error{Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(name))};
    const MatrixShape shape = expected_shape(role, config_);
    WeightView view;
    view.name = name;
    view.matrix.rows = shape.rows;
    view.matrix.k = shape.k;
    view.matrix.codes = tensor->data;
    view.ranges[0] = range_of(*tensor);
    view.n_ranges = 1;
    if (tensor->type == StorageType::q8_0 && !info(role).vector) {
        view.matrix.format = WeightFormat::q8_0;
    } else {
        BLOOM_TRY(view.matrix.format, plain_format(*tensor));
    }
    if (info(role).vector) {
        BLOOM_OK(check_shape(*tensor, std::array{shape.k}));
    } else {
        BLOOM_OK(check_shape(*tensor, std::array{shape.rows, shape.k}));
    }
    return view;
}

Result<Weights> WeightLoader::load_gguf() {
    return load_all([this](const RoleInfo& role, std::int64_t layer) -> Result<WeightView> {
        const std::string name =
            layer < 0 ? std::string(role.gguf) : fmt::format("blk.{}.{}", layer, role.gguf);
        BLOOM_TRY(WeightView view, plain_view(role.role, name));
        const bool rotated = role.role == Role::wq || role.role == Role::wk ||
                             role.role == Role::bq || role.role == Role::bk;
        if (rotated && config_.arch == Arch::llama) view.order.head_dim = config_.head_dim;
        return view;
    });
}

Result<Weights> WeightLoader::load_hf(const HfQuantization& quantization) {
    Result<Weights> loaded =
        load_all([&](const RoleInfo& role, std::int64_t layer) -> Result<WeightView> {
            const std::string module = layer < 0
                                           ? std::string(role.hf)
                                           : fmt::format("model.layers.{}.{}", layer, role.hf);
            if (!role.vector) return hf_matrix(role.role, module, quantization);
            return plain_view(role.role, fmt::format("{}.{}", module, role.hf_suffix));
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

/// A linear layer or an embedding: plain, or MLX's triple weight, scales, biases. The file decides.
Result<WeightView> WeightLoader::hf_matrix(Role role, const std::string& module,
                                           const HfQuantization& quantization) {
    const std::string name = module + ".weight";
    if (!by_name_.contains(module + ".scales")) {
        const auto it = by_name_.find(name);
        if (it != by_name_.end() && tensors_[it->second].type == StorageType::u32) {
            return Error{Code::corrupt,
                         fmt::format("tensor {} is quantised but {} is missing",
                                     bloom::quoted(name), bloom::quoted(module + ".scales"))};
        }
        return plain_view(role, name);
    }
    const TensorInfo* weight = take(name);
    if (weight == nullptr)
        return Error{Code::corrupt, fmt::format("tensor {} is missing", bloom::quoted(name))};
    BLOOM_OK(check_settings(*weight, module, quantization));
    return affine_view(role, *weight, module);
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
                                             const std::string& module) {
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
    BLOOM_OK(check_shape(weight, std::array{shape.rows, shape.k / kCodesPerWord}));
    BLOOM_OK(check_shape(*scales, std::array{shape.rows, shape.k / kGroup}));
    BLOOM_OK(check_shape(*biases, std::array{shape.rows, shape.k / kGroup}));
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
    view.n_ranges = 3;
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
    return info(role).vector;
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

Result<Weights> load_hf_weights(const ModelConfig& config, const HfQuantization& quantization,
                                std::span<const TensorInfo> tensors) {
    return WeightLoader(config, tensors).load_hf(quantization);
}

} // namespace bloom::engine
