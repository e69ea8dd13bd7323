#include <bloom/base/check.hpp>

#include <cstdio>
#include <cstdlib>

namespace bloom {

void check_failed(const char* condition, const char* file, int line) noexcept {
    std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
    std::abort();
}

} // namespace bloom
