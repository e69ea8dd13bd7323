// The Responses API over a provider that says what its messages were: what is stored, for whom and
// for how long, and how conversations go on from it. Virtual clock, several shards' worth of
// requests one after the other.
#include <deque>

#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/serialize.hpp>
#include <bloom/rt/sim_driver.hpp>

#include "api/stored_responses.hpp"
#include "support/co_test.hpp"

namespace bloom::test {
namespace {

constexpr const char* kKey = "sk-db-simulated-key-0123456789";
constexpr const char* kOtherKey = "sk-db-simulated-key-of-another";

class NoHold final : public scheduler::Hold {
public:
    rt::Task<Result<>> settle(gen::Usage) override { co_return Result<>{}; }

    rt::Task<Result<>> release() override { co_return Result<>{}; }
};

class FreeAdmission final : public scheduler::AdmissionControl {
public:
    rt::Task<Result<scheduler::Admission>> admit(const auth::Principal&,
                                                 const gen::Generation&) override {
        co_return scheduler::Admission(std::make_unique<NoHold>());
    }
};

gen::Event event(gen::EventKind kind, std::string text = {}) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    return e;
}

class BatchStream final : public registry::EventStream {
public:
    explicit BatchStream(std::deque<gen::EventBatch> batches) : batches_(std::move(batches)) {}

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override {
        if (batches_.empty()) co_return std::nullopt;
        BLOOM_CO_OK(co_await rt::sleep_for(std::chrono::milliseconds(5), stop));
        gen::EventBatch batch = std::move(batches_.front());
        batches_.pop_front();
        co_return std::optional(std::move(batch));
    }

    void grant(std::size_t) override {}

    rt::Task<gen::Usage> cancel() override { co_return gen::Usage{}; }

private:
    std::deque<gen::EventBatch> batches_;
};

/// What the provider was asked, one letter for each message.
std::string told(const gen::Generation& g) {
    std::string out;
    for (const gen::Message& m : g.messages) {
        out += "suat"[static_cast<int>(m.role)];
        out += ':';
        for (const gen::Part& part : m.content)
            out += part.text;
        for (const gen::ToolCall& call : m.tool_calls)
            out += "!" + call.name;
        out += ' ';
    }
    return out;
}

/// Answers with what it was told; calls a tool where there is one, fails where it is told to.
class EchoLink final : public registry::ProviderLink {
public:
    EchoLink() {
        registry::ModelInfo model;
        model.id = "m";
        models_ = std::make_shared<const registry::ModelList>(1, std::move(model));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return {1, 8, 0, 0, false, models_}; }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        const std::string text = told(*request);
        gen::Event usage = event(gen::EventKind::usage);
        usage.usage = {7, 0, 3, 0};
        gen::Event finished = event(gen::EventKind::finished);
        finished.finish = gen::Finish::stop;
        std::deque<gen::EventBatch> out;
        if (text.find("too long") != std::string::npos) {
            out.push_back({event(gen::EventKind::refused, "too many tokens")});
            out.back()[0].refusal = gen::Refusal::too_long;
            return std::make_unique<BatchStream>(std::move(out));
        }
        out.push_back({event(gen::EventKind::accepted), event(gen::EventKind::started)});
        const bool answered = request->messages.back().role == gen::Role::tool;
        if (text.find("fail") != std::string::npos) {
            out.push_back({event(gen::EventKind::text_delta, "a")});
            out.push_back({event(gen::EventKind::failed)});
            out.back()[0].failure = gen::Failure::timeout;
        } else if (!request->tmpl.tools.empty() && !answered) {
            out.push_back({event(gen::EventKind::tool_begin, request->tmpl.tools[0].name),
                           event(gen::EventKind::tool_args, "{}"),
                           event(gen::EventKind::tool_end)});
            finished.finish = gen::Finish::tool_calls;
            out.push_back({finished, usage});
        } else {
            out.push_back({event(gen::EventKind::text_delta, text)});
            out.push_back({finished, usage});
        }
        return std::make_unique<BatchStream>(std::move(out));
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> request) override {
        co_return static_cast<std::int64_t>(told(*request).size());
    }

    rt::Task<Result<>> load(std::string) override { co_return Result<>{}; }

    rt::Task<Result<>> unload(std::string) override { co_return Result<>{}; }

