#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include <bloom/fit/query.hpp>

#include "fit/words.hpp"

namespace bloom::fit {
namespace {

using Failure = std::unexpected<std::string>;

Failure expected_a(std::string_view name, std::string_view what) {
    return Failure(fmt::format("invalid {} value: expected {}", name, what));
}

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// Form-urlencoded text; a % that begins no code stands for itself.
std::string decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+') {
            out += ' ';
        } else if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                   hex_digit(text[i + 2]) >= 0) {
            out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::string normalised(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return lower(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::expected<std::int64_t, std::string> whole(std::string_view name, std::string_view text,
                                               std::string_view what) {
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    // More than any machine has is as good as all of it.
    if (failure == std::errc::result_out_of_range && end == text.data() + text.size() &&
        !text.starts_with('-')) {
        return INT64_MAX;
    }
    if (failure != std::errc{} || end != text.data() + text.size() || value < 0)
        return expected_a(name, what);
    return value;
}

std::expected<double, std::string> real(std::string_view name, std::string_view text,
                                        std::string_view what) {
    double value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size()) return expected_a(name, what);
    return value;
}

std::expected<bool, std::string> flag(std::string_view name, std::string_view text) {
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
    return expected_a(name, "true or false");
}

template <class T>
struct Name {
    std::string_view text;
    T value;
};

template <class T, std::size_t N>
const T* find(const Name<T> (&names)[N], std::string_view raw) {
    const std::string text = normalised(raw);
    for (const Name<T>& name : names) {
        if (name.text == text) return &name.value;
    }
    return nullptr;
}

constexpr Name<SortKey> kSorts[] = {
    {"score", SortKey::score},       {"tps", SortKey::speed},
    {"tokens", SortKey::speed},      {"throughput", SortKey::speed},
    {"params", SortKey::params},     {"parameters", SortKey::params},
    {"mem", SortKey::memory},        {"memory", SortKey::memory},
    {"mem_pct", SortKey::memory},    {"utilization", SortKey::memory},
    {"ctx", SortKey::context},       {"context", SortKey::context},
    {"date", SortKey::date},         {"release", SortKey::date},
    {"released", SortKey::date},     {"use", SortKey::use_case},
    {"use_case", SortKey::use_case}, {"usecase", SortKey::use_case}};

constexpr Name<FitLevel> kLevels[] = {
    {"perfect", FitLevel::perfect},    {"good", FitLevel::good},
    {"marginal", FitLevel::marginal},  {"too_tight", FitLevel::too_tight},
    {"tootight", FitLevel::too_tight}, {"tight", FitLevel::too_tight}};

constexpr Name<std::optional<Runtime>> kRuntimes[] = {{"any", std::nullopt},
                                                      {"mlx", Runtime::mlx},
                                                      {"llamacpp", Runtime::llamacpp},
                                                      {"llama.cpp", Runtime::llamacpp},
                                                      {"llama_cpp", Runtime::llamacpp},
                                                      {"vllm", Runtime::vllm}};

constexpr Name<Category> kUseCases[] = {
    {"general", Category::general},       {"coding", Category::coding},
    {"code", Category::coding},           {"reasoning", Category::reasoning},
    {"reason", Category::reasoning},      {"chat", Category::chat},
    {"multimodal", Category::multimodal}, {"vision", Category::multimodal},
    {"embedding", Category::embedding},   {"embed", Category::embedding}};

constexpr Name<bool> kWeights[] = {{"fixed", false}, {"published", false}, {"use_case", true}};

/// Puts one parameter where it belongs. `raw` is decoded.
class Reader {
public:
    explicit Reader(Query& query) : q_(query) {}

    std::expected<void, std::string> take(std::string_view name, std::string raw) {
        if (const auto text = text_field(name)) {
            if (text->has_value())
                return Failure(fmt::format("invalid {} value: expected it once", name));
            *text = std::move(raw);
            return {};
        }
        return take_typed(name, raw);
    }

    /// `limit` wins over `top`, which wins over its alias, whatever their order.
    void settle() {
        if (!q_.limit) q_.limit = top_;
    }

private:
    std::optional<std::string>* text_field(std::string_view name) {
        struct Row {
            std::string_view name;
            std::optional<std::string> Query::* field;
        };

        constexpr Row kRows[] = {{"min_fit", &Query::raw_min_fit},
                                 {"runtime", &Query::raw_runtime},
                                 {"use_case", &Query::raw_use_case},
                                 {"provider", &Query::provider},
                                 {"search", &Query::search},
                                 {"sort", &Query::raw_sort},
                                 {"force_runtime", &Query::raw_force_runtime},
                                 {"license", &Query::license},
                                 {"capability", &Query::capability},
                                 {"score_weights", &Query::raw_score_weights}};
        for (const Row& row : kRows) {
            if (row.name == name) return &(q_.*row.field);
        }
        return nullptr;
    }

    template <class T>
    static std::expected<void, std::string> put(std::optional<T>& field, std::string_view name,
                                                std::expected<T, std::string> value) {
        if (field) return Failure(fmt::format("invalid {} value: expected it once", name));
        if (!value) return Failure(std::move(value).error());
        field = *value;
        return {};
    }

    std::expected<void, std::string> take_typed(std::string_view name, std::string_view raw) {
        constexpr std::string_view kCount = "a non-negative integer";
        constexpr std::string_view kPositive = "a positive integer";
        if (name == "limit") return put(q_.limit, name, whole(name, raw, kCount));
        if (name == "top" || name == "n") return put(top_, name, whole(name, raw, kCount));
        if (name == "perfect") return put(q_.perfect, name, flag(name, raw));
        if (name == "include_too_tight") return put(q_.include_too_tight, name, flag(name, raw));
        if (name == "max_context") {
            auto value = whole(name, raw, kPositive);
            if (value && *value == 0) return expected_a(name, kPositive);
            return put(q_.max_context, name, std::move(value));
        }
        if (name == "ram_gb" || name == "ram")
            return put(q_.ram_gb, name, real("ram_gb", raw, "a positive number"));
        if (name == "vram_gb" || name == "memory")
            return put(q_.vram_gb, name, real("vram_gb", raw, "a non-negative number"));
        if (name == "cpu_cores") return put(q_.cpu_cores, name, whole(name, raw, kPositive));
        return {};
    }

    Query& q_;
    std::optional<std::int64_t> top_;
};

std::expected<void, std::string> check_simulation(const Query& q) {
    constexpr double kLargest = 1e9; // GB; keeps sums finite
    if (q.ram_gb && !(std::isfinite(*q.ram_gb) && *q.ram_gb > 0 && *q.ram_gb <= kLargest))
        return Failure("invalid ram_gb value: expected a positive number");
    if (q.vram_gb && !(std::isfinite(*q.vram_gb) && *q.vram_gb >= 0 && *q.vram_gb <= kLargest))
        return Failure("invalid vram_gb value: expected a non-negative number");
    if (q.cpu_cores && *q.cpu_cores == 0)
        return Failure("invalid cpu_cores value: expected a positive integer");
    return {};
}

template <class T, std::size_t N, class Field>
std::expected<void, std::string> read_enum(const std::optional<std::string>& raw,
                                           const Name<T> (&names)[N], Field& field,
                                           std::string_view name, std::string_view choices) {
    if (!raw) return {};
    const T* value = find(names, *raw);
    if (value == nullptr) return Failure(fmt::format("invalid {} value: use {}", name, choices));
    field = *value;
    return {};
}

std::expected<void, std::string> read_enums(Query& q) {
    auto read =
        read_enum(q.raw_sort, kSorts, q.sort, "sort", "score|tps|params|mem|ctx|date|use_case");
    if (read) {
        read = read_enum(q.raw_min_fit, kLevels, q.min_fit, "min_fit",
                         "perfect|good|marginal|too_tight");
    }
    if (read)
        read = read_enum(q.raw_runtime, kRuntimes, q.runtime, "runtime", "any|mlx|llamacpp|vllm");
    if (read) {
        read = read_enum(q.raw_use_case, kUseCases, q.use_case, "use_case",
                         "general|coding|reasoning|chat|multimodal|embedding");
    }
    if (read) {
        read = read_enum(q.raw_force_runtime, kRuntimes, q.force_runtime, "force_runtime",
                         "mlx|llamacpp|vllm");
        if (read && q.raw_force_runtime && !q.force_runtime)
            read = Failure("invalid force_runtime value: use mlx|llamacpp|vllm");
    }
    if (read) {
        read = read_enum(q.raw_score_weights, kWeights, q.weights_by_use_case, "score_weights",
                         "fixed|use_case");
    }
    return read;
}

} // namespace

std::expected<Query, std::string> parse_query(std::string_view text) {
    Query query;
    Reader reader(query);
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('&'), text.size());
        const std::string_view pair = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t equals = std::min(pair.find('='), pair.size());
        auto taken = reader.take(decoded(pair.substr(0, equals)),
                                 decoded(pair.substr(std::min(equals + 1, pair.size()))));
        if (!taken) return Failure(std::move(taken).error());
    }
    reader.settle();
    auto checked = check_simulation(query);
    if (checked) checked = read_enums(query);
    if (!checked) return Failure(std::move(checked).error());
    return query;
}

SystemFacts simulated(const SystemFacts& system, const Query& query) {
    constexpr double kAvailableShare = 0.9;
    SystemFacts out = system;
    if (query.ram_gb) {
        out.total_ram_gb = *query.ram_gb;
        out.available_ram_gb = kAvailableShare * *query.ram_gb;
        if (out.unified()) {
            for (GpuFacts& gpu : out.gpus) {
                if (gpu.unified) gpu.vram_gb = *query.ram_gb;
            }
        }
    }
    if (query.vram_gb) {
        if (out.gpus.empty()) {
            GpuFacts gpu;
            gpu.name = "User-specified GPU";
            gpu.backend = "Vulkan";
            out.gpus.push_back(std::move(gpu));
        }
        out.gpus.front().vram_gb = *query.vram_gb;
    }
    if (query.ram_gb || query.vram_gb) out.gpu_available_gb.reset();
    if (query.cpu_cores) {
        out.n_cpus = static_cast<std::int32_t>(std::min<std::int64_t>(*query.cpu_cores, INT32_MAX));
    }
    return out;
}

} // namespace bloom::fit
