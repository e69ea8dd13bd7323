#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <bloom/compute/backend.hpp>
#include <bloom/engine/arch.hpp>

namespace bloom::engine {

/// The compiled plans of one model by key. Sizes are rounded up to powers of two, so there are few.
class PlanCache {
public:
    enum class Which : std::uint8_t { model, draft_head };

    PlanCache(const Graph& graph, compute::Backend& backend, Which which = Which::model)
        : graph_(graph), backend_(backend), which_(which) {}

    /// A plan for at least these sizes. Errors: those of Backend::compile.
    Result<compute::CompiledId> get(compute::Phase phase, std::size_t rows, std::size_t logit_rows);

private:
    const Graph& graph_;
    compute::Backend& backend_;
    Which which_;
    std::vector<std::pair<compute::PlanKey, compute::CompiledId>> plans_;
};

} // namespace bloom::engine
