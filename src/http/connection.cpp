#include "connection.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::http {
namespace {

const RequestHead kNoHead;

std::uint64_t to_ns(std::chrono::milliseconds t) noexcept {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(t).count());
}

std::uint64_t now_ns() noexcept {
    return rt::Shard::current().now_ns();
}

/// What the exception that is being handled says.
std::string exception_text() {
    try {
        throw;
    } catch (const std::exception& e) {
        return e.what();
    } catch (...) {
        return "something that is no std::exception";
    }
}

} // namespace

Connection::Connection(ServerShared& shared, net::Stream stream)
    : shared_(shared), stream_(std::move(stream)), parser_(shared.options.limits), exchange_(*this),
      tls_pending_(shared.options.tls != nullptr) {
    ++shared_.stats.n_connections;
    ++shared_.stats.n_accepted;
}

Connection::~Connection() {
    --shared_.stats.n_connections;
}

rt::Task<void> Connection::run(std::unique_ptr<Connection> self) {
    try {
        co_await self->serve();
    } catch (...) {
        // Out of memory, or a library that threw: this connection ends, the others go on.
        log::error("http: connection ended by an exception: {}", exception_text());
    }
    if (self->stream_) {
        self->in_.reset();
        co_await self->stream_.close();
    }
}

// One coroutine for everything that happens on every request: a kept connection then allocates only
// the handler's own frames.
rt::Task<void> Connection::serve() {
    if (tls_pending_ && !co_await shake_hands()) co_return;
    while (keep_ && !broken_) {
        idle_since_ns_ = now_ns();
        parser_.reset();
        HeadOutcome outcome = take_pending_head();
        while (outcome == HeadOutcome::need_more) {
            // Between requests a drain ends the wait; a head that has begun is still served.
            const bool started = parser_.started();
            rt::StopSource patience(started ? shared_.abort : shared_.drain);
            patience.stop_at(started ? head_begin_ns_ + to_ns(limits().header_timeout)
                                     : idle_since_ns_ + to_ns(limits().idle_timeout));
            in_.reset();
            in_at_ = 0;
            outcome = take_head_input(co_await stream_.recv(patience.token()));
        }
        if (outcome == HeadOutcome::ended) break;
        begin_exchange(outcome);
        Refusal refusal;
        Result<> result;
        const Handler* handler = choose_handler(refusal);
        if (handler != nullptr) {
            ++shared_.stats.n_running;
            try {
                result = co_await (*handler)(exchange_);
            } catch (...) {
                log::error("http: {} {} threw: {}", to_string(exchange_.head_->method),
                           exchange_.route_, exception_text());
                result = Error{Code::internal, "the handler threw an exception"};
            }
            --shared_.stats.n_running;
        }
        if (!upgraded_ && needs_refusal(result, handler, refusal)) co_await refuse(refusal);
        end_exchange();
        if (upgraded_) co_return;
    }
    if ((linger_ || !pending().empty()) && !broken_) co_await linger();
}

rt::Task<bool> Connection::shake_hands() {
    rt::StopSource patience(shared_.drain);
    patience.stop_after(limits().tls_timeout);
    Result<net::Stream> secured =
        co_await net::tls_accept(*shared_.options.tls, std::move(stream_), patience.token());
    if (!secured) {
        log::debug("http: TLS handshake: {}", secured.error().message());
        co_return false;
    }
    stream_ = std::move(*secured);
    co_return true;
}

Connection::HeadOutcome Connection::take_pending_head() {
    if (pending().empty()) return HeadOutcome::need_more;
    const bool was_started = parser_.started();
    const FeedResult fed = parser_.feed(pending());
    in_at_ += fed.consumed;
    if (!was_started && parser_.started()) head_begin_ns_ = now_ns();
    switch (fed.progress) {
    case Progress::complete:
        return HeadOutcome::request;
    case Progress::rejected:
        return HeadOutcome::refused;
    case Progress::need_more:
        break;
    }
    return HeadOutcome::need_more;
}

Connection::HeadOutcome Connection::take_head_input(Result<rt::Chunk> got) {
    if (got && !got->empty()) {
        in_ = std::move(*got);
        return take_pending_head();
    }
    if (!got && parser_.started() && got.error().code() == Code::timeout) {
        parser_.give_up(Status::request_timeout, "request_timeout",
                        "the request head took too long");
        return HeadOutcome::refused;
    }
    return HeadOutcome::ended;
}

void Connection::begin_exchange(HeadOutcome outcome) {
    exchange_.refused_ = outcome == HeadOutcome::refused;
    if (!exchange_.refused_ && parser_.head().body != BodyKind::none) {
        // The handler of a request with a body waits, for the body and then often for long: keep
        // the head and give the kernel its buffer back. Without a body the head stays where it was
        // received.
        parser_.own();
    }
    exchange_.head_ = exchange_.refused_ ? &kNoHead : &parser_.head();
    exchange_.begin_ns_ = now_ns();
    exchange_.stop_.emplace(shared_.abort);
    stream_.notify_gone(&*exchange_.stop_, true);
    sending_ = Sending::nothing;
    const RequestHead& head = *exchange_.head_;
    decoder_.start(head.body, head.content_length, limits().body_bytes, limits());
    continue_due_ = head.expect_continue && head.body != BodyKind::none;
    keep_ = head.keep_alive && ++n_requests_ < limits().n_requests;
    ++(exchange_.refused_ ? shared_.stats.n_refused : shared_.stats.n_requests);
    if (const auto& hook = shared_.options.hooks.on_begin) hook(exchange_);
}

