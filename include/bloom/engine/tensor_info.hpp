#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace bloom::engine {

/// How the elements of a tensor lie in a model file.
enum class StorageType : std::uint8_t {
    f32,
    f16,
    bf16,
    q8_0, ///< GGUF blocks of 32: f16 scale, then 32 int8
    f64,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
    boolean,
    f8_e4m3,
    f8_e5m2,
    f8_e8m0,
    c64,
};

/// Lower-case name, as `inspect` and error messages print it.
std::string_view to_string(StorageType type) noexcept;

/// Elements and bytes of the smallest unit that is stored whole: {32, 34} for q8_0, {1, size} else.
struct StorageBlock {
    std::uint32_t elements;
    std::uint32_t bytes;
};

StorageBlock storage_block(StorageType type) noexcept;

inline constexpr int kMaxTensorDims = 8;

/// One tensor of a model file, before anyone gave it a meaning.
/// Shapes: dims[0..n_dims), outermost first, last axis contiguous (GGUF's `ne` reversed).
/// Lifetime: `data` points into the file's mapping and lives as long as the file object.
struct TensorInfo {
    std::string name;
    StorageType type = StorageType::f32;
    int n_dims = 0;
    std::array<std::int64_t, kMaxTensorDims> dims{};
    std::uint32_t file = 0;   ///< index of the part or shard
    std::uint64_t offset = 0; ///< of the first byte, from the start of that file
    std::uint64_t bytes = 0;
    const std::uint8_t* data = nullptr; ///< any alignment

    std::span<const std::int64_t> shape() const noexcept {
        return {dims.data(), static_cast<std::size_t>(n_dims)};
    }
};

/// Lookup by string_view without making a string.
struct StringHash {
    using is_transparent = void;

    std::size_t operator()(std::string_view s) const noexcept {
        return std::hash<std::string_view>{}(s);
    }
};

/// `[128, 64]`, for messages.
std::string shape_text(std::span<const std::int64_t> shape);

} // namespace bloom::engine
