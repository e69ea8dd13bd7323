#pragma once

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace bloom::test {

/// A scalar or an empty container in a JSON text.
struct JsonValue {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::string key;   ///< nearest member it is the value of, or in the array of
    std::string owner; ///< member of the outermost object
};

/// All of a good text, which has no escapes in its keys. Shares nothing with the reader under test.
inline std::vector<JsonValue> json_values(std::string_view text) {
    std::vector<JsonValue> out;
    std::vector<std::string> keys; // of the open containers
    std::string key;
    std::size_t depth = 0;
    std::string owner;
    const auto skip_string = [&](std::size_t i) {
        for (++i; text[i] != '"'; ++i)
            i += text[i] == '\\' ? 1 : 0;
        return i + 1;
    };
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        if (c == '{' || c == '[') {
            keys.push_back(key);
            ++depth;
            ++i;
        } else if (c == '}' || c == ']') {
            key = keys.back();
            keys.pop_back();
            --depth;
            ++i;
        } else if (c == '"') {
            const std::size_t end = skip_string(i);
            std::size_t next = end;
            while (next < text.size() && std::isspace(static_cast<unsigned char>(text[next])) != 0)
                ++next;
            if (next < text.size() && text[next] == ':') {
                key = text.substr(i + 1, end - i - 2);
                if (depth == 1) owner = key;
            } else {
                out.push_back({i, end, key, owner});
            }
            i = end;
        } else if (c == '-' || std::isalnum(static_cast<unsigned char>(c)) != 0) {
            std::size_t end = i;
            while (end < text.size() && text[end] != ',' && text[end] != '}' && text[end] != ']' &&
                   std::isspace(static_cast<unsigned char>(text[end])) == 0)
                ++end;
            out.push_back({i, end, key, owner});
            i = end;
        } else {
            ++i;
        }
    }
    return out;
}

} // namespace bloom::test
