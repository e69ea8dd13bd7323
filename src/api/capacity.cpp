#include <bloom/api/model_json.hpp>
#include <bloom/json/writer.hpp>

#include "api/common.hpp"

namespace bloom::api {
namespace {

/// What the providers that hold a model are doing. A provider counts its requests for all its
/// models together, so models that share one show the same load.
struct Load {
    int n_routable = 0; ///< not draining
    int n_running = 0;  ///< of them, those that are at work
    std::int64_t n_active = 0;
    std::int64_t n_queued = 0;
};

Load load_of(const registry::Registry& registry, std::string_view model) {
    Load load;
    const auto links = registry.links();
    for (const auto& link : *links) {
        const registry::Capacity capacity = link->capacity();
        bool holds = false;
        for (const registry::ModelInfo& info : *capacity.models)
            holds |= info.id == model;
        if (!holds) continue;
        load.n_routable += capacity.draining ? 0 : 1;
        load.n_running += capacity.n_running > 0 ? 1 : 0;
        load.n_active += capacity.n_running;
        load.n_queued += capacity.n_queued;
    }
    return load;
}

} // namespace

rt::Task<Result<>> handle_capacity(Services& services, http::Exchange& ex) {
    std::string body;
    json::Writer w(body);
    w.begin_object().key("models").begin_array();
    const auto models = view_models(services.registry.models(), *services.catalog,
                                    {.unheld = services.list_catalog});
    for (const ModelView& model : models) {
        const Load load = load_of(services.registry, model.held.info.id);
        w.begin_object().key("id").string(model.id);
        w.key("ready").boolean(load.n_routable > 0);
        w.key("can_accept").boolean(model.held.can_accept);
        w.key("routable_providers").integer(load.n_routable);
        // Whoever holds a model has it loaded.
        w.key("warm_providers").integer(model.held.n_providers);
        w.key("running_providers").integer(load.n_running);
        w.key("cold_providers").integer(0);
        w.key("active_requests").integer(load.n_active);
        w.key("queued_requests").integer(load.n_queued);
        for (const std::string_view unknown : {"queue_limit", "aggregate_tps", "estimated_ttft_ms",
                                               "token_budget_remaining", "token_budget_total"}) {
            w.key(unknown).null();
        }
        w.end_object();
    }
    w.end_array().end_object();
    ex.headers().set("Cache-Control", "public, max-age=2");
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

} // namespace bloom::api
