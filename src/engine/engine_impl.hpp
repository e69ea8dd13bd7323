#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <bloom/compute/backend.hpp>
#include <bloom/engine/arch.hpp>
#include <bloom/engine/batcher.hpp>
#include <bloom/engine/engine.hpp>
#include <bloom/engine/sampler.hpp>
#include <bloom/engine/state.hpp>

#include "engine/constraints.hpp"
#include "engine/draft_head.hpp"
#include "engine/output.hpp"
#include "engine/plan_cache.hpp"
#include "engine/prompt.hpp"
#include "engine/prompt_lookup.hpp"
#include "engine/swap_pages.hpp"

namespace bloom::engine {

/// One answer being generated.
struct Choice {
    std::int32_t index = 0; ///< in the request
    std::int32_t prompt = 0;
    SeqId seq = SeqId::none; ///< none before the fork and after the end
    std::int32_t n_generated = 0;
    std::int32_t max_new = 0;
    bool done = false;
    std::string echo; ///< to show before the first token
    Sampler sampler;
    ChoiceOutput output;
    PromptLookup lookup = {};
    GuessRecord head_record = {}; ///< of guesses that the model's own head makes
    /// Where the answer stands in the grammar that it has to follow, if there is one.
    std::optional<text::GrammarMatcher> matcher = {};
};

struct Request {
    RequestId id = RequestId::none;
    std::shared_ptr<const gen::Generation> generation;
    std::shared_ptr<const text::StopStrings> stops;
    std::uint64_t seed = 0;
    std::int64_t credit = 0; ///< bytes that may still go out; negative: paused
    bool paused = false;
    bool rendered = false;
    std::vector<Prompt> prompts; ///< rendered, while their grammar is being made
    bool started = false;
    bool ended = false;   ///< its last event is in `events`
    bool starved = false; ///< memory was missing; to fail as soon as that can be said
    std::int32_t n_choices_left = 0;
    gen::Usage usage;
    std::vector<std::unique_ptr<Choice>> choices;
    gen::EventBatch events;
};

/// Rates over the last full window of about a second on the caller's clock.
class RateMeter {
public:
    void add(std::int64_t now_ms, std::int64_t n) noexcept;

    double per_second() const noexcept { return rate_; }

private:
    static constexpr std::int64_t kWindowMs = 1000;

    std::int64_t since_ms_ = -1;
    std::int64_t count_ = 0;
    double rate_ = 0;
};

class EngineImpl final : public Engine, private StateMover {
public:
    EngineImpl(ModelFile file, const EngineOptions& options, PromptMaker prompts,
               std::unique_ptr<compute::Backend> backend, std::unique_ptr<const Graph> graph,
               StateStore store, std::unique_ptr<SwapPages> swap, EngineInfo info);

    /// What would otherwise be done when the first request needs it. Errors: GrammarVocab's.
    Result<> prepare_constraints() { return constraints_.prepare(); }

    Result<> submit(RequestId id, std::shared_ptr<const gen::Generation> generation,
                    std::int64_t credit_bytes) override;
    void cancel(RequestId id, CancelReason reason) override;
    void add_credit(RequestId id, std::int64_t bytes) override;
    bool step(EventSink& sink, std::int64_t now_ms) override;

    void step_took(std::int64_t elapsed_us) override { batcher_.observe(elapsed_us); }

    std::int32_t n_requests() const noexcept override {
        return static_cast<std::int32_t>(requests_.size());
    }

    bool has(RequestId id) const noexcept override {
        return by_id_.contains(static_cast<std::uint64_t>(id));
    }

    EngineCapacity capacity() const override;

    const EngineInfo& info() const noexcept override { return info_; }

    const text::Tokenizer& tokenizer() const noexcept override { return *prompts_.tokenizer(); }

    const ModelFile& file() const noexcept override { return file_; }

    Result<std::vector<std::int32_t>> tokenize(std::string_view text) const override;
    Result<std::vector<std::vector<std::int32_t>>>
    render(const gen::Generation& generation) const override;
    Result<> logits(std::span<const std::int32_t> ids, LogitsCallback show) override;
    Result<> run_synthetic(std::int32_t n_seqs, std::int32_t past,
                           std::int32_t rows_per_seq) override;
    Result<> fill_cache(std::int32_t n_seqs, std::int32_t tokens) override;

    void drop_prefix_cache() override { store_.drop_cache(); }

    std::int64_t pages_in_use() const noexcept override {
        return store_.n_pages() - store_.n_free();
    }

    std::int32_t states_in_use() const noexcept override {
        return store_.slots().n_sequences() - store_.slots().n_free();
    }

    std::int32_t n_snapshots() const noexcept override { return store_.slots().n_kept(); }

private:
    void settle_state(std::int32_t slot, std::int32_t n_confirmed) override {
        backend_->settle_state(slot, n_confirmed);
    }

