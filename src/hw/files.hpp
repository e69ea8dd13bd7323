#pragma once

#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace bloom::hw {

/// Kernel files read here are small; anything longer is cut.
inline constexpr std::size_t kFileBytesMax = 4U << 20;

/// The file's contents, or nothing.
inline std::optional<std::string> read_small_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return std::nullopt;
    std::string text;
    char block[4096];
    while (text.size() < kFileBytesMax && (in.read(block, sizeof block) || in.gcount() > 0)) {
        text.append(block, static_cast<std::size_t>(in.gcount()));
    }
    return text;
}

inline std::string_view trimmed(std::string_view text) noexcept {
    constexpr std::string_view kBlank = " \t\r\n";
    const std::size_t first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

/// A whole text that is one decimal number.
template <class T>
std::optional<T> to_number(std::string_view text) noexcept {
    T value{};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return value;
}

} // namespace bloom::hw
