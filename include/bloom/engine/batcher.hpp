#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/engine/cost_model.hpp>
#include <bloom/engine/state.hpp>
#include <bloom/engine/swap.hpp>

namespace bloom::engine {

struct BatcherOptions {
    std::int32_t max_seqs = 16;      ///< sequences that hold pages at one time
    std::int32_t max_waiting = 1024; ///< sequences waiting for a slot
    /// Prompt tokens per step while nobody is generating. The matrix kernels are at full use from
    /// about 128 on; more only makes steps longer, and a cancel waits for one.
    std::int32_t prefill_tokens = 256;
    /// Prompt tokens per step beside running streams while inter_token_us does not decide: their
    /// inter-token time is what it costs.
    std::int32_t busy_prefill_tokens = 64;
    /// Bound that steps with running streams keep to, 99 of 100 of them. Prompts get what the
    /// learnt cost of steps leaves below it. 0, and until enough has been learnt:
    /// busy_prefill_tokens.
    std::int64_t inter_token_us = 0;
    /// What saving and restoring one page of every group costs; decides between that and computing
    /// again, once the cost of steps has been learnt.
    double swap_page_us = 0;
    double swap_state_us = 0; ///< the same for a recurrent state
};

/// Draft tokens of one sequence in one step, at most: with the token before them 8 rows, the most
/// that decoding and verification do in one way, so that guesses change no token.
inline constexpr std::int32_t kMaxDraft = 7;
static_assert(kMaxDraft <= compute::kMaxPendingRows);

/// What happens to recurrent states between steps; as compute::Backend has it.
class StateMover {
public:
    virtual ~StateMover() = default;
    virtual void settle_state(std::int32_t slot, std::int32_t n_confirmed) = 0;
    virtual void copy_state(std::int32_t from, std::int32_t to) = 0;
};

/// Snapshots of recurrent states are taken where a prompt nearly ends (its last tokens open the
/// answer, and the next turn may put others in their place), where it leaves what another sequence
/// began with as well, and so many tokens apart within it; while generating at these distances,
/// each in the place of the sequence's one before.
inline constexpr std::int32_t kPromptOpening = 8;
inline constexpr std::int32_t kPromptStride = 1024;
inline constexpr std::int32_t kAnswerStride = 256;

/// A sequence in the batcher; numbers are reused, so the owner forgets it after remove().
enum class SeqId : std::uint32_t { none = 0xffffffffU };

/// Decides which tokens of which sequences make up the next step. Knows nothing of models or text:
/// tokens go in, rows come out, and somebody else runs them and appends what was sampled.
///
/// Admission and pages: a sequence is admitted when the pages of its tokens so far are available
/// besides one for every running sequence. Answers are not reserved in advance: with a default
/// bound of 8192 tokens that would leave most of the memory idle. When pages run out, sequences are
/// preempted, paused ones first, then the latest admitted; they wait in their old place. Their
/// pages are saved in the swap space where that is cheaper than computing them again and there is
/// room; whole cuts that other sequences use as well stay where they are. Otherwise, or when such a
/// shared page is gone in the end, they are recomputed. Neither changes a token: see kPrefillCut.
/// The oldest is never preempted, and every sequence fits alone, so there is always progress.
///
/// Fairness: each fair key has a clock that advances with every computed token. The waiting
/// sequence of the key with the lowest clock is admitted first, and prompts take their turns in
/// that order, chunk by chunk. A virtual time advances with every computed token by one over the
/// number of active keys, as the clock of a key with exactly its share would, and is never behind
/// all keys that want more. A key that had nothing waiting continues at the virtual time or at its
/// own clock, whichever is later: idling earns nothing, and keys that have just come, however many
/// come one after the other, cannot keep going before one that has had its share.
///
/// Drafts: a sequence that decodes may be given guesses of its next tokens. They are computed in
/// the same step, with logits for each, and count only as far as append() confirms them; what was
/// written for the others is overwritten. A recurrent state takes them in when the next step, or
/// whoever copies the state, says how many were right.
///
/// Thread: one. Cost of a step: linear in sequences and keys; no allocation in steady state. Where
/// growing throws (std::bad_alloc) every sequence stays removable.
class Batcher {
public:
    /// `store`, `swap` and `states` outlive the batcher; swap may be nullptr: always recompute;
    /// states may be where the model has no recurrent state.
    Batcher(const BatcherOptions& options, StateStore& store, SwapSpace* swap = nullptr,
            StateMover* states = nullptr);

