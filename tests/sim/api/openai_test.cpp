// OpenAI's two older dialects over HTTP on a virtual machine: tools, log probabilities, several
// choices of several prompts, and the routes around them.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/rt/sim_driver.hpp>
#include <bloom/store/database.hpp>
#include <bloom/store/key_store.hpp>

#include "support/co_test.hpp"

namespace bloom::test {
namespace {

using gen::EventKind;

constexpr const char* kKey = "sk-db-simulated-key-0123456789";

gen::Event event(EventKind kind, std::string text = {}, std::int32_t choice = 0) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    e.choice = choice;
    return e;
}

gen::Event finished(gen::Finish finish, std::int32_t choice = 0) {
    gen::Event e = event(EventKind::finished, {}, choice);
    e.finish = finish;
    return e;
}

/// What a machine says to a request, one event after the other.
using Answer = std::function<gen::EventBatch(const gen::Generation&)>;

class AnswerStream final : public registry::EventStream {
public:
    explicit AnswerStream(gen::EventBatch events) : events_(std::move(events)) {}

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override {
        if (next_ == events_.size()) co_return std::nullopt;
        BLOOM_CO_OK(co_await rt::sleep_for(std::chrono::milliseconds(1), stop));
        co_return gen::EventBatch{events_[next_++]};
    }

    void grant(std::size_t) override {}

    rt::Task<gen::Usage> cancel() override {
        next_ = events_.size();
        co_return gen::Usage{};
    }

private:
    gen::EventBatch events_;
    std::size_t next_ = 0;
};

class AnswerLink final : public registry::ProviderLink {
public:
    AnswerLink(Answer answer, std::vector<gen::Generation>& asked)
        : answer_(std::move(answer)), asked_(asked) {
        registry::ModelInfo model;
        model.id = "m";
        models_ = std::make_shared<const registry::ModelList>(1, std::move(model));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return {1, 8, 3, 2, false, models_}; }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        asked_.push_back(*request);
        return std::make_unique<AnswerStream>(answer_(*request));
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> /*request*/) override {
        co_return std::int64_t{0};
    }

    rt::Task<Result<>> load(std::string) override { co_return Result<>{}; }

    rt::Task<Result<>> unload(std::string) override { co_return Result<>{}; }

    void drain() override {}

private:
    registry::ProviderIdentity identity_;
    Answer answer_;
    std::vector<gen::Generation>& asked_;
    std::shared_ptr<const registry::ModelList> models_;
};

struct Ask {
    std::string path;
    std::string body = {};
    http::Method method = http::Method::post;
    std::string header = "Authorization"; ///< that the key travels in; empty: none
    std::string expect = {};
};

struct Seen {
    int status = 0;
    std::string type;
    std::string body;

    bool has(std::string_view text) const { return body.find(text) != std::string::npos; }
};

struct World {
    explicit World(Answer answer) {
        EXPECT_TRUE(store::migrate(db).has_value());
        store::KeyStore store(db);
        EXPECT_TRUE(auth::ensure_owner(store, kKey, 1).has_value());
        keys.set(*auth::KeyTable::load(store));
        registry.add(std::make_shared<AnswerLink>(std::move(answer), asked));
    }

    std::vector<gen::Generation> asked;
    store::Database db = *store::Database::open(":memory:");
    Snapshot<auth::KeyTable> keys{nullptr};
    registry::Registry registry;
    scheduler::PermissiveAdmission admission;
    api::Services services{registry, admission, keys};
    std::vector<Ask> asks;
    std::vector<Seen> seen;
};

rt::Task<void> ask_one(World& w, http::Client& client, const Ask& ask,
                       const net::Address& address) {
    http::ClientRequest request;
    request.method = ask.method;
    request.url = "http://" + address.to_string() + ask.path;
    if (ask.header == "Authorization") {
        request.headers.add("Authorization", std::string("Bearer ") + kKey);
    } else if (!ask.header.empty()) {
        request.headers.add(ask.header, kKey);
    }
    if (!ask.expect.empty()) request.headers.add("Expect", ask.expect);
    if (!ask.body.empty()) request.content_type = "application/json";
    request.body = ask.body;
    auto response = co_await client.request(std::move(request));
    EXPECT_TRUE(response.has_value());
    Seen seen;
    if (response) {
        seen.status = http::to_int(response->status());
        seen.type = response->headers().find("content-type").value_or("");
        const Result<std::string> body = co_await response->read_all(std::size_t{1} << 20);
        EXPECT_TRUE(body.has_value());
        if (body) seen.body = *body;
        co_await response->close();
    }
    w.seen.push_back(std::move(seen));
}

