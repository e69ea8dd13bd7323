#pragma once

#include <cstdint>

#include "support/counts_allocations.hpp"

/// Every `new` of this executable is counted, where sanitizers leave that to us. One definition for
/// the encoders of all dialects.
namespace bloom::test {

/// Allocations so far.
std::int64_t n_allocations() noexcept;

} // namespace bloom::test
