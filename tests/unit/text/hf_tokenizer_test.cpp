#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/text/hf_tokenizer.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::text {
namespace {

/// A small byte-level tokenizer.json; single members can be exchanged.
struct Json {
    std::string vocab = R"({"a":0,"b":1,"ab":2,"\u0120":3,"\u0120ab":4,"\ud83d\ude00":9})";
    std::string merges = R"(["a b",["\u0120","ab"]])";
    std::string model_type = R"("BPE")";
    std::string model_extra;
    std::string added =
        R"([{"id":5,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,
        "normalized":false,"special":true},{"id":7,"content":"<think>","special":false}])";
    std::string normalizer = R"({"type":"NFC"})";
    std::string pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
    std::string decoder = R"({"type":"ByteLevel"})";
    std::string post_processor = "null";

    std::string text() const {
        return R"({"version":"1.0","added_tokens":)" + added + R"(,"normalizer":)" + normalizer +
               R"(,"pre_tokenizer":)" + pre_tokenizer + R"(,"post_processor":)" + post_processor +
               R"(,"decoder":)" + decoder + R"(,"model":{"type":)" + model_type + R"(,"vocab":)" +
               vocab + R"(,"merges":)" + merges + model_extra + "}}";
    }
};

Result<HfTokenizer> read(const Json& json) {
    return read_hf_tokenizer({.tokenizer_json = json.text()});
}

/// Message of the error, or "read".
std::string refusal(const Json& json) {
    const auto result = read(json);
    return result ? "read" : std::string(result.error().message());
}

TEST(HfTokenizer, ReadsAByteLevelTokenizer) {
    const auto result = read({});
    ASSERT_TRUE(result) << result.error().message();
    const VocabSpec& v = result->vocab;
    EXPECT_EQ(v.kind, VocabKind::byte_bpe);
    EXPECT_EQ(v.splitters, std::vector{Splitter::gpt2});
    EXPECT_EQ(v.normalize_nfc, true);
    EXPECT_EQ(v.ignore_merges, false);
    EXPECT_EQ(v.add_bos, false);
    ASSERT_EQ(v.tokens.size(), 10u);
    EXPECT_EQ(v.tokens[9], "\U0001f600");
    EXPECT_EQ(v.types[5], TokenType::control);
    EXPECT_EQ(v.types[6], TokenType::unused); // a gap
    EXPECT_EQ(v.types[7], TokenType::user_defined);
    EXPECT_EQ(v.merges, (std::vector<std::string>{"a b", "\u0120 ab"}));

    const auto made = Tokenizer::create(v);
    ASSERT_TRUE(made) << made.error().message();
    std::vector<std::int32_t> ids;
    ASSERT_TRUE((*made)->encode("ab ab<think><s>", {}, ids));
    EXPECT_EQ(ids, (std::vector<std::int32_t>{2, 4, 7, 5}));
}

TEST(HfTokenizer, TemplatesGiveBosAndEos) {
    Json json;
    json.post_processor = R"({"type":"Sequence","processors":[{"type":"ByteLevel"},
        {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
        {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"<e>","type_id":0}}],
        "special_tokens":{"<s>":{"id":"<s>","ids":[5]},"<e>":{"id":"<e>","ids":[7]}}}]})";
    const auto result = read(json);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->vocab.bos_id, 5);
    EXPECT_EQ(result->vocab.eos_id, 7);
    EXPECT_EQ(result->vocab.add_bos, true);
    EXPECT_EQ(result->vocab.add_eos, true);
}

