#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/text/unicode.hpp>

namespace bloom::test {

struct JsonMember;

/// A JSON text as a tree that keeps the spelling of numbers and the order of members. Shares
/// nothing with the reader of the product; accepts good texts and little else.
struct JsonTree {
    enum class Kind : std::uint8_t { null, boolean, number, string, array, object };
    Kind kind = Kind::null;
    bool truth = false;
    std::string text; ///< of a string, resolved; of a number, as written
    std::vector<JsonTree> items;
    std::vector<JsonMember> members;

    const JsonTree* find(std::string_view key) const;
};

struct JsonMember {
    std::string first;
    JsonTree second;
};

inline const JsonTree* JsonTree::find(std::string_view key) const {
    const JsonTree* out = nullptr;
    for (const auto& [name, value] : members) {
        if (name == key) out = &value;
    }
    return out;
}

class JsonTreeReader {
public:
    static std::optional<JsonTree> read(std::string_view text) {
        JsonTreeReader reader(text);
        JsonTree out;
        if (!reader.value(out)) return std::nullopt;
        reader.space();
        if (reader.at_ != text.size()) return std::nullopt;
        return out;
    }

private:
    explicit JsonTreeReader(std::string_view text) : text_(text) {}

    void space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").contains(text_[at_]))
            ++at_;
    }

    bool take(std::string_view word) {
        if (!text_.substr(at_).starts_with(word)) return false;
        at_ += word.size();
        return true;
    }

    bool value(JsonTree& out) {
        space();
        if (take("null")) return true;
        if (take("true") || take("false")) {
            out.kind = JsonTree::Kind::boolean;
            out.truth = text_[at_ - 2] == 'u';
            return true;
        }
        if (take("\"")) {
            out.kind = JsonTree::Kind::string;
            return string(out.text);
        }
        if (take("[")) return array(out);
        if (take("{")) return object(out);
        return number(out);
    }

    bool digits() {
        const std::size_t from = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9')
            ++at_;
        return at_ > from;
    }

    bool number(JsonTree& out) {
        const std::size_t from = at_;
        take("-");
        if (!take("0") && !digits()) return false;
        if (take(".") && !digits()) return false;
        if (take("e") || take("E")) {
            if (!take("+")) take("-");
            if (!digits()) return false;
        }
        out.kind = JsonTree::Kind::number;
        out.text = text_.substr(from, at_ - from);
        return true;
    }

    bool hex(char32_t& out) {
        out = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const std::size_t d = at_ < text_.size()
                                      ? std::string_view("0123456789abcdefABCDEF").find(text_[at_])
                                      : std::string_view::npos;
            if (d == std::string_view::npos) return false;
            out = out << 4 | static_cast<char32_t>(d < 16 ? d : d - 6);
        }
        return true;
    }

    bool string(std::string& out) {
        while (at_ < text_.size() && text_[at_] != '"') {
            const char c = text_[at_++];
            if (static_cast<unsigned char>(c) < 0x20) return false;
            if (c != '\\') {
                out += c;
                continue;
            }
            if (at_ >= text_.size()) return false;
            const char e = text_[at_++];
            if (e == 'u') {
                char32_t cp = 0;
                char32_t low = 0;
                if (!hex(cp)) return false;
                if (cp >= 0xdc00 && cp < 0xe000) return false;
                if (cp >= 0xd800 && cp < 0xdc00) {
                    if (!take("\\u") || !hex(low) || low < 0xdc00 || low > 0xdfff) return false;
                    cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
                }
                text::append_utf8(out, cp);
                continue;
            }
            const std::size_t i = std::string_view("\"\\/bfnrt").find(e);
            if (i == std::string_view::npos) return false;
            out += "\"\\/\b\f\n\r\t"[i];
        }
        return take("\"");
    }

    bool array(JsonTree& out) {
        out.kind = JsonTree::Kind::array;
        space();
        if (take("]")) return true;
        do {
            if (!value(out.items.emplace_back())) return false;
            space();
        } while (take(","));
        return take("]");
    }

    bool object(JsonTree& out) {
        out.kind = JsonTree::Kind::object;
        space();
        if (take("}")) return true;
        do {
            space();
            std::string key;
            if (!take("\"") || !string(key)) return false;
            space();
            if (!take(":")) return false;
            JsonTree member;
            if (!value(member)) return false;
            out.members.push_back({std::move(key), std::move(member)});
            space();
        } while (take(","));
        return take("}");
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

inline void append_compact_string(std::string& out, std::string_view text) {
    constexpr std::string_view kHex = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const std::size_t named = std::string_view("\"\\\b\f\n\r\t").find(c);
        if (named != std::string_view::npos) {
            out += '\\';
            out += "\"\\bfnrt"[named];
        } else if (byte < 0x20) {
            out += "\\u00";
            out += kHex[byte >> 4];
            out += kHex[byte & 15];
        } else {
            out += c;
        }
    }
    out += '"';
}

/// Without white space, numbers as they were written.
inline void append_compact(std::string& out, const JsonTree& value) {
    switch (value.kind) {
    case JsonTree::Kind::null:
        out += "null";
        break;
    case JsonTree::Kind::boolean:
        out += value.truth ? "true" : "false";
        break;
    case JsonTree::Kind::number:
        out += value.text;
        break;
    case JsonTree::Kind::string:
        append_compact_string(out, value.text);
        break;
    case JsonTree::Kind::array:
        out += '[';
        for (std::size_t i = 0; i < value.items.size(); ++i) {
            if (i > 0) out += ',';
            append_compact(out, value.items[i]);
        }
        out += ']';
        break;
    case JsonTree::Kind::object:
        out += '{';
        for (std::size_t i = 0; i < value.members.size(); ++i) {
            if (i > 0) out += ',';
            append_compact_string(out, value.members[i].first);
            out += ':';
            append_compact(out, value.members[i].second);
        }
        out += '}';
        break;
    }
}

inline std::string compact(const JsonTree& value) {
    std::string out;
    append_compact(out, value);
    return out;
}

} // namespace bloom::test