rt::Task<void> serve(http::Server* server, rt::StopToken drain, rt::StopToken abort) {
    co_await server->serve(drain, abort);
}

rt::Task<void> world_main(World* w) {
    http::Router router = api::make_router(w->services);
    http::ServerOptions options;
    options.hooks = api::make_hooks(w->services);
    http::Server server(router, std::move(options));
    EXPECT_TRUE(server.listen(net::Address::loopback(8080)).has_value());
    rt::StopSource drain;
    rt::StopSource abort;
    rt::Scope serving;
    serving.spawn(serve(&server, drain.token(), abort.token()));
    http::Client client;
    for (const Ask& ask : w->asks)
        co_await ask_one(*w, client, ask, server.local());
    co_await client.close();
    drain.request_stop(rt::StopReason::shutdown);
    co_await serving.join();
}

void run(World& w) {
    rt::SimWorld world(base_seed(), rt::SimFaults::calm());

    struct Main {
        World* w;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const { return world_main(w); }
    };

    ASSERT_TRUE(world.run(Main{&w}).has_value());
    ASSERT_EQ(w.seen.size(), w.asks.size());
}

/// Names each choice and, where asked to, what its first token was worth.
gen::EventBatch name_choices(const gen::Generation& g) {
    gen::EventBatch events{event(EventKind::accepted), event(EventKind::started)};
    const std::int32_t n = gen::n_answers(g);
    for (std::int32_t i = n; i-- > 0;) { // in whatever order they come
        events.push_back(event(EventKind::text_delta, "choice " + std::to_string(i), i));
        if (g.sampling.logprobs) events.back().logprobs = {{7, -0.5F, "choice", {}}};
    }
    for (std::int32_t i = 0; i < n; ++i)
        events.push_back(finished(gen::Finish::stop, i));
    events.push_back(event(EventKind::usage));
    events.back().usage = {3, 0, 2 * n, 0};
    return events;
}

std::string chat(std::string_view extra) {
    return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" + std::string(extra) + "}";
}

