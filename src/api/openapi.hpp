#pragma once

#include <span>
#include <string>
#include <string_view>

#include <bloom/http/router.hpp>

namespace bloom::api {

/// A shape of bodies, as a JSON Schema 2020-12 text whose references are `#/components/schemas/..`.
struct ApiSchema {
    std::string_view name;
    std::string_view json;
};

std::span<const ApiSchema> api_schemas() noexcept;

/// The OpenAPI 3.1 document of every route that the router has, doubled paths left out.
std::string openapi_document(const http::Router& router, std::string_view version);

} // namespace bloom::api
