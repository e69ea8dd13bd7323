// Models by their names, over HTTP on a virtual machine: listings, the catalog, and which of a
// provider's models a request gets.
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

constexpr const char* kKey = "sk-db-simulated-key-0123456789";
const std::string kGemma = "mlx-community/gemma-4-26b-a4b-it-8bit";
const std::string kTrinity = "mlx-community/Trinity-Mini-8bit";

/// Answers one word and remembers what it was asked for.
class OneWord final : public registry::EventStream {
public:
    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken) override {
        if (ended_) co_return std::nullopt;
        ended_ = true;
        gen::EventBatch batch(4);
        batch[0].kind = gen::EventKind::accepted;
        batch[1].kind = gen::EventKind::text_delta;
        batch[1].text = "word";
        batch[2].kind = gen::EventKind::finished;
        batch[2].finish = gen::Finish::stop;
        batch[3].kind = gen::EventKind::usage;
        co_return std::optional(std::move(batch));
    }

    void grant(std::size_t) override {}

    rt::Task<gen::Usage> cancel() override {
        ended_ = true;
        co_return gen::Usage{};
    }

private:
    bool ended_ = false;
};

class NamedModels final : public registry::ProviderLink {
public:
    /// "id" or "id=id of the catalog".
    NamedModels(const std::vector<std::string>& models, std::vector<std::string>& asked)
        : asked_(asked) {
        registry::ModelList list;
        for (const std::string& text : models) {
            const std::size_t at = text.find('=');
            registry::ModelInfo info;
            info.id = text.substr(0, at);
            if (at != std::string::npos) info.catalog_id = text.substr(at + 1);
            info.context_length =
                4096 + static_cast<std::int32_t>(list.size()); // to tell them apart
            if (!info.catalog_id.empty()) info.max_output_length = 100;
            list.push_back(std::move(info));
        }
        models_ = std::make_shared<const registry::ModelList>(std::move(list));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return {1, 8, 0, 0, false, models_}; }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        asked_.push_back(request->model + " " + std::to_string(request->limits.max_tokens));
        return std::make_unique<OneWord>();
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> /*request*/) override {
        co_return std::int64_t{0};
    }

    rt::Task<Result<>> load(std::string) override { co_return Result<>{}; }

    rt::Task<Result<>> unload(std::string) override { co_return Result<>{}; }

    void drain() override {}

private:
    std::vector<std::string>& asked_;
    registry::ProviderIdentity identity_;
    std::shared_ptr<const registry::ModelList> models_;
};

struct Ask {
    http::Method method = http::Method::get;
    std::string path;
    std::string body = {};
    bool with_key = true;
};

struct Seen {
    int status = 0;
    std::string body;
};

struct World {
    explicit World(const std::vector<std::string>& models) {
        EXPECT_TRUE(store::migrate(db).has_value());
        store::KeyStore store(db);
        EXPECT_TRUE(auth::ensure_owner(store, kKey, 1).has_value());
        keys.set(*auth::KeyTable::load(store));
        registry.add(std::make_shared<NamedModels>(models, asked));
    }

    store::Database db = *store::Database::open(":memory:");
    Snapshot<auth::KeyTable> keys{nullptr};
    registry::Registry registry;
    scheduler::PermissiveAdmission admission;
    api::Services services{registry, admission, keys};
    std::vector<std::string> asked; ///< models and token limits, as the provider saw them
    std::vector<Ask> asks;
    std::vector<Seen> seen;
};

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
    for (const Ask& ask : w->asks) {
        http::ClientRequest request;
        request.method = ask.method;
        request.url = "http://" + server.local().to_string() + ask.path;
        if (ask.with_key) request.headers.add("Authorization", std::string("Bearer ") + kKey);
        if (!ask.body.empty()) request.content_type = "application/json";
        request.body = ask.body;
        auto response = co_await client.request(std::move(request));
        EXPECT_TRUE(response.has_value());
        if (!response) break;
        Seen seen;
        seen.status = http::to_int(response->status());
        const Result<std::string> body = co_await response->read_all(std::size_t{1} << 20);
        EXPECT_TRUE(body.has_value());
        if (body) seen.body = *body;
        co_await response->close();
        w->seen.push_back(std::move(seen));
    }
    co_await client.close();
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

std::vector<std::string> ids(const std::string& body, const char* list) {
    json::Parser parser;
    std::vector<std::string> out;
    const json::Value root = parser.parse(body).value();
    const json::Value models = root.as_object().value().at(list).value();
    for (const json::Value model : models.as_array().value())
        out.emplace_back(model.as_object().value().at("id").value().as_string().value());
    return out;
}

using Ids = std::vector<std::string>;

TEST(ModelsSim, ListingsShowPublicNames) {
    World w({kGemma + "=" + kGemma, "mine"});
    w.asks = {{.path = "/v1/models"},
              {.path = "/v1/models?include_builds=1"},
              {.path = "/v1/models", .with_key = false},
              {.path = "/v1/models/gemma-4-26b"},
              {.path = "/v1/models/" + kGemma},
              {.path = "/v1/models/google%2Fgemma-4-26B-A4B-it"},
              {.path = "/v1/models/trinity-mini"}};
    run(w);
    EXPECT_EQ(ids(w.seen[0].body, "data"), (Ids{"gemma-4-26b", "mine"}));
    EXPECT_EQ(ids(w.seen[1].body, "data"), (Ids{"gemma-4-26b", "mine", kGemma}));
    EXPECT_EQ(w.seen[2].status, 401);
    for (const std::size_t i : {3U, 4U, 5U}) {
        EXPECT_EQ(w.seen[i].status, 200);
        EXPECT_NE(w.seen[i].body.find("\"min_ram_gb\":36"), std::string::npos) << i;
    }
    EXPECT_NE(w.seen[5].body.find("\"id\":\"google/gemma-4-26B-A4B-it\""), std::string::npos);
    EXPECT_EQ(w.seen[6].status, 404) << "nobody serves it, and this node lists no others";
}

