#include <bloom/json/writer.hpp>

#include "api/common.hpp"

namespace bloom::api {
namespace {

constexpr std::string_view kLanding =
    "Darkbloom: a language model node that speaks the APIs of OpenAI and Anthropic.\n"
    "\n"
    "POST /v1/chat/completions   conversations, streaming and not\n"
    "POST /v1/completions        texts as they are\n"
    "POST /v1/responses          OpenAI's Responses\n"
    "POST /v1/messages           Anthropic's Messages\n"
    "GET  /v1/models             what can be asked for\n"
    "GET  /openapi.json          all of it, for machines\n"
    "GET  /health, /readyz       state of this node\n"
    "\n"
    "Requests carry 'Authorization: Bearer <API key>' or 'x-api-key'. The node printed a key at\n"
    "its first start; 'darkbloom keys create' makes more.\n";

} // namespace

rt::Task<Result<>> handle_landing(http::Exchange& ex) {
    co_return co_await ex.respond(http::Status::ok, "text/plain; charset=utf-8", kLanding);
}

rt::Task<Result<>> handle_health(Services& services, http::Exchange& ex) {
    std::string body;
    json::Writer w(body);
    w.begin_object().key("status").string("ok");
    w.key("node").begin_object().key("name").string(services.machine->node().name);
    w.key("os").string(services.machine->node().os).end_object();
    w.key("providers").integer(services.registry.links()->size());
    w.key("version").string(services.version);
    w.key("active_requests").integer(services.n_active.load(std::memory_order_relaxed));
    if (services.draining.load(std::memory_order_relaxed)) w.key("draining").boolean(true);
    registry::Capacity sum;
    for (const auto& link : *services.registry.links()) {
        const registry::Capacity c = link->capacity();
        sum.n_drafted += c.n_drafted;
        sum.n_accepted += c.n_accepted;
        sum.n_head_drafted += c.n_head_drafted;
        sum.n_head_accepted += c.n_head_accepted;
        sum.n_preempted += c.n_preempted;
        sum.n_swapped += c.n_swapped;
    }
    w.key("drafted_tokens").integer(sum.n_drafted);
    w.key("accepted_tokens").integer(sum.n_accepted);
    w.key("head_drafted_tokens").integer(sum.n_head_drafted);
    w.key("head_accepted_tokens").integer(sum.n_head_accepted);
    w.key("preemptions").integer(sum.n_preempted);
    w.key("swapped_out").integer(sum.n_swapped);
    w.end_object();
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_ready(Services& services, http::Exchange& ex) {
    if (services.draining.load(std::memory_order_relaxed)) {
        co_return co_await refuse(
            ex, to_api_error(Error{Code::unavailable, "This node is shutting down."}));
    }
    if (services.registry.models().empty()) {
        co_return co_await refuse(ex,
                                  to_api_error(Error{Code::unavailable, "No model is ready yet."}));
    }
    co_return co_await ex.respond(http::Status::ok, kJson, R"({"status":"ready"})");
}

} // namespace bloom::api
