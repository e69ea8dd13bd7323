#include <limits>

#include <gtest/gtest.h>

#include <bloom/dialect/openai_chat.hpp>

namespace bloom::dialect {
namespace {

Parsed<gen::Generation> parse(std::string_view body) {
    json::Parser parser;
    const auto value = parser.parse(body);
    EXPECT_TRUE(value.has_value()) << body;
    Parsed<Request> request = parse_openai_chat(*value);
    if (!request) return std::unexpected(std::move(request).error());
    return std::move(request->generation);
}

/// A valid body with `extra` members behind the required ones.
std::string with(std::string_view extra) {
    std::string body = R"({"model":"m","messages":[{"role":"user","content":"hi"}])";
    if (!extra.empty()) body += ",";
    return body + std::string(extra) + "}";
}

TEST(ChatParse, Defaults) {
    const auto g = parse(with(""));
    ASSERT_TRUE(g.has_value());
    EXPECT_EQ(g->model, "m");
    EXPECT_EQ(g->render.model, "m");
    ASSERT_EQ(g->messages.size(), 1U);
    EXPECT_EQ(g->messages[0].role, gen::Role::user);
    EXPECT_EQ(g->messages[0].content.at(0).text, "hi");
    EXPECT_EQ(g->limits.max_tokens, 8192);
    EXPECT_EQ(g->sampling.temperature, 1.0F);
    EXPECT_FALSE(g->render.stream);
    EXPECT_FALSE(g->sampling.seed.has_value());
    EXPECT_FALSE(g->tmpl.enable_thinking.has_value());
}

TEST(ChatParse, ReadsEverythingItHonours) {
    const auto g =
        parse(with(R"("stream":true,"stream_options":{"include_usage":true},"max_tokens":7,
        "temperature":0,"top_p":0.5,"top_k":40,"min_p":0.1,"presence_penalty":-2,"frequency_penalty":2,
        "repetition_penalty":1.1,"seed":-1,"stop":["a","b"],"logit_bias":{"5":-100},
        "reasoning_effort":"none","reasoning_format":"hidden","provider_serial":" x ","provider_serials":["x","y"],
        "n":1,"tools":[],"response_format":{"type":"text"},"logprobs":false,"user":"u","metadata":{},"unknown":[1])"));
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_TRUE(g->render.stream);
    EXPECT_TRUE(g->render.include_usage);
    EXPECT_EQ(g->limits.max_tokens, 7);
    EXPECT_EQ(g->sampling.temperature, 0.0F);
    EXPECT_EQ(g->sampling.top_p, 0.5F);
    EXPECT_EQ(g->sampling.top_k, 40);
    EXPECT_EQ(g->sampling.min_p, 0.1F);
    EXPECT_EQ(g->sampling.presence_penalty, -2.0F);
    EXPECT_EQ(g->sampling.frequency_penalty, 2.0F);
    EXPECT_EQ(g->sampling.repetition_penalty, 1.1F);
    EXPECT_EQ(g->sampling.seed, std::uint64_t(-1));
    EXPECT_EQ(g->limits.stop, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(g->sampling.logit_bias.at(0).token, 5);
    EXPECT_EQ(g->tmpl.enable_thinking, false);
    EXPECT_EQ(g->render.reasoning, gen::ReasoningMode::hidden);
    EXPECT_EQ(g->routing.provider_serials, (std::vector<std::string>{"x", "y"}));
}

TEST(ChatParse, MessagesOfEveryRole) {
    const auto g = parse(R"({"model":"m","messages":[
        {"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
            "function":{"name":"f","arguments":"{\"x\":1}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"42"},
        {"role":"assistant","content":"ok","reasoning_content":"hm"}]})");
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_EQ(g->messages[0].role, gen::Role::system);
    EXPECT_EQ(g->messages[0].content.size(), 2U);
    EXPECT_EQ(g->messages[1].tool_calls.at(0).arguments, "{\"x\":1}");
    EXPECT_EQ(g->messages[2].tool_call_id, "c1");
    EXPECT_EQ(g->messages[3].reasoning, "hm");
}

TEST(ChatParse, TakesWhatTheSchemaAllowsInAHistory) {
    const auto g = parse(R"({"model":"m","messages":[
        {"role":"assistant","content":null,"refusal":"I will not."},
        {"role":"assistant","content":[{"type":"refusal","refusal":"No."},{"type":"text","text":"Yes."}]},
        {"role":"assistant","content":"ok","refusal":null,"audio":null,"function_call":null},
        {"role":"function","name":"f","content":"1"},
        {"role":"user","content":"hi"}],"reasoning_effort":"max"})");
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_EQ(g->messages[0].content.at(0).text, "I will not.");
    EXPECT_EQ(g->messages[1].content.at(0).text, "No.");
    EXPECT_EQ(g->messages[1].content.at(1).text, "Yes.");
    EXPECT_EQ(g->messages[2].content.size(), 1U);
    EXPECT_EQ(g->tmpl.enable_thinking, true);
}

TEST(ChatParse, AToolResultSaysWhichCallItAnswers) {
    const auto g = parse(R"({"model":"m","messages":[{"role":"tool","content":"1"}]})");
    ASSERT_FALSE(g.has_value());
    EXPECT_EQ(g.error().param, "messages[0].tool_call_id");
    EXPECT_EQ(g.error().code, "missing_required_parameter");
}

TEST(ChatParse, TokenLimits) {
    EXPECT_EQ(parse(with(R"("max_tokens":0,"max_completion_tokens":9)"))->limits.max_tokens, 9);
    EXPECT_EQ(parse(with(R"("max_tokens":null)"))->limits.max_tokens, 8192);
    EXPECT_EQ(parse(with(R"("max_tokens":3,"max_completion_tokens":9)"))->limits.max_tokens, 3);
    constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
    for (const char* huge : {"2147483648", "9223372036854775807", "18446744073709551615"}) {
        const auto g = parse(with(std::string(R"("max_tokens":)") + huge));
        ASSERT_TRUE(g.has_value()) << g.error().message;
        EXPECT_EQ(g->limits.max_tokens, kMost) << huge;
    }
}

TEST(ChatParse, PinsNameABoundedNumberOfMachines) {
    std::string serials = R"("provider_serials":["0")";
    for (int i = 1; i < 64; ++i)
        serials += ",\"" + std::to_string(i) + "\"";
    EXPECT_EQ(parse(with(serials + "]"))->routing.provider_serials.size(), 64U);
    const auto over = parse(with(serials + R"(,"64"])"));
    ASSERT_FALSE(over.has_value());
    EXPECT_EQ(over.error().param, "provider_serials");
}

TEST(ChatParse, ToolResultsAnswerAnEarlierCall) {
    const std::string call =
        R"({"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]})";
    const std::string result = R"({"role":"tool","tool_call_id":"c","content":"1"})";
    const auto body = [](const std::string& messages) {
        return R"({"model":"m","messages":[)" + messages + "]}";
    };
    EXPECT_TRUE(parse(body(call + "," + result + "," + result)).has_value());
    const auto early = parse(body(result + "," + call));
    ASSERT_FALSE(early.has_value());
    EXPECT_EQ(early.error().param, "messages[0].tool_call_id");
}

