#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <bloom/fit/facts.hpp>

#include "fit/words.hpp"

namespace bloom::fit {
namespace {

/// Bytes per parameter of the default quantization in the published needs (fit API section 5.3).
double need_bytes(std::string_view quantization) noexcept {
    struct Row {
        std::string_view part;
        double bytes;
    };

    constexpr Row kRows[] = {{"F32", 4.0},  {"F16", 2.0},   {"8", 1.0},    {"Q6", 0.75},
                             {"Q5", 0.625}, {"Q3", 0.4375}, {"Q2", 0.3125}};
    for (const Row& row : kRows) {
        if (quantization.find(row.part) != std::string_view::npos) return row.bytes;
    }
    return 0.5;
}

/// One decimal, correctly rounded from the binary value.
double one_decimal(double value) {
    const std::string text = fmt::format("{:.1f}", value);
    double rounded = 0;
    std::from_chars(text.data(), text.data() + text.size(), rounded);
    return rounded;
}

} // namespace

std::string_view label(Category category) noexcept {
    switch (category) {
    case Category::general:
        return "General";
    case Category::coding:
        return "Coding";
    case Category::reasoning:
        return "Reasoning";
    case Category::chat:
        return "Chat";
    case Category::multimodal:
        return "Multimodal";
    case Category::embedding:
        return "Embedding";
    }
    return "General";
}

std::string_view SystemFacts::backend() const noexcept {
    if (has_gpu()) return gpus.front().backend;
    return arm ? "CPU (ARM)" : "CPU (x86)";
}

double SystemFacts::vram_total_gb() const noexcept {
    double total = 0;
    for (const GpuFacts& gpu : gpus)
        total += gpu.vram_gb.value_or(0) * gpu.count;
    return total;
}

std::int32_t SystemFacts::n_gpus() const noexcept {
    std::int32_t n = 0;
    for (const GpuFacts& gpu : gpus)
        n += gpu.count;
    return n;
}

PublishedNeeds published_needs(const ModelFacts& model) {
    const double weights =
        static_cast<double>(model.params) * need_bytes(model.quantization) / kGiB;
    return {one_decimal(std::max(1.2 * weights, 1.0)), one_decimal(std::max(2.0 * weights, 2.0)),
            one_decimal(std::max(1.1 * weights, 0.5))};
}

std::string parameter_count(std::int64_t params) {
    const auto n = static_cast<double>(params);
    if (params >= 1'000'000'000) {
        std::string text = fmt::format("{:.1f}", n / 1e9);
        if (text.ends_with(".0")) text.resize(text.size() - 2);
        return text + "B";
    }
    if (params >= 1'000'000) return fmt::format("{:.0f}M", n / 1e6);
    return fmt::format("{:.0f}K", n / 1e3);
}

Category category_of(const ModelFacts& model) {
    if (model.category) return *model.category;
    const std::string name = lower(model.name);
    const std::string text = lower(model.use_case_text);
    if (has(text, "embedding") || has(name, "embed") || has(name, "bge"))
        return Category::embedding;
    if (has(name, "code") || has(text, "code")) return Category::coding;
    if (has(text, "vision") || has(text, "multimodal")) return Category::multimodal;
    if (has(text, "reason") || has(text, "chain-of-thought") || has(name, "deepseek-r1"))
        return Category::reasoning;
    if (has(text, "chat") || has(text, "instruction")) return Category::chat;
    return Category::general;
}

std::vector<std::string> capabilities_of(const ModelFacts& model) {
    const std::string n = lower(model.name);
    const std::string u = lower(model.use_case_text);
    std::vector<std::string> found;
    if (has(n, "vision") || has(n, "-vl-") || n.ends_with("-vl") || has(n, "llava") ||
        has(n, "onevision") || has(n, "pixtral") || has(u, "vision") || has(u, "multimodal")) {
        found.emplace_back("vision");
    }
    const bool instruct = has(n, "instruct");
    if (has(u, "tool") || has(u, "function call") || has(n, "qwen3") || has(n, "qwen2.5") ||
        has(n, "command-r") || has(n, "hermes") || (has(n, "llama-3") && instruct) ||
        (has(n, "mistral") && instruct) ||
        ((has(n, "gemma-3") || has(n, "gemma-4")) && n.ends_with("-it"))) {
        found.emplace_back("tool_use");
    }
    if (has(n, "whisper") || has(lower(model.architecture), "whisper") || has(u, "speech") ||
        has(u, "audio") || has(u, "transcription")) {
        found.emplace_back("audio");
    }
    if (has(u, "text-to-speech")) found.emplace_back("tts");
    return found;
}

} // namespace bloom::fit
