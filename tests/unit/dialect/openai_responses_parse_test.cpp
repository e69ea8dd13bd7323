#include <gtest/gtest.h>

#include <bloom/dialect/openai_responses.hpp>

namespace bloom::dialect {
namespace {

Parsed<Request> parse(std::string_view body) {
    json::Parser parser;
    const auto value = parser.parse(body);
    EXPECT_TRUE(value.has_value()) << body;
    return parse_openai_responses(*value);
}

/// A valid body with `extra` members behind the required ones.
std::string with(std::string_view extra) {
    std::string body = R"({"model":"m","input":"hi")";
    if (!extra.empty()) body += ",";
    return body + std::string(extra) + "}";
}

/// The messages of a conversation, one line each: role, [thinking], text, calls, (of call).
std::string told(const std::vector<gen::Message>& messages) {
    constexpr const char* kRoles[] = {"system", "user", "assistant", "tool"};
    std::string out;
    for (const gen::Message& m : messages) {
        out += kRoles[static_cast<int>(m.role)];
        if (!m.reasoning.empty()) out += " [" + m.reasoning + "]";
        for (const gen::Part& part : m.content)
            out += " " + part.text;
        for (const gen::ToolCall& call : m.tool_calls)
            out += " " + call.id + "=" + call.name + call.arguments;
        if (!m.tool_call_id.empty()) out += " (" + m.tool_call_id + ")";
        out += "\n";
    }
    return out;
}

std::string conversation(std::string_view input, std::string_view extra = {}) {
    const auto request = parse(R"({"model":"m","input":)" + std::string(input) +
                               (extra.empty() ? "" : ",") + std::string(extra) + "}");
    if (!request) return request.error().param + ": " + request.error().message;
    return told(request->generation.messages);
}

/// The members that the answer repeats, as an object.
std::string echoed(std::string_view extra) {
    const auto request = parse(with(extra));
    EXPECT_TRUE(request.has_value()) << request.error().message;
    return request ? "{" + request->generation.render.echoed + "}" : "";
}

RequestError error_of(std::string_view body) {
    const auto request = parse(body);
    EXPECT_FALSE(request.has_value()) << body;
    return request ? RequestError{} : request.error();
}

TEST(ResponsesParse, Defaults) {
    const auto r = parse(with(""));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    const gen::Generation& g = r->generation;
    EXPECT_EQ(g.render.dialect, gen::Dialect::openai_responses);
    EXPECT_EQ(g.model, "m");
    EXPECT_EQ(g.render.model, "m");
    EXPECT_EQ(told(g.messages), "user hi\n");
    EXPECT_EQ(g.limits.max_tokens, 8192);
    EXPECT_FALSE(g.render.stream);
    EXPECT_FALSE(r->store);
    EXPECT_TRUE(r->items.empty()) << "what is not stored is not kept";
    EXPECT_EQ(
        g.render.echoed,
        R"("background":false,"frequency_penalty":0.0,"instructions":null,"max_output_tokens":null,)"
        R"("max_tool_calls":null,"metadata":{},"parallel_tool_calls":true,"presence_penalty":0.0,)"
        R"("previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},)"
        R"("safety_identifier":null,"service_tier":"default","store":false,"temperature":1.0,)"
        R"("text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,)"
        R"("top_p":1.0,"truncation":"disabled")");
}

