#include <gtest/gtest.h>

#include <bloom/rt/when.hpp>

#include "support/http_served.hpp"

namespace bloom::test {
namespace {

using http::ClientRequest;
using http::Method;
using std::chrono::milliseconds;

constexpr std::string_view kGet = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view kGetClose =
    "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

bool has_field(const RawResponse& r, std::string_view line) {
    return r.fields.find(std::string(line) + "\n") != std::string::npos;
}

BLOOM_CO_TEST_BOTH(HttpServer, answers_and_keeps_the_connection) {
    Served served;
    http::Client client;
    for (int i = 0; i < 3; ++i) {
        const auto got = co_await fetch(client, {.url = served.url("/health")});
        CO_ASSERT_OK(got);
        EXPECT_EQ(got->status, 200);
        EXPECT_EQ(got->body, R"({"status":"ok"})");
        EXPECT_EQ(got->type, "application/json");
    }
    EXPECT_EQ(served.server.stats().n_accepted, 1u);
    EXPECT_EQ(client.n_idle(), 1u);
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, bodies_of_every_size_come_back) {
    Served served;
    http::Client client;
    for (const std::size_t n :
         {0U, 1U, 100U, 4095U, 4096U, 5000U, 16384U, 16385U, 300000U, 1000000U}) {
        const std::string body = Site::pattern(n);
        const auto got = co_await fetch(
            client, {.method = Method::post, .url = served.url("/echo"), .body = body});
        CO_ASSERT_OK(got);
        EXPECT_EQ(got->status, 200) << n;
        EXPECT_EQ(got->body, body) << n;
    }
    EXPECT_EQ(served.server.stats().n_accepted, 1u);
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, a_body_over_the_limit_is_413) {
    Served served;
    http::Client client;
    const auto got = co_await fetch(client, {.method = Method::post,
                                             .url = served.url("/echo"),
                                             .body = std::string(Site::kEchoBytesMax + 1, 'x')});
    CO_ASSERT_OK(got);
    EXPECT_EQ(got->status, 413);
    EXPECT_NE(got->body.find(R"("code":"payload_too_large")"), std::string::npos) << got->body;
    EXPECT_EQ(client.n_idle(), 0u);
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, streams_with_trailers) {
    Served served;
    http::Client client;
    const auto got = co_await fetch(client, {.url = served.url("/events/3/1")});
    CO_ASSERT_OK(got);
    EXPECT_EQ(got->type, "text/event-stream");
    EXPECT_EQ(got->body, "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n");
    EXPECT_EQ(client.n_idle(), 1u);
    co_await client.close();
    auto stream = co_await net::connect(served.address());
    CO_ASSERT_OK(stream);
    CO_ASSERT_OK(co_await stream->send_all(
        as_bytes("GET /events/0/0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")));
    std::string raw;
    for (;;) {
        const auto chunk = co_await stream->recv();
        CO_ASSERT_OK(chunk);
        if (chunk->empty()) break;
        raw += as_text(chunk->bytes());
    }
    co_await stream->close();
    EXPECT_TRUE(raw.ends_with("\r\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\nX-Events: 0\r\n\r\n")) << raw;
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, pipelined_requests_are_answered_in_order) {
    Served served;
    std::string in;
    for (int i = 0; i < 20; ++i) {
        in += "GET /name/n" + std::to_string(i) +
              " HTTP/1.1\r\nHost: a\r\nX-Id: " + std::to_string(i) + "\r\n\r\n";
    }
    const auto reply = co_await talk_raw(served.address(), in + std::string(kGetClose), {});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 21u);
    for (std::size_t i = 0; i < 20; ++i)
        EXPECT_EQ(reply->responses[i].body, "n" + std::to_string(i));
    EXPECT_TRUE(reply->responses[20].close);
    EXPECT_TRUE(reply->ended);
    EXPECT_EQ(reply->left, "");
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, head_and_methods) {
    Served served;
    const auto reply =
        co_await talk_raw(served.address(),
                          "HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n"
                          "HEAD /events/3/0 HTTP/1.1\r\nHost: a\r\n\r\n"
                          "PUT /health HTTP/1.1\r\nHost: a\r\n\r\n"
                          "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n"
                          "GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                          {}, {Method::head, Method::head, Method::put});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 5u);
    const auto& r = reply->responses;
    EXPECT_EQ(r[0].status, 200);
    EXPECT_TRUE(has_field(r[0], "content-length: 15")) << r[0].fields;
    EXPECT_EQ(r[1].status, 200);
    EXPECT_TRUE(has_field(r[1], "transfer-encoding: chunked")) << r[1].fields;
    EXPECT_EQ(r[2].status, 405);
    EXPECT_TRUE(has_field(r[2], "allow: GET, HEAD, OPTIONS")) << r[2].fields;
    EXPECT_EQ(r[3].status, 204);
    EXPECT_EQ(r[3].fields.find("content-length"), std::string::npos);
    EXPECT_EQ(r[4].status, 404);
    EXPECT_NE(r[4].body.find(R"("type":"invalid_request_error","param":null,"code":"not_found")"),
              std::string::npos)
        << r[4].body;
    for (const RawResponse& one : r) {
        EXPECT_NE(one.fields.find("x-request-id: id-"), std::string::npos);
        EXPECT_NE(one.fields.find("date: "), std::string::npos);
    }
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, http_1_0) {
    Served served;
    auto reply = co_await talk_raw(served.address(),
                                   "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                                   "GET /events/2/0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                                   {});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 2u);
    EXPECT_TRUE(has_field(reply->responses[0], "connection: keep-alive"))
        << reply->responses[0].fields;
    EXPECT_TRUE(reply->responses[1].close);
    EXPECT_EQ(reply->responses[1].body, "data: 0\n\ndata: 1\n\ndata: [DONE]\n\n");
    EXPECT_EQ(reply->responses[1].fields.find("transfer-encoding"), std::string::npos);
    reply = co_await talk_raw(served.address(), "GET /health HTTP/1.0\r\n\r\n", {});
    CO_ASSERT_OK(reply);
    EXPECT_TRUE(reply->ended);
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, expect_continue) {
    Served served;
    const std::string head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\n"
        "Content-Length: 2\r\n\r\n";
    auto reply = co_await talk_raw(served.address(), head + "{}", {head.size()});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 2u);
    EXPECT_EQ(reply->responses[0].status, 100);
    EXPECT_EQ(reply->responses[1].body, "{}");
    // A route that refuses on the head does not invite the body.
    std::string locked = head;
    locked.replace(locked.find("/echo"), 5, "/v1/chat/completions");
    reply = co_await talk_raw(served.address(), locked, {});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 1u);
    EXPECT_EQ(reply->responses[0].status, 401);
    EXPECT_TRUE(reply->responses[0].close);
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, an_unread_body_is_skipped_or_ends_the_connection) {
    Served served;
    const std::string head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: ";
    auto reply = co_await talk_raw(
        served.address(), head + "5000\r\n\r\n" + std::string(5000, 'x') + std::string(kGetClose),
        {50, 3000});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 2u);
    EXPECT_EQ(reply->responses[0].status, 401);
    EXPECT_EQ(reply->responses[1].status, 200);
    reply =
        co_await talk_raw(served.address(), head + "9000000\r\n\r\n" + std::string(100, 'x'), {});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 1u);
    EXPECT_EQ(reply->responses[0].status, 401);
    EXPECT_TRUE(reply->responses[0].close);
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, handler_errors) {
    Served served;
    http::Client client;
    auto got = co_await fetch(client, {.url = served.url("/fail/early")});
    CO_ASSERT_OK(got);
    EXPECT_EQ(got->status, 503);
    EXPECT_EQ(
        got->body,
        R"({"error":{"message":"nothing \"free\"","type":"service_unavailable","param":null,"code":"service_unavailable"}})");
    for (const char* path : {"/fail/throw", "/fail/silent"}) {
        got = co_await fetch(client, {.url = served.url(path)});
        CO_ASSERT_OK(got);
        EXPECT_EQ(got->status, 500) << path;
    }
    EXPECT_EQ(served.server.stats().n_accepted, 1u);
    got = co_await fetch(
        client, {.url = served.url("/fail/late")}); // cut, so that nobody takes it for whole
    EXPECT_FALSE(got.has_value());
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, path_parameters) {
    Served served;
    http::Client client;
    auto got = co_await fetch(client, {.url = served.url("/name/a%2Fb/c%20d/")});
    CO_ASSERT_OK(got);
    EXPECT_EQ(got->body, "a/b/c d");
    for (const char* bad : {"/name/%", "/name/%00", "/name/%ff"}) {
        got = co_await fetch(client, {.url = served.url(bad)});
        CO_ASSERT_OK(got);
        EXPECT_EQ(got->status, 400) << bad;
    }
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, a_client_that_leaves_stops_the_handler) {
    Served served;
    auto stream = co_await net::connect(served.address());
    CO_ASSERT_OK(stream);
    CO_ASSERT_OK(co_await stream->send_all(as_bytes("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")));
    while (served.server.stats().n_running == 0)
        co_await rt::sleep_for(milliseconds(1));
    co_await stream->close();
    while (served.site.stop_reasons.empty())
        co_await rt::sleep_for(milliseconds(1));
    EXPECT_EQ(served.site.stop_reasons[0], rt::to_string(rt::StopReason::client_gone));
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, upgrade_hands_the_stream_over) {
    Served served;
    http::Client client;
    ClientRequest request{.url = served.url("/raw")};
    request.headers.add("Connection", "Upgrade");
    request.headers.add("Upgrade", "raw");
    auto response = co_await client.request(std::move(request));
    CO_ASSERT_OK(response);
    CO_ASSERT_EQ(to_int(response->status()), 101);
    net::Stream stream = response->take_stream();
    CO_ASSERT_OK(co_await stream.send_all(as_bytes("ping")));
    auto echoed = co_await stream.recv();
    CO_ASSERT_OK(echoed);
    EXPECT_EQ(as_text(echoed->bytes()), "ping");
    echoed->reset();
    co_await stream.close();
    // Bytes that came with the request belong to the new protocol.
    const auto reply = co_await talk_raw(
        served.address(),
        "GET /raw HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nGET /smuggled",
        {});
    CO_ASSERT_OK(reply);
    EXPECT_EQ(reply->left, "GET /smuggled");
    // Without an offer the handler's error is answered.
    const auto plain = co_await fetch(client, {.url = served.url("/raw")});
    CO_ASSERT_OK(plain);
    EXPECT_EQ(plain->status, 400);
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpServer, drain_finishes_what_runs_and_closes_what_idles) {
    Served served;
    http::Client client;
    CO_ASSERT_OK(co_await fetch(client, {.url = served.url("/health")})); // now idle
    auto idle = co_await net::connect(served.address());
    CO_ASSERT_OK(idle);
    http::Client other;
    auto streaming = co_await other.request({.url = served.url("/events/20/5")});
    CO_ASSERT_OK(streaming);
    served.drain.request_stop(rt::StopReason::shutdown);
    auto end = co_await idle->recv();
    EXPECT_TRUE(end.has_value() && end->empty());
    co_await idle->close();
    const auto body = co_await streaming->read_all(10000);
    CO_ASSERT_OK(body);
    EXPECT_NE(body->find("data: 19\n\ndata: [DONE]"), std::string::npos);
    co_await streaming->close();
    co_await served.stop();
    const auto refused = co_await fetch(client, {.url = served.url("/health")});
    EXPECT_FALSE(refused.has_value());
    co_await client.close();
    co_await other.close();
}

