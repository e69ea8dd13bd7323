#pragma once

#include <span>
#include <string_view>

#include <bloom/api/services.hpp>
#include <bloom/http/exchange.hpp>
#include <bloom/http/router.hpp>

/// All routes of the API with what `GET /openapi.json` says of them: the one place to add a route.
namespace bloom::api {

struct RouteDescription {
    std::string_view id; ///< operationId
    std::string_view tag;
    std::string_view summary;
    std::string_view request = {};  ///< schema of the body, one of api_schemas(); empty: no body
    std::string_view response = {}; ///< schema of a 200; empty: plain text
    std::string_view query = {};    ///< names of query parameters, apart by spaces
    bool needs_key = true;
    bool streams = false; ///< answers with server-sent events where the body asks for it
};

struct Route {
    http::Method method;
    std::string_view pattern; ///< as Router::add wants it
    /// nullptr: made by make_router itself.
    rt::Task<Result<>> (*handle)(Services& services, http::Exchange& ex);
    /// Also under /v1/v1: clients that put `/v1` before every path, given a base URL that has it.
    bool doubled;
    RouteDescription about;
};

std::span<const Route> route_table() noexcept;

inline constexpr std::string_view kDoubledPrefix = "/v1/v1/";
inline constexpr std::string_view kOpenApiPath = "/openapi.json";

/// The description of a route that a router has, under its own path or the doubled one; nullptr:
/// there is none.
const RouteDescription* description_of(http::Method method, std::string_view pattern) noexcept;

} // namespace bloom::api
