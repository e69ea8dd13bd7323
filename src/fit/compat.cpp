#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <bloom/fit/estimate.hpp>
#include <bloom/fit/quantization.hpp>

#include "fit/compat_speed.hpp"
#include "fit/words.hpp"

// Rules and figures: fit API sections 3.1 to 3.8 and 3.10.
namespace bloom::fit {
namespace {

constexpr std::int64_t kDefaultContext = 8192;
constexpr std::int64_t kSmallestHalvedContext = 1024;
constexpr double kOverheadGb = 0.5;
constexpr double kComfort = 1.2; ///< of what is needed: a good fit
constexpr std::int32_t kFewCores = 4;

bool is_prequantized(const ModelFacts& model) noexcept {
    return model.format == "awq" || model.format == "gptq" || model.format == "autoround";
}

/// A quantization and the memory it was found to need.
struct Choice {
    std::string_view quant;
    double memory_gb = 0;
};

class Compat {
public:
    Compat(const ModelFacts& model, const SystemFacts& system, const CompatOptions& options)
        : model_(model), system_(system), options_(options), needs_(published_needs(model)) {}

    Estimate run() {
        const std::int64_t cap = options_.max_context > 0 ? options_.max_context : kDefaultContext;
        out_.context = std::min(model_.context_length, cap);
        out_.category = category_of(model_);
        out_.runtime = runtime();
        out_.host_bandwidth_gbps = options_.host_bandwidth_gbps;
        if (system_.has_gpu())
            out_.gpu_bandwidth_gbps = gpu_bandwidth_by_name(system_.gpus.front().name);
        if (out_.context < model_.context_length) {
            note("context_capped",
                 fmt::format("Context capped at {} tokens for estimation (model supports up to {}; "
                             "use --max-context to override)",
                             out_.context, model_.context_length));
        }
        if (out_.runtime == Runtime::unsupported) return unsupported();
        place();
        out_.quantization = std::string(chosen_quant());
        if (out_.mode == RunMode::moe_offload) {
            out_.moe_offloaded_gb = offloaded_gb(model_.quantization);
        }
        out_.tokens_per_s = compat_speed(model_, system_, out_.mode, out_.runtime,
                                         out_.quantization, options_.host_bandwidth_gbps);
        out_.level = level();
        out_.method = out_.mode == RunMode::cpu_only ? "cpu_constant"
                      : out_.gpu_bandwidth_gbps      ? "gpu_bandwidth_roofline"
                                                     : "backend_constant";
        out_.usable_context = usable_context();
        general_notes();
        score();
        return std::move(out_);
    }

private:
    void note(std::string_view note_code, std::string text) {
        out_.notes.push_back({note_code, std::move(text)});
    }

    Runtime runtime() const {
        const auto abilities = capabilities_of(model_);
        if (std::ranges::find(abilities, "tts") != abilities.end()) return Runtime::unsupported;
        if (options_.force_runtime) return *options_.force_runtime;
        if (is_prequantized(model_)) return Runtime::vllm;
        if (system_.backend() == "Metal" && system_.unified()) return Runtime::mlx;
        return Runtime::llamacpp;
    }

    Estimate unsupported() {
        note("runtime_unsupported", "Requires a specialized TTS runtime; llama.cpp/MLX/vLLM fit is "
                                    "not supported yet");
        out_.mode = RunMode::cpu_only;
        out_.quantization = model_.quantization;
        out_.method = "unsupported";
        return std::move(out_);
    }

    double memory(std::string_view quant, std::int64_t context) const {
        return compat_memory_gb(model_, quant, context);
    }

    std::optional<Choice> best(double budget, std::span<const std::string_view> hierarchy) const {
        for (const std::int64_t context : {out_.context, out_.context / 2}) {
            if (context < out_.context && context < kSmallestHalvedContext) break;
            for (const std::string_view quant : hierarchy) {
                const double needed = memory(quant, context);
                if (needed <= budget) return Choice{quant, needed};
            }
        }
        return std::nullopt;
    }

    std::optional<Choice> best_of_runtime(double budget) const {
        if (out_.runtime == Runtime::mlx) {
            if (const auto found = best(budget, mlx_hierarchy())) return found;
        } else if (model_.format == "onnx") {
            return best(budget, onnx_hierarchy());
        }
        return best(budget, gguf_hierarchy());
    }

    std::optional<Choice> fits(double budget) const {
        if (out_.runtime == Runtime::vllm) {
            const double needed = memory(model_.quantization, out_.context);
            if (needed > budget) return std::nullopt;
            return Choice{model_.quantization, needed};
        }
        return best_of_runtime(budget);
    }

    /// What a mixture keeps on the GPU, and what goes to the host, with offloaded experts.
    double active_gb(std::string_view quant) const {
        const double bytes =
            static_cast<double>(model_.active_params) * quantization(quant).memory_bytes;
        return std::max(bytes / kGiB * 1.1, 0.5);
    }

    double offloaded_gb(std::string_view quant) const {
        const auto idle = std::max<std::int64_t>(model_.params - model_.active_params, 0);
        return static_cast<double>(idle) * quantization(quant).memory_bytes / kGiB;
    }

