#include "fit/compat_speed.hpp"

#include <algorithm>
#include <cmath>

#include <bloom/fit/quantization.hpp>

#include "fit/words.hpp"

namespace bloom::fit {
namespace {

constexpr double kEfficiency = 0.55;
constexpr double kSlowest = 0.1;
constexpr std::int32_t kManyCores = 8;
constexpr double kManyCoresFactor = 1.1;

double mode_factor(RunMode mode) noexcept {
    switch (mode) {
    case RunMode::gpu:
        return 1.0;
    case RunMode::moe_offload:
        return 0.8;
    case RunMode::cpu_offload:
        return 0.5;
    case RunMode::cpu_only:
        return 0.3;
    }
    return 1.0;
}

/// Tokens per second and billion parameters of a back end whose bandwidth is unknown.
double backend_constant(std::string_view backend, Runtime runtime) noexcept {
    struct Row {
        std::string_view name;
        double constant;
    };

    constexpr Row kRows[] = {{"CUDA", 220},    {"ROCm", 180},         {"Vulkan", 150},
                             {"SYCL", 100},    {"NPU (Ascend)", 390}, {"CPU (ARM)", 90},
                             {"CPU (x86)", 70}};
    if (backend == "Metal") return runtime == Runtime::mlx ? 250 : 160;
    for (const Row& row : kRows) {
        if (row.name == backend) return row.constant;
    }
    return 70;
}

/// What a pool that experts nearly fill costs.
double pressure(const ModelFacts& model, double used_share) noexcept {
    constexpr double kFrom = 0.6;
    if (used_share < kFrom || used_share > 1.0) return 1;
    const double used_experts = model.n_experts_used > 0 ? model.n_experts_used : 1;
    const double idle = model.n_experts > 0 ? 1 - used_experts / model.n_experts : 0.5;
    return std::max(0.3, 1 - (used_share - kFrom) * idle);
}

double experts_factor(std::int32_t n_experts) noexcept {
    if (n_experts <= 0) return 0.60;
    if (n_experts <= 8) return 0.90;
    if (n_experts <= 16) return 0.85;
    if (n_experts <= 32) return 0.80;
    return n_experts <= 64 ? 0.70 : 0.40;
}

/// Bytes of one token where the widths are known: experts at the quantization, the rest at 3.2.
std::optional<double> bytes_by_widths(const ModelFacts& m, double memory_bytes) noexcept {
    if (m.hidden <= 0 || m.n_layers <= 0 || m.n_experts_used <= 0 || m.ffn <= 0 || m.vocab <= 0)
        return std::nullopt;
    constexpr double kFixedBytes = 3.2;
    const double layers = m.n_layers;
    const double hidden = m.hidden;
    const double heads = m.n_heads > 0 ? m.n_heads : 1;
    const double kv_heads = m.n_kv_heads > 0 ? m.n_kv_heads : heads;
    const double dim = m.head_dim > 0 ? m.head_dim : std::floor(hidden / heads);
    const double experts = m.n_experts > 0 ? m.n_experts : 8;
    const double active = layers * m.n_experts_used * 3 * hidden * m.ffn / 1e9;
    const double fixed =
        (layers * (2 * heads * dim * hidden + 2 * kv_heads * dim * hidden) +
         layers * 3 * hidden * m.shared_ffn + layers * experts * hidden + 2.0 * m.vocab * hidden) /
        1e9;
    return active * memory_bytes + fixed * kFixedBytes;
}

double with_bandwidth(const ModelFacts& model, const SystemFacts& system, RunMode mode,
                      const Quantization& quant, double gpu_gbps, double host_gbps) {
    const double params = std::max(
        0.1, model.is_moe() && model.active_params > 0 ? model.active_b() : model.params_b());
    const double factor = mode_factor(mode);
    if (!model.is_moe() || mode == RunMode::cpu_offload)
        return gpu_gbps / (params * quant.speed_bytes) * kEfficiency * factor;
    if (mode == RunMode::moe_offload) {
        const double weights = params * quant.speed_bytes;
        return factor / (weights / host_gbps + weights / (gpu_gbps * kEfficiency));
    }
    const double card = system.gpus.front().vram_gb.value_or(0);
    const double share = card > 0 ? model.params_b() * quant.memory_bytes / card : 0;
    const double crowded = pressure(model, share);
    if (const auto bytes = bytes_by_widths(model, quant.memory_bytes))
        return gpu_gbps / *bytes * factor * crowded;
    return gpu_gbps / (params * quant.memory_bytes) * kEfficiency *
           experts_factor(model.n_experts) * factor * crowded;
}

double with_constant(const ModelFacts& model, const SystemFacts& system, RunMode mode,
                     Runtime runtime, const Quantization& quant, double host_gbps) {
    const double params = std::max(
        0.1, model.is_moe() && model.active_params > 0 ? model.active_b() : model.params_b());
    const double cores = system.n_cpus >= kManyCores ? kManyCoresFactor : 1.0;
    if (mode == RunMode::cpu_only) {
        const double constant = system.arm ? 90 : 70;
        return constant / params * quant.speed_factor * cores * mode_factor(mode);
    }
    const double constant = backend_constant(system.backend(), runtime);
    if (mode == RunMode::moe_offload) {
        const double weights = params * quant.speed_bytes;
        return 1 / (weights / host_gbps + weights / (constant * quant.speed_bytes)) * cores;
    }
    return constant / params * quant.speed_factor * cores * mode_factor(mode);
}

} // namespace

double compat_speed(const ModelFacts& model, const SystemFacts& system, RunMode mode,
                    Runtime runtime, std::string_view quant, double host_gbps) {
    const Quantization q = quantization(quant);
    std::optional<double> gpu_gbps;
    if (system.has_gpu()) gpu_gbps = gpu_bandwidth_by_name(system.gpus.front().name);
    const double speed = gpu_gbps && mode != RunMode::cpu_only
                             ? with_bandwidth(model, system, mode, q, *gpu_gbps, host_gbps)
                             : with_constant(model, system, mode, runtime, q, host_gbps);
    return std::max(speed, kSlowest);
}

} // namespace bloom::fit
