#include <gtest/gtest.h>

#include <bloom/http/client.hpp>
#include <bloom/net/tcp.hpp>
#include <bloom/rt/scope.hpp>

#include "http/response_parser.hpp"
#include "support/http_served.hpp"

namespace bloom::test {
namespace {

using http::Method;
using http::Url;
using std::chrono::milliseconds;

TEST(HttpUrl, Parts) {
    const auto check = [](std::string_view text, bool tls, std::string_view host, int port,
                          std::string_view authority, std::string_view target) {
        const Result<Url> url = Url::parse(text);
        ASSERT_TRUE(url.has_value()) << text;
        EXPECT_EQ(url->tls, tls) << text;
        EXPECT_EQ(url->host, host) << text;
        EXPECT_EQ(url->port, port) << text;
        EXPECT_EQ(url->authority, authority) << text;
        EXPECT_EQ(url->target, target) << text;
    };
    check("http://a", false, "a", 80, "a", "/");
    check("HTTP://a.b:80/x?y#z", false, "a.b", 80, "a.b", "/x?y");
    check("https://a:8443?q", true, "a", 8443, "a:8443", "/?q");
    check("http://[::1]:8080/v1", false, "::1", 8080, "[::1]:8080", "/v1");
    for (const char* bad : {"", "a", "ftp://a", "http://", "http:///x", "http://u@h",
                            "http://a:99999", "http://a/b c", "http://a/\r\nX: y"}) {
        EXPECT_FALSE(Url::parse(bad).has_value()) << bad;
    }
}

/// The parser's verdict over whole input and over every cut; they have to agree.
std::string parse_response(std::string_view bytes, Method method = Method::get) {
    const http::Limits limits;
    std::string first;
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
        http::ResponseParser parser(limits);
        parser.reset(method);
        std::size_t consumed = 0;
        Result<bool> fed = parser.feed(as_bytes(bytes.substr(0, cut)), consumed);
        std::size_t total = consumed;
        if (fed && !*fed) {
            fed = parser.feed(as_bytes(bytes.substr(cut)), consumed);
            total += consumed;
        }
        std::string verdict = "error";
        if (fed) {
            const http::ResponseHead& h = parser.head();
            verdict = !*fed
                          ? "more"
                          : std::to_string(to_int(h.status)) + (h.keep_alive ? " keep" : " close") +
                                (h.until_close ? " until-close"
                                 : h.body == http::BodyKind::chunked
                                     ? " chunked"
                                     : " " + std::to_string(h.content_length)) +
                                " at " + std::to_string(total);
        }
        if (cut == 0) first = verdict;
        EXPECT_EQ(verdict, first) << "cut at " << cut << " of " << bytes;
    }
    return first;
}

TEST(ResponseParser, Good) {
    EXPECT_EQ(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
              "200 keep 3 at 38");
    EXPECT_EQ(parse_response("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n"),
              "200 keep chunked at 44");
    EXPECT_EQ(parse_response("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n"), "204 close 0 at 38");
    EXPECT_EQ(parse_response("HTTP/1.0 200 OK\r\n\r\n"), "200 close until-close at 19");
    EXPECT_EQ(
        parse_response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"),
        "200 keep 0 at 62");
    EXPECT_EQ(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Method::head),
              "200 keep 0 at 38");
}

TEST(ResponseParser, Bad) {
    for (const char* bad :
         {"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 20x OK\r\n\r\n",
          "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
          "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\nB: c\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n"}) {
        EXPECT_EQ(parse_response(bad), "error") << bad;
    }
}

/// Answers each connection with the next of the scripts and closes it.
rt::Task<void> scripted_server(net::Listener* listener, std::vector<std::string> scripts) {
    for (const std::string& script : scripts) {
        auto stream = co_await listener->accept();
        if (!stream) break;
        std::string request; // unread bytes would reset the connection at close
        while (!request.ends_with("\r\n\r\n")) {
            auto chunk = co_await stream->recv();
            if (!chunk || chunk->empty()) break;
            request += as_text(chunk->bytes());
        }
        static_cast<void>(co_await stream->send_all(as_bytes(script)));
        co_await stream->close();
    }
    co_await listener->close();
}

rt::Task<void> fetch_scripted(std::vector<std::string> scripts, std::vector<std::string>* out) {
    auto listener = net::Listener::listen(net::Address::loopback(0));
    CO_ASSERT_OK(listener);
    const std::string url = "http://" + listener->local().to_string() + "/";
    rt::Scope scope;
    const std::size_t n = scripts.size();
    scope.spawn(scripted_server(&*listener, std::move(scripts)));
    http::Client client;
    for (std::size_t i = 0; i < n; ++i) {
        const auto got = co_await fetch(client, {.url = url});
        out->push_back(got ? std::to_string(got->status) + " " + got->body
                           : std::string(to_string(got.error().code())));
    }
    co_await client.close();
    co_await scope.join();
}

BLOOM_CO_TEST_BOTH(HttpClient, reads_every_framing_and_notices_cut_ones) {
    std::vector<std::string> got;
    std::vector<std::string> scripts = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 "
        "Made\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: "
        "close\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 304 Same\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"};
    co_await fetch_scripted(std::move(scripts), &got);
    EXPECT_EQ(got, (std::vector<std::string>{"200 until the end", "201 ok", "200 abcde",
                                             "truncated", "truncated", "protocol_error",
                                             "protocol_error", "closed", "304 "}));
}

BLOOM_CO_TEST_BOTH(HttpClient, a_stale_connection_is_replaced_once) {
    auto listener = net::Listener::listen(net::Address::loopback(0));
    CO_ASSERT_OK(listener);
    const std::string url = "http://" + listener->local().to_string() + "/";
    rt::Scope scope;
    scope.spawn(scripted_server(&*listener, {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
                                             "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"}));
    http::Client client;
    auto got = co_await fetch(client, {.url = url});
    CO_ASSERT_OK(got);
    EXPECT_EQ(client.n_idle(), 1u); // which the server has closed
    got = co_await fetch(client, {.url = url});
    CO_ASSERT_OK(got);
    EXPECT_EQ(got->body, "2");
    co_await scope.join();
    // A request that must not be repeated is not.
    EXPECT_FALSE((co_await fetch(client, {.method = Method::post, .url = url})).has_value());
    co_await client.close();
}

BLOOM_CO_TEST(HttpClient, stops_and_times_out) {
    Served served;
    http::Client client;
    rt::StopSource patience;
    patience.stop_after(milliseconds(50));
    const auto got = co_await fetch(client, {.url = served.url("/wait")}, patience.token());
    CO_ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code(), Code::timeout);
    EXPECT_EQ((co_await fetch(client, {.url = "https://127.0.0.1:1/"})).error().code(),
              Code::invalid_argument);
    EXPECT_EQ((co_await fetch(client, {.url = "nonsense"})).error().code(), Code::invalid_argument);
    co_await client.close();
    co_await served.stop();
}

} // namespace
} // namespace bloom::test