BLOOM_CO_TEST_BOTH(HttpServer, abort_cuts_running_handlers) {
    Served served;
    auto stream = co_await net::connect(served.address());
    CO_ASSERT_OK(stream);
    CO_ASSERT_OK(co_await stream->send_all(as_bytes("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")));
    while (served.server.stats().n_running == 0)
        co_await rt::sleep_for(milliseconds(1));
    served.abort.request_stop(rt::StopReason::shutdown);
    co_await served.stop();
    EXPECT_EQ(served.site.stop_reasons,
              std::vector<std::string>{std::string(rt::to_string(rt::StopReason::shutdown))});
    co_await stream->close();
}

BLOOM_CO_TEST_BOTH(HttpServer, too_many_connections_are_turned_away) {
    Served served({.n_connections = 1});
    http::Client client;
    CO_ASSERT_OK(co_await fetch(client, {.url = served.url("/health")}));
    http::Client other;
    EXPECT_FALSE((co_await fetch(other, {.url = served.url("/health")})).has_value());
    EXPECT_EQ(served.server.stats().n_turned_away, 1u);
    co_await client.close();
    co_await other.close();
    co_await served.stop();
}

// Times pass in simulation only.
BLOOM_CO_TEST(HttpServerTime, slow_heads_get_408_and_idle_connections_close) {
    Served served;
    auto reply = co_await talk_raw(served.address(), "GET /health HTTP/1.1\r\nHos", {});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 1u);
    EXPECT_EQ(reply->responses[0].status, 408);
    EXPECT_TRUE(reply->ended);
    reply = co_await talk_raw(served.address(), std::string(kGet), {});
    CO_ASSERT_OK(reply);
    EXPECT_EQ(reply->responses.size(), 1u);
    EXPECT_TRUE(reply->ended);
    reply = co_await talk_raw(served.address(), "", {});
    CO_ASSERT_OK(reply);
    EXPECT_TRUE(reply->responses.empty());
    co_await served.stop();
}

