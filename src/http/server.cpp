#include <optional>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/http/server.hpp>
#include <bloom/net/tcp.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/shard.hpp>

#include "connection.hpp"

namespace bloom::http {
namespace {

void append_json_text(std::string& out, std::string_view text) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20) {
            out += "\\u00";
            out += kDigits[byte >> 4];
            out += kDigits[byte & 15];
        } else {
            out += c;
        }
    }
    out += '"';
}

std::string_view error_type(Status status) noexcept {
    switch (to_int(status)) {
    case 401:
        return "authentication_error";
    case 403:
        return "forbidden";
    case 408:
    case 504:
        return "timeout";
    case 429:
        return "rate_limit_exceeded";
    case 503:
        return "service_unavailable";
    case 500:
        return "internal_error";
    default:
        return "invalid_request_error";
    }
}

} // namespace

void render_openai_error(const Refusal& refusal, std::string& body) {
    body += R"({"error":{"message":)";
    append_json_text(body, refusal.message);
    body += R"(,"type":)";
    append_json_text(body, error_type(refusal.status));
    body += R"(,"param":null,"code":)";
    append_json_text(body, refusal.code);
    body += "}}";
}

Refusal refusal_of(const Error& error) noexcept {
    switch (error.code()) {
    case Code::too_large:
        return {Status::payload_too_large, "payload_too_large", error.message(), &error};
    case Code::protocol_error:
    case Code::invalid_argument:
        return {Status::bad_request, "bad_request", error.message(), &error};
    case Code::timeout:
        return {Status::request_timeout, "request_timeout", error.message(), &error};
    case Code::not_found:
        return {Status::not_found, "not_found", error.message(), &error};
    case Code::unauthenticated:
        return {Status::unauthorized, "invalid_api_key", error.message(), &error};
    case Code::permission_denied:
        return {Status::forbidden, "forbidden", error.message(), &error};
    case Code::limit_reached:
        return {Status::too_many_requests, "rate_limit_exceeded", error.message(), &error};
    case Code::busy:
    case Code::unavailable:
    case Code::cancelled:
        return {Status::service_unavailable, "service_unavailable", error.message(), &error};
    default:
        break;
    }
    // Internals stay inside; the log has them.
    return {Status::internal_server_error, "internal_error",
            "the server failed to answer this request", &error};
}

struct Server::Impl {
    ServerShared shared;
    std::optional<net::Listener> listener;
    net::Address local;

    rt::Task<void> accept_loop(rt::Scope& connections);
};

Server::Server(const Router& router, ServerOptions options) : impl_(std::make_unique<Impl>()) {
    impl_->shared.router = &router;
    impl_->shared.options = std::move(options);
}

Server::~Server() {
    BLOOM_CHECK(impl_->shared.stats.n_connections == 0);
}

Result<> Server::listen(const net::Address& at) {
    BLOOM_CHECK(!impl_->listener);
    BLOOM_TRY(net::Listener listener, net::Listener::listen(at));
    impl_->local = listener.local();
    impl_->listener.emplace(std::move(listener));
    return {};
}

const net::Address& Server::local() const noexcept {
    return impl_->local;
}

const ServerStats& Server::stats() const noexcept {
    return impl_->shared.stats;
}

rt::Task<void> Server::Impl::accept_loop(rt::Scope& connections) {
    for (;;) {
        Result<net::Stream> stream = co_await listener->accept(shared.drain);
        if (!stream) {
            if (shared.drain.stop_requested()) break;
            log::warn("http: accept: {}", stream.error().message());
            if (!co_await rt::sleep_for(net::kAcceptRetry, shared.drain)) break;
            continue;
        }
        if (shared.stats.n_connections >= shared.options.limits.n_connections) {
            ++shared.stats.n_turned_away;
            co_await stream->close();
            continue;
        }
        connections.spawn(
            Connection::run(std::make_unique<Connection>(shared, std::move(*stream))));
    }
    co_await listener->close();
}

rt::Task<void> Server::serve(rt::StopToken drain, rt::StopToken abort) {
    BLOOM_CHECK(impl_->listener.has_value());
    // An abort drains too.
    rt::StopSource stop_all(abort);
    rt::StopSource stop_new(drain);
    rt::StopCallback link(stop_all.token(), [&stop_new]() noexcept {
        stop_new.request_stop(rt::StopReason::shutdown);
    });
    impl_->shared.drain = stop_new.token();
    impl_->shared.abort = stop_all.token();
    rt::Scope connections;
    co_await impl_->accept_loop(connections);
    co_await connections.join();
    impl_->shared.drain = {};
    impl_->shared.abort = {};
}

} // namespace bloom::http