TEST(ChatParse, LastDuplicateWins) {
    EXPECT_EQ(parse(with(R"("model":"z")"))->model, "z");
}

struct Refusal {
    const char* extra;
    const char* param;
    const char* code;
};

TEST(ChatParse, RefusesByName) {
    const Refusal cases[] = {
        {R"("temperature":2.1)", "temperature", "invalid_value"},
        {R"("temperature":"1")", "temperature", "invalid_type"},
        {R"("top_p":0)", "top_p", "invalid_value"},
        {R"("max_tokens":-1)", "max_tokens", "invalid_value"},
        {R"("max_tokens":1.5)", "max_tokens", "invalid_type"},
        {R"("stream":"yes")", "stream", "invalid_type"},
        {R"("stop":"")", "stop", "invalid_value"},
        {R"("stop":["a",1])", "stop[1]", "invalid_type"},
        {R"("stop":[1,2])", "stop[0]", "invalid_type"},
        {R"("logit_bias":{"x":1})", "logit_bias.x", "invalid_value"},
        {R"("logit_bias":{"1":101})", "logit_bias.1", "invalid_value"},
        {R"("n":9)", "n", "invalid_value"},
        {R"("n":0)", "n", "invalid_value"},
        {R"("logprobs":2)", "logprobs", "invalid_type"},
        {R"("top_logprobs":3)", "top_logprobs", "invalid_value"},
        {R"("logprobs":true,"top_logprobs":21)", "top_logprobs", "invalid_value"},
        {R"("response_format":"json")", "response_format", "invalid_type"},
        {R"("response_format":{})", "response_format.type", "invalid_value"},
        {R"("response_format":{"type":"grammar"})", "response_format.type", "invalid_value"},
        {R"("response_format":{"type":"json_schema"})", "response_format.schema",
         "missing_required_parameter"},
        {R"("response_format":{"type":"json_schema","json_schema":{"name":"x"}})",
         "response_format.json_schema.schema", "missing_required_parameter"},
        {R"("response_format":{"type":"json_schema","json_schema":{"schema":7}})",
         "response_format.json_schema.schema", "invalid_type"},
        {R"("tools":{})", "tools", "invalid_type"},
        {R"("tools":[7])", "tools[0]", "invalid_type"},
        {R"("tools":[{}])", "tools[0].type", "missing_required_parameter"},
        {R"("tools":[{"type":"function","function":{}}])", "tools[0].function.name",
         "missing_required_parameter"},
        {R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name",
         "invalid_value"},
        {R"("tools":[{"type":"function","function":{"name":"f","parameters":[]}}])",
         "tools[0].function.parameters", "invalid_type"},
        {R"("tools":[{"type":"function","name":"f"},{"type":"function","name":"f"}])", "tools",
         "invalid_value"},
        {R"("tool_choice":"required")", "tool_choice", "invalid_value"},
        {R"("tool_choice":"sometimes")", "tool_choice", "invalid_value"},
        {R"("tool_choice":{"type":"function","function":{"name":"g"}})", "tool_choice",
         "invalid_value"},
        {R"("tool_choice":{"type":"function"})", "tool_choice.name", "missing_required_parameter"},
        {R"("tool_choice":{"type":"custom","custom":{"name":"g"}})", "tool_choice.type",
         "invalid_value"},
        {R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto",
            "tools":[{"type":"function","function":{"name":"g"}}]}})",
         "tool_choice.tools[0]", "invalid_value"},
        {R"("tools":[{"type":"web_search"}],"tool_choice":"required")", "tool_choice",
         "invalid_value"},
        {R"("parallel_tool_calls":1)", "parallel_tool_calls", "invalid_type"},
        {R"("functions":[{}])", "functions[0].name", "missing_required_parameter"},
        {R"("functions":[{"name":"f"}],"tools":[{"type":"function","name":"f"}])", "functions",
         "invalid_value"},
        {R"("function_call":{"name":"f"})", "tool_choice", "invalid_value"},
        {R"("metadata_details":"yes")", "metadata_details", "invalid_type"},
        {R"("modalities":["text","audio"])", "modalities", "unsupported_parameter"},
        {R"("audio":{})", "audio", "unsupported_parameter"},
        {R"("reasoning_effort":"enormous")", "reasoning_effort", "invalid_value"},
        {R"("provider_serial":[])", "provider_serial", "invalid_value"},
        {R"("provider_serial":" ")", "provider_serial", "invalid_value"},
        {R"("model":"")", "model", "missing_required_parameter"},
        {R"("messages":[])", "messages", "invalid_value"},
        {R"("messages":{})", "messages", "invalid_type"},
        {R"("messages":[{"content":"x"}])", "messages[0].role", "missing_required_parameter"},
        {R"("messages":[{"role":"king","content":"x"}])", "messages[0].role", "invalid_value"},
        {R"("messages":[{"role":"user"}])", "messages[0].content", "missing_required_parameter"},
        {R"("messages":[{"role":"user","content":7}])", "messages[0].content", "invalid_type"},
        {R"("messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
         "messages[0].content[0].type", "unsupported_capability"},
        {R"("messages":[{"role":"tool","tool_call_id":"no","content":"x"}])",
         "messages[0].tool_call_id", "invalid_value"},
        {R"("messages":[{"role":"assistant","tool_calls":[{"id":"c",
            "function":{"name":"f","arguments":"[1]"}}]}])",
         "messages[0].tool_calls[0].function.arguments", "invalid_value"},
        {R"("messages":[{"role":"assistant","tool_calls":[{"id":"c",
            "function":{"name":"f","arguments":"{\"x\":"}}]}])",
         "messages[0].tool_calls[0].function.arguments", "invalid_value"},
        {R"("messages":[{"role":"user","content":"x","tool_calls":[{"id":"c",
            "function":{"name":"f","arguments":""}}]}])",
         "messages[0].tool_calls", "invalid_value"},
    };
    for (const Refusal& c : cases) {
        const auto g = parse(with(c.extra));
        ASSERT_FALSE(g.has_value()) << c.extra;
        EXPECT_EQ(g.error().param, c.param) << c.extra;
        EXPECT_EQ(g.error().code, c.code) << c.extra;
        EXPECT_FALSE(g.error().message.empty());
    }
    EXPECT_EQ(parse("[]").error().code, "invalid_json");
    EXPECT_EQ(parse(R"({"model":"m"})").error().param, "messages");
}