    struct NewSequence {
        std::vector<std::int32_t> tokens; ///< at least one; with room for what will follow
        std::string fair_key;
        std::string cache_scope;
        std::int32_t priority = 0;
        std::int32_t n_slots = 1; ///< slots that admission sets aside: 1 + coming forks
    };

    /// Queues a sequence. Errors: limit_reached when the queue is full, too_large when it would not
    /// fit even alone.
    Result<SeqId> add(NewSequence seq);
    /// Makes a second sequence with the same tokens, all of which are computed. It has the slot
    /// that admission set aside. When pages are missing it waits and is recomputed.
    SeqId fork(SeqId parent, StateStore::CopyPage copy);
    /// Forgets a sequence in any state; its pages are free when this returns.
    void remove(SeqId id);

    /// A paused sequence keeps its slot and pages while nobody waits for them, and costs no
    /// computing: a reader that has stopped does not stop others.
    void pause(SeqId id);
    void resume(SeqId id);

    /// Guesses what follows a sequence that decodes: its next step verifies as many of them as
    /// there are pages for. At most kMaxDraft.
    void propose(SeqId id, std::span<const std::int32_t> draft);

    /// A row group of the step: tokens [begin, end) of one sequence, drafts included.
    struct Item {
        SeqId seq;
        std::int32_t begin;
        std::int32_t end;
        std::int32_t row;       ///< its first row
        std::int32_t logit_row; ///< its first row of logits, or -1: the last token is not reached
        std::int32_t n_logits;  ///< rows of logits; 1 + drafts
        std::int32_t cached;    ///< first group after admission: tokens found in the cache; else -1
    };

    struct Step {
        compute::Phase phase = compute::Phase::decode;
        std::vector<Item> items;
        std::vector<std::int32_t> tokens;
        std::vector<std::int32_t> positions;
        std::vector<std::int32_t> row_seq;
        std::vector<std::int32_t> logit_rows;
        std::vector<compute::PageTable> tables;
        std::vector<compute::RecurrentInput> recurrent; ///< by item, where the model has states

        bool empty() const noexcept { return items.empty(); }

        compute::StepInputs inputs(std::int32_t n_pools) const noexcept {
            return {
                tokens,  positions, row_seq,  logit_rows, static_cast<std::int32_t>(items.size()),
                n_pools, tables,    recurrent};
        }
    };

    /// Chooses the next step; empty when there is nothing to compute. Valid until the next call.
    const Step& schedule();

    /// The last one chosen.
    const Step& step() const noexcept { return step_; }

    /// The step has been run: its tokens are computed, their full pages may be shared.
    void complete();
    /// The token that follows in a sequence whose logits the last step gave. Where it is what was
    /// drafted, the next row of logits counts too and gives the token for the next append().
    void append(SeqId id, std::int32_t token);
    /// How long the last step took, everything around it included; what the bound is kept with.
    void observe(std::int64_t elapsed_us);

    std::span<const std::int32_t> tokens(SeqId id) const { return at(id).tokens; }

    std::int32_t n_computed(SeqId id) const { return at(id).n_computed; }

    /// Page tables of a running sequence, by group.
    std::span<const std::vector<std::int32_t>> tables(SeqId id) const {
        return at(id).state.tables;
    }

    /// Whether there are pages for n_draft guesses behind a running sequence's tokens; takes them,
    /// from the cache at most.
    bool has_place(SeqId id, std::int32_t n_draft) {
        Seq& s = at(id);
        return store_.ensure(s.state, static_cast<std::int64_t>(s.tokens.size()) + n_draft);
    }

