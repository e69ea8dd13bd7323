#include <algorithm>
#include <charconv>
#include <cmath>

#include <bloom/fit/estimate.hpp>
#include <bloom/fit/quantization.hpp>

#include "fit/words.hpp"

// Figures and rules: fit API section 3.9.
namespace bloom::fit {
namespace {

struct Family {
    std::string_view name;
    double coding;
    double reasoning;
    double chat;
};

constexpr Family kFamilies[] = {
    {"qwen3.5-coder", 90, 78, 72}, {"qwen3-coder", 90, 78, 72}, {"qwen2.5-coder", 90, 78, 72},
    {"qwen3.5", 82, 84, 82},       {"qwen3", 78, 80, 78},       {"deepseek-v4", 90, 92, 84},
    {"deepseek-v3", 86, 88, 82},   {"deepseek-r1", 84, 93, 76}, {"deepseek-r2", 84, 93, 76},
    {"llama-4", 74, 80, 84},       {"llama4", 74, 80, 84},      {"llama-3.3", 70, 76, 82},
    {"llama3.3", 70, 76, 82},      {"gemma-4", 72, 76, 84},     {"gemma4", 72, 76, 84},
    {"gemma-3", 68, 72, 80},       {"gemma3", 68, 72, 80},      {"phi-4", 74, 82, 72},
    {"phi4", 74, 82, 72},          {"codestral", 84, 68, 62},   {"devstral", 86, 70, 60},
    {"mixtral", 66, 72, 74},       {"mistral", 68, 70, 76},     {"glm-4", 80, 82, 78},
    {"glm4", 80, 82, 78},          {"kimi", 78, 84, 80},        {"granite", 70, 72, 70},
    {"starcoder", 78, 55, 50},     {"olmo", 62, 66, 70},
};

double base_quality(double params_b) noexcept {
    struct Step {
        double below;
        double points;
    };

    constexpr Step kSteps[] = {{1, 30}, {3, 45}, {7, 60}, {10, 75}, {20, 82}, {40, 89}};
    for (const Step& step : kSteps) {
        if (params_b < step.below) return step.points;
    }
    return 95;
}

double family_bonus(std::string_view name) noexcept {
    struct Row {
        std::string_view word;
        double points;
    };

    constexpr Row kRows[] = {{"qwen", 2},    {"deepseek", 3}, {"llama", 2}, {"mistral", 1},
                             {"mixtral", 1}, {"gemma", 1},    {"phi", 0},   {"starcoder", 1}};
    for (const Row& row : kRows) {
        if (has(name, row.word)) return row.points;
    }
    return 0;
}

double recency_bonus(std::string_view date, std::int32_t year, std::int32_t month) noexcept {
    int y = 0;
    int m = 0;
    if (date.size() < 7 || date[4] != '-') return 0;
    const auto read = [](std::string_view digits, int& out) {
        const auto [end, failure] =
            std::from_chars(digits.data(), digits.data() + digits.size(), out);
        return failure == std::errc{} && end == digits.data() + digits.size();
    };
    if (!read(date.substr(0, 4), y) || !read(date.substr(5, 2), m)) return 0;
    const int months = std::max((year - y) * 12 + (month - m), 0);
    if (months < 3) return 3;
    return months < 9 ? 1.5 : 0;
}

double task_bonus(const ModelFacts& model, Category category, std::string_view name) {
    const bool in_table = category == Category::coding || category == Category::reasoning ||
                          category == Category::chat;
    if (in_table) {
        const Family* longest = nullptr;
        for (const Family& family : kFamilies) {
            const bool longer = longest == nullptr || family.name.size() > longest->name.size();
            if (longer && has(name, family.name)) longest = &family;
        }
        if (longest != nullptr) {
            const double points = category == Category::coding      ? longest->coding
                                  : category == Category::reasoning ? longest->reasoning
                                                                    : longest->chat;
            return std::clamp((points - 72) * 0.4, -8.0, 9.0);
        }
    }
    switch (category) {
    case Category::coding:
        return has(name, "code") || has(name, "starcoder") || has(name, "wizard") ? 6 : 0;
    case Category::reasoning:
        return model.params_b() >= 13 ? 5 : 0;
    case Category::multimodal:
        return has(name, "vision") || has(lower(model.use_case_text), "vision") ? 6 : 0;
    default:
        return 0;
    }
}

/// Minor versions of Qwen, spelled with a dot or an underscore behind the family's name.
std::optional<double> qwen_minor(std::string_view name) noexcept {
    struct Row {
        std::string_view dot;
        std::string_view underscore;
        double version;
    };

    constexpr Row kRows[] = {{"qwen3.8", "qwen3_8", 3.8},
                             {"qwen3.6", "qwen3_6", 3.6},
                             {"qwen3.5", "qwen3_5", 3.5},
                             {"qwen2.5", "qwen2_5", 2.5}};
    for (const Row& row : kRows) {
        if (has(name, row.dot) || has(name, row.underscore)) return row.version;
    }
    return std::nullopt;
}

struct Version {
    std::string_view word;
    double version;
};

template <std::size_t N>
std::optional<double> first_start(std::string_view text, const Version (&rows)[N]) noexcept {
    for (const Version& row : rows) {
        if (text.starts_with(row.word)) return row.version;
    }
    return std::nullopt;
}

std::optional<double> generation_by_architecture(std::string_view arch, std::string_view name) {
    if (arch.starts_with("deepseek")) {
        if (has(arch, "v4")) return 4;
        if (has(arch, "v3")) return 3;
        return has(arch, "v2") ? 2 : 1;
    }
    if (arch.starts_with("qwen")) {
        if (const auto minor = qwen_minor(name)) return minor;
        constexpr Version kSuffixes[] = {
            {"qwen3_5", 3.5}, {"qwen3_next", 3.8}, {"qwen3", 3}, {"qwen2", 2}, {"qwen", 1}};
        return first_start(arch, kSuffixes);
    }
    constexpr Version kArchitectures[] = {
        {"llama4", 4},  {"gemma4", 4},   {"gemma3", 3},  {"gemma2", 2}, {"gemma", 1},
        {"phi4", 4},    {"phi3", 3},     {"phimoe", 3},  {"phi2", 2},   {"phi", 1},
        {"mistral", 1}, {"mixtral", 1},  {"cohere2", 2}, {"cohere", 1}, {"falcon3", 3},
        {"falcon", 1},  {"granite4", 4}, {"granite", 1}};
    return first_start(arch, kArchitectures);
}

std::optional<double> generation_by_name(std::string_view name) {
    if (const auto minor = qwen_minor(name)) return minor;

    constexpr Version kNames[] = {
        {"qwen3", 3},       {"qwen2", 2},       {"llama-4", 4}, {"llama-3.3", 3.3},
        {"llama-3.2", 3.2}, {"llama-3.1", 3.1}, {"llama-3", 3}, {"llama-2", 2},
        {"gemma-4", 4},     {"gemma-3", 3},     {"gemma-2", 2}, {"deepseek-v4", 4},
        {"deepseek-v3", 3}, {"deepseek-v2", 2}, {"phi-4", 4},   {"phi-3", 3}};
    for (const Version& row : kNames) {
        std::string joined(row.word);
        std::erase(joined, '-');
        if (has(name, row.word) || has(name, joined)) return row.version;
    }
    return std::nullopt;
}

} // namespace

std::optional<double> generation_of(std::string_view architecture, std::string_view name) {
    const std::string n = lower(name);
    if (const auto known = generation_by_architecture(lower(architecture), n)) return known;
    return generation_by_name(n);
}

double quality_score(const ModelFacts& model, Category category, std::string_view quant,
                     std::int32_t year, std::int32_t month) {
    const std::string name = lower(model.name);
    double score = base_quality(model.active_params > 0 ? model.active_b() : model.params_b());
    score += family_bonus(name);
    if (const auto generation = generation_of(model.architecture, model.name))
        score += std::clamp((*generation - 1) * 3, 0.0, 9.0);
    score += recency_bonus(model.release_date, year, month);
    score += quantization(quant).quality;
    score += task_bonus(model, category, name);
    return std::clamp(score, 0.0, 100.0);
}

double speed_score(Category category, double tokens_per_s) noexcept {
    const double target = category == Category::embedding   ? 200
                          : category == Category::reasoning ? 25
                                                            : 40;
    return std::clamp(tokens_per_s / target * 100, 0.0, 100.0);
}

double fit_score(double required_gb, double available_gb) noexcept {
    if (available_gb <= 0 || required_gb > available_gb) return 0;
    const double z = std::max(0.0, (required_gb / available_gb - 0.70) / 0.20);
    return 100 * std::exp(-z * z / 2);
}

double context_score(Category category, std::int64_t context_length) noexcept {
    const std::int64_t target = category == Category::embedding ? 512
                                : category == Category::coding || category == Category::reasoning
                                    ? 8192
                                    : 4096;
    if (context_length >= target) return 100;
    return context_length >= target / 2 ? 70 : 30;
}

Weights published_weights() noexcept {
    return {0.30, 0.30, 0.25, 0.15};
}

Weights use_case_weights(Category category) noexcept {
    switch (category) {
    case Category::general:
        return {0.45, 0.30, 0.15, 0.10};
    case Category::coding:
        return {0.50, 0.20, 0.15, 0.15};
    case Category::reasoning:
        return {0.55, 0.15, 0.15, 0.15};
    case Category::chat:
        return {0.40, 0.35, 0.15, 0.10};
    case Category::multimodal:
        return {0.50, 0.20, 0.15, 0.15};
    case Category::embedding:
        return {0.30, 0.40, 0.20, 0.10};
    }
    return published_weights();
}

double total_score(const Scores& s, const Weights& w) noexcept {
    const double total =
        s.quality * w.quality + s.speed * w.speed + s.fit * w.fit + s.context * w.context;
    return std::round(total * 10) / 10;
}

} // namespace bloom::fit
