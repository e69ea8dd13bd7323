#include <algorithm>
#include <cmath>
#include <numeric>

#include <bloom/compute/backend_cpu.hpp>

#include "measure/kernels/subject.hpp"

namespace bloom::measure {
namespace {

constexpr std::int64_t kInputRows = 64;
constexpr int kF16Bytes = 2;

/// Equal layers of decode attention over one paged cache; every sequence has pages of its own, in
/// no order.
class Attention final : public Subject {
public:
    Attention(const SubjectOptions& options, const KernelShape& shape)
        : shape_(shape), n_seqs_(options.n_max),
          backend_(compute::make_cpu_backend({.table = options.table, .team = options.team})) {}

    Result<> load(std::int64_t working_set_bytes) {
        const std::int64_t pages_per_seq =
            (shape_.context + compute::kPageTokens - 1) / compute::kPageTokens;
        const std::int64_t n_pages = pages_per_seq * n_seqs_;
        compute::KvGroupSpec spec;
        spec.n_layers = 1;
        spec.n_kv_heads = shape_.n_kv_heads;
        spec.k_dim = spec.v_dim = shape_.head_dim;
        const std::int64_t layer_bytes = n_pages * compute::page_bytes(spec);
        n_layers_ = layers_for(working_set_bytes, layer_bytes);
        BLOOM_OK(check_memory(layer_bytes * n_layers_, shape_));
        spec.n_layers = static_cast<std::int32_t>(n_layers_);
        BLOOM_TRY(pool_, backend_->allocate_kv(spec, n_pages));
        Rng rng(1);
        BLOOM_TRY(queries_, table_of(std::int64_t{shape_.n_heads} * shape_.head_dim, rng));
        BLOOM_TRY(keys_, table_of(std::int64_t{shape_.n_kv_heads} * shape_.head_dim, rng));
        std::vector<std::int32_t> order(static_cast<std::size_t>(n_pages));
        std::iota(order.begin(), order.end(), 0);
        for (std::size_t i = order.size(); i > 1; --i)
            std::swap(order[i - 1], order[rng.below(i)]);
        const auto per_seq = static_cast<std::size_t>(pages_per_seq);
        for (std::size_t s = 0; s < static_cast<std::size_t>(n_seqs_); ++s) {
            const auto from = order.begin() + static_cast<std::ptrdiff_t>(s * per_seq);
            pages_.emplace_back(from, from + static_cast<std::ptrdiff_t>(per_seq));
        }
        return fill();
    }

    Result<> use(int n) override {
        rows_ = StepRows(n);
        std::ranges::fill(rows_.positions, shape_.context - 1);
        const Work layer{4.0 * n * shape_.context * shape_.n_kv_heads * shape_.head_dim, 0};
        static_assert(2 * kF16Bytes == 4); // keys and values
        per_run_ = layers_per_run(layer, n_layers_);
        work_ = {layer.bytes * static_cast<double>(per_run_), 0};
        plans_.clear();
        for (std::int64_t first = 0; first + per_run_ <= n_layers_; first += per_run_) {
            BLOOM_TRY(const compute::CompiledId id, backend_->compile(plan(n, first)));
            plans_.push_back(id);
        }
        return {};
    }

    Work prepare(int repetition) override {
        const auto i = static_cast<std::size_t>(repetition);
        current_ = plans_[i % plans_.size()];
        rows_.tables.clear();
        for (std::size_t s = 0; s < rows_.tokens.size(); ++s) {
            rows_.tokens[s] = static_cast<std::int32_t>(rng_.below(kInputRows));
            rows_.tables.emplace_back(pages_[(i * rows_.tokens.size() + s) % pages_.size()]);
        }
        return work_;
    }

    Result<> run() override { return backend_->run(current_, rows_.inputs()); }

private:
    Result<compute::WeightId> table_of(std::int64_t cols, Rng& rng) {
        return upload_inputs(*backend_, kInputRows,
                             random_floats(static_cast<std::size_t>(kInputRows * cols), rng));
    }

    /// Writes one page and copies it everywhere: memory nobody wrote to is not read from memory.
    Result<> fill() {
        compute::Plan plan({compute::Phase::prefill, compute::kPageTokens, 1});
        const compute::TensorId kv = plan.tensor(std::int64_t{shape_.n_kv_heads} * shape_.head_dim);
        plan.add(compute::EmbedOp{keys_, kv});
        for (std::int32_t l = 0; l < n_layers_; ++l)
            plan.add(compute::KvStoreOp{kv, kv, pool_, l});
        BLOOM_TRY(const compute::CompiledId id, backend_->compile(plan));
        StepRows rows(compute::kPageTokens);
        std::iota(rows.tokens.begin(), rows.tokens.end(), 0);
        rows.positions = rows.tokens;
        std::ranges::fill(rows.seqs, 0);
        const std::vector<std::int32_t> page{0};
        rows.tables = {page};
        BLOOM_OK(backend_->run(id, rows.inputs()));
        for (const auto& table : pages_) {
            for (const std::int32_t p : table) {
                if (p != 0) backend_->copy_page(pool_, 0, p);
            }
        }
        return {};
    }

    compute::Plan plan(int n, std::int64_t first) const {
        compute::Plan plan({compute::Phase::decode, n, 1});
        const std::int64_t width = std::int64_t{shape_.n_heads} * shape_.head_dim;
        const compute::TensorId q = plan.tensor(width);
        const compute::TensorId out = plan.tensor(width);
        const float scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
        plan.add(compute::EmbedOp{queries_, q});
        for (std::int64_t l = first; l < first + per_run_; ++l) {
            plan.add(compute::AttentionOp{q, pool_, static_cast<std::int32_t>(l), shape_.n_heads,
                                          scale, out});
        }
        return plan;
    }

    KernelShape shape_;
    std::int32_t n_seqs_;
    std::unique_ptr<compute::Backend> backend_;
    compute::KvPoolId pool_{};
    compute::WeightId queries_{}, keys_{};
    std::vector<std::vector<std::int32_t>> pages_; ///< of each sequence
    std::int64_t n_layers_ = 0;
    std::int64_t per_run_ = 0;
    std::vector<compute::CompiledId> plans_;
    compute::CompiledId current_{};
    StepRows rows_{0};
    Work work_;
    Rng rng_{2};
};

} // namespace

Result<std::unique_ptr<Subject>> make_attention(const SubjectOptions& options,
                                                const KernelShape& shape) {
    auto attention = std::make_unique<Attention>(options, shape);
    BLOOM_OK(attention->load(options.working_set_bytes));
    return std::unique_ptr<Subject>(std::move(attention));
}

} // namespace bloom::measure
