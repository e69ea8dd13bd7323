#pragma once

#include <string>
#include <string_view>

/// Looking for words in names.
namespace bloom::fit {

inline std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

inline bool has(std::string_view text, std::string_view word) noexcept {
    return text.find(word) != std::string_view::npos;
}

} // namespace bloom::fit