void Connection::end_exchange() {
    if (const auto& hook = shared_.options.hooks.on_end) hook(exchange_);
    if (stream_) stream_.notify_gone(nullptr, false);
    exchange_.stop_.reset();
    exchange_.headers_.clear();
    exchange_.arena_.reset(limits().arena_bytes);
    exchange_.route_ = {};
    exchange_.request_id_ = {};
    exchange_.n_params_ = 0;
    exchange_.n_body_bytes_ = 0;
    exchange_.begun_ = false;
    exchange_.head_ = &kNoHead;
    body_.reset();
    constexpr std::size_t kKeptBytes = 32 * 1024;
    if (out_.capacity() > kKeptBytes) std::string().swap(out_);
}

/// The handler of the route, or null with the reason in `refusal`.
const Handler* Connection::choose_handler(Refusal& refusal) {
    if (exchange_.refused_) {
        const Rejection& why = parser_.rejection();
        refusal = {why.status, why.code, why.message};
        leave_body();
        return nullptr;
    }
    const RequestHead& head = *exchange_.head_;
    const Router::Match match = shared_.router->match(head.method, head.path);
    exchange_.route_ = match.pattern;
    switch (match.outcome) {
    case Router::Outcome::found:
        return decode_params(match.params, refusal) ? match.handler : nullptr;
    case Router::Outcome::not_found:
        refusal = {Status::not_found, "not_found", "there is nothing at this path"};
        break;
    case Router::Outcome::method_not_allowed:
        exchange_.headers_.add("Allow", allow_value(match.allowed));
        refusal = {Status::method_not_allowed, "method_not_allowed",
                   "this path does not take that method; see the Allow header"};
        break;
    }
    return nullptr;
}

/// Whether the server has to answer in place of the handler.
bool Connection::needs_refusal(Result<>& result, const Handler* handler, Refusal& refusal) {
    if (handler == nullptr) return true;
    if (sending_ == Sending::streaming) {
        broken_ = true; // a missing end tells the client that the response is not whole
        return false;
    }
    if (sending_ == Sending::done) return false;
    if (result) result = Error{Code::internal, "the handler gave no response"};
    if (decoder_.failed()) { // what the body said outranks what the handler made of it
        const Rejection& why = decoder_.rejection();
        refusal = {why.status, why.code, why.message};
    } else {
        refusal = refusal_of(result.error());
    }
    refusal.error = &result.error();
    return true;
}

bool Connection::decode_params(const RawParams& raw, Refusal& refusal) {
    for (std::size_t i = 0; i < raw.n; ++i) {
        std::string_view value = raw.items[i].value;
        if (value.find('%') != std::string_view::npos) {
            Result<std::string> decoded = percent_decode(value);
            if (!decoded) {
                refusal = {Status::bad_request, "bad_path",
                           "the path has an escape that is not valid UTF-8"};
                return false;
            }
            value = exchange_.arena_.copy(*decoded);
        }
        exchange_.params_[exchange_.n_params_++] = {raw.items[i].name, value};
    }
    return true;
}

rt::Task<void> Connection::refuse(Refusal refusal) {
    std::string body;
    render(refusal, body);
    // A failure to send is noted in broken_.
    static_cast<void>(co_await respond(refusal.status, "application/json", body));
}

rt::Task<void> Connection::linger() {
    // Closing with unread input resets the connection, which can destroy the answer on its way
    // (RFC 9112 9.6): end our side first and read on for a moment.
    rt::StopSource patience(shared_.abort);
    patience.stop_after(limits().linger_timeout);
    in_.reset();
    in_at_ = 0;
    if (!co_await stream_.shutdown_send(patience.token())) co_return;
    std::uint64_t n_left = limits().drain_bytes;
    while (co_await receive(patience.token())) {
        if (in_.size() > n_left) break;
        n_left -= in_.size();
    }
}

void BodyBuffer::reserve(std::size_t bytes) {
    if (bytes <= capacity_) return;
    auto bigger = std::make_unique_for_overwrite<std::uint8_t[]>(bytes + kBodyPadding);
    if (size_ > 0) std::memcpy(bigger.get(), data_.get(), size_);
    data_ = std::move(bigger);
    capacity_ = bytes;
}

void BodyBuffer::append(ByteSpan bytes) {
    if (bytes.empty()) return;
    if (size_ + bytes.size() > capacity_) reserve(std::max(size_ + bytes.size(), capacity_ * 2));
    std::memcpy(data_.get() + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
}

ByteSpan BodyBuffer::padded() {
    reserve(1);
    std::memset(data_.get() + size_, 0, kBodyPadding);
    return {data_.get(), size_};
}

void BodyBuffer::reset() noexcept {
    constexpr std::size_t kKeptBytes = 16 * 1024;
    size_ = 0;
    if (capacity_ > kKeptBytes) {
        data_.reset();
        capacity_ = 0;
    }
}

} // namespace bloom::http
