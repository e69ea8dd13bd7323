// One request at a time against a provider that follows an exact script, on a virtual clock: when a
// stream commits, when it keeps alive, what a provider that throws leaves behind.
#include <algorithm>
#include <map>
#include <new>

#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/attest/verify.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/net/tcp.hpp>
#include <bloom/rt/sim_driver.hpp>

#include "api/delivery.hpp"
#include "support/co_test.hpp"

namespace bloom::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kKey = "sk-db-simulated-key-0123456789";

/// What happens at a time after the submission.
struct Step {
    milliseconds at;
    gen::EventKind kind;
    std::string text = {};
    bool throws = false;
    std::int32_t choice = 0;
};

using Script = std::vector<Step>;

struct Books {
    int open = 0;
    int settled = 0;
    int released = 0;
    int live_streams = 0;
};

class OneHold final : public scheduler::Hold {
public:
    explicit OneHold(Books& books) : books_(books) { ++books_.open; }

    rt::Task<Result<>> settle(gen::Usage) override {
        --books_.open;
        ++books_.settled;
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

class OneAdmission final : public scheduler::AdmissionControl {
public:
    explicit OneAdmission(Books& books) : books_(books) {}

    rt::Task<Result<scheduler::Admission>> admit(const auth::Principal&,
                                                 const gen::Generation&) override {
        co_return scheduler::Admission(std::make_unique<OneHold>(books_));
    }

private:
    Books& books_;
};

class ExactStream final : public registry::EventStream {
public:
    ExactStream(const Script& script, Books& books)
        : script_(script), books_(books), begin_ns_(rt::Shard::current().now_ns()) {
        ++books_.live_streams;
    }

    ~ExactStream() override {
        EXPECT_TRUE(ended_) << "a stream was dropped while it ran";
        --books_.live_streams;
    }

    rt::Task<Result<std::optional<gen::EventBatch>>> next(rt::StopToken stop) override {
        if (next_ == script_.size()) co_return std::nullopt;
        const Step& step = script_[next_];
        const auto after = std::chrono::duration_cast<std::chrono::nanoseconds>(step.at);
        BLOOM_CO_OK(
            co_await rt::sleep_until(begin_ns_ + static_cast<std::uint64_t>(after.count()), stop));
        if (step.throws) throw std::bad_alloc();
        ++next_;
        gen::EventBatch batch(1);
        batch[0].kind = step.kind;
        batch[0].text = step.text;
        batch[0].finish = gen::Finish::stop;
        batch[0].choice = step.choice;
        ended_ |= step.kind == gen::EventKind::usage;
        co_return std::optional(std::move(batch));
    }

    void grant(std::size_t) override {}

    rt::Task<gen::Usage> cancel() override {
        ended_ = true;
        co_return gen::Usage{};
    }

private:
    const Script& script_;
    Books& books_;
    std::uint64_t begin_ns_;
    std::size_t next_ = 0;
    bool ended_ = false;
};

class ExactLink final : public registry::ProviderLink {
public:
    ExactLink(Script script, Books& books) : script_(std::move(script)), books_(books) {
        registry::ModelInfo model;
        model.id = "m";
        models_ = std::make_shared<const registry::ModelList>(1, std::move(model));
    }

    const registry::ProviderIdentity& identity() const noexcept override { return identity_; }

    registry::Capacity capacity() const override { return {1, 8, 0, 0, false, models_}; }

    std::unique_ptr<registry::EventStream>
    submit(std::shared_ptr<const gen::Generation> request) override {
        last_ = std::move(request);
        return std::make_unique<ExactStream>(script_, books_);
    }

    rt::Task<Result<std::int64_t>>
    count_tokens(std::shared_ptr<const gen::Generation> /*request*/) override {
        co_return std::int64_t{0};
    }

    rt::Task<Result<>> load(std::string) override { co_return Result<>{}; }

    rt::Task<Result<>> unload(std::string) override { co_return Result<>{}; }

    void drain() override {}

    registry::ProviderIdentity identity_;

    /// What providers see of the last request.
    std::shared_ptr<const gen::Generation> last_;

private:
    Script script_;
    Books& books_;
    std::shared_ptr<const registry::ModelList> models_;
};

/// A piece of a response and when it came, after the request was sent.
struct Piece {
    milliseconds at;
    std::string bytes;
};

struct Seen {
    int status = 0;
    milliseconds head_at{};
    std::vector<Piece> pieces;
    std::map<std::string, std::string, std::less<>> headers; ///< names in lower case
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
        link = std::make_shared<ExactLink>(std::move(script), books);
        registry.add(link);
    }

    /// Gives the node a key; its link then answers as the node itself.
    void sign() {
        auto key = attest::IdentityKey::generate();
        ASSERT_TRUE(key.has_value());
        auto made = attest::NodeAttestation::make(std::move(*key), {}, 1);
        ASSERT_TRUE(made.has_value());
        node = std::move(*made);
        services.attestation = node.get();
        link->identity_.id = node->key().node_id();
        link->identity_.serial = node->key().serial();
        link->identity_.public_key = node->key().public_key();
    }

    /// The statement of the stream that was seen, or why it does not verify.
    Result<attest::Statement> verified_stream() const {
        BLOOM_TRY(const attest::SignedBytes bytes, attest::signed_bytes_of_stream(seen.all()));
        return attest::verify(bytes, *bytes.evidence, &node->key().verify_key());
    }

    Books books;
    store::Database db = *store::Database::open(":memory:");
    Snapshot<auth::KeyTable> keys{nullptr};
    registry::Registry registry;
    OneAdmission admission{books};
    std::shared_ptr<ExactLink> link;
    std::unique_ptr<attest::NodeAttestation> node;
    api::Services services{registry, admission, keys};
    std::string body;
    bool two_choices = false; ///< no dialect asks for that yet
    bool raw = false;         ///< `body` is the whole request; nothing follows it
    Seen seen;
};

milliseconds since(std::uint64_t begin_ns) {
    return std::chrono::duration_cast<milliseconds>(
        std::chrono::nanoseconds(rt::Shard::current().now_ns() - begin_ns));
}

rt::Task<void> ask(World& w, const net::Address& address) {
    http::Client client;
    http::ClientRequest request;
    request.method = http::Method::post;
    request.url = "http://" + address.to_string() + "/v1/chat/completions";
    request.headers.add("Authorization", std::string("Bearer ") + kKey);
    request.content_type = "application/json";
    request.body = w.body;
    const std::uint64_t begin_ns = rt::Shard::current().now_ns();
    auto response = co_await client.request(std::move(request));
    EXPECT_TRUE(response.has_value());
    if (response) {
        w.seen.status = http::to_int(response->status());
        w.seen.head_at = since(begin_ns);
        for (std::size_t i = 0; i < response->headers().size(); ++i) {
            const http::Header header = response->headers()[i];
            std::string name(header.name);
            std::ranges::transform(name, name.begin(), to_lower_ascii);
            w.seen.headers[name] = std::string(header.value);
        }
        for (;;) {
            const auto bytes = co_await response->read();
            w.seen.truncated = !bytes;
            if (!bytes || bytes->empty()) break;
            w.seen.pieces.push_back({since(begin_ns), std::string(*bytes)});
        }
        co_await response->close();
    }
    co_await client.close();
}

rt::Task<void> send_raw(World& w, const net::Address& address) {
    const std::uint64_t begin_ns = rt::Shard::current().now_ns();
    auto stream = co_await net::connect(address);
    CO_ASSERT_TRUE(stream.has_value());
    const Result<> sent = co_await stream->send_all(as_bytes(w.body));
    EXPECT_TRUE(sent.has_value());
    for (;;) {
        auto chunk = co_await stream->recv();
        if (!chunk || chunk->empty()) break;
        w.seen.pieces.push_back({since(begin_ns), std::string(as_text(chunk->bytes()))});
    }
    co_await stream->close();
}

rt::Task<void> serve(http::Server* server, rt::StopToken drain, rt::StopToken abort) {
    co_await server->serve(drain, abort);
}

/// What the chat handler does with a request, for one of two choices.
struct TwoChoices {
    api::Services* services;

