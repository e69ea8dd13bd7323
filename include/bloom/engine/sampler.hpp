#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <bloom/gen/generation.hpp>

namespace bloom::kernels {
struct KernelTable;
} // namespace bloom::kernels

namespace bloom::engine {

/// The number in [0, 1) that decides a sequence's draw number `n`: a function of its three
/// arguments and nothing else, so what else runs, or a recomputed cache, cannot change a draw.
double draw_uniform(std::uint64_t seed, std::uint32_t choice, std::uint64_t n) noexcept;

/// How often a token stands in the prompt and in the output; open addressing, one probe as a rule.
class TokenCounts {
public:
    struct Entry {
        std::int32_t token = -1;
        std::uint32_t in_output = 0;
    };

    void add_prompt(std::int32_t token) { entry(token); }

    void add_output(std::int32_t token) { ++entry(token).in_output; }

    /// Every token seen, in no particular order; entries with token -1 are empty.
    std::span<const Entry> entries() const noexcept { return entries_; }

    void reserve(std::size_t n_tokens);

private:
    Entry& entry(std::int32_t token);
    void grow(std::size_t capacity);

    std::vector<Entry> entries_;
    std::size_t used_ = 0;
};

/// Memory of one sampling thread, reused from token to token: it grows to what the largest row took
/// and then stays. The kernels do the work on rows of logits.
struct SamplerScratch {
    /// A token that may be drawn.
    struct Candidate {
        float logit;
        float weight;
        std::int32_t token;
    };

    /// With the fastest kernels of this processor.
    SamplerScratch();

    explicit SamplerScratch(const kernels::KernelTable& kernels) : table(&kernels) {}

    const kernels::KernelTable* table;
    std::vector<float> logits; ///< a row after bias and penalties
    std::vector<std::int32_t> ids;
    std::vector<float> values; ///< logits of `ids`
    std::vector<float> weights;
    std::vector<double> sums;
    std::vector<Candidate> candidates;
    std::vector<std::uint32_t> ends; ///< of buckets of candidates
};

/// Alternatives that are told beside a token, at most.
inline constexpr std::int32_t kMaxTopLogprobs = 20;
/// What is told of a token without any probability: JSON has no infinity.
inline constexpr float kLeastLogprob = -9999.0F;

/// What a draw may take.
struct Allowed {
    /// Bit i of word i / 64 allows token i, those beyond it are not allowed; empty: no mask.
    std::span<const std::uint64_t> mask = {};
    /// A token that is as likely as the likeliest of `ends`, should that be more: a model that
    /// wants to end where it must not leaves what it is in. -1: none.
    std::int32_t instead_of_end = -1;
    std::span<const std::int32_t> ends = {};
};

/// How likely a token and its alternatives were: natural logarithms of the softmax over all allowed
/// tokens after bias, penalties and mask, before temperature and the cuts that follow it. Plain
/// memory, so that any thread can fill it.
struct DrawnLogprobs {
    float logprob = 0;
    std::int32_t n_top = 0;
    std::array<std::int32_t, kMaxTopLogprobs> ids{}; ///< the likeliest first, then the lower id
    std::array<float, kMaxTopLogprobs> logprobs{};
};

/// Draws the tokens of one choice. In this order: bias; repetition penalty (prompt and output: a
/// positive logit is divided, another multiplied); frequency and presence penalty (output only);
/// what stands for the end; mask; temperature 0 takes the largest logit; temperature; top_k; top_p
/// over what is left; min_p over what is left; draw. Among equal logits the lower id comes first,
/// everywhere. Ids from n_valid on (rows that only pad the embedding) and NaN never win. A draw
/// goes through the tokens by id when neither top_k nor top_p is in force, otherwise by falling
/// logit, until their sum passes its number. Weights are e^((logit - largest) / temperature) in
/// f32, relative to e^z at most (2 + |z|) 2^-23 off; sums run in f64 in an order that the row and
/// the options fix. Thread: one at a time; different samplers at once with different scratch.
class Sampler {
public:
    Sampler(const gen::Sampling& options, std::uint64_t seed, std::uint32_t choice);

    /// True when the result is the plain argmax of the logits, which backends find by themselves,
    /// and nobody wants to know more; a mask apart.
    bool is_plain_greedy() const noexcept { return plain_greedy_; }

    bool tells_logprobs() const noexcept { return options_.logprobs; }

    /// The prompt, before the first draw.
    void observe_prompt(std::span<const std::int32_t> tokens);
    /// The next token. logits [vocab]; n_valid <= logits.size(). What is allowed wins over NaN, and
    /// over what bias forbids where nothing else is left; -1 where a mask allows nothing.
    /// `told`: filled where the options ask for log probabilities; may be null.
    std::int32_t sample(std::span<const float> logits, std::int32_t n_valid,
                        SamplerScratch& scratch, const Allowed& allowed = {},
                        DrawnLogprobs* told = nullptr) const;
    /// A token has been chosen (by sample or elsewhere): counts it and moves to the next draw.
    void accept(std::int32_t token);

    std::uint64_t n_accepted() const noexcept { return n_accepted_; }

private:
    void adjust(std::span<float> logits) const;
    std::int32_t draw(std::span<const float> logits, SamplerScratch& scratch) const;
    void tell(std::span<const float> logits, std::int32_t token, const SamplerScratch& scratch,
              DrawnLogprobs& told) const;

    gen::Sampling options_;
    std::uint64_t seed_;
    std::uint32_t choice_;
    std::uint64_t n_accepted_ = 0;
    bool plain_greedy_;
    bool counts_needed_;
    TokenCounts counts_;
};

} // namespace bloom::engine
