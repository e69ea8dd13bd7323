#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/tokenizer.hpp>
#include <bloom/text/unicode.hpp>

namespace bloom::text {
namespace {

using Ids = std::vector<std::int32_t>;

/// Spelling of a byte in the GPT-2 alphabet, by its definition.
std::string spelled(unsigned byte) {
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const unsigned cp = printable ? b : next++;
        if (b != byte) continue;
        std::string out;
        append_utf8(out, cp);
        return out;
    }
    return {};
}

/// Ids 0..255 are the bytes; then a few merges; then added tokens.
VocabSpec byte_spec() {
    VocabSpec spec;
    spec.pre = "qwen2";
    for (unsigned b = 0; b < 256; ++b)
        spec.tokens.push_back(spelled(b));
    for (const char* token : {"he", "ll", "hell", "hello", "\u0120hello"})
        spec.tokens.push_back(token);
    spec.merges = {"h e", "l l", "he ll", "hell o", "\u0120 hello"};
    spec.types.assign(spec.tokens.size(), TokenType::normal);
    const auto add = [&](const char* text, TokenType type) {
        spec.tokens.push_back(text);
        spec.types.push_back(type);
        return static_cast<std::int32_t>(spec.tokens.size() - 1);
    };
    spec.bos_id = add("<s>", TokenType::control);        // 261
    spec.eos_id = add("<|im_end|>", TokenType::control); // 262
    add("<think>", TokenType::user_defined);             // 263
    add("[PAD264]", TokenType::unused);
    add("", TokenType::unused);
    add("<|im_end|>x", TokenType::user_defined); // 266: longer than a control token
    return spec;
}

std::shared_ptr<const Tokenizer> make(VocabSpec spec) {
    auto made = Tokenizer::create(std::move(spec));
    EXPECT_TRUE(made) << (made ? "" : made.error().message());
    return made ? *made : nullptr;
}

Ids encode(const Tokenizer& t, std::string_view text, const EncodeOptions& options = {}) {
    Ids ids;
    EXPECT_TRUE(t.encode(text, options, ids));
    EXPECT_EQ(*t.count(text, options), ids.size());
    return ids;
}

TEST(Tokenizer, MergesByRank) {
    const auto t = make(byte_spec());
    EXPECT_EQ(encode(*t, "hello hello"), (Ids{259, 260}));
    EXPECT_EQ(encode(*t, "hell"), (Ids{258}));
    EXPECT_EQ(encode(*t, ""), Ids{});
    EXPECT_EQ(t->decode(Ids{259, 260}), "hello hello");
    EXPECT_EQ(t->n_tokens(), 267);
}

TEST(Tokenizer, AddedTokensByKind) {
    const auto t = make(byte_spec());
    EXPECT_EQ(encode(*t, "he<|im_end|>he"), (Ids{256, 262, 256}));
    EXPECT_EQ(encode(*t, "he<think>"), (Ids{256, 263}));
    // Control tokens are text where specials are not parsed, user-defined ones never.
    const Ids plain = encode(*t, "<think><s>", {.parse_special = false});
    EXPECT_EQ(plain, (Ids{263, '<', 's', '>'}));
    // The longest at a place; unused ones are no tokens.
    EXPECT_EQ(encode(*t, "<|im_end|>x"), (Ids{266}));
    EXPECT_EQ(encode(*t, "[PAD264]").size(), 8u);
}

TEST(Tokenizer, UserTextDoesNotBecomeControl) {
    const auto t = make(byte_spec());
    const std::string text = "<|im_end|>he<|im_end|>";
    const ByteRange user[] = {{12, text.size()}};
    const Ids ids = encode(*t, text, {.user_ranges = user});
    EXPECT_EQ(ids.front(), 262);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 262), 1);
    EXPECT_EQ(t->decode(ids, true), text);
    // One byte from a user is enough, on either side.
    for (const ByteRange range : {ByteRange{0, 1}, ByteRange{9, 10}, ByteRange{4, 5}}) {
        const Ids touched = encode(*t, "<|im_end|>", {.user_ranges = {&range, 1}});
        EXPECT_EQ(touched.size(), 10u);
    }
    const ByteRange empty{4, 4};
    EXPECT_EQ(encode(*t, "<|im_end|>", {.user_ranges = {&empty, 1}}), (Ids{262}));
    // A control token that may not match does not hide a user-defined one.
    const ByteRange all{0, 11};
    EXPECT_EQ(encode(*t, "<|im_end|>x", {.user_ranges = {&all, 1}}), (Ids{266}));
    // Merges go across the border of a range as if there were none.
    const ByteRange inside{2, 4};
    EXPECT_EQ(encode(*t, "hello", {.user_ranges = {&inside, 1}}), (Ids{259}));

    Ids out;
    const ByteRange wrong[] = {{3, 5}, {1, 2}};
    EXPECT_EQ(t->encode("hello", {.user_ranges = wrong}, out).error().code(),
              Code::invalid_argument);
    const ByteRange beyond{3, 6};
    EXPECT_FALSE(t->encode("hello", {.user_ranges = {&beyond, 1}}, out));
}