    BLOOM_CORO_WRAPPER rt::Task<Result<>> operator()(http::Exchange& ex) const {
        return handle(*services, ex);
    }

    static rt::Task<Result<>> handle(api::Services& services, http::Exchange& ex) {
        gen::Generation request;
        request.model = "m";
        request.n_choices = 2;
        request.render.stream = true;
        api::Delivery delivery(services, ex, std::move(request));
        const api::Outcome outcome = co_await delivery.run();
        EXPECT_EQ(outcome.kind, api::Outcome::Kind::answered);
        co_return co_await ex.finish(outcome.tail);
    }
};

rt::Task<void> world_main(World* w) {
    http::Router router;
    if (w->two_choices) {
        router.add(http::Method::post, "/v1/chat/completions", TwoChoices{&w->services});
    } else {
        router = api::make_router(w->services);
    }
    http::ServerOptions options;
    options.hooks = api::make_hooks(w->services);
    http::Server server(router, std::move(options));
    EXPECT_TRUE(server.listen(net::Address::loopback(8080)).has_value());
    rt::StopSource drain;
    rt::StopSource abort;
    rt::Scope serving;
    serving.spawn(serve(&server, drain.token(), abort.token()));
    if (w->raw) {
        co_await send_raw(*w, server.local());
    } else {
        co_await ask(*w, server.local());
    }
    drain.request_stop(rt::StopReason::shutdown);
    co_await serving.join();
}

/// Runs one request against the script to its end.
void run(World& w) {
    rt::SimWorld world(base_seed(), rt::SimFaults::calm());

    struct Main {
        World* w;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const { return world_main(w); }
    };

    ASSERT_TRUE(world.run(Main{&w}).has_value());
    EXPECT_EQ(w.books.open, 0);
    EXPECT_EQ(w.books.live_streams, 0);
    EXPECT_EQ(w.services.n_active.load(), 0);
}

std::string chat(std::string_view extra) {
    return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" + std::string(extra) + "}";
}

