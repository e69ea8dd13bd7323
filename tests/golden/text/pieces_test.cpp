// The vocabulary of the golden models of Gemma 4, in both containers, against an encoder that looks
// at every pair of every word: ranks of merges decide and not scores, no text gets a space in front
// and what has no token becomes bytes.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/text/hf_tokenizer.hpp>
#include <bloom/text/tokenizer.hpp>

#include "golden/text/golden_file.hpp"
#include "support/gguf_vocab.hpp"
#include "text/jinja/objects.hpp"

namespace bloom::text {
namespace {

std::filesystem::path models() {
    return std::filesystem::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "engine" / "data";
}

void expect_the_same(const std::filesystem::path& golden_json, VocabSpec vocab) {
    const auto file = jinja::Value::from_json(read_file(golden_json), jinja::Origin::trusted);
    ASSERT_TRUE(file) << golden_json;
    auto made = Tokenizer::create(std::move(vocab));
    ASSERT_TRUE(made) << made.error().message();
    std::size_t n_texts = 0;
    for (const jinja::Value& entry : jinja::items_of(*file->find("texts"))) {
        std::vector<std::int32_t> expected, ids;
        for (const jinja::Value& id : jinja::items_of(*entry.find("ids")))
            expected.push_back(static_cast<std::int32_t>(id.as_integer()));
        const std::string text = text_of(entry, "text");
        ASSERT_TRUE((*made)->encode(text, {.add_special = false, .parse_special = true}, ids));
        EXPECT_EQ(ids, expected) << quoted(text, 200);
        ++n_texts;
    }
    EXPECT_GE(n_texts, 15U);
}

TEST(Pieces, FromGguf) {
    const auto dir = models() / "gemma4-gguf-q8_0";
    const VocabSpec vocab = test::GgufVocab(dir / "model.gguf").spec;
    EXPECT_TRUE(vocab.add_bos.value_or(false));
    expect_the_same(dir / "golden.json", vocab);
}

TEST(Pieces, FromTokenizerJson) {
    for (const char* name : {"gemma4-hf-bf16", "gemma4-mlx-affine8"}) {
        const auto dir = models() / name;
        const std::string json = read_file(dir / "model" / "tokenizer.json");
        auto read = read_hf_tokenizer({.tokenizer_json = json});
        ASSERT_TRUE(read) << read.error().message();
        expect_the_same(dir / "golden.json", std::move(read->vocab));
    }
}

} // namespace
} // namespace bloom::text
