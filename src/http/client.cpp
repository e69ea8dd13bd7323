#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/http/client.hpp>
#include <bloom/net/tcp.hpp>

#include "body.hpp"
#include "parser.hpp"
#include "response_parser.hpp"

namespace bloom::http {

/// One connection of the pool with the response that is being read from it.
class ClientConnection {
public:
    ClientConnection(std::string key, net::Stream s, const Limits& l)
        : key(std::move(key)), stream(std::move(s)), limits(l), parser(limits) {}

    ByteSpan pending() const noexcept { return in.bytes().subspan(in_at); }

    /// The next input; false at the peer's end.
    rt::Task<Result<bool>> receive(rt::StopToken stop) {
        in.reset();
        in_at = 0;
        BLOOM_CO_TRY(rt::Chunk chunk, co_await stream.recv(stop));
        in = std::move(chunk);
        co_return !in.empty();
    }

    /// Reads a final response head; 1xx other than 101 are passed over.
    rt::Task<Result<>> read_head(Method method, rt::StopToken stop) {
        constexpr int kInterimMax = 16;
        for (int i = 0; i < kInterimMax; ++i) {
            parser.reset(method);
            bool complete = false;
            while (!complete) {
                if (pending().empty()) {
                    BLOOM_CO_TRY(const bool more, co_await receive(stop));
                    if (!more) co_return Error{Code::closed, "the server closed the connection"};
                }
                std::size_t consumed = 0;
                BLOOM_CO_TRY(complete, parser.feed(pending(), consumed));
                in_at += consumed;
            }
            const int code = to_int(parser.head().status);
            if (code >= 200 || code == 101) {
                start_body();
                co_return Result<>{};
            }
        }
        co_return Error{Code::protocol_error, "the server sends interim responses without end"};
    }

    void start_body() noexcept {
        const ResponseHead& head = parser.head();
        constexpr std::uint64_t kNoBound = std::numeric_limits<std::uint64_t>::max();
        if (head.until_close) {
            decoder.start(BodyKind::length, kNoBound, kNoBound, limits);
        } else {
            decoder.start(head.body, head.content_length, kNoBound, limits);
        }
    }

    bool reusable() const noexcept {
        return parser.head().keep_alive && decoder.complete() && pending().empty();
    }

    std::string key;
    net::Stream stream;
    Limits limits;
    rt::Chunk in;
    std::size_t in_at = 0;
    ResponseParser parser;
    BodyDecoder decoder;
};

namespace {

std::string key_of(const Url& url) {
    return (url.tls ? "https://" : "http://") + url.authority;
}

std::string head_of(const ClientRequest& request, const Url& url) {
    std::string out;
    out.append(to_string(request.method))
        .append(" ")
        .append(url.target)
        .append(" HTTP/1.1\r\nHost: ");
    out.append(url.authority).append("\r\n");
    if (!request.content_type.empty()) {
        out.append("Content-Type: ").append(request.content_type).append("\r\n");
    }
    const bool takes_body = request.method == Method::post || request.method == Method::put ||
                            request.method == Method::patch;
    if (takes_body || !request.body.empty()) {
        out.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
    }
    out.append(request.headers.lines()).append("\r\n");
    return out;
}

bool may_repeat(Method method) noexcept {
    return method != Method::post && method != Method::patch;
}

} // namespace

Result<Url> Url::parse(std::string_view text) {
    const auto wrong = [&text](std::string_view what) {
        return Error{Code::invalid_argument, "not a usable URL: " + quoted(text) + " (" +
                                                 std::string(what) +
                                                 "; expected http://host[:port][/path])"};
    };
    Url out;
    std::string_view rest = text;
    if (iequals(rest.substr(0, 8), "https://")) {
        out.tls = true;
        rest.remove_prefix(8);
    } else if (iequals(rest.substr(0, 7), "http://")) {
        rest.remove_prefix(7);
    } else {
        return wrong("no http or https in front");
    }
    const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
    if (!is_valid_authority(authority)) return wrong("bad host or port");
    rest.remove_prefix(authority.size());
    rest = rest.substr(0, rest.find('#'));
    for (const char c : rest) {
        if (c <= ' ' || static_cast<unsigned char>(c) >= 0x7f) return wrong("unescaped character");
    }
    out.target = rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);
    const std::size_t host_end = authority.front() == '['
                                     ? authority.find(']') + 1
                                     : std::min(authority.find(':'), authority.size());
    const std::string_view port = authority.substr(std::min(host_end + 1, authority.size()));
    const std::uint16_t default_port = out.tls ? 443 : 80;
    out.port = default_port;
    if (!port.empty()) {
        const auto [at, err] = std::from_chars(port.data(), port.data() + port.size(), out.port);
        if (err != std::errc() || at != port.data() + port.size()) return wrong("bad port");
    }
    const std::string_view host = authority.substr(0, host_end);
    out.authority = host;
    if (out.port != default_port) out.authority += ":" + std::to_string(out.port);
    out.host = host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
    return out;
}

ClientResponse::ClientResponse(Client& client,
                               std::unique_ptr<ClientConnection> connection) noexcept
    : client_(&client), connection_(std::move(connection)) {}

ClientResponse::ClientResponse(ClientResponse&&) noexcept = default;

