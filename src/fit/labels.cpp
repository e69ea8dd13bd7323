#include <bloom/fit/estimate.hpp>

namespace bloom::fit {

std::string_view code(FitLevel level) noexcept {
    switch (level) {
    case FitLevel::perfect:
        return "perfect";
    case FitLevel::good:
        return "good";
    case FitLevel::marginal:
        return "marginal";
    case FitLevel::too_tight:
        return "too_tight";
    }
    return "too_tight";
}

std::string_view label(FitLevel level) noexcept {
    switch (level) {
    case FitLevel::perfect:
        return "Perfect";
    case FitLevel::good:
        return "Good";
    case FitLevel::marginal:
        return "Marginal";
    case FitLevel::too_tight:
        return "Too Tight";
    }
    return "Too Tight";
}

std::string_view code(RunMode mode) noexcept {
    switch (mode) {
    case RunMode::gpu:
        return "gpu";
    case RunMode::moe_offload:
        return "moe_offload";
    case RunMode::cpu_offload:
        return "cpu_offload";
    case RunMode::cpu_only:
        return "cpu_only";
    }
    return "cpu_only";
}

std::string_view label(RunMode mode) noexcept {
    switch (mode) {
    case RunMode::gpu:
        return "GPU";
    case RunMode::moe_offload:
        return "MoE Offload";
    case RunMode::cpu_offload:
        return "CPU Offload";
    case RunMode::cpu_only:
        return "CPU Only";
    }
    return "CPU Only";
}

std::string_view code(Runtime runtime) noexcept {
    switch (runtime) {
    case Runtime::llamacpp:
        return "llamacpp";
    case Runtime::mlx:
        return "mlx";
    case Runtime::vllm:
        return "vllm";
    case Runtime::unsupported:
        return "unsupported";
    }
    return "unsupported";
}

std::string_view label(Runtime runtime) noexcept {
    switch (runtime) {
    case Runtime::llamacpp:
        return "llama.cpp";
    case Runtime::mlx:
        return "MLX";
    case Runtime::vllm:
        return "vLLM";
    case Runtime::unsupported:
        return "unsupported";
    }
    return "unsupported";
}

std::optional<double> Estimate::utilization_pct() const noexcept {
    if (available_gb <= 0) return std::nullopt;
    return required_gb / available_gb * 100;
}

} // namespace bloom::fit
