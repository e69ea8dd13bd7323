#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/gen/generation.hpp>

namespace bloom::text {

/// Set of JSON types that a schema allows for a parameter.
enum TypeBit : std::uint8_t {
    kTypeString = 1,
    kTypeInteger = 2,
    kTypeNumber = 4,
    kTypeBoolean = 8,
    kTypeNull = 16,
    kTypeArray = 32,
    kTypeObject = 64,
};

using TypeSet = std::uint8_t;

/// The types of every parameter of every function, read from the schemas once.
class ParameterTypes {
public:
    explicit ParameterTypes(const std::vector<gen::ToolDefinition>& tools);

    bool knows(std::string_view function) const;
    /// String for what is unknown or untyped.
    TypeSet of(std::string_view function, std::string_view parameter) const;

private:
    std::map<std::string, std::map<std::string, TypeSet, std::less<>>, std::less<>> functions_;
};

/// JSON for the untyped text of a parameter: the first allowed type that fits; a string if none
/// does.
std::string coerce_parameter(std::string_view text, TypeSet types);

} // namespace bloom::text
