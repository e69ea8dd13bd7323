#include "text/grammar/regex_syntax.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <bloom/text/unicode.hpp>

/// ECMA-262 22.2.1, flag u, with the lenient readings of annex B that patterns rely on: a brace or
/// a closing bracket that means nothing stands for itself, as does an escaped punctuation mark.
namespace bloom::text::schema {
namespace {

constexpr std::uint32_t kMaxCount = 10'000;

class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    Result<Regex> read() {
        BLOOM_TRY(Regex out, choice(0));
        if (at_ < text_.size()) return wrong("a ')' without its '('");
        return out;
    }

private:
    static Error wrong(std::string what) { return Error{Code::invalid_argument, std::move(what)}; }

    static Error refused(std::string what) { return Error{Code::unsupported, std::move(what)}; }

    bool more() const { return at_ < text_.size(); }

    char peek(std::size_t ahead = 0) const {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
    }

    bool take(std::string_view word) {
        if (!text_.substr(at_).starts_with(word)) return false;
        at_ += word.size();
        return true;
    }

    char32_t next_char() {
        const Char c = decode_char(text_, at_);
        at_ += c.bytes;
        return c.cp;
    }

    static Regex set_of(CodePoints ranges) {
        Regex out;
        out.kind = Regex::Kind::set;
        out.set = normalised(std::move(ranges));
        return out;
    }

    Result<Regex> choice(int depth) {
        if (depth > kMaxPatternDepth) return Error{Code::too_large, "groups too deep"};
        Regex out;
        out.kind = Regex::Kind::choice;
        do {
            BLOOM_TRY(Regex part, sequence(depth));
            out.parts.push_back(std::move(part));
        } while (take("|"));
        if (out.parts.size() == 1) {
            Regex only = std::move(out.parts[0]);
            return only;
        }
        return out;
    }

    Result<Regex> sequence(int depth) {
        Regex out;
        out.kind = Regex::Kind::sequence;
        while (more() && peek() != '|' && peek() != ')') {
            BLOOM_TRY(Regex part, atom(depth));
            BLOOM_OK(quantify(part));
            out.parts.push_back(std::move(part));
        }
        return out;
    }

