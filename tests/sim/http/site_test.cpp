// A server and its clients on a simulated machine: fragments, stalls, resets, rude and slow
// clients, and a drain in the middle. DARKBLOOM_SIM_SEEDS says how many seeds (default 20),
// DARKBLOOM_SEED the first one.
#include <cstdlib>
#include <set>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>

#include "support/http_served.hpp"

namespace bloom::test {
namespace {

using http::Method;
using std::chrono::milliseconds;

std::uint64_t n_seeds() {
    const char* text = std::getenv("DARKBLOOM_SIM_SEEDS");
    return text == nullptr ? 20 : std::strtoull(text, nullptr, 10);
}

/// What all parts of one simulated run know. One thread runs them all.
struct World {
    explicit World(std::uint64_t s) : seed(s), rng(s) {}

    std::uint64_t seed;
    Rng rng;
    bool lossy = false;    ///< connections may be reset
    bool draining = false; ///< from here on requests may find nobody
    bool clients_done = false;
    net::Address address;
    bool listening = false;
    int n_ids = 0;
    int n_ok = 0, n_lost = 0;
    std::set<std::string> answered; ///< ids whose response came whole and right

    std::string next_id() { return "q" + std::to_string(n_ids++); }

    std::string url(const std::string& path) const {
        return "http://" + address.to_string() + path;
    }

