#include "measure/kernels/subject.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include "kernels/half.hpp"
#include "kernels/layout.hpp"
#include <bloom/base/check.hpp>
#include <bloom/hw/memory_info.hpp>

namespace bloom::measure {
namespace {

constexpr double kRunSeconds = 0.02;
// One core of a small machine; only the length of a repetition depends on them.
constexpr double kGuessBytesPerS = 30e9;
constexpr double kGuessOpsPerS = 1e12;

/// Bytes made by the generator; larger buffers repeat them, which no kernel notices.
constexpr std::size_t kPatternBytes = std::size_t{1} << 20;

std::vector<std::uint8_t> repeated(std::span<const std::uint8_t> pattern, std::size_t bytes) {
    std::vector<std::uint8_t> out(bytes);
    for (std::size_t at = 0; at < bytes; at += pattern.size())
        std::memcpy(out.data() + at, pattern.data(), std::min(pattern.size(), bytes - at));
    return out;
}

std::vector<std::uint8_t> random_bytes(std::size_t n, Rng& rng) {
    std::vector<std::uint8_t> out(n);
    for (std::uint8_t& b : out)
        b = static_cast<std::uint8_t>(rng.next() >> 56);
    return out;
}

/// The upper half of an f32 is its bf16; the values here are small and positive or negative.
std::vector<std::uint8_t> random_bf16(std::size_t n, float low, float high, Rng& rng) {
    std::vector<std::uint8_t> out(2 * n);
    for (std::size_t i = 0; i < n; ++i) {
        const float value = low + (high - low) * static_cast<float>(rng.uniform());
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        out[2 * i] = static_cast<std::uint8_t>(bits >> 16);
        out[2 * i + 1] = static_cast<std::uint8_t>(bits >> 24);
    }
    return out;
}

} // namespace

std::int64_t layers_for(std::int64_t working_set_bytes, std::int64_t layer_bytes) {
    BLOOM_CHECK(layer_bytes > 0);
    return std::max<std::int64_t>(1, (working_set_bytes + layer_bytes - 1) / layer_bytes);
}

std::int64_t layers_per_run(const Work& layer, std::int64_t n_layers) {
    const double seconds = std::max(layer.bytes / kGuessBytesPerS, layer.ops / kGuessOpsPerS);
    if (seconds * static_cast<double>(n_layers) <= kRunSeconds) return n_layers;
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(kRunSeconds / seconds));
}

Result<> check_memory(std::int64_t bytes, const KernelShape& shape) {
    const auto free = static_cast<std::int64_t>(hw::read_memory_info().usable_bytes());
    if (free == 0 || bytes <= free / 10 * 9) return {};
    return Error{Code::out_of_memory,
                 fmt::format("{} {} needs {:.1f} GB, {:.1f} GB are free", to_string(shape.op),
                             shape_text(shape), static_cast<double>(bytes) * 1e-9,
                             static_cast<double>(free) * 1e-9)};
}

std::int64_t matrix_bytes(kernels::WeightFormat format, std::int64_t rows, std::int64_t k) {
    return rows * (k / kernels::group_size(format)) *
           static_cast<std::int64_t>(kernels::row_unit_bytes(format));
}

SourceData::SourceData(kernels::WeightFormat format, std::int64_t rows, std::int64_t k, Rng& rng) {
    const auto elements = static_cast<std::size_t>(rows * k);
    if (format == kernels::WeightFormat::q8_0) {
        std::vector<std::uint8_t> blocks =
            random_bytes(kPatternBytes / kernels::kQ80BlockBytes * kernels::kQ80BlockBytes, rng);
        for (std::size_t at = 0; at < blocks.size(); at += kernels::kQ80BlockBytes) {
            const std::uint16_t scale =
                kernels::f32_to_f16(0.002F * (0.5F + static_cast<float>(rng.uniform())));
            std::memcpy(blocks.data() + at, &scale, sizeof scale);
        }
        codes_ = repeated(blocks, elements / 32 * kernels::kQ80BlockBytes);
    } else {
        BLOOM_CHECK(format == kernels::WeightFormat::affine8_bf16);
        codes_ = repeated(random_bytes(kPatternBytes, rng), elements);
        scales_ = repeated(random_bf16(kPatternBytes / 64, 0.001F, 0.003F, rng), elements / 32);
        biases_ = repeated(random_bf16(kPatternBytes / 64, -0.3F, -0.2F, rng), elements / 32);
    }
    matrix_ = {format, rows, k, codes_.data(), scales_.data(), biases_.data()};
}

std::vector<float> random_floats(std::size_t n, Rng& rng) {
    std::vector<float> out(n);
    for (float& v : out)
        v = static_cast<float>(2 * rng.uniform() - 1);
    return out;
}

Result<compute::WeightId> upload_inputs(compute::Backend& backend, std::int64_t rows,
                                        std::span<const float> values) {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(values.data());
    return backend.upload_matrix({kernels::WeightFormat::f32, rows,
                                  static_cast<std::int64_t>(values.size()) / rows, bytes, nullptr,
                                  nullptr});
}

StepRows::StepRows(std::int32_t n)
    : tokens(static_cast<std::size_t>(n)), positions(static_cast<std::size_t>(n)),
      seqs(static_cast<std::size_t>(n)) {
    std::iota(seqs.begin(), seqs.end(), 0);
}

compute::StepInputs StepRows::inputs() const {
    const auto n_seqs = static_cast<std::int32_t>(seqs.empty() ? 0 : seqs.back() + 1);
    return {tokens, positions, seqs, {}, n_seqs, tables.empty() ? 0 : 1, tables};
}

} // namespace bloom::measure
