#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <bloom/crypto/digest.hpp>
#include <bloom/text/pretokenizer.hpp>
#include <bloom/text/published_tokenizers.hpp>

#include "support/test_data.hpp"

namespace bloom::text {
namespace {

using Ids = std::vector<std::int32_t>;

/// Bytes as themselves, in the GPT-2 alphabet, then added tokens under the ids that are asked for.
struct Added {
    std::int32_t id;
    const char* text;
};

VocabSpec bytes_and(const std::vector<Added>& added) {
    VocabSpec spec;
    spec.pre = "qwen35";
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const unsigned cp = printable ? b : next++;
        std::string spelled;
        if (cp < 0x80) {
            spelled = static_cast<char>(cp);
        } else {
            spelled += static_cast<char>(0xc0 | cp >> 6);
            spelled += static_cast<char>(0x80 | (cp & 0x3f));
        }
        spec.tokens.push_back(spelled);
    }
    spec.types.assign(256, TokenType::normal);
    for (const Added& token : added) {
        const auto size = static_cast<std::size_t>(token.id) + 1;
        spec.tokens.resize(std::max(spec.tokens.size(), size));
        spec.types.resize(spec.tokens.size(), TokenType::unused);
        spec.tokens[size - 1] = token.text;
        spec.types[size - 1] = TokenType::control;
    }
    return spec;
}

TEST(PublishedTokenizers, TheFingerprintIsTheHashOfTheIds) {
    const auto plain = Tokenizer::create(bytes_and({})).value();
    Ids ids;
    for (const char c : tokenizer_check_text())
        ids.push_back(static_cast<unsigned char>(c));
    EXPECT_EQ(tokenizer_fingerprint(*plain),
              crypto::sha256_hex(fmt::format("[{}]", fmt::join(ids, ", "))));
    VocabSpec spec = bytes_and({{256, "<s>"}});
    spec.bos_id = 256;
    spec.add_bos = true;
    ids.insert(ids.begin(), 256);
    EXPECT_EQ(tokenizer_fingerprint(*Tokenizer::create(spec).value()),
              crypto::sha256_hex(fmt::format("[{}]", fmt::join(ids, ", "))));
    EXPECT_EQ(find_published(tokenizer_fingerprint(*plain)), nullptr);
}

TEST(PublishedTokenizers, TheTextIsTheLastOfThePublishedCases) {
    EXPECT_EQ(crypto::sha256_hex(tokenizer_check_text()),
              "a36179c1e2b1cfcfbfad1dc779addad2ffc778201e4cf0d538bddeafa2c526da");
}

TEST(PublishedTokenizers, TheTableFitsItself) {
    for (const PublishedTokenizer& known : published_tokenizers()) {
        EXPECT_EQ(find_published(known.fingerprint), &known);
        EXPECT_EQ(known.fingerprint.size(), 64U);
        if (known.pre != "gemma4") EXPECT_TRUE(splitters_for_pre(known.pre)) << known.pre;
    }
    EXPECT_EQ(find_published(""), nullptr);
}

// The ids that were published for the text, without the vocabularies they are from.
TEST(PublishedTokenizers, FingerprintsAreThoseOfThePublishedIds) {
    BLOOM_REQUIRE_DATA("tokenizers");

    struct Row {
        const char* file;
        std::vector<std::string> before; ///< BOS
        const char* name;
    };

    const Row rows[] = {{"afmoe", {"0"}, "arcee-ai/Trinity-Tokenizer"},
                        {"minimax-m2", {}, "MiniMaxAI/MiniMax-M2"},
                        {"gemma-4", {"2"}, "Gemma"},
                        {"qwen2", {}, "Qwen2"},
                        {"llama-bpe", {"128000"}, "Meta-Llama-3-8B"},
                        {"gpt-2", {}, "gpt2"}};
    for (const Row& row : rows) {
        const auto path =
            test::data_dir() / "tokenizers" / (std::string("ggml-vocab-") + row.file + ".gguf.out");
        std::ifstream in(path);
        std::string line;
        constexpr int kCase = 46; // the last one that all files have
        for (int i = 0; i < kCase; ++i)
            ASSERT_TRUE(std::getline(in, line)) << path;
        std::vector<std::string> ids = row.before;
        std::istringstream words(line);
        ids.insert(ids.end(), std::istream_iterator<std::string>(words), {});
        const auto* known =
            find_published(crypto::sha256_hex(fmt::format("[{}]", fmt::join(ids, ", "))));
        ASSERT_NE(known, nullptr) << row.file;
        EXPECT_EQ(known->name, row.name);
    }
}

TEST(PublishedTokenizers, KnownVectorsFindWhatIsWrong) {
    EXPECT_TRUE(known_vectors(*Tokenizer::create(bytes_and({})).value()).empty());
    // The right specials with letters as bytes: every vector fails.
    const auto qwen = Tokenizer::create(bytes_and({{248045, "<|im_start|>"}})).value();
    EXPECT_EQ(known_vectors(*qwen).size(), 2U);
    EXPECT_EQ(failing_vectors(*qwen).size(), 2U);
    // Words that are single tokens: the first one is right.
    VocabSpec spec = bytes_and({{248044, "<|endoftext|>"},
                                {248045, "<|im_start|>"},
                                {248046, "<|im_end|>"},
                                {248068, "<think>"}});
    for (const auto& [id, text] : {Added{846, "user"}, Added{74455, "assistant"}}) {
        spec.tokens[static_cast<std::size_t>(id)] = text;
        spec.types[static_cast<std::size_t>(id)] = TokenType::normal;
    }
    spec.tokens[198].swap(spec.tokens[10]); // the line feed has that id there
    spec.ignore_merges = true;              // whole words, as if they had been merged
    const auto right = Tokenizer::create(spec).value();
    EXPECT_TRUE(failing_vectors(*right).empty());
    spec.tokens[846] = "users";
    const auto wrong = failing_vectors(*Tokenizer::create(spec).value());
    ASSERT_EQ(wrong.size(), 1U);
    EXPECT_EQ(wrong[0].text, "<|im_start|>user\n");
}

// What each family's splits make of the same texts.
TEST(Pretokenizer, TheFamiliesSideBySide) {
    using Pieces = std::vector<std::string>;

    struct Row {
        const char* text;
        Pieces llama3, qwen2, qwen35, o200k, afmoe;
    };

    const std::string e = "e\u0301";
    const Row rows[] = {
        {"I'm you'RE",
         {"I", "'m", " you", "'RE"},
         {"I", "'m", " you", "'RE"},
         {"I", "'m", " you", "'RE"},
         {"I'm", " you'RE"},
         {"I", "'m", " you", "'RE"}},
        {"  \n  x",
         {"  \n", " ", " x"},
         {"  \n", " ", " x"},
         {"  \n", " ", " x"},
         {"  \n", " ", " x"},
         {"  \n", " ", " x"}},
        {"x1234567y",
         {"x", "123", "456", "7", "y"},
         {"x", "1", "2", "3", "4", "5", "6", "7", "y"},
         {"x", "1", "2", "3", "4", "5", "6", "7", "y"},
         {"x", "123", "456", "7", "y"},
         {"x", "1", "234", "567", "y"}},
        {"THE quickBrown iOS9",
         {"THE", " quickBrown", " iOS", "9"},
         {"THE", " quickBrown", " iOS", "9"},
         {"THE", " quickBrown", " iOS", "9"},
         {"THE", " quick", "Brown", " i", "OS", "9"},
         {"THE", " quickBrown", " iOS", "9"}},
        {"a/b\n//c\n",
         {"a", "/b", "\n", "//", "c", "\n"},
         {"a", "/b", "\n", "//", "c", "\n"},
         {"a", "/b", "\n", "//", "c", "\n"},
         {"a", "/b", "\n", "//", "c", "\n"},
         {"a", "/b", "\n", "//", "c", "\n"}},
        {"$3.14!!\n\n",
         {"$", "3", ".", "14", "!!\n\n"},
         {"$", "3", ".", "1", "4", "!!\n\n"},
         {"$", "3", ".", "1", "4", "!!\n\n"},
         {"$", "3", ".", "14", "!!\n\n"},
         {"$", "3", ".", "14", "!!\n\n"}},
        {"\tif x:\n\t\ty",
         {"\tif", " x", ":\n", "\t", "\ty"},
         {"\tif", " x", ":\n", "\t", "\ty"},
         {"\tif", " x", ":\n", "\t", "\ty"},
         {"\tif", " x", ":\n", "\t", "\ty"},
         {"\tif", " x", ":\n", "\t", "\ty"}},
        {"a  1",
         {"a", " ", " ", "1"},
         {"a", " ", " ", "1"},
         {"a", " ", " ", "1"},
         {"a", " ", " ", "1"},
         {"a", "  ", "1"}},
        {"don't_stop",
         {"don", "'t", "_stop"},
         {"don", "'t", "_stop"},
         {"don", "'t", "_stop"},
         {"don't", "_stop"},
         {"don", "'t", "_stop"}},
        {"e\u0301te\u0301",
         {"e", "\u0301te", "\u0301"},
         {"e", "\u0301te", "\u0301"},
         {"e\u0301te\u0301"},
         {"e\u0301te\u0301"},
         {"e\u0301te\u0301"}},
    };
    const auto pieces = [](std::string_view pre, std::string_view text) {
        std::vector<ByteRange> ranges;
        split(splitters_for_pre(pre).value(), text, ranges);
        Pieces out;
        for (const ByteRange& range : ranges)
            out.emplace_back(text.substr(range.begin, range.end - range.begin));
        return out;
    };
    for (const Row& row : rows) {
        EXPECT_EQ(pieces("llama-bpe", row.text), row.llama3) << row.text;
        EXPECT_EQ(pieces("qwen2", row.text), row.qwen2) << row.text;
        EXPECT_EQ(pieces("qwen35", row.text), row.qwen35) << row.text;
        EXPECT_EQ(pieces("minimax-m2", row.text), row.o200k) << row.text;
        EXPECT_EQ(pieces("afmoe", row.text), row.afmoe) << row.text;
    }
}

} // namespace
} // namespace bloom::text
