// The API on a simulated machine with providers that follow a random script: slow, busy, failing
// before and after the first content, pausing without credit; clients that read everything, slowly,
// or leave. DARKBLOOM_SIM_SEEDS says how many seeds (default 200), DARKBLOOM_SEED the first one.
#include <cstdlib>

#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/base/rng.hpp>
#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/rt/sim_driver.hpp>
#include <bloom/sse/reader.hpp>

#include "support/co_test.hpp"

namespace bloom::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr const char* kKey = "sk-db-simulated-key-0123456789";

std::uint64_t n_seeds() {
    const char* text = std::getenv("DARKBLOOM_SIM_SEEDS");
    return text == nullptr ? 200 : std::strtoull(text, nullptr, 10);
}

/// Counts holds: each must end exactly once.
struct Books {
    int open = 0;
    int settled = 0;
    int released = 0;
    std::int64_t tokens_settled = 0;
};

class CountingHold final : public scheduler::Hold {
public:
    explicit CountingHold(Books& books) : books_(books) { ++books_.open; }

    rt::Task<Result<>> settle(gen::Usage used) override {
        co_await rt::sleep_for(microseconds(300)); // a commit takes time
        --books_.open;
        ++books_.settled;
        books_.tokens_settled += used.completion_tokens;
        co_return Result<>{};
    }

    rt::Task<Result<>> release() override {
        --books_.open;
        ++books_.released;
        co_return Result<>{};
    }

private:
    Books& books_;
};

class CountingAdmission final : public scheduler::AdmissionControl {
public:
    explicit CountingAdmission(Books& books) : books_(books) {}

    rt::Task<Result<scheduler::Admission>> admit(const auth::Principal&,
                                                 const gen::Generation&) override {
        co_return scheduler::Admission(std::make_unique<CountingHold>(books_));
    }

private:
    Books& books_;
};

/// What one attempt will do, drawn in advance.
struct Script {
    int n_deltas = 0;
    bool refuse = false;
    int fail_after = -1; ///< deltas before a failure; -1: none
    microseconds pace{0};
};

gen::Event event(gen::EventKind kind, std::string text = {}) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    return e;
}

std::string word(int i) {
    return "w" + std::to_string(i) + " ";
}

class ScriptedStream final : public registry::EventStream {
public:
    ScriptedStream(Script script, int& n_live) : script_(script), n_live_(n_live) { ++n_live_; }

    ~ScriptedStream() override {
        EXPECT_TRUE(ended_) << "a stream was dropped while it ran";
        --n_live_;
    }

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override {
        if (ended_) co_return std::nullopt;
        BLOOM_CO_OK(co_await rt::sleep_for(script_.pace, stop));
        gen::EventBatch batch;
        if (script_.refuse) {
            batch.push_back(event(gen::EventKind::refused));
            batch.back().refusal = gen::Refusal::busy;
            ended_ = true;
        } else if (at_ < 0) {
            batch.push_back(event(gen::EventKind::accepted));
            batch.push_back(event(gen::EventKind::started));
            usage_.prompt_tokens = 7;
            batch.back().usage = usage_;
            at_ = 0;
        } else if (at_ == script_.fail_after) {
            batch.push_back(event(gen::EventKind::failed));
            batch.back().failure = gen::Failure::provider;
            ended_ = true;
        } else if (at_ < script_.n_deltas) {
            batch.push_back(event(gen::EventKind::text_delta, word(at_++)));
            ++usage_.completion_tokens;
        } else {
            batch.push_back(event(gen::EventKind::finished));
            batch.back().finish = gen::Finish::stop;
            batch.push_back(event(gen::EventKind::usage));
            batch.back().usage = usage_;
            ended_ = true;
        }
        co_return std::optional(std::move(batch));
    }

    void grant(std::size_t bytes) override { granted_ += bytes; }

    rt::Task<gen::Usage> cancel() override {
        if (!ended_) co_await rt::sleep_for(microseconds(200));
        ended_ = true;
        co_return usage_;
    }

private:
    Script script_;
    int& n_live_;
    gen::Usage usage_;
    int at_ = -1;
    bool ended_ = false;
    std::size_t granted_ = 0;
};

