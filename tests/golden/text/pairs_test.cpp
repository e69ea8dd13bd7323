// Published vocabularies with published inputs and ids: every case must match exactly.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/text/tokenizer.hpp>

#include "support/gguf_vocab.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

class Pairs : public testing::TestWithParam<const char*> {};

TEST_P(Pairs, AllCasesMatch) {
    BLOOM_REQUIRE_DATA("tokenizers");
    const auto stem =
        test::data_dir() / "tokenizers" / (std::string("ggml-vocab-") + GetParam() + ".gguf");
    auto made = Tokenizer::create(test::GgufVocab(stem).spec);
    ASSERT_TRUE(made) << made.error().message();
    const auto cases = test::read_pairs(stem);
    ASSERT_EQ(cases.size(), 46u);
    // Twice: the second round comes from the word cache.
    for (int round = 0; round < 2; ++round) {
        for (const auto& [text, expected] : cases) {
            std::vector<std::int32_t> ids;
            const auto done =
                (*made)->encode(text, {.add_special = false, .parse_special = false}, ids);
            ASSERT_TRUE(done);
            EXPECT_EQ(ids, expected) << quoted(text, 200);
            std::string decoded = (*made)->decode(ids, true);
            if ((*made)->strips_leading_space() && !decoded.empty()) decoded.erase(0, 1);
            EXPECT_EQ(decoded, text);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Pairs,
                         testing::Values("gpt-2", "mpt", "llama-spm", "phi-3", "starcoder",
                                         "refact", "falcon", "deepseek-coder", "deepseek-llm"));

} // namespace
} // namespace bloom::text
