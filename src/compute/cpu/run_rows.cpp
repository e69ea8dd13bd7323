#include <algorithm>
#include <cstring>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"

namespace bloom::compute::cpu {

void CpuBackend::store_head(const KvStoreOp& op, std::int64_t r, std::int32_t kv_head) {
    const KvPool& pool = pools_[index_of(op.pool)];
    const auto at = static_cast<std::size_t>(r);
    const std::int32_t position = inputs_->positions[at];
    const auto seq = static_cast<std::size_t>(inputs_->row_seq[at]);
    const PageTable table = inputs_->tables[seq * pools_.size() + index_of(op.pool)];
    const auto slot = static_cast<std::size_t>(position / kPageTokens);
    BLOOM_DCHECK(slot < table.size());
    BLOOM_DCHECK(table[slot] >= 0 && table[slot] < pool.n_pages);
    std::uint8_t* const page = pool.page(table[slot], op.layer);
    const std::int64_t dim = pool.spec.k_dim;
    const std::int64_t in_page =
        (std::int64_t{kv_head} * kPageTokens + position % kPageTokens) * dim;
    const std::int64_t values = std::int64_t{pool.spec.n_kv_heads} * kPageTokens * dim;
    const auto bytes = static_cast<std::int64_t>(pool.element_bytes);
    table_.store_kv(pool.spec.type, row(op.k, r) + kv_head * dim, dim, page + in_page * bytes);
    table_.store_kv(pool.spec.type, row(op.v, r) + kv_head * dim, dim,
                    page + (values + in_page) * bytes);
}

void CpuBackend::run_row(const RowOp& any, std::int64_t r) {
    struct Visitor {
        CpuBackend& b;
        std::int64_t r;

        void operator()(const EmbedOp& op) const {
            const auto token = b.inputs_->tokens[static_cast<std::size_t>(r)];
            const kernels::PackedMatrix& table = b.weight(op.table).matrix;
            BLOOM_CHECK(token >= 0 && token < table.rows);
            b.table_.unpack_row(table, token, b.row(op.out, r));
        }

        void operator()(const RmsNormOp& op) const {
            const float* const w = b.weight(op.weight).vector();
            const std::int64_t cols = b.buffer(op.in).cols;
            for (std::int64_t at = 0; at < cols; at += op.width) {
                b.table_.rms_norm(b.row(op.in, r) + at, w, op.eps, op.width, b.row(op.out, r) + at);
            }
        }

        void operator()(const AddOp& op) const {
            b.table_.add(b.row(op.into, r), b.row(op.from, r), b.buffer(op.into).cols);
        }

        void operator()(const RopeOp& op) const {
            const RopeTable& table = b.ropes_[index_of(op.table)];
            const std::int32_t p = b.inputs_->positions[static_cast<std::size_t>(r)];
            for (std::int32_t h = 0; h < op.n_heads; ++h) {
                b.table_.rope(b.row(op.x, r) + std::int64_t{h} * op.head_dim, table.cos(p),
                              table.sin(p), table.pairs);
            }
        }

        void operator()(const KvStoreOp& op) const {
            const std::int32_t n = b.pools_[index_of(op.pool)].spec.n_kv_heads;
            for (std::int32_t h = 0; h < n; ++h)
                b.store_head(op, r, h);
        }

        void operator()(const SiluMulOp& op) const {
            b.table_.silu_mul(b.row(op.gate, r), b.row(op.up, r), b.buffer(op.out).cols,
                              b.row(op.out, r));
        }

        void operator()(const RouteOp& op) const {
            b.route_row(op, r, b.i32_row(op.ids, r), b.row(op.weights, r));
        }

        void operator()(const GatherRowsOp& op) const {
            const std::int64_t from = b.inputs_->logit_rows[static_cast<std::size_t>(r)];
            std::memcpy(b.row(op.out, r), b.row(op.in, from),
                        static_cast<std::size_t>(b.buffer(op.out).cols) * sizeof(float));
        }
    };

    std::visit(Visitor{*this, r}, any);
}

void CpuBackend::run_rows(const RowsRegion& region, int worker) {
    const Range mine = split_range(count(region.rows), 1, worker, team_.size());
    for (std::int64_t r = mine.begin; r < mine.end; ++r) {
        for (const RowOp& op : region.ops)
            run_row(op, r);
    }
}

std::int64_t CpuBackend::attention_begin(const KvPool& pool, std::int32_t position) const noexcept {
    if (pool.spec.window == 0) return 0;
    return std::max(std::int64_t{position} - pool.spec.window + 1, std::int64_t{0});
}

kernels::KvPages CpuBackend::pages_of(const AttentionOp& op, std::int32_t seq,
                                      WorkerScratch& scratch) {
    const KvPool& pool = pools_[index_of(op.pool)];
    const PageTable table =
        inputs_->tables[static_cast<std::size_t>(seq) * pools_.size() + index_of(op.pool)];
    if (scratch.pages.size() < table.size()) scratch.pages.resize(table.size() + 64);
    for (std::size_t i = 0; i < table.size(); ++i) {
        scratch.pages[i] = table[i] < 0 ? nullptr : pool.page(table[i], op.layer);
    }
    return {scratch.pages.data(), pool.spec.type, pool.spec.n_kv_heads, pool.spec.k_dim};
}

void CpuBackend::prepare_head(const AttentionRegion& region, std::int64_t r, std::int32_t kv_head) {
    const KvPool& pool = pools_[index_of(region.op.pool)];
    const std::int64_t dim = pool.spec.k_dim;
    const std::int32_t ratio = region.op.n_heads / pool.spec.n_kv_heads;
    const std::int32_t position = inputs_->positions[static_cast<std::size_t>(r)];
    for (const RowOp& any : region.prepare.ops) {
        if (const auto* store = std::get_if<KvStoreOp>(&any)) {
            store_head(*store, r, kv_head);
            continue;
        }
        const auto* norm = std::get_if<RmsNormOp>(&any);
        const auto* rope = std::get_if<RopeOp>(&any);
        const TensorId x = norm != nullptr ? norm->in : rope->x;
        const bool is_q = x == region.op.q;
        const std::int32_t first = is_q ? kv_head * ratio : kv_head;
        const std::int32_t last = is_q ? first + ratio : first + 1;
        for (std::int32_t h = first; h < last; ++h) {
            float* const head = row(x, r) + h * dim;
            if (norm != nullptr) {
                table_.rms_norm(head, weight(norm->weight).vector(), norm->eps, dim, head);
            } else {
                const RopeTable& table = ropes_[index_of(rope->table)];
                table_.rope(head, table.cos(position), table.sin(position), table.pairs);
            }
        }
    }
}

void CpuBackend::attend_by_head(const AttentionRegion& region, int worker) {
    const KvPool& pool = pools_[index_of(region.op.pool)];
    const std::int32_t n_kv = pool.spec.n_kv_heads;
    const std::int32_t ratio = region.op.n_heads / n_kv;
    const std::int64_t n = count(RowKind::tokens);
    WorkerScratch& scratch = workers_[static_cast<std::size_t>(worker)];
    const Range items = split_range(n * n_kv, 1, worker, team_.size());
    std::int64_t pages_row = -1;
    kernels::KvPages kv{};
    for (std::int64_t i = items.begin; i < items.end; ++i) {
        const std::int64_t r = i / n_kv;
        const auto head = static_cast<std::int32_t>(i % n_kv);
        prepare_head(region, r, head);
        if (r != pages_row)
            kv = pages_of(region.op, inputs_->row_seq[static_cast<std::size_t>(r)], scratch);
        pages_row = r;
        const std::int32_t p = inputs_->positions[static_cast<std::size_t>(r)];
        table_.attention(row(region.op.q, r), kv, region.op.n_heads, head * ratio,
                         (head + 1) * ratio, attention_begin(pool, p), p + 1, region.op.scale,
                         row(region.op.out, r));
    }
}

void CpuBackend::attend_split(const AttentionOp& op, int worker) {
    const KvPool& pool = pools_[index_of(op.pool)];
    const std::int64_t n = count(RowKind::tokens);
    const std::int32_t ratio = op.n_heads / pool.spec.n_kv_heads;
    // Whole kv heads share what they read; single heads only when there are too few of those.
    const std::int32_t heads = n * pool.spec.n_kv_heads >= team_.size() ? ratio : 1;
    const auto cost = [&](std::int64_t r) {
        const std::int32_t p = inputs_->positions[static_cast<std::size_t>(r)];
        return p + 1 - attention_begin(pool, p);
    };
    std::int64_t per_head = 0;
    for (std::int64_t r = 0; r < n; ++r)
        per_head += cost(r);
    // Items in the order (head, row), laid end to end by cost; an item is its first unit's owner's.
    const Range mine = split_range(per_head * (op.n_heads / heads), 1, worker, team_.size());
    WorkerScratch& scratch = workers_[static_cast<std::size_t>(worker)];
    std::int32_t pages_seq = -1;
    kernels::KvPages kv{};
    std::int64_t at = 0;
    for (std::int32_t h = 0; h < op.n_heads; h += heads) {
        if (at + per_head <= mine.begin || at >= mine.end) {
            at += per_head;
            continue;
        }
        for (std::int64_t r = 0; r < n; ++r) {
            const std::int64_t start = at;
            at += cost(r);
            if (start < mine.begin || start >= mine.end) continue;
            const auto i = static_cast<std::size_t>(r);
            if (inputs_->row_seq[i] != pages_seq) kv = pages_of(op, inputs_->row_seq[i], scratch);
            pages_seq = inputs_->row_seq[i];
            const std::int32_t p = inputs_->positions[i];
            table_.attention(row(op.q, r), kv, op.n_heads, h, h + heads, attention_begin(pool, p),
                             p + 1, op.scale, row(op.out, r));
        }
    }
}

void CpuBackend::add_attention_phases(const Region& any) {
    const auto& region = std::get<AttentionRegion>(any);
    const std::int64_t items =
        count(RowKind::tokens) * pools_[index_of(region.op.pool)].spec.n_kv_heads;
    const bool prepares = !region.prepare.ops.empty();
    if (prepares && plan_->key.phase == Phase::decode && items >= team_.size()) {
        phases_.push_back({StepPhase::Kind::attend_by_head, &any});
        return;
    }
    if (prepares) phases_.push_back({StepPhase::Kind::rows, &any});
    phases_.push_back({StepPhase::Kind::attend, &any});
}

} // namespace bloom::compute::cpu
