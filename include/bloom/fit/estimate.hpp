#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/fit/facts.hpp>

namespace bloom::fit {

enum class FitLevel : std::uint8_t { too_tight, marginal, good, perfect };
enum class RunMode : std::uint8_t { gpu, moe_offload, cpu_offload, cpu_only };
enum class Runtime : std::uint8_t { llamacpp, mlx, vllm, unsupported };

std::string_view code(FitLevel level) noexcept;
std::string_view label(FitLevel level) noexcept;
std::string_view code(RunMode mode) noexcept;
std::string_view label(RunMode mode) noexcept;
std::string_view code(Runtime runtime) noexcept;
std::string_view label(Runtime runtime) noexcept;

struct Scores {
    double quality = 0;
    double speed = 0;
    double fit = 0;
    double context = 0;
};

/// Parts of the total that each score has; they sum up to 1.
using Weights = Scores;

/// The weights that the page of the API states for every model, and those by what it is for.
Weights published_weights() noexcept;
Weights use_case_weights(Category category) noexcept;

/// A remark on a row: a code for programs and the words for people.
struct Note {
    std::string_view code;
    std::string text;
};

/// What one model does on one machine; unrounded.
struct Estimate {
    Category category = Category::general;
    FitLevel level = FitLevel::too_tight;
    RunMode mode = RunMode::gpu;
    Runtime runtime = Runtime::llamacpp;
    std::string quantization;
    double required_gb = 0;
    double available_gb = 0;
    std::optional<double> moe_offloaded_gb;
    double tokens_per_s = 0;
    Scores scores;
    Weights weights;
    double score = 0;                ///< 0 to 100, one decimal
    std::int64_t context = 0;        ///< tokens that the estimate is for
    std::int64_t usable_context = 0; ///< tokens that fit
    std::string_view method;         ///< how the speed was found
    std::optional<double> gpu_bandwidth_gbps;
    double host_bandwidth_gbps = 0;
    std::vector<Note> notes;

    /// required / available x 100; absent where nothing is available.
    std::optional<double> utilization_pct() const noexcept;
};

struct CompatOptions {
    std::int64_t max_context = 0; ///< 0: 8192
    std::optional<Runtime> force_runtime;
    bool weights_by_use_case = false;
    /// Today's month, for what is recent.
    std::int32_t year = 1970;
    std::int32_t month = 1;
    /// GB/s of the host's memory; 50 where nothing was measured.
    double host_bandwidth_gbps = 50;
};

/// The published estimator, to the last digit (fit API section 3): a pure function.
Estimate compat_estimate(const ModelFacts& model, const SystemFacts& system,
                         const CompatOptions& options);

/// Whether the published estimator looks at such a model on such a machine at all (section 3.11).
bool compat_considers(const ModelFacts& model, const SystemFacts& system);

/// Bytes of keys and values of `context` tokens in GiB as that estimator counts them, every layer
/// a full one.
double compat_kv_gb(const ModelFacts& model, std::int64_t context) noexcept;
/// Weights, keys and values, and what else it adds.
double compat_memory_gb(const ModelFacts& model, std::string_view quantization,
                        std::int64_t context) noexcept;

/// GB/s that it takes for a GPU of this name (section 3.6).
std::optional<double> gpu_bandwidth_by_name(std::string_view name);

/// Scores that both estimators share (section 3.9).
double quality_score(const ModelFacts& model, Category category, std::string_view quantization,
                     std::int32_t year, std::int32_t month);
double speed_score(Category category, double tokens_per_s) noexcept;
double fit_score(double required_gb, double available_gb) noexcept;
double context_score(Category category, std::int64_t context_length) noexcept;
/// Weighted, one decimal, half away from zero.
double total_score(const Scores& scores, const Weights& weights) noexcept;

/// Version of a family that architecture and name tell; absent: unknown.
std::optional<double> generation_of(std::string_view architecture, std::string_view name);

} // namespace bloom::fit