TEST(Tokenizer, BosAndEos) {
    VocabSpec spec = byte_spec();
    spec.add_bos = true;
    spec.add_eos = true;
    const auto t = make(std::move(spec));
    EXPECT_EQ(encode(*t, "he"), (Ids{261, 256, 262}));
    EXPECT_EQ(encode(*t, ""), (Ids{261, 262}));
    EXPECT_EQ(encode(*t, "he", {.add_special = false}), (Ids{256}));
    EXPECT_EQ(encode(*t, "<s>he"), (Ids{261, 256, 262}));  // not twice
    EXPECT_EQ(encode(*t, "<s><s>"), (Ids{261, 261, 262})); // what was written beyond that stays
    EXPECT_EQ(encode(*t, "<s>he", {.add_special = false}), (Ids{261, 256}));
    EXPECT_TRUE(t->adds_bos());
    Ids appended{7};
    ASSERT_TRUE(t->encode("he", {}, appended));
    EXPECT_EQ(appended, (Ids{7, 261, 256, 262}));
}

TEST(Tokenizer, RulesOfAddedTokens) {
    VocabSpec spec = byte_spec();
    spec.added_rules = {{.id = 263, .single_word = true},
                        {.id = 262, .lstrip = true, .rstrip = true}};
    const auto t = make(std::move(spec));
    EXPECT_EQ(encode(*t, "he \n<|im_end|> \u3000he"), (Ids{256, 262, 256}));
    EXPECT_EQ(encode(*t, " <think> "), (Ids{' ', 263, ' '}));
    EXPECT_EQ(encode(*t, "a<think>").size(), 8u);
    EXPECT_EQ(encode(*t, "<think>\u00e9").size(), 9u);
    EXPECT_EQ(encode(*t, "<think>_").size(), 8u);
}

TEST(Tokenizer, NfcForQwenOnly) {
    const auto qwen = make(byte_spec());
    EXPECT_EQ(qwen->decode(encode(*qwen, "e\u0301")), "\u00e9");
    VocabSpec spec = byte_spec();
    spec.pre = "llama-bpe";
    const auto llama = make(std::move(spec));
    EXPECT_EQ(llama->decode(encode(*llama, "e\u0301")), "e\u0301");
    VocabSpec off = byte_spec();
    off.normalize_nfc = false;
    const auto plain = make(std::move(off));
    EXPECT_EQ(plain->decode(encode(*plain, "e\u0301")), "e\u0301");
}

TEST(Tokenizer, TokensAfterNormalisation) {
    VocabSpec spec = byte_spec();
    spec.tokens.push_back("\u00e9\u00e9");
    spec.types.push_back(TokenType::control);
    spec.added_rules = {{.id = 267, .normalized = true}};
    const auto t = make(std::move(spec));
    EXPECT_EQ(encode(*t, "e\u0301e\u0301"), (Ids{267}));
    const ByteRange range{0, 1};
    EXPECT_EQ(encode(*t, "e\u0301e\u0301", {.user_ranges = {&range, 1}}).size(), 4u);
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
    VocabSpec spec = byte_spec();
    spec.pre = "llama-bpe";
    spec.tokens[256] = "xyz"; // not reachable by merges
    spec.merges = {"l l"};
    const auto t = make(std::move(spec));
    EXPECT_EQ(encode(*t, "xyz"), (Ids{261, 256})); // Llama 3 wants BOS
    EXPECT_EQ(encode(*t, "hello", {.add_special = false}), (Ids{259}));
}

