#include <algorithm>
#include <cmath>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/measure/statistics.hpp>

namespace bloom::measure {

double median(std::span<const double> values) {
    if (values.empty()) return 0;
    std::vector<double> v(values.begin(), values.end());
    std::ranges::sort(v);
    const std::size_t mid = v.size() / 2;
    return v.size() % 2 == 1 ? v[mid] : (v[mid - 1] + v[mid]) / 2;
}

Spread spread_of(std::span<const double> values) {
    Spread out;
    out.median = median(values);
    std::vector<double> away(values.begin(), values.end());
    for (double& v : away)
        v = std::abs(v - out.median);
    out.mad = median(away);
    return out;
}

double percentile(std::span<const double> sorted, double p) {
    if (sorted.empty()) return 0;
    BLOOM_CHECK(p >= 0);
    BLOOM_CHECK(p <= 1);
    const double rank = std::ceil(p * static_cast<double>(sorted.size()));
    const auto at = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
    return sorted[std::min(at, sorted.size() - 1)];
}

} // namespace bloom::measure
