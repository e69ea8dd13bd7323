#pragma once

#include <expected>
#include <utility>

#include <bloom/base/error.hpp>

namespace bloom {

/// A value or an Error. `Result<>` carries nothing but success.
template <class T = void>
using Result = std::expected<T, Error>;

} // namespace bloom

#define BLOOM_CONCAT_INNER(a, b) a##b
#define BLOOM_CONCAT(a, b) BLOOM_CONCAT_INNER(a, b)

#define BLOOM_TRY_IMPL(tmp, ret, decl, ...)                                                        \
    auto tmp = (__VA_ARGS__);                                                                      \
    if (!tmp) [[unlikely]]                                                                         \
        ret ::std::unexpected<::bloom::Error>(::std::move(tmp).error());                           \
    decl = *::std::move(tmp)

#define BLOOM_OK_IMPL(tmp, ret, ...)                                                               \
    if (auto tmp = (__VA_ARGS__); !tmp) [[unlikely]]                                               \
    ret ::std::unexpected<::bloom::Error>(::std::move(tmp).error())

/// `BLOOM_TRY(auto x, f());` declares x from the value of f() or returns its error.
#define BLOOM_TRY(decl, ...)                                                                       \
    BLOOM_TRY_IMPL(BLOOM_CONCAT(bloom_result_, __COUNTER__), return, decl, __VA_ARGS__)
/// `BLOOM_OK(f());` returns the error of f(), if it has one.
#define BLOOM_OK(...) BLOOM_OK_IMPL(BLOOM_CONCAT(bloom_result_, __COUNTER__), return, __VA_ARGS__)
/// The same two inside coroutines.
#define BLOOM_CO_TRY(decl, ...)                                                                    \
    BLOOM_TRY_IMPL(BLOOM_CONCAT(bloom_result_, __COUNTER__), co_return, decl, __VA_ARGS__)
#define BLOOM_CO_OK(...)                                                                           \
    BLOOM_OK_IMPL(BLOOM_CONCAT(bloom_result_, __COUNTER__), co_return, __VA_ARGS__)
