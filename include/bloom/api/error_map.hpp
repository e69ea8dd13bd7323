#pragma once

#include <string>
#include <string_view>

#include <bloom/base/error.hpp>
#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/request_error.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/http/response.hpp>
#include <bloom/scheduler/placement.hpp>

namespace bloom::api {

/// One failure as a client sees it: status, envelope and when to come back. The only place where
/// codes become HTTP (consumer API section 3.3; refusals as design decision 12 says).
struct ApiError {
    http::Status status = http::Status::internal_server_error;
    std::string_view type = "internal_error";
    std::string_view code; ///< empty: repeats the type
    std::string param;
    std::string message;
    int retry_after_s = 0; ///< 0: no header

    /// The OpenAI envelope.
    std::string openai_body() const;
    /// The Anthropic one, with its own types (consumer API section 3.2).
    std::string anthropic_body(std::string_view request_id) const;
    std::string body(dialect::Envelope envelope, std::string_view request_id) const;
    /// `status` as clients of that envelope know it: 529 for lack of capacity on Anthropic's.
    http::Status status_in(dialect::Envelope envelope) const noexcept;
};

ApiError to_api_error(const Error& error);
ApiError to_api_error(const dialect::RequestError& error);
ApiError to_api_error(const scheduler::NoPlace& none, std::string_view model);
/// A refused or failed event that came before anything was sent.
ApiError to_api_error(const gen::Event& event);

/// The status of a request that http itself refused; `type` and `code` follow from it.
ApiError http_error(http::Status status, std::string_view message);

} // namespace bloom::api
