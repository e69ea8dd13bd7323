#include "text/jinja/lexer.hpp"

#include <array>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

#include "text/jinja/objects.hpp"
#include "text/jinja/unicode.hpp"

namespace bloom::text::jinja {
namespace {

/// Line ends become LF and one at the very end goes away.
std::string normalize_newlines(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] != '\r') {
            out += source[i];
            continue;
        }
        out += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

bool is_ascii_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_name_start(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

int hex_digit(char c) noexcept {
    if (is_ascii_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

class Lexer {
public:
    explicit Lexer(std::string source) : source_(std::move(source)) {}

    Result<std::vector<Token>> run() {
        while (at_ < source_.size()) {
            const std::size_t tag = find_tag();
            if (tag == std::string::npos) {
                emit(TokenKind::data, std::string(rest()));
                at_ = source_.size();
                break;
            }
            const char kind = source_[tag + 1];
            const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
            take_data(tag, kind, sign);
            advance(tag);
            if (kind == '#') {
                BLOOM_OK(comment(sign));
            } else if (const auto raw = raw_begin()) {
                advance(*raw);
                BLOOM_OK(raw_body());
            } else {
                BLOOM_OK(tag_body(kind == '%', sign));
            }
            line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
        }
        emit(TokenKind::end, {});
        return std::move(tokens_);
    }

private:
    Error fail(std::string_view what) const {
        return {Code::corrupt, fmt::format("line {}: {}", line_, what)};
    }

    std::string_view rest() const { return std::string_view(source_).substr(at_); }

    bool starts(std::string_view what) const { return rest().starts_with(what); }

    void emit(TokenKind kind, std::string text) {
        if (kind == TokenKind::data && text.empty()) return;
        tokens_.push_back({kind, line_, std::move(text)});
    }

    /// Moves on, counting lines.
    void advance(std::size_t to) {
        for (; at_ < to; ++at_) {
            if (source_[at_] == '\n') ++line_;
        }
    }

    void skip_space() { advance(source_.size() - strip_left(rest()).size()); }

    std::size_t find_tag() const {
        for (std::size_t i = at_; i + 1 < source_.size(); ++i) {
            if (source_[i] != '{') continue;
            const char c = source_[i + 1];
            if (c == '{' || c == '%' || c == '#') return i;
        }
        return std::string::npos;
    }

    /// Text before a tag, cut as `-`, `+` and lstrip_blocks say.
    void take_data(std::size_t tag, char kind, char sign) {
        std::string_view text = std::string_view(source_).substr(at_, tag - at_);
        if (sign == '-') {
            text = strip_right(text);
        } else if (sign != '+' && kind != '{') {
            const std::size_t newline = text.rfind('\n');
            const std::size_t from = newline == std::string_view::npos ? 0 : newline + 1;
            if ((from > 0 || line_starting_) && strip_left(text.substr(from)).empty()) {
                text = text.substr(0, from);
            }
        }
        emit(TokenKind::data, std::string(text));
    }

    /// Behind the end of a block or comment: `-` eats white space, `+` nothing, else one LF goes.
    void after_end(char sign) {
        if (sign == '-') {
            skip_space();
        } else if (sign != '+' && starts("\n")) {
            advance(at_ + 1);
        }
    }

    Result<> comment(char sign) {
        advance(at_ + (sign == '-' || sign == '+' ? 3 : 2));
        const std::size_t end = source_.find("#}", at_);
        if (end == std::string::npos) return fail("missing end of comment tag");
        const char before = end > at_ ? source_[end - 1] : '\0';
        advance(end + 2);
        after_end(before);
        return {};
    }

    /// Position after `word` and the white space around it, from `at`; nothing if it is not there.
    std::optional<std::size_t> word_at(std::size_t at, std::string_view word) const {
        const std::string_view source = source_;
        at = source.size() - strip_left(source.substr(at)).size();
        if (!source.substr(at).starts_with(word)) return std::nullopt;
        at += word.size();
        return source.size() - strip_left(source.substr(at)).size();
    }

    /// Where the text of a raw block begins, if one begins here.
    std::optional<std::size_t> raw_begin() const {
        if (!starts("{%")) return std::nullopt;
        std::size_t at = at_ + 2;
        if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
        const auto end = word_at(at, "raw");
        if (!end) return std::nullopt;
        const std::string_view tail = std::string_view(source_).substr(*end);
        if (tail.starts_with("%}")) return *end + 2;
        if (!tail.starts_with("-%}")) return std::nullopt;
        return source_.size() - strip_left(tail.substr(3)).size();
    }

    Result<> raw_body() {
        for (std::size_t tag = source_.find("{%", at_); tag != std::string::npos;
             tag = source_.find("{%", tag + 1)) {
            const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
            const bool has_sign = sign == '-' || sign == '+';
            const auto end = word_at(tag + (has_sign ? 3 : 2), "endraw");
            if (!end) continue;
            const std::string_view tail = std::string_view(source_).substr(*end);
            const bool closed_sign = tail.starts_with("-%}") || tail.starts_with("+%}");
            if (!closed_sign && !tail.starts_with("%}")) continue;
            line_starting_ = false;
            take_data(tag, '%', sign);
            advance(*end + (closed_sign ? 3 : 2));
            after_end(closed_sign ? tail.front() : '\0');
            return {};
        }
        return fail("missing end of raw directive");
    }

    Result<> tag_body(bool block, char sign) {
        emit(block ? TokenKind::block_begin : TokenKind::variable_begin, {});
        advance(at_ + (sign == '-' || sign == '+' ? 3 : 2));
        const std::string_view close = block ? "%}" : "}}";
        open_.clear();
        for (;;) {
            skip_space();
            if (at_ >= source_.size()) return fail("unexpected end of template inside a tag");
            if (open_.empty()) {
                const bool minus = starts("-") && rest().substr(1).starts_with(close);
                const bool plus = block && starts("+") && rest().substr(1).starts_with(close);
                if (minus || plus || starts(close)) {
                    emit(block ? TokenKind::block_end : TokenKind::variable_end, {});
                    advance(at_ + (minus || plus ? 3 : 2));
                    if (block) {
                        after_end(minus ? '-' : plus ? '+' : '\0');
                    } else if (minus) {
                        skip_space();
                    }
                    return {};
                }
            }
            BLOOM_OK(token());
        }
    }

    Result<> token() {
        const char c = source_[at_];
        if (is_ascii_digit(c)) return number();
        if (is_name_start(c)) {
            std::size_t end = at_ + 1;
            while (end < source_.size() &&
                   (is_name_start(source_[end]) || is_ascii_digit(source_[end]))) {
                ++end;
            }
            emit(TokenKind::name, source_.substr(at_, end - at_));
            at_ = end;
            return {};
        }
        if (c == '\'' || c == '"') return string(c);
        return operator_token();
    }

    /// Digits with single underscores between them, from `at`; the end.
    std::size_t digits(std::size_t at) const {
        std::size_t end = at;
        while (end < source_.size() &&
               (is_ascii_digit(source_[end]) ||
                (source_[end] == '_' && end > at && source_[end - 1] != '_' &&
                 end + 1 < source_.size() && is_ascii_digit(source_[end + 1])))) {
            ++end;
        }
        return end;
    }

    static std::string without_underscores(std::string_view text) {
        std::string out;
        for (const char c : text) {
            if (c != '_') out += c;
        }
        return out;
    }

    Result<> number() {
        if (source_[at_] == '0' && at_ + 1 < source_.size()) {
            const char mark = source_[at_ + 1];
            const int base = mark == 'x' || mark == 'X'   ? 16
                             : mark == 'o' || mark == 'O' ? 8
                             : mark == 'b' || mark == 'B' ? 2
                                                          : 0;
            if (base != 0) return based_integer(base);
        }
        std::size_t end = digits(at_);
        bool floating = false;
        // After a dot, 1.2 is two subscripts rather than a fraction.
        if (at_ == 0 || source_[at_ - 1] != '.') {
            if (end + 1 < source_.size() && source_[end] == '.' &&
                is_ascii_digit(source_[end + 1])) {
                end = digits(end + 1);
                floating = true;
            }
            if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
                std::size_t power = end + 1;
                if (power < source_.size() && (source_[power] == '+' || source_[power] == '-'))
                    ++power;
                if (power < source_.size() && is_ascii_digit(source_[power])) {
                    end = digits(power);
                    floating = true;
                }
            }
        }
        std::string text = without_underscores(std::string_view(source_).substr(at_, end - at_));
        if (!floating && text.size() > 1 && text.front() == '0' &&
            text.find_first_not_of('0') != std::string::npos) {
            return fail("a decimal integer must not begin with 0");
        }
        emit(floating ? TokenKind::floating : TokenKind::integer, std::move(text));
        at_ = end;
        return {};
    }

    Result<> based_integer(int base) {
        std::size_t end = at_ + 2;
        std::string text;
        for (; end < source_.size(); ++end) {
            if (source_[end] == '_') continue;
            const int digit = hex_digit(source_[end]);
            if (digit < 0 || digit >= base) break;
            text += source_[end];
        }
        std::int64_t value = 0;
        const auto [last, error] =
            std::from_chars(text.data(), text.data() + text.size(), value, base);
        if (error != std::errc{} || last != text.data() + text.size()) return fail("bad integer");
        emit(TokenKind::integer, fmt::format("{}", value));
        at_ = end;
        return {};
    }

    Result<> string(char quote) {
        std::size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote) {
            end += source_[end] == '\\' ? 2 : 1;
        }
        if (end >= source_.size()) return fail("a string is not closed");
        const std::uint32_t line = line_;
        BLOOM_TRY(std::string text,
                  unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
        tokens_.push_back({TokenKind::string, line, std::move(text)});
        advance(end + 1);
        return {};
    }

    /// Python's escapes inside string literals.
    Result<std::string> unescape(std::string_view raw) const {
        static constexpr std::string_view kNames = "\\'\"abfnrtv";
        static constexpr std::string_view kMeant = "\\'\"\a\b\f\n\r\t\v";
        std::string out;
        for (std::size_t i = 0; i < raw.size(); ++i) {
            if (raw[i] != '\\' || i + 1 >= raw.size()) {
                out += raw[i];
                continue;
            }
            const char name = raw[++i];
            if (const std::size_t known = kNames.find(name); known != std::string_view::npos) {
                out += kMeant[known];
            } else if (name == '\n') {
                // a line continued
            } else if (name >= '0' && name <= '7') {
                char32_t value = 0;
                std::size_t n = 0;
                for (; n < 3 && i + n < raw.size() && raw[i + n] >= '0' && raw[i + n] <= '7'; ++n) {
                    value = value * 8 + static_cast<char32_t>(raw[i + n] - '0');
                }
                append_utf8(out, value);
                i += n - 1;
            } else if (name == 'x' || name == 'u' || name == 'U') {
                const std::size_t n = name == 'x' ? 2 : name == 'u' ? 4 : 8;
                char32_t value = 0;
                for (std::size_t k = 1; k <= n; ++k) {
                    const int digit = i + k < raw.size() ? hex_digit(raw[i + k]) : -1;
                    if (digit < 0) return fail("bad escape in a string");
                    value = value << 4 | static_cast<char32_t>(digit);
                }
                if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
                    return fail("an escape names no character");
                }
                append_utf8(out, value);
                i += n;
            } else if (name == 'N') {
                return fail("named characters are not supported");
            } else {
                out += '\\';
                out += name;
            }
        }
        return out;
    }

    Result<> operator_token() {
        static constexpr std::array<std::string_view, 7> kTwo{
            "//", "**", "==", "!=", ">=", "<=", ""};
        static constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
        for (const std::string_view two : kTwo) {
            if (two.empty() || !starts(two)) continue;
            emit(TokenKind::op, std::string(two));
            at_ += 2;
            return {};
        }
        const char c = source_[at_];
        if (kOne.find(c) == std::string_view::npos) {
            return fail(fmt::format("unexpected character {}", quoted({&c, 1})));
        }
        if (c == '(' || c == '[' || c == '{') open_ += c;
        if (c == ')' || c == ']' || c == '}') {
            const char expected = c == ')' ? '(' : c == ']' ? '[' : '{';
            if (open_.empty() || open_.back() != expected) {
                return fail(fmt::format("unexpected '{}'", c));
            }
            open_.pop_back();
        }
        emit(TokenKind::op, std::string(1, c));
        ++at_;
        return {};
    }

    std::string source_;
    std::size_t at_ = 0;
    std::uint32_t line_ = 1;
    bool line_starting_ = true;
    std::string open_; ///< brackets of the tag that are not closed
    std::vector<Token> tokens_;
};

} // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
    return Lexer(normalize_newlines(source)).run();
}

} // namespace bloom::text::jinja