    void copy_state(std::int32_t from, std::int32_t to) override { backend_->copy_state(from, to); }

    /// A draw to make after a run.
    struct Draw {
        Request* request;
        Choice* choice;
        std::int32_t logit_row;
        std::int32_t draft_row; ///< row of the step that has what was guessed for this draw
        std::int32_t n_drafts;  ///< guesses in the step
        std::int32_t n_true;    ///< of them, those that came true so far
        std::int32_t token;
        DrawnLogprobs told;      ///< of choices that want them
        std::size_t mask_at = 0; ///< in masks_
        bool has_mask = false;
    };

    /// Who a sequence belongs to.
    struct Owner {
        Request* request = nullptr;
        Choice* choice = nullptr;
    };

    /// Guesses that a stream may have in the next step, and how likely they have to be.
    struct GuessRules {
        std::int32_t most = 0;
        double least_chance = 1;
    };

    // requests
    void expire(std::int64_t now_ms) noexcept;
    void prepare_some();
    std::optional<std::size_t> prepare(Request& request);
    Result<> render_prompts(Request& request);
    enum class Readiness : std::uint8_t { ready, made, pending };
    Result<Readiness> constrain(Request& request);
    void make_choices(Request& request, std::vector<Prompt> prompts);
    Result<> enqueue_prompt(Request& request, Prompt& prompt, std::int32_t first_choice);
    void fail(Request& request, gen::Failure failure, std::string message);
    void end_request(Request& request, gen::Failure failure, std::string_view message) noexcept;
    void drop_sequences(Request& request) noexcept;
    void update_pause(Request& request);
    void deliver(EventSink& sink);
    void deliver_one(EventSink& sink, Request& request);
    gen::Event& push_event(Request& request, gen::EventKind kind);

    // steps
    void compute_step(std::int64_t now_ms);
    void propose_drafts();
    GuessRules guess_rules();
    std::int32_t room_for_guesses(const Request& request, const Choice& choice,
                                  std::int32_t most) const;
    Result<> follow_with_head(const Batcher::Step& step);
    void break_down(const Error& error);
    Result<> run_backend(const Batcher::Step& step);
    void starve_step() noexcept;
    void starve(Request& request) noexcept;
    void reserve_scratch();
    void report_starts(const Batcher::Step& step);
    void collect_draws(const Batcher::Step& step);
    void collect_masks();
    Allowed allowed_of(const Draw& draw) const noexcept;

    std::size_t words_of_mask() const noexcept {
        return (static_cast<std::size_t>(info_.vocab_rows) + 63) / 64;
    }

    static bool is_plain_greedy(const Draw& draw) noexcept {
        return !draw.has_mask && draw.choice->sampler.is_plain_greedy();
    }

    void draw_tokens();
    std::size_t count_possible(Choice& choice, std::span<const std::int32_t> guess);
    void take_draws(const Batcher::Step& step);
    void take_token(Request& request, Choice& choice, std::int32_t token,
                    const DrawnLogprobs* told);
    gen::TokenLogprob logprob_of(std::int32_t token, const DrawnLogprobs& told) const;
    void finish_choice(Request& request, Choice& choice, gen::Finish finish);
    void own(SeqId seq, Request& request, Choice& choice);

    Owner& owner(SeqId seq) { return owners_[compute::index_of(seq)]; }

    EngineOptions options_;
    ModelFile file_;
    PromptMaker prompts_;
    EngineInfo info_;
    Constraints constraints_;
    std::unique_ptr<compute::Backend> backend_;
    std::unique_ptr<const Graph> graph_;
    StateStore store_;
    std::unique_ptr<SwapPages> swap_; ///< nullptr: none
    Batcher batcher_;
    PlanCache plans_;
    std::unique_ptr<DraftHead> head_; ///< nullptr: the model has none, or it is not wanted
    std::vector<DraftHead::Follower> followers_;

    std::vector<std::unique_ptr<Request>> requests_; ///< by arrival
    std::unordered_map<std::uint64_t, Request*> by_id_;
    std::deque<RequestId> unprepared_;
    std::vector<Owner> owners_; ///< by SeqId
    bool has_events_ = false;

    std::int32_t n_unguessed_ = 0; ///< steps of streams since the last guess
    std::vector<Draw> draws_;
    std::vector<std::int32_t> greedy_rows_;
    std::vector<std::int32_t> greedy_tokens_;
    std::vector<std::uint32_t> weighted_; ///< indices into draws_
    std::vector<std::uint64_t> masks_;    ///< of the draws that have one
    std::vector<SamplerScratch> scratch_; ///< by worker

    RateMeter decode_rate_;
    RateMeter prefill_rate_;
    std::uint64_t capacity_sequence_ = 1;
    std::string broken_; ///< what the backend said when it failed; empty: fine
};

} // namespace bloom::engine
