#include <algorithm>

#include <bloom/base/check.hpp>

#include "compute/cpu/cpu_backend.hpp"

namespace bloom::compute::cpu {
namespace {

constexpr std::int64_t kChunk = kernels::kAttentionChunk;

// Costs are in queries x tokens: 128 dimensions of one are about 2 ns.
/// What a chunk costs beyond its tokens, as tokens.
constexpr std::int64_t kChunkOverhead = 16;
/// Up to this many queries reading the keys and values is what takes the time.
constexpr std::int64_t kMemoryBoundQueries = 8;
/// Up to this many of them, as decode and verification have, heads are grouped for long runs of
/// memory; more of them repay what they read anyway.
constexpr std::int32_t kMemoryBoundBlock = 32;
/// A barrier and the rows before it, which attention by heads does without.
constexpr std::int64_t kPhaseCost = 1024;
/// From this much for each worker on, two more barriers matter less than reading all heads of a
/// page in one run: about 200 us.
constexpr std::int64_t kLongCost = 100 * kPhaseCost;

std::int64_t weight_of(const AttentionWork& work, const AttentionBlock& block) noexcept {
    return work.kv_heads *
           std::max<std::int64_t>(std::int64_t{block.n_rows} * work.heads, kMemoryBoundQueries);
}

/// Cost of the block's chunks [first_chunk, last).
std::int64_t cost_until(const AttentionWork& work, const AttentionBlock& block,
                        std::int64_t last) noexcept {
    if (last <= block.first_chunk) return 0;
    const std::int64_t tokens = std::min(block.end, last * kChunk) - block.begin;
    return weight_of(work, block) * (tokens + (last - block.first_chunk) * kChunkOverhead);
}

std::int64_t cost_of(const AttentionWork& work, const AttentionBlock& block) noexcept {
    return cost_until(work, block, block.last_chunk);
}

/// The worker in whose part of the line something lies: the inverse of split_range(total, 1, ..).
int owner_of(std::int64_t start, std::int64_t total, int n_workers) noexcept {
    return static_cast<int>(((start + 1) * n_workers - 1) / total);
}

/// First chunk of the block, which begins at `at` in the line, that starts at or after `cut`.
std::int64_t chunk_from(const AttentionWork& work, const AttentionBlock& block, std::int64_t at,
                        std::int64_t cut) noexcept {
    std::int64_t c = block.first_chunk;
    while (c < block.last_chunk && at + cost_until(work, block, c) < cut)
        ++c;
    return c;
}

} // namespace

std::int64_t CpuBackend::attention_begin(const KvPool& pool, std::int32_t position) const noexcept {
    if (pool.spec.window == 0) return 0;
    return std::max(std::int64_t{position} - pool.spec.window + 1, std::int64_t{0});
}

kernels::KvPages CpuBackend::pages_of(const AttentionOp& op, std::int64_t r) const noexcept {
    const KvPool& pool = pools_[index_of(op.pool)];
    const auto seq = static_cast<std::size_t>(inputs_->row_seq[static_cast<std::size_t>(r)]);
    const PageTable table = inputs_->tables[seq * pools_.size() + index_of(op.pool)];
    return {pool.page(0, op.layer), table.data(),         pool.page_bytes,
            pool.spec.type,         pool.spec.n_kv_heads, pool.spec.k_dim};
}

// --- scratch

Result<> CpuBackend::reserve_attention(const KvPool& pool) {
    const std::int64_t chunks = (pool.n_pages * kPageTokens + kChunk - 1) / kChunk;
    const std::int64_t part =
        kernels::attention_part_floats(kernels::kAttentionQueries, pool.spec.k_dim);
    const std::int64_t always =
        kernels::attention_scratch_floats(kernels::kAttentionQueries, pool.spec.k_dim) + part;
    const auto bytes = [](std::int64_t floats) {
        return static_cast<std::size_t>(floats) * sizeof(float);
    };
    // Parts by chunk, enough for one sequence that has all pages, are taken when one is so long.
    return grow_each(&WorkerScratch::attention, bytes(always + chunks * part), bytes(always));
}

AttentionScratch CpuBackend::attention_scratch(int worker, std::int32_t head_dim) const noexcept {
    auto* const at =
        reinterpret_cast<float*>(workers_[static_cast<std::size_t>(worker)].attention.data());
    float* const folded =
        at + kernels::attention_scratch_floats(kernels::kAttentionQueries, head_dim);
    return {at, folded,
            folded + kernels::attention_part_floats(kernels::kAttentionQueries, head_dim)};
}

// --- cutting

AttentionBlock CpuBackend::block_at(const AttentionWork& work, std::int64_t r) const noexcept {
    const auto at = static_cast<std::size_t>(r);
    const std::span<const std::int32_t> positions = inputs_->positions;
    const std::int32_t first = positions[at];
    std::int32_t n = 1;
    while (n < work.rows && at + static_cast<std::size_t>(n) < positions.size() &&
           inputs_->row_seq[at + static_cast<std::size_t>(n)] == inputs_->row_seq[at] &&
           positions[at + static_cast<std::size_t>(n)] == first + n) {
        ++n;
    }
    AttentionBlock block{r, n, 0, 0, attention_begin(*work.pool, first), std::int64_t{first} + n};
    block.first_chunk = block.begin / kChunk;
    block.last_chunk = (block.end + kChunk - 1) / kChunk;
    return block;
}

/// Sets the cost of a group of heads; returns the chunks in it.
std::int64_t CpuBackend::measure(AttentionWork& work) const noexcept {
    std::int64_t chunks = 0;
    work.group_cost = 0;
    for (std::int64_t r = 0; r < count(RowKind::tokens);) {
        const AttentionBlock block = block_at(work, r);
        work.group_cost += cost_of(work, block);
        chunks += block.last_chunk - block.first_chunk;
        r += block.n_rows;
    }
    return chunks;
}

AttentionWork CpuBackend::whole_heads(const AttentionOp& op) const noexcept {
    const KvPool& pool = pools_[index_of(op.pool)];
    const std::int32_t ratio = op.n_heads / pool.spec.n_kv_heads;
    AttentionWork work{&op, &pool, 1, std::min(ratio, kernels::kAttentionBlock), 1, 1, 0};
    work.kv_parts = (ratio + work.heads - 1) / work.heads;
    measure(work);
    return work;
}

AttentionWork CpuBackend::attention_work(const AttentionOp& op) const noexcept {
    AttentionWork work = whole_heads(op);
    const std::int32_t ratio = op.n_heads / work.pool->spec.n_kv_heads;
    const std::int64_t n = count(RowKind::tokens);
    std::int32_t widest = 0; // rows of a block
    work.rows = kernels::kAttentionBlock / work.heads;
    for (std::int64_t r = 0; r < n;) {
        const std::int32_t n_rows = block_at(work, r).n_rows;
        widest = std::max(widest, n_rows);
        r += n_rows;
    }
    if (work.kv_parts == 1 && widest * ratio <= kMemoryBoundBlock) {
        work.kv_heads =
            std::min(work.pool->spec.n_kv_heads, kernels::kAttentionQueries / (widest * ratio));
    }
    // Wide groups read memory in long runs and heads of one KV head share what they read of it;
    // both give way where they would leave workers with nothing.
    while (measure(work) * work.groups() < 4 * team_.size() && work.kv_heads > 1)
        work.kv_heads = (work.kv_heads + 1) / 2;
    while (measure(work) * work.groups() < team_.size() && work.heads > 1) {
        work.heads = (work.heads + 1) / 2;
        work.kv_parts = (ratio + work.heads - 1) / work.heads;
        work.rows = kernels::kAttentionBlock / work.heads;
    }
    return work;
}

kernels::AttentionRows CpuBackend::rows_of(const AttentionWork& work, const AttentionBlock& block,
                                           std::int64_t group) const noexcept {
    const std::int32_t n_kv = work.pool->spec.n_kv_heads;
    const std::int32_t ratio = work.op->n_heads / n_kv;
    const auto kv_head = static_cast<std::int32_t>(group / work.kv_parts) * work.kv_heads;
    const auto part = static_cast<std::int32_t>(group % work.kv_parts) * work.heads;
    return {row(work.op->q, block.row) +
                std::int64_t{kv_head * ratio + part} * work.pool->spec.k_dim,
            buffer(work.op->q).stride,
            block.n_rows,
            std::min(work.heads, ratio - part),
            kv_head,
            std::min(work.kv_heads, n_kv - kv_head),
            work.op->scale,
            inputs_->positions[static_cast<std::size_t>(block.row)],
            work.pool->spec.window};
}

// --- running

void CpuBackend::attend_chunks(const AttentionWork& work, const AttentionBlock& block,
                               const kernels::AttentionRows& rows, std::int64_t first,
                               std::int64_t last, int worker) {
    const std::int32_t dim = work.pool->spec.k_dim;
    const AttentionScratch scratch = attention_scratch(worker, dim);
    const kernels::KvPages kv = pages_of(*work.op, block.row);
    BLOOM_DCHECK(kv.table[(block.end - 1) / kPageTokens] >= 0);
    const bool begins = first == block.first_chunk;
    table_.attention(rows, kv, first, last, begins, begins ? scratch.folded : scratch.tail,
                     scratch.working);
    if (!begins || last < block.last_chunk) return;
    float* const out = row(work.op->out, block.row) + (rows.q - row(work.op->q, block.row));
    table_.attention_finish(rows, dim, 0, rows.n_kv * rows.n_rows * rows.n_heads, scratch.folded,
                            out, buffer(work.op->out).stride);
}

void CpuBackend::attend(const AttentionOp& op, int worker) {
    const AttentionWork work = attention_work(op);
    const std::int64_t n = count(RowKind::tokens);
    const Range mine = split_range(work.total(), 1, worker, team_.size());
    for (std::int64_t group = 0; group < work.groups(); ++group) {
        std::int64_t at = group * work.group_cost;
        if (at + work.group_cost <= mine.begin || at >= mine.end) continue;
        for (std::int64_t r = 0; r < n && at < mine.end;) {
            const AttentionBlock block = block_at(work, r);
            const std::int64_t first = chunk_from(work, block, at, mine.begin);
            const std::int64_t last = chunk_from(work, block, at, mine.end);
            if (first < last) {
                attend_chunks(work, block, rows_of(work, block, group), first, last, worker);
            }
            at += cost_of(work, block);
            r += block.n_rows;
        }
    }
}

/// This worker's queries of a block that begins at `start` in the line, if several worked on it.
void CpuBackend::merge_block(const AttentionWork& work, const AttentionBlock& block,
                             std::int64_t group, std::int64_t start, int worker) {
    const int n_workers = team_.size();
    const std::int64_t last_chunk = start + cost_until(work, block, block.last_chunk - 1);
    const int from = owner_of(start, work.total(), n_workers);
    const int to = owner_of(last_chunk, work.total(), n_workers);
    if (from == to) return;
    const std::int32_t dim = work.pool->spec.k_dim;
    const kernels::AttentionRows rows = rows_of(work, block, group);
    const int queries = rows.n_kv * rows.n_rows * rows.n_heads;
    const Range mine = split_range(queries, 1, worker, n_workers);
    const auto begin = static_cast<int>(mine.begin);
    const auto end = static_cast<int>(mine.end);
    float* const folded = attention_scratch(from, dim).folded;
    for (int w = from + 1; w <= to; ++w) {
        const Range theirs = split_range(work.total(), 1, w, n_workers);
        const std::int64_t parts = chunk_from(work, block, start, theirs.end) -
                                   chunk_from(work, block, start, theirs.begin);
        const float* part = attention_scratch(w, dim).tail;
        for (std::int64_t c = 0; c < parts; ++c) {
            table_.attention_fold(queries, dim, begin, end, folded, part);
            part += kernels::attention_part_floats(queries, dim);
        }
    }
    float* const out = row(work.op->out, block.row) + (rows.q - row(work.op->q, block.row));
    table_.attention_finish(rows, dim, begin, end, folded, out, buffer(work.op->out).stride);
}

void CpuBackend::attend_merge(const AttentionOp& op, int worker) {
    const AttentionWork work = attention_work(op);
    const int n_workers = team_.size();
    for (std::int64_t group = 0; group < work.groups(); ++group) {
        std::int64_t at = group * work.group_cost;
        const int first = owner_of(at, work.total(), n_workers);
        if (first == owner_of(at + work.group_cost - 1, work.total(), n_workers)) continue;
        for (std::int64_t r = 0; r < count(RowKind::tokens);) {
            const AttentionBlock block = block_at(work, r);
            merge_block(work, block, group, at, worker);
            at += cost_of(work, block);
            r += block.n_rows;
        }
    }
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
        const TensorId x = norm != nullptr ? norm->out : rope->x;
        const bool is_q = x == region.op.q;
        const std::int32_t first = is_q ? kv_head * ratio : kv_head;
        const std::int32_t last = is_q ? first + ratio : first + 1;
        for (std::int32_t h = first; h < last; ++h) {
            float* const head = row(x, r) + h * dim;
            if (norm != nullptr) {
                table_.rms_norm(row(norm->in, r) + h * dim, norm_weight(*norm), norm->eps, dim,
                                head);
            } else {
                const RopeTable& table = ropes_[index_of(rope->table)];
                table_.rope(head, table.cos(position), table.sin(position), table.pairs);
            }
        }
    }
}

