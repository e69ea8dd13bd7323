#include <cstdint>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bloom/text/chat_template.hpp>

#include "golden/text/conversation.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

std::string fnv1a(std::string_view text) {
    std::uint64_t value = 0xcbf29ce484222325U;
    for (const char c : text)
        value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return fmt::format("{:016x}", value);
}

ChatTemplateOptions special_tokens() {
    return {{{"bos_token", "<BOS>"}, {"eos_token", "<EOS>"}}};
}

const jinja::Value& conversation_named(const jinja::Value& file, std::string_view name) {
    for (const jinja::Value& conversation : jinja::items_of(*file.find("conversations"))) {
        if (conversation.find("name")->text() == name) return conversation;
    }
    BLOOM_CHECK(false);
}

// Every template of the corpus prints every conversation byte for byte as the reference does.
TEST(ChatTemplates, MatchTheReference) {
    BLOOM_REQUIRE_DATA("chat-templates");
    const jinja::Value file = golden("chat_templates.json");
    ASSERT_NE(file.find("renders"), nullptr);
    std::size_t n_texts = 0;
    for (const jinja::Value& render : jinja::items_of(*file.find("renders"))) {
        const std::string name = text_of(render, "template");
        SCOPED_TRACE(name + ": " + text_of(render, "conversation"));
        const auto path = test::data_dir() / "chat-templates" / name;
        auto chat = ChatTemplate::create(read_file(path), name, special_tokens());
        ASSERT_TRUE(chat.has_value()) << chat.error().message();
        const jinja::Value& conversation =
            conversation_named(file, text_of(render, "conversation"));
        gen::Generation request = generation_of(conversation, *file.find("tool_sets"));
        auto prompt = chat->render(request, {});
        if (render.find("fnv1a") != nullptr) {
            ASSERT_TRUE(prompt.has_value()) << prompt.error().message();
            EXPECT_EQ(static_cast<std::int64_t>(prompt->text.size()),
                      render.find("bytes")->as_integer());
            EXPECT_EQ(fnv1a(prompt->text), text_of(render, "fnv1a")) << prompt->text;
            if (render.find("out") != nullptr) {
                EXPECT_EQ(prompt->text, text_of(render, "out"));
                ++n_texts;
            }
        } else if (render.find("raised") != nullptr) {
            ASSERT_FALSE(prompt.has_value());
            EXPECT_EQ(prompt.error().code(), Code::invalid_argument);
            EXPECT_EQ(prompt.error().message(), text_of(render, "raised"));
        } else {
            ASSERT_FALSE(prompt.has_value()) << prompt->text;
            EXPECT_NE(prompt.error().code(), Code::invalid_argument) << prompt.error().message();
        }
    }
    EXPECT_EQ(n_texts, 5U);
}

} // namespace
} // namespace bloom::text