TEST(ResponsesParse, ReadsEverythingItHonours) {
    const auto r = parse(
        with(R"("stream":true,"stream_options":{"include_obfuscation":false},"max_output_tokens":7,
        "temperature":0.7,"top_p":0.5,"top_k":40,"seed":3,"stop":"x","presence_penalty":1,"frequency_penalty":-1,
        "reasoning":{"effort":"low","summary":"auto"},"include":["message.output_text.logprobs",
        "reasoning.encrypted_content"],"top_logprobs":2,"provider_serial":"s","store":true,"user":"u",
        "service_tier":"flex","truncation":"disabled","background":false,"max_tool_calls":3,"metadata":{"a":"b"},
        "safety_identifier":"me","prompt_cache_key":"k","parallel_tool_calls":false,"text":{"verbosity":"low"},
        "instructions":"be kind","conversation":null,"prompt":null,"client_metadata":{"x":1},"unknown":[1])"));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    const gen::Generation& g = r->generation;
    EXPECT_TRUE(g.render.stream);
    EXPECT_TRUE(g.render.logprobs);
    EXPECT_TRUE(g.render.reasoning_summary);
    EXPECT_EQ(g.sampling.top_logprobs, 2);
    EXPECT_TRUE(g.sampling.logprobs);
    EXPECT_EQ(g.limits.max_tokens, 7);
    EXPECT_EQ(g.limits.stop, (std::vector<std::string>{"x"}));
    EXPECT_EQ(g.sampling.temperature, 0.7F);
    EXPECT_EQ(g.sampling.top_k, 40);
    EXPECT_EQ(g.tmpl.reasoning_effort, "low");
    EXPECT_EQ(g.tmpl.enable_thinking, true);
    EXPECT_FALSE(g.tmpl.parallel_tool_calls);
    EXPECT_EQ(g.routing.provider_serials, (std::vector<std::string>{"s"}));
    EXPECT_TRUE(r->store);
    ASSERT_EQ(r->items.size(), 1U);
    EXPECT_EQ(told(g.messages), "system be kind\nuser hi\n");
    EXPECT_EQ(
        g.render.echoed,
        R"("background":false,"frequency_penalty":-1,"instructions":"be kind","max_output_tokens":7,)"
        R"("max_tool_calls":3,"metadata":{"a":"b"},"parallel_tool_calls":false,"presence_penalty":1,)"
        R"("previous_response_id":null,"prompt_cache_key":"k","reasoning":{"effort":"low","summary":"auto"},)"
        R"("safety_identifier":"me","service_tier":"default","store":true,"temperature":0.7,)"
        R"("text":{"format":{"type":"text"},"verbosity":"low"},"tool_choice":"auto","tools":[],)"
        R"("top_logprobs":2,"top_p":0.5,"truncation":"disabled","user":"u")");
}

TEST(ResponsesParse, ItemsOfEveryKind) {
    EXPECT_EQ(conversation(R"([{"role":"user","content":"a"}])"), "user a\n");
    EXPECT_EQ(conversation(R"([{"content":"a"}])"), "user a\n");
    EXPECT_EQ(conversation(R"([{"type":"message","role":"assistant","content":[
        {"type":"output_text","text":"a","annotations":[]},{"type":"refusal","refusal":"no"}]},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"b"},{"type":"text","text":"c"}]}])"),
              "assistant a no\nuser b c\n");
    EXPECT_EQ(conversation(R"([{"role":"user","content":"q"},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"x"},
        {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"a\":1}","status":"completed"},
        {"type":"function_call","id":"c2","name":"g","arguments":""},
        {"type":"function_call_output","call_id":"c1","output":"one"},
        {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"two"}]}])"),
              "user q\nassistant [hm] c1=f{\"a\":1} c2=g{}\ntool one (c1)\ntool two (c2)\n");
}

TEST(ResponsesParse, ThinkingOfItsOwnGoesBeforeTheSummary) {
    EXPECT_EQ(
        conversation(R"([{"type":"reasoning","content":[{"type":"reasoning_text","text":"long"}],
        "summary":[{"type":"summary_text","text":"short"}]},{"role":"assistant","content":"a"},
        {"role":"user","content":"b"}])"),
        "assistant [long] a\nuser b\n");
    EXPECT_EQ(
        conversation(R"([{"type":"reasoning","summary":[{"type":"summary_text","text":"lost"}]},
        {"role":"user","content":"b"},{"role":"assistant","content":"a"},{"role":"user","content":"c"}])"),
        "user b\nassistant a\nuser c\n");
}

TEST(ResponsesParse, CallsJoinTheTextInFrontOfThem) {
    const char* const call =
        R"({"type":"function_call","call_id":"c","name":"f","arguments":"{}"})";
    EXPECT_EQ(conversation(std::string(R"([{"role":"assistant","content":"let me see"},)") + call +
                           R"(,{"type":"function_call_output","call_id":"c","output":""}])"),
              "assistant let me see c=f{}\ntool  (c)\n");
}

TEST(ResponsesParse, SystemMessagesInFrontAreOne) {
    EXPECT_EQ(conversation(R"([{"role":"developer","content":"b"},{"role":"system","content":[
        {"type":"input_text","text":"c"},{"type":"input_text","text":"d"}]},{"role":"user","content":"e"}])",
                           R"("instructions":"a")"),
              "system a\n\nb\n\nc\n\nd\nuser e\n");
}

TEST(ResponsesParse, RefusesItemsByName) {
    EXPECT_EQ(conversation(R"([{"type":"web_search_call","id":"x"}])").substr(0, 40),
              "input[0].type: Invalid value: 'web_searc");
    EXPECT_EQ(conversation(R"([{"type":"function_call_output","call_id":"c9","output":"x"}])"),
              "input[0].call_id: No tool call found for function call output with call_id 'c9'.");
    EXPECT_EQ(conversation(R"([{"role":"user","content":"a"},{"role":"robot","content":"a"}])")
                  .substr(0, 40),
              "input[1].role: Invalid value: 'robot'. S");
    EXPECT_EQ(conversation("[]"),
              "input: Invalid 'input': expected a text or at least one message.");
    const RequestError image = error_of(R"({"model":"m","input":[{"role":"user","content":[
        {"type":"input_image","image_url":"data:"}]}]})");
    EXPECT_EQ(image.code, "unsupported_capability");
    EXPECT_EQ(image.param, "input[0].content[0].type");
    const RequestError arguments = error_of(R"({"model":"m","input":[
        {"type":"function_call","call_id":"c","name":"f","arguments":"[1]"}]})");
    EXPECT_EQ(arguments.param, "input[0].arguments");
}

