#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/compute/backend.hpp>
#include <bloom/engine/state.hpp>

namespace bloom::engine {

struct BatcherOptions {
    std::int32_t max_seqs = 16;      ///< sequences that hold pages at one time
    std::int32_t max_waiting = 1024; ///< sequences waiting for a slot
    /// Prompt tokens per step while nobody is generating. The matrix kernels are at full use from
    /// about 128 on; more only makes steps longer, and a cancel waits for one.
    std::int32_t prefill_tokens = 256;
    /// Prompt tokens per step beside running streams: their inter-token time is what it costs.
    std::int32_t busy_prefill_tokens = 64;
};

/// A sequence in the batcher; numbers are reused, so the owner forgets it after remove().
enum class SeqId : std::uint32_t { none = 0xffffffffU };

/// Decides which tokens of which sequences make up the next step. Knows nothing of models or text:
/// tokens go in, rows come out, and somebody else runs them and appends what was sampled.
///
/// Admission and pages: a sequence is admitted when the pages of its tokens so far are available
/// besides one for every running sequence. Answers are not reserved in advance: with a default
/// bound of 8192 tokens that would leave most of the memory idle. When pages run out, sequences are
/// preempted, paused ones first, then the latest admitted; they wait in their old place and are
/// recomputed, which changes no token (design decision 23). The oldest is never preempted, and
/// every sequence fits alone, so there is always progress.
///
/// Fairness: each fair key has a clock that advances with every computed token. The waiting
/// sequence of the key with the lowest clock is admitted first, and prompts take their turns in
/// that order, chunk by chunk. A key that was idle starts at the lowest clock of the active ones or
/// at its own, whichever is later.
///
/// Thread: one. Cost of a step: linear in sequences; no allocation in steady state.
class Batcher {
public:
    Batcher(const BatcherOptions& options, StateStore& store);

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

    /// A row group of the step: tokens [begin, end) of one sequence.
    struct Item {
        SeqId seq;
        std::int32_t begin;
        std::int32_t end;
        std::int32_t logit_row; ///< its row of logits, or -1: the last token is not reached yet
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

        bool empty() const noexcept { return items.empty(); }

        compute::StepInputs inputs(std::int32_t n_pools) const noexcept {
            return {
                tokens,  positions, row_seq, logit_rows, static_cast<std::int32_t>(items.size()),
                n_pools, tables};
        }
    };

    /// Chooses the next step; empty when there is nothing to compute. Valid until the next call.
    const Step& schedule();
    /// The step has been run: its tokens are computed, their full pages may be shared.
    void complete();
    /// The token that follows in a sequence whose logits the last step gave.
    void append(SeqId id, std::int32_t token);

    std::span<const std::int32_t> tokens(SeqId id) const { return at(id).tokens; }

    std::int32_t n_computed(SeqId id) const { return at(id).n_computed; }

    bool has_work() const noexcept;

    std::int32_t n_waiting() const noexcept { return n_waiting_; }

    std::int32_t n_running() const noexcept { return static_cast<std::int32_t>(running_.size()); }

    std::int32_t free_slots() const noexcept { return options_.max_seqs - slots_used_; }

    std::int64_t n_preemptions() const noexcept { return n_preemptions_; }

private:
    struct Key {
        std::string name;
        std::uint64_t clock = 0;
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
        std::int32_t cached = -1; ///< to be reported with its first rows
        bool started = false;
        std::int64_t available_at_refusal = -1; ///< trying again makes sense above this
        std::string scope;
        std::vector<std::int32_t> tokens;
        SequenceState state;
    };

    const Seq& at(SeqId id) const { return *seqs_[compute::index_of(id)]; }

    Seq& at(SeqId id) { return *seqs_[compute::index_of(id)]; }

    std::uint32_t new_seq();
    std::uint32_t key_for(std::string_view name);
    void leave_key(std::uint32_t key);
    void enqueue(std::uint32_t seq);
    void unqueue(std::uint32_t seq);
    std::uint32_t next_waiting() const;
    void admit();
    bool admit_one(std::uint32_t seq);
    bool preempt_paused(std::uint32_t other_than);
    void schedule_decodes();
    void schedule_prefills();
    bool schedule_chunk(std::uint32_t seq, std::int32_t& budget);
    bool make_room(std::uint32_t seq, std::int64_t n_tokens, bool preempt_running);
    void preempt(std::uint32_t seq);
    void leave_running(std::uint32_t seq);
    void add_item(std::uint32_t seq, std::int32_t begin, std::int32_t end);

    BatcherOptions options_;
    StateStore& store_;

    std::vector<std::unique_ptr<Seq>> seqs_;
    std::vector<std::uint32_t> free_seqs_;
    std::vector<std::uint32_t> running_; ///< by admission
    std::vector<Key> keys_;
    std::vector<std::uint32_t> order_; ///< scratch: prefills by turn
    std::vector<std::uint32_t> scratch_;
    Step step_;

    std::uint64_t next_arrival_ = 1;
    std::int32_t n_waiting_ = 0;
    std::int32_t slots_used_ = 0;
    std::int64_t n_preemptions_ = 0;
    bool stalled_ = false; ///< a prompt found no pages: nobody new is admitted
};

} // namespace bloom::engine