TEST(Tokenizer, AnyBytesRoundTrip) {
    const auto t = make(byte_spec());
    std::string bytes;
    for (unsigned b = 0; b < 256; ++b)
        bytes += static_cast<char>(255 - b);
    EXPECT_EQ(t->decode(encode(*t, bytes)), bytes);
}

TEST(Tokenizer, LooksUpTokens) {
    const auto t = make(byte_spec());
    EXPECT_EQ(t->token_id("hello"), 259);
    EXPECT_EQ(t->token_id(" hello"), 260);
    EXPECT_EQ(t->token_id("<|im_end|>"), 262);
    EXPECT_EQ(t->token_id("nothing"), std::nullopt);
    EXPECT_EQ(t->token_id(""), std::nullopt);
    EXPECT_EQ(t->bytes_of(260), " hello");
    EXPECT_EQ(t->bytes_of(264), "");
    EXPECT_EQ(t->bytes_of(-1), "");
    EXPECT_EQ(t->bytes_of(99999), ""); // embeddings have more rows than vocabularies have tokens
    EXPECT_TRUE(t->is_control(262));
    EXPECT_FALSE(t->is_control(263));
    EXPECT_EQ(t->type_of(99999), TokenType::unused);
    EXPECT_EQ(t->decode(Ids{262, 256}), "he");
    EXPECT_EQ(t->decode(Ids{262, 256}, true), "<|im_end|>he");
    const auto texts = t->special_token_texts();
    EXPECT_EQ((std::vector<std::string_view>(texts.begin(), texts.end())),
              (std::vector<std::string_view>{"<s>", "<|im_end|>"}));
}

TEST(Tokenizer, StopIds) {
    VocabSpec spec = byte_spec();
    spec.eot_id = 261;
    const auto stops = [](const Tokenizer& t) {
        return Ids(t.stop_ids().begin(), t.stop_ids().end());
    };
    EXPECT_EQ(stops(*make(spec)), (Ids{261, 262}));
    EXPECT_TRUE(make(spec)->is_stop(262));
    EXPECT_FALSE(make(spec)->is_stop(256));
    spec.eos_id = -1;
    EXPECT_EQ(stops(*make(spec)), (Ids{261, 262})); // by its text
    spec.stop_ids = {263, 261, 263};
    EXPECT_EQ(stops(*make(spec)), (Ids{261, 263})); // the authoritative list alone
    spec.more_stop_ids = {262, 261};                // another file's, together with it
    EXPECT_EQ(stops(*make(spec)), (Ids{261, 262, 263}));
    // A token of that spelling that is ordinary text does not stop anything.
    VocabSpec plain = byte_spec();
    plain.eos_id = -1;
    plain.tokens[256] = "<eos>";
    plain.merges = {"l l"};
    EXPECT_EQ(stops(*make(plain)), (Ids{262}));
}

// Gemma's configuration names <eos> and <turn|>, its generation settings sometimes the third.
TEST(Tokenizer, GemmaAlwaysStopsWhereItHandsOver) {
    VocabSpec spec = byte_spec();
    spec.tokens.insert(spec.tokens.end(), {"<eos>", "<turn|>", "<|tool_response>", "<|im_end|>z"});
    spec.types.insert(spec.types.end(), {TokenType::control, TokenType::control,
                                         TokenType::user_defined, TokenType::control});
    spec.stop_ids = {267, 268};
    const auto t = make(spec);
    EXPECT_EQ(Ids(t->stop_ids().begin(), t->stop_ids().end()), (Ids{267, 268, 269}));
    EXPECT_FALSE(t->is_stop(262)); // another family's
}

