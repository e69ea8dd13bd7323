#include "scanners.hpp"

#include <array>

#include <bloom/base/check.hpp>

namespace bloom::text {
namespace {

bool is(const Scan& scan, Char c, ClassMask classes) noexcept {
    return (mask(scan.classify(c)) & classes) != 0;
}

bool is_newline(char32_t cp) noexcept {
    return cp == '\r' || cp == '\n';
}

/// End of the run of characters of these classes; at most `limit` of them.
std::size_t run(const Scan& scan, std::size_t p, ClassMask classes,
                std::size_t limit = ~std::size_t{0}) noexcept {
    for (; p < scan.end && limit > 0; --limit) {
        const Char c = scan.at(p);
        if (!is(scan, c, classes)) break;
        p += c.bytes;
    }
    return p;
}

std::size_t run_outside(const Scan& scan, std::size_t p, ClassMask classes) noexcept {
    while (p < scan.end) {
        const Char c = scan.at(p);
        if (is(scan, c, classes)) break;
        p += c.bytes;
    }
    return p;
}

std::size_t newlines(const Scan& scan, std::size_t p, bool with_slash) noexcept {
    while (p < scan.end) {
        const char c = scan.text[p];
        if (!is_newline(static_cast<unsigned char>(c)) && !(with_slash && c == '/')) break;
        ++p;
    }
    return p;
}

/// One letter of a contraction under (?i:): U+017F is the one other character that folds into
/// ASCII.
char folded(const Scan& scan, std::size_t p, std::size_t& bytes) noexcept {
    if (p >= scan.end) return 0;
    const Char c = scan.at(p);
    bytes = c.bytes;
    if (c.cp == 0x17f) return 's';
    if (c.cp >= 'A' && c.cp <= 'Z') return static_cast<char>(c.cp - 'A' + 'a');
    return c.cp < 0x80 ? static_cast<char>(c.cp) : '\x7f';
}

/// End of 's 't 're 've 'm 'll 'd at p, or p. Any case, or lower case only.
std::size_t contraction(const Scan& scan, std::size_t p, bool any_case) noexcept {
    if (p >= scan.end || scan.text[p] != '\'') return p;
    std::size_t n1 = 0;
    std::size_t n2 = 0;
    const auto letter = [&](std::size_t at, std::size_t& bytes) {
        if (any_case) return folded(scan, at, bytes);
        bytes = 1;
        return at < scan.end ? scan.text[at] : '\0';
    };
    const char first = letter(p + 1, n1);
    switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return p + 1 + n1;
    case 'r':
    case 'v':
        return letter(p + 1 + n1, n2) == 'e' ? p + 1 + n1 + n2 : p;
    case 'l':
        return letter(p + 1 + n1, n2) == 'l' ? p + 1 + n1 + n2 : p;
    default:
        return p;
    }
}

/// White space at p: \s*[\r\n]+ | \s+(?!\S) | \s+, the first alternative only with `newline_rule`.
std::size_t white_space(const Scan& scan, std::size_t p, bool newline_rule) noexcept {
    std::size_t last_newline_end = p;
    std::size_t last_begin = p;
    std::size_t e = p;
    while (e < scan.end) {
        const Char c = scan.at(e);
        if (!is(scan, c, kSpaces)) break;
        last_begin = e;
        e += c.bytes;
        if (is_newline(c.cp)) last_newline_end = e;
    }
    if (newline_rule && last_newline_end != p) return last_newline_end;
    // The last character of a run goes to the word that follows it.
    return e == scan.end || last_begin == p ? e : last_begin;
}

/// Rules 4 to 7 of the Llama 3 family, at a character that starts no word.
std::size_t rest(const Scan& scan, std::size_t p, ClassMask words, std::size_t max_digits,
                 bool with_slash) noexcept {
    const Char c = scan.at(p);
    if (is(scan, c, kNumbers)) return run(scan, p, kNumbers, max_digits);
    const ClassMask not_punct = kSpaces | words | kNumbers;
    const std::size_t start = c.cp == ' ' ? p + 1 : p;
    const std::size_t e = run_outside(scan, start, not_punct);
    if (e != start) return newlines(scan, e, with_slash);
    if (is(scan, c, kSpaces)) return white_space(scan, p, true);
    return p + c.bytes; // not reached: every character is in one of the classes above
}

std::size_t next_llama_family(const Scan& scan, std::size_t p, ClassMask words,
                              std::size_t max_digits) noexcept {
    if (const std::size_t e = contraction(scan, p, true); e != p) return e;
    const Char c = scan.at(p);
    // [^\r\n\p{L}\p{N}]? in front of a word; a mark may be such a prefix and part of the word too.
    if (!is_newline(c.cp) && !is(scan, c, kLetters | kNumbers)) {
        const std::size_t start = p + c.bytes;
        if (const std::size_t e = run(scan, start, words); e != start) return e;
    }
    if (const std::size_t e = run(scan, p, words); e != p) return e;
    return rest(scan, p, words, max_digits, false);
}

constexpr ClassMask kUpper = mask(CharClass::upper, CharClass::title);
constexpr ClassMask kBoth = mask(CharClass::modifier, CharClass::letter, CharClass::mark);
constexpr ClassMask kLower = mask(CharClass::lower);

/// [upper both]*[lower both]+ at q: the longest first part that leaves something for the second.
/// Gives q if it does not match.
std::size_t o200k_lower_body(const Scan& scan, std::size_t q) noexcept {
    std::size_t last_both_end = q;
    std::size_t a = q;
    while (a < scan.end) {
        const Char c = scan.at(a);
        if (!is(scan, c, kUpper | kBoth)) break;
        a += c.bytes;
        if (is(scan, c, kBoth)) last_both_end = a;
    }
    const std::size_t b = run(scan, a, kLower | kBoth);
    return b != a ? b : last_both_end;
}

/// [upper both]+[lower both]* at q, or q.
std::size_t o200k_upper_body(const Scan& scan, std::size_t q) noexcept {
    const std::size_t a = run(scan, q, kUpper | kBoth);
    return a == q ? q : run(scan, a, kLower | kBoth);
}

bool is_ascii_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

} // namespace

