#pragma once

#include <gtest/gtest.h>

#include <bloom/http/client.hpp>
#include <bloom/http/server.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/stop.hpp>

#include "support/co_test.hpp"
#include "support/http_site.hpp"

namespace bloom::test {

/// A Site that is being served on the current shard. `co_await stop()` before it goes.
struct Served {
    explicit Served(const http::Limits& limits = {}, net::TlsContext* tls = nullptr)
        : server(site.router, {.limits = limits, .hooks = site.hooks(), .tls = tls}) {
        const Result<> listening = server.listen(net::Address::loopback(0));
        if (!listening) ADD_FAILURE() << listening.error().message();
        scope.spawn(server.serve(drain.token(), abort.token()));
    }

    const net::Address& address() const { return server.local(); }

    std::string url(std::string_view path) const {
        return "http://" + server.local().to_string() + std::string(path);
    }

    rt::Task<void> stop() {
        drain.request_stop(rt::StopReason::shutdown);
        co_await scope.join();
        EXPECT_EQ(server.stats().n_connections, 0u);
        EXPECT_EQ(server.stats().n_running, 0u);
        EXPECT_EQ(site.n_begun, site.n_ended);
    }

    Site site;
    http::Server server;
    rt::StopSource drain, abort;
    rt::Scope scope;
};

struct Fetched {
    int status = 0;
    std::string body = {};
    std::string type = {};
};

/// One request through the client, read whole.
inline rt::Task<Result<Fetched>> fetch(http::Client& client, http::ClientRequest request,
                                       rt::StopToken stop = {}) {
    constexpr std::size_t kFetchBytesMax = 64 * 1024 * 1024;
    BLOOM_CO_TRY(http::ClientResponse response, co_await client.request(std::move(request), stop));
    Fetched out{.status = to_int(response.status())};
    out.type = std::string(response.headers().find("Content-Type").value_or(""));
    Result<std::string> body = co_await response.read_all(kFetchBytesMax, stop);
    co_await response.close();
    if (!body) co_return std::move(body).error();
    out.body = std::move(*body);
    co_return out;
}

} // namespace bloom::test
