#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/log.hpp>
#include <bloom/compute/backend_cpu.hpp>
#include <bloom/engine/memory_need.hpp>

#include "engine/budget.hpp"
#include "engine/engine_impl.hpp"

namespace bloom::engine {
namespace {

constexpr std::int64_t kPage = compute::kPageTokens;
/// Copying between two places in memory on one core, less than any machine does: swapping is chosen
/// where it wins even so.
constexpr double kSwapBytesPerUs = 2000;

Result<const kernels::KernelTable*> choose_table(const kernels::KernelTable* wanted) {
    if (wanted != nullptr) return wanted;
    const char* const forced = std::getenv("DARKBLOOM_KERNEL_ISA");
    const bool any = forced == nullptr || *forced == '\0';
    const kernels::KernelTable* const table =
        kernels::select_table(kernels::detect_cpu_features(), any ? nullptr : forced);
    if (table != nullptr) return table;
    return Error{
        Code::machine_lacks,
        fmt::format("DARKBLOOM_KERNEL_ISA is \"{}\", which this processor or this build does "
                    "not have; unset it to let the program choose",
                    any ? "" : forced)};
}

EngineInfo describe(const ModelFile& file, const PromptMaker& prompts, const Graph& graph) {
    EngineInfo info;
    info.name = file.name();
    info.arch = to_string(file.config().arch);
    info.vocab_rows = static_cast<std::int32_t>(graph.vocab_rows());
    info.n_tokens = std::min(prompts.tokenizer()->n_tokens(), info.vocab_rows);
    info.n_parameters = file.n_parameters();
    info.file_bytes = static_cast<std::int64_t>(file.file_bytes());
    info.traffic = graph.traffic();
    info.macs_per_token = graph.macs_per_token();
    info.has_chat_template = prompts.has_template();
    info.has_thinking_switch = prompts.has_thinking_switch();
    info.has_reasoning_effort = prompts.has_reasoning_effort();
    info.state = graph.state();
    for (const compute::KvGroupSpec& g : info.state.groups)
        info.kv_bytes_per_token += compute::page_bytes(g) / kPage;
    return info;
}

std::int32_t default_prefill(const ModelConfig& config) {
    return config.experts.n_experts > 0 ? 512 : 256;
}

} // namespace

Result<std::unique_ptr<Engine>> Engine::create(ModelFile file, const EngineOptions& wanted) {
    BLOOM_CHECK(wanted.team != nullptr);
    EngineOptions options = wanted;
    options.max_seqs = std::max(options.max_seqs, kMaxChoices);
    if (options.prefill_tokens == 0) options.prefill_tokens = default_prefill(file.config());
    options.prefill_tokens = std::max(options.prefill_tokens, kPrefillCut);
    options.busy_prefill_tokens = std::max(options.busy_prefill_tokens, kPrefillCut);
    BLOOM_TRY(options.table, choose_table(options.table));
    const auto kv_type = options.precise ? kernels::KvType::f32 : kernels::KvType::f16;
    BLOOM_OK(check_fits(file, options.n_layers, kv_type, options.available_bytes));
    BLOOM_TRY(PromptMaker prompts, PromptMaker::create(file, options.render_ms_max));
    std::unique_ptr<compute::PackedCache> packed;
    if (!options.packed_cache.empty()) {
        packed = compute::PackedCache::open(options.packed_cache, as_bytes(file.identity()),
                                            *options.table);
    }
    if (packed && packed->has_file()) file.skip_read_ahead();
    auto backend = compute::make_cpu_backend(
        {options.table, options.team, options.precise, true, packed.get()});
    BLOOM_TRY(std::unique_ptr<const Graph> graph,
              load_graph(file, *backend,
                         {options.n_layers, kv_type, options.speculate && options.draft_head}));
    if (packed) {
        if (const Result<> kept = packed->finish(*options.team); !kept)
            log::warn("{}", kept.error().message());
    }
    const SlotCounts slots = divide_states(graph->state(), options);
    BLOOM_TRY(const std::vector<std::int64_t> pages, divide_budget(graph->state(), options));
    for (std::size_t g = 0; g < pages.size(); ++g) {
        BLOOM_TRY(const compute::KvPoolId pool,
                  backend->allocate_kv(graph->state().groups[g], pages[g]));
        BLOOM_CHECK(compute::index_of(pool) == g);
    }
    if (graph->state().recurrent) {
        BLOOM_OK(backend->allocate_states(*graph->state().recurrent,
                                          slots.n_sequences + slots.n_snapshots));
    }
    StateStore store(graph->state(), pages, options.cache_prefixes, slots);
    auto swap =
        SwapPages::make(*backend, graph->state(), pages, slots.n_sequences, options.swap_bytes);
    EngineInfo info = describe(file, prompts, *graph);
    const std::int64_t ctx = options.ctx_len > 0 ? options.ctx_len : file.config().ctx_len;
    info.ctx_len =
        static_cast<std::int32_t>(std::min({ctx, file.config().ctx_len, store.max_tokens()}));
    info.kernel_isa = options.table->isa;
    // The largest step of all, so that memory is taken now and cannot be missing later.
    const std::int32_t most_rows =
        std::max(options.prefill_tokens, options.busy_prefill_tokens + options.max_seqs);
    // Guesses of one stream beside prompts that all come to their end.
    const std::int32_t most_logits = options.max_seqs + (options.speculate ? kMaxDraft : 0);
    PlanCache largest(*graph, *backend);
    BLOOM_TRY(const auto plan,
              largest.get(compute::Phase::prefill, static_cast<std::size_t>(most_rows),
                          static_cast<std::size_t>(most_logits)));
    static_cast<void>(plan);
    if (graph->has_draft_head()) {
        PlanCache head(*graph, *backend, PlanCache::Which::draft_head);
        BLOOM_OK(head.get(compute::Phase::prefill, static_cast<std::size_t>(most_rows),
                          static_cast<std::size_t>(options.max_seqs)));
    }
    const compute::BackendMemory memory = backend->memory();
    info.weight_bytes = memory.weight_bytes;
    info.kv_bytes = memory.kv_bytes;
    info.state_bytes = memory.state_bytes;
    auto engine = std::make_unique<EngineImpl>(std::move(file), options, std::move(prompts),
                                               std::move(backend), std::move(graph),
                                               std::move(store), std::move(swap), std::move(info));
    BLOOM_OK(engine->prepare_constraints());
    return engine;
}

namespace {

BatcherOptions batcher_options(const EngineOptions& options, const Graph& graph) {
    BatcherOptions out;
    out.max_seqs = options.max_seqs;
    out.max_waiting = options.max_waiting;
    out.prefill_tokens = options.prefill_tokens;
    out.busy_prefill_tokens = options.busy_prefill_tokens;
    out.inter_token_us = std::int64_t{options.inter_token_ms} * 1000;
    for (const compute::KvGroupSpec& g : graph.state().groups)
        out.swap_page_us += 2 * static_cast<double>(compute::page_bytes(g)) / kSwapBytesPerUs;
    if (graph.state().recurrent) {
        out.swap_state_us = 2 *
                            static_cast<double>(compute::state_bytes(*graph.state().recurrent)) /
                            kSwapBytesPerUs;
    }
    return out;
}

} // namespace

EngineImpl::EngineImpl(ModelFile file, const EngineOptions& options, PromptMaker prompts,
                       std::unique_ptr<compute::Backend> backend,
                       std::unique_ptr<const Graph> graph, StateStore store,
                       std::unique_ptr<SwapPages> swap, EngineInfo info)
    : options_(options), file_(std::move(file)), prompts_(std::move(prompts)),
      info_(std::move(info)),
      constraints_(prompts_.tokenizer(), prompts_.output_format(), info_.vocab_rows),
      backend_(std::move(backend)), graph_(std::move(graph)), store_(std::move(store)),
      swap_(std::move(swap)),
      batcher_(batcher_options(options, *graph_), store_, swap_ ? &swap_->space() : nullptr, this),
      plans_(*graph_, *backend_),
      scratch_(static_cast<std::size_t>(options.team->size()), SamplerScratch(*options.table)) {
    if (!graph_->has_draft_head() || !options.speculate || !options.draft_head) return;
    head_ = std::make_unique<DraftHead>(*graph_, *backend_, batcher_, store_.n_groups(),
                                        store_.n_pages(0));
    followers_.reserve(static_cast<std::size_t>(options.max_seqs));
}

} // namespace bloom::engine
