#include <algorithm>
#include <cmath>

#include <bloom/fit/listing.hpp>
#include <bloom/fit/quantization.hpp>
#include <bloom/json/writer.hpp>

#include "fit/words.hpp"

// Fields and rounding: fit API sections 1.7, 1.8 and 2.1.
namespace bloom::fit {
namespace {

constexpr std::int64_t kTopLimit = 5;
constexpr std::int64_t kOneLimit = 20;
constexpr double kPublishedEfficiency = 0.55;

double rounded(double value, int digits) noexcept {
    const double scale = digits == 1 ? 10 : 100;
    return std::round(value * scale) / scale;
}

template <class T>
void put(json::Writer& w, std::string_view key, const std::optional<T>& value) {
    w.key(key);
    if (!value) {
        w.null();
    } else if constexpr (std::is_same_v<T, std::string>) {
        w.string(*value);
    } else if constexpr (std::is_same_v<T, bool>) {
        w.boolean(*value);
    } else if constexpr (std::is_integral_v<T>) {
        w.integer(*value);
    } else {
        w.number(*value);
    }
}

std::optional<double> two_digits(std::optional<double> value) {
    if (value) value = rounded(*value, 2);
    return value;
}

void write_strings(json::Writer& w, std::string_view key, const std::vector<std::string>& texts) {
    w.key(key).begin_array();
    for (const std::string& text : texts)
        w.string(text);
    w.end_array();
}

void write_node(json::Writer& w, const NodeName& node) {
    w.key("node").begin_object();
    w.key("name").string(node.name).key("os").string(node.os).end_object();
}

void write_gpu(json::Writer& w, const GpuFacts& gpu) {
    w.begin_object().key("name").string(gpu.name);
    put(w, "vram_gb", two_digits(gpu.vram_gb));
    w.key("backend").string(gpu.backend).key("count").integer(gpu.count);
    w.key("unified_memory").boolean(gpu.unified);
    put(w, "memory_bandwidth_gbps",
        gpu.bandwidth_gbps ? gpu.bandwidth_gbps : gpu_bandwidth_by_name(gpu.name));
    w.key("driver").string(gpu.driver).end_object();
}

void write_system(json::Writer& w, const SystemFacts& s) {
    w.key("system").begin_object();
    w.key("total_ram_gb").number(rounded(s.total_ram_gb, 2));
    w.key("available_ram_gb").number(rounded(s.available_ram_gb, 2));
    w.key("cpu_cores").integer(s.n_cpus).key("cpu_name").string(s.cpu_name);
    w.key("has_gpu").boolean(s.has_gpu());
    const double vram = s.vram_total_gb();
    put(w, "gpu_vram_gb", vram > 0 ? std::optional(rounded(vram, 2)) : std::nullopt);
    put(w, "gpu_name", s.has_gpu() ? std::optional(s.gpus.front().name) : std::nullopt);
    w.key("gpu_count").integer(s.n_gpus()).key("unified_memory").boolean(s.unified());
    w.key("backend").string(s.backend()).key("gpus").begin_array();
    for (const GpuFacts& gpu : s.gpus)
        write_gpu(w, gpu);
    w.end_array();
    put(w, "gpu_available_gb", two_digits(s.gpu_available_gb));
    put(w, "memory_bandwidth_gbps", two_digits(s.memory_bandwidth_gbps));
    w.end_object();
}

void write_filters(json::Writer& w, const Query& q, Listing listing, std::string_view name) {
    w.key("filters").begin_object();
    put(w, "limit", q.limit);
    put(w, "perfect", q.perfect);
    put(w, "min_fit", q.raw_min_fit);
    put(w, "runtime", q.raw_runtime);
    put(w, "use_case", q.raw_use_case);
    put(w, "provider", q.provider);
    put(w, "search", listing == Listing::one ? std::optional(std::string(name)) : q.search);
    put(w, "sort", q.raw_sort);
    put(w, "max_context", q.max_context);
    put(w, "include_too_tight", q.include_too_tight);
    put(w, "ram_gb", q.ram_gb);
    put(w, "vram_gb", q.vram_gb);
    put(w, "cpu_cores", q.cpu_cores);
    put(w, "force_runtime", q.raw_force_runtime);
    put(w, "license", q.license);
    put(w, "capability", q.capability);
    put(w, "score_weights", q.raw_score_weights);
    w.key("top_only").boolean(listing == Listing::top).end_object();
}

void write_scores(json::Writer& w, std::string_view key, const Scores& s, int digits) {
    w.key(key).begin_object();
    w.key("quality").number(rounded(s.quality, digits)).key("speed");
    w.number(rounded(s.speed, digits)).key("fit").number(rounded(s.fit, digits));
    w.key("context").number(rounded(s.context, digits)).end_object();
}

void write_identity(json::Writer& w, const ModelFacts& m, Category category) {
    w.key("name").string(m.name).key("provider").string(m.provider);
    w.key("parameter_count").string(parameter_count(m.params));
    w.key("params_b").number(rounded(m.params_b(), 2));
    w.key("context_length").integer(m.context_length).key("release_date");
    if (m.release_date.empty()) {
        w.null();
    } else {
        w.string(m.release_date);
    }
    w.key("is_moe").boolean(m.is_moe()).key("use_case").string(label(category));
    w.key("category").string(label(category));
    w.key("use_case_description").string(m.use_case_text);
}

void write_basis(json::Writer& w, const Estimate& e) {
    w.key("estimate_basis").begin_object().key("method").string(e.method);
    put(w, "gpu_bandwidth_gbps", e.gpu_bandwidth_gbps);
    w.key("ddr_bandwidth_gbps").number(rounded(e.host_bandwidth_gbps, 2));
    w.key("efficiency").number(kPublishedEfficiency);
    w.key("assumed_context").integer(e.context);
    w.key("local_calibration").null().end_object();
}

void write_estimate(json::Writer& w, const ModelFacts& m, const Estimate& e) {
    w.key("fit_level").string(code(e.level)).key("fit_label").string(label(e.level));
    w.key("run_mode").string(code(e.mode)).key("run_mode_label").string(label(e.mode));
    w.key("score").number(e.score);
    write_scores(w, "score_components", e.scores, 1);
    write_scores(w, "score_weights", e.weights, 2);
    w.key("estimated_tps").number(rounded(e.tokens_per_s, 1));
    w.key("runtime").string(code(e.runtime)).key("runtime_label").string(label(e.runtime));
    w.key("engine").string("darkbloom").key("best_quant").string(e.quantization);
    w.key("memory_required_gb").number(rounded(e.required_gb, 2));
    w.key("memory_available_gb").number(rounded(e.available_gb, 2));
    std::optional<double> share = e.utilization_pct();
    if (share) share = rounded(*share, 1);
    put(w, "utilization_pct", share);
    w.key("notes").begin_array();
    for (const Note& note : e.notes)
        w.string(note.text);
    w.end_array().key("note_codes").begin_array();
    for (const Note& note : e.notes)
        w.string(note.code);
    w.end_array();
    w.key("usable_context").integer(e.usable_context);
    w.key("effective_context_length").integer(e.context);
    put(w, "moe_offloaded_gb", two_digits(e.moe_offloaded_gb));
    w.key("total_memory_gb").number(rounded(e.required_gb + e.moe_offloaded_gb.value_or(0), 2));
    w.key("disk_size_gb")
        .number(rounded(m.params_b() * quantization(e.quantization).memory_bytes, 2));
    write_basis(w, e);
}

/// How many cards can share the heads evenly.
void write_tensor_splits(json::Writer& w, const ModelFacts& m) {
    constexpr int kMost = 8;
    w.key("supports_tp").begin_array();
    for (int n = 1; n <= kMost; ++n) {
        const bool divides =
            m.n_heads > 0 && m.n_kv_heads > 0 && m.n_heads % n == 0 && m.n_kv_heads % n == 0;
        if (divides) w.integer(n);
    }
    w.end_array();
}

std::string title(std::string_view capability) {
    if (capability == "tool_use") return "Tool Use";
    if (capability == "tts") return "TTS";
    std::string text(capability);
    text[0] = static_cast<char>(text[0] - 'a' + 'A');
    return text;
}

void write_row(json::Writer& w, const Row& row) {
    const ModelFacts& m = *row.model;
    w.begin_object();
    write_identity(w, m, row.estimate.category);
    write_estimate(w, m, row.estimate);
    w.key("gguf_sources").begin_array();
    for (const std::string& repo : m.gguf_repos)
        w.string("https://huggingface.co/" + repo);
    w.end_array().key("gguf_repos").begin_array();
    for (const std::string& repo : m.gguf_repos) {
        w.begin_object().key("repo").string(repo);
        w.key("provider").string(repo.substr(0, repo.find('/'))).end_object();
    }
    w.end_array();
    const std::vector<std::string> abilities = capabilities_of(m);
    std::vector<std::string> titles;
    for (const std::string& ability : abilities)
        titles.push_back(title(ability));
    write_strings(w, "capabilities", titles);
    write_strings(w, "capability_ids", abilities);
    put(w, "license", m.license.empty() ? std::nullopt : std::optional(m.license));
    write_tensor_splits(w, m);
    w.key("installed").boolean(false).key("ollama_name").null();
    w.key("verify_command").null().key("measured_tps").null();
    w.end_object();
}

} // namespace

std::string models_body(const ListingContext& context, const Query& query, Listing listing,
                        std::string_view name) {
    const std::vector<Row> rows = list_models(context, query, listing, name);
    const auto total = static_cast<std::int64_t>(rows.size());
    const std::int64_t limit = query.limit.value_or(listing == Listing::top   ? kTopLimit
                                                    : listing == Listing::one ? kOneLimit
                                                                              : total);
    const std::int64_t shown = std::min(limit, total);
    std::string body;
    json::Writer w(body);
    w.begin_object();
    write_node(w, context.node);
    write_system(w, simulated(context.system, query));
    w.key("total_models").integer(total).key("returned_models").integer(shown);
    write_filters(w, query, listing, name);
    w.key("models").begin_array();
    for (std::int64_t i = 0; i < shown; ++i)
        write_row(w, rows[static_cast<std::size_t>(i)]);
    w.end_array().end_object();
    return body;
}

std::string system_body(const ListingContext& context, const Query& query) {
    std::string body;
    json::Writer w(body);
    w.begin_object();
    write_node(w, context.node);
    write_system(w, simulated(context.system, query));
    w.end_object();
    return body;
}

} // namespace bloom::fit
