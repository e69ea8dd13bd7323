#include <algorithm>
#include <exception>
#include <optional>

#include <bloom/base/log.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/openai_chat.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/scheduler/placement.hpp>

#include "api/delivery.hpp"
#include "api/schemas.hpp"
#include "api/stored_responses.hpp"

namespace bloom::api {
namespace {

/// Counts a request as running for as long as it lives.
class Running {
public:
    explicit Running(Services& services) : services_(services) {
        services_.n_active.fetch_add(1, std::memory_order_relaxed);
        services_.n_requests.fetch_add(1, std::memory_order_relaxed);
    }

    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    ~Running() { services_.n_active.fetch_sub(1, std::memory_order_relaxed); }

private:
    Services& services_;
};

/// The body as its dialect reads it: the shape decides, not the path.
std::expected<dialect::Request, ApiError> read_request(ByteSpan body, gen::Dialect path) {
    return parse_body(body, [path](const json::Value& document) {
        return dialect::dialect_of(dialect::shape_of(document, path)).parse(document);
    });
}

void complete_request(gen::Generation& request, const Services& services,
                      const auth::Principal& who, ByteSpan body, const http::Exchange& ex) {
    request.request_id = std::string(ex.request_id());
    // Answers go on naming what was asked for: render.model stays.
    request.model =
        scheduler::resolve_model(services.registry, *services.catalog, request.render.model);
    // More than the model may write is not asked for (consumer API section 4.3).
    const auto info = scheduler::find_model(services.registry, request.model);
    if (info && info->max_output_length > 0)
        request.limits.max_tokens = std::min(request.limits.max_tokens, info->max_output_length);
    // Prefixes are shared within an account only, turns are shared between accounts (decision 22).
    request.cache_scope = who.account_id;
    request.fair_key = who.account_id;
    request.render.created = rt::Shard::current().unix_ms() / 1000;
    request.render.fingerprint =
        dialect::system_fingerprint(services.version + "/" + request.model);
    request.render.request_hash = crypto::sha256_hex(as_text(body));
}

/// Whether head or query ask for what a body member asks for, too (consumer API section 4.9).
bool wants_metadata(const http::Exchange& ex) {
    const http::RequestHead& head = ex.request();
    return iequals(head.headers.find("x-darkbloom-metadata-details").value_or(""), "true") ||
           http::query_value(head.query, "metadata") == "details";
}

/// Runs the request. What throws in there (no memory, a library) is a failure like others: the hold
/// of the caller has to be ended whatever happens.
rt::Task<Outcome> answer(Delivery& delivery, http::Exchange& ex) {
    try {
        co_return co_await delivery.run();
    } catch (const std::exception& failure) {
        log::error("request {}: {}", ex.request_id(), failure.what());
    }
    Outcome failed;
    failed.kind = ex.begun() ? Outcome::Kind::broken : Outcome::Kind::refused;
    failed.error = to_api_error(Error{Code::internal});
    co_return failed;
}

/// Books or refunds, then says the last words (decision 9: terminal bytes follow the settlement).
rt::Task<Result<>> conclude(http::Exchange& ex, scheduler::Admission admission, Outcome outcome,
                            bool stream) {
    using Kind = Outcome::Kind;
    const bool charged = outcome.kind == Kind::answered ||
                         (outcome.kind == Kind::client_gone && outcome.had_content);
    Result<> booked;
    if (charged) {
        booked = co_await admission.settle(outcome.used);
    } else {
        booked = co_await admission.release();
    }
    if (!booked) log::error("settlement failed: {}", booked.error().message());
    switch (outcome.kind) {
    case Kind::refused:
        co_return co_await refuse(ex, std::move(outcome.error));
    case Kind::broken:
    case Kind::client_gone:
        // Not finished on purpose: a broken stream must not look complete.
        co_return Error{Code::cancelled, "the answer was not completed"};
    case Kind::answered:
        break;
    }
    if (stream) co_return co_await ex.finish(outcome.tail, &outcome.trailers);
    co_return co_await ex.respond(http::Status::ok, kJson, outcome.tail);
}

} // namespace

std::expected<dialect::Request, ApiError>
parse_body(ByteSpan body, FunctionRef<dialect::Parsed<dialect::Request>(const json::Value&)> read) {
    constexpr std::size_t kKeptParserBytes = std::size_t{1} << 20;
    thread_local json::Parser parser;
    const Result<json::Value> document = parser.parse_padded(as_text(body));
    if (!document) {
        parser.trim(kKeptParserBytes);
        dialect::RequestError bad{
            std::string("We could not parse the JSON body of your request: ") +
                std::string(document.error().message()),
            {},
            "invalid_json"};
        return std::unexpected(to_api_error(bad));
    }
    dialect::Parsed<dialect::Request> request = read(*document);
    parser.trim(kKeptParserBytes);
    if (!request) return std::unexpected(to_api_error(request.error()));
    return std::move(*request);
}

rt::Task<Result<>> handle_inference(Services& services, http::Exchange& ex, gen::Dialect path) {
    Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    if (services.draining.load(std::memory_order_relaxed)) {
        co_return co_await refuse(
            ex, to_api_error(Error{Code::unavailable, "This node is shutting down."}));
    }
    const Result<ByteSpan> body = co_await ex.read_body(services.limits.body_bytes);
    if (!body && body.error().code() == Code::timeout) {
        // The client was slow, not the node.
        co_return co_await refuse(
            ex, http_error(http::Status::request_timeout, body.error().message()));
    }
    if (!body) co_return std::unexpected(body.error());
    rt::Driver& driver = rt::Shard::current().driver();
    Arrival arrival;
    const std::uint64_t arrived_ns = driver.now_ns();
    auto read = read_request(*body, path);
    if (!read) co_return co_await refuse(ex, std::move(read.error()));
    gen::Generation& request = read->generation;
    std::optional<ApiError> bad_schema = co_await check_schemas(request);
    if (bad_schema) co_return co_await refuse(ex, std::move(*bad_schema));
    complete_request(request, services, *who, *body, ex);
    arrival.metadata_details = read->metadata_details || wants_metadata(ex);
    const std::uint64_t now_ns = rt::Shard::current().now_ns();
    auto joined = join_stored(*services.stored, who->account_id, *read, now_ns);
    if (!joined) co_return co_await refuse(ex, std::move(joined.error()));

    const Running running(services);
    const std::uint64_t parsed_ns = driver.now_ns();
    arrival.timing.parse_ns = parsed_ns - arrived_ns;
    Result<scheduler::Admission> admission = co_await services.admission.admit(*who, request);
    arrival.timing.reserve_ns = driver.now_ns() - parsed_ns;
    if (!admission) co_return co_await refuse(ex, to_api_error(admission.error()));
    const bool stream = request.render.stream;
    Delivery delivery(services, ex, std::move(request), arrival);
    dialect::ResponseRecord record;
    const bool keeps = read->store || read->refers;
    if (keeps) delivery.record(record);
    Outcome outcome = co_await answer(delivery, ex);
    // Before the last bytes: the client may name it at once.
    if (keeps && outcome.kind == Outcome::Kind::answered) {
        try {
            keep_response(*services.stored, who->account_id, *read, joined->get(), record,
                          rt::Shard::current().now_ns());
        } catch (const std::exception& failure) {
            // No memory: the answer is whole without it, and the hold still has to be ended.
            log::error("request {}: not kept: {}", ex.request_id(), failure.what());
        }
    }
    co_return co_await conclude(ex, std::move(*admission), std::move(outcome), stream);
}

} // namespace bloom::api
