#include "unit/dialect/allocation_counter.hpp"

#include <cstdlib>
#include <new>

#if BLOOM_TEST_COUNTS_ALLOCATIONS
namespace {
std::int64_t n_new = 0;
} // namespace

void* operator new(std::size_t size) {
    __atomic_fetch_add(&n_new, 1, __ATOMIC_RELAXED);
    if (void* p = std::malloc(size)) return p;
    throw std::bad_alloc();
}

void operator delete(void* p) noexcept {
    std::free(p);
}

void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}

namespace bloom::test {

std::int64_t n_allocations() noexcept {
    return __atomic_load_n(&n_new, __ATOMIC_RELAXED);
}

} // namespace bloom::test
#endif