TEST(ResponsesParse, RefusesByMember) {
    const std::pair<const char*, const char*> cases[] = {
        {R"("background":true)", "background"},
        {R"("conversation":"conv_1")", "conversation"},
        {R"("prompt":{"id":"p"})", "prompt"},
        {R"("truncation":"auto")", "truncation"},
        {R"("instructions":["a"])", "instructions"},
        {R"("temperature":3)", "temperature"},
        {R"("top_logprobs":21)", "top_logprobs"},
        {R"("reasoning":{"effort":"huge"})", "reasoning.effort"},
        {R"("reasoning":{"summary":"much"})", "reasoning.summary"},
        {R"("text":{"format":{"type":"yaml"}})", "text.format.type"},
        {R"("text":{"format":{"type":"json_schema","name":"x"}})", "text.format.schema"},
        {R"("text":{"verbosity":"loud"})", "text.verbosity"},
        {R"("metadata":{"a":1})", "metadata.a"},
        {R"("include":"all")", "include"},
        {R"("max_output_tokens":-1)", "max_output_tokens"},
        {R"("store":1)", "store"},
        {R"("previous_response_id":7)", "previous_response_id"},
        {R"("tool_choice":"required")", "tool_choice"},
        {R"("tool_choice":{"type":"web_search"})", "tool_choice.type"},
        {R"("safety_identifier":")"
         "1234567890123456789012345678901234567890123456789012345678901234x\"",
         "safety_identifier"},
    };
    for (const auto& [members, param] : cases) {
        const RequestError error = error_of(with(members));
        EXPECT_EQ(error.param, param) << members;
        EXPECT_FALSE(error.message.empty());
    }
    EXPECT_EQ(error_of(R"({"input":"x"})").param, "model");
    EXPECT_EQ(error_of(R"({"model":"m"})").param, "input");
    EXPECT_EQ(error_of(R"({"model":"m","input":7})").param, "input");
    EXPECT_EQ(error_of("[]").code, "invalid_json");
}

TEST(ResponsesParse, ToolsOfOtherTypesAreLeftOut) {
    const std::string tools =
        R"("tools":[{"type":"function","name":"f","description":"d","strict":false,
        "parameters":{"type":"object","properties":{"x":{"type":"string"}}}},{"type":"web_search"},
        {"type":"custom","name":"apply_patch","format":{"type":"grammar"}},{"type":"namespace","name":"n","tools":[]},
        {"type":"function","function":{"name":"g"}}])";
    const auto r = parse(with(tools));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    ASSERT_EQ(r->generation.tmpl.tools.size(), 2U);
    EXPECT_NE(
        echoed(tools).find(
            R"("tools":[{"type":"function","name":"f","description":"d","parameters":)"
            R"({"type":"object","properties":{"x":{"type":"string"}}},"strict":false},{"type":"function",)"
            R"("name":"g","description":null,"parameters":{"type":"object","properties":{}},"strict":false}])"),
        std::string::npos)
        << echoed(tools);
    const auto choice = [&](std::string_view text) {
        return echoed(tools + R"(,"tool_choice":)" + std::string(text));
    };
    EXPECT_NE(choice(R"("required")").find(R"("tool_choice":"required")"), std::string::npos);
    EXPECT_NE(choice(R"({"type":"function","name":"g"})")
                  .find(R"("tool_choice":{"type":"function","name":"g"})"),
              std::string::npos);
    EXPECT_NE(choice(R"({"type":"allowed_tools","mode":"required","tools":[
        {"type":"function","name":"g"},{"type":"web_search"}]})")
                  .find(R"("tool_choice":{"type":"allowed_tools","mode":"required","tools":)"
                        R"([{"type":"function","name":"g"}]})"),
              std::string::npos);
}

TEST(ResponsesParse, OutputFormats) {
    const auto r = parse(with(R"("text":{"format":{"type":"json_schema","name":"n","strict":true,
        "schema":{"type":"object"}}})"));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    EXPECT_EQ(r->generation.format.kind, gen::OutputFormat::Kind::json_schema);
    EXPECT_EQ(r->generation.format.schema, R"({"type":"object"})");
    EXPECT_NE(r->generation.render.echoed.find(
                  R"("text":{"format":{"type":"json_schema","name":"n","description":"","schema":)"
                  R"({"type":"object"},"strict":true}})"),
              std::string::npos);
    EXPECT_NE(echoed(R"("text":{"format":{"type":"json_object"}})")
                  .find(R"("text":{"format":{"type":"json_object"}})"),
              std::string::npos);
    EXPECT_NE(echoed(R"("text":{})").find(R"("text":{"format":{"type":"text"}})"),
              std::string::npos);
}

