#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/pretokenizer.hpp>
#include <bloom/text/unicode.hpp>

#include "scanners.hpp"

namespace bloom::text {
namespace {

struct Range32 {
    char32_t first;
    char32_t last;
};

constexpr bool in_order(std::span<const Range32> ranges) {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        if (ranges[i].first > ranges[i].last) return false;
        if (i > 0 && ranges[i - 1].last >= ranges[i].first) return false;
    }
    return true;
}

bool contains(std::span<const Range32> ranges, char32_t cp) noexcept {
    const auto it = std::upper_bound(ranges.begin(), ranges.end(), cp,
                                     [](char32_t c, const Range32& r) { return c < r.first; });
    return it != ranges.begin() && cp <= std::prev(it)->last;
}

// The script blocks that AFMoE isolates. Two ranges that published copies carry damaged by a
// normalisation of the source text stand here as they were meant: Thai starts at U+0E00, and the
// compatibility ideographs at U+F900, not at U+8C48.
constexpr std::array kAfmoeScripts{
    Range32{0x0e00, 0x0e7f}, Range32{0x0e80, 0x0eff}, Range32{0x1000, 0x109f},
    Range32{0x1100, 0x11ff}, Range32{0x1780, 0x17ff}, Range32{0x2f00, 0x2fdf},
    Range32{0x3040, 0x309f}, Range32{0x30a0, 0x30ff}, Range32{0x3400, 0x4dbf},
    Range32{0x4e00, 0x9fff}, Range32{0xa9e0, 0xa9ff}, Range32{0xaa60, 0xaa7f},
    Range32{0xac00, 0xd7af}, Range32{0xf900, 0xfaff}, Range32{0xff65, 0xff9f}};
static_assert(in_order(kAfmoeScripts));

// [一-龥ࠀ-一가-퟿] of the DeepSeek tokenizers.
constexpr std::array kDeepseekCjk{Range32{0x0800, 0x9fa5}, Range32{0xac00, 0xd7ff}};
static_assert(in_order(kDeepseekCjk));

// The letters with case that the DeepSeek LLM tokenizer lists one by one. Characters of the list
// that have another canonical form (U+1F7D, U+1FBE, U+1FD3, U+1FDB, U+2126, U+212A) are meant as
// such.
constexpr std::array kDeepseekLetters = std::to_array<Range32>({
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},
    {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},
    {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x376},     {0x377, 0x377},
    {0x37b, 0x37d},     {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},
    {0x38c, 0x38c},     {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},
    {0x48a, 0x52f},     {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},
    {0x13f8, 0x13fd},   {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},
    {0x1d6b, 0x1d77},   {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},
    {0x1f20, 0x1f45},   {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},
    {0x1f5b, 0x1f5b},   {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},
    {0x1fb6, 0x1fbc},   {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},
    {0x1fd0, 0x1fd3},   {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},
    {0x1ff6, 0x1ffc},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},
    {0x2115, 0x2115},   {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},
    {0x213c, 0x213f},   {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2183},
    {0x2184, 0x2184},   {0x2c00, 0x2c7b},   {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},
    {0x2cf2, 0x2cf2},   {0x2cf3, 0x2cf3},   {0xa640, 0xa66d},   {0xa680, 0xa69b},
    {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},   {0xab70, 0xabbf},
    {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},   {0xff41, 0xff5a},
    {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2},
    {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
});
static_assert(in_order(kDeepseekLetters));

// [!-/:-~！-／：-～‘-‟　-。]
constexpr std::array kDeepseekPunctuation{Range32{0x21, 0x2f},     Range32{0x3a, 0x7e},
                                          Range32{0x2018, 0x201f}, Range32{0x3000, 0x3002},
                                          Range32{0xff01, 0xff0f}, Range32{0xff1a, 0xff5e}};
static_assert(in_order(kDeepseekPunctuation));

/// What a stage works on: one piece, and where its parts go.
struct Stage {
    Scan scan;
    std::vector<ByteRange>& out;

    void emit(std::size_t begin, std::size_t end) const {
        if (begin != end) out.push_back({begin, end});
    }
};