    void take(RunMode mode, double required, double available) {
        out_.mode = mode;
        out_.required_gb = required;
        out_.available_gb = available;
    }

    void place() {
        const double pool = system_.vram_total_gb();
        if (!system_.has_gpu() || pool <= 0) {
            if (system_.has_gpu()) note("vram_unknown", "GPU detected but VRAM unknown");
            return place_on_cpu();
        }
        if (system_.unified()) return place_unified();
        if (model_.is_moe()) return place_experts(pool);
        place_dense(pool);
    }

    void place_on_cpu() {
        const double ram = system_.available_ram_gb;
        note("cpu_loaded", "CPU-only: model loaded into system RAM");
        if (model_.is_moe()) {
            note("moe_cpu", "MoE architecture, but expert offloading requires a GPU");
            return take(RunMode::cpu_only, needs_.min_ram_gb, ram);
        }
        const auto found = fits(ram);
        take(RunMode::cpu_only,
             found ? found->memory_gb : memory(model_.quantization, out_.context), ram);
    }

    void place_unified() {
        const double pool = system_.gpus.front().vram_gb.value_or(0);
        note("unified", "Unified memory: GPU and CPU share the same pool");
        if (model_.is_moe()) {
            note("moe_unified",
                 fmt::format("MoE: {}/{} experts active (all share unified memory pool)",
                             model_.n_experts_used, model_.n_experts));
            return take(RunMode::gpu, needs_.min_vram_gb, pool);
        }
        const auto found = fits(pool);
        take(RunMode::gpu, found ? found->memory_gb : memory(model_.quantization, out_.context),
             pool);
    }

    void place_experts(double pool) {
        const double ram = system_.available_ram_gb;
        if (needs_.min_vram_gb <= pool) {
            note("gpu_loaded", "GPU: model loaded into VRAM");
            note("moe_all_vram",
                 fmt::format("MoE: all {} experts loaded in VRAM (optimal)", model_.n_experts));
            return take(RunMode::gpu, needs_.min_vram_gb, pool);
        }
        if (const auto found = fits(pool)) {
            note("moe_quantized_vram", "GPU: all MoE experts loaded into VRAM (quantized fit)");
            note("moe_quantized_vram",
                 fmt::format("MoE: all {} experts in VRAM at {} ({:.1f} GB)", model_.n_experts,
                             found->quant, found->memory_gb));
            return take(RunMode::gpu, found->memory_gb, pool);
        }
        if (model_.active_params > 0 && offload_experts(pool, ram)) return;
        if (needs_.min_ram_gb <= ram) {
            note("moe_spill", "MoE: insufficient VRAM for expert offloading");
            note("moe_spill", "Spilling entire model to system RAM");
            note("moe_spill", "Performance will be significantly reduced");
            return take(RunMode::cpu_offload, needs_.min_ram_gb, ram);
        }
        note("moe_insufficient", "Insufficient VRAM and system RAM");
        note("moe_insufficient",
             fmt::format("Need {:.1f} GB VRAM (full) or {:.1f} GB (MoE offload) + RAM",
                         needs_.min_vram_gb, active_gb(model_.quantization)));
        take(RunMode::gpu, needs_.min_vram_gb, pool);
    }

    bool offload_experts(double pool, double ram) {
        const auto hierarchy = out_.runtime == Runtime::mlx ? mlx_hierarchy() : gguf_hierarchy();
        for (const std::string_view quant : hierarchy) {
            const double active = active_gb(quant);
            const double idle = offloaded_gb(quant);
            if (active > pool || idle > ram) continue;
            note("moe_offload",
                 fmt::format("MoE: {}/{} experts active in VRAM ({:.1f} GB) at {}",
                             model_.n_experts_used, model_.n_experts, active, quant));
            note("moe_offload",
                 fmt::format("Inactive experts offloaded to system RAM ({:.1f} GB)", idle));
            take(RunMode::moe_offload, active, pool);
            return true;
        }
        return false;
    }

    void place_dense(double pool) {
        const double ram = system_.available_ram_gb;
        if (const auto found = fits(pool)) {
            note("gpu_loaded", "GPU: model loaded into VRAM");
            return take(RunMode::gpu, found->memory_gb, pool);
        }
        if (const auto found = fits(ram)) {
            note("cpu_offload", "GPU: insufficient VRAM, spilling to system RAM");
            note("cpu_offload", "Performance will be significantly reduced");
            return take(RunMode::cpu_offload, found->memory_gb, ram);
        }
        note("insufficient", "Insufficient VRAM and system RAM");
        note("insufficient", fmt::format("Need {:.1f} GB VRAM or {:.1f} GB system RAM",
                                         needs_.min_vram_gb, needs_.min_ram_gb));
        take(RunMode::gpu, memory(model_.quantization, out_.context), pool);
    }

