#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bloom/base/check.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/text/published_tokenizers.hpp>

namespace bloom::text {
namespace {

constexpr std::string_view kCheckText = "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 "
                                        "(normal) 😶\u200d🌫\ufe0f (multiple emojis "
                                        "concatenated) ✅ 🦙🦙 3 33 333 3333 33333 "
                                        "333333 3333333 33333333 3.3 3..3 3...3 "
                                        "កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ "
                                        "------======= нещо на Български "
                                        "''''''```````\"\"\"\"......!!!!!!?????? I've"
                                        " been 'told he's there, 'RE you sure? 'M"
                                        " not sure I'll make it, 'D you like some"
                                        " tea? We'Ve a'lL";

constexpr std::array kPublished{
    PublishedTokenizer{"Meta-Llama-3-8B", "llama-bpe",
                       "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5"},
    PublishedTokenizer{"Qwen2", "qwen2",
                       "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea"},
    PublishedTokenizer{"Qwen3.5-9B-Instruct", "qwen35",
                       "d30d75d9059f1aa2c19359de71047b3ae408c70875e8a3ccf8c5fba56c9d8af4"},
    PublishedTokenizer{"arcee-ai/Trinity-Tokenizer", "afmoe",
                       "49fc0303c9e0d2c2c565c510f64b2d9b271276acdcdadff733249eda9f7d59df"},
    PublishedTokenizer{"MiniMaxAI/MiniMax-M2", "minimax-m2",
                       "f4f37b6c8eb9ea29b3eac6bb8c8487c5ab7885f8d8022e67edc1c68ce8403e95"},
    // The vocabulary of Gemma 3 and 4, as every tokenizer has it that puts <bos> in front.
    PublishedTokenizer{"Gemma", "gemma4",
                       "789696f5946cc0fc59371f39f6097cafed196b3acded6140432f26bbb1ae1669"},
    PublishedTokenizer{"Llama-4-Scout", "llama4",
                       "d353350c764d8c3b39c763113960e4fb4919bea5fbf208a0e3b22e8469dc7406"},
    PublishedTokenizer{"gpt2", "gpt-2",
                       "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454"},
};

bool has(const Tokenizer& tokenizer, std::string_view text, std::int32_t id) {
    return tokenizer.token_id(text) == id;
}

std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text,
                                 bool add_special) {
    std::vector<std::int32_t> ids;
    EncodeOptions options;
    options.add_special = add_special;
    const Result<> done = tokenizer.encode(text, options, ids);
    BLOOM_CHECK(done.has_value()); // the texts are short and have no ranges
    return ids;
}

} // namespace

std::string_view tokenizer_check_text() noexcept {
    return kCheckText;
}

std::string tokenizer_fingerprint(const Tokenizer& tokenizer) {
    const std::vector<std::int32_t> ids = ids_of(tokenizer, kCheckText, true);
    return crypto::sha256_hex(fmt::format("[{}]", fmt::join(ids, ", ")));
}

std::span<const PublishedTokenizer> published_tokenizers() noexcept {
    return kPublished;
}

const PublishedTokenizer* find_published(std::string_view fingerprint) noexcept {
    for (const PublishedTokenizer& known : kPublished) {
        if (known.fingerprint == fingerprint) return &known;
    }
    return nullptr;
}

std::vector<IdVector> known_vectors(const Tokenizer& tokenizer) {
    if (has(tokenizer, "<|im_start|>", 248045)) {
        return {{"<|im_start|>user\n", {248045, 846, 198}},
                {"<|im_end|>\n<|im_start|>assistant\n<think>\n",
                 {248046, 198, 248045, 74455, 198, 248068, 198}}};
    }
    if (has(tokenizer, "<|turn>", 105)) {
        return {{"<bos><|turn>user\n", {2, 105, 2364, 107}},
                {"<|turn>system\n", {105, 9731, 107}},
                {"<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
                 {106, 107, 105, 4368, 107, 100, 45518, 107, 101}}};
    }
    return {};
}

std::vector<IdVector> failing_vectors(const Tokenizer& tokenizer) {
    std::vector<IdVector> out;
    for (IdVector& vector : known_vectors(tokenizer)) {
        if (ids_of(tokenizer, vector.text, false) != vector.ids) out.push_back(std::move(vector));
    }
    return out;
}

} // namespace bloom::text
