#include <algorithm>

#include <bloom/compute/backend_cpu.hpp>

#include "measure/kernels/subject.hpp"

namespace bloom::measure {
namespace {

constexpr std::int64_t kInputRows = 64;

/// Equal layers of norm and product, each its own weights, as the layers of a model are.
class Dense final : public Subject {
public:
    Dense(const SubjectOptions& options, const KernelShape& shape)
        : shape_(shape),
          backend_(compute::make_cpu_backend({.table = options.table, .team = options.team})) {}

    Result<> load(std::int64_t working_set_bytes) {
        const std::int64_t bytes = matrix_bytes(shape_.format, shape_.m, shape_.k);
        n_layers_ = layers_for(working_set_bytes, bytes);
        BLOOM_OK(check_memory(bytes * (n_layers_ + 1), shape_));
        Rng rng(1);
        BLOOM_TRY(
            inputs_,
            upload_inputs(*backend_, kInputRows,
                          random_floats(static_cast<std::size_t>(kInputRows * shape_.k), rng)));
        BLOOM_TRY(norm_, backend_->upload_vector(
                             std::vector<float>(static_cast<std::size_t>(shape_.k), 1.0F)));
        const SourceData source(shape_.format, shape_.m, shape_.k, rng);
        for (std::int64_t l = 0; l < n_layers_; ++l) {
            BLOOM_TRY(const compute::WeightId w, backend_->upload_matrix(source.matrix()));
            layers_.push_back(w);
        }
        return {};
    }

    Result<> use(int n) override {
        rows_ = StepRows(n);
        const Work layer{static_cast<double>(matrix_bytes(shape_.format, shape_.m, shape_.k)),
                         2.0 * n * static_cast<double>(shape_.k * shape_.m)};
        per_run_ = layers_per_run(layer, n_layers_);
        work_ = {layer.bytes * static_cast<double>(per_run_),
                 layer.ops * static_cast<double>(per_run_)};
        plans_.clear();
        for (std::int64_t first = 0; first + per_run_ <= n_layers_; first += per_run_) {
            BLOOM_TRY(const compute::CompiledId id, backend_->compile(plan(n, first)));
            plans_.push_back(id);
        }
        return {};
    }

    Work prepare(int repetition) override {
        current_ = plans_[static_cast<std::size_t>(repetition) % plans_.size()];
        for (std::int32_t& t : rows_.tokens)
            t = static_cast<std::int32_t>(rng_.below(kInputRows));
        return work_;
    }

    Result<> run() override { return backend_->run(current_, rows_.inputs()); }

private:
    compute::Plan plan(int n, std::int64_t first) const {
        compute::Plan plan({compute::Phase::decode, n, 1});
        const compute::TensorId x = plan.tensor(shape_.k);
        const compute::TensorId h = plan.tensor(shape_.k);
        const compute::TensorId y = plan.tensor(shape_.m);
        plan.add(compute::EmbedOp{inputs_, x});
        for (std::int64_t l = first; l < first + per_run_; ++l) {
            plan.add(compute::RmsNormOp{x, norm_, 1e-5F, shape_.k, h});
            plan.add(compute::MatmulOp{h, layers_[static_cast<std::size_t>(l)],
                                       compute::WeightId::none, y});
        }
        return plan;
    }

    KernelShape shape_;
    std::unique_ptr<compute::Backend> backend_;
    compute::WeightId inputs_{}, norm_{};
    std::vector<compute::WeightId> layers_;
    std::int64_t n_layers_ = 0;
    std::int64_t per_run_ = 0;
    std::vector<compute::CompiledId> plans_;
    compute::CompiledId current_{};
    StepRows rows_{0};
    Work work_;
    Rng rng_{2};
};

} // namespace

Result<std::unique_ptr<Subject>> make_dense(const SubjectOptions& options,
                                            const KernelShape& shape) {
    auto dense = std::make_unique<Dense>(options, shape);
    BLOOM_OK(dense->load(options.working_set_bytes));
    return std::unique_ptr<Subject>(std::move(dense));
}

} // namespace bloom::measure
