#pragma once

#include <cstdint>
#include <expected>

#include "api/common.hpp"

namespace bloom::api {

/// Tokens of a request's prompt as the model that would answer it counts them, without running it.
/// Free of charge. Errors: an unknown or absent model, what the model's template refuses.
rt::Task<std::expected<std::int64_t, ApiError>> count_prompt(Services& services,
                                                             gen::Generation request);

} // namespace bloom::api
