#pragma once

#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/store/database.hpp>

namespace bloom::store {

/// The value stored under `name`; `fresh` is stored and returned where there is none yet.
/// Thread: the Database's.
Result<std::string> remember(Database& db, std::string_view name, std::string_view fresh);

} // namespace bloom::store
