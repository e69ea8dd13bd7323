#include <bloom/base/check.hpp>
#include <bloom/engine/weights.hpp>

#include "engine/weight_loader.hpp"

namespace bloom::engine {

using roles::info;
using roles::Kind;

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

Result<Weights> shape_weights(const ModelConfig& config, kernels::WeightFormat format) {
    return WeightLoader(config, {}).without_file(format);
}

Result<Weights> load_hf_weights(const ModelConfig& config, const HfQuantization& quantization,
                                std::span<const TensorInfo> tensors) {
    return WeightLoader(config, tensors).load_hf(quantization);
}

} // namespace bloom::engine
