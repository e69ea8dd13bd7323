#include "dialect/fields.hpp"

#include <cmath>

#include <fmt/format.h>

namespace bloom::dialect {

std::unexpected<RequestError> refuse(std::string_view param, std::string message,
                                     std::string_view code) {
    return std::unexpected(RequestError{std::move(message), std::string(param), std::string(code)});
}

std::unexpected<RequestError> refuse_type(std::string_view param, std::string_view expected,
                                          const json::Value& got) {
    return refuse(param,
                  fmt::format("Invalid type for '{}': expected {}, but got {} instead.", param,
                              expected, json::to_string(got.kind())),
                  "invalid_type");
}

std::unexpected<RequestError> refuse_unsupported(std::string_view param, std::string_view why) {
    return refuse(param, fmt::format("Unsupported parameter: '{}' {}", param, why),
                  "unsupported_parameter");
}

std::unexpected<RequestError> refuse_part(std::string_view param, std::string_view kind,
                                          std::string_view model) {
    constexpr std::size_t kShown = 128; // model names have at most so many bytes
    return refuse(param,
                  fmt::format("The model '{}' takes text only: content parts of type '{}' are not "
                              "supported.",
                              model.substr(0, kShown), kind.substr(0, kShown)),
                  "unsupported_capability");
}

Parsed<bool> read_bool(const json::Value& value, std::string_view param) {
    const auto flag = value.as_bool();
    if (!flag) return refuse_type(param, "a boolean", value);
    return *flag;
}

Parsed<std::string> read_string(const json::Value& value, std::string_view param) {
    const auto text = value.as_string();
    if (!text) return refuse_type(param, "a string", value);
    return std::string(*text);
}

Parsed<std::int64_t> read_int(const json::Value& value, std::string_view param, std::int64_t low,
                              std::int64_t high) {
    if (value.kind() == json::Kind::unsigned_integer) {
        return refuse(param, fmt::format("Invalid '{}': it must be at most {}.", param, high));
    }
    const auto number = value.as_int64();
    if (!number) return refuse_type(param, "an integer", value);
    if (*number < low || *number > high) {
        return refuse(param, fmt::format("Invalid '{}': {} is not between {} and {}.", param,
                                         *number, low, high));
    }
    return *number;
}

Parsed<float> read_float(const json::Value& value, std::string_view param, double low,
                         double high) {
    const auto number = value.as_double();
    if (!number) return refuse_type(param, "a number", value);
    if (!std::isfinite(*number) || *number < low || *number > high) {
        return refuse(param, fmt::format("Invalid '{}': {} is not between {} and {}.", param,
                                         *number, low, high));
    }
    return static_cast<float>(*number);
}

} // namespace bloom::dialect
