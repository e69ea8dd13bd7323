#include <algorithm>
#include <ctime>
#include <functional>
#include <map>
#include <set>

#include <fmt/format.h>

#include <bloom/api/model_json.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::api {
namespace {

using registry::CatalogEntry;
using registry::ModelInfo;

/// All models of the catalog and of providers are of this type (design decision 25).
constexpr std::string_view kModelType = "text";

/// What a model costs that has no price of its own (section 18.2), micro-USD per million tokens.
constexpr std::int64_t kFallbackInputPrice = 50'000;
constexpr std::int64_t kFallbackOutputPrice = 200'000;

/// RFC 3339 in UTC, for Anthropic's created_at.
std::string rfc3339(std::int64_t unix_seconds) {
    const auto seconds = static_cast<std::time_t>(unix_seconds);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[32];
    const std::size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text, n};
}

template <class Strings>
void write_strings(json::Writer& w, std::string_view key, const Strings& items) {
    w.key(key).begin_array();
    for (const std::string_view item : items)
        w.string(item);
    w.end_array();
}

/// `$0.0650`, as prices of a million tokens are shown.
std::string usd_per_mtok(std::int64_t micro_usd) {
    return fmt::format("${}.{:04}", micro_usd / 1'000'000, micro_usd % 1'000'000 / 100);
}

void write_metadata(json::Writer& w, const ModelView& model) {
    const ModelInfo& info = model.held.info;
    const bool alias = model.entry != nullptr && model.id != info.id;
    w.key("metadata").begin_object();
    w.key("model_type").string(kModelType);
    w.key("quantization").string(alias ? std::string_view() : info.quantization);
    w.key("provider_count")
        .integer(model.held.n_providers)
        .key("attested_providers")
        .integer(model.held.n_attested);
    w.key("trust_level")
        .string(to_string(model.held.trust))
        .key("display_name")
        .string(info.display_name);
    w.key("routable_providers")
        .integer(model.held.n_providers)
        .key("can_accept")
        .boolean(model.held.can_accept);
    w.key("hardware").begin_object();
    if (model.entry != nullptr) w.key("min_ram_gb").integer(model.entry->min_ram_gb);
    w.key("size_gb").number(static_cast<double>(info.size_bytes) / 1e9);
    w.key("architecture")
        .string(model.entry != nullptr ? model.entry->architecture : info.architecture)
        .end_object();
    w.end_object();
}

/// What only the catalog knows.
void write_catalog_facts(json::Writer& w, const CatalogEntry& e) {
    w.key("description").string(e.description);
    if (!e.repositories.empty()) w.key("hugging_face_id").string(e.repositories.front());
    w.key("pricing").begin_object();
    w.key("prompt").string(usd_per_token(e.input_price));
    w.key("completion").string(usd_per_token(e.output_price));
    w.key("image").string("0").key("request").string("0");
    w.key("input_cache_read").string(usd_per_token(e.cache_read_price));
    w.end_object();
}

std::int32_t output_length(const ModelInfo& info) {
    return info.max_output_length > 0 ? info.max_output_length : info.context_length;
}

/// What Anthropic's clients require besides id, type and names.
void write_anthropic_facts(json::Writer& w, const ModelInfo& info) {
    w.key("max_input_tokens").integer(info.context_length);
    w.key("max_tokens").integer(output_length(info));
    w.key("lifecycle").string("active").key("capabilities").null().key("line").null();
    w.key("deprecated_at").null().key("retires_at").null();
}

