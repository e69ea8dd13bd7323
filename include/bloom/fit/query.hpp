#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/fit/estimate.hpp>

namespace bloom::fit {

enum class SortKey : std::uint8_t { score, speed, params, memory, context, date, use_case };

/// Query parameters of the listing endpoints (fit API section 1.4). `raw` members are what the
/// client sent, for the echo.
struct Query {
    std::optional<std::int64_t> limit; ///< of `limit`, or else of `top` or `n`
    std::optional<bool> perfect;
    std::optional<std::string> raw_min_fit;
    std::optional<std::string> raw_runtime;
    std::optional<std::string> raw_use_case;
    std::optional<std::string> provider;
    std::optional<std::string> search;
    std::optional<std::string> raw_sort;
    std::optional<bool> include_too_tight;
    std::optional<std::int64_t> max_context;
    std::optional<std::string> raw_force_runtime;
    std::optional<std::string> license;
    std::optional<std::string> capability; ///< comma list; rows have all of them
    std::optional<double> ram_gb;
    std::optional<double> vram_gb;
    std::optional<std::int64_t> cpu_cores;
    std::optional<std::string> raw_score_weights;

    // What the enumerated ones mean.
    FitLevel min_fit = FitLevel::marginal;
    std::optional<Runtime> runtime; ///< absent: any
    std::optional<Category> use_case;
    SortKey sort = SortKey::score;
    std::optional<Runtime> force_runtime;
    std::optional<bool> weights_by_use_case; ///< absent: as configured

    bool simulates() const noexcept { return ram_gb || vram_gb || cpu_cores; }
};

/// Reads a query string, form-urlencoded; unknown parameters are ignored. The error is the sentence
/// for the client, of status 400 (section 1.7).
std::expected<Query, std::string> parse_query(std::string_view query);

/// The machine that a query describes instead of this one (section 1.5).
SystemFacts simulated(const SystemFacts& system, const Query& query);

} // namespace bloom::fit
