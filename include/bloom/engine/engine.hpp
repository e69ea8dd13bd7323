#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.hpp"
#include <bloom/base/function_ref.hpp>
#include <bloom/base/result.hpp>
#include <bloom/compute/team.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/engine/state.hpp>
#include <bloom/engine/weight_traffic.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/gen/generation.hpp>

namespace bloom::text {
class Tokenizer;
}

namespace bloom::engine {

/// A request inside one engine; the caller's number, never used twice.
enum class RequestId : std::uint64_t { none = 0 };

/// Why somebody stops a request; decides the failure class of its last event.
enum class CancelReason : std::uint8_t { client_gone, deadline, shutdown, overload };

// Bounds of a request beyond those of gen::Generation.
inline constexpr std::int32_t kMaxChoices = 8;
inline constexpr std::size_t kMaxPrompts = 32;
/// Bytes of rendered prompts that one step turns into tokens; at least one request is taken. About
/// 10 ms, so that running streams keep going beside long prompts.
inline constexpr std::size_t kPrepareBytesPerStep = std::size_t{256} << 10;
inline constexpr std::int64_t kDefaultKvBudgetBytes = std::int64_t{1} << 30;
/// Of a size: chosen from the others.
inline constexpr std::int64_t kAutomaticBytes = -1;

struct EngineOptions {
    compute::Team* team = nullptr; ///< required; shared with other engines, outlives them
    /// Instruction set of the kernels; nullptr: the fastest that runs here.
    const kernels::KernelTable* table = nullptr;
    bool precise = false;      ///< f32 activations and cache: goldens and audits
    std::int32_t n_layers = 0; ///< only the first so many; 0: all
    /// Longest sequence; 0: the model's. Cut to what the cache holds.
    std::int32_t ctx_len = 0;
    std::int32_t max_seqs = 16; ///< sequences computed side by side; at least kMaxChoices are
    std::int32_t max_waiting = 1024;
    std::int64_t kv_budget_bytes = kDefaultKvBudgetBytes;
    /// Memory that may be used now: a model that needs more is refused before it is loaded, see
    /// check_fits(). 0: unknown.
    std::int64_t available_bytes = 0;
    /// Prompt tokens per step, which bounds how long a cancel waits. 0: 256, and 512 with experts,
    /// whose weights a step reads almost whole however many tokens it has.
    std::int32_t prefill_tokens = 0;
    /// Beside running streams, where inter_token_ms does not decide.
    std::int32_t busy_prefill_tokens = 64;
    /// Bound on the time between tokens of running streams, kept by 99 of 100 steps as far as the
    /// machine allows: prompts get what is left below it. Needs step_took(). 0: none.
    std::int32_t inter_token_ms = 0;
    /// Memory for snapshots of recurrent states, from which cached prefixes are continued.
    /// kAutomaticBytes: a quarter of kv_budget_bytes, from it, but two snapshots at least. Too
    /// little for one: prefixes of such models are not cached. The states of running sequences are
    /// part of kv_budget_bytes too and may lower max_seqs; pages keep half of it all the same.
    std::int64_t state_cache_bytes = kAutomaticBytes;
    /// Host memory for pages of preempted sequences; 0: they are always recomputed.
    std::int64_t swap_bytes = 0;
    /// Guessed tokens are verified together: those of the model's own head where it has one,
    /// otherwise those that text seen before suggests (prompt lookup). Changes no token.
    bool speculate = true;
    bool draft_head = true; ///< without: prompt lookup for all models, and no head is loaded
    bool cache_prefixes = true;
    /// Directory of packed weights from earlier starts (compute::PackedCache); empty: none.
    std::filesystem::path packed_cache = {};
    /// What sequences without a seed of their own are drawn from, together with their request id.
    std::uint64_t seed_base = 0;
    /// Longest time that a chat template may take for one request; running streams wait meanwhile.
    std::int32_t render_ms_max = 2000;
};

/// Takes what a step produced. Called on the engine thread, once per request and step; must not
/// call the engine back.
class EventSink {
public:
    virtual ~EventSink() = default;
    /// The batch may be moved from, or swapped for an empty one whose memory is then used again.
    /// Where it throws std::bad_alloc the batch must be as it was; it comes again.
    virtual void on_events(RequestId id, gen::EventBatch&& events) = 0;
};

/// What is free and how fast it goes, for schedulers. `sequence` rises with every change of a
/// count.
struct EngineCapacity {
    std::uint64_t sequence = 0;
    std::int32_t free_slots = 0;
    std::int32_t running = 0;
    std::int32_t queued = 0;
    std::int64_t pages_available = 0; ///< of the scarcest group, cached prefixes included
    std::int64_t pages_total = 0;     ///< of the same group
    double tokens_per_s = 0;          ///< generated, over the last second or so
    double prompt_tokens_per_s = 0;   ///< computed for prompts, likewise
    std::int64_t n_drafted = 0;       ///< tokens guessed and computed so far
    std::int64_t n_accepted = 0;      ///< those that came true
    std::int64_t n_head_drafted = 0;  ///< of those, what the model's own head guessed
    std::int64_t n_head_accepted = 0; ///< of them, those that came true
    std::int64_t n_preempted = 0;     ///< sequences that had to make way
    std::int64_t n_swapped = 0;       ///< of them, those whose pages were saved
};

/// What a model is, for listings.
struct EngineInfo {
    std::string name;
    std::string arch;
    std::int32_t ctx_len = 0;
    std::int32_t vocab_rows = 0;
    std::int32_t n_tokens = 0;
    std::int64_t n_parameters = 0;
    std::int64_t file_bytes = 0;
    std::int64_t weight_bytes = 0;       ///< packed
    std::int64_t kv_bytes = 0;           ///< reserved
    std::int64_t kv_bytes_per_token = 0; ///< in all groups
    std::int64_t state_bytes = 0;        ///< reserved for recurrent states, snapshots included
    StateSpec state;                     ///< what a sequence remembers, and where
    WeightTraffic traffic;               ///< weights that steps read
    std::int64_t macs_per_token = 0;     ///< multiplications in matrices, the head apart
    std::string kernel_isa;
    bool has_chat_template = false;
    bool has_thinking_switch = false;  ///< requests can turn thinking on or off
    bool has_reasoning_effort = false; ///< requests can tell how much
};

/// One loaded model and everything that generates with it: template, tokenizer, batcher, backend,
/// sampler, detokeniser, output parser, stop strings.
///
/// Events of a request, in order: started{prompt and cached tokens} when its first rows are
/// computed; reasoning and text deltas; finished per choice, whose `usage` are the totals so far;
/// one `usage` event with the totals, the last. Or failed{class, usage} at any time, the last
/// event: invalid_request (the template refused, no template), context_length, timeout,
/// cancelled, overloaded, provider. accepted and refused are the caller's, from submit()'s result.
///
/// Log probabilities are those of DrawnLogprobs, on the text deltas whose text their tokens are;
/// the token that ends a turn has none. With echo each choice of a raw completion begins with a
/// text delta of its prompt, which counts no tokens. Choices of prompt p are p * n_choices and
/// following.
///
/// Credit: text goes out as long as the request's choices together have not passed its credit in
/// bytes; beyond it they pause and cost no computing until add_credit().
///
/// Thread: one for everything, the engine thread; step() alone computes.
class Engine {
public:
    /// Loads a model: packs its weights, reserves pages. Errors: those of the file and the
    /// tokenizer; out_of_memory; invalid_argument (a budget that holds no sequence).
    static Result<std::unique_ptr<Engine>> create(ModelFile file, const EngineOptions& options);

