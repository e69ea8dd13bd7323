#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/fit/estimate.hpp>
#include <bloom/fit/query.hpp>

namespace bloom::fit {

/// Who answers: `node` of every response.
struct NodeName {
    std::string name;
    std::string os = "linux";
};

/// A model with its estimate. Points into the table.
struct Row {
    const ModelFacts* model = nullptr;
    Estimate estimate;
};

/// What is estimated with, besides the query.
struct ListingContext {
    std::span<const ModelFacts> models;
    SystemFacts system;
    NodeName node;
    std::int32_t year = 1970; ///< today, for what is recent
    std::int32_t month = 1;
    double host_bandwidth_gbps = 50; ///< for the published estimator
    bool weights_by_use_case = false;
};

enum class Listing : std::uint8_t {
    all, ///< /api/v1/models
    top, ///< /api/v1/models/top: runnable ones only, 5 by default
    one, ///< /api/v1/models/{name}: a search for the name, 20 by default
};

/// Rows after all filters, sorted, before the limit (fit API sections 1.4 and 1.6).
/// `name`: of Listing::one.
std::vector<Row> list_models(const ListingContext& context, const Query& query, Listing listing,
                             std::string_view name);

/// The whole answers, as JSON.
std::string models_body(const ListingContext& context, const Query& query, Listing listing,
                        std::string_view name);
std::string system_body(const ListingContext& context, const Query& query);

} // namespace bloom::fit
