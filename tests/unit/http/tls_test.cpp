// The same server behind TLS, with a self-signed certificate that is for tests only.
#include <gtest/gtest.h>

#include "support/http_served.hpp"

namespace bloom::test {
namespace {

using http::Method;
using std::chrono::milliseconds;

const std::string kCertFile = BLOOM_SOURCE_DIR "/tests/support/localhost_cert.pem";
const std::string kKeyFile = BLOOM_SOURCE_DIR "/tests/support/localhost_key.pem";

std::string secure_url(const Served& served, std::string_view path) {
    return "https://" + served.address().to_string() + std::string(path);
}

BLOOM_CO_TEST_BOTH(HttpTls, requests_bodies_and_streams) {
    auto server_tls = net::TlsContext::server({kCertFile, kKeyFile});
    CO_ASSERT_OK(server_tls);
    auto client_tls = net::TlsContext::client({kCertFile, true});
    CO_ASSERT_OK(client_tls);
    Served served({}, &*server_tls);
    http::Client client({.tls = &*client_tls});
    auto got = co_await fetch(client, {.url = secure_url(served, "/health")});
    CO_ASSERT_OK(got);
    EXPECT_EQ(got->body, R"({"status":"ok"})");
    const std::string body = Site::pattern(300000);
    got = co_await fetch(
        client, {.method = Method::post, .url = secure_url(served, "/echo"), .body = body});
    CO_ASSERT_OK(got);
    EXPECT_TRUE(got->body == body);
    got = co_await fetch(client, {.url = secure_url(served, "/events/20/1")});
    CO_ASSERT_OK(got);
    EXPECT_TRUE(got->body.ends_with("data: 19\n\ndata: [DONE]\n\n"));
    EXPECT_EQ(served.server.stats().n_accepted, 1u);
    co_await client.close();
    co_await served.stop();
}

BLOOM_CO_TEST_BOTH(HttpTls, a_client_that_leaves_stops_the_handler) {
    auto server_tls = net::TlsContext::server({kCertFile, kKeyFile});
    CO_ASSERT_OK(server_tls);
    auto client_tls = net::TlsContext::client({kCertFile, true});
    CO_ASSERT_OK(client_tls);
    Served served({}, &*server_tls);
    auto plain = co_await net::connect(served.address());
    CO_ASSERT_OK(plain);
    auto stream = co_await net::tls_connect(*client_tls, std::move(*plain), "localhost", {});
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

BLOOM_CO_TEST_BOTH(HttpTls, plain_text_on_the_secure_port_ends) {
    auto server_tls = net::TlsContext::server({kCertFile, kKeyFile});
    CO_ASSERT_OK(server_tls);
    Served served({}, &*server_tls);
    const auto reply =
        co_await talk_raw(served.address(), "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", {});
    EXPECT_TRUE(!reply || reply->responses.empty());
    EXPECT_TRUE(served.site.paths.empty());
    co_await served.stop();
}

} // namespace
} // namespace bloom::test
