#pragma once

#include <span>

#include <bloom/base/result.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/engine/model_config.hpp>

namespace bloom::engine {

/// Frequencies of a model's rotated dimensions (rotary_dim of each head, or all), in f64, with its
/// scaling for long contexts applied. factors: the divisors of Role::rope_factors [head_dim / 2]
/// for RopeScalingKind::factors, else empty. Errors: corrupt (factors of the wrong length or not
/// positive). Source of YaRN: Peng et al., arXiv 2309.00071.
Result<compute::RopeSpec> make_rope(const ModelConfig& config, std::span<const float> factors);

/// Frequencies of the layers with the global_ shapes, all pairs of their heads: those that do not
/// turn are 0. Either `factors`, the divisors of Role::rope_factors with 1e20 and above for pairs
/// that do not turn, or empty: then the first global_rotary_factor of the pairs turn.
/// Errors: corrupt (factors of the wrong length or not positive).
Result<compute::RopeSpec> make_global_rope(const ModelConfig& config,
                                           std::span<const float> factors);

} // namespace bloom::engine
