#pragma once

#include <optional>

#include <bloom/api/error_map.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::api {

/// What is wrong with the schemas that an answer to this request would have to follow, before
/// anything is reserved; nothing where all can be enforced. Large ones are looked at off the
/// shard's thread. Lifetime: the request outlives the task.
rt::Task<std::optional<ApiError>> check_schemas(const gen::Generation& request);

} // namespace bloom::api
