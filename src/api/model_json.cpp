#include <ctime>

#include <bloom/api/model_json.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::api {
namespace {

/// RFC 3339 in UTC, for Anthropic's created_at.
std::string rfc3339(std::int64_t unix_seconds) {
    const auto seconds = static_cast<std::time_t>(unix_seconds);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[32];
    const std::size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text, n};
}

void write_strings(json::Writer& w, std::string_view key,
                   std::initializer_list<std::string_view> items) {
    w.key(key).begin_array();
    for (const std::string_view item : items)
        w.string(item);
    w.end_array();
}

void write_metadata(json::Writer& w, const registry::Registry::ListedModel& model) {
    const registry::ModelInfo& info = model.info;
    w.key("metadata").begin_object();
    w.key("model_type").string("text").key("quantization").string(info.quantization);
    w.key("provider_count")
        .integer(model.n_providers)
        .key("attested_providers")
        .integer(model.n_attested);
    w.key("trust_level")
        .string(to_string(model.trust))
        .key("display_name")
        .string(info.display_name);
    w.key("routable_providers")
        .integer(model.n_providers)
        .key("can_accept")
        .boolean(model.can_accept);
    w.key("hardware").begin_object();
    w.key("size_gb").number(static_cast<double>(info.size_bytes) / 1e9);
    w.key("architecture").string(info.architecture).end_object();
    w.end_object();
}

void write_model(json::Writer& w, const registry::Registry::ListedModel& model) {
    const registry::ModelInfo& info = model.info;
    w.begin_object();
    w.key("id").string(info.id).key("object").string("model").key("created").integer(info.created);
    w.key("owned_by").string("darkbloom");
    w.key("type").string("model").key("display_name").string(info.display_name);
    w.key("created_at").string(rfc3339(info.created));
    w.key("name").string(info.display_name);
    w.key("provider_count")
        .integer(model.n_providers)
        .key("trust_level")
        .string(to_string(model.trust));
    w.key("quantization")
        .string(info.quantization)
        .key("context_length")
        .integer(info.context_length);
    w.key("max_output_length")
        .integer(info.max_output_length > 0 ? info.max_output_length : info.context_length);
    write_strings(w, "input_modalities", {"text"});
    write_strings(w, "output_modalities", {"text"});
    write_strings(w, "supported_sampling_parameters",
                  {"temperature", "top_p", "top_k", "min_p", "stop", "seed", "max_tokens",
                   "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias"});
    if (info.thinking) {
        write_strings(w, "supported_features", {"reasoning"});
    } else {
        write_strings(w, "supported_features", {});
    }
    write_metadata(w, model);
    w.end_object();
}

} // namespace

void append_model(std::string& out, const registry::Registry::ListedModel& model) {
    json::Writer w(out);
    write_model(w, model);
}

std::string model_list(std::span<const registry::Registry::ListedModel> models) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("object").string("list").key("data").begin_array();
    for (const auto& model : models)
        write_model(w, model);
    w.end_array().key("has_more").boolean(false);
    w.key("first_id");
    if (models.empty()) {
        w.null().key("last_id").null();
    } else {
        w.string(models.front().info.id).key("last_id").string(models.back().info.id);
    }
    w.end_object();
    return out;
}

} // namespace bloom::api
