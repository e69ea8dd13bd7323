#include <limits>

#include <gtest/gtest.h>

#include <bloom/dialect/anthropic_messages.hpp>

namespace bloom::dialect {
namespace {

Parsed<Request> parse(std::string_view body, bool counting = false) {
    json::Parser parser;
    const auto value = parser.parse(body);
    EXPECT_TRUE(value.has_value()) << body;
    return counting ? parse_anthropic_count(*value) : parse_anthropic_messages(*value);
}

/// A valid body with `extra` members behind the required ones.
std::string with(std::string_view extra) {
    std::string body = R"({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}])";
    if (!extra.empty()) body += ",";
    return body + std::string(extra) + "}";
}

/// A body whose `messages` are these.
std::string talk(std::string_view messages, std::string_view extra = {}) {
    return R"({"model":"m","max_tokens":9,"messages":[)" + std::string(messages) + "]" +
           std::string(extra) + "}";
}

gen::Generation read(const std::string& body) {
    auto request = parse(body);
    EXPECT_TRUE(request.has_value()) << body << "\n" << request.error().message;
    return request ? std::move(request->generation) : gen::Generation{};
}

std::string error_of(const std::string& body) {
    const auto request = parse(body);
    EXPECT_FALSE(request.has_value()) << body;
    return request ? std::string() : request.error().message;
}

std::string text_of(const gen::Message& message) {
    std::string out;
    for (const gen::Part& part : message.content)
        out += part.text;
    return out;
}

TEST(MessagesParse, Defaults) {
    const gen::Generation g = read(with(""));
    EXPECT_EQ(g.render.dialect, gen::Dialect::anthropic_messages);
    EXPECT_EQ(g.model, "m");
    EXPECT_EQ(g.render.model, "m");
    ASSERT_EQ(g.messages.size(), 1U);
    EXPECT_EQ(g.messages[0].role, gen::Role::user);
    EXPECT_EQ(text_of(g.messages[0]), "hi");
    EXPECT_EQ(g.limits.max_tokens, 9);
    EXPECT_EQ(g.sampling.temperature, 1.0F);
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::hidden);
    EXPECT_FALSE(g.render.stream);
    EXPECT_FALSE(g.tmpl.enable_thinking.has_value());
    EXPECT_TRUE(g.render.echoed.empty());
}

TEST(MessagesParse, ReadsEverythingItHonours) {
    const auto request = parse(with(
        R"("stream":true,"temperature":0.5,"top_p":0.9,"top_k":40,"seed":3,
        "stop_sequences":["a","b"],"system":"be kind","provider_serial":"x",
        "metadata_details":true,"metadata":{"user_id":"u"},"service_tier":"auto",
        "container":null,"mcp_servers":[],"speed":"standard","inference_geo":"eu",
        "cache_control":{"type":"ephemeral"},"context_management":{"edits":[]},"unknown":[1])"));
    ASSERT_TRUE(request.has_value()) << request.error().message;
    const gen::Generation& g = request->generation;
    EXPECT_TRUE(g.render.stream);
    EXPECT_EQ(g.sampling.temperature, 0.5F);
    EXPECT_EQ(g.sampling.top_p, 0.9F);
    EXPECT_EQ(g.sampling.top_k, 40);
    EXPECT_EQ(g.sampling.seed, 3U);
    EXPECT_EQ(g.limits.stop, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(g.routing.provider_serials, std::vector<std::string>{"x"});
    EXPECT_EQ(g.messages.at(0).role, gen::Role::system);
    EXPECT_EQ(g.render.echoed, R"({"applied_edits":[]})");
    EXPECT_TRUE(request->metadata_details);
}

TEST(MessagesParse, MaxTokens) {
    EXPECT_EQ(error_of(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})"),
              "max_tokens: Field required");
    EXPECT_EQ(error_of(with(R"("max_tokens":0)")),
              "max_tokens: Input should be greater than or equal to 1");
    EXPECT_EQ(error_of(with(R"("max_tokens":"9")")), "max_tokens: Input should be a valid integer");
    constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
    for (const char* huge : {"2147483648", "18446744073709551615"})
        EXPECT_EQ(read(with(std::string(R"("max_tokens":)") + huge)).limits.max_tokens, kMost);
    EXPECT_TRUE(
        parse(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})", true).has_value());
}

TEST(MessagesParse, TheSystemPromptIsOneMessage) {
    const gen::Generation g = read(talk(
        R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b",
            "cache_control":{"type":"ephemeral"}}]},
           {"role":"system","content":"more"},
           {"role":"system","content":[{"type":"text","text":"and more"}]})",
        R"(,"system":[{"type":"text","text":"one"},{"type":"text","text":"two"}])"));
    ASSERT_EQ(g.messages.size(), 2U);
    EXPECT_EQ(g.messages[0].role, gen::Role::system);
    EXPECT_EQ(text_of(g.messages[0]), "one\ntwo\nmore\nand more");
    EXPECT_EQ(g.messages[1].role, gen::Role::user);
    EXPECT_EQ(text_of(g.messages[1]), "ab");
}