void write_model(json::Writer& w, const ModelView& model) {
    const ModelInfo& info = model.held.info;
    w.begin_object();
    w.key("id").string(model.id).key("object").string("model");
    w.key("created").integer(info.created);
    w.key("owned_by").string("darkbloom");
    w.key("type").string("model").key("display_name").string(info.display_name);
    w.key("created_at").string(rfc3339(info.created));
    write_anthropic_facts(w, info);
    w.key("name").string(info.display_name);
    w.key("provider_count")
        .integer(model.held.n_providers)
        .key("trust_level")
        .string(to_string(model.held.trust));
    w.key("quantization")
        .string(info.quantization)
        .key("context_length")
        .integer(info.context_length);
    w.key("max_output_length").integer(output_length(info));
    constexpr std::string_view kText[] = {"text"};
    constexpr std::string_view kParameters[] = {"temperature",
                                                "top_p",
                                                "top_k",
                                                "min_p",
                                                "stop",
                                                "seed",
                                                "max_tokens",
                                                "max_completion_tokens",
                                                "presence_penalty",
                                                "frequency_penalty",
                                                "repetition_penalty",
                                                "logit_bias",
                                                "logprobs",
                                                "top_logprobs",
                                                "n",
                                                "tools",
                                                "tool_choice",
                                                "parallel_tool_calls",
                                                "response_format",
                                                "reasoning_effort"};
    write_strings(w, "input_modalities", kText);
    write_strings(w, "output_modalities", kText);
    write_strings(w, "supported_sampling_parameters", kParameters);
    w.key("supported_features").begin_array();
    for (const std::string_view feature : {"tools", "json_mode", "structured_outputs", "logprobs"})
        w.string(feature);
    if (info.thinking) w.string("reasoning");
    w.end_array();
    if (model.entry != nullptr) write_catalog_facts(w, *model.entry);
    write_metadata(w, model);
    w.end_object();
}

/// An entry that nobody holds, as listings show it.
registry::Registry::ListedModel unheld(const CatalogEntry& e) {
    registry::Registry::ListedModel out;
    ModelInfo& info = out.info;
    info.id = e.id;
    info.catalog_id = e.id;
    info.display_name = e.display_name;
    info.architecture = e.architecture;
    info.quantization = e.quantization;
    info.created = e.released;
    info.size_bytes = std::int64_t{e.size_gb} * 1'000'000'000;
    info.context_length = e.context_length;
    info.max_output_length = e.max_output_length;
    info.thinking = std::ranges::find(e.capabilities, "reasoning") != e.capabilities.end();
    return out;
}

void write_entry(json::Writer& w, const CatalogEntry& e) {
    const auto unknown = [&](std::string_view key) { w.key(key).null(); };
    const std::string_view id = e.id;
    w.begin_object().key("id").string(id);
    w.key("s3_name").string(id.substr(id.rfind('/') + 1)); // npos + 1 == 0
    w.key("display_name").string(e.display_name).key("model_type").string(kModelType);
    w.key("size_gb").integer(e.size_gb).key("architecture").string(e.architecture);
    w.key("description").string(e.description).key("min_ram_gb").integer(e.min_ram_gb);
    w.key("active").boolean(true).key("status").string("active");
    unknown("weight_hash");
    w.key("family").string(e.family).key("quantization").string(e.quantization);
    w.key("max_context_length").integer(e.context_length);
    w.key("max_output_length").integer(e.max_output_length);
    write_strings(w, "capabilities", e.capabilities);
    w.key("runtime_parameters").begin_object().end_object();
    w.key("metadata").begin_object();
    w.key("arch").string(e.shape.arch).key("n_layers").integer(e.shape.n_layers);
    w.key("parameters").integer(e.parameters);
    w.key("active_parameters").integer(e.active_parameters).end_object();
    unknown("version");
    unknown("aggregate_sha256");
    w.key("total_size_bytes").integer(std::int64_t{e.size_gb} * 1'000'000'000);
    unknown("file_count");
    w.key("created").integer(e.released);
    w.key("public_id").string(e.public_id());
    write_strings(w, "aliases", e.aliases);
    write_strings(w, "repositories", e.repositories);
    write_strings(w, "gguf_repositories", e.gguf_repositories);
    w.key("input_price").integer(e.input_price).key("output_price").integer(e.output_price);
    w.key("cache_read_price").integer(e.cache_read_price);
    w.key("input_usd").string(usd_per_mtok(e.input_price));
    w.key("output_usd").string(usd_per_mtok(e.output_price)).end_object();
}

} // namespace

