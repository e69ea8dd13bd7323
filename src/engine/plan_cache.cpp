#include "engine/plan_cache.hpp"

#include <algorithm>
#include <bit>

namespace bloom::engine {

Result<compute::CompiledId> PlanCache::get(compute::Phase phase, std::size_t rows,
                                           std::size_t logit_rows) {
    const compute::PlanKey key{
        phase, static_cast<std::int32_t>(std::bit_ceil(rows)),
        static_cast<std::int32_t>(std::bit_ceil(std::max<std::size_t>(logit_rows, 1)))};
    for (const auto& [have, id] : plans_) {
        if (have == key) return id;
    }
    BLOOM_TRY(const compute::CompiledId id,
              backend_.compile(which_ == Which::model ? graph_.plan(key) : graph_.draft_plan(key)));
    plans_.emplace_back(key, id);
    return id;
}

} // namespace bloom::engine