TEST(MessagesParse, LaterSystemMessagesStayInTheirTurn) {
    const gen::Generation g = read(talk(R"({"role":"user","content":"a"},
        {"role":"assistant","content":"b"},{"role":"user","content":"c"},
        {"role":"system","content":"hurry"})"));
    ASSERT_EQ(g.messages.size(), 3U);
    EXPECT_EQ(g.messages[2].role, gen::Role::user);
    EXPECT_EQ(text_of(g.messages[2]), "c\n<system>\nhurry\n</system>");
}

TEST(MessagesParse, SystemMessagesForOneTurnGoWithIt) {
    const std::string system =
        R"({"role":"system","content":"now","clear_at":"next_user_message"})";
    EXPECT_EQ(read(talk(R"({"role":"user","content":"a"},)" + system)).messages.size(), 2U);
    EXPECT_EQ(read(talk(R"({"role":"user","content":"a"},)" + system +
                        R"(,{"role":"assistant","content":"b"},{"role":"user","content":"c"})"))
                  .messages.size(),
              3U);
    EXPECT_EQ(read(talk(R"({"role":"user","content":"a"},{"role":"system","output_config":{}})"))
                  .messages.size(),
              1U);
}

TEST(MessagesParse, CallsAndTheirResults) {
    const gen::Generation g = read(talk(R"({"role":"user","content":"go"},
        {"role":"assistant","content":[
            {"type":"thinking","thinking":"hm","signature":"whose?"},
            {"type":"redacted_thinking","data":"x"},
            {"type":"text","text":"So:"},
            {"type":"tool_use","id":"t1","name":"f","input":{"x":1},"caller":{"type":"direct"}},
            {"type":"tool_use","id":"t2","name":"g","input":{}}]},
        {"role":"user","content":[
            {"type":"tool_result","tool_use_id":"t1","content":"42"},
            {"type":"text","text":"and "},
            {"type":"tool_result","tool_use_id":"t2","is_error":true,
                "content":[{"type":"text","text":"no "},{"type":"text","text":"way"}]},
            {"type":"text","text":"now?"}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]})"));
    ASSERT_EQ(g.messages.size(), 6U);
    const gen::Message& assistant = g.messages[1];
    EXPECT_EQ(assistant.role, gen::Role::assistant);
    EXPECT_EQ(assistant.reasoning, "hm");
    EXPECT_EQ(text_of(assistant), "So:");
    ASSERT_EQ(assistant.tool_calls.size(), 2U);
    EXPECT_EQ(assistant.tool_calls[0].id, "t1");
    EXPECT_EQ(assistant.tool_calls[0].name, "f");
    EXPECT_EQ(assistant.tool_calls[0].arguments, "{\"x\":1}");
    EXPECT_EQ(assistant.tool_calls[1].arguments, "{}");
    EXPECT_EQ(g.messages[2].role, gen::Role::tool);
    EXPECT_EQ(g.messages[2].tool_call_id, "t1");
    EXPECT_EQ(text_of(g.messages[2]), "42");
    EXPECT_EQ(g.messages[3].role, gen::Role::tool);
    EXPECT_EQ(text_of(g.messages[3]), "Error: no way");
    EXPECT_EQ(g.messages[4].role, gen::Role::user);
    EXPECT_EQ(text_of(g.messages[4]), "and now?");
    EXPECT_EQ(g.messages[5].role, gen::Role::tool);
    EXPECT_EQ(text_of(g.messages[5]), "");
}

TEST(MessagesParse, AResultAnswersACall) {
    EXPECT_EQ(error_of(talk(R"({"role":"user","content":[
                  {"type":"tool_result","tool_use_id":"t9","content":"42"}]})")),
              "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t9. "
              "Each `tool_result` block must have a corresponding `tool_use` block in a previous "
              "message.");
}

TEST(MessagesParse, TurnsOfOneRoleAreOne) {
    const gen::Generation g = read(talk(R"({"role":"user","content":"a"},
        {"role":"user","content":"b"},{"role":"assistant","content":"c"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"1"}]})"));
    ASSERT_EQ(g.messages.size(), 3U);
    EXPECT_EQ(text_of(g.messages[0]), "a\nb");
    EXPECT_EQ(text_of(g.messages[1]), "c");
    EXPECT_EQ(g.messages[1].tool_calls.size(), 1U);
}

