#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/http/exchange.hpp>
#include <bloom/http/limits.hpp>
#include <bloom/http/router.hpp>
#include <bloom/net/address.hpp>
#include <bloom/net/tls.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::http {

/// A response that the server itself makes: for requests it refuses, for paths it does not know,
/// and for handlers that returned an Error.
struct Refusal {
    Status status = Status::internal_server_error;
    std::string_view code = {};
    std::string_view message = {};
    const Error* error = nullptr; ///< what the handler returned; null for the server's own reasons
};

/// Where the layer above takes part in every exchange, those with unreadable requests included.
/// Each may be empty. They run on the shard and do not wait.
struct Hooks {
    /// The head is there (or refused), nothing is decided yet: request ids.
    std::function<void(Exchange&)> on_begin = {};
    /// Last look at the fields of any response; `exchange.status()` is set.
    std::function<void(Exchange&, HeaderList&)> on_response_head = {};
    /// Writes the JSON body of a refusal; may change its status. Default: the OpenAI envelope.
    std::function<void(Exchange&, Refusal&, std::string& body)> render_error = {};
    /// The response is complete or the peer is gone: access log, metrics.
    std::function<void(const Exchange&)> on_end = {};
};

/// {"error":{"message":…,"type":…,"param":null,"code":…}}
void render_openai_error(const Refusal& refusal, std::string& body);

/// The refusal for an Error of a handler that no hook maps.
Refusal refusal_of(const Error& error) noexcept;

struct ServerOptions {
    Limits limits = {};
    Hooks hooks = {};
    net::TlsContext* tls = nullptr; ///< of this shard; outlives the server
};

struct ServerStats {
    std::uint64_t n_connections = 0; ///< open now
    std::uint64_t n_accepted = 0;
    std::uint64_t n_turned_away = 0; ///< closed at accept because of Limits::n_connections
    std::uint64_t n_requests = 0;    ///< heads that reached the router
    std::uint64_t n_refused = 0;     ///< requests refused by the parsers
    std::uint64_t n_running = 0;     ///< handlers running now
};

/// Serves HTTP/1.1 on one shard. Every shard of a node has its own, on the same port.
///
///     http::Server server(router, options);
///     BLOOM_CO_OK(server.listen(address));
///     co_await server.serve(drain.token(), abort.token());
///
/// Lifetime: the router outlives it. Thread: the shard's.
class Server {
public:
    Server(const Router& router, ServerOptions options);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server();

    /// Errors: io_error, already_exists (address in use) of the socket calls.
    Result<> listen(const net::Address& at);
    /// With the port the kernel chose. After listen().
    const net::Address& local() const noexcept;

    /// Accepts until `drain` stops: then no new connections, idle ones close, running requests
    /// finish and their connections close. Returns when the last one has ended; `abort` cuts what
    /// is still there. Call once, after listen().
    rt::Task<void> serve(rt::StopToken drain, rt::StopToken abort);

    const ServerStats& stats() const noexcept;

    struct Impl;

private:
    std::unique_ptr<Impl> impl_;
};

} // namespace bloom::http