constexpr std::string_view kComment = ": keep-alive\n\n";

TEST(Delivery, CommitsTenSecondsAfterAcceptanceWhateverElseHappens) {
    using enum gen::EventKind;
    World w({{seconds(1), accepted},
             {seconds(7), started},
             {seconds(20), text_delta, "late"},
             {seconds(21), finished},
             {seconds(21), usage}});
    w.body = chat(R"(,"stream":true)");
    run(w);
    EXPECT_EQ(w.seen.status, 200);
    EXPECT_GE(w.seen.head_at, seconds(11));
    EXPECT_LT(w.seen.head_at, milliseconds(11'500)) << "an event in between must not put it off";
    ASSERT_FALSE(w.seen.pieces.empty());
    EXPECT_EQ(w.seen.pieces.front().bytes, kComment);
    EXPECT_TRUE(w.seen.all().ends_with("data: [DONE]\n\n"));
}

TEST(Delivery, KeepsAliveWhileHiddenThinkingRuns) {
    using enum gen::EventKind;
    Script script{{seconds(0), accepted}, {seconds(0), started}};
    for (int i = 1; i <= 50; ++i)
        script.push_back({seconds(2 * i), reasoning_delta, "hm"});
    script.push_back({seconds(101), text_delta, "yes"});
    script.push_back({seconds(101), finished});
    script.push_back({seconds(101), usage});
    World w(std::move(script));
    w.body = chat(R"(,"stream":true,"reasoning_format":"hidden")");
    run(w);
    EXPECT_LT(w.seen.head_at, milliseconds(10'500));
    milliseconds before = w.seen.head_at;
    for (const Piece& piece : w.seen.pieces) {
        EXPECT_LE(piece.at - before, milliseconds(15'500)) << "the line was silent for too long";
        before = piece.at;
    }
    EXPECT_TRUE(w.seen.all().ends_with("data: [DONE]\n\n"));
}

TEST(Delivery, NothingIsWrittenBeforeAProviderAccepts) {
    using enum gen::EventKind;
    World w({{seconds(40), accepted},
             {seconds(41), text_delta, "now"},
             {seconds(41), finished},
             {seconds(41), usage}});
    w.body = chat(R"(,"stream":true)");
    run(w);
    EXPECT_GE(w.seen.head_at, seconds(41));
    EXPECT_EQ(w.seen.all().find("keep-alive"), std::string::npos);
}

TEST(Delivery, AChoiceThatIsDoneDoesNotHoldBackTheOthers) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(1), text_delta, "short"},
             {seconds(2), finished},
             {seconds(3), text_delta, "longer", false, 1},
             {seconds(9), finished, {}, false, 1},
             {seconds(9), usage}});
    w.two_choices = true;
    run(w);
    milliseconds longer_at{};
    for (const Piece& piece : w.seen.pieces) {
        if (piece.bytes.find("longer") != std::string::npos) longer_at = piece.at;
    }
    EXPECT_GE(longer_at, seconds(3));
    EXPECT_LT(longer_at, seconds(4));
    EXPECT_TRUE(w.seen.all().ends_with("data: [DONE]\n\n"));
}

TEST(Delivery, AProviderThatThrowsBeforeTheCommitIsAnError) {
    World w({{seconds(0), gen::EventKind::accepted},
             {seconds(1), gen::EventKind::text_delta, {}, true}});
    for (const char* extra : {"", R"(,"stream":true)"}) {
        w.body = chat(extra);
        w.seen = {};
        run(w);
        EXPECT_EQ(w.seen.status, 500);
        EXPECT_NE(w.seen.all().find(R"("type":"internal_error")"), std::string::npos);
    }
    EXPECT_EQ(w.books.released, 2);
    EXPECT_EQ(w.books.settled, 0);
}

TEST(Delivery, AProviderThatThrowsAfterTheCommitBreaksTheStream) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(1), text_delta, "half"},
             {seconds(2), text_delta, {}, true}});
    w.body = chat(R"(,"stream":true)");
    run(w);
    EXPECT_EQ(w.seen.status, 200);
    EXPECT_TRUE(w.seen.truncated);
    EXPECT_NE(w.seen.all().find("half"), std::string::npos);
    EXPECT_EQ(w.seen.all().find("[DONE]"), std::string::npos);
    EXPECT_EQ(w.books.released, 1);
}

