// The same vocabularies written as tokenizer.json, in the forms that published files have: what
// comes back must encode the published cases alike.
#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/text/hf_tokenizer.hpp>
#include <bloom/text/tokenizer.hpp>

#include "support/gguf_vocab.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

constexpr std::string_view kByteLevel =
    R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":)";

struct Form {
    const char* name;
    std::string pre_tokenizer;
    bool merges_as_arrays;
};

std::vector<Form> forms() {
    const std::string regex_on = std::string(kByteLevel) + "true}";
    const std::string regex_off = std::string(kByteLevel) + "false}";
    const auto split = [](std::string_view regex) {
        std::string out = R"({"type":"Split","pattern":{"Regex":)";
        json::append_string(out, regex);
        return out + R"(},"behavior":"Isolated","invert":false})";
    };
    const auto sequence = [](std::string members) {
        return R"({"type":"Sequence","pretokenizers":[)" + std::move(members) + "]}";
    };
    const std::string digits = R"({"type":"Digits","individual_digits":true})";
    return {
        {"gpt-2", regex_on, false},
        {"mpt", regex_on, true},
        {"starcoder", sequence(digits + "," + regex_on), false},
        {"refact", sequence(split("\\p{N}") + "," + regex_on), true},
        {"deepseek-coder",
         sequence(split("[\r\n]") + "," + split("\\s?\\p{L}+") + "," + split("\\s?\\p{P}+") + "," +
                  split("[一-龥ࠀ-一가-퟿]+") + "," + digits + "," + regex_off),
         false},
    };
}

void write_added(json::Writer& w, const VocabSpec& spec) {
    w.key("added_tokens").begin_array();
    for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
        const TokenType type = spec.types[id];
        if (type != TokenType::control && type != TokenType::user_defined &&
            type != TokenType::unknown) {
            continue;
        }
        w.begin_object().key("id").integer(id).key("content").string(spec.tokens[id]);
        for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
            w.key(flag).boolean(false);
        }
        w.key("special").boolean(type != TokenType::user_defined).end_object();
    }
    w.end_array();
}

void write_merges(json::Writer& w, const std::vector<std::string>& merges, bool as_arrays) {
    w.key("merges").begin_array();
    for (const std::string& merge : merges) {
        if (!as_arrays) {
            w.string(merge);
            continue;
        }
        const std::size_t space = merge.find(' ', 1);
        w.begin_array().string(merge.substr(0, space)).string(merge.substr(space + 1)).end_array();
    }
    w.end_array();
}

std::string byte_level_json(const VocabSpec& spec, const Form& form) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("version").string("1.0").key("truncation").null();
    write_added(w, spec);
    w.key("normalizer").null().key("pre_tokenizer").raw(form.pre_tokenizer);
    w.key("post_processor").raw(std::string(kByteLevel) + "true}");
    w.key("decoder").raw(std::string(kByteLevel) + "true}");
    w.key("model").begin_object().key("type").string("BPE").key("dropout").null();
    w.key("continuing_subword_prefix").string("").key("fuse_unk").boolean(false);
    w.key("vocab").begin_object();
    for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
        if (spec.types[id] == TokenType::normal) w.key(spec.tokens[id]).integer(id);
    }
    w.end_object();
    write_merges(w, spec.merges, form.merges_as_arrays);
    w.end_object().end_object();
    return out;
}

/// Merges in the order of scores, as the converters of SentencePiece models write them.
std::vector<std::string> merges_by_score(const VocabSpec& spec) {
    std::map<std::string, std::size_t> ids;
    for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
        if (spec.types[id] == TokenType::normal) ids.emplace(spec.tokens[id], id);
    }
    std::vector<std::size_t> order;
    for (const auto& [token, id] : ids)
        order.push_back(id);
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return spec.scores[a] > spec.scores[b]; });
    std::vector<std::string> merges;
    for (const std::size_t id : order) {
        const std::string& token = spec.tokens[id];
        for (std::size_t cut = 1; cut < token.size(); ++cut) {
            if ((token[cut] & 0xc0) == 0x80) continue;
            const std::string left = token.substr(0, cut);
            const std::string right = token.substr(cut);
            if (ids.contains(left) && ids.contains(right)) merges.push_back(left + " " + right);
        }
    }
    return merges;
}

std::string character_json(const VocabSpec& spec) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("version").string("1.0");
    write_added(w, spec);
    w.key("normalizer")
        .raw("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\""
             "\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":"
             "\"\u2581\"}]}");
    w.key("pre_tokenizer").null();
    w.key("post_processor")
        .raw(
            R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},)"
            R"({"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>",)"
            R"("ids":[1],"tokens":["<s>"]}}})");
    w.key("decoder").raw("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
                         "\"String\":\"\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{"
                         "\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,"
                         "\"stop\":0}]}");
    w.key("model").begin_object().key("type").string("BPE").key("unk_token").string("<unk>");
    w.key("byte_fallback").boolean(true).key("fuse_unk").boolean(true);
    w.key("vocab").begin_object();
    for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
        if (spec.types[id] != TokenType::user_defined) w.key(spec.tokens[id]).integer(id);
    }
    w.end_object();
    write_merges(w, merges_by_score(spec), false);
    w.end_object().end_object();
    return out;
}

void expect_published_ids(const std::string& json, const std::filesystem::path& stem) {
    auto read = read_hf_tokenizer({.tokenizer_json = json});
    ASSERT_TRUE(read) << read.error().message();
    auto made = Tokenizer::create(std::move(read->vocab));
    ASSERT_TRUE(made) << made.error().message();
    for (const auto& [text, expected] : test::read_pairs(stem)) {
        std::vector<std::int32_t> ids;
        ASSERT_TRUE((*made)->encode(text, {.add_special = false, .parse_special = false}, ids));
        EXPECT_EQ(ids, expected) << quoted(text, 200);
    }
}

TEST(HfPairs, ByteLevel) {
    BLOOM_REQUIRE_DATA("tokenizers");
    for (const Form& form : forms()) {
        SCOPED_TRACE(form.name);
        const auto stem =
            test::data_dir() / "tokenizers" / (std::string("ggml-vocab-") + form.name + ".gguf");
        expect_published_ids(byte_level_json(test::GgufVocab(stem).spec, form), stem);
    }
}

TEST(HfPairs, Characters) {
    BLOOM_REQUIRE_DATA("tokenizers");
    const auto stem = test::data_dir() / "tokenizers" / "ggml-vocab-llama-spm.gguf";
    expect_published_ids(character_json(test::GgufVocab(stem).spec), stem);
}

} // namespace
} // namespace bloom::text
