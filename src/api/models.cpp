#include <algorithm>

#include <bloom/api/model_json.hpp>

#include "api/common.hpp"

namespace bloom::api {

rt::Task<Result<>> handle_models(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    const std::string body = model_list(services.registry.models());
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

rt::Task<Result<>> handle_model(Services& services, http::Exchange& ex) {
    const Result<auth::Principal> who = authenticate(services, ex);
    if (!who) co_return co_await refuse(ex, to_api_error(who.error()));
    const auto models = services.registry.models();
    const std::string_view id = ex.param("id");
    const auto found =
        std::find_if(models.begin(), models.end(), [&](const auto& m) { return m.info.id == id; });
    if (found == models.end()) {
        scheduler::NoPlace none{scheduler::NoPlace::Reason::unknown_model, {}};
        for (const auto& model : models)
            none.held.push_back(model.info.id);
        co_return co_await refuse(ex, to_api_error(none, id));
    }
    std::string body;
    append_model(body, *found);
    co_return co_await ex.respond(http::Status::ok, kJson, body);
}

} // namespace bloom::api