TEST(Signing, AStreamWithKeepAlivesVerifies) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(14), text_delta, "after the commit"},
             {seconds(40), text_delta, " and after more of them"},
             {seconds(41), finished},
             {seconds(41), usage}});
    w.sign();
    w.body = chat(R"(,"stream":true)");
    run(w);
    EXPECT_NE(w.seen.all().find(kComment), std::string::npos);
    EXPECT_TRUE(w.seen.all().ends_with("data: [DONE]\n\n"));
    const auto statement = w.verified_stream();
    ASSERT_TRUE(statement.has_value()) << statement.error().message();
    EXPECT_EQ(statement->response_id, "chatcmpl-" + w.seen.headers["x-inference-job-id"]);
    EXPECT_EQ(statement->request_hash, crypto::sha256_hex(w.body));
    EXPECT_EQ(statement->model, "m");
    EXPECT_EQ(statement->finish_reason, "stop");
    EXPECT_EQ(w.seen.headers["trailer"], "x-response-hash, x-se-signature");
    EXPECT_EQ(w.seen.headers.count("x-se-signature"), 0U);
    for (Piece& piece : w.seen.pieces) { // one byte of any event
        const std::size_t at = piece.bytes.find("after");
        if (at == std::string::npos) continue;
        piece.bytes[at] = 'A';
        EXPECT_FALSE(w.verified_stream().has_value());
        piece.bytes[at] = 'a';
    }
}

TEST(Signing, AWholeAnswerVerifies) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(1), text_delta, "hello"},
             {seconds(1), finished},
             {seconds(1), usage}});
    w.sign();
    w.body = chat("");
    run(w);
    const attest::Evidence evidence{
        w.seen.headers["x-response-hash"], w.seen.headers["x-se-signature"],
        w.seen.headers["x-response-statement"], w.seen.headers["x-response-statement-signature"],
        w.seen.headers["x-attestation-se-public-key"]};
    const auto statement = attest::verify(attest::signed_bytes_of_body(w.seen.all()), evidence,
                                          &w.node->key().verify_key());
    ASSERT_TRUE(statement.has_value()) << statement.error().message();
    EXPECT_EQ(statement->request_hash, crypto::sha256_hex(w.body));
    EXPECT_EQ(w.seen.headers.count("trailer"), 0U);
    EXPECT_TRUE(w.seen.headers["x-timing"].starts_with("{\"parse_us\":"));
}

TEST(Signing, ABrokenStreamIsNotSigned) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(1), text_delta, "half"},
             {seconds(2), text_delta, {}, true}});
    w.sign();
    w.body = chat(R"(,"stream":true)");
    run(w);
    EXPECT_EQ(w.seen.all().find("darkbloom-signature"), std::string::npos);
}

TEST(Signing, AnswersOfOthersAreNotSignedWithThisKey) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(1), text_delta, "hello"},
             {seconds(1), finished},
             {seconds(1), usage}});
    w.sign();
    w.link->identity_.id = "another";
    for (const char* extra : {"", R"(,"stream":true)"}) {
        w.body = chat(extra);
        w.seen = {};
        run(w);
        EXPECT_EQ(w.seen.status, 200);
        EXPECT_EQ(w.seen.headers.count("x-se-signature"), 0U);
        EXPECT_EQ(w.seen.headers.count("trailer"), 0U);
        EXPECT_EQ(w.seen.all().find("darkbloom-signature"), std::string::npos);
    }
}

TEST(Signing, ProvidersSeeNothingOfThePin) {
    using enum gen::EventKind;
    World w({{seconds(0), accepted},
             {seconds(1), text_delta, "hello"},
             {seconds(1), finished},
             {seconds(1), usage}});
    w.sign();
    w.body = chat(R"(,"provider_serial":")" + w.node->key().serial() + R"(")");
    run(w);
    EXPECT_EQ(w.seen.status, 200);
    ASSERT_NE(w.link->last_, nullptr);
    EXPECT_TRUE(w.link->last_->routing.provider_serials.empty());
    w.seen = {};
    w.body = chat(R"(,"provider_serials":["somebody","else"])");
    run(w);
    EXPECT_EQ(w.seen.status, 503);
    EXPECT_EQ(w.seen.headers.count("x-provider-id"), 0U) << "nobody was chosen";
}

TEST(Delivery, ABodyThatDoesNotComeIsARequestTimeout) {
    World w({});
    w.raw = true;
    w.body =
        std::string("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ") +
        kKey + "\r\nContent-Length: 100\r\n\r\n{";
    run(w);
    EXPECT_TRUE(w.seen.all().starts_with("HTTP/1.1 408 ")) << w.seen.all();
    EXPECT_NE(w.seen.all().find("X-Request-ID: "), std::string::npos);
}

} // namespace
} // namespace bloom::test