/// Two machines that hold the model; what a request meets there is random.
class ScriptedLink final : public registry::ProviderLink {
public:
    ScriptedLink(std::string serial, Rng& rng, int& n_live) : rng_(rng), n_live_(n_live) {
        identity_.serial = std::move(serial);
        registry::ModelInfo model;
        model.id = "m";
        models_ = std::make_shared<const registry::ModelList>(1, std::move(model));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return {1, 8, 0, 0, false, models_}; }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        Script script;
        script.n_deltas = static_cast<int>(std::min<std::int64_t>(request->limits.max_tokens, 40));
        script.refuse = rng_.below(8) == 0;
        if (rng_.below(6) == 0) script.fail_after = static_cast<int>(rng_.below(20));
        // Now and then slower than the commit time and the keep-alive interval.
        script.pace = rng_.below(12) == 0
                          ? std::chrono::duration_cast<microseconds>(std::chrono::seconds(18))
                          : microseconds(rng_.below(20'000));
        return std::make_unique<ScriptedStream>(script, n_live_);
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
    Rng& rng_;
    int& n_live_;
    std::shared_ptr<const registry::ModelList> models_;
};

struct World {
    explicit World(std::uint64_t seed) : rng(seed) {
        EXPECT_TRUE(store::migrate(db).has_value());
        store::KeyStore store(db);
        EXPECT_TRUE(auth::ensure_owner(store, kKey, 1).has_value());
        keys.set(*auth::KeyTable::load(store));
        registry.add(std::make_shared<ScriptedLink>("one", rng, n_live));
        registry.add(std::make_shared<ScriptedLink>("two", rng, n_live));
    }

    Rng rng;
    int n_live = 0;
    bool lossy = false;
    Books books;
    store::Database db = *store::Database::open(":memory:");
    Snapshot<auth::KeyTable> keys{nullptr};
    registry::Registry registry;
    CountingAdmission admission{books};
    api::Services services{registry, admission, keys};
    net::Address address;
    bool listening = false;
    int n_whole = 0;
    int n_errors = 0;
};

http::ClientRequest chat_request(const World& w, bool stream, std::uint64_t max_tokens) {
    http::ClientRequest request;
    request.method = http::Method::post;
    request.url = "http://" + w.address.to_string() + "/v1/chat/completions";
    request.headers.add("Authorization", std::string("Bearer ") + kKey);
    request.content_type = "application/json";
    request.body =
        std::string(R"({"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":)") +
        std::to_string(max_tokens) + (stream ? R"(,"stream":true})" : "}");
    return request;
}

std::string expected_text(std::uint64_t n) {
    std::string out;
    for (std::uint64_t i = 0; i < n; ++i)
        out += word(static_cast<int>(i));
    return out;
}

/// The text of a chunk's delta; `error` is set by an error frame.
std::string delta_text(const std::string& data, bool& error) {
    json::Parser parser;
    const auto document = parser.parse(data);
    EXPECT_TRUE(document.has_value()) << data;
    const auto chunk = *document->as_object();
    if (chunk.find("error")) {
        error = true;
        return {};
    }
    std::string out;
    for (const json::Value choice : *chunk.find("choices")->as_array()) {
        const auto content = choice.as_object()->find("delta")->as_object()->find("content");
        if (content) out += *content->as_string();
    }
    return out;
}

/// Reads a stream to its end or leaves after `leave_after` events; checks that what came is a
/// prefix of the truth, and the whole of it exactly when DONE came.
rt::Task<void> read_stream(World& w, http::ClientResponse& response, std::uint64_t n,
                           std::uint64_t leave_after) {
    sse::Reader events;
    std::string text;
    bool done = false;
    bool error = false;
    std::uint64_t n_events = 0;
    for (;;) {
        const auto bytes = co_await response.read();
        if (!bytes || bytes->empty()) break;
        EXPECT_TRUE(events.feed(*bytes).has_value());
        sse::Event e;
        while (events.next(e)) {
            EXPECT_FALSE(done) << "something came after DONE";
            if (e.data == "[DONE]") {
                done = true;
            } else {
                text += delta_text(e.data, error);
            }
            ++n_events;
        }
        if (n_events >= leave_after) co_return;
        if (w.rng.below(10) == 0) co_await rt::sleep_for(milliseconds(w.rng.below(300)));
    }
    EXPECT_FALSE(done && error) << "a broken stream ended as if it were whole";
    EXPECT_TRUE(expected_text(n).starts_with(text));
    if (done) EXPECT_EQ(text, expected_text(n));
    if (!done && !error) EXPECT_TRUE(w.lossy) << "a stream ended without a word";
    ++(done ? w.n_whole : w.n_errors);
}

rt::Task<void> one_request(World& w, http::Client& client) {
    const bool stream = w.rng.below(3) != 0;
    const std::uint64_t n = 1 + w.rng.below(40);
    const std::uint64_t leave_after = w.rng.below(4) == 0 ? 1 + w.rng.below(10) : 1'000'000;
    auto response = co_await client.request(chat_request(w, stream, n));
    if (!response) {
        EXPECT_TRUE(w.lossy) << response.error().message();
        co_return;
    }
    const int status = http::to_int(response->status());
    if (status != 200) {
        EXPECT_EQ(status, 503);
        EXPECT_TRUE(response->headers().find("retry-after").has_value());
        ++w.n_errors;
    } else if (stream) {
        co_await read_stream(w, *response, n, leave_after);
    } else {
        const auto body = co_await response->read_all(1 << 20);
        if (body) {
            EXPECT_NE(body->find(expected_text(n)), std::string::npos);
            ++w.n_whole;
        } else {
            EXPECT_TRUE(w.lossy);
        }
    }
    co_await response->close();
}

rt::Task<void> client_main(World* w) {
    http::Client client;
    const std::uint64_t n = 1 + w->rng.below(5);
    for (std::uint64_t i = 0; i < n; ++i)
        co_await one_request(*w, client);
    co_await client.close();
}

rt::Task<void> serve_until(World* w, http::Server* server, rt::StopToken drain,
                           rt::StopToken abort) {
    w->address = server->local();
    co_await server->serve(drain, abort);
}

rt::Task<void> world_main(World* w) {
    const http::Router router = api::make_router(w->services);
    http::ServerOptions options;
    options.hooks = api::make_hooks(w->services);
    http::Server server(router, std::move(options));
    EXPECT_TRUE(server.listen(net::Address::loopback(8080)).has_value());
    w->address = server.local();
    rt::StopSource drain;
    rt::StopSource abort;
    rt::Scope serving;
    serving.spawn(serve_until(w, &server, drain.token(), abort.token()));
    rt::Scope clients;
    for (int i = 0; i < 6; ++i)
        clients.spawn(client_main(w));
    co_await clients.join();
    drain.request_stop(rt::StopReason::shutdown);
    co_await serving.join();
}

void run_seed(std::uint64_t seed) {
    SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed));
    World w(seed);
    w.lossy = seed % 3 == 0;
    rt::SimFaults faults = w.lossy ? rt::SimFaults::rough() : rt::SimFaults{};
    rt::SimWorld world(seed, faults);

    struct Main {
        World* w;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const { return world_main(w); }
    };

    ASSERT_TRUE(world.run(Main{&w}).has_value());
    EXPECT_EQ(w.books.open, 0);
    EXPECT_EQ(w.n_live, 0);
    EXPECT_EQ(w.services.n_active.load(), 0);
    EXPECT_GE(w.books.settled, w.n_whole);
    if (!w.lossy) EXPECT_GT(w.n_whole + w.n_errors, 0);
}

TEST(ChatSim, RequestsEndOnceWhateverHappens) {
    const std::uint64_t first = base_seed();
    for (std::uint64_t seed = first; seed < first + n_seeds() && !testing::Test::HasFailure();
         ++seed)
        run_seed(seed);
}

} // namespace
} // namespace bloom::test