ClientResponse::~ClientResponse() {
    BLOOM_CHECK(connection_ == nullptr); // close() was forgotten
}

Status ClientResponse::status() const noexcept {
    return connection_->parser.head().status;
}

const Headers& ClientResponse::headers() const noexcept {
    return connection_->parser.head().headers;
}

rt::Task<Result<std::string_view>> ClientResponse::read(rt::StopToken stop) {
    ClientConnection& c = *connection_;
    while (!c.decoder.complete()) {
        if (c.decoder.failed()) {
            co_return Error{Code::protocol_error, std::string(c.decoder.rejection().message)};
        }
        if (c.pending().empty()) {
            BLOOM_CO_TRY(const bool more, co_await c.receive(stop));
            if (!more && c.parser.head().until_close) break;
            if (!more) co_return Error{Code::truncated, "the server ended a response early"};
        }
        const BodyDecoder::Step step = c.decoder.next(c.pending());
        c.in_at += step.consumed;
        if (!step.data.empty()) co_return as_text(step.data);
    }
    co_return std::string_view();
}

rt::Task<Result<std::string>> ClientResponse::read_all(std::size_t bytes_max, rt::StopToken stop) {
    std::string out;
    for (;;) {
        BLOOM_CO_TRY(const std::string_view piece, co_await read(stop));
        if (piece.empty()) co_return out;
        if (piece.size() > bytes_max - out.size()) {
            co_return Error{Code::too_large, "the response is larger than asked for"};
        }
        out += piece;
    }
}

net::Stream ClientResponse::take_stream() {
    BLOOM_CHECK(status() == Status::switching_protocols);
    ClientConnection& c = *connection_;
    const ByteSpan rest = c.pending();
    if (!rest.empty()) {
        std::memmove(c.in.bytes().data(), rest.data(), rest.size());
        c.in.node()->size = static_cast<std::uint32_t>(rest.size());
        c.stream.unread(std::move(c.in));
    }
    net::Stream out = std::move(c.stream);
    connection_.reset();
    return out;
}

rt::Task<void> ClientResponse::close() {
    if (connection_ != nullptr) co_await client_->give_back(std::move(connection_));
}

Client::Client(ClientOptions options) : options_(std::move(options)) {}

Client::~Client() {
    BLOOM_CHECK(idle_.empty()); // close() was forgotten
}

rt::Task<void> Client::close() {
    while (!idle_.empty()) {
        std::unique_ptr<ClientConnection> connection = std::move(idle_.back());
        idle_.pop_back();
        co_await connection->stream.close();
    }
}

std::unique_ptr<ClientConnection> Client::take_idle(const Url& url) {
    const std::string key = key_of(url);
    for (std::size_t i = idle_.size(); i-- > 0;) { // the youngest first: least likely to be closed
        if (idle_[i]->key != key) continue;
        std::unique_ptr<ClientConnection> out = std::move(idle_[i]);
        idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
        return out;
    }
    return nullptr;
}

rt::Task<void> Client::give_back(std::unique_ptr<ClientConnection> connection) {
    connection->in.reset();
    connection->in_at = 0;
    if (connection->reusable() && idle_.size() < options_.n_idle_connections) {
        idle_.push_back(std::move(connection));
    } else {
        co_await connection->stream.close();
    }
}

rt::Task<Result<std::unique_ptr<ClientConnection>>> Client::open(const Url& url,
                                                                 rt::StopToken stop) {
    rt::StopSource patience(stop);
    patience.stop_after(options_.limits.connect_timeout);
    if (url.tls && options_.tls == nullptr) {
        co_return Error{Code::invalid_argument,
                        "this client was made without TLS: " + url.authority};
    }
    BLOOM_CO_TRY(net::Stream stream,
                 co_await net::connect_host(url.host, url.port, patience.token()));
    if (url.tls) {
        BLOOM_CO_TRY(stream, co_await net::tls_connect(*options_.tls, std::move(stream), url.host,
                                                       patience.token()));
    }
    co_return std::make_unique<ClientConnection>(key_of(url), std::move(stream), options_.limits);
}

rt::Task<Result<ClientResponse>> Client::request(ClientRequest request, rt::StopToken stop) {
    BLOOM_CO_TRY(const Url url, Url::parse(request.url));
    const std::string head = head_of(request, url);
    std::unique_ptr<ClientConnection> connection = take_idle(url);
    for (;;) {
        const bool reused = connection != nullptr;
        if (!reused) {
            BLOOM_CO_TRY(connection, co_await open(url, stop));
        }
        iovec parts[2] = {{const_cast<char*>(head.data()), head.size()},
                          {request.body.data(), request.body.size()}};
        Result<> done = co_await connection->stream.send_all(std::span<iovec>(parts), stop);
        // A server may answer and close before it has taken the whole body.
        Result<> read = co_await connection->read_head(request.method, stop);
        if (read) co_return ClientResponse(*this, std::move(connection));
        const bool stale = reused && !connection->parser.started() &&
                           read.error().code() == Code::closed && may_repeat(request.method);
        co_await connection->stream.close();
        if (!stale) co_return done ? std::move(read).error() : std::move(done).error();
        connection = nullptr;
    }
}

} // namespace bloom::http
