#pragma once

#include <cstdint>

namespace bloom::engine {

/// Bytes of weights, as they are in the file, that a step reads: the roof of decoding. Vectors and
/// embedding rows are left out, for they are nothing beside the matrices.
struct WeightTraffic {
    std::int64_t shared_bytes = 0; ///< read by every step: all matrices but experts
    std::int64_t expert_bytes = 0; ///< all experts of all layers
    std::int64_t n_experts = 0;    ///< in each layer that has any
    std::int64_t top_k = 0;        ///< of them that each token reads

    /// Expected bytes of a step of `rows` tokens, each read once. Tokens are taken to choose their
    /// experts uniformly and independently, so a step touches the share 1 - (1 - top_k /
    /// n_experts)^rows of them: exact for one token; for more an upper estimate, as real routers
    /// favour some experts.
    double bytes_per_step(std::int64_t rows) const noexcept;
};

} // namespace bloom::engine