std::size_t next_gpt2(const Scan& scan, std::size_t p) noexcept {
    if (const std::size_t e = contraction(scan, p, false); e != p) return e;
    const std::size_t start = scan.text[p] == ' ' ? p + 1 : p;
    if (start < scan.end) {
        const Char c = scan.at(start);
        if (is(scan, c, kLetters)) return run(scan, start, kLetters);
        if (is(scan, c, kNumbers)) return run(scan, start, kNumbers);
        if (!is(scan, c, kSpaces)) return run_outside(scan, start, kSpaces | kLetters | kNumbers);
    }
    return white_space(scan, p, false);
}

std::size_t next_llama3(const Scan& scan, std::size_t p) noexcept {
    return next_llama_family(scan, p, kLetters, 3);
}

std::size_t next_qwen2(const Scan& scan, std::size_t p) noexcept {
    return next_llama_family(scan, p, kLetters, 1);
}

std::size_t next_qwen35(const Scan& scan, std::size_t p) noexcept {
    return next_llama_family(scan, p, kLetters | kMarks, 1);
}

std::size_t next_o200k(const Scan& scan, std::size_t p) noexcept {
    const Char c = scan.at(p);
    const bool prefix = !is_newline(c.cp) && !is(scan, c, kLetters | kNumbers);
    const std::size_t after = p + c.bytes;
    std::size_t e = p;
    if (prefix && after < scan.end) {
        if (const std::size_t body = o200k_lower_body(scan, after); body != after) e = body;
    }
    if (e == p) e = o200k_lower_body(scan, p);
    if (e == p && prefix && after < scan.end) {
        if (const std::size_t body = o200k_upper_body(scan, after); body != after) e = body;
    }
    if (e == p) e = o200k_upper_body(scan, p);
    if (e != p) return contraction(scan, e, true);
    return rest(scan, p, kLetters, 3, true);
}

std::size_t match_afmoe_word(const Scan& scan, std::size_t p) noexcept {
    const Char c = scan.at(p);
    const CharClass cls = scan.classify(c);
    const bool ascii_mark = c.cp < 0x80 && (mask(cls) & (kPuncts | kSymbols)) != 0;
    if (ascii_mark) {
        std::size_t e = p + 1;
        while (e < scan.end && is_ascii_letter(scan.text[e]))
            ++e;
        if (e != p + 1) return e;
    }
    constexpr ClassMask kWord = kLetters | kMarks;
    if (!is_newline(c.cp) && (mask(cls) & (kLetters | kPuncts | kSymbols)) == 0) {
        const std::size_t start = p + c.bytes;
        if (const std::size_t e = run(scan, start, kWord); e != start) return e;
    }
    if (const std::size_t e = run(scan, p, kWord); e != p) return e;
    const std::size_t start = c.cp == ' ' ? p + 1 : p;
    if (const std::size_t e = run(scan, start, kPuncts | kSymbols); e != start) {
        return newlines(scan, e, false);
    }
    return cls == CharClass::space ? white_space(scan, p, true) : p;
}

} // namespace bloom::text
