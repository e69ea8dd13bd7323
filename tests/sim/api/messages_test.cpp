// Anthropic's messages over HTTP on a virtual machine and clock: when a stream says what, how it
// keeps alive and how it breaks, the count of a prompt's tokens, and the envelope of every error.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/rt/sim_driver.hpp>
#include <bloom/store/database.hpp>
#include <bloom/store/key_store.hpp>

#include "support/co_test.hpp"

namespace bloom::test {
namespace {

using gen::EventKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kKey = "sk-db-simulated-key-0123456789";
constexpr std::string_view kPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
constexpr std::string_view kComment = ": keep-alive\n\n";

/// What happens at a time after the submission.
struct Step {
    milliseconds at;
    EventKind kind;
    std::string text = {};
    gen::Finish finish = gen::Finish::stop;
    gen::Failure failure = gen::Failure::none;
    gen::Refusal refusal = gen::Refusal::none;
};

using Script = std::vector<Step>;

class ScriptStream final : public registry::EventStream {
public:
    explicit ScriptStream(const Script& script)
        : script_(script), begin_ns_(rt::Shard::current().now_ns()) {}

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override {
        if (next_ == script_.size()) co_return std::nullopt;
        const Step& step = script_[next_];
        const auto after = std::chrono::duration_cast<std::chrono::nanoseconds>(step.at);
        BLOOM_CO_OK(
            co_await rt::sleep_until(begin_ns_ + static_cast<std::uint64_t>(after.count()), stop));
        ++next_;
        gen::EventBatch batch(1);
        gen::Event& event = batch[0];
        event.kind = step.kind;
        event.text = step.text;
        event.finish = step.finish;
        event.failure = step.failure;
        event.refusal = step.refusal;
        if (step.kind == EventKind::started || step.kind == EventKind::usage)
            event.usage = {12, 4, step.kind == EventKind::usage ? 5 : 0, 2};
        co_return std::optional(std::move(batch));
    }

    void grant(std::size_t) override {}

    rt::Task<gen::Usage> cancel() override {
        next_ = script_.size();
        co_return gen::Usage{};
    }

private:
    const Script& script_;
    std::uint64_t begin_ns_;
    std::size_t next_ = 0;
};

/// Holds model `m`, answers by the script, counts 42 tokens.
class ScriptLink final : public registry::ProviderLink {
public:
    explicit ScriptLink(Script script) : script_(std::move(script)) {
        registry::ModelInfo model;
        model.id = "m";
        models_ = std::make_shared<const registry::ModelList>(1, std::move(model));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return {1, 8, 0, 0, false, models_}; }

    std::unique_ptr<registry::EventStream> submit(std::shared_ptr<const gen::Generation>) override {
        return std::make_unique<ScriptStream>(script_);
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> request) override {
        if (request->messages.back().content.at(0).text == "refuse me")
            co_return Error{Code::invalid_argument, "the template says no"};
        co_return std::int64_t{42};
    }

    rt::Task<Result<>> load(std::string) override { co_return Result<>{}; }

    rt::Task<Result<>> unload(std::string) override { co_return Result<>{}; }

    void drain() override {}

private:
    registry::ProviderIdentity identity_;
    Script script_;
    std::shared_ptr<const registry::ModelList> models_;
};

struct Ask {
    std::string body;
    std::string path = "/v1/messages";
    std::string key = kKey;
    http::Method method = http::Method::post;
};

/// A piece of a response and when it came, after the request was sent.
struct Piece {
    milliseconds at;
    std::string bytes;
};

struct Seen {
    int status = 0;
    std::string request_id;
    std::string retry_after;
    std::vector<Piece> pieces;
    bool truncated = false;

    std::string all() const {
        std::string out;
        for (const Piece& piece : pieces)
            out += piece.bytes;
        return out;
    }
};

struct World {
    explicit World(Script script) {
        EXPECT_TRUE(store::migrate(db).has_value());
        store::KeyStore store(db);
        EXPECT_TRUE(auth::ensure_owner(store, kKey, 1).has_value());
        keys.set(*auth::KeyTable::load(store));
        registry.add(std::make_shared<ScriptLink>(std::move(script)));
    }

