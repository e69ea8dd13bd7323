#pragma once

#include <span>

/// Figures from repeated measurements. A shared machine disturbs some of them, so medians and
/// median deviations, never means.
namespace bloom::measure {

/// The middle value, the mean of both middle ones of an even number; 0 of none.
double median(std::span<const double> values);

/// A median with the median absolute deviation from it.
struct Spread {
    double median = 0;
    double mad = 0;
};

Spread spread_of(std::span<const double> values);

/// The smallest value that at least the share `p` in [0, 1] of all values does not exceed (nearest
/// rank); 0 of none. `sorted` ascends.
double percentile(std::span<const double> sorted, double p);

} // namespace bloom::measure