TEST(HfTokenizer, SplitExpressionsAreMatchedExactly) {
    Json json;
    const std::string head =
        R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)";
    const std::string tail = R"(,"behavior":"Isolated","invert":false},
        {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
    const std::string llama =
        R"("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+)"
        R"([\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"})";
    json.pre_tokenizer = head + llama + tail;
    ASSERT_TRUE(read(json)) << refusal(json);
    EXPECT_EQ(read(json)->vocab.splitters, std::vector{Splitter::llama3});
    json.pre_tokenizer = head + R"("\\p{L}+|x"})" + tail;
    EXPECT_NE(refusal(json).find("\\p{L}+|x"), std::string::npos) << refusal(json);
    json.pre_tokenizer = head + R"("\\p{N}"},"behavior":"Removed","invert":true}]})";
    EXPECT_NE(refusal(json).find("Removed"), std::string::npos) << refusal(json);
}

TEST(HfTokenizer, WhatIsNotBuiltInIsRefusedByName) {
    const auto with = [](std::string Json::* member, const char* value) {
        Json json;
        json.*member = value;
        return refusal(json);
    };
    const auto names = [](const std::string& message, std::string_view word) {
        return message.find(word) != std::string::npos ? "named" : message;
    };
    EXPECT_EQ(names(with(&Json::model_type, R"("WordPiece")"), "WordPiece"), "named");
    EXPECT_EQ(names(with(&Json::normalizer, R"({"type":"Lowercase"})"), "Lowercase"), "named");
    EXPECT_EQ(names(with(&Json::pre_tokenizer, R"({"type":"Whitespace"})"), "Whitespace"), "named");
    EXPECT_EQ(names(with(&Json::pre_tokenizer, R"({"type":"ByteLevel"})"), "add_prefix_space"),
              "named");
    EXPECT_EQ(names(with(&Json::decoder, R"({"type":"WordPiece"})"), "WordPiece"), "named");
    EXPECT_EQ(names(with(&Json::post_processor, R"({"type":"BertProcessing"})"), "BertProcessing"),
              "named");
    EXPECT_EQ(names(with(&Json::model_extra, R"(,"dropout":0.1)"), "dropout"), "named");
    EXPECT_EQ(
        names(with(&Json::model_extra, R"(,"end_of_word_suffix":"</w>")"), "end_of_word_suffix"),
        "named");
    EXPECT_EQ(names(with(&Json::model_extra, R"(,"unk_token":"<none>")"), "<none>"), "named");
    EXPECT_EQ(with(&Json::model_extra, R"(,"dropout":0,"end_of_word_suffix":"")"), "read");
    EXPECT_EQ(with(&Json::normalizer, "null"), "read");
}

TEST(HfTokenizer, DamagedFilesAreErrors) {
    const auto with = [](std::string Json::* member, const char* value) {
        Json json;
        json.*member = value;
        return refusal(json);
    };
    EXPECT_NE(with(&Json::vocab, "[]"), "read");
    EXPECT_NE(with(&Json::vocab, R"({"a":0,"b":0})"), "read");
    EXPECT_NE(with(&Json::vocab, R"({"a":-1})"), "read");
    EXPECT_NE(with(&Json::vocab, R"({"a":1.5})"), "read");
    EXPECT_NE(with(&Json::vocab, R"({"a":1048576})"), "read"); // memory is bounded by the id limit
    EXPECT_NE(with(&Json::merges, R"([["a"]])"), "read");
    EXPECT_NE(with(&Json::merges, R"([["a b","c"]])"), "read");
    EXPECT_NE(with(&Json::merges, "null"), "read");
    EXPECT_NE(with(&Json::added, R"([{"id":0,"content":"other"}])"), "read");
    EXPECT_NE(with(&Json::added, R"([{"id":3}])"), "read");
    EXPECT_NE(with(&Json::added, R"([7])"), "read");
    EXPECT_NE(with(&Json::post_processor,
                   R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<q>"}}],
                       "special_tokens":{}})"),
              "read");
    EXPECT_FALSE(read_hf_tokenizer({.tokenizer_json = "{"}));
    EXPECT_FALSE(read_hf_tokenizer({}));
    const auto error = read_hf_tokenizer({.tokenizer_json = "{}"}).error();
    EXPECT_TRUE(error.message().starts_with("tokenizer.json")) << error.message();
}