    /// Whether a request may fail that began when draining was `was_draining`.
    bool may_fail() const { return lossy || draining; }
};

struct Wanted {
    http::ClientRequest request;
    std::string body;
    std::string id;
};

std::string events_body(std::uint64_t n) {
    std::string out;
    for (std::uint64_t i = 0; i < n; ++i)
        out += "data: " + std::to_string(i) + "\n\n";
    return out + "data: [DONE]\n\n";
}

Wanted random_request(World& w) {
    Wanted out;
    out.id = w.next_id();
    out.request.headers.add("X-Id", out.id);
    switch (w.rng.below(4)) {
    case 0:
        out.body = Site::pattern(w.rng.below(3) == 0 ? w.rng.below(200'000) : w.rng.below(3000));
        out.request.method = Method::post;
        out.request.url = w.url("/echo");
        out.request.body = out.body;
        break;
    case 1: {
        const std::uint64_t n = w.rng.below(30);
        out.body = events_body(n);
        out.request.url =
            w.url("/events/" + std::to_string(n) + "/" + std::to_string(w.rng.below(3)));
        break;
    }
    case 2: {
        const std::uint64_t n = w.rng.below(100'000);
        out.body = Site::pattern(n);
        out.request.url = w.url("/bytes/" + std::to_string(n));
        break;
    }
    default:
        out.body = "x/" + out.id;
        out.request.url = w.url("/name/x%2F" + out.id);
    }
    return out;
}

rt::Task<void> steady_client(World* w) {
    http::Client client;
    for (int i = 0; i < 12; ++i) {
        Wanted wanted = random_request(*w);
        const auto got = co_await fetch(client, std::move(wanted.request));
        if (got) {
            EXPECT_EQ(got->status, 200) << wanted.id;
            EXPECT_TRUE(got->body == wanted.body) << wanted.id << ": a body was changed on its way";
            EXPECT_TRUE(w->answered.insert(wanted.id).second);
            ++w->n_ok;
        } else {
            EXPECT_TRUE(w->may_fail()) << wanted.id << ": " << got.error().message();
            ++w->n_lost;
        }
        if (w->rng.below(4) == 0) co_await rt::sleep_for(milliseconds(w->rng.below(50)));
    }
    co_await client.close();
}

rt::Task<void> pipelining_client(World* w) {
    const std::size_t n = 1 + w->rng.below(30);
    std::vector<std::string> ids;
    std::string in;
    for (std::size_t i = 0; i < n; ++i) {
        ids.push_back(w->next_id());
        in += "GET /name/" + ids.back() + " HTTP/1.1\r\nHost: a\r\nX-Id: " + ids.back() + "\r\n" +
              (i + 1 == n ? "Connection: close\r\n\r\n" : "\r\n");
    }
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; (at += 1 + w->rng.below(in.size())) < in.size();)
        cuts.push_back(at);
    const auto reply = co_await talk_raw(w->address, in, cuts);
    if (!reply) {
        EXPECT_TRUE(w->may_fail());
        co_return;
    }
    std::size_t n_whole = 0;
    for (const RawResponse& r : reply->responses)
        n_whole += r.whole;
    EXPECT_LE(n_whole, n);
    if (!w->may_fail()) EXPECT_EQ(n_whole, n);
    for (std::size_t i = 0; i < n_whole && i < n; ++i) {
        EXPECT_EQ(reply->responses[i].status, 200);
        EXPECT_EQ(reply->responses[i].body, ids[i]) << "out of order";
        w->answered.insert(ids[i]);
    }
}

/// Asks for something long, or only half asks, and leaves.
rt::Task<void> rude_client(World* w) {
    static constexpr std::string_view kRequests[] = {
        "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", "GET /events/1000/10 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf of it",
        "GET /bytes/3000000 HTTP/1.1\r\nHost: a\r\n\r\n"};
    const std::string_view whole = kRequests[w->rng.below(std::size(kRequests))];
    const std::string_view part =
        w->rng.below(2) == 0 ? whole : whole.substr(0, w->rng.below(whole.size()));
    auto stream = co_await net::connect(w->address);
    if (!stream) co_return;
    static_cast<void>(co_await stream->send_all(as_bytes(part)));
    co_await rt::sleep_for(milliseconds(w->rng.below(200)));
    co_await stream->close();
}

rt::Task<void> slow_reader(World* w) {
    auto stream = co_await net::connect(w->address);
    if (!stream) co_return;
    static_cast<void>(co_await stream->send_all(
        as_bytes("GET /bytes/150000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")));
    std::string got;
    bool ended = false;
    while (!ended) {
        auto chunk = co_await stream->recv();
        if (!chunk) break;
        ended = chunk->empty();
        got += as_text(chunk->bytes());
        chunk->reset();
        co_await rt::sleep_for(milliseconds(w->rng.below(100)));
    }
    co_await stream->close();
    const RawReply reply = split_responses(got, {Method::get}, ended);
    if (w->may_fail() && (reply.responses.empty() || !reply.responses[0].whole)) co_return;
    EXPECT_EQ(reply.responses.size(), 1u);
    if (!reply.responses.empty()) EXPECT_TRUE(reply.responses[0].body == Site::pattern(150000));
}

rt::Task<void> broken_client(World* w) {
    static constexpr std::string_view kBad[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
        "chunked\r\n\r\n5\r\nhelloXX\r\n\r\nGET /smuggled",
        "\x16\x03\x01 hello",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: "
        "chunked\r\n\r\n"};
    const std::string bytes(kBad[w->rng.below(std::size(kBad))]);
    const auto reply = co_await talk_raw(w->address, bytes, {w->rng.below(bytes.size())});
    if (!reply) {
        EXPECT_TRUE(w->may_fail());
        co_return;
    }
    EXPECT_LE(reply->responses.size(), 1u);
    if (!reply->responses.empty()) EXPECT_EQ(reply->responses[0].status, 400);
    if (!w->may_fail()) EXPECT_EQ(reply->responses.size(), 1u);
}

rt::Task<void> client_shard(World* w) {
    while (!w->listening)
        co_await rt::sleep_for(milliseconds(1));
    rt::Scope clients;
    for (int i = 0; i < 4; ++i)
        clients.spawn(steady_client(w));
    for (int i = 0; i < 3; ++i)
        clients.spawn(pipelining_client(w));
    for (int i = 0; i < 4; ++i)
        clients.spawn(rude_client(w));
    for (int i = 0; i < 2; ++i)
        clients.spawn(slow_reader(w));
    for (int i = 0; i < 2; ++i)
        clients.spawn(broken_client(w));
    co_await clients.join();
    w->clients_done = true;
}

rt::Task<void> server_shard(World* w) {
    Served served;
    w->address = served.address();
    w->listening = true;
    const bool early = w->rng.below(2) == 0;
    const auto drain_at = milliseconds(w->rng.below(400));
    for (auto waited = milliseconds(0); !w->clients_done && (!early || waited < drain_at);
         waited += milliseconds(5)) {
        co_await rt::sleep_for(milliseconds(5));
    }
    w->draining = true;
    served.drain.request_stop(rt::StopReason::shutdown);
    // A handler that waits for its client alone would hold the drain: the second signal.
    for (int i = 0; served.server.stats().n_connections > 0 && i < 100; ++i) {
        co_await rt::sleep_for(milliseconds(1000));
    }
    served.abort.request_stop(rt::StopReason::shutdown);
    co_await served.stop();
    for (const auto& [id, n] : served.site.seen) {
        // The client repeats a GET whose kept connection was closed under it.
        EXPECT_LE(n, w->may_fail() ? 2 : 1) << id;
    }
    for (const std::string& id : w->answered)
        EXPECT_GE(served.site.seen[id], 1) << id;
    for (const std::string& path : served.site.paths)
        EXPECT_EQ(path.find("smuggled"), std::string::npos);
    while (!w->clients_done)
        co_await rt::sleep_for(milliseconds(10));
}

rt::SimFaults faults_of(World& w) {
    rt::SimFaults faults;
    switch (w.seed % 3) {
    case 0:
        break;
    case 1:
        faults.p_stall = 0.02;
        faults.stall_ns = 50'000'000;
        faults.pipe_bytes = 4096;
        faults.p_fragment = 0.7;
        break;
    default:
        faults = rt::SimFaults::rough();
        faults.p_refuse = 0;
        w.lossy = true;
    }
    return faults;
}

TEST(HttpSim, ManySeeds) {
    int n_ok = 0;
    const std::uint64_t first = base_seed();
    for (std::uint64_t seed = first; seed < first + n_seeds(); ++seed) {
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed));
        World w(seed);
        rt::SimWorld world(seed, faults_of(w), 2);
        const Result<> ended =
            world.run([&w] BLOOM_CORO_WRAPPER(rt::Shard & shard) -> rt::Task<void> {
                return shard.idx() == 0 ? server_shard(&w) : client_shard(&w);
            });
        ASSERT_TRUE(ended.has_value());
        n_ok += w.n_ok;
        if (HasFailure()) break;
    }
    EXPECT_GT(n_ok, 0);
}

TEST(HttpSim, TheSameSeedGivesTheSameTrace) {
    std::uint64_t hashes[2] = {0, 0};
    for (std::uint64_t& hash : hashes) {
        World w(7);
        rt::SimWorld world(7, faults_of(w), 2);
        ASSERT_TRUE(world.run([&w] BLOOM_CORO_WRAPPER(rt::Shard & shard) -> rt::Task<void> {
            return shard.idx() == 0 ? server_shard(&w) : client_shard(&w);
        }));
        hash = world.trace_hash();
    }
    EXPECT_EQ(hashes[0], hashes[1]);
}

} // namespace
} // namespace bloom::test
