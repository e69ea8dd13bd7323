#pragma once

#include <cstdint>

#include <bloom/compute/dtype.hpp>

namespace bloom::compute {

// Handles are indices that only the backend (or plan) that gave them out understands.

/// An intermediate tensor of one plan.
enum class TensorId : std::uint32_t { none = 0xffffffffU };
/// A matrix or vector of weights in backend memory.
enum class WeightId : std::uint32_t { none = 0xffffffffU };
/// A table of rotations in backend memory.
enum class RopeId : std::uint32_t { none = 0xffffffffU };
/// One group's pages of keys and values.
enum class KvPoolId : std::uint32_t { none = 0xffffffffU };
/// A plan made ready to run.
enum class CompiledId : std::uint32_t { none = 0xffffffffU };

template <class Id>
constexpr std::uint32_t index_of(Id id) noexcept {
    return static_cast<std::uint32_t>(id);
}

/// What the first dimension of an intermediate tensor counts: all tokens of the step, or only those
/// whose logits are wanted. Their numbers are step inputs; the plan's key bounds them.
enum class RowKind : std::uint8_t { tokens, logits };

/// Shape [rows of `rows`, cols], row-major; a backend chooses the row stride.
struct TensorDesc {
    DType dtype = DType::f32;
    RowKind rows = RowKind::tokens;
    std::int64_t cols = 0;
};

} // namespace bloom::compute
