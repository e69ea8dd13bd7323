#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/http/limits.hpp>
#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/net/tls.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::http {

/// An http or https URL in parts.
struct Url {
    bool tls = false;
    std::string host; ///< name or address, without brackets
    std::uint16_t port = 0;
    std::string authority; ///< for the Host field: brackets, and the port unless it is the default
    std::string target;    ///< path and query, at least "/"

    /// Errors: invalid_argument, quoting the URL and saying what was expected.
    static Result<Url> parse(std::string_view text);
};

struct ClientRequest {
    Method method = Method::get;
    std::string url = {};
    HeaderList headers = {}; ///< the client writes Host, Content-Length and Content-Type itself
    std::string content_type = {};
    std::string body = {};
};

struct ClientOptions {
    Limits limits = {};
    net::TlsContext* tls = nullptr; ///< for https; outlives the client
    std::size_t n_idle_connections = 8;
};

class ClientConnection;
class Client;

/// A response whose head has arrived; the body is read piece by piece.
/// Lifetime: `co_await close()` before it goes, and before its client does.
class ClientResponse {
public:
    ClientResponse(ClientResponse&&) noexcept;
    ClientResponse& operator=(ClientResponse&&) = delete;
    ~ClientResponse();

    Status status() const noexcept;
    /// Views live until close().
    const Headers& headers() const noexcept;

    /// The next bytes of the body, as they came; empty at its end. The view lives until the next
    /// call. Errors: truncated (the peer ended the connection early), protocol_error, the token's.
    rt::Task<Result<std::string_view>> read(rt::StopToken stop = {});
    /// The whole rest. Errors: too_large, those of read().
    rt::Task<Result<std::string>> read_all(std::size_t bytes_max, rt::StopToken stop = {});
    /// After 101: the stream, for the agreed protocol. The response is closed then.
    net::Stream take_stream();
    /// A connection whose body was read to the end is kept for the next request.
    rt::Task<void> close();

private:
    friend class Client;

    ClientResponse(Client& client, std::unique_ptr<ClientConnection> connection) noexcept;

    Client* client_;
    std::unique_ptr<ClientConnection> connection_;
};

/// HTTP/1.1 client of one shard with a small pool of kept connections. Several requests may run
/// beside each other. Follows no redirects. `co_await close()` before it goes.  Thread: the
/// shard's.
///
///     http::Client client;
///     BLOOM_CO_TRY(auto response, co_await client.request({.url = url}, stop));
///     auto body = co_await response.read_all(kBytesMax, stop);
///     co_await response.close();
class Client {
public:
    explicit Client(ClientOptions options = {});
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client();

    /// Sends and waits for the response head; `stop` bounds that, too. A kept connection that turns
    /// out to be closed is replaced once, for methods that may be repeated. Errors:
    /// invalid_argument (URL), not_found (name), closed, timeout, protocol_error, the token's.
    rt::Task<Result<ClientResponse>> request(ClientRequest request, rt::StopToken stop = {});
    rt::Task<void> close();

    std::size_t n_idle() const noexcept { return idle_.size(); }

private:
    friend class ClientResponse;

    rt::Task<Result<std::unique_ptr<ClientConnection>>> open(const Url& url, rt::StopToken stop);
    std::unique_ptr<ClientConnection> take_idle(const Url& url);
    rt::Task<void> give_back(std::unique_ptr<ClientConnection> connection);

    ClientOptions options_;
    std::vector<std::unique_ptr<ClientConnection>> idle_;
};

} // namespace bloom::http
