#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/rt/shard.hpp>

#include "api/count_tokens.hpp"
#include "api/stored_responses.hpp"

/// What goes on under /v1/responses besides making one: looking at stored ones, counting tokens.
namespace bloom::api {
namespace {

constexpr std::size_t kPageDefault = 20; // as the official API has it
constexpr std::size_t kPageMost = 100;

ApiError bad_query(std::string_view name, std::string_view why,
                   std::string_view code = "invalid_value") {
    return {http::Status::bad_request, "invalid_request_error",           code,
            std::string(name),         fmt::format("'{}' {}", name, why), 0};
}

ApiError no_such_response(std::string_view id) {
    return {http::Status::not_found,
            "not_found",
            {},
            "response_id",
            fmt::format("Response with id {} not found.", bloom::quoted(id)),
            0};
}

std::uint64_t now_ns() {
    return rt::Shard::current().now_ns();
}

/// The response that the path names, if it is the caller's.
std::expected<std::shared_ptr<const StoredResponse>, ApiError> named(Services& services,
                                                                     http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) return std::unexpected(to_api_error(who.error()));
    const std::string_view id = ex.param("id");
    auto response = services.stored->find(who->account_id, id, now_ns());
    if (!response) return std::unexpected(no_such_response(id));
    return response;
}

/// Id of an input item: derived, so that it stays the same on every page.
std::string input_id(const StoredResponse& response, std::size_t index) {
    constexpr std::string_view kPrefix = "resp_";
    const std::string_view job = std::string_view(response.id).substr(kPrefix.size());
    return fmt::format("{}{}_in{}", dialect::id_prefix(response.input()[index].kind), job, index);
}

/// Which items of a list to show, as `after`, `limit` and `order` have it.
struct Page {
    std::size_t limit = kPageDefault;
    bool ascending = false; ///< the newest first, as the official API has it
    std::string_view after;
};

std::expected<Page, ApiError> page_of(std::string_view query) {
    Page page;
    if (const auto limit = http::query_value(query, "limit")) {
        const char* const end = limit->data() + limit->size();
        const auto [at, failure] = std::from_chars(limit->data(), end, page.limit);
        if (failure != std::errc{} || at != end || page.limit < 1 || page.limit > kPageMost) {
            return std::unexpected(
                bad_query("limit", fmt::format("must be between 1 and {}.", kPageMost)));
        }
    }
    if (const auto order = http::query_value(query, "order")) {
        if (*order != "asc" && *order != "desc")
            return std::unexpected(bad_query("order", "must be 'asc' or 'desc'."));
        page.ascending = *order == "asc";
    }
    page.after = http::query_value(query, "after").value_or("");
    return page;
}

std::expected<std::string, ApiError> input_list(const StoredResponse& response, const Page& page) {
    const std::size_t n = response.input().size();
    const auto index = [&](std::size_t shown) { return page.ascending ? shown : n - 1 - shown; };
    std::size_t begin = 0;
    if (!page.after.empty()) {
        while (begin < n && input_id(response, index(begin)) != page.after)
            ++begin;
        if (begin == n)
            return std::unexpected(bad_query("after", "is the id of no item of this list."));
        ++begin;
    }
    const std::size_t end = std::min(n, begin + page.limit);
    std::string out;
    json::Writer w(out);
    w.begin_object().key("object").string("list").key("data").begin_array();
    std::string item;
    for (std::size_t i = begin; i < end; ++i) {
        item.clear();
        dialect::append_item(item, response.input()[index(i)], input_id(response, index(i)));
        w.raw(item);
    }
    w.end_array();
    const bool any = begin < end;
    w.key("first_id").string(any ? input_id(response, index(begin)) : "");
    w.key("last_id").string(any ? input_id(response, index(end - 1)) : "");
    w.key("has_more").boolean(end < n).end_object();
    return out;
}

} // namespace

rt::Task<Result<>> handle_response(Services& services, http::Exchange& ex) {
    const auto response = named(services, ex);
    if (!response) co_return co_await refuse(ex, response.error());
    if (http::query_value(ex.request().query, "stream") == "true") {
        co_return co_await refuse(ex, bad_query("stream", "is not supported for stored responses.",
                                                "unsupported_parameter"));
    }
    co_return co_await ex.respond(http::Status::ok, kJson, (*response)->body);
}

rt::Task<Result<>> handle_delete_response(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    const std::string_view id = ex.param("id");
    if (!services.stored->erase(who->account_id, id, now_ns()))
        co_return co_await refuse(ex, no_such_response(id));
    std::string out;
    json::Writer w(out);
    w.begin_object().key("id").string(id).key("object").string("response");
    w.key("deleted").boolean(true).end_object();
    co_return co_await ex.respond(http::Status::ok, kJson, out);
}

rt::Task<Result<>> handle_cancel_response(Services& services, http::Exchange& ex) {
    const auto response = named(services, ex);
    if (!response) co_return co_await refuse(ex, response.error());
    co_return co_await refuse(
        ex, {http::Status::bad_request, "invalid_request_error", "invalid_value", "response_id",
             "Only a response that was created with 'background' can be cancelled, which this node "
             "does not support.",
             0});
}

rt::Task<Result<>> handle_input_items(Services& services, http::Exchange& ex) {
    const auto response = named(services, ex);
    if (!response) co_return co_await refuse(ex, response.error());
    const auto page = page_of(ex.request().query);
    if (!page) co_return co_await refuse(ex, page.error());
    const auto list = input_list(**response, *page);
    if (!list) co_return co_await refuse(ex, list.error());
    co_return co_await ex.respond(http::Status::ok, kJson, *list);
}

rt::Task<Result<>> handle_input_tokens(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    BLOOM_CO_TRY(const ByteSpan body, co_await ex.read_body(services.limits.body_bytes));
    auto read = parse_body(body, [](const json::Value& document) {
        return dialect::parse_openai_responses(document);
    });
    if (!read) co_return co_await refuse(ex, std::move(read.error()));
    read->store = false;
    auto joined = join_stored(*services.stored, who->account_id, *read, now_ns());
    if (!joined) co_return co_await refuse(ex, std::move(joined.error()));
    const auto n = co_await count_prompt(services, std::move(read->generation));
    if (!n) co_return co_await refuse(ex, n.error());
    std::string out;
    json::Writer w(out);
    w.begin_object().key("object").string("response.input_tokens");
    w.key("input_tokens").integer(*n).end_object();
    co_return co_await ex.respond(http::Status::ok, kJson, out);
}

rt::Task<Result<>> handle_compact(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    co_return co_await refuse(ex, {http::Status::not_found,
                                   "not_found",
                                   {},
                                   {},
                                   "This node does not compact conversations. Please send their "
                                   "items, or fewer of them, with the next request.",
                                   0});
}

} // namespace bloom::api