// Whatever a client calls its pictures, and wherever the model's name stands in the body.
TEST(ChatParse, PartsThatAreNotTextAreRefusedByModelAndKind) {
    for (const char* kind : {"image_url", "input_image", "image", "input_audio", "file", "video"}) {
        for (const char* role : {"user", "assistant", "system", "developer"}) {
            const auto g = parse(std::string(R"({"messages":[{"role":")") + role +
                                 R"(","content":[{"type":"text","text":"look:"},{"type":")" + kind +
                                 R"(","x":1}]}],"model":"org/some-model"})");
            ASSERT_FALSE(g.has_value()) << kind;
            EXPECT_EQ(g.error().code, "unsupported_capability");
            EXPECT_EQ(g.error().param, "messages[0].content[1].type");
            EXPECT_NE(g.error().message.find("'org/some-model'"), std::string::npos);
            EXPECT_NE(g.error().message.find(std::string("'") + kind + "'"), std::string::npos);
        }
    }
}

TEST(ChatParse, ToolsInEveryShape) {
    const auto g = parse(with(R"("tools":[
        {"type":"function","function":{"name":"a","description":"d","strict":true,
            "parameters":{"type":"object","z":1,"a":2}}},
        {"type":"web_search"},{"type":"custom","custom":{"name":"c"}},
        {"type":"function","name":"b","strict":false,"parameters":null},
        {"function":{"name":"c","parameters":{}}}],"parallel_tool_calls":false)"));
    ASSERT_TRUE(g.has_value()) << g.error().message;
    ASSERT_EQ(g->tmpl.tools.size(), 3U) << "what is no function is left out";
    EXPECT_EQ(g->tmpl.tools[0].name, "a");
    EXPECT_EQ(g->tmpl.tools[0].description, "d");
    EXPECT_TRUE(g->tmpl.tools[0].strict);
    EXPECT_EQ(g->tmpl.tools[0].parameters, R"({"type":"object","z":1,"a":2})");
    EXPECT_EQ(g->tmpl.tools[1].name, "b");
    EXPECT_EQ(g->tmpl.tools[1].parameters, R"({"type":"object","properties":{}})");
    EXPECT_EQ(g->tmpl.tools[2].parameters, R"({"type":"object","properties":{}})");
    EXPECT_FALSE(g->tmpl.parallel_tool_calls);
    EXPECT_EQ(g->tmpl.tool_choice, gen::ToolChoice::automatic);
}

