#include <fmt/format.h>

#include <bloom/base/log.hpp>
#include <bloom/rt/shard.hpp>

#include "api/common.hpp"

namespace bloom::api {
namespace {

rt::Task<Result<>> handle_preflight(http::Exchange& ex) {
    const auto requested = ex.request().headers.find("access-control-request-headers");
    CorsPolicy::add_preflight_headers(requested.value_or(""), ex.headers());
    co_return co_await ex.respond(http::Status::no_content, {}, {});
}

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

void render_refusal(const http::Refusal& refusal_in, http::Refusal& refusal,
                    http::HeaderList* headers, std::string& body) {
    const ApiError error = refusal_in.error != nullptr
                               ? to_api_error(*refusal_in.error)
                               : http_error(refusal_in.status, refusal_in.message);
    refusal.status = error.status;
    if (headers != nullptr && error.retry_after_s > 0)
        headers->set("Retry-After", fmt::format("{}", error.retry_after_s));
    if (error.status == http::Status::internal_server_error && refusal_in.error != nullptr) {
        log::error("request failed: {}", refusal_in.error->message());
    }
    body += error.openai_body();
}

} // namespace

http::Router make_router(Services& services) {
    using http::Method;
    Services* s = &services;
    http::Router router;
    router.add(Method::get, "/", [](http::Exchange& ex) { return handle_landing(ex); });
    router.add(Method::get, "/health", [s](http::Exchange& ex) { return handle_health(*s, ex); });
    router.add(Method::get, "/readyz", [s](http::Exchange& ex) { return handle_ready(*s, ex); });
    router.add(Method::get, "/v1/models",
               [s](http::Exchange& ex) { return handle_models(*s, ex); });
    router.add(Method::get, "/v1/models/{id...}",
               [s](http::Exchange& ex) { return handle_model(*s, ex); });
    router.add(Method::post, "/v1/chat/completions",
               [s](http::Exchange& ex) { return handle_chat(*s, ex); });
    router.set_options([](http::Exchange& ex) { return handle_preflight(ex); });
    return router;
}

http::Hooks make_hooks(Services& services) {
    Services* s = &services;
    http::Hooks hooks;
    hooks.on_begin = [](http::Exchange& ex) { set_request_id(ex); };
    hooks.on_response_head = [s](http::Exchange& ex, http::HeaderList& headers) {
        headers.set("X-Request-ID", ex.request_id());
        if (ex.refused()) return;
        if (const auto origin = ex.request().headers.find("origin"))
            s->cors.add_response_headers(*origin, headers);
    };
    hooks.render_error = [](http::Exchange& ex, http::Refusal& refusal, std::string& body) {
        render_refusal(http::Refusal(refusal), refusal, &ex.headers(), body);
    };
    hooks.on_end = [](const http::Exchange& ex) { log_access(ex); };
    return hooks;
}

rt::Task<Result<>> refuse(http::Exchange& ex, ApiError error) {
    if (error.retry_after_s > 0)
        ex.headers().set("Retry-After", fmt::format("{}", error.retry_after_s));
    if (error.status == http::Status::unauthorized) ex.headers().set("WWW-Authenticate", "Bearer");
    co_return co_await ex.respond(error.status, kJson, error.openai_body());
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
