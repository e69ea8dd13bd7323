#pragma once

namespace bloom {

/// Prints the failed condition with its place and aborts. Never returns.
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

} // namespace bloom

/// An invariant of ours; stays on in release. May never depend on input.
#define BLOOM_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) [[unlikely]]                                                             \
            ::bloom::check_failed(#condition, __FILE__, __LINE__);                                 \
    } while (false)

/// For inner loops: debug builds only.
#ifdef NDEBUG
#define BLOOM_DCHECK(condition)                                                                    \
    do {                                                                                           \
        if (false) static_cast<void>(condition);                                                   \
    } while (false)
#else
#define BLOOM_DCHECK(condition) BLOOM_CHECK(condition)
#endif