TEST(ChatParse, ToolChoices) {
    using enum gen::ToolChoice;
    const auto chosen = [](const std::string& choice) {
        // The choice comes first: order of members does not matter.
        return parse(with("\"tool_choice\":" + choice +
                          R"(,"tools":[{"type":"function","function":{"name":"a"}},
                               {"type":"function","function":{"name":"b"}}])"));
    };
    EXPECT_EQ(chosen(R"("auto")")->tmpl.tool_choice, automatic);
    EXPECT_EQ(chosen(R"("none")")->tmpl.tool_choice, none);
    EXPECT_EQ(chosen(R"("required")")->tmpl.tool_choice, required);
    for (const char* named :
         {R"({"type":"function","function":{"name":"b"}})", R"({"type":"function","name":"b"})"}) {
        const auto g = chosen(named);
        ASSERT_TRUE(g.has_value()) << g.error().message;
        EXPECT_EQ(g->tmpl.tool_choice, gen::ToolChoice::named);
        EXPECT_EQ(g->tmpl.tool_name, "b");
    }
    const auto some = chosen(R"({"type":"allowed_tools","allowed_tools":{"mode":"required",
        "tools":[{"type":"function","function":{"name":"b"}}]}})");
    ASSERT_TRUE(some.has_value()) << some.error().message;
    EXPECT_EQ(some->tmpl.tool_choice, required);
    ASSERT_EQ(some->tmpl.tools.size(), 1U);
    EXPECT_EQ(some->tmpl.tools[0].name, "b");
}