std::string usd_per_token(std::int64_t micro_usd_per_mtok) {
    if (micro_usd_per_mtok == 0) return "0";
    constexpr std::int64_t kTokensPerUsd = 1'000'000'000'000;
    std::string text = fmt::format("{}.{:012}", micro_usd_per_mtok / kTokensPerUsd,
                                   micro_usd_per_mtok % kTokensPerUsd);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    return text;
}

std::vector<ModelView> view_models(std::vector<registry::Registry::ListedModel> held,
                                   const registry::Catalog& catalog,
                                   const ModelViewOptions& options) {
    std::set<std::string, std::less<>> names;
    for (const auto& model : held)
        names.insert(model.info.id);
    std::vector<ModelView> out;
    for (auto& model : held) {
        const CatalogEntry* const entry =
            model.info.catalog_id.empty() ? nullptr : catalog.find(model.info.catalog_id);
        std::string id = model.info.id;
        // Another model may have been given the public alias: then the build keeps its own id.
        if (entry != nullptr && id == entry->id && !names.contains(entry->public_id())) {
            if (options.builds) out.push_back({id, model, entry});
            id = entry->public_id();
        }
        out.push_back({std::move(id), std::move(model), entry});
    }
    if (options.unheld && !options.available_only) {
        for (const CatalogEntry& entry : catalog.entries()) {
            if (!names.contains(entry.id) && !names.contains(entry.public_id()))
                out.push_back({entry.public_id(), unheld(entry), &entry});
        }
    }
    std::ranges::sort(out, {}, &ModelView::id);
    return out;
}

void append_model(std::string& out, const ModelView& model) {
    json::Writer w(out);
    write_model(w, model);
}

std::string model_list(std::span<const ModelView> models) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("object").string("list").key("data").begin_array();
    for (const ModelView& model : models)
        write_model(w, model);
    w.end_array().key("has_more").boolean(false);
    w.key("first_id");
    if (models.empty()) {
        w.null().key("last_id").null();
    } else {
        w.string(models.front().id).key("last_id").string(models.back().id);
    }
    w.end_object();
    return out;
}

void append_catalog_entry(std::string& out, const registry::CatalogEntry& entry) {
    json::Writer w(out);
    write_entry(w, entry);
}

std::string catalog_list(const registry::Catalog& catalog, std::string_view type) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("models").begin_array();
    for (const CatalogEntry& entry : catalog.entries()) {
        if (type.empty() || type == kModelType) write_entry(w, entry);
    }
    w.end_array().end_object();
    return out;
}

std::string price_list(const registry::Catalog& catalog) {
    std::map<std::string_view, const CatalogEntry*> rows;
    for (const CatalogEntry& entry : catalog.entries()) {
        rows.emplace(entry.id, &entry);
        if (!entry.public_alias.empty()) rows.emplace(entry.public_alias, &entry);
        for (const std::string& alias : entry.aliases)
            rows.emplace(alias, &entry);
    }
    std::string out;
    json::Writer w(out);
    w.begin_object().key("prices").begin_array();
    for (const auto& [model, e] : rows) {
        w.begin_object().key("model").string(model);
        w.key("input_price").integer(e->input_price).key("output_price").integer(e->output_price);
        w.key("cache_read_price").integer(e->cache_read_price);
        w.key("input_usd").string(usd_per_mtok(e->input_price));
        w.key("output_usd").string(usd_per_mtok(e->output_price));
        w.key("cache_read_usd").string(usd_per_mtok(e->cache_read_price)).end_object();
    }
    w.end_array();
    w.key("fallback_input_price").integer(kFallbackInputPrice);
    w.key("fallback_output_price").integer(kFallbackOutputPrice);
    w.key("fallback_input_usd").string(usd_per_mtok(kFallbackInputPrice));
    w.key("fallback_output_usd").string(usd_per_mtok(kFallbackOutputPrice)).end_object();
    return out;
}

} // namespace bloom::api
