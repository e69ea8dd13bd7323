#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/dialect/request_error.hpp>
#include <bloom/json/reader.hpp>

/// Typed reading of request members with errors that name the member: what the dialects share.
namespace bloom::dialect {

std::unexpected<RequestError> refuse(std::string_view param, std::string message,
                                     std::string_view code = "invalid_value");
/// `Invalid type for 'param': expected X, but got Y instead.`
std::unexpected<RequestError> refuse_type(std::string_view param, std::string_view expected,
                                          const json::Value& got);
/// `Unsupported parameter: ..`: understood, not honoured, and it would change the meaning.
std::unexpected<RequestError> refuse_unsupported(std::string_view param, std::string_view why);
/// A content part of a kind that this node's models cannot take (design decision 25); names both.
std::unexpected<RequestError> refuse_part(std::string_view param, std::string_view kind,
                                          std::string_view model);

Parsed<bool> read_bool(const json::Value& value, std::string_view param);
Parsed<std::string> read_string(const json::Value& value, std::string_view param);
/// An integer in [low, high]; 3.0 is not one.
Parsed<std::int64_t> read_int(const json::Value& value, std::string_view param, std::int64_t low,
                              std::int64_t high);
/// A number in [low, high].
Parsed<float> read_float(const json::Value& value, std::string_view param, double low, double high);

} // namespace bloom::dialect

/// BLOOM_TRY for Parsed: declares or returns the error.
#define BLOOM_PARSE(decl, ...)                                                                     \
    BLOOM_PARSE_IMPL(BLOOM_CONCAT(bloom_parsed_, __COUNTER__), decl, __VA_ARGS__)
#define BLOOM_PARSE_IMPL(tmp, decl, ...)                                                           \
    auto tmp = (__VA_ARGS__);                                                                      \
    if (!tmp) return ::std::unexpected(::std::move(tmp).error());                                  \
    decl = *::std::move(tmp)