    Result<Regex> atom(int depth) {
        Regex out;
        if (take("^")) {
            out.kind = Regex::Kind::begin;
            return out;
        }
        if (take("$")) {
            out.kind = Regex::Kind::end;
            return out;
        }
        if (take("(")) return group(depth);
        if (take("[")) return bracket();
        if (take(".")) {
            return set_of(complement(CodePoints{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
        }
        if (peek() == '*' || peek() == '+' || peek() == '?') return wrong("nothing to repeat");
        if (take("\\")) {
            BLOOM_TRY(CodePoints ranges, escape(false));
            return set_of(std::move(ranges));
        }
        const char32_t c = next_char();
        return set_of({{c, c}});
    }

    Result<Regex> group(int depth) {
        if (take("?")) {
            if (peek() == '=' || peek() == '!') return refused("lookahead");
            if (peek() == '<' && (peek(1) == '=' || peek(1) == '!')) return refused("lookbehind");
            if (take("<")) {
                const std::size_t end = text_.find('>', at_);
                if (end == std::string_view::npos || end == at_) return wrong("a group's name");
                at_ = end + 1;
            } else if (!take(":")) {
                return refused("a group with flags");
            }
        }
        BLOOM_TRY(Regex out, choice(depth + 1));
        if (!take(")")) return wrong("a '(' without its ')'");
        return out;
    }

    Result<> quantify(Regex& part) {
        std::uint32_t least = 0;
        std::uint32_t most = kUnbounded;
        if (take("*")) {
        } else if (take("+")) {
            least = 1;
        } else if (take("?")) {
            most = 1;
        } else if (!counts(least, most)) {
            return {};
        }
        take("?"); // lazy or not: the same texts
        if (part.kind == Regex::Kind::begin || part.kind == Regex::Kind::end) {
            return wrong("an anchor cannot be repeated");
        }
        if (least > most) return wrong("numbers out of order in {}");
        if (least > kMaxCount || (most != kUnbounded && most > kMaxCount)) {
            return Error{Code::too_large, "a count beyond " + std::to_string(kMaxCount)};
        }
        Regex whole;
        whole.kind = Regex::Kind::repeat;
        whole.least = least;
        whole.most = most;
        whole.parts.push_back(std::move(part));
        part = std::move(whole);
        if (peek() == '*' || peek() == '+' || peek() == '?') return wrong("nothing to repeat");
        return {};
    }

    std::optional<std::uint32_t> number(std::size_t& at) const {
        if (at >= text_.size() || text_[at] < '0' || text_[at] > '9') return std::nullopt;
        std::uint32_t value = 0;
        for (; at < text_.size() && text_[at] >= '0' && text_[at] <= '9'; ++at)
            value =
                std::min(value * 10 + static_cast<std::uint32_t>(text_[at] - '0'), kMaxCount + 1);
        return value;
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else stays where it is.
    bool counts(std::uint32_t& least, std::uint32_t& most) {
        if (peek() != '{') return false;
        std::size_t at = at_ + 1;
        const auto low = number(at);
        if (!low) return false;
        std::uint32_t high = *low;
        if (at < text_.size() && text_[at] == ',') {
            ++at;
            high = number(at).value_or(kUnbounded);
        }
        if (at >= text_.size() || text_[at] != '}') return false;
        at_ = at + 1;
        least = *low;
        most = high;
        return true;
    }

    /// After the `[`.
    Result<Regex> bracket() {
        const bool negated = take("^");
        CodePoints ranges;
        while (more() && peek() != ']') {
            BLOOM_TRY(CodePoints first, class_atom());
            const bool range = peek() == '-' && at_ + 1 < text_.size() && peek(1) != ']';
            if (range && first.size() == 1 && first[0].first == first[0].last) {
                take("-");
                BLOOM_TRY(const CodePoints last, class_atom());
                if (last.size() != 1 || last[0].first != last[0].last) {
                    return wrong("a class as the end of a range");
                }
                if (last[0].first < first[0].first) return wrong("a range out of order");
                ranges.push_back({first[0].first, last[0].first});
                continue;
            }
            ranges.insert(ranges.end(), first.begin(), first.end());
        }
        if (!take("]")) return wrong("a '[' without its ']'");
        ranges = normalised(std::move(ranges));
        return set_of(negated ? complement(ranges) : std::move(ranges));
    }

    Result<CodePoints> class_atom() {
        if (take("\\")) return escape(true);
        const char32_t c = next_char();
        return CodePoints{{c, c}};
    }

    std::optional<char32_t> hex(std::size_t n) {
        char32_t value = 0;
        if (at_ + n > text_.size()) return std::nullopt;
        for (std::size_t i = 0; i < n; ++i) {
            const auto digit = hex_digit(text_[at_ + i]);
            if (!digit) return std::nullopt;
            value = value << 4 | *digit;
        }
        at_ += n;
        return value;
    }

    static std::optional<char32_t> hex_digit(char c) {
        if (c >= '0' && c <= '9') return static_cast<char32_t>(c - '0');
        if (c >= 'a' && c <= 'f') return static_cast<char32_t>(c - 'a' + 10);
        if (c >= 'A' && c <= 'F') return static_cast<char32_t>(c - 'A' + 10);
        return std::nullopt;
    }

    /// After the backslash.
    Result<CodePoints> escape(bool in_class) {
        if (!more()) return wrong("a backslash at the end");
        const char32_t cp = next_char();
        const char c = cp < 0x80 ? static_cast<char>(cp) : '\0';
        switch (c) {
        case 'd':
        case 'w':
        case 's':
            return class_of(c);
        case 'D':
        case 'W':
        case 'S':
            return complement(class_of(static_cast<char>(c - 'A' + 'a')));
        case 't':
            return one('\t');
        case 'n':
            return one('\n');
        case 'v':
            return one('\v');
        case 'f':
            return one('\f');
        case 'r':
            return one('\r');
        case 'b':
            if (in_class) return one('\b');
            return refused("\\b (word boundary)");
        case 'B':
            return refused("\\B (word boundary)");
        case 'k':
            return refused("\\k (backreference)");
        case 'c':
            return control();
        case 'x':
            if (const auto value = hex(2)) return one(*value);
            return wrong("\\x without two digits");
        case 'u':
            return unicode();
        case 'p':
        case 'P':
            return property(c == 'P');
        case '0':
            if (peek() < '0' || peek() > '9') return one(0);
            return wrong("an octal escape");
        default:
            break;
        }
        if (c >= '1' && c <= '9') return refused("\\1 (backreference)");
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (letter) return wrong(std::string("\\") + c + " is no escape");
        return one(cp);
    }

    static CodePoints one(char32_t cp) { return {{cp, cp}}; }

    Result<CodePoints> control() {
        const char c = peek();
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter) return wrong("\\c without a letter");
        ++at_;
        return one(static_cast<char32_t>(c) % 32);
    }

    Result<CodePoints> unicode() {
        if (take("{")) {
            char32_t value = 0;
            std::size_t n = 0;
            for (; more() && peek() != '}'; ++n) {
                const auto digit = hex_digit(peek());
                if (!digit || value > kLastCodePoint) return wrong("\\u{} without a code point");
                value = value << 4 | *digit;
                ++at_;
            }
            if (!take("}") || n == 0 || value > kLastCodePoint) {
                return wrong("\\u{} without a code point");
            }
            return one(value);
        }
        const auto high = hex(4);
        if (!high) return wrong("\\u without four digits");
        if (*high >= 0xd800 && *high < 0xdc00 && peek() == '\\' && peek(1) == 'u') {
            const std::size_t back = at_;
            at_ += 2;
            const auto low = hex(4);
            if (low && *low >= 0xdc00 && *low < 0xe000) {
                return one(0x10000 + ((*high - 0xd800) << 10) + (*low - 0xdc00));
            }
            at_ = back;
        }
        return one(*high);
    }

    Result<CodePoints> property(bool negated) {
        const std::size_t end = text_.find('}', at_);
        if (!take("{") || end == std::string_view::npos) return wrong("\\p without a property");
        const std::string_view name = text_.substr(at_, end - at_);
        at_ = end + 1;
        const CodePoints* ranges = category(name);
        if (ranges == nullptr) {
            return refused("\\p{" + std::string(name.substr(0, 40)) +
                           "} (only general categories are known)");
        }
        return negated ? complement(*ranges) : *ranges;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

} // namespace

Result<Regex> parse_regex(std::string_view pattern) {
    return Reader(pattern).read();
}

} // namespace bloom::text::schema
