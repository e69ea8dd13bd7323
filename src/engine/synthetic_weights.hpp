#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <bloom/engine/model_file.hpp>
#include <bloom/engine/synthetic_model.hpp>

namespace bloom::engine {

/// Weights that are made when they are asked for: uniform with a deviation of 1/sqrt(k), so that
/// activations keep their size from layer to layer; the same for the same weight every time. Norms
/// are one, biases zero. Nothing is kept but what lies in the caller's scratch.
class SyntheticWeights {
public:
    explicit SyntheticWeights(SyntheticShape shape) : shape_(std::move(shape)) {}

    const SyntheticShape& shape() const noexcept { return shape_; }

    kernels::SourceMatrix matrix(const WeightView& view, std::vector<std::uint8_t>& scratch) const;
    /// Expert e is the rows of one matrix from row e on: all differ, and one more row for each is
    /// all that they cost.
    std::vector<kernels::SourceMatrix> experts(const WeightView& view,
                                               std::vector<std::uint8_t>& scratch) const;
    void vector(const WeightView& view, std::span<float> out) const;
    /// The 256 bytes and an end.
    ModelTokenizer tokenizer() const;

private:
    SyntheticShape shape_;
};

} // namespace bloom::engine