    void drain() override {}

private:
    registry::ProviderIdentity identity_;
    std::shared_ptr<const registry::ModelList> models_;
};

struct World {
    World() {
        EXPECT_TRUE(store::migrate(db).has_value());
        store::KeyStore store(db);
        EXPECT_TRUE(auth::ensure_owner(store, kKey, 1).has_value());
        const store::AccountRow other{"other", "other", "user", 1};
        store::ApiKeyRow key;
        key.id = "k2";
        key.account_id = other.id;
        key.key_hash = auth::hash_api_key(kOtherKey);
        EXPECT_TRUE(store.insert_account_with_key(other, key).has_value());
        keys.set(*auth::KeyTable::load(store));
        registry.add(std::make_shared<EchoLink>());
    }

    store::Database db = *store::Database::open(":memory:");
    Snapshot<auth::KeyTable> keys{nullptr};
    registry::Registry registry;
    FreeAdmission admission;
    api::Services services{registry, admission, keys};
    net::Address address;
};

struct Answer {
    int status = 0;
    std::string body;

    /// A member by its path, `output.0.id`, as JSON text; strings without their quotes.
    std::string at(std::string_view path) const {
        json::Parser parser;
        const auto document = parser.parse(body);
        if (!document) return "not JSON: " + body;
        json::Value value = *document;
        while (!path.empty()) {
            const std::string_view name = path.substr(0, path.find('.'));
            path.remove_prefix(std::min(path.size(), name.size() + 1));
            if (value.is_array()) {
                std::size_t left = static_cast<std::size_t>(std::stoul(std::string(name)));
                std::optional<json::Value> found;
                for (const json::Value element : *value.as_array()) {
                    if (left-- == 0) found = element;
                }
                if (!found) return "none";
                value = *found;
            } else {
                const auto member =
                    value.is_object() ? value.as_object()->find(name) : std::nullopt;
                if (!member) return "none";
                value = *member;
            }
        }
        if (value.is_string()) return std::string(*value.as_string());
        std::string out;
        json::append_value(out, value);
        return out;
    }

    std::string text() const { return at("output.0.content.0.text"); }
};

rt::Task<Answer> send(World& w, http::Method method, std::string path, std::string body = {},
                      const char* key = kKey) {
    http::Client client;
    http::ClientRequest request;
    request.method = method;
    request.url = "http://" + w.address.to_string() + path;
    request.headers.add("Authorization", std::string("Bearer ") + key);
    request.content_type = "application/json";
    request.body = std::move(body);
    Answer answer;
    auto response = co_await client.request(std::move(request));
    EXPECT_TRUE(response.has_value());
    if (response) {
        answer.status = http::to_int(response->status());
        // A stream that fails is cut off; what came before counts.
        for (;;) {
            const auto bytes = co_await response->read();
            if (!bytes || bytes->empty()) break;
            answer.body += *bytes;
        }
        co_await response->close();
    }
    co_await client.close();
    co_return answer;
}

BLOOM_CORO_WRAPPER rt::Task<Answer> create(World& w, std::string members, const char* key = kKey) {
    std::string body = R"({"model":"m",)" + members + "}";
    return send(w, http::Method::post, "/v1/responses", std::move(body), key);
}

BLOOM_CORO_WRAPPER rt::Task<Answer> get(World& w, std::string path, const char* key = kKey) {
    return send(w, http::Method::get, "/v1/responses/" + path, {}, key);
}

using Body = rt::Task<void> (*)(World&);

rt::Task<void> serve(http::Server* server, rt::StopToken drain, rt::StopToken abort) {
    co_await server->serve(drain, abort);
}

rt::Task<void> world_main(World* w, Body body) {
    const http::Router router = api::make_router(w->services);
    http::ServerOptions options;
    options.hooks = api::make_hooks(w->services);
    http::Server server(router, std::move(options));
    EXPECT_TRUE(server.listen(net::Address::loopback(8080)).has_value());
    w->address = server.local();
    rt::StopSource drain;
    rt::StopSource abort;
    rt::Scope serving;
    serving.spawn(serve(&server, drain.token(), abort.token()));
    co_await body(*w);
    drain.request_stop(rt::StopReason::shutdown);
    co_await serving.join();
}

