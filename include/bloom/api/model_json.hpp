#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/registry/catalog.hpp>
#include <bloom/registry/registry.hpp>

namespace bloom::api {

/// A line of `GET /v1/models`: what providers say, what the catalog says, and the id it goes by.
struct ModelView {
    std::string id; ///< the public alias where the catalog has one, which hides the build's own id
    registry::Registry::ListedModel held; ///< n_providers 0: only the catalog's facts are filled
    const registry::CatalogEntry* entry = nullptr; ///< nullptr: not in the catalog
};

struct ModelViewOptions {
    bool unheld = false;         ///< catalog entries that nobody holds, too (design decision 13)
    bool builds = false;         ///< builds behind a public alias under their own id, too
    bool available_only = false; ///< only what some provider holds
};

/// All of them by id, each id once. The views point into `catalog`.
std::vector<ModelView> view_models(std::vector<registry::Registry::ListedModel> held,
                                   const registry::Catalog& catalog,
                                   const ModelViewOptions& options);

/// Appends one entry of `GET /v1/models` (consumer API section 9.1), which fits OpenAI and
/// Anthropic clients alike.
void append_model(std::string& out, const ModelView& model);

/// The whole list, `{"object":"list","data":[..]}`, with Anthropic's paging members beside it.
std::string model_list(std::span<const ModelView> models);

/// Appends one record of `GET /v1/models/catalog` (section 9.4) with names and prices besides.
void append_catalog_entry(std::string& out, const registry::CatalogEntry& entry);

/// `{"models":[..]}`: the records of a model type, all of them where `type` is empty.
std::string catalog_list(const registry::Catalog& catalog, std::string_view type);

/// `GET /v1/pricing` (section 9.6): every id and alias of the catalog by name, and what a model
/// costs that it does not know.
std::string price_list(const registry::Catalog& catalog);

/// micro-USD per million tokens as USD for one token, a plain decimal: 50000 is "0.00000005".
std::string usd_per_token(std::int64_t micro_usd_per_mtok);

} // namespace bloom::api