    bool has_work() const noexcept;

    std::int32_t n_waiting() const noexcept { return n_waiting_; }

    std::int32_t n_running() const noexcept { return static_cast<std::int32_t>(running_.size()); }

    std::int32_t free_slots() const noexcept { return options_.max_seqs - slots_used_; }

    std::int64_t n_preemptions() const noexcept { return n_preemptions_; }

    /// Preemptions that saved their pages, and those of them that came back without recomputing.
    std::int64_t n_swapped_out() const noexcept { return n_swapped_out_; }

    std::int64_t n_swapped_in() const noexcept { return n_swapped_in_; }

    std::int64_t n_drafted() const noexcept { return n_drafted_; }

    std::int64_t n_accepted() const noexcept { return n_accepted_; }

    const CostModel& cost() const noexcept { return cost_; }

    /// What the next step does for streams, and whether a prompt is being computed.
    struct Activity {
        StepLoad streams;
        bool prompts = false;
    };

    Activity activity() const noexcept;

    /// Whether the next step is to give this sequence a token.
    bool decodes(SeqId id) const noexcept {
        const Seq& s = at(id);
        return s.running && !s.paused && s.decoding();
    }

    /// Tokens computed for a key so far; 0 for keys that are not remembered. For tests.
    std::int64_t n_computed_for(std::string_view fair_key) const noexcept;

private:
    struct Key {
        std::string name;
        std::uint64_t clock = 0; ///< in 1 / kClockUnit tokens
        std::int64_t n_computed = 0;
        std::int32_t n_seqs = 0;            ///< waiting and running
        std::vector<std::uint32_t> waiting; ///< by priority, then arrival; the next one last
    };

    struct Seq {
        bool used = false;
        bool running = false;
        bool paused = false;
        bool in_step = false;
        std::uint32_t key = 0;
        std::int32_t priority = 0;
        std::int32_t n_slots = 1;
        std::uint64_t arrival = 0;
        std::int32_t n_computed = 0;
        std::int32_t cached = -1;                       ///< to be reported with its first rows
        bool reported = false;                          ///< `cached` has been, or need not be
        std::size_t short_group = StateStore::kNoGroup; ///< what admission was refused for
        std::int64_t available_at_refusal = -1;         ///< trying again makes sense above this
        std::int32_t n_prompt = 0;                      ///< tokens it came with
        std::string scope;
        std::vector<std::int32_t> tokens;
        SequenceState state;

        std::array<std::int32_t, kMaxDraft> draft{};
        std::int32_t n_draft = 0;
        std::int32_t n_confirmed = 0; ///< of the draft in the last step
        bool draft_fresh = false;     ///< not yet in a step

        std::int32_t n_in_state = 0;  ///< tokens that the recurrent state has taken in for sure
        std::int32_t snapshot_at = 0; ///< tokens of the latest snapshot
        Snapshot answer_snapshot;     ///< of the answer, to be replaced by the next one

        std::int32_t n_swapped = 0; ///< computed tokens whose pages are in the swap space; 0: none
        std::vector<std::vector<std::int32_t>> slots; ///< [group][page of the sequence], -1: none
        std::int32_t state_slot = -1;                 ///< of the recurrent state in the swap space

        std::int32_t n_left() const noexcept {
            return static_cast<std::int32_t>(tokens.size()) - n_computed;
        }

        bool decoding() const noexcept { return n_left() == 1; }

        bool prefilling() const noexcept { return n_left() > 1; }
    };

    const Seq& at(SeqId id) const { return *seqs_[compute::index_of(id)]; }

    Seq& at(SeqId id) { return *seqs_[compute::index_of(id)]; }

