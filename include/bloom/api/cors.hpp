#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>

namespace bloom::api {

/// Which browser origins may call: a configured list, besides http://localhost and http://127.0.0.1
/// on any port (consumer API section 1.3). Thread: any, after construction.
class CorsPolicy {
public:
    explicit CorsPolicy(std::vector<std::string> origins) : origins_(std::move(origins)) {}

    bool allows(std::string_view origin) const noexcept;

    /// What every response to a request with an Origin gets.
    void add_response_headers(std::string_view origin, http::HeaderList& headers) const;
    /// What the answer to a preflight gets besides; `requested` is Access-Control-Request-Headers.
    static void add_preflight_headers(std::string_view requested, http::HeaderList& headers);

private:
    std::vector<std::string> origins_;
};

/// The caller's X-Request-ID where it is 1 to 128 characters of [A-Za-z0-9._:-], otherwise a new
/// one.
std::string request_id_for(std::string_view given);

} // namespace bloom::api
