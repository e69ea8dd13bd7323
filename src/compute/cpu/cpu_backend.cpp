#include "compute/cpu/cpu_backend.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include <bloom/base/check.hpp>

#include "compute/cpu/limits.hpp"

namespace bloom::compute {

std::int64_t page_bytes(const KvGroupSpec& spec) noexcept {
    const std::int64_t element = spec.type == kernels::KvType::f32 ? 4 : 2;
    return std::int64_t{spec.n_layers} * spec.n_kv_heads * (spec.k_dim + spec.v_dim) * kPageTokens *
           element;
}

std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options) {
    BLOOM_CHECK(options.table != nullptr);
    BLOOM_CHECK(options.team != nullptr);
    return std::make_unique<cpu::CpuBackend>(options);
}

} // namespace bloom::compute

namespace bloom::compute::cpu {

void RopeTable::grow_to(std::int32_t position) {
    while (static_cast<std::int64_t>(blocks.size()) * kBlock <= position) {
        blocks.push_back(std::make_unique<float[]>(block_values()));
        fill(blocks.size() - 1);
    }
}

void RopeTable::fill(std::size_t block) {
    const auto first = static_cast<std::int64_t>(block) * kBlock;
    const std::int64_t sin_at = std::int64_t{kBlock} * pairs;
    float* const out = blocks[block].get();
    for (std::int64_t p = 0; p < kBlock; ++p) {
        for (std::int64_t j = 0; j < pairs; ++j) {
            const double angle =
                static_cast<double>(first + p) * spec.inv_freq[static_cast<std::size_t>(j)];
            out[p * pairs + j] = static_cast<float>(std::cos(angle) * spec.magnitude);
            out[sin_at + p * pairs + j] = static_cast<float>(std::sin(angle) * spec.magnitude);
        }
    }
}

CpuBackend::CpuBackend(const CpuBackendOptions& options)
    : options_(options), table_(*options.table), team_(*options.team),
      workers_(static_cast<std::size_t>(options.team->size())) {}

Result<WeightId> CpuBackend::upload_matrix(const kernels::SourceMatrix& source) {
    return upload_experts({&source, 1});
}

Result<WeightId> CpuBackend::upload_experts(std::span<const kernels::SourceMatrix> experts) {
    BLOOM_CHECK(!experts.empty());
    const kernels::SourceMatrix& first = experts[0];
    BLOOM_CHECK(first.rows > 0);
    BLOOM_CHECK(first.k > 0);
    const int group = kernels::group_size(first.format);
    if (first.k % group != 0) {
        return Error{
            Code::unsupported,
            fmt::format("a matrix has {} columns, its format packs {} together", first.k, group)};
    }
    for (const kernels::SourceMatrix& e : experts) {
        if (e.rows != first.rows || e.k != first.k || e.format != first.format) {
            return Error{Code::unsupported, "the experts of one layer differ in shape or format"};
        }
    }
    const std::size_t bytes =
        round_up(table_.packed_bytes(first.format, first.rows, first.k), kAlignment);
    BLOOM_TRY(std::uint8_t* const data, arena_.take(bytes * experts.size()));
    const MutableByteSpan packed{data, bytes * experts.size()};
    PackedCache* const cache = options_.packed;
    if (cache == nullptr || !cache->load(experts, packed, team_)) pack(experts, bytes, data);
    if (cache != nullptr) cache->add(packed);
    weights_.push_back({.matrix = {first.format, first.rows, first.k, data},
                        .is_vector = false,
                        .n_experts = static_cast<std::int64_t>(experts.size()),
                        .expert_bytes = bytes});
    return static_cast<WeightId>(weights_.size() - 1);
}

void CpuBackend::pack(std::span<const kernels::SourceMatrix> experts, std::size_t bytes,
                      std::uint8_t* data) {
    const int n_workers = team_.size();
    team_.run([&](int w) {
        const Range r = split_range(experts[0].rows, table_.panel_rows, w, n_workers);
        if (r.begin >= r.end) return;
        for (std::size_t e = 0; e < experts.size(); ++e)
            table_.pack(experts[e], r.begin, r.end, data + e * bytes);
    });
}

Result<WeightId> CpuBackend::upload_vector(std::span<const float> values) {
    BLOOM_TRY(std::uint8_t* const data, arena_.take(values.size_bytes()));
    std::memcpy(data, values.data(), values.size_bytes());
    const auto n = static_cast<std::int64_t>(values.size());
    weights_.push_back({.matrix = {kernels::WeightFormat::f32, 1, n, data}, .is_vector = true});
    return static_cast<WeightId>(weights_.size() - 1);
}

Result<RopeId> CpuBackend::add_rope(RopeSpec spec) {
    RopeTable table;
    table.pairs = static_cast<std::int64_t>(spec.inv_freq.size());
    table.spec = std::move(spec);
    constexpr std::int64_t kBlocks = RopeTable::kAtOnce / RopeTable::kBlock;
    for (std::int64_t b = 0; b < kBlocks; ++b)
        table.blocks.push_back(std::make_unique<float[]>(table.block_values()));
    team_.run([&](int w) {
        const Range mine = split_range(kBlocks, 1, w, team_.size());
        for (std::int64_t b = mine.begin; b < mine.end; ++b)
            table.fill(static_cast<std::size_t>(b));
    });
    ropes_.push_back(std::move(table));
    return static_cast<RopeId>(ropes_.size() - 1);
}

Result<KvPoolId> CpuBackend::allocate_kv(const KvGroupSpec& spec, std::int64_t n_pages) {
    if (spec.k_dim != spec.v_dim) {
        return Error{Code::unsupported, fmt::format("keys of {} and values of {} in one cache",
                                                    spec.k_dim, spec.v_dim)};
    }
    KvPool pool;
    pool.spec = spec;
    pool.n_pages = n_pages;
    pool.element_bytes = spec.type == kernels::KvType::f32 ? 4 : 2;
    pool.page_bytes = compute::page_bytes(spec);
    pool.layer_bytes = pool.page_bytes / std::max(spec.n_layers, 1);
    BLOOM_TRY(pool.memory, Mapping::make(static_cast<std::size_t>(pool.page_bytes) *
                                         static_cast<std::size_t>(n_pages)));
    BLOOM_OK(reserve_attention(pool));
    pools_.push_back(std::move(pool));
    return static_cast<KvPoolId>(pools_.size() - 1);
}

void CpuBackend::copy_page(KvPoolId id, std::int32_t from, std::int32_t to) {
    const KvPool& pool = pools_[index_of(id)];
    BLOOM_CHECK(from >= 0 && from < pool.n_pages);
    BLOOM_CHECK(to >= 0 && to < pool.n_pages);
    std::memcpy(pool.page(to, 0), pool.page(from, 0), static_cast<std::size_t>(pool.page_bytes));
}

void CpuBackend::read_page(KvPoolId id, std::int32_t page, std::span<std::byte> out) {
    const KvPool& pool = pools_[index_of(id)];
    BLOOM_CHECK(page >= 0 && page < pool.n_pages);
    BLOOM_CHECK(out.size() == static_cast<std::size_t>(pool.page_bytes));
    std::memcpy(out.data(), pool.page(page, 0), out.size());
}

void CpuBackend::write_page(KvPoolId id, std::int32_t page, std::span<const std::byte> in) {
    const KvPool& pool = pools_[index_of(id)];
    BLOOM_CHECK(page >= 0 && page < pool.n_pages);
    BLOOM_CHECK(in.size() == static_cast<std::size_t>(pool.page_bytes));
    std::memcpy(pool.page(page, 0), in.data(), in.size());
}

BackendMemory CpuBackend::memory() const noexcept {
    BackendMemory m;
    m.weight_bytes = arena_.used_bytes();
    for (const KvPool& p : pools_)
        m.kv_bytes += p.page_bytes * p.n_pages;
    m.state_bytes = static_cast<std::int64_t>(states_.memory.size() + states_.pending.size());
    m.scratch_bytes = static_cast<std::int64_t>(shared_.size() + prepared_.size() + hidden_.size() +
                                                delta_.size() + carried_.size() +
                                                (worker_bytes_ + expert_bytes_) * workers_.size());
    for (const RopeTable& r : ropes_) {
        m.scratch_bytes +=
            static_cast<std::int64_t>(r.blocks.size()) * RopeTable::kBlock * r.pairs * 8;
    }
    return m;
}

Result<CompiledId> CpuBackend::compile(const Plan& plan) {
    Compiled out;
    out.key = plan.key();
    out.list = build_regions(plan, options_.fuse);
    std::size_t bytes = 0;
    for (const TensorDesc& d : out.list.tensors) {
        BLOOM_CHECK(size_of(d.dtype) == sizeof(float));
        Buffer b;
        b.offset = bytes;
        b.cols = d.cols;
        b.rows = d.rows;
        // Rows start on cache lines: workers that write neighbouring rows share none.
        b.stride = static_cast<std::int64_t>(round_up(static_cast<std::size_t>(d.cols), 16));
        const std::int64_t rows =
            d.rows == RowKind::tokens ? out.key.max_rows : out.key.max_logit_rows;
        bytes += static_cast<std::size_t>(rows * b.stride) * sizeof(float);
        out.buffers.push_back(b);
    }
    for (const Op& op : plan.ops()) {
        if (const auto* rope = std::get_if<RopeOp>(&op.body))
            BLOOM_CHECK(2 * ropes_[index_of(rope->table)].pairs <= rope->head_dim);
    }
    const std::int64_t rows = std::max(out.key.max_rows, out.key.max_logit_rows);
    const std::size_t prepared = prepared_bytes(plan, rows);
    out.chain_at = prepared_bytes(plan, std::min<std::int64_t>(rows, kRedundantRows));
    BLOOM_OK(reserve_scratch(bytes, prepared, out.chain_at + chain_bytes(out.list)));
    BLOOM_OK(reserve_expert_scratch(plan));
    BLOOM_OK(prepare_delta(plan));
    BLOOM_OK(reserve_carried(plan));
    out.recurrent = std::ranges::any_of(
        plan.ops(), [](const Op& op) { return std::holds_alternative<DeltaRuleOp>(op.body); });
    // A region is at most three phases; what a step needs is taken here, not in the step.
    phases_.reserve(3 * out.list.regions.size());
    best_.reserve(workers_.size() * static_cast<std::size_t>(out.key.max_logit_rows));
    compiled_.push_back(std::move(out));
    return static_cast<CompiledId>(compiled_.size() - 1);
}

std::size_t CpuBackend::prepared_bytes(const Plan& plan, std::int64_t rows) const {
    std::int64_t k = 0;
    for (const Op& op : plan.ops()) {
        if (const auto* m = std::get_if<MatmulOp>(&op.body)) k = std::max(k, plan.desc(m->in).cols);
        if (const auto* m = std::get_if<MoeOp>(&op.body)) k = std::max(k, plan.desc(m->in).cols);
    }
    return activation_bytes(k, rows);
}

std::size_t CpuBackend::chain_bytes(const RegionList& list) {
    std::int64_t floats = 0;
    for (const Region& region : list.regions) {
        const auto* matmul = std::get_if<MatmulRegion>(&region);
        if (matmul == nullptr || !matmul->chain) continue;
        const RowChain& chain = *matmul->chain;
        floats = std::max(floats, static_cast<std::int64_t>(chain.slots.size()) * chain.stride);
    }
    return static_cast<std::size_t>(floats) * sizeof(float);
}

Result<> CpuBackend::reserve_scratch(std::size_t shared, std::size_t prepared,
                                     std::size_t per_worker) {
    if (shared > shared_.size()) {
        BLOOM_OK(grow(shared_, shared));
        plan_ = nullptr; // its results were there
    }
    BLOOM_OK(grow(prepared_, prepared));
    if (per_worker <= worker_bytes_) return {};
    BLOOM_OK(grow_each(&WorkerScratch::memory, per_worker, per_worker));
    worker_bytes_ = per_worker;
    return {};
}

Result<> CpuBackend::grow(Mapping& memory, std::size_t bytes) {
    if (bytes <= memory.size()) return {};
    // Nothing changes unless all of it is there.
    BLOOM_TRY(Mapping larger, Mapping::make(bytes));
    BLOOM_OK(larger.populate());
    memory = std::move(larger);
    return {};
}

Result<> CpuBackend::grow_each(Mapping WorkerScratch::* memory, std::size_t bytes,
                               std::size_t bytes_now) {
    for (WorkerScratch& w : workers_) {
        if (bytes <= (w.*memory).size()) continue;
        BLOOM_TRY(w.*memory, Mapping::make(bytes));
    }
    std::vector<Result<>> taken(workers_.size());
    team_.run([&](int w) { // each near the worker whose it is
        const auto at = static_cast<std::size_t>(w);
        taken[at] = (workers_[at].*memory).populate(bytes_now);
    });
    for (const Result<>& t : taken)
        BLOOM_OK(t);
    return {};
}

void CpuBackend::check_inputs(const Compiled& plan, const StepInputs& in) {
    BLOOM_CHECK(!in.tokens.empty());
    BLOOM_CHECK(in.tokens.size() <= static_cast<std::size_t>(plan.key.max_rows));
    BLOOM_CHECK(in.logit_rows.size() <= static_cast<std::size_t>(plan.key.max_logit_rows));
    BLOOM_CHECK(in.positions.size() == in.tokens.size());
    BLOOM_CHECK(in.row_seq.size() == in.tokens.size());
    BLOOM_CHECK(static_cast<std::size_t>(in.n_pools) == pools_.size());
    BLOOM_CHECK(in.tables.size() == static_cast<std::size_t>(in.n_seqs) * pools_.size());
    std::int32_t last = 0;
    for (std::size_t r = 0; r < in.tokens.size(); ++r) {
        BLOOM_CHECK(in.positions[r] >= 0);
        BLOOM_CHECK(in.row_seq[r] >= 0 && in.row_seq[r] < in.n_seqs);
        last = std::max(last, in.positions[r]);
    }
    for (const std::int32_t r : in.logit_rows) {
        BLOOM_CHECK(r >= 0 && static_cast<std::size_t>(r) < in.tokens.size());
    }
    for (RopeTable& rope : ropes_)
        rope.grow_to(last);
}

void CpuBackend::add_phases(const Region& region) {
    if (const auto* rows = std::get_if<RowsRegion>(&region)) {
        if (count(rows->rows) > 0) phases_.push_back({StepPhase::Kind::rows, &region});
    } else if (std::holds_alternative<MatmulRegion>(region)) {
        add_matmul_phases(region);
    } else if (std::holds_alternative<MoeRegion>(region)) {
        add_moe_phases(region);
    } else if (std::holds_alternative<DeltaRegion>(region)) {
        add_delta_phases(region);
    } else {
        add_attention_phases(region);
    }
}

void CpuBackend::run_phase(const StepPhase& phase, int worker) {
    switch (phase.kind) {
    case StepPhase::Kind::rows: {
        const auto* rows = std::get_if<RowsRegion>(phase.region);
        run_rows(rows != nullptr ? *rows : std::get<AttentionRegion>(*phase.region).prepare,
                 worker);
        break;
    }
    case StepPhase::Kind::prepare:
        run_prepare(std::get<MatmulRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::multiply:
        run_multiply(std::get<MatmulRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::prepare_multiply:
        run_prepare_multiply(std::get<MatmulRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::attend_by_head:
        attend_by_head(std::get<AttentionRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::attend:
        attend(std::get<AttentionRegion>(*phase.region).op, worker);
        break;
    case StepPhase::Kind::attend_merge:
        attend_merge(std::get<AttentionRegion>(*phase.region).op, worker);
        break;
    case StepPhase::Kind::moe_prepare:
        run_moe_prepare(std::get<MoeRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::moe_gate_up:
        run_moe_gate_up(std::get<MoeRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::moe_down:
        run_moe_down(std::get<MoeRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::delta_mix:
        run_delta_mix(std::get<DeltaRegion>(*phase.region).op, worker);
        break;
    case StepPhase::Kind::delta_heads:
        run_delta_heads(std::get<DeltaRegion>(*phase.region), worker);
        break;
    case StepPhase::Kind::delta_panels:
        run_delta_panels(std::get<DeltaRegion>(*phase.region).op, worker);
        break;
    case StepPhase::Kind::delta_norm:
        run_delta_norm(std::get<DeltaRegion>(*phase.region), worker);
        break;
    }
}

Result<> CpuBackend::run(CompiledId id, const StepInputs& inputs) {
    BLOOM_CHECK(index_of(id) < compiled_.size());
    const Compiled& plan = compiled_[index_of(id)];
    check_inputs(plan, inputs);
    plan_ = &plan;
    inputs_ = &inputs;
    n_logits_ = static_cast<std::int64_t>(inputs.logit_rows.size());
    phases_.clear();
    recurrent_.clear();
    if (plan.recurrent) begin_recurrent(inputs);
    for (const Region& region : plan.list.regions)
        add_phases(region);
    team_.run_phases(static_cast<std::int32_t>(phases_.size()), [&](std::int32_t p, int w) {
        run_phase(phases_[static_cast<std::size_t>(p)], w);
    });
    end_recurrent();
    inputs_ = nullptr;
    return {};
}

void CpuBackend::sample(std::span<const std::int32_t> rows, std::int32_t n_valid,
                        std::span<std::int32_t> out) {
    BLOOM_CHECK(plan_ != nullptr);
    BLOOM_CHECK(rows.size() == out.size());
    if (rows.empty()) return;
    const auto n_rows = static_cast<std::int64_t>(rows.size());
    const auto valid = [&](std::int64_t i) {
        const std::span<const float> all = read_logits(rows[static_cast<std::size_t>(i)]);
        return all.first(std::min(all.size(), static_cast<std::size_t>(n_valid)));
    };
    const auto n = static_cast<std::int64_t>(valid(0).size());
    const int n_workers = team_.size();
    if (n_workers == 1 || n * n_rows <= kSerialLogits) {
        for (std::int64_t i = 0; i < n_rows; ++i) {
            out[static_cast<std::size_t>(i)] =
                static_cast<std::int32_t>(table_.argmax(valid(i).data(), n));
        }
        return;
    }
    // All rows end to end: a worker has at most one piece of a row, pieces ascend with the workers.
    best_.assign(static_cast<std::size_t>(n_rows * n_workers), -1);
    team_.run([&](int w) {
        const Range mine = split_range(n_rows * n, 64, w, n_workers);
        for (std::int64_t at = mine.begin; at < mine.end;) {
            const std::int64_t i = at / n;
            const std::int64_t begin = at - i * n;
            const std::int64_t end = std::min(n, begin + mine.end - at);
            best_[static_cast<std::size_t>(i * n_workers + w)] = static_cast<std::int32_t>(
                begin + table_.argmax(valid(i).data() + begin, end - begin));
            at += end - begin;
        }
    });
    for (std::int64_t i = 0; i < n_rows; ++i) {
        const auto parts = std::span<const std::int32_t>(best_).subspan(
            static_cast<std::size_t>(i * n_workers), static_cast<std::size_t>(n_workers));
        out[static_cast<std::size_t>(i)] = best_of(parts, valid(i));
    }
}

std::int32_t CpuBackend::best_of(std::span<const std::int32_t> parts,
                                 std::span<const float> logits) {
    std::int32_t best = 0;
    float top = std::numeric_limits<float>::quiet_NaN();
    for (const std::int32_t at : parts) {
        if (at < 0) continue;
        const float value = logits[static_cast<std::size_t>(at)];
        if (std::isnan(value)) continue; // a part of nothing but NaN
        if (std::isnan(top) || value > top) {
            top = value;
            best = at;
        }
    }
    return best;
}

std::span<const float> CpuBackend::read_logits(std::int32_t r) {
    BLOOM_CHECK(plan_ != nullptr);
    BLOOM_CHECK(plan_->list.logits != TensorId::none);
    BLOOM_CHECK(r >= 0 && r < n_logits_);
    const Buffer& b = buffer(plan_->list.logits);
    return {row(plan_->list.logits, r), static_cast<std::size_t>(b.cols)};
}

} // namespace bloom::compute::cpu
