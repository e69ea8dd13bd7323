#include <algorithm>
#include <numeric>

#include <bloom/compute/backend_cpu.hpp>

#include "measure/kernels/subject.hpp"

namespace bloom::measure {
namespace {

/// Different tokens, and so different choices of experts, that can come.
constexpr std::int64_t kInputRows = 1024;

/// Equal layers of norm, routing and experts. The router's logits are looked up instead of
/// multiplied, so that every repetition meets experts of its own and it is known which.
class Moe final : public Subject {
public:
    Moe(const SubjectOptions& options, const KernelShape& shape)
        : shape_(shape),
          backend_(compute::make_cpu_backend({.table = options.table, .team = options.team})) {}

    Result<> load(std::int64_t working_set_bytes) {
        expert_bytes_ = 2 * matrix_bytes(shape_.format, shape_.m, shape_.k) +
                        matrix_bytes(shape_.format, shape_.k, shape_.m);
        const std::int64_t layer_bytes = expert_bytes_ * shape_.n_experts;
        n_layers_ = layers_for(working_set_bytes, layer_bytes);
        BLOOM_OK(check_memory(layer_bytes * n_layers_ + expert_bytes_, shape_));
        Rng rng(1);
        const auto table_size = static_cast<std::size_t>(kInputRows * shape_.k);
        BLOOM_TRY(inputs_, upload_inputs(*backend_, kInputRows, random_floats(table_size, rng)));
        BLOOM_TRY(norm_, backend_->upload_vector(
                             std::vector<float>(static_cast<std::size_t>(shape_.k), 1.0F)));
        const SourceData wide(shape_.format, shape_.m, shape_.k, rng);
        const SourceData down(shape_.format, shape_.k, shape_.m, rng);
        for (std::int64_t l = 0; l < n_layers_; ++l)
            BLOOM_OK(load_layer(wide, down, rng));
        return {};
    }

    Result<> use(int n) override {
        rows_ = StepRows(n);
        const double expected = static_cast<double>(std::min(n * shape_.top_k, shape_.n_experts));
        per_run_ =
            layers_per_run({expected * static_cast<double>(expert_bytes_), ops(n)}, n_layers_);
        plans_.clear();
        for (std::int64_t first = 0; first + per_run_ <= n_layers_; first += per_run_) {
            BLOOM_TRY(const compute::CompiledId id, backend_->compile(plan(n, first)));
            plans_.push_back(id);
        }
        return {};
    }

    Work prepare(int repetition) override {
        const std::size_t at = static_cast<std::size_t>(repetition) % plans_.size();
        current_ = plans_[at];
        for (std::int32_t& t : rows_.tokens)
            t = static_cast<std::int32_t>(rng_.below(kInputRows));
        std::size_t n_experts = 0;
        for (std::int64_t l = 0; l < per_run_; ++l)
            n_experts += distinct_experts(
                layers_[at * static_cast<std::size_t>(per_run_) + static_cast<std::size_t>(l)]);
        return {static_cast<double>(n_experts) * static_cast<double>(expert_bytes_),
                ops(static_cast<int>(rows_.tokens.size())) * static_cast<double>(per_run_)};
    }

    Result<> run() override { return backend_->run(current_, rows_.inputs()); }

private:
    struct Layer {
        compute::WeightId logits, gate, up, down;
        std::vector<std::int32_t> chosen; ///< [kInputRows, top_k]
    };

    double ops(int n) const {
        return 2.0 * n * shape_.top_k * 3.0 * static_cast<double>(shape_.k * shape_.m);
    }

    Result<> load_layer(const SourceData& wide, const SourceData& down, Rng& rng) {
        Layer layer{};
        const auto e = static_cast<std::size_t>(shape_.n_experts);
        const std::vector<kernels::SourceMatrix> wides(e, wide.matrix());
        const std::vector<kernels::SourceMatrix> downs(e, down.matrix());
        BLOOM_TRY(layer.gate, backend_->upload_experts(wides));
        BLOOM_TRY(layer.up, backend_->upload_experts(wides));
        BLOOM_TRY(layer.down, backend_->upload_experts(downs));
        const std::vector<float> logits = random_floats(kInputRows * e, rng);
        BLOOM_TRY(layer.logits, upload_inputs(*backend_, kInputRows, logits));
        std::vector<std::int32_t> order(e);
        for (std::size_t row = 0; row < kInputRows; ++row) {
            std::iota(order.begin(), order.end(), 0);
            const float* const of = logits.data() + row * e;
            std::ranges::partial_sort(order, order.begin() + shape_.top_k,
                                      [of](std::int32_t a, std::int32_t b) {
                                          return of[a] != of[b] ? of[a] > of[b] : a < b;
                                      });
            layer.chosen.insert(layer.chosen.end(), order.begin(), order.begin() + shape_.top_k);
        }
        layers_.push_back(std::move(layer));
        return {};
    }

    std::size_t distinct_experts(const Layer& layer) {
        seen_.assign(static_cast<std::size_t>(shape_.n_experts), false);
        std::size_t n = 0;
        for (const std::int32_t token : rows_.tokens) {
            for (std::int32_t j = 0; j < shape_.top_k; ++j) {
                const auto e = static_cast<std::size_t>(
                    layer.chosen[static_cast<std::size_t>(token * shape_.top_k + j)]);
                if (!seen_[e]) ++n;
                seen_[e] = true;
            }
        }
        return n;
    }

    compute::Plan plan(int n, std::int64_t first) const {
        compute::Plan plan({compute::Phase::decode, n, 1});
        const compute::TensorId x = plan.tensor(shape_.k);
        const compute::TensorId h = plan.tensor(shape_.k);
        const compute::TensorId y = plan.tensor(shape_.k);
        const compute::TensorId logits = plan.tensor(shape_.n_experts);
        const compute::TensorId ids =
            plan.tensor(shape_.top_k, compute::RowKind::tokens, compute::DType::i32);
        const compute::TensorId weights = plan.tensor(shape_.top_k);
        plan.add(compute::EmbedOp{inputs_, x});
        for (std::int64_t l = first; l < first + per_run_; ++l) {
            const Layer& layer = layers_[static_cast<std::size_t>(l)];
            plan.add(compute::RmsNormOp{x, norm_, 1e-5F, shape_.k, h});
            plan.add(compute::EmbedOp{layer.logits, logits});
            plan.add(compute::RouteOp{logits, compute::WeightId::none, compute::RouteScore::softmax,
                                      true, 1.0F, shape_.top_k, ids, weights});
            plan.add(compute::MoeOp{h, ids, weights, layer.gate, layer.up, layer.down,
                                    compute::GateActivation::silu, shape_.top_k, y});
        }
        return plan;
    }

    KernelShape shape_;
    std::unique_ptr<compute::Backend> backend_;
    compute::WeightId inputs_{}, norm_{};
    std::vector<Layer> layers_;
    std::int64_t n_layers_ = 0;
    std::int64_t expert_bytes_ = 0;
    std::int64_t per_run_ = 0;
    std::vector<compute::CompiledId> plans_;
    compute::CompiledId current_{};
    StepRows rows_{0};
    std::vector<bool> seen_;
    Rng rng_{2};
};

} // namespace

Result<std::unique_ptr<Subject>> make_moe(const SubjectOptions& options, const KernelShape& shape) {
    auto moe = std::make_unique<Moe>(options, shape);
    BLOOM_OK(moe->load(options.working_set_bytes));
    return std::unique_ptr<Subject>(std::move(moe));
}

} // namespace bloom::measure
