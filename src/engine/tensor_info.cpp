#include <fmt/format.h>

#include <bloom/engine/tensor_info.hpp>

namespace bloom::engine {

std::string_view to_string(StorageType type) noexcept {
    switch (type) {
    case StorageType::f32:
        return "f32";
    case StorageType::f16:
        return "f16";
    case StorageType::bf16:
        return "bf16";
    case StorageType::q8_0:
        return "q8_0";
    case StorageType::f64:
        return "f64";
    case StorageType::i8:
        return "i8";
    case StorageType::i16:
        return "i16";
    case StorageType::i32:
        return "i32";
    case StorageType::i64:
        return "i64";
    case StorageType::u8:
        return "u8";
    case StorageType::u16:
        return "u16";
    case StorageType::u32:
        return "u32";
    case StorageType::u64:
        return "u64";
    case StorageType::boolean:
        return "bool";
    case StorageType::f8_e4m3:
        return "f8_e4m3";
    case StorageType::f8_e5m2:
        return "f8_e5m2";
    case StorageType::f8_e8m0:
        return "f8_e8m0";
    case StorageType::c64:
        return "c64";
    }
    return "?";
}

StorageBlock storage_block(StorageType type) noexcept {
    switch (type) {
    case StorageType::q8_0:
        return {32, 34};
    case StorageType::i8:
    case StorageType::u8:
    case StorageType::boolean:
    case StorageType::f8_e4m3:
    case StorageType::f8_e5m2:
    case StorageType::f8_e8m0:
        return {1, 1};
    case StorageType::f16:
    case StorageType::bf16:
    case StorageType::i16:
    case StorageType::u16:
        return {1, 2};
    case StorageType::f32:
    case StorageType::i32:
    case StorageType::u32:
        return {1, 4};
    case StorageType::f64:
    case StorageType::i64:
    case StorageType::u64:
    case StorageType::c64:
        return {1, 8};
    }
    return {1, 1};
}

std::string shape_text(std::span<const std::int64_t> shape) {
    return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

} // namespace bloom::engine
