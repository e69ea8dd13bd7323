#include <cstdint>
#include <filesystem>
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

const jinja::Value& named(const jinja::Value& list, std::string_view name) {
    for (const jinja::Value& entry : jinja::items_of(list)) {
        if (entry.find("name")->text() == name) return entry;
    }
    BLOOM_CHECK(false);
}

/// Templates that models ship lie in the corpus; those written by their description, here.
bool is_own(const jinja::Value& render) {
    return render.find("own") != nullptr;
}

std::string source_of(const jinja::Value& render) {
    const auto own =
        std::filesystem::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "text" / "templates";
    return read_file((is_own(render) ? own : test::data_dir() / "chat-templates") /
                     text_of(render, "template"));
}

/// What came of a render against what the reference says: a text, the template's own refusal or
/// some other failure. Counts the texts that were compared as a whole.
void compare(const jinja::Value& render, const Result<std::string>& got, std::size_t& n_texts) {
    if (render.find("fnv1a") != nullptr) {
        ASSERT_TRUE(got.has_value()) << got.error().message();
        EXPECT_EQ(static_cast<std::int64_t>(got->size()), render.find("bytes")->as_integer());
        EXPECT_EQ(fnv1a(*got), text_of(render, "fnv1a")) << *got;
        if (render.find("out") != nullptr) {
            EXPECT_EQ(*got, text_of(render, "out"));
            ++n_texts;
        }
    } else if (render.find("raised") != nullptr) {
        ASSERT_FALSE(got.has_value());
        EXPECT_EQ(got.error().code(), Code::invalid_argument);
        EXPECT_EQ(got.error().message(), text_of(render, "raised"));
    } else {
        ASSERT_FALSE(got.has_value()) << *got;
        EXPECT_NE(got.error().code(), Code::invalid_argument) << got.error().message();
    }
}

/// As the server renders: parts joined, arguments parsed, a last assistant message left open.
Result<std::string> conversation_text(const std::string& source, const jinja::Value& file,
                                      const jinja::Value& render) {
    BLOOM_TRY(auto chat,
              ChatTemplate::create(source, text_of(render, "template"), special_tokens()));
    const jinja::Value& conversation =
        named(*file.find("conversations"), text_of(render, "conversation"));
    BLOOM_TRY(auto prompt, chat.render(generation_of(conversation, *file.find("tool_sets")), {}));
    return std::move(prompt.text);
}

/// As the messages come, lists of parts with images among them.
Result<std::string> part_list_text(const std::string& source, const jinja::Value& file,
                                   const jinja::Value& render) {
    using jinja::Value;
    BLOOM_TRY(auto parsed, jinja::Template::parse(source, text_of(render, "template")));
    const Value& conversation = named(*file.find("part_lists"), text_of(render, "conversation"));
    BLOOM_TRY(
        auto rendered,
        parsed.render(Value::dict({{Value::string("messages"), *conversation.find("messages")},
                                   {Value::string("tools"), Value::none()},
                                   {Value::string("documents"), Value::none()},
                                   {Value::string("add_generation_prompt"), Value::boolean(true)},
                                   {Value::string("bos_token"), Value::string("<BOS>")},
                                   {Value::string("eos_token"), Value::string("<EOS>")}}),
                      {}));
    return std::move(rendered.text);
}

/// Every template of one kind prints every conversation byte for byte as the reference does.
void compare_all(bool own, std::size_t n_whole_texts, std::size_t n_templates) {
    const jinja::Value file = golden("chat_templates.json");
    std::size_t n_texts = 0, n_renders = 0;
    for (const jinja::Value& render : jinja::items_of(*file.find("renders"))) {
        if (is_own(render) != own) continue;
        SCOPED_TRACE(text_of(render, "template") + ": " + text_of(render, "conversation"));
        compare(render, conversation_text(source_of(render), file, render), n_texts);
        ++n_renders;
    }
    for (const jinja::Value& render : jinja::items_of(*file.find("part_list_renders"))) {
        if (is_own(render) != own) continue;
        SCOPED_TRACE(text_of(render, "template") + ": parts, " + text_of(render, "conversation"));
        compare(render, part_list_text(source_of(render), file, render), n_texts);
        ++n_renders;
    }
    EXPECT_EQ(n_texts, n_whole_texts);
    EXPECT_EQ(n_renders, n_templates * (jinja::items_of(*file.find("conversations")).size() +
                                        jinja::items_of(*file.find("part_lists")).size()));
}

TEST(ChatTemplates, MatchTheReference) {
    BLOOM_REQUIRE_DATA("chat-templates");
    compare_all(false, 5, 8);
}

TEST(ChatTemplates, WrittenByDescriptionMatchTheReference) {
    compare_all(true, 6, 3);
}

} // namespace
} // namespace bloom::text
