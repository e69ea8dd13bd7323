#include <gtest/gtest.h>

#include <bloom/text/chat_template.hpp>

namespace bloom::text {
namespace {

gen::Message message(gen::Role role, std::string text) {
    gen::Message out;
    out.role = role;
    if (!text.empty()) out.content.push_back({gen::Part::Kind::text, std::move(text)});
    return out;
}

gen::Generation request(std::vector<gen::Message> messages) {
    gen::Generation out;
    out.messages = std::move(messages);
    return out;
}

ChatTemplate created(std::string_view source) {
    auto chat = ChatTemplate::create(source, "test", {{{"bos_token", "<s>"}}});
    EXPECT_TRUE(chat.has_value()) << (chat ? "" : chat.error().message());
    return *std::move(chat);
}

std::string rendered(std::string_view source, const gen::Generation& generation) {
    auto prompt = created(source).render(generation, {});
    return prompt ? prompt->text : "error: " + std::string(prompt.error().message());
}

constexpr std::string_view kTurns =
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

TEST(ChatTemplate, PreparesMessages) {
    gen::Message parts = message(gen::Role::user, "a");
    parts.content.push_back({gen::Part::Kind::text, "b"});
    EXPECT_EQ(rendered(kTurns, request({message(gen::Role::system, "S"), parts})),
              "<s>[system]S[end][user]ab[end][assistant]");
    EXPECT_EQ(rendered("{{ messages[0].content is string }}{{ messages[0].content == '' }}",
                       request({message(gen::Role::user, "")})),
              "TrueTrue");
    EXPECT_EQ(rendered("{{ tools is none }}{{ documents is none }}{{ enable_thinking is defined }}"
                       "{{ date_string is defined }}{{ messages[0].tool_calls is defined }}"
                       "{{ messages[0].reasoning_content is defined }}",
                       request({message(gen::Role::user, "x")})),
              "TrueTrueFalseFalseFalseFalse");
}

TEST(ChatTemplate, DegreesOfThinkingGoToTemplatesThatKnowThem) {
    gen::Generation r = request({message(gen::Role::user, "x")});
    constexpr const char* kSource = "{{ reasoning_effort | default('as always') }}";
    EXPECT_EQ(rendered(kSource, r), "as always");
    r.tmpl.reasoning_effort = "high";
    EXPECT_EQ(rendered(kSource, r), "high");
    EXPECT_TRUE(ChatTemplate::create(kSource, "t", {})->has_reasoning_effort());
    EXPECT_FALSE(ChatTemplate::create("reasoning_effort", "t", {})->has_reasoning_effort());
}

TEST(ChatTemplate, ParsesArgumentsAndShowsTools) {
    gen::Generation r = request({message(gen::Role::user, "x"), message(gen::Role::assistant, ""),
                                 message(gen::Role::tool, "r")});
    r.messages[1].tool_calls = {{"id1", "f", "{\"b\": 1, \"a\": [1.0, null]}"}, {"id2", "g", ""}};
    r.messages[2].tool_call_id = "id1";
    r.tmpl.tools = {{"f", "does", "{\"type\": \"object\", \"b\": 1, \"a\": 2}", true},
                    {"g", "", "", false}};
    r.tmpl.enable_thinking = false;
    EXPECT_EQ(rendered("{{ messages[1]|tojson }}\n{{ messages[2].tool_call_id }}\n{{ tools|tojson "
                       "}}{{ enable_thinking }}",
                       r),
              "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"id1\", "
              "\"type\": \"function\", "
              "\"function\": {\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [1.0, null]}}}, "
              "{\"id\": \"id2\", "
              "\"type\": \"function\", \"function\": {\"name\": \"g\", \"arguments\": {}}}]}\nid1\n"
              "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": "
              "\"does\", \"parameters\": "
              "{\"type\": \"object\", \"b\": 1, \"a\": 2}, \"strict\": true}}, {\"type\": "
              "\"function\", \"function\": "
              "{\"name\": \"g\"}}]False");
    r.tmpl.tool_choice = gen::ToolChoice::none;
    EXPECT_EQ(rendered("{{ tools is none }}", r), "True");
    for (const char* bad : {"{", "[1]", "\"x\"", "nonsense"}) {
        r.messages[1].tool_calls[0].arguments = bad;
        auto prompt = created(kTurns).render(r, {});
        ASSERT_FALSE(prompt.has_value()) << bad;
        EXPECT_EQ(prompt.error().code(), Code::invalid_argument);
    }
}

TEST(ChatTemplate, ContinuesALastAssistantMessage) {
    const auto chat = created(kTurns);
    auto prompt = chat.render(
        request({message(gen::Role::user, "Q"), message(gen::Role::assistant, "The answer is ")}),
        {});
    ASSERT_TRUE(prompt.has_value());
    EXPECT_EQ(prompt->text, "<s>[user]Q[end][assistant]The answer is ");
    EXPECT_TRUE(prompt->continues);
    ASSERT_EQ(prompt->user_ranges.size(), 2U);
    EXPECT_EQ(prompt->user_ranges[1], (jinja::ByteRange{26, 40}));
    prompt = chat.render(
        request({message(gen::Role::user, "Q"), message(gen::Role::assistant, "")}), {});
    ASSERT_TRUE(prompt.has_value());
    EXPECT_EQ(prompt->text, "<s>[user]Q[end][assistant]");
    EXPECT_EQ(prompt->user_ranges.size(), 1U);
    // A template that drops the message cannot be continued.
    prompt =
        created("{{ messages[0].content }}")
            .render(request({message(gen::Role::user, "Q"), message(gen::Role::assistant, "A")}),
                    {});
    ASSERT_FALSE(prompt.has_value());
    EXPECT_EQ(prompt.error().code(), Code::unsupported);
}

TEST(ChatTemplate, KnowsWhetherThePromptOpensReasoning) {
    const gen::Generation plain = request({message(gen::Role::user, "<think>")});
    const std::pair<const char*, bool> rows[] = {
        {"{{ messages[0].content }}<end>", false},
        {"{{ messages[0].content }}<end><think>\n", true},
        {"{{ messages[0].content }}<end><think>\n\n</think>\n\n", false},
        {"{{ messages[0].content }}<|turn>model\n<|channel>thought\n<channel|>", false},
        {"{{ messages[0].content }}<|turn>model\n<|channel>thought\n", true},
        {"<think>{{ messages[0].content }}", false},
    };
    for (const auto& [source, expected] : rows) {
        auto prompt = created(source).render(plain, {});
        ASSERT_TRUE(prompt.has_value());
        EXPECT_EQ(prompt->in_reasoning, expected) << source;
    }
    auto prompt = created(kTurns).render(
        request({message(gen::Role::user, "Q"), message(gen::Role::assistant, "<think>\nLet me")}),
        {});
    ASSERT_TRUE(prompt.has_value());
    EXPECT_TRUE(prompt->in_reasoning);
    prompt = created(kTurns).render(
        request({message(gen::Role::user, "<think>"), message(gen::Role::assistant, "")}), {});
    ASSERT_TRUE(prompt.has_value());
    EXPECT_FALSE(prompt->in_reasoning);
}

// Control tokens spelled out by a user lie inside the marked ranges, the template's own outside.
TEST(ChatTemplate, MarksWhatTheUserWrote) {
    for (const char* token :
         {"<|im_end|>", "<|im_start|>", "<turn|>", "[e~[", "<|eot_id|>", "<tool_call|>"}) {
        for (const char* known : {"<|start_header_id|>", "<|im_start|>", "<|turn>", "]~b]"}) {
            const std::string_view source =
                builtin_chat_template([&](std::string_view t) { return t == known; });
            ASSERT_FALSE(source.empty());
            gen::Generation r =
                request({message(gen::Role::system, std::string("s ") + token),
                         message(gen::Role::user, token), message(gen::Role::assistant, ""),
                         message(gen::Role::tool, std::string(token) + "t"),
                         message(gen::Role::user, token)});
            r.messages[2].tool_calls = {
                {"i", "f", "{\"k" + std::string(token) + "\": \"" + token + "\"}"}};
            r.messages[2].reasoning = token;
            r.messages[3].tool_call_id = "i";
            r.tmpl.tools = {{"f", token,
                             "{\"type\": \"object\", \"properties\": {\"" + std::string(token) +
                                 "\": {\"type\": \"string\"}}}",
                             false}};
            auto marked = created(source).render(r, {});
            ASSERT_TRUE(marked.has_value()) << marked.error().message();
            // The same conversation with harmless words: outside of the marks nothing changes.
            auto outside = [](const RenderedPrompt& prompt) {
                std::string out;
                std::size_t at = 0;
                for (const auto& range : prompt.user_ranges) {
                    out += prompt.text.substr(at, range.begin - at) + '\x01';
                    at = range.end;
                }
                return out + prompt.text.substr(at);
            };
            gen::Generation harmless = r;
            for (auto& m : harmless.messages) {
                if (!m.content.empty()) m.content[0].text = "w";
            }
            harmless.messages[2].tool_calls = {{"i", "f", "{\"kw\": \"w\"}"}};
            harmless.messages[2].reasoning = "w";
            harmless.tmpl.tools = {
                {"f", "w",
                 "{\"type\": \"object\", \"properties\": {\"w\": {\"type\": \"string\"}}}", false}};
            auto calm = created(source).render(harmless, {});
            ASSERT_TRUE(calm.has_value());
            EXPECT_EQ(outside(*marked), outside(*calm)) << known << " " << token;
        }
    }
}

TEST(ChatTemplate, OlderGemmaTemplatesGetResultsOnTheAssistantMessage) {
    gen::Generation r =
        request({message(gen::Role::user, "x"), message(gen::Role::assistant, ""),
                 message(gen::Role::tool, "r"), message(gen::Role::assistant, "done"),
                 message(gen::Role::user, "y")});
    r.messages[1].tool_calls = {{"i", "f", "{}"}};
    r.messages[2].tool_call_id = "i";
    EXPECT_EQ(rendered("{% for m in messages %}{{ m.role }}:{{ m.content }}:{{ "
                       "m.tool_responses|default([])|tojson }};{% endfor %}",
                       r),
              "user:x:[];assistant:done:[{\"name\": \"f\", \"response\": \"r\"}];user:y:[];");
    EXPECT_EQ(rendered("{% for m in messages %}{{ m.role }}{{ m.tool_call_id }}{{ m.tool_responses "
                       "}};{% endfor %}",
                       r),
              "user;assistant;tooli;assistant;user;");
}

TEST(ChatTemplate, DetectsOutputFormats) {
    const std::pair<const char*, OutputFormat> rows[] = {
        {"hello", OutputFormat::plain},
        {"<minimax:tool_call> <tool_call> <function=", OutputFormat::minimax_xml},
        {"<|tool_call> <tool_call|>", OutputFormat::gemma},
        {"<tool_call>\n<function=x>", OutputFormat::qwen_xml},
        {"<tool_call> {\"name\": 1, \"arguments\": 2}", OutputFormat::hermes_json},
        {"<tool_call> tool_call.name", OutputFormat::hermes_json},
        {"<|python_tag|>", OutputFormat::llama_json},
        {"<|start_header_id|> \"parameters\"", OutputFormat::llama_json},
    };
    for (const auto& [source, format] : rows) {
        EXPECT_EQ(detect_output_format(source), format) << source;
    }
    const std::pair<const char*, OutputFormat> builtin[] = {
        {"<|start_header_id|>", OutputFormat::llama_json},
        {"<|im_start|>", OutputFormat::hermes_json},
        {"<|turn>", OutputFormat::gemma},
        {"]~b]", OutputFormat::minimax_xml}};
    for (const auto& [token, format] : builtin) {
        const auto source = builtin_chat_template([&](std::string_view t) { return t == token; });
        EXPECT_EQ(created(source).output_format(), format) << token;
    }
    EXPECT_TRUE(builtin_chat_template([](std::string_view) { return false; }).empty());
}

TEST(ChatTemplate, RefusalsAreTheTemplatesWords) {
    auto prompt = created("{{ raise_exception('Only user messages.') }}")
                      .render(request({message(gen::Role::user, "x")}), {});
    ASSERT_FALSE(prompt.has_value());
    EXPECT_EQ(prompt.error().code(), Code::invalid_argument);
    EXPECT_EQ(prompt.error().message(), "Only user messages.");
}

TEST(ChatTemplate, ShowsTheGivenTime) {
    ChatRenderOptions options;
    options.local_time_s = 1722000000; // 2024-07-26 13:20 UTC
    auto prompt = created("{{ strftime_now('%d %b %Y') }}")
                      .render(request({message(gen::Role::user, "x")}), options);
    ASSERT_TRUE(prompt.has_value());
    EXPECT_EQ(prompt->text, "26 Jul 2024");
}

} // namespace
} // namespace bloom::text
