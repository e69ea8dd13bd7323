#include <algorithm>

#include <bloom/fit/listing.hpp>

#include "fit/words.hpp"

namespace bloom::fit {
namespace {

bool matches(const ModelFacts& model, const Estimate& estimate, std::string_view word) {
    return has(lower(model.name), word) || has(lower(model.provider), word) ||
           has(lower(parameter_count(model.params)), word) ||
           has(lower(model.use_case_text), word) || has(lower(label(estimate.category)), word);
}

/// Whether one of the comma-separated words of `wanted` equals one of those of `given`.
bool any_of_list(std::string_view wanted, std::string_view given) {
    const auto each = [](std::string_view list, auto&& f) {
        while (!list.empty()) {
            const std::size_t end = std::min(list.find(','), list.size());
            std::string word = lower(list.substr(0, end));
            std::erase(word, ' ');
            if (!word.empty() && f(word)) return true;
            list.remove_prefix(std::min(end + 1, list.size()));
        }
        return false;
    };
    return each(wanted, [&](const std::string& w) {
        return each(given, [&](const std::string& g) { return g == w; });
    });
}

bool has_capabilities(const ModelFacts& model, std::string_view wanted) {
    const auto known = capabilities_of(model);
    while (!wanted.empty()) {
        const std::size_t end = std::min(wanted.find(','), wanted.size());
        const std::string word = lower(wanted.substr(0, end));
        wanted.remove_prefix(std::min(end + 1, wanted.size()));
        if (!word.empty() && std::ranges::find(known, word) == known.end()) return false;
    }
    return true;
}

/// Whether a row stays. Filters in the order of the API; they only take away, so the order shows
/// nowhere else.
bool passes(const Row& row, const Query& q, Listing listing, std::string_view name) {
    const ModelFacts& model = *row.model;
    const Estimate& e = row.estimate;
    if (q.provider) {
        const std::string wanted = lower(*q.provider);
        const std::string organisation = lower(model.name.substr(0, model.name.find('/')));
        const bool organised = has(model.name, "/") && has(organisation, wanted);
        if (!has(lower(model.provider), wanted) && !organised) return false;
    }
    if (listing == Listing::one) {
        if (!matches(model, e, lower(name))) return false;
    } else if (q.search && !matches(model, e, lower(*q.search))) {
        return false;
    }
    if (q.perfect.value_or(false)) {
        if (e.level != FitLevel::perfect) return false;
    } else if (e.level < q.min_fit) {
        return false;
    }
    if (q.runtime && e.runtime != *q.runtime) return false;
    if (q.use_case && e.category != *q.use_case) return false;
    if (q.license && !any_of_list(*q.license, model.license)) return false;
    if (q.capability && !has_capabilities(model, *q.capability)) return false;
    const bool shows_tight = listing != Listing::top && q.include_too_tight.value_or(true);
    return shows_tight || e.level != FitLevel::too_tight;
}

/// Negative, zero, positive: `a` before, like, after `b`.
template <class T>
int falling(const T& a, const T& b) {
    return a > b ? -1 : a < b ? 1 : 0;
}

int order_by(SortKey key, const Row& a, const Row& b) {
    const auto score = [&] { return falling(a.estimate.score, b.estimate.score); };
    switch (key) {
    case SortKey::score:
        return score();
    case SortKey::speed: {
        const int first = falling(a.estimate.tokens_per_s, b.estimate.tokens_per_s);
        return first != 0 ? first : score();
    }
    case SortKey::params:
        return falling(a.model->params, b.model->params);
    case SortKey::memory: {
        // Without any pool a row is fuller than full.
        constexpr double kFull = 1e300;
        return falling(a.estimate.utilization_pct().value_or(kFull),
                       b.estimate.utilization_pct().value_or(kFull));
    }
    case SortKey::context: {
        const int first = falling(a.estimate.usable_context, b.estimate.usable_context);
        return first != 0 ? first : falling(a.model->context_length, b.model->context_length);
    }
    case SortKey::date: {
        const int first = falling(a.model->release_date, b.model->release_date);
        return first != 0 ? first : score();
    }
    case SortKey::use_case: {
        const int first =
            falling(label(b.estimate.category), label(a.estimate.category)); // ascending
        return first != 0 ? first : score();
    }
    }
    return 0;
}

bool before(SortKey key, const Row& a, const Row& b) {
    const bool a_runs = a.estimate.level != FitLevel::too_tight;
    const bool b_runs = b.estimate.level != FitLevel::too_tight;
    if (a_runs != b_runs) return a_runs;
    const int order = order_by(key, a, b);
    // Ties by name, so that pages are stable.
    return order != 0 ? order < 0 : a.model->name < b.model->name;
}

} // namespace

std::vector<Row> list_models(const ListingContext& context, const Query& query, Listing listing,
                             std::string_view name) {
    const SystemFacts system = simulated(context.system, query);
    CompatOptions options;
    options.max_context = query.max_context.value_or(0);
    options.force_runtime = query.force_runtime;
    options.weights_by_use_case = query.weights_by_use_case.value_or(context.weights_by_use_case);
    options.year = context.year;
    options.month = context.month;
    options.host_bandwidth_gbps = context.host_bandwidth_gbps;
    std::vector<Row> rows;
    for (const ModelFacts& model : context.models) {
        if (!compat_considers(model, system)) continue;
        Row row{&model, compat_estimate(model, system, options)};
        if (passes(row, query, listing, name)) rows.push_back(std::move(row));
    }
    std::ranges::sort(rows, [&](const Row& a, const Row& b) { return before(query.sort, a, b); });
    return rows;
}

} // namespace bloom::fit
