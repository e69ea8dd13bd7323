#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <bloom/base/check.hpp>

#include "engine/engine_impl.hpp"

/// What does not generate: tokens and logits for people, synthetic steps for benchmarks.
namespace bloom::engine {
namespace {

/// Positions whose logits are kept at one time by logits().
constexpr std::size_t kLogitRows = kPrefillCut;

Error busy(std::int32_t n) {
    return Error{Code::busy, fmt::format("{} requests are running", n)};
}

} // namespace

Result<std::vector<std::int32_t>> EngineImpl::tokenize(std::string_view text) const {
    std::vector<std::int32_t> ids;
    BLOOM_OK(prompts_.tokenizer()->encode(text, {}, ids));
    return ids;
}

Result<std::vector<std::vector<std::int32_t>>>
EngineImpl::render(const gen::Generation& generation) const {
    BLOOM_TRY(std::vector<Prompt> prompts, prompts_.prepare(generation));
    std::vector<std::vector<std::int32_t>> out;
    for (Prompt& p : prompts)
        out.push_back(std::move(p.ids));
    return out;
}

Result<> EngineImpl::logits(std::span<const std::int32_t> ids, LogitsCallback show) {
    if (!requests_.empty()) return busy(n_requests());
    if (ids.empty()) return Error{Code::invalid_argument, "no token ids"};
    if (static_cast<std::int64_t>(ids.size()) > info_.ctx_len) {
        return Error{Code::invalid_argument,
                     fmt::format("{} ids, the context length is {}", ids.size(), info_.ctx_len)};
    }
    for (const std::int32_t id : ids) {
        if (id >= 0 && id < info_.vocab_rows) continue;
        return Error{Code::invalid_argument,
                     fmt::format("token id {} is outside 0 to {}", id, info_.vocab_rows - 1)};
    }
    store_.drop_cache();
    SequenceState state;
    store_.init(state);
    BLOOM_CHECK(store_.take_slot(state));
    std::vector<std::int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    const std::vector<std::int32_t> seqs(kLogitRows, 0);
    std::vector<std::int32_t> rows(kLogitRows);
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<compute::PageTable> tables;
    options_.team->begin_step();
    Result<> result = {};
    for (std::size_t at = 0; result && at < ids.size(); at += kLogitRows) {
        const std::size_t n = std::min(kLogitRows, ids.size() - at);
        BLOOM_CHECK(store_.ensure(state, static_cast<std::int64_t>(at + n)));
        tables.assign(state.tables.begin(), state.tables.end());
        const auto phase = n == 1 ? compute::Phase::decode : compute::Phase::prefill;
        const auto plan = plans_.get(phase, n, n);
        if (!plan) {
            result = std::unexpected(plan.error());
            break;
        }
        const compute::RecurrentInput taken{state.slot, at == 0, 0, static_cast<std::int32_t>(n)};
        result = backend_->run(*plan, {ids.subspan(at, n), std::span(positions).subspan(at, n),
                                       std::span(seqs).first(n), std::span(rows).first(n), 1,
                                       static_cast<std::int32_t>(store_.n_groups()), tables,
                                       std::span(&taken, store_.spec().recurrent ? 1 : 0)});
        for (std::size_t i = 0; result && i < n; ++i) {
            show(static_cast<std::int64_t>(at + i),
                 backend_->read_logits(static_cast<std::int32_t>(i)));
        }
        store_.drop_behind_window(state, static_cast<std::int64_t>(at + n));
    }
    options_.team->end_step();
    store_.release(state);
    return result;
}

Result<> EngineImpl::run_synthetic(std::int32_t n_seqs, std::int32_t past,
                                   std::int32_t rows_per_seq) {
    BLOOM_CHECK(n_seqs > 0 && past >= 0 && rows_per_seq > 0);
    if (!requests_.empty()) return busy(n_requests());
    if (std::int64_t{past} + rows_per_seq > info_.ctx_len) {
        return Error{Code::too_large,
                     fmt::format("{} tokens, the context length is {}",
                                 std::int64_t{past} + rows_per_seq, info_.ctx_len)};
    }
    store_.drop_cache();
    std::vector<SequenceState> states(static_cast<std::size_t>(n_seqs));
    std::vector<std::int32_t> tokens, positions, row_seq, logit_rows;
    std::vector<compute::PageTable> tables;
    std::vector<compute::RecurrentInput> recurrent;
    bool room = true;
    for (std::int32_t s = 0; s < n_seqs; ++s) {
        SequenceState& state = states[static_cast<std::size_t>(s)];
        store_.init(state);
        room = room && store_.take_slot(state) && store_.extend_computed(state, past) &&
               store_.ensure(state, past + rows_per_seq);
        if (room && store_.spec().recurrent)
            recurrent.push_back({state.slot, true, 0, rows_per_seq});
        for (std::int32_t i = 0; i < rows_per_seq; ++i) {
            const std::int32_t p = past + i;
            tokens.push_back(
                static_cast<std::int32_t>((std::int64_t{p} * 7919 + s * 104'729) % info_.n_tokens));
            positions.push_back(p);
            row_seq.push_back(s);
        }
        logit_rows.push_back(static_cast<std::int32_t>(tokens.size()) - 1);
        tables.insert(tables.end(), state.tables.begin(), state.tables.end());
    }
    Result<> result = {};
    if (room) {
        const auto phase = rows_per_seq == 1 ? compute::Phase::decode : compute::Phase::prefill;
        const auto plan = plans_.get(phase, tokens.size(), logit_rows.size());
        options_.team->begin_step();
        result = plan ? backend_->run(*plan, {tokens, positions, row_seq, logit_rows, n_seqs,
                                              static_cast<std::int32_t>(store_.n_groups()), tables,
                                              recurrent})
                      : Result<>(std::unexpected(plan.error()));
        options_.team->end_step();
    } else {
        result = Error{Code::too_large,
                       fmt::format("{} sequences of {} tokens do not fit into the cache", n_seqs,
                                   past + rows_per_seq)};
    }
    for (SequenceState& state : states)
        store_.release(state);
    return result;
}

Result<> EngineImpl::fill_cache(std::int32_t n_seqs, std::int32_t tokens) {
    if (!requests_.empty()) return busy(n_requests());
    store_.drop_cache();
    std::vector<SequenceState> states(static_cast<std::size_t>(n_seqs));
    bool room = true;
    for (SequenceState& state : states) {
        store_.init(state);
        // A step of a prompt at the end of it; behind windows there are none.
        room = room &&
               store_.extend_computed(state, std::max(tokens - options_.prefill_tokens, 0)) &&
               store_.ensure(state, tokens);
        for (std::size_t g = 0; room && g < state.tables.size(); ++g) {
            const std::int32_t first = states[0].tables[g].back();
            for (const std::int32_t page : state.tables[g]) {
                if (page >= 0 && page != first)
                    backend_->copy_page(static_cast<compute::KvPoolId>(g), first, page);
            }
        }
    }
    for (SequenceState& state : states)
        store_.release(state);
    if (room) return {};
    return Error{Code::too_large, fmt::format("{} sequences of {} tokens do not fit into the cache",
                                              n_seqs, tokens)};
}

} // namespace bloom::engine