TEST(HfTokenizer, SideFiles) {
    const std::string json = Json().text();
    HfTokenizerFiles files{.tokenizer_json = json};
    files.tokenizer_config_json =
        R"({"bos_token":null,"eos_token":{"content":"<s>"},"pad_token":"b",
        "add_bos_token":false,"chat_template":[{"name":"tool_use","template":"T"},
        {"name":"default","template":"D"}]})";
    files.generation_config_json = R"({"eos_token_id":[5,7]})";
    auto result = read_hf_tokenizer(files);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->vocab.eos_id, 5);
    EXPECT_EQ(result->vocab.bos_id, -1);
    EXPECT_EQ(result->vocab.pad_id, 1);
    EXPECT_EQ(result->vocab.stop_ids, (std::vector<std::int32_t>{5, 7}));
    EXPECT_EQ(result->chat_template, "D");
    EXPECT_EQ(result->named_templates.size(), 2u);

    files.chat_template_jinja = "J"; // the file wins
    files.generation_config_json = R"({"eos_token_id":7})";
    files.tokenizer_config_json = R"({"chat_template":"C"})";
    result = read_hf_tokenizer(files);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->chat_template, "J");
    EXPECT_EQ(result->vocab.stop_ids, (std::vector<std::int32_t>{7}));
    EXPECT_EQ(result->vocab.eos_id, 7);

    files.generation_config_json = R"({"eos_token_id":77})";
    EXPECT_FALSE(read_hf_tokenizer(files));
}

TEST(HfTokenizer, StopIdsOfAllFilesCount) {
    const std::string json = Json().text();
    HfTokenizerFiles files{.tokenizer_json = json};
    files.generation_config_json = R"({"eos_token_id":[5],"suppress_tokens":[7,3,900]})";
    files.config_json = R"({"eos_token_id":7,"text_config":{"eos_token_id":[0,100000]}})";
    const auto result = read_hf_tokenizer(files);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->vocab.stop_ids, (std::vector<std::int32_t>{5}));
    EXPECT_EQ(result->vocab.more_stop_ids, (std::vector<std::int32_t>{7, 0}));
    EXPECT_EQ(result->vocab.suppress_ids, (std::vector<std::int32_t>{7, 3}));
    files.config_json = R"({"eos_token_id":null,"text_config":null})";
    EXPECT_TRUE(read_hf_tokenizer(files));
    files.config_json = R"({"eos_token_id":"x"})";
    EXPECT_FALSE(read_hf_tokenizer(files));
}