TEST(MessagesParse, ALastAssistantTurnIsContinued) {
    const gen::Generation g = read(
        talk(R"({"role":"user","content":"a"},{"role":"assistant","content":"The answer is ("})"));
    ASSERT_EQ(g.messages.size(), 2U);
    EXPECT_EQ(g.messages[1].role, gen::Role::assistant);
    EXPECT_EQ(text_of(g.messages[1]), "The answer is (");
    for (const char* nothing : {R"("")", "[]"}) {
        EXPECT_EQ(read(talk(std::string(R"({"role":"user","content":"a"},
                                {"role":"assistant","content":)") +
                            nothing + "}"))
                      .messages.size(),
                  1U);
    }
}

TEST(MessagesParse, WhatModelsCannotTakeIsNamed) {
    for (const std::string kind : {"image", "document"}) {
        const auto request =
            parse(talk(R"({"role":"user","content":[{"type":"text","text":"see"},{"type":")" +
                       kind + R"(","source":{"type":"base64","data":""}}]})"));
        ASSERT_FALSE(request.has_value());
        EXPECT_EQ(request.error().code, "unsupported_capability");
        EXPECT_TRUE(request.error().message.starts_with("messages.0.content.1: "));
        for (const std::string& part : {std::string("'m'"), "'" + kind + "'"})
            EXPECT_NE(request.error().message.find(part), std::string::npos);
    }
    EXPECT_NE(error_of(talk(R"({"role":"assistant","content":[
                  {"type":"server_tool_use","id":"s","name":"web_search","input":{}}]})"))
                  .find("'server_tool_use'"),
              std::string::npos);
    EXPECT_NE(error_of(with(R"("tools":[{"type":"web_search_20250305","name":"web_search"}])"))
                  .find("tools.0.type: Tools of type 'web_search_20250305'"),
              std::string::npos);
    for (const char* member : {R"("mcp_servers":[{"url":"x"}])", R"("container":"c")"})
        EXPECT_NE(error_of(with(member)).find("Not supported"), std::string::npos);
    EXPECT_EQ(read(with(R"("thread":{"type":"create"})")).messages.size(), 1u);
    EXPECT_NE(error_of(with(R"("thread":{"type":"continue","previous_message_id":"msg_1"})"))
                  .find("No thread ends"),
              std::string::npos)
        << "what went before must not be left out in silence";
}

TEST(MessagesParse, Thinking) {
    const auto ask = [](const std::string& extra) { return read(with(extra)); };
    gen::Generation g = ask(R"("thinking":{"type":"enabled","budget_tokens":2048})");
    EXPECT_EQ(g.tmpl.enable_thinking, true);
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::parsed);
    g = ask(R"("thinking":{"type":"disabled"},"output_config":{"effort":"high"})");
    EXPECT_EQ(g.tmpl.enable_thinking, false);
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::hidden);
    EXPECT_EQ(g.tmpl.reasoning_effort, "high");
    g = ask(R"("output_config":{"effort":"high"})");
    EXPECT_FALSE(g.tmpl.enable_thinking.has_value()) << "an effort alone asks for no thinking";
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::hidden);
    g = ask(
        R"("thinking":{"type":"adaptive","display":"updates"},"output_config":{"effort":"max"})");
    EXPECT_EQ(g.tmpl.enable_thinking, true);
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::parsed);
    g = ask(R"("thinking":{"type":"adaptive"})");
    EXPECT_FALSE(g.tmpl.enable_thinking.has_value());
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::parsed);
    g = ask(R"("thinking":{"type":"adaptive","display":"omitted"})");
    EXPECT_EQ(g.render.reasoning, gen::ReasoningMode::hidden);
    EXPECT_EQ(error_of(with(R"("thinking":{"type":"enabled"})")),
              "thinking.enabled.budget_tokens: Field required");
    EXPECT_EQ(error_of(with(R"("thinking":{"type":"enabled","budget_tokens":0})")),
              "thinking.enabled.budget_tokens: Input should be greater than or equal to 1");
    EXPECT_EQ(error_of(with(R"("thinking":true)")), "thinking: Input should be a valid dictionary");
}