void run(Body body) {
    World w;
    rt::SimWorld world(base_seed(), rt::SimFaults{});

    struct Main {
        World* w;
        Body body;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const {
            return world_main(w, body);
        }
    };

    ASSERT_TRUE(world.run(Main{&w, body}).has_value());
    EXPECT_EQ(w.services.n_active.load(), 0);
}

rt::Task<void> check_answers(World& w) {
    const Answer whole =
        co_await create(w, R"("input":"hi","instructions":"be","metadata":{"a":"b"})");
    EXPECT_EQ(whole.status, 200);
    EXPECT_EQ(whole.at("object"), "response");
    EXPECT_EQ(whole.at("status"), "completed");
    EXPECT_EQ(whole.text(), "s:be u:hi ");
    EXPECT_EQ(whole.at("metadata.a"), "b");
    EXPECT_EQ(whole.at("usage.total_tokens"), "10");
    EXPECT_EQ(whole.at("store"), "false");
    EXPECT_EQ(w.services.stored->size(), 1U) << "its items";
    const Answer secret = co_await create(w, R"("input":"hi","store":false)");
    EXPECT_EQ(secret.status, 200);
    EXPECT_EQ(w.services.stored->size(), 1U) << "not even those, when the body says so";
    EXPECT_EQ((co_await send(w, http::Method::del, "/v1/responses/" + whole.at("id"))).status, 404);
    const Answer second =
        co_await create(w, R"("input":[{"type":"item_reference","id":")" + whole.at("output.0.id") +
                               R"("},{"role":"user","content":"more"}])");
    EXPECT_EQ(second.text(), "a:s:be u:hi  u:more ");
    const Answer gone = co_await get(w, whole.at("id"));
    EXPECT_EQ(gone.status, 404);
    EXPECT_EQ(gone.at("error.code"), "not_found");

    const Answer stream = co_await create(w, R"("input":"hi","stream":true)");
    EXPECT_EQ(stream.status, 200);
    EXPECT_TRUE(stream.body.starts_with("event: response.created\ndata: {")) << stream.body;
    EXPECT_NE(stream.body.find("event: response.completed\n"), std::string::npos);
    EXPECT_EQ(stream.body.find("[DONE]"), std::string::npos);

    const Answer chat = co_await create(w, R"("messages":[{"role":"user","content":"hi"}])");
    EXPECT_EQ(chat.at("object"), "chat.completion");
    const Answer doubled =
        co_await send(w, http::Method::post, "/v1/v1/responses", R"({"model":"m","input":"hi"})");
    EXPECT_EQ(doubled.at("object"), "response");
    const Answer strange = co_await create(w, R"("input":"hi","truncation":"auto")");
    EXPECT_EQ(strange.status, 400);
    EXPECT_EQ(strange.at("error.param"), "truncation");
    EXPECT_EQ(strange.at("error.code"), "unsupported_parameter");
    const Answer long_one = co_await create(w, R"("input":"too long","stream":true)");
    EXPECT_EQ(long_one.status, 400);
    EXPECT_EQ(long_one.at("error.param"), "input");
    EXPECT_EQ(long_one.at("error.code"), "context_length_exceeded");
    const Answer schema = co_await create(
        w,
        R"("input":"x","text":{"format":{"type":"json_schema","name":"s","schema":{"type":"spaceship"}}})");
    EXPECT_EQ(schema.status, 400);
    EXPECT_EQ(schema.at("error.param"), "text.format");
    EXPECT_EQ(schema.at("error.code"), "unsupported_schema");
    const Answer tool = co_await create(
        w,
        R"("input":"x","tool_choice":"required","tools":[{"type":"function","name":"f","parameters":{"type":"object",
        "properties":{"a":{"not":{"type":"string"}}}}}])");
    EXPECT_EQ(tool.status, 400);
    EXPECT_EQ(tool.at("error.param"), "tools[0]");
}

TEST(Responses, AnswersWholeAndStreamed) {
    run(&check_answers);
}

