#pragma once

#include <atomic>
#include <cstdint>

/// What this program's operator new does besides allocating.
namespace bloom::test {

extern std::atomic<std::int64_t> n_allocations;
extern std::atomic<std::int64_t> n_failed_allocations;
/// The allocation after so many more throws std::bad_alloc, once; negative: none does.
extern std::atomic<std::int64_t> fail_allocation_in;

} // namespace bloom::test