/// Applies a pattern that matches somewhere at every place: `next` gives the end of the match at p.
template <class Next>
void split_all(const Stage& stage, Next next) {
    for (std::size_t p = stage.scan.begin; p < stage.scan.end;) {
        const std::size_t e = next(stage.scan, p);
        BLOOM_DCHECK(e > p && e <= stage.scan.end);
        stage.emit(p, e);
        p = e;
    }
}

/// Isolates matches and keeps what lies between them as pieces: `match` gives p itself for "none
/// here". A failing match may look at no more than two characters.
template <class Match>
void isolate(const Stage& stage, Match match) {
    std::size_t gap = stage.scan.begin;
    for (std::size_t p = gap; p < stage.scan.end;) {
        const std::size_t e = match(stage.scan, p);
        if (e == p) {
            p += stage.scan.at(p).bytes;
            continue;
        }
        stage.emit(gap, p);
        stage.emit(p, e);
        gap = p = e;
    }
    stage.emit(gap, stage.scan.end);
}

/// End of the run of characters that satisfy `is`, from p on.
template <class Is>
std::size_t run_of(const Scan& scan, std::size_t p, Is is) {
    while (p < scan.end) {
        const Char c = scan.at(p);
        if (!is(c.cp)) break;
        p += c.bytes;
    }
    return p;
}

/// `\s?` and a run of `is`.
template <class Is>
std::size_t spaced_run(const Scan& scan, std::size_t p, Is is) {
    const Char c = scan.at(p);
    const std::size_t start = (mask(scan.classify(c)) & kSpaces) != 0 ? p + c.bytes : p;
    const std::size_t e = run_of(scan, start, is);
    if (e != start) return e;
    // White space may itself belong to `is` (U+3000 among DeepSeek's punctuation).
    return start == p ? p : run_of(scan, p, is);
}

auto in(std::span<const Range32> ranges) {
    return [ranges](char32_t cp) { return contains(ranges, cp); };
}

auto in(const Scan& scan, ClassMask classes) {
    return [&scan, classes](char32_t cp) { return (mask(scan.classify({cp, 1})) & classes) != 0; };
}

/// Digits in threes from the right: the first group takes what is left over.
void afmoe_digits(const Stage& stage) {
    std::size_t gap = stage.scan.begin;
    for (std::size_t p = gap; p < stage.scan.end;) {
        std::size_t n = 0;
        std::size_t e = p;
        while (e < stage.scan.end) {
            const Char c = stage.scan.at(e);
            if ((mask(stage.scan.classify(c)) & kNumbers) == 0) break;
            e += c.bytes;
            ++n;
        }
        if (n == 0) {
            p += stage.scan.at(p).bytes;
            continue;
        }
        stage.emit(gap, p);
        std::size_t group = n % 3 == 0 ? 3 : n % 3;
        while (p < e) {
            const std::size_t begin = p;
            for (; group > 0; --group)
                p += stage.scan.at(p).bytes;
            stage.emit(begin, p);
            group = 3;
        }
        gap = e;
    }
    stage.emit(gap, stage.scan.end);
}

void trailing_space(const Stage& stage) {
    std::size_t space = stage.scan.begin; // start of the white space that reaches p
    for (std::size_t p = space; p < stage.scan.end;) {
        const Char c = stage.scan.at(p);
        p += c.bytes;
        if ((mask(stage.scan.classify(c)) & kSpaces) == 0) space = p;
    }
    stage.emit(stage.scan.begin, space);
    stage.emit(space, stage.scan.end);
}

std::size_t digits_three(const Scan& scan, std::size_t p) {
    if (scan.end - p < 3) return p;
    for (std::size_t i = 0; i < 3; ++i) {
        const char c = scan.text[p + i];
        if (c < '0' || c > '9') return p;
    }
    return p + 3;
}