TEST(ChatParse, FunctionsAreToolsThatAreAnsweredInTheirOwnShape) {
    const auto g = parse(R"({"model":"m","functions":[{"name":"f","parameters":{"type":"object"}}],
        "function_call":{"name":"f"},"messages":[{"role":"user","content":"hi"},
        {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{\"a\":1}"}},
        {"role":"function","name":"f","content":"1"}]})");
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_TRUE(g->render.function_calls);
    EXPECT_FALSE(g->tmpl.parallel_tool_calls);
    EXPECT_EQ(g->tmpl.tool_choice, gen::ToolChoice::named);
    EXPECT_EQ(g->tmpl.tool_name, "f");
    EXPECT_EQ(g->messages[1].tool_calls.at(0).arguments, R"({"a":1})");
    EXPECT_EQ(g->messages[2].name, "f");
    EXPECT_FALSE(parse(with(R"("functions":[],"function_call":"auto")"))->render.function_calls);
}

TEST(ChatParse, NoArgumentsAreAnEmptyObject) {
    const auto g = parse(R"({"model":"m","messages":[{"role":"assistant","tool_calls":[
        {"id":"c","function":{"name":"f","arguments":" "}}]}]})");
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_EQ(g->messages[0].tool_calls[0].arguments, "{}");
}

TEST(ChatParse, OutputFormats) {
    using Kind = gen::OutputFormat::Kind;
    const auto format = [](const char* text) {
        return parse(with(std::string("\"response_format\":") + text))->format;
    };
    EXPECT_EQ(format(R"({"type":"text"})").kind, Kind::text);
    EXPECT_EQ(format(R"({"type":"json_object"})").kind, Kind::json_object);
    const gen::OutputFormat schema = format(R"({"type":"json_schema","json_schema":{"name":"n",
        "strict":true,"schema":{"type":"object","b":1,"a":18446744073709551615}}})");
    EXPECT_EQ(schema.kind, Kind::json_schema);
    EXPECT_EQ(schema.name, "n");
    EXPECT_TRUE(schema.strict);
    EXPECT_EQ(schema.schema, R"({"type":"object","b":1,"a":18446744073709551615})");
}

TEST(ChatParse, ChoicesAndLogProbabilities) {
    const auto g = parse(with(R"("n":8,"logprobs":true,"top_logprobs":20)"));
    ASSERT_TRUE(g.has_value()) << g.error().message;
    EXPECT_EQ(g->n_choices, 8);
    EXPECT_EQ(gen::n_answers(*g), 8);
    EXPECT_TRUE(g->sampling.logprobs);
    EXPECT_TRUE(g->render.logprobs);
    EXPECT_EQ(g->sampling.top_logprobs, 20);
    EXPECT_FALSE(parse(with(R"("top_logprobs":0)"))->render.logprobs);
}

TEST(ChatParse, MetadataDetailsConcernTheNodeThatAnswers) {
    json::Parser parser;
    const auto value = parser.parse(with(R"("metadata_details":true)"));
    ASSERT_TRUE(value.has_value());
    EXPECT_TRUE(parse_openai_chat(*value)->metadata_details);
}

TEST(ChatParse, SeventeenStopsAreTooMany) {
    std::string stops;
    for (int i = 0; i < 17; ++i)
        stops += (i ? ",\"s" : "\"s") + std::to_string(i) + "\"";
    EXPECT_EQ(parse(with("\"stop\":[" + stops + "]")).error().param, "stop");
    EXPECT_EQ(parse(with("\"stop\":\"" + std::string(513, 'x') + "\"")).error().param, "stop");
    EXPECT_TRUE(parse(with("\"stop\":\"" + std::string(512, 'x') + "\"")).has_value());
}

} // namespace
} // namespace bloom::dialect