TEST(ResponsesParse, AConversationGoesOn) {
    const auto first = parse(R"({"model":"m","store":true,"input":[{"role":"user","content":"a"},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"}],"instructions":"old"})");
    ASSERT_TRUE(first.has_value());
    EXPECT_FALSE(needs_stored(*first));
    auto next = parse(R"({"model":"m","previous_response_id":"resp_1","instructions":"new",
        "input":[{"type":"function_call_output","call_id":"c","output":"x"}]})");
    ASSERT_TRUE(next.has_value()) << next.error().message;
    EXPECT_TRUE(needs_stored(*next));
    EXPECT_TRUE(next->generation.messages.empty());
    ASSERT_TRUE(continue_conversation(*next, first->items).has_value());
    EXPECT_EQ(told(next->generation.messages), "system new\nuser a\nassistant c=f{}\ntool x (c)\n");
    const auto orphan = continue_conversation(*next, {});
    ASSERT_FALSE(orphan.has_value());
    EXPECT_EQ(orphan.error().param, "input[0].call_id");
}

TEST(ResponsesParse, ReferencesNeedWhatIsStored) {
    for (const char* const body :
         {R"({"model":"m","input":[{"type":"item_reference","id":"msg_ab_0"}]})",
          R"({"model":"m","input":[{"id":"msg_ab_0"}]})"}) {
        auto r = parse(body);
        ASSERT_TRUE(r.has_value()) << r.error().message;
        EXPECT_TRUE(needs_stored(*r));
        ASSERT_EQ(r->items.size(), 1U);
        EXPECT_EQ(r->items[0].id, "msg_ab_0");
        const auto left = continue_conversation(*r, {});
        ASSERT_FALSE(left.has_value());
        EXPECT_EQ(left.error().param, "input[0]");
    }
    std::size_t index = 9;
    EXPECT_EQ(response_of_item("msg_ab_12", index), "resp_ab");
    EXPECT_EQ(index, 12U);
    for (const char* const id : {"", "msg", "msg_ab", "msg_ab_", "msg_ab_x", "msg_ab_1234567"})
        EXPECT_EQ(response_of_item(id, index), "") << id;
}

TEST(ResponsesParse, InputItemsAreListed) {
    const auto r = parse(R"({"model":"m","store":true,"input":[{"role":"developer","content":"a"},
        {"role":"assistant","content":"b"},{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}]},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"x"},{"type":"input_text","text":"y"}]}]})");
    ASSERT_TRUE(r.has_value()) << r.error().message;
    ASSERT_EQ(r->items.size(), 5U);
    std::string out;
    for (const ResponseItem& item : r->items) {
        append_item(out, item, "i");
        out += "\n";
    }
    EXPECT_EQ(
        out,
        R"({"type":"message","id":"i","role":"developer","content":[{"type":"input_text","text":"a"}],"status":"completed"})"
        "\n"
        R"({"type":"message","id":"i","role":"assistant","content":[{"type":"output_text","text":"b","annotations":[],"logprobs":[]}],"status":"completed"})"
        "\n"
        R"({"type":"reasoning","id":"i","summary":[{"type":"summary_text","text":"t"}],"status":"completed"})"
        "\n"
        R"({"type":"function_call","id":"i","call_id":"c","name":"f","arguments":"{}","status":"completed"})"
        "\n"
        R"({"type":"function_call_output","id":"i","call_id":"c","output":[{"type":"input_text","text":"x"},{"type":"input_text","text":"y"}],"status":"completed"})"
        "\n");
}

TEST(ResponsesParse, TheShapeDecidesNotThePath) {
    json::Parser parser;
    const auto body = parser.parse(R"({"model":"m","input":"x"})");
    EXPECT_EQ(shape_of(*body, gen::Dialect::openai_chat), gen::Dialect::openai_responses);
    const auto chat = parser.parse(R"({"model":"m","messages":[]})");
    EXPECT_EQ(shape_of(*chat, gen::Dialect::openai_responses), gen::Dialect::openai_chat);
    EXPECT_EQ(&dialect_of(gen::Dialect::openai_responses), &kOpenAiResponses);
    EXPECT_EQ(kOpenAiResponses.response_id("0a-1b-2c"), "resp_0a1b2c");
}

} // namespace
} // namespace bloom::dialect
