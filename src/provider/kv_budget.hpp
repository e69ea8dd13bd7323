#pragma once

#include <cstdint>

#include <bloom/engine/memory_need.hpp>

namespace bloom::provider {

/// Memory for keys and values, in bytes, where nobody has said how much: a quarter of what can be
/// used, so that weights of further models and everybody else fit, and no more than this model's
/// weights, states and `swap_bytes` leave, for cached prefixes fill all of it in time. Never less
/// than a sequence needs. `usable_bytes`: 0 is unknown.
std::int64_t kv_budget_beside(const engine::MemoryNeed& need, std::int64_t usable_bytes,
                              std::int64_t swap_bytes) noexcept;

} // namespace bloom::provider