TEST(MessagesParse, Tools) {
    const std::string tools =
        R"("tools":[{"name":"f","description":"d","input_schema":{"type":"object","b":1,"a":2},
            "type":"custom","strict":true,"cache_control":{"type":"ephemeral"},
            "defer_loading":true,"eager_input_streaming":null},
            {"name":"g","input_schema":{}}])";
    const auto choose = [&](const std::string& choice) {
        return read(with(tools + R"(,"tool_choice":)" + choice)).tmpl;
    };
    gen::TemplateOptions t = choose(R"({"type":"auto"})");
    ASSERT_EQ(t.tools.size(), 2U);
    EXPECT_EQ(t.tools[0].name, "f");
    EXPECT_EQ(t.tools[0].description, "d");
    EXPECT_EQ(t.tools[0].parameters, R"({"type":"object","b":1,"a":2})");
    EXPECT_TRUE(t.tools[0].strict);
    EXPECT_FALSE(t.tools[1].strict);
    EXPECT_EQ(t.tools[1].parameters, R"({"type":"object","properties":{}})");
    EXPECT_EQ(t.tool_choice, gen::ToolChoice::automatic);
    EXPECT_TRUE(t.parallel_tool_calls);
    t = choose(R"({"type":"any","disable_parallel_tool_use":true})");
    EXPECT_EQ(t.tool_choice, gen::ToolChoice::required);
    EXPECT_FALSE(t.parallel_tool_calls);
    EXPECT_EQ(choose(R"({"type":"none"})").tool_choice, gen::ToolChoice::none);
    t = choose(R"({"type":"tool","name":"g"})");
    EXPECT_EQ(t.tool_choice, gen::ToolChoice::named);
    EXPECT_EQ(t.tool_name, "g");

    EXPECT_EQ(error_of(with(tools + R"(,"tool_choice":{"type":"tool","name":"h"})")),
              "tool_choice: The tool 'h' is not among 'tools'.");
    EXPECT_EQ(error_of(with(R"("tool_choice":{"type":"any"})")),
              "tool_choice: A call is required, but there are no 'tools'.");
    EXPECT_EQ(error_of(with(tools + R"(,"tool_choice":{"type":"some"})")),
              "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'");
    EXPECT_EQ(error_of(with(R"("tools":[{"name":"f"}])")), "tools.0.input_schema: Field required");
    EXPECT_EQ(error_of(with(R"("tools":[{"input_schema":{}}])")), "tools.0.name: Field required");
    EXPECT_EQ(error_of(with(R"("tools":[{"name":"no blanks","input_schema":{}}])")),
              "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'");
    EXPECT_TRUE(
        parse(with(R"("tools":[{"name":")" + std::string(128, 'x') + R"(","input_schema":{}}])"))
            .has_value())
        << "names of tools behind servers are long";
}

TEST(MessagesParse, ToolsThatAreFoundOrAddedOnTheWay) {
    const gen::Generation g = read(talk(R"({"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"search","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t",
            "content":[{"type":"tool_reference","tool_name":"found"}]}]},
        {"role":"system","content":[
            {"type":"tool_addition","tool":{"type":"tool_reference","name":"found"}},
            {"type":"tool_removal","tool":{"type":"tool_reference","name":"search"}},
            {"type":"tool_addition","tool":{"type":"tool_definition",
                "definition":{"name":"new","input_schema":{}}}}]})",
                                        R"(,"tools":[{"name":"search","input_schema":{}}])"));
    ASSERT_EQ(g.tmpl.tools.size(), 2U);
    EXPECT_EQ(g.tmpl.tools[1].name, "new");
    ASSERT_EQ(g.messages.size(), 3U);
    EXPECT_NE(text_of(g.messages[2]).find("found"), std::string::npos);
}

