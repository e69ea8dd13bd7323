// Speed of encoding and of the streamed way back. Usage: bloom_bench_text [TOKENIZER_JSON
// [TEXT_FILE]]. Without arguments a small byte-level vocabulary is trained on a generated text
// first, so that the numbers can be had anywhere; they compare builds, not models. One line per
// case: MB/s, tokens/s, share of words from the cache, merge steps per byte. Median of five runs
// after one warm-up.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/rng.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/hf_tokenizer.hpp>
#include <bloom/text/tokenizer.hpp>
#include <bloom/text/unicode.hpp>

namespace {

using namespace bloom::text;
using Ids = std::vector<std::int32_t>;

constexpr std::size_t kTextBytes = std::size_t{4} << 20;

/// Words with a Zipf-like spread out of random syllables, sentences, numbers, some code and
/// accents.
std::string generated_text(std::size_t n_bytes) {
    bloom::Rng rng(1);
    static constexpr std::string_view kSyllables[] = {"ta", "re",  "ion", "st",     "en",
                                                      "al", "ing", "o",   "mer",    "pla",
                                                      "u",  "ver", "qui", "\u00e9", "sch"};
    std::vector<std::string> words;
    for (int i = 0; i < 3000; ++i) {
        std::string word;
        for (std::uint64_t n = 1 + rng.below(4); n > 0; --n) {
            word += kSyllables[rng.below(std::size(kSyllables))];
        }
        words.push_back(std::move(word));
    }
    std::string text;
    while (text.size() < n_bytes) {
        const double u = rng.uniform();
        text += words[static_cast<std::size_t>(u * u * u * static_cast<double>(words.size()))];
        switch (rng.below(24)) {
        case 0:
            text += ".\n\n";
            break;
        case 1:
            text += ", ";
            break;
        case 2:
            text += " " + std::to_string(rng.below(100000)) + " ";
            break;
        case 3:
            text += "();\n    ";
            break;
        default:
            text += ' ';
        }
    }
    return text;
}

std::string spelling(unsigned char byte) {
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const unsigned cp = printable ? b : next++;
        std::string out;
        if (b == byte) {
            append_utf8(out, cp);
            return out;
        }
    }
    return {};
}

/// Plain BPE training: the most frequent pair of neighbours becomes a token, again and again.
VocabSpec trained_spec(std::string_view sample, std::size_t n_merges) {
    VocabSpec spec;
    spec.pre = "llama-bpe";
    spec.ignore_merges = false;
    std::vector<ByteRange> pieces;
    split(*splitters_for_pre(spec.pre), sample, pieces);
    std::map<std::vector<std::string>, std::size_t> words;
    for (const ByteRange p : pieces) {
        std::vector<std::string> word;
        for (std::size_t i = p.begin; i < p.end; ++i) {
            word.push_back(spelling(static_cast<unsigned char>(sample[i])));
        }
        ++words[word];
    }
    for (unsigned b = 0; b < 256; ++b)
        spec.tokens.push_back(spelling(static_cast<unsigned char>(b)));
    while (spec.merges.size() < n_merges) {
        std::map<std::pair<std::string, std::string>, std::size_t> pairs;
        for (const auto& [word, n] : words) {
            for (std::size_t i = 0; i + 1 < word.size(); ++i)
                pairs[{word[i], word[i + 1]}] += n;
        }
        if (pairs.empty()) break;
        const auto best = std::max_element(pairs.begin(), pairs.end(), [](auto& a, auto& b) {
                              return a.second < b.second;
                          })->first;
        spec.merges.push_back(best.first + " " + best.second);
        spec.tokens.push_back(best.first + best.second);
        std::map<std::vector<std::string>, std::size_t> merged;
        for (const auto& [word, n] : words) {
            std::vector<std::string> next;
            for (std::size_t i = 0; i < word.size(); ++i) {
                const bool joins =
                    i + 1 < word.size() && word[i] == best.first && word[i + 1] == best.second;
                next.push_back(joins ? word[i] + word[i + 1] : word[i]);
                if (joins) ++i;
            }
            merged[next] += n;
        }
        words = std::move(merged);
    }
    return spec;
}

template <class Run>
double median_seconds(Run run) {
    run();
    std::vector<double> seconds;
    for (int i = 0; i < 5; ++i) {
        const auto start = std::chrono::steady_clock::now();
        run();
        seconds.push_back(
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[2];
}

void encode_case(const Tokenizer& t, const char* name, const std::string& text) {
    EncodeStats stats;
    EncodeOptions options{.add_special = false};
    Ids ids;
    options.stats = &stats;
    if (!t.encode(text, options, ids)) return;
    options.stats = nullptr;
    const double seconds = median_seconds([&] {
        ids.clear();
        static_cast<void>(t.encode(text, options, ids));
    });
    const auto mb = static_cast<double>(text.size()) / 1e6;
    std::printf(
        "encode %-10s %8.1f MB/s %10.0f tokens/s  cache %5.1f %%  %5.2f steps/byte  (%zu ids)\n",
        name, mb / seconds, static_cast<double>(ids.size()) / seconds,
        100.0 * static_cast<double>(stats.cache_hits) /
            static_cast<double>(std::max<std::uint64_t>(stats.words, 1)),
        static_cast<double>(stats.merge_steps) / static_cast<double>(text.size()), ids.size());
}

void decode_case(const std::shared_ptr<const Tokenizer>& t, const std::string& text) {
    Ids ids;
    if (!t->encode(text, {.add_special = false}, ids)) return;
    std::size_t n_bytes = 0;
    const double seconds = median_seconds([&] {
        Detokenizer stream(t);
        std::string out;
        n_bytes = 0;
        for (const std::int32_t id : ids) {
            out.clear();
            stream.push(id, out);
            n_bytes += out.size();
        }
    });
    std::printf("stream            %8.1f MB/s %10.0f tokens/s\n",
                static_cast<double>(n_bytes) / 1e6 / seconds,
                static_cast<double>(ids.size()) / seconds);
}

std::string read_file(const char* path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string repeated(std::string_view unit) {
    std::string text;
    while (text.size() < kTextBytes)
        text += unit;
    return text;
}

} // namespace

int main(int argc, char** argv) {
    const std::string text = argc > 2 ? read_file(argv[2]) : generated_text(kTextBytes);
    VocabSpec spec;
    if (argc > 1) {
        const std::string json = read_file(argv[1]);
        auto read = read_hf_tokenizer({.tokenizer_json = json});
        if (!read) {
            std::fprintf(stderr, "%s: %s\n", argv[1], std::string(read.error().message()).c_str());
            return 2;
        }
        spec = std::move(read->vocab);
    } else {
        spec = trained_spec(std::string_view(text).substr(0, 100000), 1000);
    }
    const auto made = Tokenizer::create(std::move(spec));
    if (!made) {
        std::fprintf(stderr, "%s\n", std::string(made.error().message()).c_str());
        return 2;
    }
    encode_case(**made, "text", text);
    std::string noise(kTextBytes, '\0');
    bloom::Rng rng(2);
    for (char& c : noise)
        c = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[rng.below(32)];
    encode_case(**made, "noise", noise);
    encode_case(**made, "one letter", repeated("a"));
    encode_case(**made, "spaces", repeated(" "));
    encode_case(**made, "ideographs", repeated("\u4e2d\u6587\u5b57"));
    decode_case(*made, text);
    return 0;
}
