#include "api/count_tokens.hpp"

#include <bloom/dialect/anthropic_messages.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/scheduler/placement.hpp>

namespace bloom::api {

rt::Task<std::expected<std::int64_t, ApiError>> count_prompt(Services& services,
                                                             gen::Generation request) {
    request.model =
        scheduler::resolve_model(services.registry, *services.catalog, request.render.model);
    request.render.created = rt::Shard::current().unix_ms() / 1000; // templates may tell the time
    auto found = find_provider(services, request, {});
    if (!found) co_return std::unexpected(std::move(found).error());
    const std::shared_ptr<registry::ProviderLink> link = std::move(*found);
    const Result<std::int64_t> n =
        co_await link->count_tokens(std::make_shared<const gen::Generation>(std::move(request)));
    if (!n) co_return std::unexpected(to_api_error(n.error()));
    co_return *n;
}

rt::Task<Result<>> handle_count_tokens(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    BLOOM_CO_TRY(const ByteSpan body, co_await ex.read_body(services.limits.body_bytes));
    auto read = parse_body(
        body, [](const json::Value& document) { return dialect::parse_anthropic_count(document); });
    if (!read) co_return co_await refuse(ex, std::move(read.error()));
    auto n = co_await count_prompt(services, std::move(read->generation));
    if (!n) co_return co_await refuse(ex, std::move(n.error()));
    std::string out;
    json::Writer w(out);
    w.begin_object().key("input_tokens").integer(*n).end_object();
    co_return co_await ex.respond(http::Status::ok, kJson, out);
}

} // namespace bloom::api
