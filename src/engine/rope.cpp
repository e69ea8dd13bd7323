#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include <bloom/engine/rope.hpp>

namespace bloom::engine {
namespace {

double llama3(double inv_freq, const RopeScaling& s) noexcept {
    const double wavelength = 2.0 * std::numbers::pi / inv_freq;
    const auto trained = static_cast<double>(s.original_ctx_len);
    if (wavelength < trained / s.high_freq_factor) return inv_freq;
    if (wavelength > trained / s.low_freq_factor) return inv_freq / s.factor;
    const double t =
        (trained / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return inv_freq * ((1.0 - t) / s.factor + t);
}

/// Pairs below `low` turn often enough in the trained context to stay; those above `high` are
/// stretched by the factor; between them the two are blended.
struct YarnRamp {
    double low;
    double high;

    double at(double j) const noexcept { return std::clamp((j - low) / (high - low), 0.0, 1.0); }
};

std::int64_t rotated(const ModelConfig& config) noexcept {
    return config.rotary_dim > 0 ? config.rotary_dim : config.head_dim;
}

YarnRamp yarn_ramp(const ModelConfig& config) {
    const RopeScaling& s = config.rope_scaling;
    const auto d = static_cast<double>(rotated(config));
    const auto pair_that_turns = [&](double turns) {
        const double longest = static_cast<double>(s.original_ctx_len);
        return d * std::log(longest / (2.0 * std::numbers::pi * turns)) /
               (2.0 * std::log(config.rope_theta));
    };
    YarnRamp ramp{std::max(std::floor(pair_that_turns(s.beta_fast)), 0.0),
                  std::min(std::ceil(pair_that_turns(s.beta_slow)), d - 1.0)};
    if (ramp.low == ramp.high) ramp.high += 0.001;
    return ramp;
}

} // namespace

Result<compute::RopeSpec> make_rope(const ModelConfig& config, std::span<const float> factors) {
    const std::int64_t dim = rotated(config);
    const RopeScaling& scaling = config.rope_scaling;
    compute::RopeSpec spec;
    for (std::int64_t j = 0; j < dim / 2; ++j) {
        const double exponent = -2.0 * static_cast<double>(j) / static_cast<double>(dim);
        spec.inv_freq.push_back(std::pow(config.rope_theta, exponent));
    }
    switch (scaling.kind) {
    case RopeScalingKind::none:
        break;
    case RopeScalingKind::linear:
        for (double& f : spec.inv_freq)
            f /= scaling.factor;
        break;
    case RopeScalingKind::llama3:
        for (double& f : spec.inv_freq)
            f = llama3(f, scaling);
        break;
    case RopeScalingKind::factors:
        if (factors.size() != spec.inv_freq.size()) {
            return Error{Code::corrupt, fmt::format("{} rope factors for {} pairs", factors.size(),
                                                    spec.inv_freq.size())};
        }
        for (std::size_t j = 0; j < factors.size(); ++j) {
            if (!(factors[j] > 0.0F)) {
                return Error{Code::corrupt, fmt::format("rope factor {} is {}", j, factors[j])};
            }
            spec.inv_freq[j] /= static_cast<double>(factors[j]);
        }
        break;
    case RopeScalingKind::yarn: {
        const YarnRamp ramp = yarn_ramp(config);
        for (std::size_t j = 0; j < spec.inv_freq.size(); ++j) {
            const double r = ramp.at(static_cast<double>(j));
            double& f = spec.inv_freq[j];
            f = f * (1.0 - r) + f / scaling.factor * r;
        }
        spec.magnitude = scaling.attention_factor;
        break;
    }
    }
    return spec;
}

Result<compute::RopeSpec> make_global_rope(const ModelConfig& config,
                                           std::span<const float> factors) {
    constexpr float kNoRotation = 1e20F;
    const std::int64_t pairs = config.global_head_dim / 2;
    if (!factors.empty() && factors.size() != static_cast<std::size_t>(pairs)) {
        return Error{Code::corrupt,
                     fmt::format("{} rope factors for {} pairs", factors.size(), pairs)};
    }
    const auto turning =
        static_cast<std::int64_t>(config.global_rotary_factor * static_cast<double>(pairs));
    compute::RopeSpec spec;
    for (std::int64_t j = 0; j < pairs; ++j) {
        // Exponents count over the whole head, however few of its pairs turn.
        const double exponent =
            -2.0 * static_cast<double>(j) / static_cast<double>(config.global_head_dim);
        const double inv_freq = std::pow(config.global_rope_theta, exponent);
        if (factors.empty()) {
            spec.inv_freq.push_back(j < turning ? inv_freq : 0.0);
            continue;
        }
        const float factor = factors[static_cast<std::size_t>(j)];
        if (!(factor > 0.0F))
            return Error{Code::corrupt, fmt::format("rope factor {} is {}", j, factor)};
        spec.inv_freq.push_back(factor >= kNoRotation ? 0.0
                                                      : inv_freq / static_cast<double>(factor));
    }
    return spec;
}

} // namespace bloom::engine