void CpuBackend::attend_by_head(const AttentionRegion& region, int worker) {
    const AttentionWork work = whole_heads(region.op);
    const std::int32_t n_kv = work.pool->spec.n_kv_heads;
    const std::int32_t ratio = work.op->n_heads / n_kv;
    const std::int64_t n = count(RowKind::tokens);
    const Range mine = split_range(work.total(), 1, worker, team_.size());
    std::int64_t at = 0;
    for (std::int64_t r = 0; r < n && at < mine.end; ++r) {
        const AttentionBlock block = block_at(work, r);
        const std::int64_t cost = cost_of(work, block) * work.kv_parts;
        std::int32_t begin = 0;
        std::int32_t end = 0; // this worker's heads of the row
        for (std::int32_t head = 0; head < n_kv; ++head, at += cost) {
            if (at < mine.begin) begin = head + 1;
            if (at < mine.end) end = head + 1;
        }
        for (std::int32_t head = begin; head < end; ++head)
            prepare_head(region, r, head);
        // All of them at once where they fit.
        const std::int32_t width =
            work.kv_parts == 1 ? std::max(kernels::kAttentionQueries / ratio, 1) : 1;
        for (std::int32_t head = begin; head < end; head += width) {
            for (std::int32_t part = 0; part < work.kv_parts; ++part) {
                kernels::AttentionRows rows =
                    rows_of(work, block, std::int64_t{head} * work.kv_parts + part);
                rows.n_kv = std::min(width, end - head);
                attend_chunks(work, block, rows, block.first_chunk, block.last_chunk, worker);
            }
        }
    }
}