TEST(Tokenizer, SuppressedIdsAreSortedAndChecked) {
    VocabSpec spec = byte_spec();
    spec.suppress_ids = {263, 7, 263};
    const auto t = make(spec);
    EXPECT_EQ(Ids(t->suppressed_ids().begin(), t->suppressed_ids().end()), (Ids{7, 263}));
    EXPECT_TRUE(make(byte_spec())->suppressed_ids().empty());
    spec.suppress_ids = {99'999};
    EXPECT_EQ(Tokenizer::create(spec).error().code(), Code::corrupt);
}

TEST(Tokenizer, BadSpecsAreErrors) {
    const auto code = [](auto change) {
        VocabSpec spec = byte_spec();
        change(spec);
        const auto made = Tokenizer::create(std::move(spec));
        return made ? Code::internal : made.error().code();
    };
    EXPECT_EQ(code([](VocabSpec& s) { s.pre = "martian"; }), Code::unsupported);
    EXPECT_EQ(code([](VocabSpec& s) { s.pre.clear(); }), Code::unsupported);
    EXPECT_EQ(code([](VocabSpec& s) { s.merges.push_back("q zz"); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.merges.push_back("q z"); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.merges.push_back("single"); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.merges.push_back(""); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.merges.push_back("q "); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.types.pop_back(); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.types[3] = static_cast<TokenType>(9); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.bos_id = 99999; }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.stop_ids = {-1}; }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.more_stop_ids = {5000}; }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.added_rules = {{.id = 5000}}; }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.tokens.clear(); }), Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) {
                  s.add_bos = true;
                  s.bos_id = -1;
              }),
              Code::corrupt);
    EXPECT_EQ(code([](VocabSpec& s) { s.tokens[263].assign(kMaxAddedTokenBytes + 1, 'x'); }),
              Code::too_large);
    EXPECT_EQ(code([](VocabSpec& s) { s.kind = VocabKind::spm; }), Code::corrupt); // no scores
    EXPECT_EQ(vocab_kind_from_gguf("bert").error().code(), Code::unsupported);
}

/// A character vocabulary: bytes as <0xHH>, characters, merges with U+2581.
VocabSpec char_spec(bool with_bytes) {
    VocabSpec spec;
    spec.kind = VocabKind::char_bpe;
    spec.tokens = {"<unk>", "<bos>", "\u2581", "a", "b", "ab", "\u2581ab", "\n", "\n\n", "\u00e9"};
    spec.types.assign(spec.tokens.size(), TokenType::normal);
    spec.types[0] = TokenType::unknown;
    spec.types[1] = TokenType::control;
    spec.merges = {"a b", "\u2581 ab", "\n \n"};
    spec.unk_id = 0;
    spec.bos_id = 1;
    for (unsigned b = 0; with_bytes && b < 256; ++b) {
        const std::uint8_t byte = static_cast<std::uint8_t>(b);
        std::string hex = to_hex({&byte, 1});
        for (char& c : hex)
            c = c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
        spec.tokens.push_back("<0x" + hex + ">");
        spec.types.push_back(TokenType::byte);
    }
    return spec;
}

TEST(Tokenizer, CharacterVocabulary) {
    const auto t = make(char_spec(true));
    EXPECT_EQ(encode(*t, "ab ab\n\n\u00e9"), (Ids{1, 5, 6, 8, 9}));
    EXPECT_EQ(encode(*t, "\u2581ab", {.add_special = false}), (Ids{6})); // the mark means a space
    EXPECT_EQ(encode(*t, "\u20ac", {.add_special = false}), (Ids{10 + 0xe2, 10 + 0x82, 10 + 0xac}));
    EXPECT_EQ(encode(*t, "\xff", {.add_special = false}), (Ids{10 + 0xff}));
    EXPECT_EQ(t->decode(encode(*t, "a\u20ac b\xff")), "a\u20ac b\xff");
    EXPECT_FALSE(t->strips_leading_space());
    EXPECT_EQ(t->bytes_of(10 + 0xe2), "\xe2");
}

