// Fresh statements on a virtual clock: who waits for whom, and that nobody waits for one who left.
#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/base/text.hpp>
#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/rt/sim_driver.hpp>

#include "support/co_test.hpp"

namespace bloom::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Asked {
    seconds at;
    seconds patience = seconds(60);
    bool answered = false;
    milliseconds after{}; ///< since the first one asked
    std::string body = {};
};

class NoAdmission final : public scheduler::AdmissionControl {
public:
    rt::Task<Result<scheduler::Admission>> admit(const auth::Principal&,
                                                 const gen::Generation&) override {
        co_return Error{Code::internal};
    }
};

struct World {
    std::unique_ptr<attest::NodeAttestation> node;
    registry::Registry registry;
    NoAdmission admission;
    Snapshot<auth::KeyTable> keys{nullptr};
    api::Services services{registry, admission, keys};
    std::vector<Asked> callers;
};

crypto::Sha256 nonce_of(std::size_t caller) {
    crypto::Sha256 nonce{};
    nonce.fill(static_cast<std::uint8_t>(caller + 1));
    return nonce;
}

rt::Task<void> call(World& w, net::Address address, std::size_t i, std::uint64_t begin_ns) {
    Asked& caller = w.callers[i];
    static_cast<void>(co_await rt::sleep_for(caller.at));
    rt::StopSource patience;
    patience.stop_after(caller.patience);
    http::Client client;
    http::ClientRequest request;
    request.url = "http://" + address.to_string() + "/v1/providers/" + w.node->key().node_id() +
                  "/attestation?nonce=" + to_base64url(nonce_of(i));
    auto response = co_await client.request(std::move(request), patience.token());
    if (response) {
        EXPECT_EQ(http::to_int(response->status()), 200);
        auto body = co_await response->read_all(1 << 20);
        EXPECT_TRUE(body.has_value());
        caller.answered = true;
        caller.body = std::move(*body);
        caller.after = std::chrono::duration_cast<milliseconds>(
            std::chrono::nanoseconds(rt::Shard::current().now_ns() - begin_ns));
        co_await response->close();
    }
    co_await client.close();
}

rt::Task<void> serve(http::Server* server, rt::StopToken drain, rt::StopToken abort) {
    co_await server->serve(drain, abort);
}

rt::Task<void> world_main(World* w) {
    const http::Router router = api::make_router(w->services);
    http::ServerOptions options;
    options.hooks = api::make_hooks(w->services);
    http::Server server(router, std::move(options));
    EXPECT_TRUE(server.listen(net::Address::loopback(8080)).has_value());
    rt::StopSource drain;
    rt::StopSource abort;
    rt::Scope serving;
    serving.spawn(serve(&server, drain.token(), abort.token()));
    rt::Scope calls;
    for (std::size_t i = 0; i < w->callers.size(); ++i)
        calls.spawn(call(*w, server.local(), i, rt::Shard::current().now_ns()));
    co_await calls.join();
    drain.request_stop(rt::StopReason::shutdown);
    co_await serving.join();
}

void run(World& w) {
    auto key = attest::IdentityKey::generate();
    ASSERT_TRUE(key.has_value());
    auto node = attest::NodeAttestation::make(std::move(*key), {}, 1);
    ASSERT_TRUE(node.has_value());
    w.node = std::move(*node);
    w.services.attestation = w.node.get();
    rt::SimWorld world(base_seed(), rt::SimFaults::calm());

    struct Main {
        World* w;

        BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard&) const { return world_main(w); }
    };

    ASSERT_TRUE(world.run(Main{&w}).has_value());
}

/// The signature of an answer whose nonce is under the signed root.
std::string checked_signature(const World& w, std::size_t caller) {
    json::Parser parser;
    const auto document = parser.parse(w.callers[caller].body);
    EXPECT_TRUE(document.has_value());
    const json::Object answer = document->as_object().value();
    const auto text = [&](std::string_view name) {
        return std::string(answer.at(name).value().as_string().value());
    };
    std::vector<crypto::Sha256> path;
    for (const json::Value element : answer.at("path").value().as_array().value()) {
        const auto bytes = from_hex(element.as_string().value());
        path.emplace_back();
        EXPECT_EQ(bytes->size(), path.back().size());
        std::ranges::copy(*bytes, path.back().begin());
    }
    const auto root =
        attest::root_of(nonce_of(caller), answer.at("leaf_index").value().as_uint64().value(),
                        answer.at("n_leaves").value().as_uint64().value(), path);
    EXPECT_TRUE(root.has_value());
    const auto status = from_base64(text("status"));
    const auto signature = from_base64(text("status_signature"));
    EXPECT_NE(as_text(*status).find("\"nonce\":\"" + to_base64url(*root) + "\""),
              std::string_view::npos);
    EXPECT_TRUE(w.node->key().verify_key().verify(
        as_bytes(attest::status_message(as_text(*status))), *signature));
    return text("status_signature");
}

TEST(Attestation, OneSignatureForAllOfTenSeconds) {
    World w;
    w.callers = {{seconds(0)}, {seconds(1)}, {seconds(4)}, {seconds(9)}, {seconds(60)}};
    run(w);
    for (const Asked& caller : w.callers)
        ASSERT_TRUE(caller.answered);
    EXPECT_LT(w.callers[0].after, seconds(1));
    for (std::size_t i = 1; i <= 3; ++i) {
        EXPECT_GE(w.callers[i].after, seconds(10)) << i;
        EXPECT_LT(w.callers[i].after, seconds(11)) << i;
    }
    EXPECT_LT(w.callers[4].after, seconds(61));
    const std::string first = checked_signature(w, 0);
    const std::string shared = checked_signature(w, 1);
    EXPECT_NE(first, shared);
    EXPECT_EQ(checked_signature(w, 2), shared);
    EXPECT_EQ(checked_signature(w, 3), shared);
    EXPECT_NE(checked_signature(w, 4), shared);
}

TEST(Attestation, OneWhoLeavesKeepsNobodyWaiting) {
    World w;
    w.callers = {{seconds(0)}, {seconds(1), seconds(2)}, {seconds(5)}};
    run(w);
    EXPECT_FALSE(w.callers[1].answered);
    ASSERT_TRUE(w.callers[2].answered);
    EXPECT_LT(w.callers[2].after, seconds(11));
    checked_signature(w, 2);
}

} // namespace
} // namespace bloom::test
