// The Carrier half of a connection: bodies in, responses out.
#include <algorithm>
#include <cstring>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/shard.hpp>

#include "connection.hpp"

namespace bloom::http {
namespace {

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
/// A body that is read may take body_timeout and a millisecond for each byte (1 kB/s): a trickle
/// ends.
constexpr std::uint64_t kBodyNsPerByte = 1'000'000;
/// Memory for a body whose length is not known yet.
constexpr std::size_t kBodyFirstBytes = 4096;
/// Large bodies leave in pieces, each with the stall limit for itself.
constexpr std::size_t kPieceBytes = std::size_t{256} * 1024;

iovec part_of(std::string_view text) noexcept {
    return {const_cast<char*>(text.data()), text.size()};
}

} // namespace

rt::Task<Result<>> Connection::receive(rt::StopToken stop) {
    in_.reset();
    in_at_ = 0;
    BLOOM_CO_TRY(rt::Chunk chunk, co_await stream_.recv(stop));
    if (chunk.empty()) co_return Error{Code::closed, "the peer ended the connection"};
    in_ = std::move(chunk);
    co_return Result<>{};
}

bool Connection::take_pending_body(bool keep) {
    if (exchange_.head_->body == BodyKind::none) return true; // the head may still be a view of in_
    while (!pending().empty() && !decoder_.complete() && !decoder_.failed()) {
        const BodyDecoder::Step step = decoder_.next(pending());
        in_at_ += step.consumed;
        if (keep) body_.append(step.data);
    }
    if (pending()
            .empty()) { // used up: a long answer must not hold a kernel buffer (the head is owned)
        in_.reset();
        in_at_ = 0;
    }
    return decoder_.complete() || decoder_.failed();
}

Error Connection::body_error() const {
    const Rejection& why = decoder_.rejection();
    const Code code =
        why.status == Status::payload_too_large ? Code::too_large : Code::protocol_error;
    return Error{code, std::string(why.message)};
}

rt::Task<Result<ByteSpan>> Connection::read_body(std::uint64_t bytes_max) {
    const std::uint64_t most = std::min(bytes_max, limits().body_bytes);
    if (!decoder_.complete() && !decoder_.failed()) {
        decoder_.set_bytes_max(most);
        if (!decoder_.failed()) BLOOM_CO_OK(co_await receive_body());
    }
    if (decoder_.failed()) {
        leave_body();
        co_return body_error();
    }
    if (body_.size() > most) co_return Error{Code::too_large, "the body is larger than asked for"};
    co_return body_.padded();
}

rt::Task<Result<>> Connection::receive_body() {
    const RequestHead& head = *exchange_.head_;
    body_.reserve(head.body == BodyKind::length ? static_cast<std::size_t>(head.content_length)
                                                : kBodyFirstBytes);
    bool done = take_pending_body(true);
    if (continue_due_) {
        // All here already: it leaves with the response; a client may count on seeing it.
        out_ += kContinue;
        continue_due_ = false;
        if (!done) BLOOM_CO_OK(co_await flush());
    }
    rt::StopSource patience(shared_.abort);
    const std::uint64_t until_ns =
        rt::Shard::current().now_ns() +
        static_cast<std::uint64_t>(std::chrono::nanoseconds(limits().body_timeout).count());
    while (!done) {
        patience.stop_at(until_ns + decoder_.n_bytes() * kBodyNsPerByte);
        Result<> got = co_await receive(patience.token());
        if (!got) {
            leave_body();
            if (got.error().code() == Code::timeout) {
                co_return Error{Code::timeout, "the request body took too long"};
            }
            co_return got;
        }
        done = take_pending_body(true);
    }
    co_return Result<>{};
}

/// Whatever is left of the body stays unread: this connection cannot go on.
void Connection::leave_body() noexcept {
    keep_ = false;
    linger_ = true;
}

rt::Task<void> Connection::throw_body_away() {
    const RequestHead& head = *exchange_.head_;
    if (take_pending_body(false)) {
        if (decoder_.complete() && std::exchange(continue_due_, false)) out_ += kContinue;
        co_return;
    }
    const std::uint64_t n_max = limits().drain_bytes;
    const bool long_body =
        head.body == BodyKind::length && head.content_length - decoder_.n_bytes() > n_max;
    if (continue_due_ || long_body) { // a client that waits for 100 takes the final status instead
        leave_body();
        co_return;
    }
    rt::StopSource patience(shared_.abort);
    patience.stop_after(limits().drain_timeout);
    do {
        if (decoder_.n_bytes() > n_max || !co_await receive(patience.token())) {
            leave_body();
            co_return;
        }
    } while (!take_pending_body(false));
}

void Connection::render(Refusal& refusal, std::string& body) {
    if (const auto& hook = shared_.options.hooks.render_error) {
        hook(exchange_, refusal, body);
    } else {
        render_openai_error(refusal, body);
    }
}

bool Connection::silent(Status status) const noexcept {
    return exchange_.head_->method == Method::head || !may_have_body(status);
}

void Connection::put_head(Status status, ResponseFraming framing, std::uint64_t length,
                          std::string_view content_type) {
    exchange_.status_ = status;
    exchange_.begun_ = true;
    if (shared_.drain.stop_requested() || framing == ResponseFraming::until_close) keep_ = false;
    if (!content_type.empty()) exchange_.headers_.set("Content-Type", content_type);
    if (const auto& hook = shared_.options.hooks.on_response_head)
        hook(exchange_, exchange_.headers_);
    const bool streams = framing == ResponseFraming::chunked;
    append_head(out_,
                {.status = status,
                 .framing = framing,
                 .content_length = length,
                 .close = !keep_,
                 .say_keep_alive = streams || exchange_.head_->version == Version::http_1_0,
                 .date = shared_.date.at(rt::Shard::current().unix_ms() / 1000)},
                exchange_.headers_);
}

Result<> Connection::sent(Result<> result) {
    if (result) return result;
    broken_ = true;
    keep_ = false;
    exchange_.stop_->request_stop(rt::StopReason::client_gone);
    if (result.error().code() == Code::timeout) {
        return Error{Code::timeout, "the client takes no more of its response"};
    }
    return result;
}

rt::Task<Result<>> Connection::respond(Status status, std::string_view content_type,
                                       std::string_view body) {
    BLOOM_CHECK(sending_ == Sending::nothing); // one response to a request
    if (broken_) co_return Error{Code::closed, "the connection is gone"};
    if (!decoder_.complete() && !decoder_.failed()) co_await throw_body_away();
    std::string refusal_body;
    if (decoder_.failed()) {
        leave_body();
        const Rejection& why = decoder_.rejection();
        if (status != why.status) { // a handler that had not looked at its body
            Refusal refusal{why.status, why.code, why.message};
            render(refusal, refusal_body);
            status = refusal.status;
            content_type = "application/json";
            body = refusal_body;
        }
    }
    const bool can_have_body = may_have_body(status);
    if (body.empty() || !can_have_body) content_type = {};
    put_head(status, can_have_body ? ResponseFraming::length : ResponseFraming::none, body.size(),
             content_type);
    sending_ = Sending::done;
    if (!silent(status)) {
        exchange_.n_body_bytes_ += body.size();
        if (body.size() > limits().cork_bytes) co_return co_await send_big(body, {});
        out_ += body;
    }
    co_return co_await flush();
}

void Connection::begin(Status status, std::string_view content_type) {
    BLOOM_CHECK(sending_ == Sending::nothing);
    if (!take_pending_body(false) || decoder_.failed()) {
        if (!decoder_.complete()) leave_body();
    }
    chunked_ = exchange_.head_->version == Version::http_1_1;
    silent_ = silent(status);
    put_head(status, chunked_ ? ResponseFraming::chunked : ResponseFraming::until_close, 0,
             content_type);
    sending_ = Sending::streaming;
}

rt::Task<Result<>> Connection::write(std::string_view bytes) {
    BLOOM_CHECK(sending_ == Sending::streaming);
    if (broken_) co_return Error{Code::closed, "the connection is gone"};
    if (!bytes.empty() && !silent_) {
        exchange_.n_body_bytes_ += bytes.size();
        const std::string_view after = chunked_ ? "\r\n" : "";
        if (chunked_) append_chunk_size(out_, bytes.size());
        if (bytes.size() > limits().cork_bytes) co_return co_await send_big(bytes, after);
        out_.append(bytes).append(after);
    }
    if (out_.empty()) co_return Result<>{};
    co_return co_await flush();
}

rt::Task<Result<>> Connection::finish(std::string_view last, const HeaderList* trailers) {
    BLOOM_CHECK(sending_ == Sending::streaming);
    if (broken_) co_return Error{Code::closed, "the connection is gone"};
    if (last.size() > limits().cork_bytes) {
        BLOOM_CO_OK(co_await write(last));
        last = {};
    }
    if (!silent_) {
        exchange_.n_body_bytes_ += last.size();
        if (chunked_ && !last.empty()) {
            append_chunk_size(out_, last.size());
            out_.append(last).append("\r\n");
        } else {
            out_ += last;
        }
        if (chunked_) {
            out_ += "0\r\n";
            if (trailers != nullptr) out_ += trailers->lines();
            out_ += "\r\n";
        }
    }
    sending_ = Sending::done;
    if (out_.empty()) co_return Result<>{};
    co_return co_await flush();
}

rt::Task<Result<>> Connection::send_big(std::string_view big, std::string_view after) {
    for (std::size_t at = 0; at < big.size();) {
        const std::string_view piece = big.substr(at, kPieceBytes);
        const bool first = at == 0;
        at += piece.size();
        iovec parts[3] = {part_of(first ? std::string_view(out_) : std::string_view()),
                          part_of(piece), part_of(at == big.size() ? after : std::string_view())};
        rt::StopSource stall(shared_.abort);
        stall.stop_after(limits().stall_timeout);
        Result<> result = co_await stream_.send_all(std::span<iovec>(parts), stall.token());
        if (first) out_.clear();
        BLOOM_CO_OK(sent(std::move(result)));
    }
    co_return Result<>{};
}

rt::Task<Result<net::Stream>> Connection::upgrade() {
    const RequestHead& head = *exchange_.head_;
    BLOOM_CHECK(sending_ == Sending::nothing);
    if (!head.upgrade || head.version != Version::http_1_1 || head.body != BodyKind::none) {
        co_return Error{Code::invalid_argument, "the client did not offer an upgrade"};
    }
    parser_.own(); // the input goes with the stream
    exchange_.headers_.set("Connection", "Upgrade");
    keep_ = true; // no Connection: close beside it
    put_head(Status::switching_protocols, ResponseFraming::none, 0, {});
    sending_ = Sending::done;
    BLOOM_CO_OK(co_await flush());
    stream_.notify_gone(nullptr, false);
    const ByteSpan rest = pending();
    if (!rest.empty()) {
        std::memmove(in_.bytes().data(), rest.data(), rest.size());
        in_.node()->size = static_cast<std::uint32_t>(rest.size());
        stream_.unread(std::move(in_));
    }
    in_.reset();
    in_at_ = 0;
    keep_ = false;
    upgraded_ = true;
    co_return std::move(stream_);
}

net::Address Connection::remote() const {
    return stream_ ? stream_.peer() : net::Address();
}

} // namespace bloom::http
