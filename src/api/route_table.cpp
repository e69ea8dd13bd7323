#include "api/route_table.hpp"

#include <string>

#include "api/common.hpp"

namespace bloom::api {
namespace {

using http::Method;

/// Inference in the dialect of its path.
template <gen::Dialect kDialect>
BLOOM_CORO_WRAPPER rt::Task<Result<>> infer(Services& services, http::Exchange& ex) {
    return handle_inference(services, ex, kDialect);
}

BLOOM_CORO_WRAPPER rt::Task<Result<>> land(Services& /*services*/, http::Exchange& ex) {
    return handle_landing(ex);
}

constexpr Route kRoutes[] = {
    {Method::post,
     "/v1/chat/completions",
     &infer<gen::Dialect::openai_chat>,
     true,
     {.id = "createChatCompletion",
      .tag = "Chat",
      .summary = "Answers a conversation.",
      .request = "ChatRequest",
      .response = "ChatCompletion",
      .streams = true}},
    {Method::post,
     "/v1/completions",
     &infer<gen::Dialect::openai_completions>,
     true,
     {.id = "createCompletion",
      .tag = "Completions",
      .summary = "Continues texts as they are, without a chat template.",
      .request = "CompletionRequest",
      .response = "Completion",
      .streams = true}},
    {Method::post,
     "/v1/messages",
     &infer<gen::Dialect::anthropic_messages>,
     true,
     {.id = "createMessage",
      .tag = "Messages",
      .summary = "Answers a conversation as Anthropic's API does.",
      .request = "MessageRequest",
      .response = "Message",
      .streams = true}},
    {Method::post,
     "/v1/messages/count_tokens",
     &handle_count_tokens,
     true,
     {.id = "countMessageTokens",
      .tag = "Messages",
      .summary = "Prompt tokens of a conversation, without answering it.",
      .request = "MessageRequest",
      .response = "MessageTokens"}},
    {Method::post,
     "/v1/embeddings",
     &handle_embeddings,
     true,
     {.id = "createEmbedding",
      .tag = "Embeddings",
      .summary = "Refused with 404 as long as no embedding model is loaded.",
      .request = "EmbeddingRequest",
      .response = "EmbeddingList"}},

    {Method::get,
     "/v1/models",
     &handle_models,
     true,
     {.id = "listModels",
      .tag = "Models",
      .summary = "What can be asked for.",
      .response = "ModelList",
      .query = "include_builds available"}},
    {Method::get,
     "/v1/models/{id...}",
     &handle_model,
     true,
     {.id = "retrieveModel",
      .tag = "Models",
      .summary = "One model by any of its names.",
      .response = "Model"}},
    {Method::get,
     "/v1/models/catalog",
     &handle_catalog,
     false,
     {.id = "listCatalog",
      .tag = "Models",
      .summary = "The models that are known by name.",
      .response = "Catalog",
      .query = "type",
      .needs_key = false}},
    {Method::get,
     "/v1/models/catalog/{id...}",
     &handle_catalog_entry,
     false,
     {.id = "retrieveCatalogEntry",
      .tag = "Models",
      .summary = "One record of the catalog.",
      .response = "CatalogEntry",
      .needs_key = false}},
    {Method::get,
     "/v1/models/capacity",
     &handle_capacity,
     false,
     {.id = "listCapacity",
      .tag = "Models",
      .summary = "How busy the models are.",
      .response = "CapacityList",
      .needs_key = false}},
    {Method::get,
     "/v1/pricing",
     &handle_pricing,
     false,
     {.id = "listPrices",
      .tag = "Models",
      .summary = "Prices of a million tokens.",
      .response = "PriceList",
      .needs_key = false}},

    {Method::get,
     "/v1/providers/attestation",
     &handle_attestations,
     false,
     {.id = "listAttestations",
      .tag = "Providers",
      .summary = "The machines behind this node: keys, and what is proven about them.",
      .response = "AttestationList",
      .needs_key = false}},
    {Method::get,
     "/v1/providers/{node_id}/attestation",
     &handle_attestation,
     false,
     {.id = "retrieveAttestation",
      .tag = "Providers",
      .summary = "One machine; with a nonce (base64url of 32 bytes), its fresh statement.",
      .response = "Attestation",
      .query = "nonce",
      .needs_key = false}},

    {Method::get,
     "/",
     &land,
     false,
     {.id = "landing",
      .tag = "Node",
      .summary = "What this is, in a few lines.",
      .needs_key = false}},
    {Method::get,
     "/health",
     &handle_health,
     false,
     {.id = "health",
      .tag = "Node",
      .summary = "The node is there; counters.",
      .response = "Health",
      .needs_key = false}},
    {Method::get,
     "/readyz",
     &handle_ready,
     false,
     {.id = "ready",
      .tag = "Node",
      .summary = "200 once a model is ready and none is drained.",
      .response = "Ready",
      .needs_key = false}},
    {Method::get,
     kOpenApiPath,
     nullptr,
     false,
     {.id = "openapi",
      .tag = "Node",
      .summary = "This document.",
      .response = "Document",
      .needs_key = false}},
};

} // namespace

std::span<const Route> route_table() noexcept {
    return kRoutes;
}

const RouteDescription* description_of(Method method, std::string_view pattern) noexcept {
    const bool doubled = pattern.starts_with(kDoubledPrefix);
    // `/v1/v1/models` stands for `/v1/models`.
    if (doubled) pattern.remove_prefix(kDoubledPrefix.size() - std::string_view("/v1/").size());
    for (const Route& route : kRoutes) {
        if (route.method == method && route.pattern == pattern && (route.doubled || !doubled))
            return &route.about;
    }
    return nullptr;
}

} // namespace bloom::api