/// Runs of punctuation in the sense of Falcon and of the GGUF runtime's default.
std::size_t punctuation(const Scan& scan, std::size_t p, std::string_view symbols) {
    return run_of(scan, p, [&](char32_t cp) {
        return (mask(scan.classify({cp, 1})) & kPuncts) != 0 ||
               (cp < 0x80 && symbols.find(static_cast<char>(cp)) != std::string_view::npos);
    });
}

std::size_t single(const Scan& scan, std::size_t p, ClassMask classes) {
    const Char c = scan.at(p);
    return (mask(scan.classify(c)) & classes) != 0 ? p + c.bytes : p;
}

void apply(Splitter splitter, const Stage& stage) {
    switch (splitter) {
    case Splitter::gpt2:
        return split_all(stage, next_gpt2);
    case Splitter::llama3:
        return split_all(stage, next_llama3);
    case Splitter::qwen2:
        return split_all(stage, next_qwen2);
    case Splitter::qwen35:
        return split_all(stage, next_qwen35);
    case Splitter::o200k:
        return split_all(stage, next_o200k);
    case Splitter::afmoe_words:
        return isolate(stage, match_afmoe_word);
    case Splitter::afmoe_digits:
        return afmoe_digits(stage);
    case Splitter::trailing_space:
        return trailing_space(stage);
    case Splitter::afmoe_scripts:
        return isolate(
            stage, [](const Scan& s, std::size_t p) { return run_of(s, p, in(kAfmoeScripts)); });
    case Splitter::digits_single:
        return isolate(stage, [](const Scan& s, std::size_t p) { return single(s, p, kNumbers); });
    case Splitter::digits_run:
        return isolate(stage,
                       [](const Scan& s, std::size_t p) { return run_of(s, p, in(s, kNumbers)); });
    case Splitter::digits_three:
        return isolate(stage, digits_three);
    case Splitter::falcon_punctuation:
        return isolate(stage,
                       [](const Scan& s, std::size_t p) { return punctuation(s, p, "$+<=>^~|`"); });
    case Splitter::default_punctuation:
        return isolate(stage,
                       [](const Scan& s, std::size_t p) { return punctuation(s, p, "$+<=>^~|"); });
    case Splitter::newline_single:
        return isolate(stage, [](const Scan& s, std::size_t p) {
            return s.text[p] == '\r' || s.text[p] == '\n' ? p + 1 : p;
        });
    case Splitter::space_letters:
        return isolate(
            stage, [](const Scan& s, std::size_t p) { return spaced_run(s, p, in(s, kLetters)); });
    case Splitter::space_punctuation:
        return isolate(
            stage, [](const Scan& s, std::size_t p) { return spaced_run(s, p, in(s, kPuncts)); });
    case Splitter::cjk_run:
        return isolate(stage,
                       [](const Scan& s, std::size_t p) { return run_of(s, p, in(kDeepseekCjk)); });
    case Splitter::deepseek_letters:
        return isolate(stage, [](const Scan& s, std::size_t p) {
            return spaced_run(s, p, in(kDeepseekLetters));
        });
    case Splitter::deepseek_punctuation:
        return isolate(stage, [](const Scan& s, std::size_t p) {
            return spaced_run(s, p, in(kDeepseekPunctuation));
        });
    }
}

struct NamedStages {
    std::string_view pre;
    std::array<Splitter, 6> stages;
    std::size_t n_stages;
};

template <class... Splitters>
constexpr NamedStages named(std::string_view pre, Splitters... stages) {
    return {pre, {stages...}, sizeof...(stages)};
}

