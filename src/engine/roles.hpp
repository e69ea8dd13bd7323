#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <bloom/engine/weights.hpp>

/// What every role is called in each family and container, which roles a model has, and the shapes
/// they must have.
namespace bloom::engine::roles {

enum class Kind : std::uint8_t { vector, matrix, experts };

/// Names without layer prefix: `blk.N.<gguf>`, `model.layers.N.<hf>.<hf_suffix>`; an empty suffix
/// means that the tensor is called as the module.
struct Names {
    std::string_view gguf; ///< with suffix
    std::string_view hf;   ///< module path
    std::string_view hf_suffix = "weight";
};

struct RoleInfo {
    Role role;
    std::string_view name;
    bool per_layer;
    Kind kind;
};

/// By Role.
std::span<const RoleInfo> all() noexcept;
const RoleInfo& info(Role role) noexcept;
Names names(Role role, Arch arch) noexcept;

/// Whether a model of this configuration has the role; in layer `layer`, for roles of layers.
bool is_wanted(Role role, const ModelConfig& config, std::int64_t layer) noexcept;

struct MatrixShape {
    std::int64_t rows;
    std::int64_t k;
};

/// [rows, k] of a matrix role or of one expert, {1, length} of a vector role.
MatrixShape expected_shape(Role role, const ModelConfig& config, std::int64_t layer) noexcept;

} // namespace bloom::engine::roles