    /// Of the whole model in the pool, even where experts went elsewhere.
    std::string_view chosen_quant() const {
        if (is_prequantized(model_)) return model_.quantization;
        const auto found = best_of_runtime(out_.available_gb);
        return found ? found->quant : std::string_view(model_.quantization);
    }

    FitLevel level() const {
        if (out_.required_gb > out_.available_gb) return FitLevel::too_tight;
        if (out_.mode == RunMode::gpu && needs_.recommended_ram_gb <= out_.available_gb)
            return FitLevel::perfect;
        return out_.available_gb >= kComfort * out_.required_gb ? FitLevel::good
                                                                : FitLevel::marginal;
    }

    std::int64_t usable_context() const {
        constexpr std::int64_t kProbe = 4096;
        const double left = std::max(0.0, out_.available_gb - memory(out_.quantization, 0));
        const double per_token = compat_kv_gb(model_, kProbe) / static_cast<double>(kProbe);
        if (per_token <= 0) return model_.context_length;
        const double tokens = std::floor(left / per_token);
        return tokens >= static_cast<double>(model_.context_length)
                   ? model_.context_length
                   : static_cast<std::int64_t>(tokens);
    }

    void general_notes() {
        if (out_.mode == RunMode::cpu_only) note("no_gpu", "No GPU -- inference will be slow");
        const bool computes_on_cpu =
            out_.mode == RunMode::cpu_only || out_.mode == RunMode::cpu_offload;
        if (computes_on_cpu && system_.n_cpus < kFewCores)
            note("few_cores", "Low CPU core count may bottleneck inference");
        if (out_.quantization != model_.quantization) {
            note("quant_changed",
                 fmt::format("Best quantization for hardware: {} (model default: {})",
                             out_.quantization, model_.quantization));
        }
        if (out_.runtime == Runtime::mlx) note_mlx_gain();
        if (out_.tokens_per_s > 0)
            note("speed", fmt::format("Baseline estimated speed: {:.1f} tok/s", out_.tokens_per_s));
    }

    void note_mlx_gain() {
        const auto found = best(out_.available_gb, gguf_hierarchy());
        const std::string_view quant = found ? found->quant : std::string_view(model_.quantization);
        const double other = compat_speed(model_, system_, out_.mode, Runtime::llamacpp, quant,
                                          options_.host_bandwidth_gbps);
        const double gain = (out_.tokens_per_s / other - 1) * 100;
        if (gain <= 0) return;
        note("mlx_gain",
             fmt::format("MLX runtime: ~{:.0f}% faster than llama.cpp ({:.1f} vs {:.1f} tok/s)",
                         gain, out_.tokens_per_s, other));
    }

    void score() {
        out_.scores = {
            quality_score(model_, out_.category, out_.quantization, options_.year, options_.month),
            speed_score(out_.category, out_.tokens_per_s),
            fit_score(out_.required_gb, out_.available_gb),
            context_score(out_.category, model_.context_length)};
        out_.weights =
            options_.weights_by_use_case ? use_case_weights(out_.category) : published_weights();
        out_.score = total_score(out_.scores, out_.weights);
    }

    const ModelFacts& model_;
    const SystemFacts& system_;
    const CompatOptions& options_;
    PublishedNeeds needs_;
    Estimate out_;
};

} // namespace

double compat_kv_gb(const ModelFacts& model, std::int64_t context) noexcept {
    const auto tokens = static_cast<double>(context);
    if (model.n_layers <= 0 || model.head_dim <= 0) return 0.000008 * model.params_b() * tokens;
    const std::int32_t heads = model.n_kv_heads > 0 ? model.n_kv_heads
                               : model.n_heads > 0  ? model.n_heads
                                                    : 8;
    return 2.0 * heads * model.head_dim * tokens * 2.0 * model.n_layers / kGiB;
}

double compat_memory_gb(const ModelFacts& model, std::string_view quant,
                        std::int64_t context) noexcept {
    return model.params_b() * quantization(quant).memory_bytes + compat_kv_gb(model, context) +
           kOverheadGb;
}

Estimate compat_estimate(const ModelFacts& model, const SystemFacts& system,
                         const CompatOptions& options) {
    return Compat(model, system, options).run();
}

bool compat_considers(const ModelFacts& model, const SystemFacts& system) {
    const std::string name = lower(model.name);
    const std::string_view backend = system.backend();
    const auto abilities = capabilities_of(model);
    if (std::ranges::find(abilities, "tts") != abilities.end()) return false;
    if ((has(name, "-mlx-") || name.ends_with("-mlx")) &&
        !(backend == "Metal" && system.unified())) {
        return false;
    }
    if (!is_prequantized(model)) return true;
    if (backend != "CUDA" && backend != "ROCm") return false;
    if (backend == "ROCm" || model.format == "autoround") return true;
    // Cards below compute capability 7.5.
    const std::string gpu = lower(system.gpus.front().name);
    for (const std::string_view old : {"gtx 9", "gtx 10", "titan x", "titan v", "tesla k",
                                       "tesla m", "p100", "p40", "p4", "v100"}) {
        if (has(gpu, old)) return false;
    }
    return true;
}

} // namespace bloom::fit
