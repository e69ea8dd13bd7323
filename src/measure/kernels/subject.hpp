#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <bloom/base/rng.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/measure/kernel_bench.hpp>

namespace bloom::measure {

/// One shape in memory, ready to be run with any number of tokens.
class Subject {
public:
    virtual ~Subject() = default;
    /// Makes plans for n tokens.  Errors: those of Backend::compile.
    virtual Result<> use(int n) = 0;
    /// Fresh tokens and layers for the next run, and what it has to do.
    virtual Work prepare(int repetition) = 0;
    virtual Result<> run() = 0;
};

struct SubjectOptions {
    compute::Team* team;
    const kernels::KernelTable* table;
    std::int64_t working_set_bytes;
    int n_max; ///< the largest n that will be used
};

Result<std::unique_ptr<Subject>> make_dense(const SubjectOptions& options,
                                            const KernelShape& shape);
Result<std::unique_ptr<Subject>> make_moe(const SubjectOptions& options, const KernelShape& shape);
Result<std::unique_ptr<Subject>> make_attention(const SubjectOptions& options,
                                                const KernelShape& shape);
Result<std::unique_ptr<Subject>> make_delta(const SubjectOptions& options,
                                            const KernelShape& shape);

/// Layers so that all of them together are as large as the working set; at least one.
std::int64_t layers_for(std::int64_t working_set_bytes, std::int64_t layer_bytes);

/// Layers of one repetition: so many that it takes about 20 ms on a slow machine, at most all.
std::int64_t layers_per_run(const Work& layer, std::int64_t n_layers);

/// Errors: out_of_memory when the machine has less than `bytes` to spare.
Result<> check_memory(std::int64_t bytes, const KernelShape& shape);

/// Bytes of a matrix as its file has it: what roofs count.
std::int64_t matrix_bytes(kernels::WeightFormat format, std::int64_t rows, std::int64_t k);

/// A matrix of random codes and sensible scales, as its file would have it.
class SourceData {
public:
    SourceData(kernels::WeightFormat format, std::int64_t rows, std::int64_t k, Rng& rng);

    const kernels::SourceMatrix& matrix() const noexcept { return matrix_; }

private:
    std::vector<std::uint8_t> codes_, scales_, biases_;
    kernels::SourceMatrix matrix_{};
};

/// Uniform values in [-1, 1).
std::vector<float> random_floats(std::size_t n, Rng& rng);

/// A table [rows, cols] that EmbedOp reads: how a plan without a model gets its inputs.
Result<compute::WeightId> upload_inputs(compute::Backend& backend, std::int64_t rows,
                                        std::span<const float> values);

/// The inputs of a step whose rows are sequences of one token each.
struct StepRows {
    explicit StepRows(std::int32_t n);

    compute::StepInputs inputs() const;

    std::vector<std::int32_t> tokens, positions, seqs;
    std::vector<compute::PageTable> tables; ///< one pool, or none
};

} // namespace bloom::measure
