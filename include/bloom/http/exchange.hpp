#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include <bloom/base/arena.hpp>
#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>
#include <bloom/http/router.hpp>
#include <bloom/net/address.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::http {

/// What carries an exchange: an HTTP/1 connection today. Handlers use Exchange instead.
class Carrier {
public:
    virtual rt::Task<Result<ByteSpan>> read_body(std::uint64_t bytes_max) = 0;
    virtual rt::Task<Result<>> respond(Status status, std::string_view content_type,
                                       std::string_view body) = 0;
    virtual void begin(Status status, std::string_view content_type) = 0;
    virtual rt::Task<Result<>> write(std::string_view bytes) = 0;
    virtual rt::Task<Result<>> finish(std::string_view last, const HeaderList* trailers) = 0;
    virtual rt::Task<Result<net::Stream>> upgrade() = 0;
    virtual net::Address remote() const = 0;

protected:
    ~Carrier() = default;
};

/// One request and its response. A handler looks at the head, reads the body if it wants it, and
/// either responds once or streams: begin, write..., finish.
///
///     rt::Task<Result<>> echo(http::Exchange& ex) {
///         BLOOM_CO_TRY(ByteSpan body, co_await ex.read_body(kEchoBytesMax));
///         co_return co_await ex.respond(http::Status::ok, "text/plain", as_text(body));
///     }
///
/// Lifetime: head, params, body and arena memory live until the handler has returned; copy what
/// stays. Text given to the calls below has to stay only until their co_await returns. Thread: the
/// connection's shard. One call at a time.
class Exchange {
public:
    struct Param {
        std::string_view name;
        std::string_view value;
    };

    explicit Exchange(Carrier& carrier) noexcept : carrier_(&carrier) {}

    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    // --- the request
    // --------------------------------------------------------------------------------
    /// An empty head when the request was refused before it could be read (see refused()).
    const RequestHead& request() const noexcept { return *head_; }

    /// Whether there is no valid request behind this exchange; only hooks see such ones.
    bool refused() const noexcept { return refused_; }

    /// Pattern of the route that matched, for logs and metrics; empty without one.
    std::string_view route() const noexcept { return route_; }

    /// Decoded path parameter; empty for a name the pattern does not have.
    std::string_view param(std::string_view name) const noexcept;

    net::Address remote() const { return carrier_->remote(); }

    /// Stops with client_gone when the peer resets the connection, ends its side or takes nothing
    /// for too long, and with shutdown when the server gives up waiting. Give it to everything that
    /// works for this request. A response may still be tried.
    rt::StopToken stop() noexcept { return stop_->token(); }

    /// Memory that ends with the exchange.
    Arena& arena() noexcept { return arena_; }

    /// Reads the whole body, once; later calls return the same bytes. kBodyPadding zero bytes
    /// follow it. Sends 100 (Continue) to a client that waits for it. Errors: too_large (413),
    /// protocol_error (400), timeout (408), closed or cancelled when the peer is gone. Handing the
    /// error back from the handler answers it.
    BLOOM_CORO_WRAPPER rt::Task<Result<ByteSpan>> read_body(std::uint64_t bytes_max) {
        return carrier_->read_body(bytes_max);
    }

    // --- the response
    // -------------------------------------------------------------------------------
    /// Fields that the response will have; add before respond() or begin().
    HeaderList& headers() noexcept { return headers_; }

    /// The whole response in one send. A body that was not read is thrown away first, if it is
    /// small and comes quickly; else the connection closes behind the response. No Content-Type for
    /// an empty one. Errors: closed, timeout or cancelled when the peer is gone.
    BLOOM_CORO_WRAPPER rt::Task<Result<>> respond(Status status, std::string_view content_type,
                                                  std::string_view body) {
        return carrier_->respond(status, content_type, body);
    }

    /// Starts a streamed response. Nothing is sent before the first write() or finish().
    void begin(Status status, std::string_view content_type) {
        carrier_->begin(status, content_type);
    }

    /// Sends bytes of the body now, with the head if it waits; suspends while the peer is slow.
    /// Empty bytes push out the head alone. Errors: as respond().
    BLOOM_CORO_WRAPPER rt::Task<Result<>> write(std::string_view bytes) {
        return carrier_->write(bytes);
    }

    /// Ends a streamed response with these last bytes, in one send. Trailers go to HTTP/1.1 peers
    /// only.
    BLOOM_CORO_WRAPPER rt::Task<Result<>> finish(std::string_view last = {},
                                                 const HeaderList* trailers = nullptr) {
        return carrier_->finish(last, trailers);
    }

    /// Answers 101 with headers() (the caller adds Upgrade and what its protocol wants) and hands
    /// the stream over; bytes received already come out of its recv(). The handler closes it.
    /// request() stays valid. Errors: invalid_argument when the client did not offer an upgrade;
    /// those of respond().
    BLOOM_CORO_WRAPPER rt::Task<Result<net::Stream>> upgrade() { return carrier_->upgrade(); }

    /// Whether a response was begun; then only its own stream can tell of errors.
    bool begun() const noexcept { return begun_; }

    Status status() const noexcept { return status_; }

    /// Content bytes given to respond, write and finish so far.
    std::uint64_t body_bytes() const noexcept { return n_body_bytes_; }

    // --- for hooks
    // ----------------------------------------------------------------------------------
    /// An id of the request, set by whoever makes one (arena memory or longer); empty before.
    std::string_view request_id() const noexcept { return request_id_; }

    void set_request_id(std::string_view id) noexcept { request_id_ = id; }

    /// Time of the shard's clock when the head was complete.
    std::uint64_t begin_ns() const noexcept { return begin_ns_; }

private:
    friend class Connection;

    Carrier* carrier_;
    const RequestHead* head_ = nullptr;
    std::string_view route_;
    std::array<Param, RawParams::kMax> params_;
    std::size_t n_params_ = 0;
    std::string_view request_id_;
    std::optional<rt::StopSource> stop_;
    Arena arena_;
    HeaderList headers_;
    std::uint64_t begin_ns_ = 0;
    std::uint64_t n_body_bytes_ = 0;
    Status status_ = Status::ok;
    bool refused_ = false;
    bool begun_ = false;
};

} // namespace bloom::http