TEST(OpenAi, CompletionsOfSeveralPromptsInOrder) {
    World w(&name_choices);
    const std::string prompts = R"({"model":"m","prompt":["a","b"],"n":2)";
    w.asks = {
        {"/v1/completions", prompts + "}"},
        {"/v1/completions", prompts + R"(,"stream":true,"stream_options":{"include_usage":true}})"},
        {"/v1/v1/completions", R"({"model":"m","prompt":[[1,2]],"echo":true})"}};
    run(w);
    std::size_t at = 0;
    for (int i = 0; i < 4; ++i) {
        const std::string text = R"({"index":)" + std::to_string(i) + R"(,"text":"choice )" +
                                 std::to_string(i) + R"(","logprobs":null,"finish_reason":)";
        const std::size_t found = w.seen[0].body.find(text + R"("stop"})");
        ASSERT_NE(found, std::string::npos) << w.seen[0].body;
        EXPECT_GE(found, at) << "choices are not in order";
        at = found;
        EXPECT_TRUE(w.seen[1].has(text + "null}]}")) << w.seen[1].body;
    }
    EXPECT_TRUE(w.seen[0].has(R"("completion_tokens":8,"total_tokens":11)"));
    EXPECT_TRUE(w.seen[0].has(R"({"id":"cmpl-)"));
    EXPECT_EQ(w.seen[1].type, "text/event-stream; charset=utf-8");
    EXPECT_TRUE(w.seen[1].has(R"("choices":[],"usage":{"prompt_tokens":3)"));
    EXPECT_TRUE(w.seen[1].body.ends_with("data: [DONE]\n\n"));
    EXPECT_EQ(w.asked[0].prompts, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(w.asked[2].token_prompts.at(0), (std::vector<std::int32_t>{1, 2}));
    EXPECT_TRUE(w.asked[2].echo);
    EXPECT_TRUE(w.asked[2].messages.empty());
}

TEST(OpenAi, ChoicesAndLogProbabilitiesOfChat) {
    World w(&name_choices);
    w.asks = {{"/v1/chat/completions", chat(R"(,"n":3,"logprobs":true)")},
              {"/v1/chat/completions", chat(R"(,"n":2,"logprobs":true,"stream":true)")}};
    run(w);
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(w.seen[0].has(R"({"index":)" + std::to_string(i) + R"(,"message":{)"));
    EXPECT_FALSE(w.seen[0].has(R"("index":3)"));
    const std::string logprobs =
        R"("logprobs":{"content":[{"token":"choice","logprob":-0.5,)"
        R"("bytes":[99,104,111,105,99,101],"top_logprobs":[]}],"refusal":null})";
    EXPECT_TRUE(w.seen[0].has(logprobs)) << w.seen[0].body;
    EXPECT_TRUE(w.seen[1].has(R"({"index":1,"delta":{"content":"choice 1"},)" + logprobs));
    EXPECT_FALSE(w.seen[1].has(R"("choices":[])")) << "nobody asked for the usage";
    EXPECT_TRUE(w.seen[1].body.ends_with("data: [DONE]\n\n"));
}

TEST(OpenAi, ToolsGoToTheMachineAndCallsComeBack) {
    const auto call = [](const gen::Generation& g) {
        gen::EventBatch events{event(EventKind::accepted), event(EventKind::started)};
        for (std::int32_t i = 0; i < 2; ++i) {
            for (const EventKind kind :
                 {EventKind::tool_begin, EventKind::tool_args, EventKind::tool_end}) {
                events.push_back(event(kind));
                events.back().tool_index = i;
            }
            events[events.size() - 3].text = g.tmpl.tools.at(0).name;
            events[events.size() - 2].text = R"({"city":"Oslo"})";
        }
        events.push_back(finished(gen::Finish::tool_calls));
        events.push_back(event(EventKind::usage));
        return events;
    };
    World w(call);
    const std::string tools = R"(,"tools":[{"type":"function","function":{"name":"weather",)"
                              R"("parameters":{"type":"object"}}},{"type":"web_search"}],)"
                              R"("tool_choice":"required")";
    w.asks = {{"/v1/chat/completions", chat(tools)},
              {"/v1/chat/completions", chat(tools + R"(,"stream":true)")}};
    run(w);
    EXPECT_EQ(w.asked[0].tmpl.tools.size(), 1U);
    EXPECT_EQ(w.asked[0].tmpl.tool_choice, gen::ToolChoice::required);
    EXPECT_TRUE(w.seen[0].has(R"("content":null,"tool_calls":[{"id":"call_)")) << w.seen[0].body;
    EXPECT_TRUE(w.seen[0].has(R"("finish_reason":"tool_calls")"));
    EXPECT_TRUE(w.seen[1].has(R"("delta":{"tool_calls":[{"index":1,"id":"call_)"));
    EXPECT_TRUE(w.seen[1].has(R"({"index":1,"function":{"arguments":"{\"city\":\"Oslo\"}"}})"));
    EXPECT_TRUE(w.seen[1].body.ends_with("data: [DONE]\n\n"));
}

TEST(OpenAi, TheBodyDecidesBetweenChatAndResponses) {
    World w(&name_choices);
    w.asks = {{"/v1/responses", chat("")},
              {"/v1/chat/completions", R"({"model":"m","input":"hi"})"},
              {"/v1/v1/chat/completions?beta=true", chat("")}};
    run(w);
    EXPECT_TRUE(w.seen[0].has(R"("object":"chat.completion")")) << w.seen[0].body;
    EXPECT_TRUE(w.seen[1].has(R"("object":"response")")) << w.seen[1].body;
    EXPECT_TRUE(w.seen[2].has(R"("object":"chat.completion")")) << w.seen[2].body;
}

// Small schemas are looked at in place, large ones elsewhere; both before anything runs.
TEST(OpenAi, SchemasThatCannotBeFollowedAreRefusedByName) {
    World w(&name_choices);
    const auto format = [](const std::string& schema) {
        return chat(
            R"(,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)" +
            schema + "}}");
    };
    std::string large = R"({"type":"object","properties":{)";
    for (int i = 0; i < 100; ++i)
        large += "\"member_" + std::to_string(i) + R"(":{"type":"string"},)";
    const std::string tool = R"("type":"function","function":{"name":"f","strict":)";
    w.asks = {
        {"/v1/chat/completions", format(R"({"type":7})")},
        {"/v1/chat/completions", format(large + R"("last":{"type":7}}})")},
        {"/v1/chat/completions", format(large + R"("last":{"type":"null"}}})")},
        {"/v1/chat/completions",
         chat(",\"tools\":[{" + tool + R"(true,"parameters":{"type":7}}}])")},
        {"/v1/chat/completions",
         chat(",\"tools\":[{" + tool + R"(false,"parameters":{"type":7}}}])")},
    };
    run(w);
    for (const std::size_t i : {0U, 1U}) {
        EXPECT_EQ(w.seen[i].status, 400);
        EXPECT_TRUE(w.seen[i].has(R"("param":"response_format","code":"unsupported_schema")"))
            << w.seen[i].body;
    }
    EXPECT_EQ(w.seen[2].status, 200) << w.seen[2].body;
    EXPECT_EQ(w.seen[3].status, 400);
    EXPECT_TRUE(w.seen[3].has(R"("param":"tools[0]")")) << w.seen[3].body;
    EXPECT_EQ(w.seen[4].status, 200) << "nothing holds answers to it";
    EXPECT_EQ(w.asked.size(), 2U);
}

TEST(OpenAi, RoutesAroundThem) {
    World w(&name_choices);
    const http::Method get = http::Method::get;
    w.asks = {
        {"/", {}, http::Method::head, ""},
        {"/v1/embeddings", R"({"model":"m","input":"x"})", http::Method::post, ""},
        {"/v1/embeddings", R"({"model":"m","input":"x"})"},
        {"/v1/pricing", {}, get, ""},
        {"/v1/models/capacity?nobody=knows", {}, get, ""},
        {"/openapi.json", {}, get, ""},
        {"/v1/v1/models", {}, get, "x-api-key"},
        {"/v1/v1/models/m", {}, get, "x-api-key"},
        {"/v1/chat/completions", chat(""), http::Method::post, "x-api-key", "100-continue"},
        {"/v1/completions", R"({"model":"m","prompt":"a","suffix":"b"})"},
        {"/v1/completions", R"({"model":"nobody","prompt":"a"})"},
    };
    run(w);
    EXPECT_EQ(w.seen[0].status, 200);
    EXPECT_EQ(w.seen[0].body, "");
    EXPECT_EQ(w.seen[1].status, 401);
    EXPECT_EQ(w.seen[2].status, 404);
    EXPECT_TRUE(w.seen[2].has(R"("type":"model_not_found","param":"model")")) << w.seen[2].body;
    EXPECT_TRUE(w.seen[2].has("No embedding model is loaded"));
    EXPECT_EQ(w.seen[3].status, 200);
    EXPECT_TRUE(w.seen[3].has(R"("fallback_input_usd":"$0.0500")"));
    EXPECT_TRUE(w.seen[4].has(R"({"id":"m","ready":true,"can_accept":true,"routable_providers":1,)"
                              R"("warm_providers":1,"running_providers":1,"cold_providers":0,)"
                              R"("active_requests":3,"queued_requests":2,"queue_limit":null)"))
        << w.seen[4].body;
    EXPECT_EQ(w.seen[5].type, "application/json");
    json::Parser parser;
    EXPECT_TRUE(parser.parse(w.seen[5].body).has_value());
    EXPECT_TRUE(w.seen[6].has(R"("object":"list")"));
    EXPECT_TRUE(w.seen[7].has(R"({"id":"m")"));
    EXPECT_EQ(w.seen[8].status, 200);
    EXPECT_EQ(w.seen[9].status, 400);
    EXPECT_TRUE(w.seen[9].has(R"("param":"suffix")"));
    EXPECT_EQ(w.seen[10].status, 404);
}

} // namespace
} // namespace bloom::test
