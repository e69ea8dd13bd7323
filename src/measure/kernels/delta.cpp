#include <numeric>

#include <bloom/compute/backend_cpu.hpp>

#include "measure/kernels/subject.hpp"

namespace bloom::measure {
namespace {

constexpr std::int64_t kInputRows = 64;
constexpr std::int32_t kTaps = 4;
/// Multiplications and additions of an element of the state and row: decay, prediction, write,
/// read-out.
constexpr double kStateFlops = 7;
/// Roughly what a multiply-add in f32 costs in 8-bit products.
constexpr double kOpsPerFlop = 4;

/// Equal layers of convolution, gated delta rule and gated norm over the rows of one sequence.
class Delta final : public Subject {
public:
    Delta(const SubjectOptions& options, const KernelShape& shape)
        : backend_(compute::make_cpu_backend({.table = options.table, .team = options.team})),
          shape_(shape) {
        spec_.n_k_heads = shape.n_k_heads;
        spec_.n_v_heads = shape.n_v_heads;
        spec_.k_dim = shape.k_dim;
        spec_.v_dim = shape.v_dim;
        spec_.conv_taps = kTaps;
        spec_.n_layers = 1;
    }

    Result<> load(std::int64_t working_set_bytes) {
        const std::int64_t layer_bytes = compute::state_bytes(spec_);
        n_layers_ = layers_for(working_set_bytes, layer_bytes);
        BLOOM_OK(check_memory(layer_bytes * n_layers_, shape_));
        spec_.n_layers = static_cast<std::int32_t>(n_layers_);
        BLOOM_OK(backend_->allocate_states(spec_, 1));
        Rng rng(1);
        BLOOM_TRY(qkv_, inputs(spec_.channels(), rng));
        BLOOM_TRY(alpha_, inputs(spec_.n_v_heads, rng));
        BLOOM_TRY(beta_, inputs(spec_.n_v_heads, rng));
        BLOOM_TRY(z_, inputs(width(), rng));
        BLOOM_TRY(conv_,
                  vector(random_floats(static_cast<std::size_t>(spec_.channels() * kTaps), rng)));
        const auto heads = static_cast<std::size_t>(spec_.n_v_heads);
        BLOOM_TRY(decay_, vector(std::vector<float>(heads, -0.1F)));
        BLOOM_TRY(dt_bias_, vector(std::vector<float>(heads, 0.0F)));
        BLOOM_TRY(norm_, vector(std::vector<float>(static_cast<std::size_t>(spec_.v_dim), 1.0F)));
        return {};
    }

    Result<> use(int n) override {
        rows_ = StepRows(n);
        std::ranges::fill(rows_.seqs, 0);
        std::iota(rows_.positions.begin(), rows_.positions.end(), 0);
        recurrent_.slot = 0;
        recurrent_.n_certain = n;
        const double elements = static_cast<double>(width()) * spec_.k_dim;
        Work layer; // the state comes and goes
        layer.bytes = 2 * elements * sizeof(float);
        layer.flops =
            n * (kStateFlops * elements + 2.0 * kTaps * static_cast<double>(spec_.channels()));
        per_run_ = layers_per_run({layer.bytes, kOpsPerFlop * layer.flops}, n_layers_);
        const auto layers = static_cast<double>(per_run_);
        work_ = {layer.bytes * layers, 0, layer.flops * layers};
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

    Result<> run() override {
        compute::StepInputs in = rows_.inputs();
        in.recurrent = {&recurrent_, 1};
        return backend_->run(current_, in);
    }

private:
    std::int64_t width() const { return std::int64_t{spec_.n_v_heads} * spec_.v_dim; }

    Result<compute::WeightId> inputs(std::int64_t cols, Rng& rng) {
        return upload_inputs(*backend_, kInputRows,
                             random_floats(static_cast<std::size_t>(kInputRows * cols), rng));
    }

    Result<compute::WeightId> vector(const std::vector<float>& values) {
        return backend_->upload_vector(values);
    }

    compute::Plan plan(int n, std::int64_t first) const {
        compute::Plan plan({compute::Phase::prefill, n, 1});
        const compute::TensorId qkv = plan.tensor(spec_.channels());
        const compute::TensorId alpha = plan.tensor(spec_.n_v_heads);
        const compute::TensorId beta = plan.tensor(spec_.n_v_heads);
        const compute::TensorId z = plan.tensor(width());
        const compute::TensorId out = plan.tensor(width());
        plan.add(compute::EmbedOp{qkv_, qkv});
        plan.add(compute::EmbedOp{alpha_, alpha});
        plan.add(compute::EmbedOp{beta_, beta});
        plan.add(compute::EmbedOp{z_, z});
        for (std::int64_t l = first; l < first + per_run_; ++l) {
            plan.add(compute::DeltaRuleOp{qkv, alpha, beta, conv_, decay_, dt_bias_,
                                          static_cast<std::int32_t>(l), false, out});
            plan.add(compute::GatedNormOp{out, norm_, z, 1e-6F, spec_.v_dim, out});
        }
        return plan;
    }

    std::unique_ptr<compute::Backend> backend_;
    KernelShape shape_;
    compute::RecurrentSpec spec_;
    compute::WeightId qkv_{}, alpha_{}, beta_{}, z_{}, conv_{}, decay_{}, dt_bias_{}, norm_{};
    std::int64_t n_layers_ = 0;
    std::int64_t per_run_ = 0;
    std::vector<compute::CompiledId> plans_;
    compute::CompiledId current_{};
    StepRows rows_{0};
    compute::RecurrentInput recurrent_;
    Work work_;
    Rng rng_{2};
};

} // namespace

Result<std::unique_ptr<Subject>> make_delta(const SubjectOptions& options,
                                            const KernelShape& shape) {
    auto delta = std::make_unique<Delta>(options, shape);
    BLOOM_OK(delta->load(options.working_set_bytes));
    return std::unique_ptr<Subject>(std::move(delta));
}

} // namespace bloom::measure
