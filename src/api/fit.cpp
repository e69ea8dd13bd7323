#include <chrono>

#include <bloom/fit/listing.hpp>
#include <bloom/fit/machine.hpp>
#include <bloom/fit/model_table.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/rt/shard.hpp>

#include "api/common.hpp"

namespace bloom::api {
namespace {

/// This API's own shape of errors: fit API section 1.7.
rt::Task<Result<>> refuse_query(http::Exchange& ex, std::string text) {
    std::string body;
    json::Writer(body).begin_object().key("error").string(text).end_object();
    co_return co_await ex.respond(http::Status::bad_request, kJson, body);
}

/// Whoever reaches a node that listens on this machine alone may ask what the machine is.
bool may_ask(const Services& services, http::Exchange& ex) {
    return services.fit_is_public || authenticate(services, ex).has_value();
}

fit::ListingContext context_of(const Services& services) {
    const std::chrono::year_month_day today(
        std::chrono::floor<std::chrono::days>(std::chrono::sys_time<std::chrono::milliseconds>(
            std::chrono::milliseconds(rt::Shard::current().unix_ms()))));
    fit::ListingContext context;
    context.models = fit::built_in_models();
    context.system = services.machine->facts(rt::Shard::current().now_ns());
    context.node = services.machine->node();
    context.year = static_cast<int>(today.year());
    context.month = static_cast<std::int32_t>(static_cast<unsigned>(today.month()));
    return context;
}

rt::Task<Result<>> answer(Services& services, http::Exchange& ex, fit::Listing listing,
                          std::string_view name) {
    if (!may_ask(services, ex)) {
        co_return co_await refuse(
            ex, to_api_error(Error{Code::unauthenticated, "An API key is required."}));
    }
    const auto query = fit::parse_query(ex.request().query);
    if (!query) co_return co_await refuse_query(ex, query.error());
    co_return co_await ex.respond(http::Status::ok, kJson,
                                  fit::models_body(context_of(services), *query, listing, name));
}

} // namespace

rt::Task<Result<>> handle_fit_system(Services& services, http::Exchange& ex) {
    if (!may_ask(services, ex)) {
        co_return co_await refuse(
            ex, to_api_error(Error{Code::unauthenticated, "An API key is required."}));
    }
    const auto query = fit::parse_query(ex.request().query);
    if (!query) co_return co_await refuse_query(ex, query.error());
    co_return co_await ex.respond(http::Status::ok, kJson,
                                  fit::system_body(context_of(services), *query));
}

rt::Task<Result<>> handle_fit_models(Services& services, http::Exchange& ex) {
    co_return co_await answer(services, ex, fit::Listing::all, {});
}

rt::Task<Result<>> handle_fit_top(Services& services, http::Exchange& ex) {
    co_return co_await answer(services, ex, fit::Listing::top, {});
}

rt::Task<Result<>> handle_fit_model(Services& services, http::Exchange& ex) {
    co_return co_await answer(services, ex, fit::Listing::one, ex.param("name"));
}

} // namespace bloom::api
