#include <string>

#include <gtest/gtest.h>

#include <bloom/text/chat_template.hpp>

#include "golden/text/conversation.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

struct Row {
    const char* token;
    const char* file;
    const char* conversation;
};

// Where the fallback and a model's own template say the same thing, they say it in the same bytes.
const Row kRows[] = {
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "plain"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "system"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "system, many turns"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "three tools"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "tools, system, thinking off"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "c2"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "parallel"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "tool loop"},
    {"<|im_start|>", "Qwen-Qwen3-0.6B.jinja", "old reasoning"},
    {"<|turn>", "google-gemma-4-31B-it.jinja", "plain"},
    {"<|turn>", "google-gemma-4-31B-it.jinja", "system, many turns"},
    {"<|turn>", "google-gemma-4-31B-it.jinja", "plain, thinking on"},
    {"<|turn>", "google-gemma-4-31B-it.jinja", "plain, thinking off"},
    {"<|turn>", "google-gemma-4-31B-it.jinja", "c2 without tools"},
    {"]~b]", "MiniMax-M2.jinja", "plain"},
    {"]~b]", "MiniMax-M2.jinja", "system, many turns"},
    {"]~b]", "MiniMax-M2.jinja", "three tools"},
    {"]~b]", "MiniMax-M2.jinja", "c2"},
    {"]~b]", "MiniMax-M2.jinja", "parallel"},
    {"]~b]", "MiniMax-M2.jinja", "tool loop"},
};

TEST(BuiltinTemplates, AgreeWithTheModels) {
    BLOOM_REQUIRE_DATA("chat-templates");
    const jinja::Value file = golden("chat_templates.json");
    for (const Row& row : kRows) {
        SCOPED_TRACE(std::string(row.file) + ": " + row.conversation);
        const auto path = test::data_dir() / "chat-templates" / row.file;
        const ChatTemplateOptions options{{{"bos_token", "<BOS>"}}};
        auto own = ChatTemplate::create(read_file(path), row.file, options);
        auto fallback = ChatTemplate::create(
            builtin_chat_template([&](std::string_view t) { return t == row.token; }), "fallback",
            options);
        ASSERT_TRUE(own.has_value());
        ASSERT_TRUE(fallback.has_value()) << fallback.error().message();
        for (const jinja::Value& c : jinja::items_of(*file.find("conversations"))) {
            if (c.find("name")->text() != row.conversation) continue;
            const gen::Generation request = generation_of(c, *file.find("tool_sets"));
            auto expected = own->render(request, {});
            auto got = fallback->render(request, {});
            ASSERT_TRUE(expected.has_value());
            ASSERT_TRUE(got.has_value()) << got.error().message();
            EXPECT_EQ(got->text, expected->text);
        }
    }
}

// Llama's own templates always print dates, so the fallback is compared with its text.
TEST(BuiltinTemplates, LlamaHeaders) {
    auto chat = ChatTemplate::create(
        builtin_chat_template([](std::string_view t) { return t == "<|start_header_id|>"; }),
        "fallback", {{{"bos_token", "<|begin_of_text|>"}}});
    ASSERT_TRUE(chat.has_value());
    gen::Generation request;
    request.messages.resize(2);
    request.messages[0].role = gen::Role::system;
    request.messages[0].content = {{gen::Part::Kind::text, " Be brief. "}};
    request.messages[1].content = {{gen::Part::Kind::text, "Hi"}};
    auto prompt = chat->render(request, {});
    ASSERT_TRUE(prompt.has_value()) << prompt.error().message();
    EXPECT_EQ(prompt->text,
              "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
              "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
              "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

} // namespace
} // namespace bloom::text