constexpr std::array kPres{
    named("gpt-2", Splitter::gpt2),
    named("gpt2", Splitter::gpt2),
    named("mpt", Splitter::gpt2),
    named("olmo", Splitter::gpt2),
    named("llama-bpe", Splitter::llama3),
    named("llama3", Splitter::llama3),
    named("llama-v3", Splitter::llama3),
    named("qwen2", Splitter::qwen2),
    named("deepseek-r1-qwen", Splitter::qwen2),
    named("qwen35", Splitter::qwen35),
    named("gpt-4o", Splitter::o200k),
    named("llama4", Splitter::o200k),
    named("minimax-m2", Splitter::o200k),
    named("afmoe", Splitter::afmoe_digits, Splitter::afmoe_scripts, Splitter::afmoe_words),
    named("starcoder", Splitter::digits_single, Splitter::gpt2),
    named("refact", Splitter::digits_single, Splitter::gpt2),
    named("command-r", Splitter::digits_single, Splitter::gpt2),
    named("smollm", Splitter::digits_single, Splitter::gpt2),
    named("falcon", Splitter::falcon_punctuation, Splitter::gpt2, Splitter::digits_three),
    named("deepseek-coder", Splitter::newline_single, Splitter::space_letters,
          Splitter::space_punctuation, Splitter::cjk_run, Splitter::digits_single),
    named("deepseek-llm", Splitter::newline_single, Splitter::deepseek_letters,
          Splitter::deepseek_punctuation, Splitter::trailing_space, Splitter::cjk_run,
          Splitter::digits_run),
    named("default", Splitter::default_punctuation, Splitter::gpt2, Splitter::digits_run,
          Splitter::digits_three),
};

struct NamedRegex {
    std::string_view regex;
    Splitter splitter;
};

// As the published tokenizer.json files spell them.
constexpr std::array kRegexes{
    NamedRegex{R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
               Splitter::gpt2},
    NamedRegex{R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
               Splitter::gpt2},
    NamedRegex{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?)"
               R"([^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               Splitter::llama3},
    NamedRegex{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?)"
               R"([^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               Splitter::qwen2},
    NamedRegex{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?)"
               R"([^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               Splitter::qwen35},
    NamedRegex{R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
               R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
               R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?)"
               R"([^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               Splitter::o200k},
    NamedRegex{R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?)"
               R"([\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               Splitter::afmoe_words},
    // Threes from the right: what is left of a run of digits is a multiple of three.
    NamedRegex{R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))", Splitter::afmoe_digits},
    NamedRegex{R"(\p{N}{1,3}(?=(\p{N}{3})*(?!\p{N})))", Splitter::afmoe_digits},
    NamedRegex{"[0-9][0-9][0-9]", Splitter::digits_three},
    NamedRegex{R"(\p{N})", Splitter::digits_single},
    NamedRegex{R"(\p{N}+)", Splitter::digits_run},
    NamedRegex{"[\r\n]", Splitter::newline_single},
    NamedRegex{R"([\r\n])", Splitter::newline_single},
    NamedRegex{R"(\s?\p{L}+)", Splitter::space_letters},
    NamedRegex{R"(\s?\p{P}+)", Splitter::space_punctuation},
    NamedRegex{R"(\s+$)", Splitter::trailing_space},
    NamedRegex{"[一-龥ࠀ-一가-퟿]+", Splitter::cjk_run},
};

} // namespace

Result<std::vector<Splitter>> splitters_for_pre(std::string_view pre) {
    for (const NamedStages& known : kPres) {
        if (known.pre != pre) continue;
        return std::vector<Splitter>(known.stages.begin(),
                                     known.stages.begin() +
                                         static_cast<std::ptrdiff_t>(known.n_stages));
    }
    return Error{Code::unsupported, "the pre-tokenizer " + quoted(pre) + " is not known"};
}

std::optional<Splitter> splitter_for_regex(std::string_view regex) noexcept {
    for (const NamedRegex& known : kRegexes) {
        if (known.regex == regex) return known.splitter;
    }
    return std::nullopt;
}

std::uint64_t split(std::span<const Splitter> stages, std::string_view text,
                    std::vector<ByteRange>& pieces) {
    std::uint64_t steps = 0;
    pieces.clear();
    if (!text.empty()) pieces.push_back({0, text.size()});
    std::vector<ByteRange> finer;
    for (const Splitter splitter : stages) {
        finer.clear();
        // Each stage sees a piece as if it were the whole text: look-ahead stops at its end.
        for (const ByteRange piece : pieces) {
            apply(splitter, {{text, piece.begin, piece.end, steps, CharTable::instance()}, finer});
        }
        pieces.swap(finer);
    }
    return steps;
}

} // namespace bloom::text