    virtual ~Engine() = default;

    /// Takes a request; its events come from the following steps. Errors: id_reused; limit_reached
    /// (the queue is full: refuse as busy); invalid_argument (a bound above, stop strings).
    virtual Result<> submit(RequestId id, std::shared_ptr<const gen::Generation> generation,
                            std::int64_t credit_bytes) = 0;
    /// Stops a request; pages and slots are free when this returns and the next step() delivers
    /// failed{cancelled | timeout | overloaded} with the final counts. Unknown ids are ignored: the
    /// request may have ended by itself.
    virtual void cancel(RequestId id, CancelReason reason) = 0;
    /// The reader has taken `bytes` more. Unknown ids are ignored.
    virtual void add_credit(RequestId id, std::int64_t bytes) = 0;

    /// Prepares, computes one batch, delivers events. now_ms: the clock of
    /// gen::Generation::deadline_ms. Returns whether calling again at once has something to do.
    /// Call it after every submit, cancel and add_credit, and when a deadline may have passed.
    /// Memory that cannot be had fails the requests it was for (Failure::provider) and no others.
    virtual bool step(EventSink& sink, std::int64_t now_ms) = 0;
    /// How long the last step() took for its caller, delivery included; keeps inter_token_ms. Not
    /// needed otherwise. Results do not depend on it, only what is computed when.
    virtual void step_took(std::int64_t elapsed_us) = 0;

    /// Requests whose last event has not been delivered.
    virtual std::int32_t n_requests() const noexcept = 0;
    virtual bool has(RequestId id) const noexcept = 0;
    virtual EngineCapacity capacity() const = 0;
    virtual const EngineInfo& info() const noexcept = 0;
    virtual const text::Tokenizer& tokenizer() const noexcept = 0;
    virtual const ModelFile& file() const noexcept = 0;

    /// Ids of a raw text, specials matched; BOS where the model wants it.
    virtual Result<std::vector<std::int32_t>> tokenize(std::string_view text) const = 0;
    /// Ids of the rendered prompts of a request, without running it. Errors as the failures of
    /// submit: invalid_argument, unsupported.
    virtual Result<std::vector<std::vector<std::int32_t>>>
    render(const gen::Generation& generation) const = 0;

    using LogitsCallback = FunctionRef<void(std::int64_t position, std::span<const float> logits)>;
    /// Runs ids from an empty sequence and shows the logits [vocab_rows] of every position.
    /// Errors: invalid_argument (an id out of range, none, too many), busy (requests are running).
    virtual Result<> logits(std::span<const std::int32_t> ids, LogitsCallback show) = 0;

    /// What benchmarks measure: one step of `rows_per_seq` tokens for each of n_seqs synthetic
    /// sequences that have `past` tokens already (their contents do not matter), logits of the
    /// last. Errors: busy; too_large when they do not fit.
    virtual Result<> run_synthetic(std::int32_t n_seqs, std::int32_t past,
                                   std::int32_t rows_per_seq) = 0;
    /// Gives the pages that such a step of `tokens` per sequence takes memory of their own: pages
    /// nobody wrote to are all the same one, which caches hold. Errors: busy; too_large.
    virtual Result<> fill_cache(std::int32_t n_seqs, std::int32_t tokens) = 0;

    /// Forgets cached prefixes that nobody uses; tests of leaks.
    virtual void drop_prefix_cache() = 0;
    virtual std::int64_t pages_in_use() const noexcept = 0;
    /// Slots of recurrent states that sequences have, and snapshots that the cache has.
    virtual std::int32_t states_in_use() const noexcept = 0;
    virtual std::int32_t n_snapshots() const noexcept = 0;
};

} // namespace bloom::engine
