#pragma once

#include <cstddef>
#include <cstdint>

namespace bloom::compute {

/// Element types of intermediate tensors. Weights have their own formats (kernels::WeightFormat).
enum class DType : std::uint8_t { f32, f16, bf16, i8, i32 };

constexpr std::size_t size_of(DType t) noexcept {
    switch (t) {
    case DType::f32:
    case DType::i32:
        return 4;
    case DType::f16:
    case DType::bf16:
        return 2;
    case DType::i8:
        return 1;
    }
    return 0;
}

} // namespace bloom::compute