rt::Task<void> check_failure(World& w) {
    const Answer broken = co_await create(w, R"("input":"fail","stream":true,"store":true)");
    EXPECT_EQ(broken.status, 200);
    const std::size_t error = broken.body.find("event: error\ndata: {\"type\":\"error\"");
    EXPECT_NE(error, std::string::npos) << broken.body;
    EXPECT_GT(broken.body.find("event: response.failed\n"), error);
    EXPECT_NE(broken.body.find("event: response.failed\n"), std::string::npos);
    EXPECT_EQ(broken.body.find("response.completed"), std::string::npos);
    EXPECT_EQ(w.services.stored->size(), 0U) << "a failed answer is not kept";
    const Answer whole = co_await create(w, R"("input":"fail")");
    EXPECT_EQ(whole.status, 504);
}

TEST(Responses, AFailureIsToldInBothForms) {
    run(&check_failure);
}

rt::Task<void> check_conversation(World& w) {
    const Answer first = co_await create(w, R"("input":"one","store":true,"instructions":"old")");
    EXPECT_EQ(first.at("store"), "true");
    const std::string id = first.at("id");
    const Answer again = co_await get(w, id);
    EXPECT_EQ(again.status, 200);
    EXPECT_EQ(again.body, first.body);
    EXPECT_EQ((co_await get(w, id + "?stream=true")).at("error.code"), "unsupported_parameter");

    const Answer second = co_await create(
        w, R"("input":"two","stream":true,"store":true,"previous_response_id":")" + id + "\"");
    const std::string heard = "u:one a:s:old u:one  u:two ";
    EXPECT_NE(second.body.find("\"delta\":\"" + heard + "\""), std::string::npos) << second.body;
    const std::size_t at = second.body.find("\"id\":\"resp_") + 6;
    const std::string next = second.body.substr(at, second.body.find('"', at) - at);
    const Answer kept = co_await get(w, next);
    EXPECT_EQ(kept.text(), heard);
    EXPECT_EQ(kept.at("previous_response_id"), id);
    // The whole of what was kept stands at the end of the stream.
    EXPECT_NE(second.body.find(kept.body + "}\n\n"), std::string::npos);

    const Answer third = co_await create(
        w, R"("input":"three","instructions":"new","previous_response_id":")" + next + "\"");
    EXPECT_EQ(third.text(), "s:new u:one a:s:old u:one  u:two a:" + heard + " u:three ");
    EXPECT_EQ(w.services.stored->size(), 3U); // one of them the items of the third

    const Answer unknown =
        co_await create(w, R"("input":"x","previous_response_id":"resp_nobody")");
    EXPECT_EQ(unknown.status, 400);
    EXPECT_EQ(unknown.at("error.param"), "previous_response_id");
    EXPECT_EQ(unknown.at("error.code"), "previous_response_not_found");

    const Answer counted =
        co_await send(w, http::Method::post, "/v1/responses/input_tokens",
                      R"({"model":"m","input":"x","previous_response_id":")" + id + "\"}");
    EXPECT_EQ(counted.body, R"({"object":"response.input_tokens","input_tokens":25})");
}

TEST(Responses, AConversationGoesOnFromWhatIsStored) {
    run(&check_conversation);
}

rt::Task<void> check_tools(World& w) {
    const std::string tools = R"("tools":[{"type":"function","name":"f"}],"store":true)";
    const Answer call = co_await create(w, R"("input":"q",)" + tools);
    EXPECT_EQ(call.at("output.0.type"), "function_call");
    const std::string call_id = call.at("output.0.call_id");
    const std::string output =
        R"("input":[{"type":"function_call_output","call_id":")" + call_id + R"(","output":"r"}],)";
    const Answer done =
        co_await create(w, output + tools + R"(,"previous_response_id":")" + call.at("id") + "\"");
    EXPECT_EQ(done.text(), "u:q a:!f t:r ");
    const Answer orphan = co_await create(w, output + tools);
    EXPECT_EQ(orphan.status, 400);
    EXPECT_EQ(orphan.at("error.param"), "input[0].call_id");

    // The same by reference to its items.
    const std::string reference =
        R"({"type":"item_reference","id":")" + call.at("output.0.id") + R"("})";
    const std::string referring = R"("input":[{"role":"user","content":"q"},)" + reference +
                                  R"(,{"type":"function_call_output","call_id":")" + call_id +
                                  R"(","output":"s"}])";
    EXPECT_EQ((co_await create(w, referring)).text(), "u:q a:!f t:s ");
    const Answer foreign = co_await create(w, referring, kOtherKey);
    EXPECT_EQ(foreign.status, 400);
    EXPECT_EQ(foreign.at("error.param"), "input[1].id");
}