TEST(ModelsSim, NodesThatOthersJoinListTheWholeCatalog) {
    World w({"mine"});
    w.services.list_catalog = true;
    w.asks = {{.path = "/v1/models"},
              {.path = "/v1/models?available=1"},
              {.path = "/v1/models/trinity-mini"},
              {.path = "/v1/models/nobody/knows"}};
    run(w);
    EXPECT_EQ(ids(w.seen[0].body, "data").size(), 6U);
    EXPECT_EQ(ids(w.seen[1].body, "data"), (Ids{"mine"}));
    EXPECT_NE(w.seen[2].body.find("\"provider_count\":0"), std::string::npos);
    EXPECT_NE(w.seen[3].body.find("It serves: mine."), std::string::npos) << w.seen[3].body;
}

TEST(ModelsSim, FactsAreThoseOfTheModelThatRequestsGoTo) {
    World w({"a-gemma=" + kGemma, kGemma + "=" + kGemma, "my-trinity=" + kTrinity});
    w.services.list_catalog = true;
    w.asks = {{.path = "/v1/models/google%2Fgemma-4-26B-A4B-it"},
              {.path = "/v1/models/trinity-mini"}};
    run(w);
    // Builds under their own id come before names that somebody gave them.
    EXPECT_NE(w.seen[0].body.find("\"context_length\":4097,"), std::string::npos) << w.seen[0].body;
    EXPECT_NE(w.seen[1].body.find("\"context_length\":4098,"), std::string::npos) << w.seen[1].body;
}

TEST(ModelsSim, TheCatalogIsPublic) {
    World w({"mine"});
    w.asks = {{.path = "/v1/models/catalog", .with_key = false},
              {.path = "/v1/models/catalog?type=embedding", .with_key = false},
              {.path = "/v1/models/catalog?type=sandwich", .with_key = false},
              {.path = "/v1/models/catalog/trinity-mini", .with_key = false},
              {.path = "/v1/models/catalog/mlx-community%2FTrinity-Mini-8bit", .with_key = false},
              {.path = "/v1/models/catalog/none", .with_key = false},
              {.path = "/v1/models/catalog/manifest/trinity-mini", .with_key = false}};
    run(w);
    EXPECT_EQ(ids(w.seen[0].body, "models").size(), 5U);
    EXPECT_EQ(w.seen[1].body, R"({"models":[]})");
    EXPECT_EQ(w.seen[2].status, 400);
    for (const std::size_t i : {3U, 4U}) {
        EXPECT_EQ(w.seen[i].status, 200);
        EXPECT_NE(w.seen[i].body.find("\"input_price\":23000"), std::string::npos);
    }
    for (const std::size_t i : {5U, 6U}) {
        EXPECT_EQ(w.seen[i].status, 404);
        EXPECT_NE(w.seen[i].body.find("\"not_found\""), std::string::npos) << w.seen[i].body;
    }
}

Ask chat(const std::string& model, int max_tokens = 0) {
    return {http::Method::post, "/v1/chat/completions",
            R"({"model":")" + model + R"(","max_tokens":)" + std::to_string(max_tokens) +
                R"(,"messages":[{"role":"user","content":"hi"}]})"};
}

TEST(ModelsSim, RequestsMayUseEveryNameAndAreAnsweredUnderIt) {
    World w({"my-gemma=" + kGemma, "mine"});
    w.asks = {chat("gemma-4-26b"), chat(kGemma, 7),      chat("my-gemma", 101),
              chat("mine", 101),   chat("trinity-mini"), chat("nobody/knows")};
    run(w);
    EXPECT_EQ(w.asked, (Ids{"my-gemma 100", "my-gemma 7", "my-gemma 100", "mine 101"}));
    EXPECT_NE(w.seen[0].body.find(R"("model":"gemma-4-26b")"), std::string::npos);
    EXPECT_NE(w.seen[1].body.find("\"model\":\"" + kGemma + "\""), std::string::npos);
    // The catalog's, which nobody serves here, and one that does not exist.
    EXPECT_EQ(w.seen[4].status, 503);
    EXPECT_NE(w.seen[4].body.find("mine, my-gemma"), std::string::npos) << w.seen[4].body;
    EXPECT_NE(w.seen[4].body.find("model_not_held"), std::string::npos);
    EXPECT_EQ(w.seen[5].status, 404);
}

TEST(ModelsSim, PicturesAreRefusedByTheModelsName) {
    World w({"mine"});
    w.asks = {{http::Method::post, "/v1/chat/completions",
               R"({"model":"mine","messages":[{"role":"user","content":[
                   {"type":"text","text":"what is this?"},
                   {"type":"image_url","image_url":{"url":"data:,"}}]}]})"},
              {http::Method::post, "/v1/chat/completions",
               R"({"model":"mine","messages":[{"role":"user","content":[
                   {"type":"text","text":"what"},{"type":"text","text":" is this?"}]}]})"}};
    run(w);
    EXPECT_EQ(w.seen[0].status, 400);
    for (const char* part : {"unsupported_capability", "'mine'", "'image_url'"})
        EXPECT_NE(w.seen[0].body.find(part), std::string::npos) << w.seen[0].body;
    EXPECT_EQ(w.seen[1].status, 200);
}

} // namespace
} // namespace bloom::test
