#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/prompt.hpp"
#include "support/tiny_models.hpp"

namespace bloom::engine {
namespace {

constexpr std::int32_t kBos = 2;

/// A file with a vocabulary in Gemma's way: 40 rows.
std::vector<std::uint8_t> gemma_like(const char* chat_template, bool add_bos = true) {
    test::GgufWriter w = test::tiny_gguf("llama", {});
    for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                            "tokenizer.ggml.token_type", "tokenizer.ggml.merges",
                            "tokenizer.ggml.eos_token_id", "tokenizer.chat_template"})
        w.remove(key);
    std::vector<std::string> tokens{"<pad>",   "<eos>",   "<bos>",           "<unk>",
                                    "<|turn>", "<turn|>", "<|tool_response>"};
    std::vector<std::int32_t> types{3, 3, 3, 2, 3, 3, 4};
    for (char c = 'a'; c <= 'z'; ++c) {
        tokens.emplace_back(1, c);
        types.push_back(1);
    }
    tokens.emplace_back("ab"); // 33
    types.push_back(1);
    while (tokens.size() < 40) {
        tokens.push_back("<unused" + std::to_string(tokens.size()) + ">");
        types.push_back(5);
    }
    w.put_string("tokenizer.ggml.model", "gemma4");
    w.put_string("tokenizer.ggml.pre", "gemma4");
    w.put_strings("tokenizer.ggml.tokens", tokens);
    w.put_array("tokenizer.ggml.token_type", test::GgufWriter::kI32, types);
    w.put_array("tokenizer.ggml.scores", test::GgufWriter::kF32, std::vector<float>(40, 0.0F));
    w.put_strings("tokenizer.ggml.merges", {"a b"});
    w.put_u32("tokenizer.ggml.eos_token_id", 1);
    w.put_u32("tokenizer.ggml.bos_token_id", kBos);
    w.put_bool("tokenizer.ggml.add_bos_token", add_bos);
    w.put_array("tokenizer.ggml.suppress_tokens", test::GgufWriter::kI32,
                std::vector<std::int32_t>{8, 7});
    w.put_string("tokenizer.chat_template", chat_template);
    return w.build();
}

std::vector<std::int32_t> ids_of(const std::vector<std::uint8_t>& image, bool chat) {
    const auto file = ModelFile::from_memory(image, "tiny");
    EXPECT_TRUE(file) << file.error().message();
    const auto prompts = PromptMaker::create(*file, 1000);
    EXPECT_TRUE(prompts) << prompts.error().message();
    gen::Generation g;
    if (chat) {
        g.messages.push_back(
            {gen::Role::user, {{gen::Part::Kind::text, "<bos>ab"}}, {}, {}, {}, {}});
    } else {
        g.prompts = {"ab"};
    }
    const auto made = prompts->prepare(g);
    EXPECT_TRUE(made) << made.error().message();
    return made->front().ids;
}

TEST(PromptMaker, GemmaBeginsWithOneBosWhateverItsTemplateWrites) {
    for (const char* chat_template :
         {"<bos><|turn>{{ messages[0].content }}", "<|turn>{{ messages[0].content }}",
          "{{ bos_token }}<|turn>{{ messages[0].content }}", "{{ messages[0].content }}"}) {
        for (const bool add_bos : {true, false}) {
            const auto ids = ids_of(gemma_like(chat_template, add_bos), true);
            ASSERT_FALSE(ids.empty());
            EXPECT_EQ(ids.front(), kBos) << chat_template;
            EXPECT_EQ(std::ranges::count(ids, kBos), 1) << chat_template;
        }
    }
    const auto raw = ids_of(gemma_like("x", false), false); // whatever the file says
    EXPECT_EQ(raw, (std::vector<std::int32_t>{kBos, 33}));
}

TEST(PromptMaker, FilesMayForbidTokens) {
    const auto image = gemma_like("x");
    const auto file = ModelFile::from_memory(image, "tiny");
    const auto prompts = PromptMaker::create(*file, 1000);
    ASSERT_TRUE(prompts) << prompts.error().message();
    const auto suppressed = prompts->tokenizer()->suppressed_ids();
    EXPECT_EQ(std::vector<std::int32_t>(suppressed.begin(), suppressed.end()),
              (std::vector<std::int32_t>{7, 8}));
    const auto stops = prompts->tokenizer()->stop_ids();
    EXPECT_EQ(std::vector<std::int32_t>(stops.begin(), stops.end()),
              (std::vector<std::int32_t>{1, 5, 6}));
}

} // namespace
} // namespace bloom::engine
