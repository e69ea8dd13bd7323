#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace bloom {

static_assert(std::endian::native == std::endian::little,
              "darkbloom runs on little-endian hosts only");

using ByteSpan = std::span<const std::uint8_t>;
using MutableByteSpan = std::span<std::uint8_t>;

inline ByteSpan as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string_view as_text(ByteSpan bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads a little-endian integer or float at any alignment; the caller has checked the size.
template <class T>
    requires std::is_trivially_copyable_v<T>
T load_le(const void* at) noexcept {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

/// Reads up to eight bytes as one big-endian number.
inline std::uint64_t load_be(ByteSpan in) noexcept {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : in)
        value = value << 8 | byte;
    return value;
}

/// a * b or nothing on overflow: sizes from files and peers go through here.
template <std::unsigned_integral T>
std::optional<T> checked_mul(T a, T b) noexcept {
    T out;
    if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
    return out;
}

/// a + b or nothing on overflow.
template <std::unsigned_integral T>
std::optional<T> checked_add(T a, T b) noexcept {
    T out;
    if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
    return out;
}

} // namespace bloom
