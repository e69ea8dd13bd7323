#pragma once

#include <expected>
#include <memory>
#include <span>
#include <string_view>

#include <bloom/api/error_map.hpp>
#include <bloom/api/services.hpp>
#include <bloom/base/function_ref.hpp>
#include <bloom/http/exchange.hpp>

/// What the handlers share.
namespace bloom::api {

inline constexpr std::string_view kJson = "application/json";

/// Answers with the failure's status, envelope and Retry-After.
rt::Task<Result<>> refuse(http::Exchange& ex, ApiError error);

/// The shape of errors on the path of this request, served or not.
dialect::Envelope envelope_of(const http::Exchange& ex) noexcept;

/// Who is to answer a request whose model is resolved, none of `tried`; otherwise what to tell.
std::expected<std::shared_ptr<registry::ProviderLink>, ApiError>
find_provider(const Services& services, const gen::Generation& request,
              std::span<const registry::ProviderLink* const> tried);

/// The caller by the credentials of the head. Errors: unauthenticated.
Result<auth::Principal> authenticate(const Services& services, http::Exchange& ex);

/// A JSON body as one of the dialects' readers takes it. Parser memory is the thread's; nothing of
/// it outlives the call.
std::expected<dialect::Request, ApiError>
parse_body(ByteSpan body, FunctionRef<dialect::Parsed<dialect::Request>(const json::Value&)> read);

// Handlers, one file each.
rt::Task<Result<>> handle_landing(http::Exchange& ex);
rt::Task<Result<>> handle_health(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_ready(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_catalog(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_catalog_entry(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_models(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_model(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_capacity(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_pricing(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_embeddings(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_count_tokens(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_attestations(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_attestation(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_response(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_delete_response(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_cancel_response(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_input_items(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_input_tokens(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_compact(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_fit_system(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_fit_models(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_fit_top(Services& services, http::Exchange& ex);
rt::Task<Result<>> handle_fit_model(Services& services, http::Exchange& ex);
/// Any of the inference routes; `path` is the dialect that the route belongs to.
rt::Task<Result<>> handle_inference(Services& services, http::Exchange& ex, gen::Dialect path);

} // namespace bloom::api
