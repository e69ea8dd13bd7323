#pragma once

#include <string_view>

#include <bloom/fit/estimate.hpp>

namespace bloom::fit {

/// Tokens per second by the published formulas (fit API section 3.6).
double compat_speed(const ModelFacts& model, const SystemFacts& system, RunMode mode,
                    Runtime runtime, std::string_view quant, double host_gbps);

} // namespace bloom::fit
