#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/rt/shard.hpp>

#include "api/common.hpp"
#include "api/openapi.hpp"
#include "api/route_table.hpp"

namespace bloom::api {
namespace {

rt::Task<Result<>> handle_preflight(http::Exchange& ex) {
    const auto requested = ex.request().headers.find("access-control-request-headers");
    CorsPolicy::add_preflight_headers(requested.value_or(""), ex.headers());
    co_return co_await ex.respond(http::Status::no_content, {}, {});
}

/// A handler with the services it works with.
struct Bound {
    Services* services;
    rt::Task<Result<>> (*handle)(Services&, http::Exchange&);

    BLOOM_CORO_WRAPPER rt::Task<Result<>> operator()(http::Exchange& ex) const {
        return handle(*services, ex);
    }
};

/// A text that is ready before the first request.
struct Document {
    std::shared_ptr<const std::string> text;

    BLOOM_CORO_WRAPPER rt::Task<Result<>> operator()(http::Exchange& ex) const {
        return send(ex, text);
    }

    static rt::Task<Result<>> send(http::Exchange& ex, std::shared_ptr<const std::string> text) {
        co_return co_await ex.respond(http::Status::ok, kJson, *text);
    }
};

void log_access(const http::Exchange& ex) {
    if (ex.refused()) return; // what could not be read has no path to tell
    const std::uint64_t us = (rt::Shard::current().now_ns() - ex.begin_ns()) / 1000;
    log::debug("{} {} {} {} bytes {} us {}", http::to_string(ex.request().method), ex.route(),
               http::to_int(ex.status()), ex.body_bytes(), us, ex.request_id());
}

/// Copies a short text into the exchange's arena, where it lives as long as the exchange.
std::string_view keep(http::Exchange& ex, std::string_view text) {
    char* at = static_cast<char*>(ex.arena().allocate(text.size(), 1));
    std::copy(text.begin(), text.end(), at);
    return {at, text.size()};
}

void set_request_id(http::Exchange& ex) {
    const auto given = ex.refused() ? std::nullopt : ex.request().headers.find("x-request-id");
    ex.set_request_id(keep(ex, request_id_for(given.value_or(""))));
}

void render_refusal(http::Exchange& ex, http::Refusal& refusal, std::string& body) {
    // A handler hands back a timeout only for a body that did not come: http's own status fits.
    const bool as_it_is = refusal.error == nullptr || refusal.error->code() == Code::timeout;
    const ApiError error =
        as_it_is ? http_error(refusal.status, refusal.message) : to_api_error(*refusal.error);
    const bool peer_left = refusal.error != nullptr && (refusal.error->code() == Code::closed ||
                                                        refusal.error->code() == Code::cancelled);
    if (error.status == http::Status::internal_server_error && refusal.error != nullptr &&
        !peer_left) {
        log::error("{}: {}", ex.route(), refusal.error->message());
    }
    if (error.retry_after_s > 0)
        ex.headers().set("Retry-After", fmt::format("{}", error.retry_after_s));
    const dialect::Envelope envelope = envelope_of(ex);
    refusal.status = error.status_in(envelope);
    body += error.body(envelope, ex.request_id());
}

} // namespace

http::Router make_router(Services& services) {
    http::Router router;
    const auto document = std::make_shared<std::string>();
    for (const Route& route : route_table()) {
        if (route.handle == nullptr) {
            BLOOM_CHECK(route.pattern == kOpenApiPath);
            router.add(route.method, route.pattern, Document{document});
            continue;
        }
        const Bound handler{&services, route.handle};
        router.add(route.method, route.pattern, handler);
        if (route.doubled) router.add(route.method, "/v1" + std::string(route.pattern), handler);
    }
    router.set_options(&handle_preflight);
    *document = openapi_document(router, services.version); // of all that was added
    return router;
}

http::Hooks make_hooks(Services& services) {
    Services* s = &services;
    http::Hooks hooks;
    hooks.on_begin = &set_request_id;
    hooks.on_response_head = [s](http::Exchange& ex, http::HeaderList& headers) {
        headers.set("X-Request-ID", ex.request_id());
        if (ex.refused()) return;
        // The name under which Anthropic's clients look for it.
        if (envelope_of(ex) == dialect::Envelope::anthropic)
            headers.set("request-id", ex.request_id());
        if (const auto origin = ex.request().headers.find("origin"))
            s->cors.add_response_headers(*origin, headers);
    };
    hooks.render_error = &render_refusal;
    hooks.on_end = &log_access;
    return hooks;
}

dialect::Envelope envelope_of(const http::Exchange& ex) noexcept {
    if (ex.refused()) return dialect::Envelope::openai;
    std::string_view path = ex.request().path;
    if (path.starts_with("/v1/v1/")) path.remove_prefix(3);
    const bool messages = path == "/v1/messages" || path.starts_with("/v1/messages/");
    return messages ? dialect::Envelope::anthropic : dialect::Envelope::openai;
}

rt::Task<Result<>> refuse(http::Exchange& ex, ApiError error) {
    if (error.retry_after_s > 0)
        ex.headers().set("Retry-After", fmt::format("{}", error.retry_after_s));
    if (error.status == http::Status::unauthorized) ex.headers().set("WWW-Authenticate", "Bearer");
    const dialect::Envelope envelope = envelope_of(ex);
    co_return co_await ex.respond(error.status_in(envelope), kJson,
                                  error.body(envelope, ex.request_id()));
}

std::expected<std::shared_ptr<registry::ProviderLink>, ApiError>
find_provider(const Services& services, const gen::Generation& request,
              std::span<const registry::ProviderLink* const> tried) {
    auto place = scheduler::place(services.registry, request, tried);
    if (place) return std::move(*place);
    scheduler::NoPlace none = std::move(place).error();
    if (none.reason == scheduler::NoPlace::Reason::unknown_model &&
        services.catalog->find(request.model) != nullptr) {
        none.reason = scheduler::NoPlace::Reason::not_held;
    }
    return std::unexpected(to_api_error(none, request.render.model));
}

Result<auth::Principal> authenticate(const Services& services, http::Exchange& ex) {
    const http::Headers& headers = ex.request().headers;
    const std::shared_ptr<const auth::KeyTable> keys = services.keys.get();
    BLOOM_TRY(const auth::Principal* who,
              keys->authenticate(headers.find("authorization").value_or(""),
                                 headers.find("x-api-key").value_or("")));
    return *who;
}

} // namespace bloom::api