    std::uint32_t new_seq();
    std::uint32_t key_for(std::string_view name);
    void make_place(std::uint32_t key);
    void join_key(std::uint32_t key) noexcept;
    void leave_key(std::uint32_t key) noexcept;
    bool wants_more(std::uint32_t key) const noexcept;
    void charge(std::uint32_t key, std::int64_t n_tokens) noexcept;
    void advance_virtual_time(std::int64_t n_tokens) noexcept;
    void enqueue(std::uint32_t seq);
    void unqueue(std::uint32_t seq);
    std::uint32_t next_waiting() const;
    void admit();
    bool admit_one(std::uint32_t seq);
    std::int32_t attach(Seq& seq, StateStore::Resume resume);

    /// Of a sequence whose pages were saved.
    enum class Return : std::uint8_t { restored, no_room, recompute };

    Return come_back(Seq& seq, std::int64_t spare);
    bool start(Seq& seq, std::int64_t spare);
    void settle(Seq& seq);
    void give_state(Seq& seq, std::int32_t begin, std::int32_t end);
    bool takes_snapshots(const Seq& seq) const noexcept;
    std::int32_t snapshot_end(const Seq& seq, std::int32_t begin, std::int32_t end) const noexcept;
    std::int32_t snapshot_due(const Seq& seq, std::int32_t end) const noexcept;
    void keep_snapshot(Seq& seq, std::int32_t begin, compute::RecurrentInput& input) noexcept;
    bool worth_swapping(const Seq& seq) const noexcept;
    void swap_out(Seq& seq);
    bool can_swap_in(const Seq& seq, std::int32_t cached) const noexcept;
    bool swap_in(Seq& seq, std::int32_t cached);
    void drop_swap(Seq& seq) noexcept;
    bool preempt_paused(std::uint32_t other_than);
    void schedule_decodes();
    void schedule_prefills();
    bool schedule_chunk(std::uint32_t seq, std::int32_t& budget);
    std::int32_t affordable_end(const Seq& seq, std::int32_t end);
    void make_way_for_the_first();
    bool make_room(std::uint32_t seq, std::int64_t n_tokens, bool preempt_running);
    void preempt(std::uint32_t seq);
    void leave_running(std::uint32_t seq);
    void add_item(std::uint32_t seq, std::int32_t begin, std::int32_t end, std::int32_t n_draft);

    BatcherOptions options_;
    StateStore& store_;
    SwapSpace* swap_;
    StateMover* states_;
    CostModel cost_;

    std::vector<std::unique_ptr<Seq>> seqs_;
    std::vector<std::uint32_t> free_seqs_;
    std::vector<std::uint32_t> running_; ///< by admission
    std::vector<Key> keys_;
    std::vector<std::uint32_t> order_; ///< scratch: prefills by turn
    std::vector<std::uint32_t> scratch_;
    Step step_;
    bool in_flight_ = false; ///< step_ has been chosen and is not complete

    std::uint64_t next_arrival_ = 1;
    std::int32_t n_waiting_ = 0;
    std::int32_t slots_used_ = 0;
    std::int64_t n_preemptions_ = 0;
    std::int64_t n_swapped_out_ = 0;
    std::int64_t n_swapped_in_ = 0;
    std::int64_t n_drafted_ = 0;
    std::int64_t n_accepted_ = 0;
    bool stalled_ = false; ///< a prompt found no pages: nobody new is admitted

    std::uint64_t virtual_time_ = 0; ///< as the clocks of keys
    std::int64_t n_active_keys_ = 0;

    // The bound on steps with running streams.
    StepLoad load_;             ///< of step_
    bool timed_ = false;        ///< the bound decides what prompts get in this step
    bool overdue_ = false;      ///< a prompt gets one cut in this step, whatever it costs
    bool deferred_ = false;     ///< prompts got nothing in this step
    bool tried_ = false;        ///< one is in this step, against what was learnt
    std::int32_t patience_ = 0; ///< steps that prompts wait for that
    std::int64_t waited_us_ = 0;
    std::int32_t waited_steps_ = 0;
};

} // namespace bloom::engine