    store::Database db = *store::Database::open(":memory:");
    Snapshot<auth::KeyTable> keys{nullptr};
    registry::Registry registry;
    scheduler::PermissiveAdmission admission;
    api::Services services{registry, admission, keys};
    std::vector<Ask> asks;
    std::vector<Seen> seen;
};

milliseconds since(std::uint64_t begin_ns) {
    return std::chrono::duration_cast<milliseconds>(
        std::chrono::nanoseconds(rt::Shard::current().now_ns() - begin_ns));
}

rt::Task<void> ask_one(World& w, const Ask& ask, const net::Address& address) {
    http::Client client;
    http::ClientRequest request;
    request.method = ask.method;
    request.url = "http://" + address.to_string() + ask.path;
    request.headers.add("anthropic-version", "2023-06-01");
    request.headers.add("anthropic-beta", "nobody-knows-2026-01-01");
    if (!ask.key.empty()) request.headers.add("x-api-key", ask.key);
    request.content_type = "application/json";
    request.body = ask.body;
    const std::uint64_t begin_ns = rt::Shard::current().now_ns();
    auto response = co_await client.request(std::move(request));
    EXPECT_TRUE(response.has_value());
    Seen seen;
    if (response) {
        seen.status = http::to_int(response->status());
        seen.request_id = response->headers().find("request-id").value_or("");
        EXPECT_EQ(seen.request_id, response->headers().find("x-request-id").value_or("none"));
        seen.retry_after = response->headers().find("retry-after").value_or("");
        for (;;) {
            const auto bytes = co_await response->read();
            seen.truncated = !bytes;
            if (!bytes || bytes->empty()) break;
            seen.pieces.push_back({since(begin_ns), std::string(*bytes)});
        }
        co_await response->close();
    }
    w.seen.push_back(std::move(seen));
    co_await client.close();
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
    for (const Ask& ask : w->asks)
        co_await ask_one(*w, ask, server.local());
    drain.request_stop(rt::StopReason::shutdown);
    co_await serving.join();
}

/// All of the world's questions, one after the other.
void run(World& w) {
    rt::SimWorld world(base_seed(), rt::SimFaults::calm());

    struct Main {
        World* w;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const { return world_main(w); }
    };

    ASSERT_TRUE(world.run(Main{&w}).has_value());
    ASSERT_EQ(w.seen.size(), w.asks.size());
}

std::string body(std::string_view extra = {}) {
    return R"({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}])" +
           std::string(extra) + "}";
}

const std::string kStream = R"(,"stream":true)";

/// `event:` lines of a stream, in order.
std::vector<std::string> types(const std::string& stream) {
    constexpr std::string_view kField = "event: ";
    std::vector<std::string> out;
    for (std::size_t at = stream.find(kField); at != std::string::npos;
         at = stream.find(kField, at + 1)) {
        out.push_back(
            stream.substr(at + kField.size(), stream.find('\n', at) - at - kField.size()));
    }
    return out;
}

using Types = std::vector<std::string>;

TEST(MessagesSim, AStreamFromItsStartToItsStop) {
    World w({{seconds(0), EventKind::accepted},
             {seconds(1), EventKind::started},
             {seconds(2), EventKind::text_delta, "a"},
             {seconds(3), EventKind::text_delta, "b"},
             {seconds(4), EventKind::finished},
             {seconds(4), EventKind::usage}});
    for (const char* path : {"/v1/messages", "/v1/v1/messages?beta=true"})
        w.asks.push_back({body(kStream), path});
    run(w);
    for (const Seen& seen : w.seen) {
        EXPECT_EQ(seen.status, 200);
        EXPECT_FALSE(seen.truncated);
        EXPECT_FALSE(seen.request_id.empty());
        EXPECT_EQ(
            types(seen.all()),
            (Types{"message_start", "ping", "content_block_start", "content_block_delta",
                   "content_block_delta", "content_block_stop", "message_delta", "message_stop"}));
        ASSERT_FALSE(seen.pieces.empty());
        EXPECT_GE(seen.pieces.front().at, seconds(2)) << "nothing before the first content";
        EXPECT_NE(seen.all().find(R"("usage":{"input_tokens":8,)"), std::string::npos);
        EXPECT_EQ(seen.all().find("[DONE]"), std::string::npos);
    }
}

TEST(MessagesSim, SilenceIsFilledByPingsOnceTheMessageHasStarted) {
    World w({{seconds(0), EventKind::accepted},
             {seconds(30), EventKind::text_delta, "a"},
             {seconds(90), EventKind::text_delta, "b"},
             {seconds(90), EventKind::finished},
             {seconds(90), EventKind::usage}});
    w.asks = {{body(kStream)}};
    run(w);
    const Seen& seen = w.seen[0];
    milliseconds before{0};
    int n_comments = 0;
    int n_pings = 0;
    bool started = false;
    for (const Piece& piece : seen.pieces) {
        EXPECT_LE(piece.at - before, milliseconds(15'500)) << "the line was silent for too long";
        before = piece.at;
        started |= piece.bytes.starts_with("event: message_start");
        n_comments += piece.bytes == kComment ? 1 : 0;
        n_pings += piece.bytes == kPing ? 1 : 0;
        EXPECT_EQ(piece.bytes == kComment, !started) << piece.bytes;
    }
    EXPECT_EQ(n_comments, 2) << "at the commit and 15 s later";
    EXPECT_EQ(n_pings, 3) << "between the two pieces of text";
    EXPECT_EQ(types(seen.all()).back(), "message_stop");
}

TEST(MessagesSim, ABrokenStreamEndsWithItsErrorAndNothingElse) {
    World w({{seconds(0), EventKind::accepted},
             {seconds(0), EventKind::started},
             {seconds(1), EventKind::text_delta, "half"},
             {seconds(2), EventKind::failed, "secret", {}, gen::Failure::provider}});
    w.asks = {{body(kStream)}};
    run(w);
    EXPECT_EQ(w.seen[0].status, 200);
    EXPECT_TRUE(w.seen[0].truncated) << "it must not look complete";
    EXPECT_EQ(types(w.seen[0].all()), (Types{"message_start", "ping", "content_block_start",
                                             "content_block_delta", "error"}));
    EXPECT_NE(w.seen[0].all().find(R"({"type":"error","error":{"type":"api_error",)"),
              std::string::npos);
    EXPECT_EQ(w.seen[0].all().find("secret"), std::string::npos);
}

TEST(MessagesSim, ASilentProviderTimesOutInBand) {
    World w({{seconds(0), EventKind::accepted},
             {seconds(1), EventKind::text_delta, "half"},
             {seconds(5000), EventKind::text_delta, "late"}});
    w.asks = {{body(kStream)}};
    run(w);
    EXPECT_TRUE(w.seen[0].truncated);
    EXPECT_EQ(types(w.seen[0].all()).back(), "error");
    EXPECT_NE(w.seen[0].all().find("overloaded_error"), std::string::npos);
}

TEST(MessagesSim, WholeMessagesAndThinkingOfEachItsOwn) {
    World w({{seconds(0), EventKind::accepted},
             {seconds(0), EventKind::started},
             {seconds(1), EventKind::reasoning_delta, "hm"},
             {seconds(1), EventKind::text_delta, "yes"},
             {seconds(1), EventKind::finished},
             {seconds(1), EventKind::usage}});
    const std::string thinking = R"(,"thinking":{"type":"enabled","budget_tokens":1024})";
    w.asks = {{body()}, {body(thinking)}, {body(thinking)}};
    run(w);
    EXPECT_NE(w.seen[0].all().find(R"("content":[{"type":"text","text":"yes","citations":null}],)"),
              std::string::npos);
    EXPECT_NE(w.seen[1].all().find(R"({"type":"thinking","thinking":"hm","signature":")"),
              std::string::npos);
    const auto signature = [](const Seen& seen) {
        const std::string text = seen.all();
        return text.substr(text.find("signature"), 60);
    };
    EXPECT_NE(signature(w.seen[1]), signature(w.seen[2])) << "keys are of one response";
}

TEST(MessagesSim, CapacityIs529) {
    World w({{seconds(0), EventKind::refused, {}, {}, {}, gen::Refusal::busy}});
    w.asks = {{body()}, {body(kStream)}};
    run(w);
    for (const Seen& seen : w.seen) {
        EXPECT_EQ(seen.status, 529);
        EXPECT_FALSE(seen.retry_after.empty());
        EXPECT_NE(seen.all().find(R"("type":"overloaded_error")"), std::string::npos);
    }
}

TEST(MessagesSim, EveryErrorIsInTheEnvelope) {
    World w({{seconds(0), EventKind::failed, "too long by far", {}, gen::Failure::context_length}});
    w.services.limits.body_bytes = 1000;

    struct Case {
        Ask ask;
        int status;
        std::string type;
    };

    const std::string other = R"({"model":"x","messages":[{"role":"user","content":"hi"}])";
    const std::string count = "/v1/messages/count_tokens";
    const Case kCases[] = {
        {{body(), "/v1/messages", ""}, 401, "authentication_error"},
        {{body(), "/v1/messages", "sk-db-wrong"}, 401, "authentication_error"},
        {{body(), count, ""}, 401, "authentication_error"},
        {{"{"}, 400, "invalid_request_error"},
        {{"{", count}, 400, "invalid_request_error"},
        {{body(R"(,"max_tokens":0)")}, 400, "invalid_request_error"},
        {{body()}, 400, "invalid_request_error"}, // the provider found it too long
        {{other + R"(,"max_tokens":1})"}, 404, "not_found_error"},
        {{other + "}", count}, 404, "not_found_error"},
        {{body(), "/v1/messages/nothing"}, 404, "not_found_error"},
        {{body(), "/v1/v1/messages/nothing"}, 404, "not_found_error"},
        {{"", "/v1/messages", kKey, http::Method::get}, 405, "invalid_request_error"},
        {{body(R"(,"user":")" + std::string(1000, 'x') + "\"")}, 413, "request_too_large"},
        {{body(R"(,"user":")" + std::string(1000, 'x') + "\""), count}, 413, "request_too_large"},
        {{R"({"model":"m","messages":[{"role":"user","content":"refuse me"}]})", count},
         400,
         "invalid_request_error"},
    };
    for (const Case& c : kCases)
        w.asks.push_back(c.ask);
    run(w);
    for (std::size_t i = 0; i < std::size(kCases); ++i) {
        const Seen& seen = w.seen[i];
        const std::string text = seen.all();
        EXPECT_EQ(seen.status, kCases[i].status) << i << text;
        EXPECT_TRUE(text.starts_with(R"({"type":"error","error":{"type":")" + kCases[i].type +
                                     R"(","message":")"))
            << i << text;
        EXPECT_FALSE(seen.request_id.empty()) << i;
        EXPECT_TRUE(text.ends_with(R"(,"request_id":")" + seen.request_id + "\"}")) << i << text;
    }
}

TEST(MessagesSim, PromptsAreCountedWithoutRunning) {
    World w({});
    const std::string request = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})";
    w.asks = {{request, "/v1/messages/count_tokens"},
              {request, "/v1/v1/messages/count_tokens?beta=true"}};
    run(w);
    for (const Seen& seen : w.seen) {
        EXPECT_EQ(seen.status, 200);
        EXPECT_EQ(seen.all(), R"({"input_tokens":42})");
    }
}

} // namespace
} // namespace bloom::test
