#include <algorithm>

#include <fmt/format.h>

#include <bloom/api/model_json.hpp>
#include <bloom/base/text.hpp>
#include <bloom/scheduler/placement.hpp>

#include "api/common.hpp"

namespace bloom::api {
namespace {

/// Types that a catalog may be asked for; all that it has so far is text.
constexpr std::string_view kModelTypes[] = {"text",  "embedding",     "image",
                                            "audio", "transcription", "video"};

bool is_set(std::string_view query, std::string_view name) {
    const auto value = http::query_value(query, name);
    return value && (*value == "1" || *value == "true");
}

ApiError not_found(std::string message) {
    return {http::Status::not_found, "not_found", {}, {}, std::move(message), 0};
}

} // namespace

rt::Task<Result<>> handle_models(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    const std::string_view query = ex.request().query;
    const ModelViewOptions options{services.list_catalog, is_set(query, "include_builds"),
                                   is_set(query, "available")};
    const std::string body =
        model_list(view_models(services.registry.models(), *services.catalog, options));
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_model(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    std::vector<ModelView> models = view_models(services.registry.models(), *services.catalog,
                                                {.unheld = services.list_catalog, .builds = true});
    const std::string_view id = ex.param("id");
    // Any name that a request may use, answered under that name for the model it would go to.
    const std::string placed = scheduler::resolve_model(services.registry, *services.catalog, id);
    const auto found = std::ranges::find_if(
        models, [&](const ModelView& model) { return model.held.info.id == placed; });
    if (found == models.end()) {
        scheduler::NoPlace none{scheduler::NoPlace::Reason::unknown_model, {}};
        for (const ModelView& model : models) {
            if (model.held.n_providers > 0) none.held.push_back(model.id);
        }
        co_return co_await refuse(ex, to_api_error(none, id));
    }
    found->id = std::string(id);
    std::string body;
    append_model(body, *found);
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_catalog(Services& services, http::Exchange& ex) {
    const std::string_view type = http::query_value(ex.request().query, "type").value_or("");
    if (!type.empty() && std::ranges::find(kModelTypes, type) == std::end(kModelTypes)) {
        const dialect::RequestError unknown{
            fmt::format("Invalid 'type': {} is no type of models.", bloom::quoted(type)), "type"};
        co_return co_await refuse(ex, to_api_error(unknown));
    }
    const std::string body = catalog_list(*services.catalog, type);
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_catalog_entry(Services& services, http::Exchange& ex) {
    std::string_view id = ex.param("id");
    constexpr std::string_view kManifest = "manifest/";
    const registry::CatalogEntry* entry = services.catalog->find(id);
    if (entry == nullptr && id.starts_with(kManifest)) {
        id.remove_prefix(kManifest.size());
        const bool known = services.catalog->find(id) != nullptr;
        co_return co_await refuse(
            ex, not_found(fmt::format("The catalog has no {} {}.",
                                      known ? "list of files for" : "model", bloom::quoted(id))));
    }
    if (entry == nullptr) {
        co_return co_await refuse(
            ex, not_found(fmt::format("The catalog has no model {}.", bloom::quoted(id))));
    }
    std::string body;
    append_catalog_entry(body, *entry);
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_pricing(Services& services, http::Exchange& ex) {
    co_return co_await ex.respond(http::Status::ok, kJson, price_list(*services.catalog));
}

rt::Task<Result<>> handle_embeddings(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    ApiError none = not_found("No embedding model is loaded on this node; its models generate "
                              "text. GET /v1/models lists them.");
    none.type = "model_not_found";
    none.param = "model";
    co_return co_await refuse(ex, std::move(none));
}

} // namespace bloom::api
