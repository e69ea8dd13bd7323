#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bloom/text/chat_template.hpp>
#include <bloom/text/output_parser.hpp>

#include "golden/text/conversation.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

struct ParsedCall {
    std::string name;
    std::string arguments;
};

struct Answer {
    std::string reasoning;
    std::string content;
    std::vector<ParsedCall> calls;
};

Answer parse_answer(std::string_view text, const RenderedPrompt& prompt, OutputFormat format,
                    const gen::Generation& request) {
    OutputParserOptions options;
    options.format = format;
    options.in_reasoning = prompt.in_reasoning;
    options.tools = request.tmpl.tools;
    OutputParser parser(options);
    ParsedOutput out;
    parser.push(-1, text, out);
    parser.finish(true, out);
    Answer answer;
    for (const Piece& piece : out.pieces) {
        const std::string_view bytes = out.text_of(piece);
        if (piece.kind == PieceKind::reasoning) answer.reasoning += bytes;
        if (piece.kind == PieceKind::content) answer.content += bytes;
        if (piece.kind == PieceKind::tool_begin) answer.calls.push_back({std::string(bytes), ""});
        if (piece.kind == PieceKind::tool_args) answer.calls.back().arguments += bytes;
    }
    EXPECT_EQ(static_cast<std::size_t>(parser.n_complete_calls()), answer.calls.size());
    return answer;
}

/// JSON with sorted keys, so that only content is compared.
std::string canonical(std::string_view json) {
    auto value = jinja::Value::from_json(json, jinja::Origin::user);
    if (!value) return "not JSON: " + std::string(json);
    auto printer = jinja::Template::parse("{{ value|tojson(sort_keys=true) }}", "json");
    auto text = printer->render(jinja::Value::dict({{jinja::Value::string("value"), *value}}), {});
    return text ? text->text : "";
}

struct Row {
    const char* file;
    const char* end_of_turn;
    const char* conversation;
    bool thinks; ///< the format has reasoning in tool turns
};

const Row kRows[] = {
    {"Qwen3.5-4B.jinja", "<|im_end|>", "c2", true},
    {"Qwen3.5-4B.jinja", "<|im_end|>", "parallel", true},
    {"Qwen3-Coder.jinja", "<|im_end|>", "c2", false},
    {"Qwen3-Coder.jinja", "<|im_end|>", "parallel", false},
    {"Qwen-Qwen3-0.6B.jinja", "<|im_end|>", "c2", true},
    {"Qwen-Qwen3-0.6B.jinja", "<|im_end|>", "parallel", true},
    {"MiniMax-M2.jinja", "[e~[", "c2", true},
    {"MiniMax-M2.jinja", "[e~[", "parallel", true},
    {"google-gemma-4-31B-it.jinja", "<|tool_response>", "c2", true},
    {"google-gemma-4-31B-it.jinja", "<|tool_response>", "parallel", true},
    {"meta-llama-Llama-3.1-8B-Instruct.jinja", "<|eot_id|>", "c2", false},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja", "<|im_end|>", "simple c2", false},
};

// What a template writes for a call in history, a parser reads back as the same call.
TEST(RoundTrip, CallsSurviveTemplateAndParser) {
    BLOOM_REQUIRE_DATA("chat-templates");
    const jinja::Value file = golden("chat_templates.json");
    for (const Row& row : kRows) {
        SCOPED_TRACE(fmt::format("{}: {}", row.file, row.conversation));
        const auto path = test::data_dir() / "chat-templates" / row.file;
        auto chat = ChatTemplate::create(read_file(path), row.file, {{{"bos_token", "<BOS>"}}});
        ASSERT_TRUE(chat.has_value());
        gen::Generation request;
        for (const jinja::Value& c : jinja::items_of(*file.find("conversations"))) {
            if (c.find("name")->text() == row.conversation) {
                request = generation_of(c, *file.find("tool_sets"));
            }
        }
        request.tmpl.enable_thinking = true;
        const gen::Message said = request.messages[1];
        gen::Generation question = request;
        question.messages.resize(1);
        gen::Generation answered = request;
        answered.messages.resize(2);
        auto prompt = chat->render(question, {});
        auto history = chat->render(answered, {});
        ASSERT_TRUE(prompt.has_value()) << prompt.error().message();
        ASSERT_TRUE(history.has_value()) << history.error().message();
        // Templates put a line feed behind the header themselves or leave it to the model.
        std::size_t n = 0;
        while (n < prompt->text.size() && prompt->text[n] == history->text[n])
            ++n;
        // History without thinking leaves the opened tag of the prompt out.
        if (n < prompt->text.size()) prompt->in_reasoning = false;
        std::string_view written = std::string_view(history->text).substr(n);
        written = written.substr(0, written.find(row.end_of_turn));
        const Answer answer = parse_answer(written, *prompt, chat->output_format(), request);
        if (row.thinks) {
            EXPECT_EQ(answer.reasoning, said.reasoning) << written;
        }
        // Gemma writes text behind the calls, the Hermes template only calls.
        if (!said.content.empty() && row.end_of_turn != std::string_view("<|tool_response>")) {
            EXPECT_EQ(answer.content, said.content[0].text) << written;
        }
        ASSERT_EQ(answer.calls.size(), said.tool_calls.size()) << written;
        for (std::size_t i = 0; i < answer.calls.size(); ++i) {
            EXPECT_EQ(answer.calls[i].name, said.tool_calls[i].name);
            EXPECT_EQ(canonical(answer.calls[i].arguments),
                      canonical(said.tool_calls[i].arguments));
        }
    }
}

} // namespace
} // namespace bloom::text