TEST(MessagesParse, OutputFormats) {
    for (const char* format :
         {R"("output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}})",
          R"("output_format":{"type":"json_schema","schema":{"type":"object"}})"}) {
        const gen::Generation g = read(with(format));
        EXPECT_EQ(g.format.kind, gen::OutputFormat::Kind::json_schema);
        EXPECT_EQ(g.format.schema, R"({"type":"object"})");
        EXPECT_TRUE(g.format.strict);
    }
    EXPECT_EQ(error_of(with(R"("output_config":{"format":{"type":"xml"}})")),
              "output_config.format.type: Input should be 'json_schema'");
    EXPECT_EQ(error_of(with(R"("output_config":{"format":{"type":"json_schema"}})")),
              "output_config.format.schema: Field required");
    EXPECT_NE(error_of(with(R"("output_config":{"effort":"huge"})")).find("output_config.effort: "),
              std::string::npos);
}

TEST(MessagesParse, ErrorsNameTheMemberInTheSentence) {
    const std::pair<std::string, std::string> kCases[] = {
        {R"({"max_tokens":1,"messages":[{"role":"user","content":"a"}]})", "model: Field required"},
        {R"({"model":"m","max_tokens":1})", "messages: Field required"},
        {R"({"model":1})", "model: Input should be a valid string"},
        {talk(""), "messages: at least one message is required"},
        {talk(R"({"role":"system","content":"a"})"), "messages: at least one message is required"},
        {talk("1"), "messages.0: Input should be a valid dictionary"},
        {talk(R"({"content":"a"})"), "messages.0.role: Field required"},
        {talk(R"({"role":"tool","content":"a"})"),
         "messages.0.role: Input should be 'user', 'assistant' or 'system'"},
        {talk(R"({"role":"user"})"), "messages.0.content: Field required"},
        {talk(R"({"role":"user","content":null})"),
         "messages.0.content: Input should be a valid string or list of blocks"},
        {talk(R"({"role":"user","content":[]})"),
         "messages.0: all messages must have non-empty content except for the optional final "
         "assistant message"},
        {talk(R"({"role":"user","content":[{"text":"a"}]})"),
         "messages.0.content.0.type: Field required"},
        {talk(R"({"role":"user","content":[{"type":"text"}]})"),
         "messages.0.content.0.text: Field required"},
        {talk(R"({"role":"user","content":[{"type":"text","text":1}]})"),
         "messages.0.content.0.text: Input should be a valid string"},
        {talk(R"({"role":"user","content":[{"type":"sandwich"}]})"),
         "messages.0.content.0.type: Blocks of type 'sandwich' are not supported by this node."},
        {talk(R"({"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]})"),
         "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"},
        {talk(
             R"({"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":[]}]})"),
         "messages.0.content.0.input: Input should be a valid dictionary"},
        {with(R"("system":[{"type":"image"}])"), "system.0.type: Input should be 'text'"},
        {with(R"("stream":1)"), "stream: Input should be a valid boolean"},
        {with(R"("stop_sequences":"a")"), "stop_sequences: Input should be a valid list"},
        {with(R"("stop_sequences":["a",""])"),
         "stop_sequences.1: A stop string has 1 to 512 bytes."},
        {with(R"("temperature":3)"), "temperature: 3 is not between 0 and 2."},
        {with(R"("top_p":"x")"), "top_p: Expected a number, but got a string instead."},
    };
    for (const auto& [body, message] : kCases)
        EXPECT_EQ(error_of(body), message) << body;
    EXPECT_FALSE(parse("[]").has_value());
}

TEST(MessagesParse, TheResponseIdIsTheJobsWithoutDashes) {
    EXPECT_EQ(dialect_of(gen::Dialect::anthropic_messages)
                  .response_id("01234567-89ab-4cde-8f01-23456789abcd"),
              "msg_0123456789ab4cde8f0123456789abcd");
}

} // namespace
} // namespace bloom::dialect
