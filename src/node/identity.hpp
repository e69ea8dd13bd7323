#pragma once

#include <string>

#include <bloom/base/result.hpp>
#include <bloom/registry/provider_link.hpp>
#include <bloom/store/database.hpp>

namespace bloom::node {

/// Who this machine is towards callers: a serial that is random, made once and kept in the database
/// (design decision 14 allows a derived one; it says nothing about the hardware), the CPU's name,
/// and trust `none` since nothing is proven.
Result<registry::ProviderIdentity> make_identity(store::Database& db);

} // namespace bloom::node