// --- choosing

/// Whether a decode step is best cut at whole KV heads: no barrier, and everyone gets as much.
bool CpuBackend::runs_by_head(const AttentionWork& work) const noexcept {
    const std::int32_t n_kv = work.pool->spec.n_kv_heads;
    const int n_workers = team_.size();
    if (n_workers == 1) return true;
    const std::int64_t fair = work.total() / n_workers;
    if (fair > kLongCost && n_kv > 1) return false;
    const std::int64_t allowed = fair + std::max(fair / 16, kPhaseCost);
    std::int64_t at = 0;
    std::int64_t load = 0;
    int last = 0;
    for (std::int64_t r = 0; r < count(RowKind::tokens); ++r) {
        const std::int64_t cost = cost_of(work, block_at(work, r)) * work.kv_parts;
        for (std::int32_t head = 0; head < n_kv; ++head, at += cost) {
            const int worker = owner_of(at, work.total(), n_workers);
            load = worker == last ? load + cost : cost;
            last = worker;
            if (load > allowed) return false;
        }
    }
    return true;
}

bool CpuBackend::splits_a_block(const AttentionWork& work) const noexcept {
    const int n_workers = team_.size();
    const auto owner = [&](std::int64_t start) { return owner_of(start, work.total(), n_workers); };
    for (std::int64_t group = 0; group < work.groups(); ++group) {
        std::int64_t at = group * work.group_cost;
        if (owner(at) == owner(at + work.group_cost - 1)) continue;
        for (std::int64_t r = 0; r < count(RowKind::tokens);) {
            const AttentionBlock block = block_at(work, r);
            if (owner(at) != owner(at + cost_until(work, block, block.last_chunk - 1))) return true;
            at += cost_of(work, block);
            r += block.n_rows;
        }
    }
    return false;
}

void CpuBackend::add_attention_phases(const Region& any) {
    const auto& region = std::get<AttentionRegion>(any);
    const bool prepares = !region.prepare.ops.empty();
    if (prepares && plan_->key.phase == Phase::decode && runs_by_head(whole_heads(region.op))) {
        phases_.push_back({StepPhase::Kind::attend_by_head, &any});
        return;
    }
    if (prepares) phases_.push_back({StepPhase::Kind::rows, &any});
    phases_.push_back({StepPhase::Kind::attend, &any});
    if (splits_a_block(attention_work(region.op))) {
        phases_.push_back({StepPhase::Kind::attend_merge, &any});
    }
}

} // namespace bloom::compute::cpu
