// Real vocabularies under random and hostile texts: nothing crashes, bytes come back, and the work
// stays within a constant times the length (times the logarithm that the heap adds).
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/tokenizer.hpp>
#include <bloom/text/unicode.hpp>

#include "support/gguf_vocab.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

std::shared_ptr<const Tokenizer> load(const char* name) {
    const auto path =
        test::data_dir() / "tokenizers" / (std::string("ggml-vocab-") + name + ".gguf");
    auto made = Tokenizer::create(test::GgufVocab(path).spec);
    EXPECT_TRUE(made);
    return made ? *made : nullptr;
}

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};

std::string decoded(const Tokenizer& t, const std::vector<std::int32_t>& ids) {
    std::string text = t.decode(ids, true);
    if (t.strips_leading_space() && !text.empty()) text.erase(0, 1);
    return text;
}

class Encode : public testing::TestWithParam<const char*> {};

TEST_P(Encode, RandomTextsRoundTrip) {
    BLOOM_REQUIRE_DATA("tokenizers");
    const auto t = load(GetParam());
    Rng rng(41);
    const std::string_view kUnits[] = {
        "the ", "a",      " ",       "  ",     "\n",     "1",          "23",      ".",
        "'s",   "\u00e9", "e\u0301", "\u4e2d", "\u0e01", "\U0001f600", "\t",      "<s>",
        "_",    "ABC",    "\r\n",    "\u2028", "\u3000", "\xff",       "\xe2\x82"};
    // The last two units are ill-formed; a vocabulary may lack the bytes that no UTF-8 text has.
    const std::size_t n_units = std::size(kUnits) - (t->token_id("\xff") ? 0 : 2);
    for (int i = 0; i < 1500; ++i) {
        std::string text;
        for (std::size_t n = rng.below(40); n > 0; --n)
            text += kUnits[rng.below(n_units)];
        std::vector<std::int32_t> ids;
        ASSERT_TRUE(t->encode(text, kPlain, ids));
        ASSERT_EQ(decoded(*t, ids), text);

        // Streaming gives the text of one push, made well-formed.
        std::string streamed;
        Detokenizer stream(t, false);
        for (const std::int32_t id : ids) {
            if (!t->is_control(id)) stream.push(id, streamed);
            ASSERT_TRUE(is_utf8(streamed));
        }
        stream.finish(streamed);
        std::string whole;
        Utf8Stream once;
        once.push(t->decode(ids), whole);
        once.finish(whole);
        ASSERT_EQ(streamed, whole);
    }
}

TEST_P(Encode, HostileTextsStayWithinBounds) {
    BLOOM_REQUIRE_DATA("tokenizers");
    constexpr std::size_t n = std::size_t{1} << 20;
    const auto t = load(GetParam());
    const auto repeat = [](std::string_view unit) {
        std::string text;
        text.reserve(n + unit.size());
        while (text.size() < n)
            text += unit;
        return text;
    };
    std::string base64;
    Rng rng(42);
    static constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    while (base64.size() < n)
        base64 += kDigits[rng.below(64)];
    for (const std::string& text : {repeat("a"), repeat(" "), repeat("\n"), repeat("\u0301"),
                                    base64, repeat("ab"), repeat("\u4e2d\u6587"), repeat("=")}) {
        EncodeStats stats;
        EncodeOptions options = kPlain;
        options.stats = &stats;
        std::vector<std::int32_t> ids;
        ASSERT_TRUE(t->encode(text, options, ids));
        EXPECT_EQ(decoded(*t, ids), text);
        // A pair look-up at the start, two after each merge and an entry per look-up at most; words
        // of up to 32 symbols scan their ranks once per merge. Six stages at most.
        EXPECT_LE(stats.merge_steps, 40 * text.size());
        EXPECT_LE(stats.scan_steps, 60 * text.size());
    }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Encode,
                         testing::Values("gpt-2", "llama-spm", "phi-3", "deepseek-coder"));

} // namespace
} // namespace bloom::text