TEST(Responses, ToolResultsAndReferencesFindTheirCalls) {
    run(&check_tools);
}

rt::Task<void> check_ownership(World& w) {
    const Answer mine = co_await create(w, R"("input":"secret","store":true)");
    const std::string id = mine.at("id");
    EXPECT_EQ((co_await get(w, id, kOtherKey)).status, 404);
    EXPECT_EQ((co_await get(w, id + "/input_items", kOtherKey)).status, 404);
    EXPECT_EQ((co_await send(w, http::Method::del, "/v1/responses/" + id, {}, kOtherKey)).status,
              404);
    EXPECT_EQ(
        (co_await send(w, http::Method::post, "/v1/responses/" + id + "/cancel", {}, kOtherKey))
            .status,
        404);
    const Answer next =
        co_await create(w, R"("input":"x","previous_response_id":")" + id + "\"", kOtherKey);
    EXPECT_EQ(next.status, 400);
    EXPECT_EQ(next.body.find("secret"), std::string::npos);
    EXPECT_EQ((co_await get(w, id, "sk-db-wrong")).status, 401);
    const Answer cancel =
        co_await send(w, http::Method::post, "/v1/responses/" + id + "/cancel", {});
    EXPECT_EQ(cancel.status, 400);
    EXPECT_EQ((co_await send(w, http::Method::post, "/v1/responses/compact", "{}")).status, 404);
    const Answer deleted = co_await send(w, http::Method::del, "/v1/responses/" + id, {});
    EXPECT_EQ(deleted.body, R"({"id":")" + id + R"(","object":"response","deleted":true})");
    EXPECT_EQ((co_await get(w, id)).status, 404);
    EXPECT_EQ((co_await send(w, http::Method::del, "/v1/responses/" + id, {})).status, 404);
}

TEST(Responses, EachAccountSeesItsOwn) {
    run(&check_ownership);
}

rt::Task<void> check_pages(World& w) {
    const Answer kept = co_await create(
        w,
        R"("store":true,"input":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
        {"role":"user","content":"c"}])");
    const std::string path = kept.at("id") + "/input_items";
    const Answer all = co_await get(w, path);
    EXPECT_EQ(all.at("object"), "list");
    EXPECT_EQ(all.at("has_more"), "false");
    EXPECT_EQ(all.at("data.0.content.0.text"), "c") << "the newest first";
    EXPECT_EQ(all.at("data.2.content.0.text"), "a");
    EXPECT_EQ(all.at("first_id"), all.at("data.0.id"));
    EXPECT_EQ(all.at("last_id"), all.at("data.2.id"));
    const Answer page = co_await get(w, path + "?order=asc&limit=2");
    EXPECT_EQ(page.at("data.1.content.0.type"), "output_text");
    EXPECT_EQ(page.at("data.2"), "none");
    EXPECT_EQ(page.at("has_more"), "true");
    const Answer rest = co_await get(w, path + "?order=asc&after=" + page.at("last_id"));
    EXPECT_EQ(rest.at("data.0.content.0.text"), "c");
    EXPECT_EQ(rest.at("has_more"), "false");
    for (const char* const bad : {"?limit=0", "?limit=101", "?limit=x", "?order=up", "?after=it"})
        EXPECT_EQ((co_await get(w, path + bad)).status, 400) << bad;
}

TEST(Responses, InputItemsComeInPages) {
    run(&check_pages);
}

rt::Task<void> check_lifetime(World& w) {
    const Answer kept = co_await create(w, R"("input":"a","store":true)");
    co_await rt::sleep_for(std::chrono::minutes(59));
    EXPECT_EQ((co_await get(w, kept.at("id"))).status, 200);
    co_await rt::sleep_for(std::chrono::minutes(2));
    // Whatever is asked next: what is over is not in memory any more.
    EXPECT_EQ((co_await create(w, R"("input":"b","store":false)")).status, 200);
    EXPECT_EQ(w.services.stored->size(), 0U);
    EXPECT_EQ(w.services.stored->bytes(), 0U);
    EXPECT_EQ((co_await get(w, kept.at("id"))).status, 404);
}

TEST(Responses, AfterAnHourTheyAreForgotten) {
    run(&check_lifetime);
}

} // namespace
} // namespace bloom::test
