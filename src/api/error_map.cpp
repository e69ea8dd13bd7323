#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bloom/api/error_map.hpp>
#include <bloom/base/text.hpp>
#include <bloom/dialect/error_body.hpp>

namespace bloom::api {
namespace {

using http::Status;

constexpr int kRetrySoonSeconds = 1;
constexpr int kRetryPinSeconds = 30; // consumer API section 4.10
constexpr int kRetryMaxSeconds = 60;
constexpr std::size_t kNamedModelsMax = 20;
// No conversation is held here. On this code @anthropic-ai/sdk sends the whole of it again.
constexpr std::string_view kThreadNotFound = "thread_not_found";

ApiError invalid(std::string message, std::string_view code, std::string param = {}) {
    return {Status::bad_request, "invalid_request_error", code,
            std::move(param),    std::move(message),      0};
}

ApiError unavailable(std::string message, std::string_view code, int retry_after_s) {
    return {Status::service_unavailable, "model_not_available", code, {},
            std::move(message),          retry_after_s};
}

/// The names of models that could be asked for instead.
std::string served(const scheduler::NoPlace& none) {
    std::vector<std::string> named = none.held;
    if (named.size() > kNamedModelsMax) named.resize(kNamedModelsMax);
    return named.empty() ? std::string("no model yet") : fmt::format("{}", fmt::join(named, ", "));
}

std::string_view anthropic_type(Status status) {
    switch (status) {
    case Status::unauthorized:
        return "authentication_error";
    case Status::payment_required:
        return "billing_error";
    case Status::forbidden:
        return "permission_error";
    case Status::not_found:
        return "not_found_error";
    case Status::payload_too_large:
        return "request_too_large";
    case Status::too_many_requests:
        return "rate_limit_error";
    case Status::service_unavailable:
    case Status::overloaded:
        return "overloaded_error";
    case Status::request_timeout:
    case Status::gateway_timeout:
        return "timeout_error";
    default:
        return http::to_int(status) < 500 ? "invalid_request_error" : "api_error";
    }
}

ApiError refused(const gen::Event& event) {
    const auto seconds = static_cast<int>(
        std::clamp<std::int64_t>((event.feasible_after_ms + 999) / 1000, 1, kRetryMaxSeconds));
    switch (event.refusal) {
    case gen::Refusal::busy:
        return unavailable(
            "All slots for this model are taken and its queue is full. Please try again.",
            "queue_full", seconds);
    case gen::Refusal::draining:
        return unavailable("This node is shutting down.", "draining", seconds);
    case gen::Refusal::unknown_model:
        return unavailable("The model was unloaded while the request was on its way.",
                           "model_not_loaded", seconds);
    case gen::Refusal::too_long:
        return invalid(event.text, "context_length_exceeded", "messages");
    case gen::Refusal::invalid:
        return invalid(event.text, "invalid_value");
    case gen::Refusal::none:
        break;
    }
    return {Status::internal_server_error,
            "internal_error",
            {},
            {},
            "The request was refused without a reason.",
            0};
}

ApiError failed(const gen::Event& event) {
    switch (event.failure) {
    case gen::Failure::invalid_request:
        return invalid(event.text, "invalid_value", "messages");
    case gen::Failure::context_length:
        return invalid(event.text, "context_length_exceeded", "messages");
    case gen::Failure::timeout:
        return {Status::gateway_timeout,
                "timeout",
                {},
                {},
                "The response took too long and was stopped.",
                0};
    case gen::Failure::overloaded:
        return unavailable("The machine ran out of capacity while answering. Please try again.",
                           "overloaded", kRetrySoonSeconds);
    default:
        break;
    }
    return {Status::service_unavailable,
            "provider_error",
            {},
            {},
            "The machine that was answering failed. Please try again.",
            kRetrySoonSeconds};
}

} // namespace

std::string ApiError::openai_body() const {
    std::string body;
    dialect::append_openai_error(body, message, type, param, code);
    return body;
}

std::string ApiError::anthropic_body(std::string_view request_id) const {
    // The words by which clients know that they have to shorten the conversation.
    const std::string_view opening =
        code == "context_length_exceeded" ? "prompt is too long: " : "";
    std::string body;
    dialect::append_anthropic_error(body, std::string(opening) + message, anthropic_type(status),
                                    request_id,
                                    code == kThreadNotFound ? code : std::string_view{});
    return body;
}

std::string ApiError::body(dialect::Envelope envelope, std::string_view request_id) const {
    return envelope == dialect::Envelope::anthropic ? anthropic_body(request_id) : openai_body();
}

http::Status ApiError::status_in(dialect::Envelope envelope) const noexcept {
    const bool overloaded =
        envelope == dialect::Envelope::anthropic && status == Status::service_unavailable;
    return overloaded ? Status::overloaded : status;
}

ApiError to_api_error(const Error& error) {
    const std::string text(error.message());
    switch (error.code()) {
    case Code::unauthenticated:
        return {Status::unauthorized, "authentication_error", "invalid_api_key", {}, text, 0};
    case Code::permission_denied:
        return {Status::forbidden, "forbidden", {}, {}, text, 0};
    case Code::insufficient_funds:
        return {Status::payment_required, "insufficient_funds", "insufficient_quota", {}, text, 0};
    case Code::not_found:
        return {Status::not_found, "not_found", {}, {}, text, 0};
    case Code::already_exists:
        return {Status::conflict, "conflict", {}, {}, text, 0};
    case Code::invalid_argument:
    case Code::protocol_error:
    case Code::truncated:
        return invalid(text, "invalid_value");
    case Code::unsupported:
        return invalid(text, "unsupported_parameter");
    case Code::too_large:
        return {
            Status::payload_too_large, "invalid_request_error", "payload_too_large", {}, text, 0};
    case Code::limit_reached:
        return {Status::too_many_requests, "rate_limit_exceeded", {}, {}, text, kRetrySoonSeconds};
    case Code::busy:
    case Code::unavailable:
        return {
            Status::service_unavailable, "service_unavailable", {}, {}, text, kRetrySoonSeconds};
    case Code::timeout:
        return {Status::gateway_timeout, "timeout", {}, {}, "The request took too long.", 0};
    default:
        break;
    }
    // What went wrong inside is for the log, not for the caller.
    return {Status::internal_server_error,
            "internal_error",
            {},
            {},
            "The server had an error while processing the "
            "request.",
            0};
}

ApiError to_api_error(const dialect::RequestError& error) {
    ApiError out = invalid(error.message, {}, error.param);
    // The codes come from the dialects' closed list; the envelope wants a view that lives on.
    for (const std::string_view known :
         {"invalid_value", "invalid_type", "invalid_json", "missing_required_parameter",
          "unsupported_parameter", "unsupported_capability"}) {
        if (error.code == known) out.code = known;
    }
    if (error.code == kThreadNotFound) {
        out.code = kThreadNotFound;
        out.status = Status::not_found;
    }
    return out;
}

ApiError to_api_error(const scheduler::NoPlace& none, std::string_view model) {
    using Reason = scheduler::NoPlace::Reason;
    switch (none.reason) {
    case Reason::unknown_model:
        return {Status::not_found,
                "model_not_found",
                "model_not_found",
                "model",
                fmt::format("The model {} does not exist on this node. It serves: {}.",
                            bloom::quoted(model), served(none)),
                0};
    case Reason::not_held: {
        ApiError error =
            unavailable(fmt::format("Nobody serves the model {} here. This node serves: {}.",
                                    bloom::quoted(model), served(none)),
                        "model_not_held", kRetryPinSeconds);
        error.param = "model";
        return error;
    }
    case Reason::pin_unavailable:
        return unavailable("The machine that provider_serial names is not connected.",
                           "pinned_provider_unavailable", kRetryPinSeconds);
    case Reason::draining:
        return unavailable("This node is shutting down.", "draining", kRetrySoonSeconds);
    case Reason::exhausted:
        break;
    }
    return {Status::service_unavailable,
            "provider_error",
            {},
            {},
            "Every machine that holds this model failed to answer. Please try again.",
            kRetrySoonSeconds};
}

ApiError to_api_error(const gen::Event& event) {
    return event.kind == gen::EventKind::refused ? refused(event) : failed(event);
}

ApiError http_error(http::Status status, std::string_view message) {
    ApiError out{status, "invalid_request_error", {}, {}, std::string(message), 0};
    switch (status) {
    case Status::not_found:
        out.code = "not_found";
        break;
    case Status::method_not_allowed:
        out.code = "method_not_allowed";
        break;
    case Status::payload_too_large:
        out.code = "payload_too_large";
        break;
    case Status::request_timeout:
        out.code = "timeout";
        break;
    default:
        if (http::to_int(status) >= 500 && status != Status::not_implemented &&
            status != Status::http_version_not_supported) {
            out.type = "internal_error";
        } else {
            out.code = "invalid_request";
        }
    }
    return out;
}

} // namespace bloom::api