TEST(Tokenizer, UnknownCharactersFuse) {
    const auto t = make(char_spec(false));
    EXPECT_EQ(encode(*t, "axyb", {.add_special = false}), (Ids{3, 0, 4}));
    // Also across parts that were seen before and came from the cache.
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(encode(*t, "x", {.add_special = false}), (Ids{0}));
        EXPECT_EQ(encode(*t, "ya", {.add_special = false}), (Ids{0, 3}));
        EXPECT_EQ(encode(*t, "xya", {.add_special = false}), (Ids{0, 3}));
    }
}

TEST(Tokenizer, SpacePrefix) {
    VocabSpec spec = char_spec(true);
    spec.space_prefix = SpacePrefix::always;
    const auto always = make(spec);
    EXPECT_EQ(encode(*always, "ab<bos>ab"), (Ids{1, 6, 1, 6}));
    spec.space_prefix = SpacePrefix::first;
    EXPECT_EQ(encode(*make(spec), "ab<bos>ab"), (Ids{1, 6, 1, 5}));
    EXPECT_EQ(encode(*always, "", {.add_special = false}), Ids{});

    // The prefix does not show in an answer, but in a continuation it does.
    std::string answer;
    Detokenizer d(always);
    for (const std::int32_t id : {6, 1, 6})
        d.push(id, answer);
    d.finish(answer);
    EXPECT_EQ(answer, "ab ab");
    std::string continuation;
    Detokenizer raw(always, false);
    raw.push(6, continuation);
    EXPECT_EQ(continuation, " ab");
}

TEST(Tokenizer, SentencePieceByScore) {
    VocabSpec spec;
    spec.kind = VocabKind::spm;
    spec.tokens = {"<unk>", "<s>", "\u2581", "a", "b", "c", "ab", "bc", "xy"};
    spec.types.assign(spec.tokens.size(), TokenType::normal);
    spec.types[0] = TokenType::unknown;
    spec.types[1] = TokenType::control;
    spec.scores = {0, 0, -1, -2, -3, -4, -6, -5, -7};
    spec.unk_id = 0;
    spec.bos_id = 1;
    spec.space_prefix = SpacePrefix::never;
    const auto t = make(spec);
    EXPECT_EQ(encode(*t, "abc", {.add_special = false}), (Ids{3, 7})); // bc scores above ab
    EXPECT_EQ(encode(*t, "ab", {.add_special = false}), (Ids{6}));
    // x and y are no tokens, together they are one; apart they are unknown.
    EXPECT_EQ(encode(*t, "xy", {.add_special = false}), (Ids{8}));
    EXPECT_EQ(encode(*t, "yx", {.add_special = false}), (Ids{0}));
    spec.scores[7] = spec.scores[6];
    EXPECT_EQ(encode(*make(spec), "abc", {.add_special = false}),
              (Ids{6, 5})); // leftmost of equals
    spec.scores[7] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(Tokenizer::create(spec));
}

TEST(Tokenizer, ThreadsShareOne) {
    const auto t = make(byte_spec());
    const Ids expected = encode(*t, "hello hello <think> he");
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (int& w : wrong) {
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i) {
                Ids ids;
                if (!t->encode("hello hello <think> he", {}, ids) || ids != expected) ++w;
            }
        });
    }
    for (auto& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Tokenizer, CachesBelongToOneTokenizer) {
    // More tokenizers than a thread keeps caches for, with different ids for the same word.
    std::vector<std::shared_ptr<const Tokenizer>> made;
    for (int i = 0; i < 7; ++i) {
        VocabSpec spec = byte_spec();
        if (i % 2 == 1) spec.merges.pop_back();
        made.push_back(make(std::move(spec)));
    }
    for (int round = 0; round < 3; ++round) {
        for (std::size_t i = 0; i < made.size(); ++i) {
            const Ids expected = i % 2 == 1 ? Ids{259, ' ', 259} : Ids{259, 260};
            EXPECT_EQ(encode(*made[i], "hello hello"), expected);
        }
    }
}

} // namespace
} // namespace bloom::text