BLOOM_CO_TEST(HttpServerTime, a_request_that_began_before_the_drain_is_the_last_of_its_connection) {
    Served served;
    auto stream = co_await net::connect(served.address());
    CO_ASSERT_OK(stream);
    CO_ASSERT_OK(co_await stream->send_all(as_bytes("GET /health HTTP/1.1\r\nHo")));
    while (served.server.stats().n_connections == 0)
        co_await rt::sleep_for(milliseconds(1));
    co_await rt::sleep_for(milliseconds(5)); // the half head has arrived
    served.drain.request_stop(rt::StopReason::shutdown);
    CO_ASSERT_OK(co_await stream->send_all(as_bytes("st: a\r\n\r\n")));
    std::string got;
    for (;;) {
        const auto chunk = co_await stream->recv();
        if (!chunk || chunk->empty()) break;
        got += as_text(chunk->bytes());
    }
    co_await stream->close();
    const RawReply reply = split_responses(got, {Method::get}, true);
    CO_ASSERT_EQ(reply.responses.size(), 1u);
    EXPECT_EQ(reply.responses[0].status, 200);
    EXPECT_TRUE(reply.responses[0].close);
    co_await served.stop();
}

BLOOM_CO_TEST(HttpServerTime, a_body_that_never_comes_is_408) {
    Served served;
    const auto reply = co_await talk_raw(
        served.address(),
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", {});
    CO_ASSERT_OK(reply);
    CO_ASSERT_EQ(reply->responses.size(), 1u);
    EXPECT_EQ(reply->responses[0].status, 408);
    EXPECT_TRUE(reply->responses[0].close);
    co_await served.stop();
}

BLOOM_CO_TEST(HttpServerTime, a_reader_that_stops_is_cut) {
    Served served;
    auto stream = co_await net::connect(served.address());
    CO_ASSERT_OK(stream);
    CO_ASSERT_OK(
        co_await stream->send_all(as_bytes("GET /bytes/3000000 HTTP/1.1\r\nHost: a\r\n\r\n")));
    while (served.server.stats().n_running == 0)
        co_await rt::sleep_for(milliseconds(1));
    const std::uint64_t begin_ns = shard.now_ns();
    while (served.server.stats().n_running != 0)
        co_await rt::sleep_for(milliseconds(100));
    const auto waited = std::chrono::nanoseconds(shard.now_ns() - begin_ns);
    EXPECT_GE(waited, http::Limits{}.stall_timeout - milliseconds(1000));
    EXPECT_LE(waited, http::Limits{}.stall_timeout + milliseconds(5000));
    co_await served.stop();
    co_await stream->close();
}

BLOOM_CO_TEST(HttpServerTime, a_slow_reader_gets_everything) {
    Served served;
    auto stream = co_await net::connect(served.address());
    CO_ASSERT_OK(stream);
    CO_ASSERT_OK(co_await stream->send_all(
        as_bytes("GET /bytes/500000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")));
    std::string got;
    for (;;) {
        auto chunk = co_await stream->recv();
        CO_ASSERT_OK(chunk);
        if (chunk->empty()) break;
        got += as_text(chunk->bytes());
        chunk->reset();
        co_await rt::sleep_for(milliseconds(200));
    }
    co_await stream->close();
    const RawReply reply = split_responses(got, {Method::get}, true);
    CO_ASSERT_EQ(reply.responses.size(), 1u);
    EXPECT_EQ(reply.responses[0].body, Site::pattern(500000));
    co_await served.stop();
}

} // namespace
} // namespace bloom::test
