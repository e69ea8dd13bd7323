#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <bloom/http/exchange.hpp>
#include <bloom/http/server.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/rt/chunk.hpp>
#include <bloom/rt/stop.hpp>

#include "body.hpp"
#include "parser.hpp"
#include "serialize.hpp"

namespace bloom::http {

/// What the connections of one server share. Thread: the shard's.
struct ServerShared {
    const Router* router = nullptr;
    ServerOptions options;
    ServerStats stats;
    DateCache date;
    rt::StopToken drain; ///< idle connections end, running exchanges are the last of theirs
    rt::StopToken abort; ///< everything ends
};

/// Bytes of a request body: plain memory that is not cleared when it grows.
class BodyBuffer {
public:
    void reserve(std::size_t bytes);
    void append(ByteSpan bytes);
    /// Zeroes kBodyPadding bytes behind the content and returns the content.
    ByteSpan padded();
    /// Empty again; keeps small memory.
    void reset() noexcept;

    std::size_t size() const noexcept { return size_; }

private:
    std::unique_ptr<std::uint8_t[]> data_;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0; ///< padding not included
};

/// One HTTP/1 connection: reads heads, runs the handler of each, keeps order. Owned by its run().
class Connection final : public Carrier {
public:
    Connection(ServerShared& shared, net::Stream stream);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    /// Serves until the connection ends, and closes it.
    static rt::Task<void> run(std::unique_ptr<Connection> self);

    // Carrier
    rt::Task<Result<ByteSpan>> read_body(std::uint64_t bytes_max) override;
    rt::Task<Result<>> respond(Status status, std::string_view content_type,
                               std::string_view body) override;
    void begin(Status status, std::string_view content_type) override;
    rt::Task<Result<>> write(std::string_view bytes) override;
    rt::Task<Result<>> finish(std::string_view last, const HeaderList* trailers) override;
    rt::Task<Result<net::Stream>> upgrade() override;
    net::Address remote() const override;

private:
    enum class HeadOutcome : std::uint8_t { need_more, request, refused, ended };
    enum class Sending : std::uint8_t { nothing, streaming, done };

    const Limits& limits() const noexcept { return shared_.options.limits; }

    rt::Task<void> serve();
    rt::Task<bool> shake_hands();
    HeadOutcome take_pending_head();
    HeadOutcome take_head_input(Result<rt::Chunk> got);
    void begin_exchange(HeadOutcome outcome);
    void end_exchange();
    const Handler* choose_handler(Refusal& refusal);
    bool needs_refusal(Result<>& result, const Handler* handler, Refusal& refusal);
    bool decode_params(const RawParams& raw, Refusal& refusal);
    rt::Task<void> refuse(Refusal refusal);
    rt::Task<void> linger();

    // connection_io.cpp
    /// Sends out_ with the stall limit; no coroutine frame.
    class FlushAwaiter;

    /// Bytes received and not used yet.
    ByteSpan pending() const noexcept { return in_.bytes().subspan(in_at_); }

    /// Replaces the used-up input by the next bytes. Errors: closed at the peer's end, those of
    /// recv.
    rt::Task<Result<>> receive(rt::StopToken stop);
    /// Feeds pending input to the body decoder, keeping or dropping the data. False: needs more
    /// input.
    bool take_pending_body(bool keep);
    rt::Task<Result<>> receive_body();
    rt::Task<void> throw_body_away();
    void leave_body() noexcept;
    Error body_error() const;
    void render(Refusal& refusal, std::string& body);
    void put_head(Status status, ResponseFraming framing, std::uint64_t length,
                  std::string_view content_type);
    FlushAwaiter flush();
    /// out_, `big` and `after` without copying `big`.
    rt::Task<Result<>> send_big(std::string_view big, std::string_view after);
    /// Notes a failure.
    Result<> sent(Result<> result);

    /// Whether the method or the status keeps the body off the wire.
    bool silent(Status status) const noexcept;

    ServerShared& shared_;
    net::Stream stream_;
    rt::Chunk in_;
    std::size_t in_at_ = 0;
    HeadParser parser_;
    BodyDecoder decoder_;
    BodyBuffer body_;
    std::string out_; ///< head and small bodies on their way
    Exchange exchange_;
    std::uint64_t idle_since_ns_ = 0;
    std::uint64_t head_begin_ns_ = 0;
    std::uint32_t n_requests_ = 0;
    bool silent_ = false; ///< streaming to a HEAD
    Sending sending_ = Sending::nothing;
    bool keep_ = true;          ///< another request may follow
    bool linger_ = false;       ///< the peer may still be sending: let it read our answer first
    bool broken_ = false;       ///< sending failed or the response was cut: only close is left
    bool continue_due_ = false; ///< 100 (Continue) has not been sent
    bool chunked_ = false;
    bool upgraded_ = false;
    bool tls_pending_ = false;
};

class Connection::FlushAwaiter {
public:
    explicit FlushAwaiter(Connection& connection)
        : connection_(connection), stall_(connection.shared_.abort),
          send_(connection.stream_.send_all(as_bytes(connection.out_), stall_.token())) {
        stall_.stop_after(connection.limits().stall_timeout);
    }

    bool await_ready() noexcept { return send_.await_ready(); }

    std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) noexcept {
        return send_.await_suspend(self);
    }

    Result<> await_resume() {
        Result<> result = send_.await_resume();
        connection_.out_.clear();
        return connection_.sent(std::move(result));
    }

private:
    Connection& connection_;
    rt::StopSource stall_;
    net::Stream::SendAwaiter send_;
};

inline Connection::FlushAwaiter Connection::flush() {
    return FlushAwaiter(*this);
}

} // namespace bloom::http
