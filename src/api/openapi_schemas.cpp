#include "api/openapi.hpp"

namespace bloom::api {
namespace {

// Compact on purpose: members that clients work with, not every constraint. Unknown members of
// requests are ignored, so none of them is closed.
constexpr ApiSchema kSchemas[] = {
    {"Error", R"({"type":"object","required":["error"],"properties":{"error":{"type":"object",
"required":["message","type","param","code"],"properties":{"message":{"type":"string"},
"type":{"type":"string"},"param":{"type":["string","null"]},
"code":{"type":["string","null"]}}}}})"},
    {"AnthropicError", R"({"type":"object","required":["type","error"],"properties":{
"type":{"const":"error"},"error":{"type":"object","required":["type","message"],"properties":{
"type":{"type":"string"},"message":{"type":"string"}}},"request_id":{"type":"string"}}})"},

    // Parts of requests.
    {"Sampling", R"({"type":"object","properties":{
"temperature":{"type":"number","minimum":0,"maximum":2,"default":1},
"top_p":{"type":"number","exclusiveMinimum":0,"maximum":1,"default":1},
"top_k":{"type":"integer","minimum":-1},"min_p":{"type":"number","minimum":0,"maximum":1},
"presence_penalty":{"type":"number","minimum":-2,"maximum":2,"default":0},
"frequency_penalty":{"type":"number","minimum":-2,"maximum":2,"default":0},
"repetition_penalty":{"type":"number","minimum":0.01,"maximum":10},
"seed":{"type":"integer"},
"logit_bias":{"type":"object","additionalProperties":{"type":"number","minimum":-100,
"maximum":100}}}})"},
    {"Delivery", R"({"type":"object","properties":{"stream":{"type":"boolean","default":false},
"stream_options":{"type":"object","properties":{"include_usage":{"type":"boolean"}}},
"stop":{"anyOf":[{"type":"string","maxLength":512},{"type":"array","maxItems":16,
"items":{"type":"string","maxLength":512}}]},
"n":{"type":"integer","minimum":1,"maximum":8,"default":1},
"provider_serial":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]},
"provider_serials":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]},
"metadata_details":{"type":"boolean"}}})"},
    {"Reasoning", R"({"type":"object","properties":{"reasoning_effort":{"enum":["none","minimal",
"low","medium","high","xhigh","max"]},"reasoning_format":{"enum":["parsed","hidden","raw"],
"default":"parsed"}}})"},
    {"Function", R"({"type":"object","required":["name"],"properties":{
"name":{"type":"string","pattern":"^[a-zA-Z0-9_-]{1,64}$"},"description":{"type":"string"},
"parameters":{"type":"object"},"strict":{"type":["boolean","null"]}}})"},
    {"Tool", R"({"type":"object","required":["type"],"properties":{"type":{"type":"string"},
"function":{"$ref":"#/components/schemas/Function"}}})"},
    {"ToolChoice", R"({"anyOf":[{"enum":["auto","none","required"]},{"type":"object",
"required":["type"],"properties":{"type":{"enum":["function","allowed_tools"]}}}]})"},
    {"ToolCall", R"({"type":"object","required":["id","type","function"],"properties":{
"id":{"type":"string"},"type":{"const":"function"},"function":{"type":"object",
"required":["name","arguments"],"properties":{"name":{"type":"string"},
"arguments":{"type":"string"}}}}})"},
    {"OutputFormat", R"({"type":"object","required":["type"],"properties":{
"type":{"enum":["text","json_object","json_schema"]},"json_schema":{"type":"object",
"required":["schema"],"properties":{"name":{"type":"string"},"schema":{"type":"object"},
"strict":{"type":["boolean","null"]}}}}})"},
    {"ChatMessage", R"({"type":"object","required":["role"],"properties":{
"role":{"enum":["system","developer","user","assistant","tool","function"]},
"content":{"anyOf":[{"type":"string"},{"type":"null"},{"type":"array","items":{"type":"object",
"required":["type"],"properties":{"type":{"enum":["text","refusal"]},"text":{"type":"string"},
"refusal":{"type":"string"}}}}]},"reasoning_content":{"type":["string","null"]},
"name":{"type":["string","null"]},"tool_call_id":{"type":["string","null"]},
"tool_calls":{"type":["array","null"],"items":{"$ref":"#/components/schemas/ToolCall"}}}})"},

    {"ChatRequest", R"({"type":"object","required":["model","messages"],"allOf":[
{"$ref":"#/components/schemas/Sampling"},{"$ref":"#/components/schemas/Delivery"},
{"$ref":"#/components/schemas/Reasoning"}],"properties":{"model":{"type":"string"},
"messages":{"type":"array","minItems":1,"items":{"$ref":"#/components/schemas/ChatMessage"}},
"max_tokens":{"type":["integer","null"],"minimum":0,"default":8192},
"max_completion_tokens":{"type":["integer","null"],"minimum":0},
"logprobs":{"type":["boolean","null"]},
"top_logprobs":{"type":["integer","null"],"minimum":0,"maximum":20},
"response_format":{"$ref":"#/components/schemas/OutputFormat"},
"tools":{"type":"array","maxItems":128,"items":{"$ref":"#/components/schemas/Tool"}},
"tool_choice":{"$ref":"#/components/schemas/ToolChoice"},
"parallel_tool_calls":{"type":"boolean","default":true},
"functions":{"type":"array","items":{"$ref":"#/components/schemas/Function"},"deprecated":true},
"function_call":{"deprecated":true,"anyOf":[{"enum":["auto","none"]},{"type":"object",
"required":["name"],"properties":{"name":{"type":"string"}}}]}}})"},
    {"CompletionRequest", R"({"type":"object","required":["model","prompt"],"allOf":[
{"$ref":"#/components/schemas/Sampling"},{"$ref":"#/components/schemas/Delivery"}],
"properties":{"model":{"type":"string"},"prompt":{"anyOf":[{"type":"string"},
{"type":"array","minItems":1,"maxItems":32,"items":{"type":"string"}},
{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}},
{"type":"array","minItems":1,"maxItems":32,"items":{"type":"array","minItems":1,
"items":{"type":"integer","minimum":0}}}]},
"max_tokens":{"type":["integer","null"],"minimum":0,"default":8192},
"echo":{"type":["boolean","null"],"default":false},
"logprobs":{"type":["integer","null"],"minimum":0,"maximum":5},
"best_of":{"type":["integer","null"],"const":1}}})"},
    {"ResponseItem", R"({"type":"object","properties":{"type":{"enum":["message","function_call",
"function_call_output","reasoning","item_reference"],"default":"message"},
"id":{"type":["string","null"]},"role":{"enum":["user","assistant","system","developer"]},
"content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object",
"required":["type"],"properties":{"type":{"enum":["input_text","output_text","text","refusal",
"reasoning_text"]},"text":{"type":"string"},"refusal":{"type":"string"}}}}]},
"summary":{"type":"array","items":{"type":"object"}},"call_id":{"type":"string"},
"name":{"type":"string"},"arguments":{"type":"string"},"output":{},
"status":{"enum":["in_progress","completed","incomplete",null]}}})"},
    {"ResponseRequest", R"({"type":"object","required":["model","input"],"allOf":[
{"$ref":"#/components/schemas/Sampling"}],"properties":{"model":{"type":"string"},
"input":{"anyOf":[{"type":"string"},{"type":"array","items":{
"$ref":"#/components/schemas/ResponseItem"}}]},"instructions":{"type":["string","null"]},
"stream":{"type":"boolean","default":false},
"max_output_tokens":{"type":["integer","null"],"minimum":0,"default":8192},
"store":{"type":["boolean","null"],"default":false},
"previous_response_id":{"type":["string","null"]},
"tools":{"type":"array","maxItems":128,"items":{"type":"object"}},
"tool_choice":{"$ref":"#/components/schemas/ToolChoice"},
"parallel_tool_calls":{"type":["boolean","null"],"default":true},
"reasoning":{"type":["object","null"],"properties":{"effort":{"enum":["none","minimal","low",
"medium","high","xhigh","max",null]},"summary":{"enum":["auto","concise","detailed",null]}}},
"text":{"type":["object","null"],"properties":{"format":{"$ref":"#/components/schemas/OutputFormat"},
"verbosity":{"enum":["low","medium","high",null]}}},
"include":{"type":["array","null"],"items":{"type":"string"}},
"top_logprobs":{"type":["integer","null"],"minimum":0,"maximum":20},
"metadata":{"type":["object","null"],"maxProperties":16,"additionalProperties":{"type":"string"}},
"truncation":{"enum":["disabled",null]},"background":{"enum":[false,null]}}})"},
    {"Response", R"({"type":"object","required":["id","object","created_at","status","model",
"output","error","incomplete_details","usage"],"properties":{"id":{"type":"string"},
"object":{"const":"response"},"created_at":{"type":"integer"},
"status":{"enum":["completed","incomplete","in_progress","failed"]},"model":{"type":"string"},
"output":{"type":"array","items":{"$ref":"#/components/schemas/ResponseItem"}},
"error":{"type":["object","null"]},"incomplete_details":{"type":["object","null"],
"properties":{"reason":{"const":"max_output_tokens"}}},"usage":{"type":"object",
"required":["input_tokens","output_tokens","total_tokens"],"properties":{
"input_tokens":{"type":"integer"},"input_tokens_details":{"type":"object","properties":{
"cached_tokens":{"type":"integer"},"cache_write_tokens":{"type":"integer"}}},
"output_tokens":{"type":"integer"},"output_tokens_details":{"type":"object","properties":{
"reasoning_tokens":{"type":"integer"}}},"total_tokens":{"type":"integer"}}}}})"},
    {"ResponseTokens", R"({"type":"object","required":["object","input_tokens"],"properties":{
"object":{"const":"response.input_tokens"},"input_tokens":{"type":"integer"}}})"},
    {"DeletedResponse", R"({"type":"object","required":["id","object","deleted"],"properties":{
"id":{"type":"string"},"object":{"const":"response"},"deleted":{"const":true}}})"},
    {"ItemList", R"({"type":"object","required":["object","data","first_id","last_id","has_more"],
"properties":{"object":{"const":"list"},"data":{"type":"array","items":{
"$ref":"#/components/schemas/ResponseItem"}},"first_id":{"type":"string"},
"last_id":{"type":"string"},"has_more":{"type":"boolean"}}})"},
    {"MessageRequest", R"({"type":"object","required":["model","messages"],"properties":{
"model":{"type":"string"},"max_tokens":{"type":"integer","minimum":1,
"description":"Required but for counting tokens."},
"messages":{"type":"array","minItems":1,"items":{"type":"object","required":["role","content"],
"properties":{"role":{"enum":["user","assistant","system"]},"content":{"anyOf":[
{"type":"string"},{"type":"array","items":{"$ref":"#/components/schemas/ContentBlock"}}]}}}},
"system":{"anyOf":[{"type":"string"},{"type":"array",
"items":{"$ref":"#/components/schemas/ContentBlock"}}]},
"stream":{"type":"boolean","default":false},"stop_sequences":{"type":"array",
"items":{"type":"string","maxLength":512},"maxItems":16},
"temperature":{"type":"number","minimum":0,"maximum":2},"top_p":{"type":"number"},
"top_k":{"type":"integer"},"tools":{"type":"array","items":{"type":"object",
"required":["name"],"properties":{"name":{"type":"string"},"description":{"type":"string"},
"input_schema":{"type":"object"}}}},"tool_choice":{"type":"object","required":["type"],
"properties":{"type":{"enum":["auto","any","none","tool"]},"name":{"type":"string"},
"disable_parallel_tool_use":{"type":"boolean"}}},"thinking":{"type":"object",
"required":["type"],"properties":{"type":{"enum":["enabled","disabled","adaptive"]}}},
"output_config":{"type":"object"}}})"},
    {"ContentBlock", R"({"type":"object","required":["type"],"properties":{
"type":{"enum":["text","tool_use","tool_result","thinking","redacted_thinking"]},
"text":{"type":"string"},"thinking":{"type":"string"},"signature":{"type":"string"},
"id":{"type":"string"},"name":{"type":"string"},"input":{"type":"object"},
"tool_use_id":{"type":"string"}}})"},
    {"Message", R"({"type":"object","required":["id","type","role","model","content","stop_reason",
"stop_sequence","usage"],"properties":{"id":{"type":"string"},"type":{"const":"message"},
"role":{"const":"assistant"},"model":{"type":"string"},"content":{"type":"array",
"items":{"$ref":"#/components/schemas/ContentBlock"}},
"stop_reason":{"enum":["end_turn","max_tokens","stop_sequence","tool_use",null]},
"stop_sequence":{"type":["string","null"]},"usage":{"type":"object",
"required":["input_tokens","output_tokens"],"properties":{"input_tokens":{"type":"integer"},
"output_tokens":{"type":"integer"},"cache_read_input_tokens":{"type":["integer","null"]},
"cache_creation_input_tokens":{"type":["integer","null"]}}}}})"},
    {"MessageTokens", R"({"type":"object","required":["input_tokens"],"properties":{
"input_tokens":{"type":"integer"}}})"},
    {"EmbeddingRequest", R"({"type":"object","required":["model","input"],"properties":{
"model":{"type":"string"},"input":{}}})"},

    // Answers.
    {"Usage", R"({"type":"object","required":["prompt_tokens","completion_tokens","total_tokens"],
"properties":{"prompt_tokens":{"type":"integer"},"completion_tokens":{"type":"integer"},
"total_tokens":{"type":"integer"},"prompt_tokens_details":{"type":"object","properties":{
"cached_tokens":{"type":"integer"}}},"completion_tokens_details":{"type":"object","properties":{
"reasoning_tokens":{"type":"integer"}}}}})"},
    {"TokenLogprob", R"({"type":"object","required":["token","logprob","bytes"],"properties":{
"token":{"type":"string"},"logprob":{"type":"number"},
"bytes":{"type":"array","items":{"type":"integer"}},
"top_logprobs":{"type":"array","items":{"$ref":"#/components/schemas/TokenLogprob"}}}})"},
    {"ChatLogprobs", R"({"type":["object","null"],"required":["content","refusal"],"properties":{
"content":{"type":"array","items":{"$ref":"#/components/schemas/TokenLogprob"}},
"refusal":{"type":"null"}}})"},
    {"FinishReason", R"({"enum":["stop","length","tool_calls","function_call"]})"},
    {"ChatCompletion", R"({"type":"object","required":["id","object","created","model",
"system_fingerprint","choices","usage"],"properties":{"id":{"type":"string"},
"object":{"const":"chat.completion"},"created":{"type":"integer"},"model":{"type":"string"},
"system_fingerprint":{"type":"string"},"choices":{"type":"array","items":{"type":"object",
"required":["index","message","logprobs","finish_reason"],"properties":{
"index":{"type":"integer"},"message":{"type":"object","required":["role","content","refusal"],
"properties":{"role":{"const":"assistant"},"content":{"type":["string","null"]},
"reasoning_content":{"type":"string"},"refusal":{"type":"null"},"tool_calls":{"type":"array",
"items":{"$ref":"#/components/schemas/ToolCall"}}}},
"logprobs":{"$ref":"#/components/schemas/ChatLogprobs"},
"finish_reason":{"$ref":"#/components/schemas/FinishReason"}}}},
"usage":{"$ref":"#/components/schemas/Usage"},"metadata":{"type":"object"}}})"},
    {"Completion", R"({"type":"object","required":["id","object","created","model",
"system_fingerprint","choices","usage"],"properties":{"id":{"type":"string"},
"object":{"const":"text_completion"},"created":{"type":"integer"},"model":{"type":"string"},
"system_fingerprint":{"type":"string"},"choices":{"type":"array","items":{"type":"object",
"required":["index","text","logprobs","finish_reason"],"properties":{"index":{"type":"integer"},
"text":{"type":"string"},"logprobs":{"type":["object","null"],"properties":{
"tokens":{"type":"array","items":{"type":"string"}},
"token_logprobs":{"type":"array","items":{"type":"number"}},
"top_logprobs":{"type":"array","items":{"type":"object",
"additionalProperties":{"type":"number"}}},
"text_offset":{"type":"array","items":{"type":"integer"}}}},
"finish_reason":{"enum":["stop","length"]}}}},
"usage":{"$ref":"#/components/schemas/Usage"}}})"},
    {"EmbeddingList", R"({"type":"object","required":["object","data","model","usage"],
"properties":{"object":{"const":"list"},"data":{"type":"array","items":{"type":"object"}},
"model":{"type":"string"},"usage":{"type":"object"}}})"},

    // Models.
    {"Model", R"({"type":"object","required":["id","object","created","owned_by","type",
"display_name","created_at"],"properties":{"id":{"type":"string"},"object":{"const":"model"},
"created":{"type":"integer"},"owned_by":{"type":"string"},"type":{"const":"model"},
"display_name":{"type":"string"},"created_at":{"type":"string","format":"date-time"},
"provider_count":{"type":"integer"},"trust_level":{"enum":["none","self_signed","hardware"]},
"quantization":{"type":"string"},"context_length":{"type":"integer"},
"max_output_length":{"type":"integer"},
"input_modalities":{"type":"array","items":{"type":"string"}},
"output_modalities":{"type":"array","items":{"type":"string"}},
"supported_sampling_parameters":{"type":"array","items":{"type":"string"}},
"supported_features":{"type":"array","items":{"type":"string"}},
"pricing":{"type":"object","additionalProperties":{"type":"string"}},
"metadata":{"type":"object"}}})"},
    {"ModelList", R"({"type":"object","required":["object","data","has_more","first_id",
"last_id"],"properties":{"object":{"const":"list"},"data":{"type":"array",
"items":{"$ref":"#/components/schemas/Model"}},"has_more":{"type":"boolean"},
"first_id":{"type":["string","null"]},"last_id":{"type":["string","null"]}}})"},
    {"CatalogEntry", R"({"type":"object","required":["id","display_name","model_type","size_gb",
"architecture","min_ram_gb","active","input_price","output_price"],"properties":{
"id":{"type":"string"},"display_name":{"type":"string"},"model_type":{"type":"string"},
"size_gb":{"type":"integer"},"architecture":{"type":"string"},"description":{"type":"string"},
"min_ram_gb":{"type":"integer"},"active":{"type":"boolean"},"status":{"type":"string"},
"family":{"type":"string"},"quantization":{"type":"string"},
"max_context_length":{"type":"integer"},"max_output_length":{"type":"integer"},
"capabilities":{"type":"array","items":{"type":"string"}},
"aliases":{"type":"array","items":{"type":"string"}},"input_price":{"type":"integer"},
"output_price":{"type":"integer"},"cache_read_price":{"type":"integer"}}})"},
    {"Catalog", R"({"type":"object","required":["models"],"properties":{"models":{"type":"array",
"items":{"$ref":"#/components/schemas/CatalogEntry"}}}})"},
    {"PriceList", R"({"type":"object","required":["prices","fallback_input_price",
"fallback_output_price","fallback_input_usd","fallback_output_usd"],
"description":"Integers are micro-USD per million tokens.","properties":{"prices":{"type":"array",
"items":{"type":"object","required":["model","input_price","output_price","input_usd",
"output_usd"],"properties":{"model":{"type":"string"},"input_price":{"type":"integer"},
"output_price":{"type":"integer"},"cache_read_price":{"type":"integer"},
"input_usd":{"type":"string"},"output_usd":{"type":"string"},
"cache_read_usd":{"type":"string"}}}},"fallback_input_price":{"type":"integer"},
"fallback_output_price":{"type":"integer"},"fallback_input_usd":{"type":"string"},
"fallback_output_usd":{"type":"string"}}})"},
    {"CapacityList", R"({"type":"object","required":["models"],
"description":"What nobody has measured is null.","properties":{"models":{"type":"array",
"items":{"type":"object","required":["id","ready","can_accept","routable_providers",
"active_requests","queued_requests"],"properties":{"id":{"type":"string"},
"ready":{"type":"boolean"},"can_accept":{"type":"boolean"},
"routable_providers":{"type":"integer"},"warm_providers":{"type":"integer"},
"running_providers":{"type":"integer"},"cold_providers":{"type":"integer"},
"active_requests":{"type":"integer"},"queued_requests":{"type":"integer"},
"queue_limit":{"type":["integer","null"]},"aggregate_tps":{"type":["number","null"]},
"estimated_ttft_ms":{"type":["number","null"]},
"token_budget_remaining":{"type":["integer","null"]},
"token_budget_total":{"type":["integer","null"]}}}}}})"},

    // The node.
    {"Attestation", R"({"type":"object","required":["provider_id","attestation_scheme",
"signing_algorithm","identity_public_key"],"properties":{"provider_id":{"type":"string"},
"attestation_scheme":{"type":"string"},"signing_algorithm":{"type":"string"},
"identity_public_key":{"type":"string"},"nonce":{"type":"string"},
"status":{"type":"string"},"status_signature":{"type":"string"},
"leaf_index":{"type":"integer"},"n_leaves":{"type":"integer"},
"path":{"type":"array","items":{"type":"string"}}}})"},
    {"AttestationList", R"({"type":"object","required":["providers","count"],"properties":{
"providers":{"type":"array","items":{"$ref":"#/components/schemas/Attestation"}},
"count":{"type":"integer"}}})"},
    {"Health", R"({"type":"object","required":["status","providers","version"],"properties":{
"status":{"const":"ok"},"providers":{"type":"integer"},"version":{"type":"string"},
"active_requests":{"type":"integer"},"draining":{"type":"boolean"}}})"},
    {"Ready", R"({"type":"object","required":["status"],"properties":{
"status":{"const":"ready"}}})"},
    {"Document", R"({"type":"object","required":["openapi","info","paths"]})"},
};

} // namespace

std::span<const ApiSchema> api_schemas() noexcept {
    return kSchemas;
}

} // namespace bloom::api
