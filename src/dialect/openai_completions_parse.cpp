#include <limits>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include <bloom/dialect/openai_completions.hpp>

#include "dialect/render.hpp"
#include "dialect/request_fields.hpp"

namespace bloom::dialect {
namespace {

constexpr std::size_t kMaxPrompts = 32; // the engine's bound
constexpr std::int64_t kMaxLogprobs = 5;

std::unexpected<RequestError> missing(std::string_view param) {
    return refuse(param, fmt::format("Missing required parameter: '{}'.", param),
                  "missing_required_parameter");
}

Parsed<std::vector<std::int32_t>> read_tokens(const json::Array& array, const std::string& where) {
    std::vector<std::int32_t> tokens;
    tokens.reserve(array.size());
    for (const json::Value element : array) {
        BLOOM_PARSE(const std::int64_t token, read_int(element, path(where, tokens.size()), 0,
                                                       std::numeric_limits<std::int32_t>::max()));
        tokens.push_back(static_cast<std::int32_t>(token));
    }
    if (tokens.empty())
        return refuse(where, fmt::format("Invalid '{}': it holds no tokens.", where));
    return tokens;
}

/// A text, texts, token ids, or lists of token ids.
Parsed<void> read_prompt(const json::Value& value, gen::Generation& g) {
    const std::string where = "prompt";
    if (value.is_string()) {
        g.prompts.emplace_back(*value.as_string());
        return {};
    }
    const auto array = value.as_array();
    if (!array) return refuse_type(where, "a string or an array", value);
    if (array->empty()) return refuse(where, "Invalid 'prompt': empty array.");
    const json::Value first = *array->begin();
    if (first.is_number()) {
        BLOOM_PARSE(std::vector<std::int32_t> tokens, read_tokens(*array, where));
        g.token_prompts.push_back(std::move(tokens));
        return {};
    }
    if (array->size() > kMaxPrompts) {
        return refuse(where,
                      fmt::format("Invalid 'prompt': {} prompts; at most {} are possible in one "
                                  "request.",
                                  array->size(), kMaxPrompts));
    }
    const bool texts = first.is_string();
    std::size_t index = 0;
    for (const json::Value element : *array) {
        const std::string at = path(where, index++);
        if (texts) {
            BLOOM_PARSE(std::string prompt, read_string(element, at));
            g.prompts.push_back(std::move(prompt));
            continue;
        }
        const auto ids = element.as_array();
        if (!ids) return refuse_type(at, "a string or an array of token ids", element);
        BLOOM_PARSE(std::vector<std::int32_t> tokens, read_tokens(*ids, at));
        g.token_prompts.push_back(std::move(tokens));
    }
    return {};
}

/// Members that only this dialect has, or has in its own way; true when the member was one.
Parsed<bool> read_completion(const json::Member& m, gen::Generation& g) {
    if (m.key == "model") {
        BLOOM_PARSE(g.model, read_string(m.value, m.key));
    } else if (m.key == "prompt") {
        g.prompts.clear();
        g.token_prompts.clear();
        BLOOM_PARSE_VOID(read_prompt(m.value, g));
    } else if (m.key == "echo") {
        BLOOM_PARSE(g.echo, read_bool(m.value, m.key));
    } else if (m.key == "n") {
        BLOOM_PARSE(g.n_choices, read_choices(m.value, m.key));
    } else if (m.key == "logprobs") {
        BLOOM_PARSE(const std::int64_t n, read_int(m.value, m.key, 0, kMaxLogprobs));
        g.sampling.logprobs = true;
        g.sampling.top_logprobs = static_cast<std::int32_t>(n);
    } else if (m.key == "suffix") {
        BLOOM_PARSE(const std::string suffix, read_string(m.value, m.key));
        if (!suffix.empty()) return refuse_unsupported(m.key, "is not supported by this node.");
    } else if (m.key == "best_of") {
        BLOOM_PARSE(const std::int64_t n,
                    read_int(m.value, m.key, 1, std::numeric_limits<std::int32_t>::max()));
        if (n > 1)
            return refuse_unsupported(m.key, "greater than 1 is not supported by this node.");
    } else {
        return false;
    }
    return true;
}

} // namespace

Parsed<Request> parse_openai_completions(const json::Value& body) {
    const auto object = body.as_object();
    if (!object) return refuse({}, "The request body must be a JSON object.", "invalid_json");
    Request request;
    gen::Generation& g = request.generation;
    g.render.dialect = gen::Dialect::openai_completions;
    std::int64_t max_tokens = 0;
    for (const json::Member m : *object) {
        if (m.value.is_null()) continue; // the same as absent
        if (m.key == "max_tokens") {
            BLOOM_PARSE(max_tokens, read_token_limit(m));
            continue;
        }
        BLOOM_PARSE(const bool completion, read_completion(m, g));
        if (completion) continue;
        BLOOM_PARSE(const bool sampling, read_sampling(m, g.sampling));
        if (sampling) continue;
        BLOOM_PARSE(const bool routing, read_routing(m, g.routing));
        if (routing) continue;
        BLOOM_PARSE([[maybe_unused]] const bool delivery, read_delivery(m, g));
    }
    if (g.model.empty()) return missing("model");
    if (g.prompts.empty() && g.token_prompts.empty()) return missing("prompt");
    if (g.echo && g.sampling.logprobs) {
        return refuse_unsupported("logprobs", "together with 'echo' is not supported by this node: "
                                              "prompts have no log probabilities.");
    }
    g.render.logprobs = g.sampling.logprobs;
    g.render.model = g.model;
    g.limits.max_tokens = output_bound(max_tokens);
    return request;
}

namespace {

std::string completion_response_id(std::string_view job_id) {
    return undashed_id("cmpl-", job_id);
}

} // namespace

constinit const Dialect kOpenAiCompletions{.id = gen::Dialect::openai_completions,
                                           .parse = &parse_openai_completions,
                                           .make_encoder = &make_openai_completions_encoder,
                                           .envelope = Envelope::openai,
                                           .response_id = &completion_response_id,
                                           .keep_alive = kKeepAliveComment,
                                           .prompt_param = "prompt"};

} // namespace bloom::dialect