TEST(HfTokenizer, ReadsTheOlderFiles) {
    HfTokenizerFiles files;
    files.vocab_json = R"({"a":0,"b":1,"c":2,"ab":3,"abc":4,"\u0120":5})";
    files.merges_txt = "#version: 0.2\na b\r\nab c\n\n";
    files.added_tokens_json = R"({"<x>":7})";
    files.tokenizer_config_json =
        R"({"eos_token":"<e>","added_tokens_decoder":{"8":{"content":"<e>","special":true},
            "9":{"content":"<think>","special":false,"lstrip":true},
            "7":{"content":"<x>","special":false}}})";
    EXPECT_FALSE(read_hf_tokenizer(files)) << "nobody says how text is split";
    files.family_pre = "qwen35";
    const auto result = read_hf_tokenizer(files);
    ASSERT_TRUE(result) << result.error().message();
    const VocabSpec& v = result->vocab;
    EXPECT_EQ(v.kind, VocabKind::byte_bpe);
    EXPECT_EQ(v.pre, "qwen35");
    EXPECT_FALSE(v.normalize_nfc.has_value()); // the family's
    EXPECT_EQ(v.merges, (std::vector<std::string>{"a b", "ab c"}));
    ASSERT_EQ(v.tokens.size(), 10U);
    EXPECT_EQ(v.types[6], TokenType::unused);
    EXPECT_EQ(v.types[7], TokenType::user_defined); // the later word counts
    EXPECT_EQ(v.types[8], TokenType::control);
    EXPECT_EQ(v.types[9], TokenType::user_defined);
    EXPECT_EQ(v.eos_id, 8);
    EXPECT_EQ(v.added_rules.size(), 3U);
    const auto tokenizer = Tokenizer::create(v);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message();
    std::vector<std::int32_t> ids;
    ASSERT_TRUE((*tokenizer)->encode("abc <e>", {}, ids));
    EXPECT_EQ(ids, (std::vector<std::int32_t>{4, 5, 8}));
    for (const char* bad : {R"({"a":0,"b":0})", R"({"a":-1})", R"([])", R"({"a":99999999})"}) {
        files.vocab_json = bad;
        EXPECT_FALSE(read_hf_tokenizer(files)) << bad;
    }
    files.vocab_json = R"({"a":0})";
    files.tokenizer_config_json = R"({"added_tokens_decoder":{"x":{"content":"y"}}})";
    EXPECT_FALSE(read_hf_tokenizer(files));
    files.tokenizer_config_json = R"({"added_tokens_decoder":{"0":{"content":"y"}}})";
    EXPECT_FALSE(read_hf_tokenizer(files)) << "another token has that id";
}

TEST(HfTokenizer, UnknownSplitsNeedAFamily) {
    Json json;
    json.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":
        {"Regex":"never seen"},"behavior":"Isolated","invert":false},
        {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
    const std::string text = json.text();
    EXPECT_FALSE(read_hf_tokenizer({.tokenizer_json = text}));
    const auto result = read_hf_tokenizer({.tokenizer_json = text, .family_pre = "afmoe"});
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->unknown_regex, "never seen");
    EXPECT_EQ(result->vocab.splitters, splitters_for_pre("afmoe").value());
    // A known file is as it says, whatever the family.
    const std::string known = Json().text();
    const auto plain = read_hf_tokenizer({.tokenizer_json = known, .family_pre = "afmoe"});
    ASSERT_TRUE(plain);
    EXPECT_TRUE(plain->unknown_regex.empty());
    EXPECT_EQ(plain->vocab.splitters, std::vector{Splitter::gpt2});
}

TEST(HfTokenizer, CharacterVocabularyLikeGemma) {
    const std::string json =
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<bos>\",\"special\":true},{\"id\":5,"
        "\"content\":"
        "\"\\n\\n\",\"special\":false}],\"normalizer\":{\"type\":\"Replace\",\"pattern\":{"
        "\"String\":"
        "\" "
        "\"},\"content\":\"\u2581\"},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":"
        "\" \"},\"behavior\":\"MergedWithPrevious\",\"invert\":false},\"decoder\":{\"type\":"
        "\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\u2581\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":"
        "\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<bos>\":0,\"\u2581\":1,\"a\":2,\"\u2581a\":3,"
        "\"\\n\":4,\"\\n\\n\":5,\"<0xC3>\":6,\"<0xA9>\":7},\"merges\":[[\"\u2581\",\"a\"],[\"\\n\","
        "\"\\n\"]]}}";
    const auto result = read_hf_tokenizer(
        {.tokenizer_json = json, .tokenizer_config_json = R"({"bos_token":"<bos>"})"});
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->vocab.kind, VocabKind::char_bpe);
    const auto made = Tokenizer::create(result->vocab);
    ASSERT_TRUE(made) << made.error().message();
    std::vector<std::int32_t> ids;
    ASSERT_TRUE((*made)->encode("a a\n\n\u00e9", {}, ids));
    EXPECT_EQ(ids, (std::vector<std::int32_t>{0, 2, 3, 5, 6, 7}));
    EXPECT_EQ((*made)->decode(ids), "a a\n\n\u00e9");
}

} // namespace
} // namespace bloom::text
